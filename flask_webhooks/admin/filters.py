"""Filters of lists, read from the URL, so that a list can be shared as a link."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from ..errors import InvalidInput

#: The longest value of a filter that is read.
MAX_LENGTH = 200


class Filters:
    """The values by name, without empty ones."""

    def __init__(self, arguments: Mapping[str, str], *names: str) -> None:
        given = {name: arguments.get(name, "").strip()[:MAX_LENGTH] for name in names}
        self.given = {name: value for name, value in given.items() if value}
        self.before = arguments.get("before", "").strip()[:MAX_LENGTH] or None

    def __getitem__(self, name: str) -> str:
        """Return the value for a form; empty if there is none."""
        return self.given.get(name, "")

    def get(self, name: str) -> str | None:
        return self.given.get(name)

    def moment(self, name: str) -> datetime | None:
        """Parse a time in UTC, from a ``datetime-local`` field or an ISO 8601 text.

        :raises InvalidInput: it is not a time.
        """
        text = self.given.get(name)
        if text is None:
            return None
        try:
            moment = datetime.fromisoformat(text)
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            raise InvalidInput("Write the time as 2026-01-31T12:00 (in UTC).", field=name) from None

    def local(self, name: str) -> str:
        """Format the time for a ``datetime-local`` field; empty if there is none."""
        try:
            moment = self.moment(name)
        except InvalidInput:
            return ""
        if moment is None:
            return ""
        return moment.replace(tzinfo=None).isoformat(
            timespec="milliseconds" if moment.microsecond else "auto"
        )

    def without(self, *names: str) -> dict[str, str]:
        """Return the filters without some of them."""
        return {name: value for name, value in self.given.items() if name not in names}

    def __bool__(self) -> bool:
        return bool(self.given)
