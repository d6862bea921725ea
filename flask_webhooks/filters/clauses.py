"""What a filter consists of, once it was read."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any


class Operator(enum.StrEnum):
    """How a value is compared. `IS` is written without an operator: ``{"plan": "pro"}``."""

    IS = "="
    EQUAL = "$eq"
    NOT_EQUAL = "$neq"
    GREATER = "$gt"
    AT_LEAST = "$gte"
    LESS = "$lt"
    AT_MOST = "$lte"
    #: One of a list; with a text: contains it, as a list may contain a value.
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
    """Conditions on members of an object; of a list one element must meet all of them."""

    members: tuple[tuple[str, Clause], ...]


@dataclass(frozen=True, slots=True)
class Conjunction:
    """Every one of these is met."""

    clauses: tuple[Clause, ...]


@dataclass(frozen=True, slots=True)
class Disjunction:
    """At least one of these is met."""

    clauses: tuple[Clause, ...]


@dataclass(frozen=True, slots=True)
class Negation:
    """This is not met, by a value that is there."""

    clause: Clause


Clause = Comparison | MemberClauses | Conjunction | Disjunction | Negation

#: What stands for a value that is not there.
MISSING: Any = object()

#: Elements of a list in the data that conditions look at: an event is matched in the host's transaction.
MOST_ELEMENTS = 1000
