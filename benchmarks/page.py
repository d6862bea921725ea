"""The page of the documentation: the table, the machine, the plot, and a place for each goal that is missed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from .plot import plot
from .report import cells
from .results import Result

BEGIN = "<!-- figures -->"
END = "<!-- end of figures -->"
UNEXPLAINED = "Not explained yet."

_TITLES = (
    "Scenario: compared with",
    "Database",
    "Ours",
    "Theirs",
    "Unit",
    "Ratio",
    "Goal",
    "",
    "Lost",
    "Dup.",
)
_RIGHT = {"Ours", "Theirs", "Ratio", "Lost", "Dup."}


def write_page(
    page: Path, results: Sequence[Result], machine: Sequence[str], seconds: float
) -> None:
    """Put the figures between the marks of the page, and the plot beside it.

    Under the page's last heading each scenario that misses its goal gets a heading of its own; existing texts are
    kept.

    :raises ValueError: the page has no such marks.
    """
    text = page.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page.name} must hold the lines {BEGIN} and {END}.")
    picture = page.with_suffix(".svg")
    picture.write_text(plot(results))
    figures = [
        f"Measured on {datetime.now(UTC):%Y-%m-%d}, in {seconds / 60:.0f} minutes, on:",
        "",
        *(f"- {line}" for line in machine),
        "",
        *_table(results),
        "",
        f"![Each figure against its goal]({picture.name})",
    ]
    body = "\n".join(["", "", *figures, "", ""])
    page.write_text(before + BEGIN + body + END + explained(after, missed(results)))


def missed(results: Sequence[Result]) -> list[str]:
    """The names of scenarios that miss a goal on any database, each once."""
    return list(dict.fromkeys(result.scenario for result in results if result.met is False))


def explained(text: str, names: Sequence[str]) -> str:
    """The end of the page with a heading for each of these; empty headings are removed."""
    empty = rf"^### [^\n]+\n\n{re.escape(UNEXPLAINED)}\n*"
    text = re.sub(empty, "", text, flags=re.MULTILINE).rstrip() + "\n"
    for name in names:
        if f"\n### {name}\n" not in text:
            text += f"\n### {name}\n\n{UNEXPLAINED}\n"
    return text


def _table(results: Sequence[Result]) -> list[str]:
    rules = ("--:" if title in _RIGHT else "---" for title in _TITLES)
    rows = [_TITLES, tuple(rules), *(tuple(cells(result)) for result in results)]
    return ["| " + " | ".join(row) + " |" for row in rows]
