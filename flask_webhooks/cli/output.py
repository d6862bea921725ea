"""Tables and JSON on standard output."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from .. import queries
from ..logs import without_stop
from ..serializers import JsonObject, to_json

#: Characters that are shown of what a receiver answered.
LONGEST_QUOTE = 300


def print_json(items: Iterable[Any], kind: type[JsonObject]) -> None:
    """Print a JSON list of objects as the API gives them."""
    click.echo(to_json([kind.serialize(item) for item in items], indent=2))


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]], empty: str) -> None:
    """Print aligned columns, or one sentence if there are no rows."""
    if not rows:
        click.echo(empty)
        return
    lines = [head, *([plain(str(cell)) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(padded).rstrip())


def tell_of_more(page: queries.Page[Any]) -> None:
    """Say on standard error, beside a table, that there are older ones than it has."""
    if page.next_before is not None:
        click.echo(f"There are older ones: --limit shows up to {queries.MAX_LIMIT}.", err=True)


def counted(number: int) -> str:
    """A number of waiting deliveries: ``12``, or ``10,000+`` where counting ended."""
    more = "+" if number >= queries.MOST_COUNTED else ""
    return f"{number:,}{more}"


def shown_time(moment: datetime) -> str:
    """For people: ``2026-01-31 12:00:00 UTC``."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def plain(text: str) -> str:
    """Without control characters, which would steer the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def shortened(text: str) -> str:
    """The beginning of a text that somebody else wrote."""
    return plain(text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}…")


def first_line(error: BaseException | None) -> str:
    """What an exception says, in one line, without a full stop."""
    lines = str(error).strip().splitlines()
    return plain(without_stop(lines[0])) if lines else type(error).__name__
