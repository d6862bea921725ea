"""Parse filters, and report all errors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..columns import compact_json
from ..errors import Faults, InvalidFilter
from ..texts import Text, quoted
from .clauses import Clause, Comparison, Conjunction, Disjunction, MemberClauses, Negation, Operator

#: Levels of objects and lists.
MAX_LEVELS = 20
#: Members of objects, elements of lists and single values together.
MAX_VALUES = 500
#: Conditions, each of which is checked for every event.
MAX_CONDITIONS = 50
#: Characters of the whole filter as compact JSON.
MAX_LENGTH = 8192
#: The maximum number of reported errors.
_MOST_FAULTS = 10

#: The parts of an event that a filter may use.
PARTS = ("data", "type")

_OPERATORS = {operator.value: operator for operator in Operator if operator != Operator.IS}
_LOGICAL = ("$and", "$or", "$not")
_ORDERING = frozenset(
    {Operator.GREATER, Operator.AT_LEAST, Operator.LESS, Operator.AT_MOST},
)
_AFFIXES = frozenset({Operator.STARTS_WITH, Operator.ENDS_WITH})
_MEMBERSHIP = frozenset({Operator.IN, Operator.NOT_IN})


def parse_filter(given: Any) -> Clause | None:
    """Return the parsed filter; ``None`` if it is ``None`` or empty, and so matches everything.

    :param given: plain JSON, such as ``{"data": {"amount": {"$gte": 100}}}``.
    :raises InvalidFilter: it is malformed or too large; `errors` has all errors.
    """
    if given is None or given == {}:
        return None
    if not isinstance(given, Mapping):
        raise InvalidFilter(
            'Write the filter as a JSON object, such as {"data": {"amount": {"$gte": 100}}}.'
        )
    _check_size(given)
    reader = _Reader()
    clause = reader.read_event(given, "filter")
    reader.faults.finish()
    assert clause is not None
    return clause


def check_event_filter(given: Any) -> dict[str, Any] | None:
    """Return a filter in its stored form; ``None`` for none.

    :raises InvalidFilter: as `parse_filter`.
    """
    return None if parse_filter(given) is None else dict(given)


def _check_size(given: Any) -> None:
    """Check size and depth, without recursion, because the input has not been checked yet."""
    count = 0
    level = [given]
    depth = 0
    while level:
        depth += 1
        if depth > MAX_LEVELS:
            raise InvalidFilter(
                "The filter is nested more than %(most)s levels deep: make it flatter.",
                most=MAX_LEVELS,
            )
        inner: list[Any] = []
        for item in level:
            values = list(item.values()) if isinstance(item, Mapping) else item
            count += len(values)
            if count > MAX_VALUES:
                raise InvalidFilter(
                    "The filter has more than %(most)s values: shorten its lists, or use fewer conditions.",
                    most=MAX_VALUES,
                )
            inner += [value for value in values if isinstance(value, Mapping | list | tuple)]
        level = inner
    try:
        length = len(compact_json(given))
    except (TypeError, ValueError):
        raise InvalidFilter(
            "The filter contains a value that JSON cannot represent: use strings, numbers, true, false, null, lists "
            "and objects."
        ) from None
    if length > MAX_LENGTH:
        raise InvalidFilter(
            "The filter has %(length)s characters, more than %(most)s: shorten it.",
            length=f"{length:,}",
            most=f"{MAX_LENGTH:,}",
        )


@dataclass(slots=True)
class _Reader:
    """Parses one filter, and continues after an error, to report all of them."""

    faults: Faults = field(default_factory=Faults)
    conditions: int = 0

    def _refuse(self, message: str, path: str, **values: str) -> None:
        if len(self.faults.found) < _MOST_FAULTS:
            with self.faults:
                raise InvalidFilter(message, path=path, where=path, **values)

    def read_event(self, given: Any, path: str) -> Clause | None:
        """Parse conditions on a whole event."""
        if not isinstance(given, Mapping):
            self._refuse('%(where)s must be an object, such as {"data": {"amount": 100}}.', path)
            return None
        for name in given:
            if name not in PARTS and name not in _LOGICAL:
                self._refuse(
                    "%(where)s: an event has no part called %(name)s. Begin with data or type, as in "
                    '{"data": {"license_id": "lic_1"}}.',
                    path,
                    name=quoted(name),
                )
        known = {name: given[name] for name in given if name in PARTS or name in _LOGICAL}
        if not known and self.faults.found:
            return None
        return self._read_object(known, path, of_event=True)

    def read_value(self, given: Any, path: str) -> Clause | None:
        """Parse conditions on a value."""
        if isinstance(given, Mapping):
            return self._read_object(given, path, of_event=False)
        if isinstance(given, list | tuple):
            if not given:
                self._refuse("%(where)s is an empty list: write what it must contain.", path)
                return None
            return _all_of(
                [self.read_value(item, f"{path}[{number}]") for number, item in enumerate(given)]
            )
        return self._compare(Operator.IS, given, path)

    def _read_object(self, given: Mapping[Any, Any], path: str, *, of_event: bool) -> Clause | None:
        if not given:
            self._refuse("%(where)s is empty: add a condition, or leave it out.", path)
            return None
        operators = [name for name in given if name in _OPERATORS and not of_event]
        members = [name for name in given if not str(name).startswith("$")]
        if operators and members:
            self._refuse(
                "%(where)s mixes the operator %(operator)s with the member %(member)s: put each into an object of "
                "its own, within $and.",
                path,
                operator=operators[0],
                member=quoted(members[0]),
            )
            return None
        found: list[Clause | None] = []
        named: list[tuple[str, Clause]] = []
        for name, value in given.items():
            inner = f"{path}.{name}"
            if name in _LOGICAL:
                found.append(self._read_logical(name, value, inner, of_event=of_event))
            elif name in operators:
                found.append(self._compare(_OPERATORS[name], value, inner))
            elif not isinstance(name, str) or name.startswith("$"):
                self._refuse(
                    "%(where)s has the unknown operator %(name)s: use one of %(choices)s.",
                    path,
                    name=quoted(name),
                    choices=", ".join((*_LOGICAL, *(() if of_event else _OPERATORS))),
                )
            elif of_event and name == "data" and not isinstance(value, Mapping):
                self._refuse("%(where)s must be an object of members and their conditions.", inner)
            else:
                clause = self.read_value(value, inner)
                if clause is not None:
                    named.append((name, clause))
        if named:
            found.insert(0, MemberClauses(tuple(named)))
        return _all_of(found)

    def _read_logical(self, name: str, given: Any, path: str, *, of_event: bool) -> Clause | None:
        read = self.read_event if of_event else self.read_value
        if name == "$not":
            clause = read(given, path)
            return None if clause is None else Negation(clause)
        if not isinstance(given, list | tuple) or not given:
            self._refuse("%(where)s needs a list of conditions, with at least one in it.", path)
            return None
        clauses = [read(item, f"{path}[{number}]") for number, item in enumerate(given)]
        kept = tuple(clause for clause in clauses if clause is not None)
        return Disjunction(kept) if name == "$or" else Conjunction(kept)

    def _compare(self, operator: Operator, operand: Any, path: str) -> Clause | None:
        self.conditions += 1
        if self.conditions == MAX_CONDITIONS + 1:
            self._refuse(
                "The filter has more than %(most)s conditions: leave some out, or use $in with a list.",
                "filter",
                most=str(MAX_CONDITIONS),
            )
        wanted = _wanted(operator, operand)
        if wanted is not None:
            self._refuse(
                "%(where)s needs %(wanted)s, not %(given)s.",
                path,
                wanted=wanted,
                given=quoted(operand),
            )
            return None
        return Comparison(operator, operand)


def _all_of(clauses: list[Clause | None]) -> Clause | None:
    kept = tuple(clause for clause in clauses if clause is not None)
    if not kept:
        return None
    return kept[0] if len(kept) == 1 else Conjunction(kept)


def _wanted(operator: Operator, operand: Any) -> Text | None:
    """Return what an operator needs instead of an operand; ``None`` if the operand is valid."""
    if not _is_storable(operand):
        return Text("texts of Unicode characters, and finite numbers")
    if operator == Operator.EXISTS:
        return None if isinstance(operand, bool) else Text("true or false")
    if operator in _ORDERING:
        fits = isinstance(operand, str) or _is_number(operand)
        return None if fits else Text("a number or a text")
    if operator in _AFFIXES:
        fits = _is_text(operand) or (
            isinstance(operand, list) and bool(operand) and all(map(_is_text, operand))
        )
        return None if fits else Text("a text, or a list of texts")
    if operator in _MEMBERSHIP:
        # Every text contains the empty one, so it would not be a condition.
        fits = _is_text(operand) or _is_number(operand)
        if isinstance(operand, list) and operand:
            fits = all(_is_scalar(item) for item in operand)
        return None if fits else Text("a list of single values, or a text that is contained")
    return None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def _is_storable(value: Any) -> bool:
    match value:
        case str():
            return value.isascii() or not any("\ud800" <= sign <= "\udfff" for sign in value)
        case float():
            return math.isfinite(value)
        case list() | tuple():
            return all(map(_is_storable, value))
        case Mapping():
            return all(_is_storable(name) and _is_storable(item) for name, item in value.items())
        case _:
            return True
