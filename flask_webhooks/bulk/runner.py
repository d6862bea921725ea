"""Processes tasks: takes one under a lease, and applies batches until it has to yield.

Long, since each kind of batch is one transaction.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from .. import ids
from ..app_state import AppState
from ..columns import utc_now
from ..db.errors import may_pass
from ..db.locks import lock_endpoints, read_only, take_write_lock
from ..delivery import audit_log
from ..delivery.ages import ages_until
from ..delivery.retention import kept_since, remove_events
from ..errors import UnreadableSecret
from ..log import get_logger, log_failure, safe_text
from ..models import UNFINISHED, TaskKind, TaskState
from .changes import change_deliveries, create_deliveries
from .erasing import EventSearch, Looked, cancel_erased, erase_events
from .lease import Held, Lost, claim, lease_end
from .selection import OF_EVENTS, Conditions, conditions
from .whose import Predicate, Whose

logger = get_logger("flask_webhooks.tasks")

#: Rows that one transaction changes, so that it holds locks only for tens of milliseconds.
BATCH = 200
#: The initial and maximum number of rows that are examined to find them, so that statements stay short even if few
#: match.
NARROW, WIDE = 400, 5000
#: The share of time that a task pauses between two batches, and its bounds in seconds.
REST, SHORTEST_REST, LONGEST_REST = 0.5, 0.005, 0.25

#: How far the clocks of two machines may differ.
CLOCKS_DIFFER = timedelta(minutes=1)
#: Positions of the cursor of an erasure: among scheduled events, after them, and before the first event.
_SCHEDULED, _BEHIND_SCHEDULED, _FIRST_EVENT = "sch_", "sci", "evt_"


def run_next(state: AppState, enough: Callable[[], bool]) -> bool:
    """Process the task that has waited longest, until it ends or `enough` returns true.

    :return: whether there was one.
    :raises DBAPIError: the database is unavailable; the task continues after the lease has expired.
    """
    with state.own_engine.connect() as connection:
        return work_on_next(state, connection, enough)


def work_on_next(state: AppState, connection: sa.Connection, enough: Callable[[], bool]) -> bool:
    """Do the same as `run_next` with an existing connection."""
    held = claim(state, connection)
    if held is None:
        return False
    runner = Runner(state, connection, held)
    try:
        runner.count()
        while runner.step():
            if enough():
                runner.give_back()
                break
            runner.rest()
    except Lost:
        connection.rollback()
    except Exception as error:
        connection.rollback()
        if isinstance(error, DBAPIError) and may_pass(error):
            logger.warning(
                "The database did not respond (%s); the task %s continues later",
                safe_text(error),
                held.id,
            )
            raise
        log_failure(logger, "The task %s failed", held.id, error=error)
        runner.end(
            TaskState.FAILED,
            f"An unexpected error occurred ({type(error).__name__}); see the worker's log for details.",
        )
    return True


class Runner:
    """One claim of a task."""

    def __init__(self, state: AppState, connection: sa.Connection, held: Held) -> None:
        self.state = state
        self.held = held
        self._connection = connection
        self._busy = 0.0
        self._window = NARROW
        self._searching: EventSearch | None = None

    def count(self) -> None:
        """Count the rows of a task for which this took too long when it was started.

        :raises Lost: this worker no longer owns the task.
        """
        table = self.state.table("Task")
        with read_only(self._connection):
            row = self._row()
            if row.total is not None:
                return
            number = self._number()
        if number is None:
            return
        with self._connection.begin():
            self._lock()
            self._connection.execute(
                sa.update(table).where(table.c.id == self.held.id).values(total=number)
            )

    def _number(self) -> int | None:
        if self.held.kind == TaskKind.ERASE:
            search = self._search()
            return None if search is None else search.count(self._connection, self.held.bound)
        found = self._conditions()
        if found is None:
            return None
        return self._connection.scalar(
            sa.select(sa.func.count())
            .select_from(found.table)
            .where(*found.all, found.table.c.id < self.held.bound)
        )

    def step(self) -> bool:
        """Apply one batch; return whether there may be more.

        :raises Lost: this worker no longer owns the task; nothing was changed.
        """
        if self.held.kind == TaskKind.ERASE:
            return self._erase()
        began = time.monotonic()
        with read_only(self._connection):
            row = self._row()
            found = self._conditions()
            looked_at = [] if found is None else self._look(found, row.cursor)
        if found is None:
            self.end(TaskState.FAILED, "The endpoint was deleted.")
            return False
        if not looked_at:
            self.end(TaskState.FINISHED)
            return False
        picked = [item for item in looked_at if item.fits][:BATCH]
        self._window = NARROW if len(picked) == BATCH else min(self._window * 2, WIDE)
        cursor = picked[-1].id if len(picked) == BATCH else looked_at[-1].id
        with self._connection.begin():
            take_write_lock(self.state, self._connection)
            now = self._lock()
            changed, due = self._change(picked, now) if picked else (0, False)
            self._advance(now, cursor, changed)
        if due:
            self.state.notifier.notify()
        self._busy = time.monotonic() - began
        return True

    def _advance(self, now: datetime, cursor: str, done: int, **values: Any) -> None:
        table = self.state.table("Task")
        progress = {"cursor": cursor, "done": table.c.done + done, **values}
        self._connection.execute(
            sa.update(table)
            .where(table.c.id == self.held.id)
            .values(lease_until=lease_end(now), touched_at=now, **progress)
        )

    def _erase(self) -> bool:
        """Apply one batch of an erasure."""
        began = time.monotonic()
        search = self._search()
        if search is None:
            self.end(TaskState.FAILED, "It is no longer known what to erase: start the task again.")
            return False
        with read_only(self._connection):
            row = self._row()
            # Scheduled events come first: those that fall due meanwhile are found among the events.
            scheduled = not row.cursor or row.cursor.startswith(_SCHEDULED)
            if scheduled:
                looked = search.scheduled.look(self._connection, row.cursor, _BEHIND_SCHEDULED)
            else:
                looked = search.look(self._connection, row.cursor, row.bound)
        if scheduled:
            self._cancel_erased(looked)
            return True
        if looked.last is None:
            self.end(TaskState.FINISHED)
            return False
        with self._connection.begin():
            take_write_lock(self.state, self._connection)
            now = self._lock()
            erased = erase_events(self.state, self._connection, looked.ids) if looked.ids else 0
            changed = sa.func.coalesce(self.state.table("Task").c.changed, 0) + erased
            self._advance(now, looked.last, looked.count, changed=changed)
        self._busy = time.monotonic() - began
        return True

    def _cancel_erased(self, looked: Looked) -> None:
        """Cancel matching scheduled events, and continue with events after the last one."""
        with self._connection.begin():
            take_write_lock(self.state, self._connection)
            now = self._lock()
            erased = cancel_erased(self.state, self._connection, looked.ids) if looked.ids else 0
            values: dict[str, Any] = {
                "changed": sa.func.coalesce(self.state.table("Task").c.changed, 0) + erased
            }
            if looked.last is None:
                # Include events that were recorded by workers with fast clocks.
                values["bound"] = ids.lowest_id("evt", now + CLOCKS_DIFFER)
            self._advance(now, looked.last or _FIRST_EVENT, 0, **values)

    def _search(self) -> EventSearch | None:
        """Return the search for the data to erase; ``None`` if its values were lost with a key or a process."""
        held = self.held
        if self._searching is None:
            whose: Whose | Predicate | None = held.predicate
            if held.sealed is not None:
                with contextlib.suppress(UnreadableSecret):
                    whose = Whose(self.state.vault.decrypt(held.sealed))
            if whose is not None:
                self._searching = EventSearch(self.state, whose, held.selection.tenant)
        return self._searching

    def rest(self) -> None:
        """Pause, so that others can use the database."""
        time.sleep(min(max(self._busy * REST, SHORTEST_REST), LONGEST_REST))

    def give_back(self) -> None:
        """Release the task, so that another worker can continue now."""
        self._leave({"state": TaskState.WAITING})

    def end(self, outcome: TaskState, error: str | None = None) -> None:
        """Record how the task ended, in its row and in the audit log."""
        values = {"state": outcome, "finished_at": utc_now(), "error": error, "input_sealed": None}
        self._leave(values, ended=True)

    def _leave(self, values: dict[str, Any], *, ended: bool = False) -> None:
        table = self.state.table("Task")
        with self._connection.begin():
            take_write_lock(self.state, self._connection)
            try:
                self._lock()
            except Lost:
                return
            self._connection.execute(
                sa.update(table)
                .where(table.c.id == self.held.id)
                .values(lease_token=None, lease_until=None, touched_at=utc_now(), **values)
            )
            if ended:
                row = self._connection.execute(
                    sa.select(table.c.done, table.c.changed).where(table.c.id == self.held.id)
                ).one()
                self._record(str(values["state"]), row.done, row.changed)

    def _record(self, outcome: str, done: int, changed: int | None) -> None:
        held = self.held
        audit_log.add_entry(
            self.state,
            self._connection,
            f"task.{outcome}",
            actor=held.actor,
            tenant=held.tenant,
            endpoint_id=held.endpoint_id,
            changes={
                "task": held.id,
                "kind": held.kind,
                "done": done,
                **({} if changed is None else {"changed": changed}),
            },
        )

    def _row(self) -> sa.Row[Any]:
        table = self.state.table("Task")
        row = self._connection.execute(sa.select(table).where(table.c.id == self.held.id)).first()
        if row is None or row.lease_token != self.held.token:
            raise Lost
        return row

    def _lock(self) -> datetime:
        """Keep everybody else off the task; returns the time of the database.

        :raises Lost: this worker no longer owns it.
        """
        task = self.state.table("Task").c
        row = self._connection.execute(
            sa.select(task.lease_token, task.state).where(task.id == self.held.id).with_for_update()
        ).first()
        if row is None or row.lease_token != self.held.token or row.state not in UNFINISHED:
            raise Lost
        now: datetime = self._connection.execute(sa.select(utc_now())).scalar_one()
        return now

    def _conditions(self) -> Conditions | None:
        """Return the conditions for the current endpoint; ``None`` if it was deleted."""
        held = self.held
        endpoint = None
        if held.endpoint_id is not None:
            endpoint = self._endpoint()
            if endpoint is None:
                return None
        selection = held.selection
        if held.kind == TaskKind.PRUNE:
            now: datetime = self._connection.execute(sa.select(utc_now())).scalar_one()
            selection = replace(selection, until=self._old(now))
        return conditions(self.state, held.kind, selection, endpoint=endpoint, tenant=held.tenant)

    def _old(self, now: datetime) -> datetime:
        """Return the age limit of a prune, so that raising the retention time protects events that were not
        removed yet.
        """
        until = self.held.selection.until
        assert until is not None
        return min(until, kept_since(self.state, now))

    def _endpoint(self) -> Any | None:
        table = self.state.table("Endpoint")
        query = sa.select(
            table.c.id,
            table.c.tenant,
            table.c.events,
            sa.type_coerce(table.c.filter, sa.Text()).label("filter"),
            table.c.state,
            table.c.deleted_at,
        ).where(table.c.id == self.held.endpoint_id)
        row = self._connection.execute(query).first()
        return None if row is None or row.deleted_at is not None else row

    def _look(self, found: Conditions, cursor: str) -> list[sa.Row[Any]]:
        """Return the next rows after the cursor: ids, endpoints of deliveries, and whether they match."""
        row = found.table.c
        columns = [] if self.held.kind in OF_EVENTS else [row.endpoint_id]
        bounds = (row.id > cursor, row.id < self.held.bound)
        window = found.window(columns, self._window, *bounds).cte("looked_at")
        # The last one is the new cursor, even if nothing matches.
        last = sa.select(sa.func.max(window.c.id)).scalar_subquery()
        query = (
            sa.select(window)
            .where(sa.or_(window.c.fits, window.c.id == last))
            .order_by(window.c.id)
            .limit(BATCH + 1)
        )
        return list(self._connection.execute(query))

    def _change(self, picked: list[sa.Row[Any]], now: datetime) -> tuple[int, bool]:
        """Apply the changes; return how many rows were changed, and whether deliveries may be due now."""
        state, connection, held = self.state, self._connection, self.held
        if held.kind == TaskKind.REPLAY:
            assert held.endpoint_id is not None
            lock_endpoints(state, connection, [held.endpoint_id])
            endpoint = self._endpoint()
            if endpoint is None:
                return 0, False
            event_ids = [row.id for row in picked]
            return create_deliveries(state, connection, event_ids, endpoint, held.actor), True
        if held.kind == TaskKind.PRUNE:
            ages = ages_until(state.settings, self._old(now))
            return remove_events(state, connection, [row.id for row in picked], ages), False
        endpoint_ids = {row.endpoint_id for row in picked}
        lock_endpoints(state, connection, endpoint_ids)
        table = state.table("Endpoint")
        states = {
            row.id: row.state
            for row in connection.execute(
                sa.select(table.c.id, table.c.state).where(
                    table.c.id.in_(endpoint_ids), table.c.deleted_at.is_(None)
                )
            )
        }
        changed = change_deliveries(
            state, connection, held.kind, [row.id for row in picked], states, held.actor
        )
        return changed, held.kind not in (TaskKind.CANCEL, TaskKind.DISCARD)
