"""The output of commands: text, fields, tables and JSON. Foreign text, such as the response of a receiver, may
contain escape sequences that control a terminal.

All output passes through `say`, which removes them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from .. import queries
from ..log import without_stop
from ..serializers import to_json

#: Characters of a response that are shown.
LONGEST_QUOTE = 300
#: Characters of an error in a table.
LONGEST_CELL = 80


def say(text: str = "", *, err: bool = False) -> None:
    """Print lines without control characters, with a ``?`` for characters that the terminal cannot encode.

    :param err: on standard error.
    """
    shown = "\n".join(plain(line.expandtabs(4)) for line in text.split("\n"))
    try:
        click.echo(shown, err=err)
    except UnicodeEncodeError:
        encoding = (sys.stderr if err else sys.stdout).encoding
        click.echo(shown.encode(encoding, "replace").decode(encoding), err=err)


def print_json(found: Iterable[dict[str, Any]] | dict[str, Any]) -> None:
    """Print a serialized object, or a list of them, as the API gives them."""
    say(to_json(found if isinstance(found, dict) else list(found), indent=2))


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]], empty: str) -> None:
    """Print aligned columns, or one sentence if there are no rows."""
    if not rows:
        say(empty)
        return
    lines = [head, *([plain(str(cell)) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        say("  ".join(padded).rstrip())


def print_fields(fields: Iterable[tuple[str, object]], indent: str = "") -> None:
    """Print a name and a value on each line; values that are empty or ``None`` are left out."""
    shown = [(name, plain(str(value))) for name, value in fields if value not in (None, "")]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        say(f"{indent}{name.ljust(width)}  {value}")


def tell_of_more(page: queries.Page[Any]) -> None:
    """Print on standard error that there are more rows than the table shows."""
    if page.next_before is not None:
        say(f"There are more: --limit shows up to {queries.MAX_LIMIT}.", err=True)


def counted(number: int) -> str:
    """Format a number of waiting deliveries: ``12``, or ``10,000+`` at the counting limit."""
    more = "+" if number >= queries.MOST_COUNTED else ""
    return f"{number:,}{more}"


def shown_time(moment: datetime) -> str:
    """Format a time for people: ``2026-01-31 12:00:00 UTC``."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def maybe_time(moment: datetime | None) -> str:
    """Format a time, or return an empty text for ``None``."""
    return "" if moment is None else shown_time(moment)


def shown_duration(seconds: float) -> str:
    """Format seconds in the largest unit that fits: ``45 s``, ``12 min``, ``3 h``, ``2 d``."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def plain(text: str) -> str:
    """Remove control characters, which could control the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def shortened(text: str, most: int = LONGEST_QUOTE) -> str:
    """Return the beginning of a foreign text."""
    return plain(text if len(text) <= most else f"{text[:most]}…")


def first_line(error: BaseException | None) -> str:
    """Return the message of an exception in one line, without a full stop."""
    lines = str(error).strip().splitlines()
    return plain(without_stop(lines[0])) if lines else type(error).__name__
