"""Databases that cannot store all of Unicode: detection, and replacements."""

from __future__ import annotations

import sqlalchemy as sa

from ..app_state import AppState
from ..texts import Text

#: Replacements of our own characters in texts: masks, and invalid UTF-8.
_SIGNS = str.maketrans({"•": "*", "\N{REPLACEMENT CHARACTER}": "?"})

#: Encodings of PostgreSQL that can store everything from a UTF-8 client.
_WIDE = {"UTF8", "SQL_ASCII"}

_OTHER_CHARSETS = sa.text(
    "SELECT DISTINCT table_name AS name FROM information_schema.columns "
    "WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name IN :tables "
    "AND character_set_name <> 'utf8mb4' ORDER BY name"
).bindparams(sa.bindparam("tables", expanding=True))


def with_plain_signs(text: str) -> str:
    """Replace our own characters by ASCII: ``****`` as a mask."""
    return text.translate(_SIGNS)


def in_ascii(text: str) -> str:
    """Return a text in ASCII, with escapes such as ``\\u2713``."""
    return with_plain_signs(text).encode("ascii", "backslashreplace").decode("ascii")


def unicode_trouble(state: AppState, connection: sa.Connection) -> Text | None:
    """Return why our tables cannot store every character, with advice; ``None`` if they can."""
    match connection.dialect.name:
        case "postgresql":
            return _of_postgresql(connection)
        case "mysql" | "mariadb":
            return _of_mysql(state, connection)
        case _:
            return None


def _of_postgresql(connection: sa.Connection) -> Text | None:
    server, client = (
        str(connection.scalar(sa.text(f"SHOW {name}_encoding"))) for name in ("server", "client")
    )
    if server not in _WIDE:
        return Text(
            "The encoding of the database is %(encoding)s, which cannot hold every character. Move it into a "
            "database with the encoding UTF8.",
            encoding=server,
        )
    if client != "UTF8":
        return Text(
            "The connection to the database uses %(encoding)s, which cannot hold every character. Add "
            "client_encoding=utf8 to the URL of the database.",
            encoding=client,
        )
    return None


def _of_mysql(state: AppState, connection: sa.Connection) -> Text | None:
    client = connection.scalar(sa.text("SELECT @@character_set_client"))
    if client != "utf8mb4":
        return Text(
            "The connection to the database uses %(encoding)s, which cannot hold every character. Add "
            "charset=utf8mb4 to the URL of the database.",
            encoding=client,
        )
    metadata = state.models.metadata
    names = [table.name for table in state.models.tables()]
    rows = connection.execute(_OTHER_CHARSETS, {"schema": metadata.schema, "tables": names})
    if narrow := [row.name for row in rows]:
        return Text(
            "Tables with a character set that cannot hold every character: %(tables)s. Convert them to "
            "utf8mb4.",
            tables=", ".join(narrow),
        )
    return None
