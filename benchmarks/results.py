"""What a scenario finds out, and the few numbers that are taken of many."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Goal:
    """What the ratio of ours to theirs should be."""

    bound: Literal[">=", "<="]
    ratio: float

    def met(self, ratio: float) -> bool:
        return ratio >= self.ratio if self.bound == ">=" else ratio <= self.ratio

    def __str__(self) -> str:
        return f"{self.bound} {self.ratio:g}"


def at_least(ratio: float) -> Goal:
    return Goal(">=", ratio)


def at_most(ratio: float) -> Goal:
    return Goal("<=", ratio)


@dataclass(frozen=True)
class Result:
    """One line of the report."""

    scenario: str
    database: str
    ours: float
    theirs: float
    unit: str
    goal: Goal | None = None
    lost: int = 0
    duplicates: int = 0

    @property
    def ratio(self) -> float:
        """Ours by theirs; nothing beside nothing is even."""
        if self.theirs:
            return self.ours / self.theirs
        return 1.0 + self.ours

    @property
    def met(self) -> bool | None:
        """``None`` where there is no goal."""
        return None if self.goal is None else self.goal.met(self.ratio)

    def as_json(self) -> str:
        """One line; the goal is a text such as ``>= 0.6`` or null."""
        return json.dumps(
            {
                "scenario": self.scenario,
                "database": self.database,
                "ours": significant(self.ours),
                "theirs": significant(self.theirs),
                "unit": self.unit,
                "ratio": significant(self.ratio),
                "goal": None if self.goal is None else str(self.goal),
                "lost": self.lost,
                "duplicates": self.duplicates,
            }
        )


@dataclass
class Account:
    """What was to be delivered, and what the receiver counted."""

    lost: int = 0
    duplicates: int = 0

    def add(self, expected: int, distinct: int, requests: int) -> None:
        self.lost += max(expected - distinct, 0)
        self.duplicates += requests - distinct


def in_turns(rounds: int, *contestants: Callable[[], float]) -> list[float]:
    """Let each have its turn, several rounds long; returns the median of each."""
    figures: list[list[float]] = [[] for _ in contestants]
    for _ in range(rounds):
        for contestant, figure in zip(contestants, figures, strict=True):
            figure.append(contestant())
    return [statistics.median(figure) for figure in figures]


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent do not exceed."""
    ordered = sorted(values)
    return ordered[max(math.ceil(len(ordered) * percent / 100) - 1, 0)]


def significant(value: float, digits: int = 4) -> float:
    """Rounded to what can be believed; whole numbers stay as they are."""
    if value == 0 or value == int(value):
        return int(value)
    return round(value, max(digits - 1 - math.floor(math.log10(abs(value))), 0))
