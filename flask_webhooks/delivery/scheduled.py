"""Record scheduled events that are due, with their deliveries, in one transaction."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from .. import ids
from ..app_state import AppState, prepared
from ..db.clock import DatabaseClock
from ..db.locks import read_only, take_write_lock
from ..log import get_logger, log_failure
from ..outbox.store import NewEvent, store
from .database import Database

logger = get_logger("flask_webhooks.delivery")

#: Events that are recorded in one transaction, for which a cancellation or replacement of one of them waits.
BATCH = 50
#: Seconds between checks while there is other work, and before the first one.
BUSY_PAUSE, FIRST = 1.0, 0.1
#: Seconds until the next check if a transaction of the host has locked events.
RETRY = 1.0
#: The same after a failure; the pause doubles.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
#: How much later an event that cannot be recorded is retried.
POSTPONED = timedelta(minutes=1)


class ScheduledEvents:
    """Records due scheduled events for one drain.

    It queries the database when the drain is idle, soon after a claim, and when the next event is due.
    """

    def __init__(self, state: AppState, database: Database, clock: DatabaseClock) -> None:
        self._state = state
        self._database = database
        self._clock = clock
        self._looked_at = self._not_before = float("-inf")
        self._pause = FIRST_PAUSE
        #: The next check, by `time.monotonic`.
        self.due = time.monotonic() + FIRST
        #: Seconds from the last check until the next event is due.
        self.next_in = float("inf")

    def expect_news(self) -> None:
        """Check soon, because a wake-up may be about a scheduled event."""
        soon = max(time.monotonic() + FIRST, self._looked_at + BUSY_PAUSE)
        self.due = min(self.due, soon)

    def run_due(self) -> bool:
        """Check if it is time; return whether there may be deliveries."""
        return time.monotonic() >= self.due and self.run()

    def run(self) -> bool:
        """Record a batch of due events; return whether there were any."""
        if time.monotonic() < self._not_before:
            return False
        try:
            soonest, recorded = self._database.run(self._look, patient=False)
        except Exception as error:
            log_failure(
                logger, "Scheduled events could not be recorded; deliveries continue", error=error
            )
            self._look_in(self._pause)
            self._not_before, self.next_in = self.due, LONGEST_PAUSE
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
            return False
        self._pause = FIRST_PAUSE
        if recorded:
            self._look_in(0.0)
        elif soonest is None:
            self._look_in(float("inf"))
        else:
            left = (soonest - self._clock.now()).total_seconds()
            self._look_in(left if left > 0 else RETRY)
        return recorded > 0

    def _look_in(self, seconds: float) -> None:
        self._looked_at = time.monotonic()
        self.next_in = seconds
        self.due = self._looked_at + seconds

    def _look(self, connection: sa.Connection) -> tuple[datetime | None, int]:
        with read_only(connection):
            soonest = soonest_scheduled(self._state, connection)
        now = self._clock.now()
        if soonest is None or soonest > now:
            return soonest, 0
        return soonest, record_due(self._state, connection, now)


def soonest_scheduled(state: AppState, connection: sa.Connection) -> datetime | None:
    """Return when the next scheduled event is due, or was."""
    moment: datetime | None = connection.execute(_soonest(state)).scalar()
    return moment


def record_due(state: AppState, connection: sa.Connection, now: datetime) -> int:
    """Record a batch of due events; return the number of processed rows.

    Events that a transaction of the host is replacing or cancelling are skipped.
    """
    try:
        return _record(state, connection, now, BATCH)
    except sa.exc.SQLAlchemyError:
        connection.rollback()
    # One by one, so that a failing one does not block others.
    done = 0
    for _ in range(BATCH):
        try:
            if not _record(state, connection, now, 1):
                break
        except sa.exc.SQLAlchemyError as error:
            connection.rollback()
            log_failure(
                logger, "A scheduled event could not be recorded; it is retried later", error=error
            )
            _postpone_first(state, connection, now)
        done += 1
    return done


def _record(state: AppState, connection: sa.Connection, now: datetime, most: int) -> int:
    with connection.begin():
        take_write_lock(state, connection)
        rows = _lock_due(state, connection, now, most)
        if rows:
            table = state.table("ScheduledEvent")
            connection.execute(sa.delete(table).where(table.c.id.in_([row.id for row in rows])))
        for row in rows:
            store(state, connection, _event(state, row))
    return len(rows)


def _lock_due(
    state: AppState, connection: sa.Connection, now: datetime, most: int
) -> list[sa.Row[Any]]:
    """Lock and read due events that are not locked."""
    statements = _statements(state)
    bounds = {"now": now, "most": most}
    if statements.due is not None:
        return list(connection.execute(statements.due, bounds))
    rows: list[sa.Row[Any]] = []
    for candidate in connection.execute(statements.candidates, bounds).all():
        by_key = candidate.key_digest is not None
        statement = statements.by_digest if by_key else statements.by_id
        value = candidate.key_digest if by_key else candidate.id
        rows += connection.execute(statement, {"now": now, "value": value}).all()
    return rows


def _event(state: AppState, row: Any) -> NewEvent:
    return NewEvent(
        id=ids.new_id("evt"),
        type=row.type,
        tenant=row.tenant,
        data=row.data,
        occurred_at=row.occurred_at,
        hops=row.hops,
        trace_context=row.trace_context,
        data_version=row.data_version,
        whole_server_only=row.hops >= state.settings.max_hops,
    )


def _postpone_first(state: AppState, connection: sa.Connection, now: datetime) -> None:
    table = state.table("ScheduledEvent")
    with connection.begin():
        take_write_lock(state, connection)
        for row in _lock_due(state, connection, now, 1):
            connection.execute(
                sa.update(table).where(table.c.id == row.id).values(deliver_at=now + POSTPONED)
            )


@prepared
def _soonest(state: AppState) -> sa.Select[Any]:
    return sa.select(sa.func.min(state.table("ScheduledEvent").c.deliver_at))


class _Statements:
    def __init__(self, state: AppState) -> None:
        scheduled = state.table("ScheduledEvent").c
        is_due = scheduled.deliver_at <= sa.bindparam("now")

        def first(query: sa.Select[Any]) -> sa.Select[Any]:
            ordered = query.where(is_due).order_by(scheduled.deliver_at, scheduled.id)
            return ordered.limit(sa.bindparam("most", type_=sa.Integer()))

        def locked(query: sa.Select[Any]) -> sa.Select[Any]:
            return query.with_for_update(skip_locked=True)

        rows = sa.select(
            scheduled.id,
            scheduled.type,
            scheduled.tenant,
            sa.type_coerce(scheduled.data, sa.Text()).label("data"),
            scheduled.occurred_at,
            scheduled.hops,
            scheduled.trace_context,
            scheduled.data_version,
        )
        value: sa.BindParameter[str] = sa.bindparam("value")
        # InnoDB locks index entries before rows. The host uses the primary key: another index here would lock both
        # in the opposite order, and could cause a deadlock in the host's transaction.
        self.due: sa.Select[Any] | None = None
        if state.engine.dialect.name not in {"mysql", "mariadb"}:
            self.due = locked(first(rows))
        self.candidates = first(sa.select(scheduled.id, scheduled.key_digest))
        self.by_digest = locked(rows.where(scheduled.key_digest == value, is_due))
        self.by_id = locked(rows.where(scheduled.id == value, is_due))


_statements = prepared(_Statements)
