"""The report for people, on the terminal."""

from __future__ import annotations

from .results import Result


def print_title() -> None:
    print(
        _columns(
            "scenario", "database", "ours", "theirs", "unit", "ratio", "goal", "", "lost", "dup."
        )
    )


def print_line(result: Result) -> None:
    print(_columns(*cells(result)), flush=True)


def print_json(result: Result) -> None:
    print(result.as_json(), flush=True)


def cells(result: Result) -> list[str]:
    """What a line says, in its order."""
    return [
        result.scenario,
        result.database,
        number(result.ours),
        number(result.theirs),
        result.unit,
        number(result.ratio),
        "" if result.goal is None else str(result.goal),
        {None: "", True: "met", False: "MISSED"}[result.met],
        str(result.lost),
        str(result.duplicates),
    ]


def number(value: float) -> str:
    """Three digits that count."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _columns(*texts: str) -> str:
    scenario, database, ours, theirs, unit, ratio, goal, met, lost, duplicates = texts
    return (
        f"{scenario:<54} {database:<10} {ours:>9} {theirs:>9} {unit:<13} {ratio:>7} {goal:>7} {met:<6} "
        f"{lost:>4} {duplicates:>4}"
    )
