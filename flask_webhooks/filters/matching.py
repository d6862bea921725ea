"""Compile a filter to a fast function, which runs in the host's transaction for each event and filter."""

from __future__ import annotations

import functools
import json
import operator
from collections.abc import Callable, Mapping
from typing import Any

from ..log import get_logger, log_failure
from .clauses import (
    MISSING,
    MOST_ELEMENTS,
    Clause,
    Comparison,
    Conjunction,
    Disjunction,
    MemberClauses,
    Negation,
    Operator,
)
from .notation import parse_filter

#: A function that returns whether a value meets a condition.
Matcher = Callable[[Any], bool]

logger = get_logger("flask_webhooks.filters")

_NUMBERS = (int, float)
_ORDER: dict[Operator, Callable[[Any, Any], bool]] = {
    Operator.GREATER: operator.gt,
    Operator.AT_LEAST: operator.ge,
    Operator.LESS: operator.lt,
    Operator.AT_MOST: operator.le,
}


@functools.lru_cache(maxsize=4096)
def stored_matcher(text: str) -> Matcher:
    """Return the function of a stored filter.

    Cached by its text, so that no change is missed. A filter that this version cannot read, because a later
    version has written it, matches everything: an extra event is less harmful than a missing one.
    """
    try:
        clause = parse_filter(json.loads(text))
    except Exception as error:
        log_failure(
            logger, "A filter cannot be parsed, so its endpoint gets all events", error=error
        )
        return _everything
    return _everything if clause is None else compile_clause(clause)


def event_view(event_type: str, data: Any) -> dict[str, Any]:
    """Return the part of an event that filters can use."""
    return {"type": event_type, "data": data}


def compile_clause(clause: Clause) -> Matcher:
    """Return a function that says whether a value meets a clause."""
    match clause:
        case Comparison():
            return _comparison(clause)
        case MemberClauses():
            return _members([(name, compile_clause(inner)) for name, inner in clause.members])
        case Conjunction():
            return _all([compile_clause(inner) for inner in clause.clauses])
        case Disjunction():
            return _any([compile_clause(inner) for inner in clause.clauses])
        case Negation():
            denied = compile_clause(clause.clause)
            # A missing value only meets "$exist": false.
            return lambda value: value is not MISSING and not denied(value)


def is_same(value: Any, other: Any) -> bool:
    """Return whether two JSON values are equal; true is not 1, as it is in Python."""
    match other:
        case bool() | None:
            return value is other
        case int() | float():
            return type(value) in _NUMBERS and value == other
        case list() | tuple():
            return (
                isinstance(value, list)
                and len(value) == len(other)
                and all(map(is_same, value, other))
            )
        case Mapping():
            return (
                isinstance(value, dict)
                and value.keys() == other.keys()
                and all(is_same(value[name], item) for name, item in other.items())
            )
        case _:
            return type(value) is str and value == other


def _everything(_value: Any) -> bool:
    return True


def _members(members: list[tuple[str, Matcher]]) -> Matcher:
    def of_object(value: Any) -> bool:
        if type(value) is dict:
            return all(meets(value.get(name, MISSING)) for name, meets in members)
        if type(value) is list:
            return any(map(of_object, value[:MOST_ELEMENTS]))
        return all(meets(MISSING) for _, meets in members)

    if len(members) != 1:
        return of_object
    [(only, meets_it)] = members

    def of_one(value: Any) -> bool:
        if type(value) is dict:
            return meets_it(value.get(only, MISSING))
        if type(value) is list:
            return any(map(of_one, value[:MOST_ELEMENTS]))
        return meets_it(MISSING)

    return of_one


def _all(matchers: list[Matcher]) -> Matcher:
    def meets_each(value: Any) -> bool:
        return all(meets(value) for meets in matchers)

    return meets_each


def _any(matchers: list[Matcher]) -> Matcher:
    def meets_one(value: Any) -> bool:
        return any(meets(value) for meets in matchers)

    return meets_one


def _comparison(condition: Comparison) -> Matcher:
    operand = condition.operand
    match condition.operator:
        case Operator.IS:
            equal = _equal(operand)

            def holds(value: Any) -> bool:
                if type(value) is list:
                    return any(map(holds, value[:MOST_ELEMENTS]))
                return equal(value)

            return holds
        case Operator.EQUAL:
            return _equal(operand)
        case Operator.NOT_EQUAL:
            equal = _equal(operand)
            return lambda value: value is not MISSING and not equal(value)
        case Operator.IN:
            return _contained(operand, wanted=True)
        case Operator.NOT_IN:
            return _contained(operand, wanted=False)
        case Operator.STARTS_WITH:
            ends = tuple(operand) if isinstance(operand, list) else operand
            return lambda value: type(value) is str and value.startswith(ends)
        case Operator.ENDS_WITH:
            ends = tuple(operand) if isinstance(operand, list) else operand
            return lambda value: type(value) is str and value.endswith(ends)
        case Operator.EXISTS:
            return lambda value: (value is not MISSING) is operand
        case ordering:
            compare = _ORDER[ordering]
            kinds: tuple[type, ...] = (str,) if isinstance(operand, str) else _NUMBERS
            return lambda value: type(value) in kinds and compare(value, operand)


def _equal(operand: Any) -> Matcher:
    if type(operand) is str:
        # The most frequent case. Only a text equals a text.
        return lambda value: value == operand
    return lambda value: is_same(value, operand)


def _contained(operand: Any, *, wanted: bool) -> Matcher:
    if isinstance(operand, list):
        truths = [item for item in operand if isinstance(item, bool)]
        others = frozenset(item for item in operand if not isinstance(item, bool))

        def is_listed(value: Any) -> bool:
            if type(value) is bool:
                return (value in truths) is wanted
            if value is None or type(value) in (str, int, float):
                return (value in others) is wanted
            return False

        return is_listed

    def holds_it(value: Any) -> bool:
        if type(value) is str:
            return type(operand) is str and (operand in value) is wanted
        if type(value) is list:
            return any(is_same(item, operand) for item in value[:MOST_ELEMENTS]) is wanted
        return False

    return holds_it
