"""Call the host's `@webhooks.notify` with notifications for owners, in parallel with deliveries.

A mail server may be slow or down, so a thread does it. Each notification is leased, so that two workers do not
both send it, and retried if the function raises. It is sent at least once: if a worker dies between the call and
the commit, it is sent again after the lease.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from ..app_state import AppState
from ..columns import utc_now
from ..db.errors import may_pass
from ..db.locks import read_only, take_write_lock
from ..log import get_logger, log_failure
from ..models import NotificationState
from ..notifications import LOST
from .database import Database
from .owner_call import RETRY_SCHEDULE, Told, tell_owner

logger = get_logger("flask_webhooks.delivery")

#: Seconds between checks if nothing is known to be due.
PAUSE: Final = 5.0
#: The lease of one call of the host's function.
LEASE: Final = timedelta(minutes=10)
#: Seconds that a drain waits at its end for the current call.
GRACE: Final = 2.0


@dataclass(frozen=True, slots=True)
class _Leased:
    id: str
    token: str
    attempt: int


class OwnerDispatch:
    """Sends notifications of one drain.

    :param idle: called in the thread each time that nothing more is due.
    """

    def __init__(self, state: AppState, idle: Callable[[], None]) -> None:
        self._state = state
        self._idle = idle
        self._database = Database(state.own_engine, patience=0.0)
        self._closing = threading.Event()
        self._wanted = threading.Event()
        self._thread: threading.Thread | None = None
        self._working = False

    @property
    def busy(self) -> bool:
        """Whether notifications may be due, or one is being sent."""
        return self._thread is not None and (self._working or self._wanted.is_set())

    def start(self) -> None:
        """Start checking, if the host has a function to call."""
        if self._state.hooks.notify is not None:
            self._wanted.set()
            self._thread = threading.Thread(
                target=self._serve, name="flask-webhooks-owners", daemon=True
            )
            self._thread.start()

    def look(self) -> None:
        """Check at once. May be called from any thread."""
        if self._thread is not None and not self._closing.is_set():
            self._wanted.set()

    def end(self) -> None:
        """Stop starting calls."""
        self._closing.set()
        self._wanted.set()

    def close(self) -> None:
        """Wait for the current call; a slow one is repeated after its lease."""
        self.end()
        if self._thread is not None:
            self._thread.join(GRACE)

    def next_due(self, connection: sa.Connection, now: datetime) -> datetime | None:
        """Return when the next notification is due, and check at once if it is now. Only reads."""
        if self._thread is None:
            return None
        due = next_due(self._state, connection)
        if due is not None and due <= now:
            self.look()
        return due

    def _serve(self) -> None:
        while not self._closing.is_set():
            asked = self._wanted.wait(PAUSE)
            self._working = True
            self._wanted.clear()
            try:
                while not self._closing.is_set() and self._tell_one():
                    asked = True
            except Exception as error:
                # Deliveries report that the database is unavailable.
                if not (isinstance(error, DBAPIError) and may_pass(error)):
                    log_failure(logger, "Owners of endpoints could not be notified", error=error)
            finally:
                self._database.close()
                self._working = False
                if asked:
                    self._idle()

    def _tell_one(self) -> bool:
        """Send the notification that has been due for the longest; return whether there was one."""
        leased = self._database.run(self._lease, patient=False)
        if leased is None:
            return False
        result = tell_owner(self._state, leased.id, leased.attempt)
        self._database.run(
            lambda connection: self._record(connection, leased, result), patient=False
        )
        return True

    def _lease(self, connection: sa.Connection) -> _Leased | None:
        table = self._state.table("Notification")
        while True:
            with read_only(connection):
                now = connection.execute(sa.select(utc_now())).scalar_one()
                row = connection.execute(
                    sa.select(table.c.id, table.c.due_at, table.c.attempts)
                    .where(table.c.due_at <= now)
                    .order_by(table.c.due_at, table.c.id)
                    .limit(1)
                ).first()
            if row is None:
                return None
            token = uuid.uuid4().hex
            gone = row.attempts > len(RETRY_SCHEDULE)
            values: dict[str, Any] = {
                "due_at": now + LEASE,
                "lease_token": token,
                "attempts": row.attempts + 1,
            }
            if gone:
                # No worker has survived to record the end.
                values = _ended(NotificationState.FAILED, now) | {"error_code": LOST}
            with connection.begin():
                take_write_lock(self._state, connection)
                changed = connection.execute(
                    sa.update(table)
                    .where(table.c.id == row.id, table.c.due_at == row.due_at)
                    .values(values)
                ).rowcount
            if changed and gone:
                logger.error("The notification %s was given up: its workers were lost", row.id)
            elif changed:
                return _Leased(row.id, token, row.attempts + 1)

    def _record(self, connection: sa.Connection, leased: _Leased, result: Told) -> None:
        table = self._state.table("Notification")
        with connection.begin():
            take_write_lock(self._state, connection)
            now = connection.execute(sa.select(utc_now())).scalar_one()
            values: dict[str, Any] = {
                "contact": result.contact,
                "error_code": result.error_code,
                "error_detail": result.error_detail,
                **_ended(result.state, now),
            }
            if result.state == NotificationState.PENDING:
                delay = RETRY_SCHEDULE[leased.attempt - 1]
                values |= {"due_at": now + timedelta(seconds=delay), "ended_at": None}
            connection.execute(
                sa.update(table)
                .where(table.c.id == leased.id, table.c.lease_token == leased.token)
                .values(values)
            )


def next_due(state: AppState, connection: sa.Connection) -> datetime | None:
    """Return when the next notification is due, or its lease expires. Only reads."""
    table = state.table("Notification").c
    due: datetime | None = connection.execute(
        sa.select(table.due_at).where(table.due_at.is_not(None)).order_by(table.due_at).limit(1)
    ).scalar()
    return due


def anything_to_tell(state: AppState, connection: sa.Connection, now: datetime) -> bool:
    """Return whether a notification is due and the host has a function to call. Only reads."""
    if state.hooks.notify is None:
        return False
    due = next_due(state, connection)
    return due is not None and due <= now


def _ended(state: NotificationState, now: datetime) -> dict[str, Any]:
    return {"state": state, "due_at": None, "lease_token": None, "ended_at": now}
