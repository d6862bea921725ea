"""The parts of a parsed filter."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any


class Operator(enum.StrEnum):
    """Comparisons of values. `IS` is written without an operator: ``{"plan": "pro"}``."""

    IS = "="
    EQUAL = "$eq"
    NOT_EQUAL = "$neq"
    GREATER = "$gt"
    AT_LEAST = "$gte"
    LESS = "$lt"
    AT_MOST = "$lte"
    #: One of a list; with a text: contains it; a list may also contain the value.
    IN = "$in"
    NOT_IN = "$nin"
    STARTS_WITH = "$startsWith"
    ENDS_WITH = "$endsWith"
    EXISTS = "$exist"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A condition on one value."""

    operator: Operator
    #: Plain JSON.
    operand: Any


@dataclass(frozen=True, slots=True)
class MemberClauses:
    """Conditions on members of an object; in a list, one element must meet all of them."""

    members: tuple[tuple[str, Clause], ...]


@dataclass(frozen=True, slots=True)
class Conjunction:
    """All of these must match."""

    clauses: tuple[Clause, ...]


@dataclass(frozen=True, slots=True)
class Disjunction:
    """At least one of these must match."""

    clauses: tuple[Clause, ...]


@dataclass(frozen=True, slots=True)
class Negation:
    """This must not match, for an existing value."""

    clause: Clause


Clause = Comparison | MemberClauses | Conjunction | Disjunction | Negation

#: A placeholder for a missing value.
MISSING: Any = object()

#: The maximum number of elements of a list that are examined, because events are matched in the host's transaction.
MOST_ELEMENTS = 1000
