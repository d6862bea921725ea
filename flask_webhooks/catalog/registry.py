"""The event types that an application can send, and the patterns that subscribe to them.

Long, since patterns, names and schemas of the types are checked as they are added.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import InvalidEventType, InvalidSubscription, UnknownEventType
from ..texts import OperatorText, Text, quoted
from .schema_check import SchemaCheck, compile_schema
from .versions import Downgrade, Version, Versions

#: Longest name of an event type, in characters; columns are as wide.
MAX_NAME_LENGTH = 100
#: The pattern for all event types, including future ones; normalised to ``None``.
EVERYTHING = "*"

_NAME = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*")


@dataclass(frozen=True, slots=True)
class EventType:
    """An entry of the catalogue.

    :param name: lower-case segments joined by dots, ``license.activated``.
    :param group: its heading in forms and docs, ``Licences``.
    :param description: one sentence that says when it is sent.
    :param schema: JSON Schema (draft 2020-12) of an event's ``data``.
    :param example: a realistic ``data``, valid against the schema.
    :param transactional: its events exist only if the host's transaction commits; ``False`` for events that happen
    when nothing is committed, such as a failed login.
    :param high_volume: may be sent with every request of a client; forms show a note.
    :param operational: sent by Flask-Webhooks about its own endpoints, never by the host.
    :param subscribable: endpoints may subscribe to it; ``False`` for ``test``, which is sent manually.
    :param deprecated: it will be removed in the future; pages and API show this, and its subscribers.
    """

    name: str
    group: str
    description: str
    schema: Mapping[str, Any] = field(hash=False)
    example: Mapping[str, Any] = field(hash=False)
    transactional: bool = True
    high_volume: bool = False
    operational: bool = False
    subscribable: bool = True
    deprecated: bool = False

    def absent(self, data: Mapping[str, Any]) -> list[str]:
        """Return the required members that are missing from some data; ``None`` counts as missing."""
        members = self.schema.get("properties", {})
        return [
            name
            for name in self.schema.get("required", ())
            if data.get(name) is None and not (name in data and _nullable(members.get(name)))
        ]


class Catalog:
    """The event types of one application, in the order in which they were added.

    :param types: the first entries; each is checked as :meth:`add` does.
    """

    def __init__(self, types: Iterable[EventType] = ()) -> None:
        self._types: dict[str, EventType] = {}
        self._checks: dict[str, SchemaCheck] = {}
        #: Versions of the data of these types.
        self.versions = Versions()
        for event_type in types:
            self.add(event_type)

    def add(self, event_type: EventType) -> EventType:
        """Add an event type and return it.

        :raises InvalidEventType: for a malformed or taken name, an empty group or description, and
            a schema or example that is not a JSON object.
        """
        _check_name(event_type)
        name = event_type.name
        if name in self._types:
            raise InvalidEventType(
                f"The event type {name!r} is already in the catalogue: send that one, or choose another name for "
                f"yours, such as {'my_app.' + name!r}."
            )
        for attribute in ("group", "description"):
            if not getattr(event_type, attribute).strip():
                raise InvalidEventType(
                    f"The event type {name!r} needs a {attribute}: customers read it when they choose event types."
                )
        _check_json_object(name, "schema", event_type.schema)
        _check_json_object(name, "example", event_type.example)
        try:
            check = compile_schema(event_type.schema)
        except Exception as error:
            raise InvalidEventType(
                f"The schema of the event type {name!r} is not a JSON Schema ({error!r}): correct it, or leave it out."
            ) from error
        self._checks[name] = check
        self._types[name] = event_type
        return event_type

    def add_version(self, event_type: str, date: str, downgrade: Downgrade) -> None:
        """Add a dated version of the data of an event type.

        :param downgrade: converts data of this version to the previous one.
        :raises UnknownEventType: the catalogue has no such event type.
        :raises InvalidEventType: the date is invalid or already used, the function is not callable, or the
        application does not send this type.
        """
        kind = self[event_type]
        if kind.operational or not kind.subscribable:
            raise InvalidEventType(
                f"The data of {kind.name!r} is made by Flask-Webhooks: only event types that the application sends "
                "have versions."
            )
        self.versions.add(Version(kind.name, date, downgrade))

    def __getitem__(self, name: str) -> EventType:
        """Look up an event type.

        :raises UnknownEventType: with the closest names in its message.
        """
        try:
            return self._types[name]
        except (KeyError, TypeError):
            raise UnknownEventType(
                "There is no event type %(name)s.%(hint)s%(more)s",
                more=OperatorText(
                    " The application adds its own with webhooks.add_event_type(...)."
                ),
                name=quoted(name),
                hint=self._did_you_mean(str(name)),
            ) from None

    def check_data(self, name: str, data: Mapping[str, Any]) -> None:
        """Check plain JSON data against the schema of an event type.

        :raises InvalidData: it does not match; the message says where, and what to write there.
        """
        self._checks[name](data, "data")

    def __contains__(self, name: object) -> bool:
        return name in self._types

    def __iter__(self) -> Iterator[EventType]:
        return iter(self._types.values())

    def __len__(self) -> int:
        return len(self._types)

    def groups(self, *, subscribable_only: bool = False) -> dict[str, list[EventType]]:
        """Return the event types by heading, both in catalogue order.

        :param subscribable_only: leave out types that endpoints cannot subscribe to, as in forms.
        """
        groups: dict[str, list[EventType]] = {}
        for event_type in self:
            if event_type.subscribable or not subscribable_only:
                groups.setdefault(event_type.group, []).append(event_type)
        return groups

    def only(self, patterns: Sequence[str] | None) -> Catalog:
        """Return a catalogue of the types that these names and prefixes cover, and of types that are sent
        manually.
        """
        if patterns is None:
            return self
        found = Catalog()
        found.versions = self.versions
        for event_type in self:
            if not event_type.subscribable or matches(patterns, event_type.name):
                found._types[event_type.name] = event_type
                found._checks[event_type.name] = self._checks[event_type.name]
        return found

    def check_patterns(
        self, patterns: Iterable[str] | None, kept: Collection[str] = ()
    ) -> list[str] | None:
        """Normalise the event types of an endpoint.

        :param patterns: names (``license.created``) and prefixes (``license.*``); ``None``, or a list with ``*``,
        for all event types, including future ones.
        :param kept: patterns that an endpoint already has and may keep.
        :returns: the patterns without duplicates in the order given, or ``None`` for everything.
        :raises InvalidSubscription: for an empty list, an unknown name, a malformed pattern, a
            prefix that no known event type has, and a type that is not subscribable.
        """
        if patterns is None:
            return None
        if isinstance(patterns, str):
            raise InvalidSubscription(
                "The event types must be a list: write [%(name)s] instead of %(name)s.",
                name=quoted(patterns),
            )
        if isinstance(patterns, Mapping) or not isinstance(patterns, Iterable):
            raise InvalidSubscription(
                'The event types must be a list: write ["license.created"], or ["*"] for all.'
            )
        checked = list(
            dict.fromkeys(
                pattern
                if isinstance(pattern, str) and pattern in kept
                else self._check_pattern(pattern)
                for pattern in patterns
            )
        )
        if not checked:
            raise InvalidSubscription(
                'Choose at least one event type, such as "license.created" or "license.*". For every event type, '
                'including future ones, leave the list out or write ["*"].'
            )
        return None if EVERYTHING in checked else checked

    def _check_pattern(self, pattern: object) -> str:
        if not isinstance(pattern, str):
            raise InvalidSubscription(
                '%(name)s is not the name of an event type: write text, such as "license.created" or '
                '"license.*".',
                name=quoted(pattern),
            )
        pattern = pattern.strip()
        if pattern == EVERYTHING:
            return pattern
        if "*" in pattern:
            return self._check_prefix(pattern)
        event_type = self._types.get(pattern)
        if event_type is None:
            raise InvalidSubscription(self.explain_unknown(pattern))
        if not event_type.subscribable:
            raise InvalidSubscription(
                "%(name)s cannot be subscribed to: it is only sent to endpoints manually. Leave it out of the list.",
                name=quoted(pattern),
            )
        return pattern

    def _check_prefix(self, pattern: str) -> str:
        prefix = pattern.removesuffix(".*")
        known = any(kind.subscribable and matches([pattern], kind.name) for kind in self)
        if not known or not _NAME.fullmatch(prefix.lower()):
            raise InvalidSubscription(self.explain_unknown(pattern))
        return pattern

    def explain_unknown(self, pattern: str) -> Text:
        """Return an error for an unknown name or prefix, with similar names."""
        if "*" not in pattern:
            return Text(
                "There is no event type %(name)s.%(hint)s",
                name=quoted(pattern),
                hint=self._did_you_mean(pattern),
            )
        prefix = pattern.removesuffix(".*")
        if not _NAME.fullmatch(prefix.lower()):
            return Text(
                '%(name)s is not a pattern: * must stand alone or after the last dot, as in "license.*".',
                name=quoted(pattern),
            )
        return Text(
            "No event type begins with %(prefix)s.%(hint)s",
            prefix=quoted(prefix + "."),
            hint=self._did_you_mean(prefix),
        )

    def _did_you_mean(self, name: str) -> Text | str:
        """Return a sentence with up to three similar names, after a space; empty if there are none."""
        if len(name) > MAX_NAME_LENGTH:
            return ""
        names = [event_type.name for event_type in self if event_type.subscribable]
        prefixes = {n.rpartition(".")[0]: None for n in names}
        if name.lower() in prefixes:
            close = [f"{name.lower()}.*"]
        else:
            close = difflib.get_close_matches(name.lower(), names)
            close += [f"{p}.*" for p in difflib.get_close_matches(name.lower(), prefixes, n=1)]
        return Text(" Did you mean %(names)s?", names=" / ".join(close[:3])) if close else ""


def matches(patterns: Sequence[str] | None, name: str) -> bool:
    """Return whether a subscription covers an event type.

    :param patterns: as :meth:`Catalog.check_patterns` returns them: ``None`` for everything, exact names, and
    prefixes: ``a.*`` covers ``a.b`` and ``a.b.c`` but not ``a``.
    """
    if patterns is None:
        return True
    return any(
        pattern in (name, EVERYTHING) or (pattern.endswith(".*") and name.startswith(pattern[:-1]))
        for pattern in patterns
    )


def builtin_catalog() -> Catalog:
    """Return a new catalogue with all built-in event types, to which an application may add its own."""
    # Imported here, because its entries are instances of EventType.
    from .event_types import BUILTIN_EVENT_TYPES

    return Catalog(BUILTIN_EVENT_TYPES)


def _nullable(schema: object) -> bool:
    """Return whether the JSON Schema of a member allows ``null``."""
    types = schema.get("type") if isinstance(schema, Mapping) else None
    return types is None or "null" in ([types] if isinstance(types, str) else types)


def _check_name(event_type: EventType) -> None:
    name = event_type.name
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidEventType(
            f"{name!r} is not a name for an event type: write lower-case letters, digits and "
            'underscores in segments joined by dots, such as "license.activated".'
        )
    # The part before the dot is needed for prefixes of subscriptions.
    if event_type.subscribable and "." not in name:
        raise InvalidEventType(
            f"The event type {name!r} needs at least two segments: what it is about and what "
            f"happened, such as {name + '.created'!r}."
        )
    if len(name) > MAX_NAME_LENGTH:
        raise InvalidEventType(
            f"The name {name[:40] + '…'!r} of an event type has {len(name)} characters; write at "
            f"most {MAX_NAME_LENGTH}."
        )


def _check_json_object(name: str, attribute: str, value: object) -> None:
    try:
        is_object = json.dumps(value, allow_nan=False).startswith("{")
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidEventType(
            f"The {attribute} of the event type {name!r} is not JSON ({error}): use only dict with "
            "text keys, list, str, int, float, bool and None; write times and ids as text."
        ) from error
    if not is_object:
        raise InvalidEventType(
            f"The {attribute} of the event type {name!r} must be a dict, not "
            f"{type(value).__name__}."
        )
