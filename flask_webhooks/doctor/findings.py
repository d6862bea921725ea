"""The findings of the doctor."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Level(enum.StrEnum):
    """How severe it is."""

    OK = "ok"
    #: It works, but not in all cases.
    WARNING = "warning"
    #: Something does not work.
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    #: The area: ``database``, ``redis`` …
    area: str
    level: Level
    #: The result, in a sentence.
    text: str
    #: The consequence, and what to do; empty if all is well.
    meaning: str = ""
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Area:
    """Creates findings of one area."""

    name: str

    def ok(self, text: str) -> Finding:
        return Finding(self.name, Level.OK, text)

    def warning(self, text: str, meaning: str, advice: str) -> Finding:
        return Finding(self.name, Level.WARNING, text, meaning, advice)

    def problem(self, text: str, meaning: str, advice: str) -> Finding:
        return Finding(self.name, Level.PROBLEM, text, meaning, advice)
