"""Cumulative counters in the database, which metrics are read from.

They are correct with any number of processes, persistent and monotonic: they are updated in the transaction of the
counted rows, and are independent of the history, which retention removes.
"""

from __future__ import annotations

import functools
import random
import time
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError

from ..app_state import AppState, prepared
from ..columns import compact_json
from ..log import get_logger
from ..models import BUCKETS
from .errors import may_pass
from .upsert import insert_or_add

logger = get_logger("flask_webhooks.db.counters")

#: Requests made, by ``format`` and ``outcome``.
ATTEMPTS: Final = "attempts"
#: Milliseconds that requests took, by ``format``.
DURATION: Final = "duration_ms"
#: Milliseconds from an event to the first request for it.
FIRST_REQUEST: Final = "first_request_ms"
#: Sweeps that had to wake a worker.
LOST_WAKEUPS: Final = "lost_wakeups"

#: Upper bounds in milliseconds of the buckets of each histogram; one more bucket takes the values above the last.
BOUNDS: Final[Mapping[str, tuple[int, ...]]] = {
    DURATION: BUCKETS,
    FIRST_REQUEST: (
        5,
        10,
        25,
        50,
        100,
        250,
        500,
        1000,
        2500,
        5000,
        10_000,
        30_000,
        60_000,
        300_000,
    ),
}
#: The label of a bucket, and its values beside the upper bound in milliseconds.
BUCKET: Final = "le"
BEYOND: Final = "inf"
SUM: Final = "sum"

#: The number of rows of each counter. Two workers that update the same row wait for each other.
SLOTS: Final = 8
#: Seconds until a missing table is checked again.
RETRY: Final = 60.0
#: MySQL's errors for a missing permission to write to a table.
_DENIED: Final = 1142

Key = tuple[str, str]


class Amounts:
    """Increments of counters, gathered before they are written."""

    def __init__(self) -> None:
        self.values: dict[Key, float] = {}

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter."""
        key = name, encode(**labels)
        self.values[key] = self.values.get(key, 0.0) + amount

    def observe(self, name: str, milliseconds: Collection[float], **labels: str) -> None:
        """Add values to a histogram of `BOUNDS`."""
        if not milliseconds:
            return
        # Sorted, so that one search per bound is enough instead of one per value.
        values = sorted(milliseconds)
        below = 0
        for bound in BOUNDS[name]:
            upto = bisect_right(values, bound)
            self._add_bucket(name, labels, str(bound), upto - below)
            below = upto
        self._add_bucket(name, labels, BEYOND, len(values) - below)
        self._add_bucket(name, labels, SUM, sum(values))

    def _add_bucket(self, name: str, labels: dict[str, str], bucket: str, amount: float) -> None:
        if amount:
            self.count(name, amount, **labels, **{BUCKET: bucket})


class Counters:
    """The counters of one application.

    A database of an earlier version lacks their table. Deliveries continue without them.
    """

    def __init__(self, state: AppState) -> None:
        self._table = state.table("Metric")
        dialect = state.engine.dialect.name
        self._statement = _adding(self._table, dialect)
        # Each row would be a round trip there.
        self._one_parameter = dialect == "postgresql"
        self._there = False
        self._look_at = float("-inf")

    def add(self, connection: sa.Connection, amounts: Amounts) -> None:
        """Add in the current transaction, as its last statement, because others wait for these rows until its end."""
        if not amounts.values or not self.exist(connection):
            return
        slot = random.randrange(SLOTS)
        # In the same order for all workers, to avoid deadlocks.
        rows = [
            {"name": name, "labels": labels, "slot": slot, "value": value}
            for (name, labels), value in sorted(amounts.values.items())
        ]
        try:
            if self._one_parameter:
                connection.execute(self._statement, {"b_rows": compact_json(rows)})
            else:
                connection.execute(self._statement, rows)
        except DBAPIError as error:
            if _is_refusal(error):
                # The transaction has failed, and is repeated without counting.
                self._rest()
                logger.warning(
                    "The table %s is not writable (%s), so nothing is counted for metrics. Grant the database user "
                    "write access to it.",
                    self._table.name,
                    type(error.orig).__name__,
                )
            raise

    def exist(self, connection: sa.Connection) -> bool:
        """Return whether the database has the table."""
        if not self._there and time.monotonic() >= self._look_at:
            table = self._table
            self._there = sa.inspect(connection).has_table(table.name, schema=table.schema)
            if not self._there:
                self._rest()
                logger.warning(
                    "There is no table %s, so nothing is counted for metrics. Run your migrations or: "
                    "flask webhooks upgrade-db",
                    table.name,
                )
        return self._there

    def _rest(self) -> None:
        """Stop counting for a while."""
        self._there = False
        self._look_at = time.monotonic() + RETRY


def _is_refusal(error: DBAPIError) -> bool:
    """Return whether a retry would fail in the same way."""
    denied = isinstance(error.orig, Exception) and error.orig.args[:1] == (_DENIED,)
    return denied or not may_pass(error)


#: Those of an application.
counters = prepared(Counters)


@functools.lru_cache(maxsize=1024)
def encode(**labels: str) -> str:
    """Encode labels for the column."""
    return compact_json(dict(sorted(labels.items())))


def add_up(rows: Iterable[tuple[str, str, float]]) -> dict[Key, float]:
    """Sum up values by name and labels over the slots."""
    totals: dict[Key, float] = {}
    for name, labels, value in rows:
        totals[name, labels] = totals.get((name, labels), 0.0) + float(value)
    return totals


def _adding(table: sa.Table, dialect: str) -> Any:
    unique = [column.name for column in table.primary_key]
    statement = insert_or_add(table, dialect, unique, ["value"])
    if dialect == "postgresql":
        rows = sa.cast(sa.bindparam("b_rows", type_=sa.String()), postgresql.JSON())
        columns = [sa.column(column.name, column.type) for column in table.c]
        given = sa.func.json_to_recordset(rows).table_valued(*columns, name="given")
        read = sa.select(given.render_derived(with_types=True))
        statement = statement.from_select([column.name for column in table.c], read)
    return statement
