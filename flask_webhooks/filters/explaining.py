"""Find the conditions of a filter that an event does not meet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from ..columns import compact_json
from .clauses import (
    MISSING,
    MOST_ELEMENTS,
    Clause,
    Comparison,
    Conjunction,
    Disjunction,
    MemberClauses,
    Negation,
)
from .matching import compile_clause

#: The maximum numbers of listed conditions, and of characters of a value.
MOST_NAMED = 10
MAX_SHOWN = 100


@dataclass(frozen=True, slots=True)
class FailedCondition:
    """A condition that an event does not meet."""

    #: ``data.amount``; ``data.items[].id`` of the elements of a list.
    path: str
    #: Of `clauses.Operator`, or ``$not``.
    operator: str
    #: JSON, shortened if it is long.
    expected: str
    #: JSON, shortened if it is long; ``None`` if there is no such member, or the caller may not see data.
    found: str | None
    #: There is no such member.
    missing: bool = False
    #: It is part of ``$or``: one of several conditions would have been enough.
    alternative: bool = False


def failed_conditions(clause: Clause, event: Any) -> tuple[FailedCondition, ...]:
    """Return the conditions that an event does not meet, at most `MOST_NAMED`; empty if the filter matches.

    :param event: the result of `matching.event_view`.
    """
    if compile_clause(clause)(event):
        return ()
    found = []
    for failed in _failed(clause, event, ""):
        found.append(failed)
        if len(found) == MOST_NAMED:
            break
    return tuple(found)


def _failed(clause: Clause, value: Any, path: str) -> Iterator[FailedCondition]:
    if compile_clause(clause)(value):
        return
    match clause:
        case Comparison():
            yield _named(path, str(clause.operator), shown_value(clause.operand), value)
        case MemberClauses():
            yield from _failed_members(clause, value, path)
        case Conjunction():
            for inner in clause.clauses:
                yield from _failed(inner, value, path)
        case Disjunction():
            several = len(clause.clauses) > 1
            for inner in clause.clauses:
                for failed in _failed(inner, value, path):
                    yield replace(failed, alternative=failed.alternative or several)
        case Negation():
            yield _named(path, "$not", describe_clause(clause.clause), value)


def _failed_members(clause: MemberClauses, value: Any, path: str) -> Iterator[FailedCondition]:
    if isinstance(value, list):
        # No single element is responsible: show the list.
        for failed in _leaves(clause, f"{path}[]"):
            yield replace(failed, found=shown_value(value[:MOST_ELEMENTS]))
        return
    there = value if isinstance(value, dict) else {}
    for name, inner in clause.members:
        inner_path = f"{path}.{name}" if path else name
        yield from _failed(inner, there.get(name, MISSING), inner_path)


def _leaves(clause: Clause, path: str) -> Iterator[FailedCondition]:
    """List all conditions in a clause, without values."""
    match clause:
        case Comparison():
            yield FailedCondition(path, str(clause.operator), shown_value(clause.operand), None)
        case MemberClauses():
            for name, inner in clause.members:
                yield from _leaves(inner, f"{path}.{name}" if path else name)
        case Conjunction():
            for inner in clause.clauses:
                yield from _leaves(inner, path)
        case Disjunction():
            for inner in clause.clauses:
                for leaf in _leaves(inner, path):
                    yield replace(leaf, alternative=leaf.alternative or len(clause.clauses) > 1)
        case Negation():
            yield FailedCondition(path, "$not", describe_clause(clause.clause), None)


def describe_clause(clause: Clause) -> str:
    """Return the conditions in a clause in one line, shortened if it is long: ``data.plan is "pro"``."""
    lines = []
    for leaf in _leaves(clause, ""):
        lines.append(f"{leaf.path} {leaf.operator} {leaf.expected}".strip())
        if len(lines) == MOST_NAMED:
            break
    return _cut("; ".join(lines))


def shown_value(value: Any) -> str:
    """Return a value as JSON, shortened if it is long."""
    return _cut(compact_json(value))


def _named(path: str, operator: str, expected: str, value: Any) -> FailedCondition:
    if value is MISSING:
        return FailedCondition(path, operator, expected, None, missing=True)
    return FailedCondition(path, operator, expected, shown_value(value))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"
