"""Databases as the first 0.1.0 left them, and what its application and its worker did to them."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

FOLDER = Path(__file__).with_name("upgrades")


def make_old_tables(engine: sa.Engine, *, without: str | None = None) -> None:
    """Create the tables of that version in an empty database.

    :param without: a line of the file that is left out.
    """
    text = (FOLDER / f"tables-{engine.dialect.name}.sql").read_text()
    if without is not None:
        text, found = re.subn(f",\n *{re.escape(without)}(?=[,\n])", "", text)
        assert found == 1
    with engine.begin() as connection:
        for statement in filter(str.strip, text.split(";\n")):
            connection.exec_driver_sql(statement)


def recorded(engine: sa.Engine, name: str) -> list[dict[str, Any]]:
    """The statements of one file."""
    lines = (FOLDER / f"{name}-{engine.dialect.name}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def replay(connection: sa.Connection, statements: list[dict[str, Any]]) -> None:
    """Run them as the old version did."""
    for entry in statements:
        if "copy" in entry:
            cursor: Any = connection.connection.cursor()
            with cursor, cursor.copy(entry["copy"]) as copy:
                for row in entry["rows"]:
                    copy.write_row(_values(row))
        else:
            values = _values(entry["params"])
            if isinstance(values, list):
                values = [tuple(row) if isinstance(row, list) else row for row in values]
                values = values if entry["many"] else tuple(values)
            result = connection.exec_driver_sql(entry["sql"], values)
            if result.returns_rows:
                result.fetchall()


def emit_as_before(engine: sa.Engine, number: int) -> None:
    """Write one event with its deliveries, as the old version's `emit` did.

    :param number: makes their ids differ.
    """
    found = []
    for entry in recorded(engine, "work"):
        if re.match("INSERT INTO webhooks_(event|delivery) ", entry.get("sql", "")):
            text = re.sub(r"\b(evt|dlv)_\w{8}", rf"\1_{number:08}", json.dumps(entry))
            found.append(json.loads(text))
    assert len(found) == 2
    with engine.begin() as connection:
        replay(connection, found)


def _values(value: Any) -> Any:
    match value:
        case {"time": str(text)}:
            return datetime.fromisoformat(text)
        case dict():
            return {name: _values(item) for name, item in value.items()}
        case list():
            return [_values(item) for item in value]
    return value
