"""The findings of the doctor."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Level(enum.StrEnum):
    """How severe it is."""

    OK = "ok"
    #: It works, and will not in some case.
    WARNING = "warning"
    #: Something does not work.
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    #: Where: ``database``, ``redis`` …
    area: str
    level: Level
    #: What was found, in a sentence.
    text: str
    #: What follows from it, and what to do; empty where all is well.
    meaning: str = ""
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Area:
    """Makes findings about one area."""

    name: str

    def ok(self, text: str) -> Finding:
        return Finding(self.name, Level.OK, text)

    def warning(self, text: str, meaning: str, advice: str) -> Finding:
        return Finding(self.name, Level.WARNING, text, meaning, advice)

    def problem(self, text: str, meaning: str, advice: str) -> Finding:
        return Finding(self.name, Level.PROBLEM, text, meaning, advice)
