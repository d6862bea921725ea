"""Dated versions of the data of event types.

An event is stored with its newest data. The host writes one function for each version, which converts data of that
version to the previous one. For an endpoint, all functions newer than its version are applied.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final

from ..encoding import encode_data
from ..errors import ConversionFailed, InvalidData, InvalidEndpoint, InvalidEventType
from ..texts import OperatorText, quoted

#: Data as it was before the first dated version. Columns hold ``None`` for it.
INITIAL: Final = "initial"

#: Converts data of a version to the previous one.
Downgrade = Callable[[dict[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Version:
    """A dated version of the data of one event type."""

    event_type: str
    #: ``2026-12-01``
    date: str
    downgrade: Downgrade = field(repr=False)

    def turn_back(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return data of the previous version.

        :param data: data of this version; the function may change it.
        :raises ConversionFailed: the host's function raises, or does not return a mapping.
        """
        try:
            older = self.downgrade(data)
        except Exception as error:
            raise self.failed(f"raised {type(error).__name__}{_place(error)}") from error
        if not isinstance(older, Mapping):
            raise self.failed(f"returned {type(older).__name__} instead of a dict")
        return dict(older)

    def failed(self, why: str) -> ConversionFailed:
        """Return the error about the host's function, without any data."""
        return ConversionFailed(
            "The data of %(type)s cannot be turned into what it was before %(date)s.%(hint)s",
            type=self.event_type,
            date=self.date,
            hint=OperatorText(" The function given to @webhooks.version %(why)s.", why=why),
        )


class Versions:
    """The versions of the event types of one application."""

    def __init__(self) -> None:
        self._newest_first: dict[str, tuple[Version, ...]] = {}

    def add(self, version: Version) -> None:
        """Add a version of an event type that is in the catalogue.

        :raises InvalidEventType: the date is invalid or already used, or the function is not callable.
        """
        name, given = version.event_type, version.date
        if not is_date(given):
            raise InvalidEventType(
                f"{given!r} is not a date for a version of {name!r}: write the day from which it"
                f" is sent as text, such as "
                '"2026-12-01".'
            )
        if not callable(version.downgrade):
            raise InvalidEventType(
                f"The version {given} of {name!r} needs a function that converts its data to the"
                f" previous version: decorate one (data) -> data."
            )
        known = self._newest_first.get(name, ())
        if any(given == other.date for other in known):
            raise InvalidEventType(
                f"The event type {name!r} has a version {given} already: give each change a date"
                f" of its own."
            )
        newest_first = sorted((*known, version), key=lambda item: item.date, reverse=True)
        self._newest_first[name] = tuple(newest_first)

    @property
    def dates(self) -> tuple[str, ...]:
        """Return the dates of all event types, newest first."""
        found = {item.date for versions in self._newest_first.values() for item in versions}
        return tuple(sorted(found, reverse=True))

    @property
    def names(self) -> tuple[str, ...]:
        """Return the versions that an endpoint can choose, newest first; empty if there are none."""
        dates = self.dates
        return (*dates, INITIAL) if dates else ()

    def of(self, event_type: str) -> tuple[str, ...]:
        """Return the dates of one event type, newest first."""
        return tuple(item.date for item in self._newest_first.get(event_type, ()))

    def newest(self, event_type: str) -> str | None:
        """Return the version of newly emitted data; ``None`` if the event type has no versions."""
        versions = self._newest_first.get(event_type)
        return versions[0].date if versions else None

    def steps(self, event_type: str, given: str | None, wanted: str | None) -> tuple[Version, ...]:
        """Return the versions to undo, newest first.

        :param given: the version of the data; ``None`` and `INITIAL` are before the first version.
        :param wanted: the version of the endpoint.
        :raises ConversionFailed: the data has a later version that is no longer registered.
        """
        if given is None or given <= _sortable(wanted):
            return ()
        versions = self._newest_first.get(event_type, ())
        if not any(item.date == given for item in versions):
            raise ConversionFailed(
                "The data of %(type)s is in the version %(date)s, which the application no longer has.%(hint)s",
                type=event_type,
                date=given,
                hint=OperatorText(" Register its function again with @webhooks.version."),
            )
        return tuple(item for item in versions if _sortable(wanted) < item.date <= given)

    def convert(
        self,
        event_type: str,
        data_json: str,
        given: str | None,
        wanted: str | None,
        max_bytes: int,
    ) -> str:
        """Return the data of an event as JSON text in a version; unchanged if there is no newer version.

        :param given: its version.
        :param max_bytes: the largest allowed size.
        :raises ConversionFailed: a function of the host fails, returns data that is too large or not JSON, or is
        missing.
        """
        steps = self.steps(event_type, given, wanted)
        if not steps:
            return data_json
        data = json.loads(data_json)
        for version in steps:
            data = version.turn_back(data)
        try:
            return encode_data(data, max_bytes)
        except InvalidData as error:
            raise steps[-1].failed("returned what is too large or has no JSON form") from error

    def check(self, given: Any, kept: str | None = INITIAL) -> str | None:
        """Return the version of an endpoint in its stored form.

        :param given: a date, `INITIAL`, or ``None`` for the newest.
        :param kept: the current version of the endpoint, which it may keep even if it no longer exists.
        :raises InvalidEndpoint: there is no such version; the message lists the known ones.
        """
        dates = self.dates
        if given is None:
            return dates[0] if dates else None
        if given == INITIAL:
            return None
        if isinstance(given, str) and (given in dates or given == kept):
            return given
        raise InvalidEndpoint(
            "There is no version %(given)s of the data. There are: %(known)s.",
            given=quoted(given),
            known=", ".join((*dates, INITIAL)),
            field="data_version",
        )


def _sortable(version: str | None) -> str:
    """Return a version that sorts correctly: `INITIAL` comes first."""
    return "" if version is None or version == INITIAL else version


def _place(error: BaseException) -> str:
    """Return the line of the host's function that raised; empty if it was not called."""
    trace = error.__traceback__ and error.__traceback__.tb_next
    if trace is None:
        return ""
    return f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"


def is_date(text: object) -> bool:
    """Return whether a text is an ISO 8601 date with dashes."""
    try:
        return isinstance(text, str) and date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
