"""Rules for event types of which an endpoint gets at most one event per key in an interval."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..catalog.registry import Catalog
from ..errors import Faults, InvalidEndpoint, UnknownEventType
from ..texts import quoted

#: Rules of one endpoint.
MAX_RULES = 10
#: Seconds of an interval.
SHORTEST, LONGEST = 1, 86_400
#: Characters of the path of a member.
MAX_PATH = 500

_FIELD = "coalesce"


@dataclass(frozen=True, slots=True)
class Rule:
    """At most one event for each value of a member within a number of seconds."""

    #: Names of members within the data: ``("license", "key")``.
    path: tuple[str, ...]
    seconds: int


def check_coalescing(
    given: Any, catalog: Catalog, kept: Mapping[str, Any] | None = None
) -> dict[str, Any] | None:
    """Return rules in their stored form; ``None`` for none.

    :param given: ``{"license.validated": {"by": "data.license_key", "seconds": 60}}``.
    :param kept: the current rules of the endpoint, which may keep rules of removed event types.
    :raises InvalidEndpoint: they are malformed; `errors` has all errors.
    """
    if given is None or given == {}:
        return None
    if not isinstance(given, Mapping):
        raise InvalidEndpoint(
            'Write coalesce as a JSON object, such as {"license.validated": {"by": "data.license_key", '
            '"seconds": 60}}.',
            field=_FIELD,
        )
    if len(given) > MAX_RULES:
        raise InvalidEndpoint(
            "%(count)s event types are coalesced, more than %(most)s: leave some out.",
            count=len(given),
            most=MAX_RULES,
            field=_FIELD,
        )
    faults = Faults()
    rules: dict[str, Any] = {}
    for event_type, rule in given.items():
        if event_type not in (kept or {}):
            faults.check(check_type, event_type, catalog)
        if not isinstance(rule, Mapping) or set(rule) != {"by", "seconds"}:
            with faults:
                raise InvalidEndpoint(
                    'Write the rule for %(type)s as {"by": "data.license_key", "seconds": 60}: with these two '
                    "members and no others.",
                    type=quoted(event_type),
                    field=_FIELD,
                )
            continue
        member = faults.check(check_member, rule["by"])
        seconds = faults.check(check_seconds, rule["seconds"])
        rules[event_type] = {"by": member, "seconds": seconds}
    faults.finish()
    return rules


def check_type(name: Any, catalog: Catalog) -> str:
    """Return the name of an event type.

    :raises InvalidEndpoint: there is none of this name.
    """
    if not isinstance(name, str):
        raise InvalidEndpoint(
            "%(name)s is not an event type: write a name such as license.validated.",
            name=quoted(name),
            field=_FIELD,
        )
    try:
        return catalog[name].name
    except UnknownEventType as error:
        raise InvalidEndpoint("Coalescing: %(why)s", why=error.text, field=_FIELD) from None


def check_member(given: Any) -> str:
    """Return the path of a member.

    :raises InvalidEndpoint: it is malformed.
    """
    names = given.split(".") if isinstance(given, str) else []
    if len(names) < 2 or names[0] != "data" or not all(name.strip() for name in names):
        raise InvalidEndpoint(
            "%(path)s is not a member of the data: write it like data.license_key or data.user.email.",
            path=quoted(given),
            field=_FIELD,
        )
    if len(given) > MAX_PATH:
        raise InvalidEndpoint(
            "The path of the member has %(length)s characters, more than %(most)s.",
            length=len(given),
            most=MAX_PATH,
            field=_FIELD,
        )
    return str(given)


def check_seconds(given: Any) -> int:
    """Return the length of an interval.

    :raises InvalidEndpoint: it is not a whole number, or too small or large.
    """
    whole = isinstance(given, int | float) and not isinstance(given, bool) and given == given // 1
    if not whole or not SHORTEST <= given <= LONGEST:
        raise InvalidEndpoint(
            "%(given)s is not an interval: write whole seconds from %(least)s to %(most)s.",
            given=quoted(given),
            least=SHORTEST,
            most=LONGEST,
            field=_FIELD,
        )
    return int(given)


@functools.lru_cache(maxsize=1024)
def stored_rules(text: str) -> Mapping[str, Rule]:
    """Return the rules by event type, without unreadable rules of a newer version.

    :param text: the stored text.
    """
    rules: dict[str, Rule] = {}
    stored = json.loads(text)
    for event_type, rule in stored.items() if isinstance(stored, dict) else ():
        try:
            path = check_member(rule["by"]).split(".")[1:]
            rules[event_type] = Rule(tuple(path), check_seconds(rule["seconds"]))
        except (InvalidEndpoint, KeyError, TypeError):
            continue
    return rules


def event_key(event_type: str, rule: Rule, data_json: str) -> str | None:
    """Return the digest of an event's key; ``None`` if the member is missing or ``null``."""
    value = json.loads(data_json)
    for name in rule.path:
        if not isinstance(value, dict) or name not in value:
            return None
        value = value[name]
    if value is None:
        return None
    # The order of members does not matter.
    return hashlib.sha256(json.dumps([event_type, value], sort_keys=True).encode()).hexdigest()
