"""Column types with the same meaning on every database."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeDecorator

from .security.vault import Sealed

#: JSON text without spaces, in the order and with the characters given.
compact_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time with microseconds, stored without offset where the database has none."""

    impl = sa.DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> sa.types.TypeEngine[Any]:
        if dialect.name in {"mysql", "mariadb"}:
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(sa.DateTime(timezone=dialect.name == "postgresql"))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone; pass an aware time")
        value = value.astimezone(UTC)
        return value if dialect.name == "postgresql" else value.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class TenantId(TypeDecorator[str]):
    """The id of a tenant.

    Ids that differ in any character are different, also on MySQL, which by default ignores case, accents and
    trailing spaces.
    """

    impl = sa.String(255)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> sa.types.TypeEngine[Any]:
        if dialect.name in {"mysql", "mariadb"}:
            # Collations without padding have different names on each.
            collation = (
                "utf8mb4_nopad_bin" if getattr(dialect, "is_mariadb", False) else "utf8mb4_0900_bin"
            )
            return dialect.type_descriptor(
                mysql.VARCHAR(255, charset="utf8mb4", collation=collation)
            )
        return dialect.type_descriptor(sa.String(255))


class LongText(TypeDecorator[str]):
    """Text of up to 16 MB, also on MySQL, whose plain TEXT ends at 64 KB."""

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> sa.types.TypeEngine[Any]:
        if dialect.name in {"mysql", "mariadb"}:
            return dialect.type_descriptor(mysql.MEDIUMTEXT())
        return dialect.type_descriptor(sa.Text())


class JsonText(TypeDecorator[Any]):
    """JSON stored as the written compact text, which preserves key order and numbers."""

    impl = LongText
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        if value is None:
            return None
        return compact_json(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else json.loads(value)


class SealedText(TypeDecorator[Sealed]):
    """Encrypted text. A row loads even when its text cannot be decrypted: see :class:`Sealed`."""

    impl = LongText
    cache_ok = True

    def process_bind_param(self, value: Sealed | None, dialect: Dialect) -> str | None:
        return None if value is None else value.ciphertext

    def process_result_value(self, value: str | None, dialect: Dialect) -> Sealed | None:
        return None if value is None else Sealed(value)


class utc_now(sa.sql.functions.FunctionElement[datetime]):
    """The database's own clock, in UTC with at least milliseconds, at the time of the statement."""

    type = UtcDateTime()
    inherit_cache = True


@compiles(utc_now)
def _utc_now(element: utc_now, compiler: SQLCompiler, **kw: Any) -> str:
    return "CURRENT_TIMESTAMP"


@compiles(utc_now, "postgresql")
def _utc_now_postgresql(element: utc_now, compiler: SQLCompiler, **kw: Any) -> str:
    return "clock_timestamp()"


@compiles(utc_now, "sqlite")
def _utc_now_sqlite(element: utc_now, compiler: SQLCompiler, **kw: Any) -> str:
    return "(strftime('%Y-%m-%d %H:%M:%f', 'now') || '000')"


@compiles(utc_now, "mysql", "mariadb")
def _utc_now_mysql(element: utc_now, compiler: SQLCompiler, **kw: Any) -> str:
    return "UTC_TIMESTAMP(6)"


class position(sa.sql.functions.FunctionElement[int]):
    """The position of a text in another one, case-insensitively; 0 if it is not found: ``position(whole, part)``.

    It uses the database's text search function, because the time of LIKE grows with the product of both lengths.
    """

    type = sa.Integer()
    inherit_cache = True


@compiles(position)
def _position(element: position, compiler: SQLCompiler, **kw: Any) -> str:
    whole, part = (compiler.process(item, **kw) for item in element.clauses)
    return f"instr(lower({whole}), lower({part}))"


@compiles(position, "postgresql")
def _position_postgresql(element: position, compiler: SQLCompiler, **kw: Any) -> str:
    whole, part = (compiler.process(item, **kw) for item in element.clauses)
    return f"strpos(lower({whole}), lower({part}))"


@compiles(position, "mysql", "mariadb")
def _position_mysql(element: position, compiler: SQLCompiler, **kw: Any) -> str:
    # As bytes, because comparing with a collation is many times slower.
    whole, part = (compiler.process(item, **kw) for item in element.clauses)
    return f"instr(CAST(lower({whole}) AS BINARY), CAST(lower({part}) AS BINARY))"
