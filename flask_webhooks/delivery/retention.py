"""Remove data that is older than its retention time (`ages`, `body_ages`), in short transactions within a bounded
time.

This is for the few events that become old between two runs. The removal of many old events is a task
(`bulk.pruning`), whose progress users can see and which they can stop. Meanwhile, and for a day after a stop,
nothing is removed here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from .. import ids
from ..app_state import AppState
from ..db.locks import read_only, take_write_lock
from ..models import AT_REST, UNFINISHED, NotificationState, TaskKind, TaskState
from .ages import FAILED, Ages, ages_at
from .body_ages import BodyAges
from .claim.coalescing import old_keys, remove_keys
from .walks import Walk

#: Events that are removed in one transaction, which holds locks only for tens of milliseconds.
BATCH = 200
#: Old events that are examined to find a batch: some may have undelivered deliveries.
WINDOW = 500
#: The name of the walk through events of an age at which only some are removed.
EVENTS = "events"
#: The time limit of one call in seconds.
BUDGET = 1.0
#: How long automatic removal pauses after a user has stopped the task, so that there is time to change
#: ``WEBHOOKS_RETENTION_DAYS``.
REST_AFTER_STOP = timedelta(days=1)


def kept_since(state: AppState, now: datetime) -> datetime:
    """Return the time before which events may be removed; see `ages.Ages`."""
    return ages_at(state.settings, now).newest


def last_task(state: AppState) -> sa.Select[Any]:
    """Return the state and the end of the last task that removed old events."""
    task = state.table("Task").c
    return (
        sa.select(task.state, task.finished_at)
        .where(task.kind == TaskKind.PRUNE)
        .order_by(task.id.desc())
        .limit(1)
    )


def stands_aside(state: AppState, connection: sa.Connection, now: datetime) -> bool:
    """Return whether automatic removal pauses, because a task is running or was recently stopped.

    :param now: the database's time.
    """
    last = connection.execute(last_task(state)).first()
    if last is None:
        return False
    if last.state == TaskState.STOPPED:
        ended: datetime = last.finished_at
        return now < ended + REST_AFTER_STOP
    return last.state in UNFINISHED


def prune(state: AppState, connection: sa.Connection, now: datetime, budget: float = BUDGET) -> int:
    """Remove old events with their deliveries and attempts in batches; return the number of events.

    An event is kept as long as one of its deliveries has not ended, and a deleted endpoint as long as it has
    deliveries. Entries of the audit log are removed after ``WEBHOOKS_AUDIT_RETENTION_DAYS``.

    :param now: the database's time.
    :param budget: seconds after which no further batch is started.
    """
    deadline = time.monotonic() + budget
    pruning = Pruning(state, now)
    while pruning.step(connection) and time.monotonic() < deadline:
        pass
    return pruning.removed


class Pruning:
    """One pass over old events. The caller may do other work between two steps."""

    def __init__(self, state: AppState, now: datetime) -> None:
        self.removed = 0
        self._state = state
        self._now = now
        self._ages = ages_at(state.settings, now)
        self._cutoff = self._ages.oldest
        self._looked_up_to = ""
        self._bodies = BodyAges(state, now)
        self._old_keys = old_keys(state, now, self._cutoff, BATCH)
        self._walk: Walk | None = None
        if self._ages.differ:
            # Events of this age that are kept would be examined in each step.
            floor, ceiling = (
                ids.lowest_id("evt", moment) for moment in (self._ages.oldest, self._ages.newest)
            )
            self._walk = Walk(state, EVENTS, state.table("Event").c.id, floor, ceiling, now)
        self._walked_again = False

    def step(self, connection: sa.Connection) -> bool:
        """Remove one batch in a separate transaction; return whether there may be more."""
        state = self._state
        with read_only(connection):
            if stands_aside(state, connection, self._now):
                return False
            looked_at = connection.execute(self._window()).all()
            event_ids = [row.id for row in looked_at if row.fits][:BATCH]
            endpoint_ids = connection.execute(self._old_endpoints()).scalars().all()
            hour = self._oldest_hour(connection)
            activity_ids = connection.execute(self._old_activities()).scalars().all()
            notification_ids = connection.execute(self._old_notifications()).scalars().all()
            keys = connection.execute(self._old_keys).all()
        old = [event_ids, endpoint_ids, activity_ids, notification_ids, keys]
        if any(old) or hour is not None:
            with connection.begin():
                take_write_lock(state, connection)
                self.removed += remove_events(state, connection, event_ids, self._ages)
                self._remove_endpoints(connection, endpoint_ids)
                if hour is not None:
                    statistic = state.table("Statistic")
                    connection.execute(sa.delete(statistic).where(statistic.c.hour == hour))
                for name, found in (("Activity", activity_ids), ("Notification", notification_ids)):
                    if found:
                        table = state.table(name)
                        connection.execute(sa.delete(table).where(table.c.id.in_(found)))
                if keys:
                    remove_keys(state, connection, self._old_keys)
        if len(event_ids) == BATCH:
            self._looked_up_to = event_ids[-1]
            return True
        if looked_at:
            self._looked_up_to = looked_at[-1].id
        more = self._walk_on(connection) | self._bodies.step(connection)
        full = any(len(found) == BATCH for found in old[1:])
        return more or len(looked_at) == WINDOW or full or hour is not None

    def _walk_on(self, connection: sa.Connection) -> bool:
        """Remove events of the age at which only succeeded, or only failed ones, are removed."""
        if self._walk is None:
            return False

        def work(after: str, up_to: str) -> str | None:
            looked_at = connection.execute(self._between(after, up_to)).all()
            event_ids: list[str] = [row.id for row in looked_at if row.fits][:BATCH]
            self.removed += remove_events(self._state, connection, event_ids, self._ages)
            if len(event_ids) == BATCH:
                return event_ids[-1]
            end: str | None = looked_at[-1].id if looked_at else None
            return end

        more = self._walk.forward(connection, work)
        if not self._walked_again:
            self._walked_again = True
            self._walk.round(connection, work)
        return more

    def _window(self) -> sa.Select[Any]:
        return self._between(self._looked_up_to, ids.lowest_id("evt", self._cutoff))

    def _between(self, after: str, up_to: str) -> sa.Select[Any]:
        """Return the next events, and whether to remove them."""
        event = self._state.table("Event").c
        # Ids sort by time, so the primary key finds the oldest ones.
        return (
            sa.select(event.id, self._ages.removable(self._state, event.id).label("fits"))
            .where(event.id > after, event.id <= up_to)
            .order_by(event.id)
            .limit(WINDOW)
        )

    def _old_endpoints(self) -> sa.Select[Any]:
        endpoint, delivery = (self._state.table(name).c for name in ("Endpoint", "Delivery"))
        return (
            sa.select(endpoint.id)
            .where(
                endpoint.deleted_at < self._cutoff,
                ~sa.exists().where(delivery.endpoint_id == endpoint.id),
            )
            .limit(BATCH)
        )

    def _old_activities(self) -> sa.Select[Any]:
        activity = self._state.table("Activity").c
        since = self._now - timedelta(days=self._state.settings.audit_retention_days)
        return (
            sa.select(activity.id)
            .where(activity.id < ids.lowest_id("act", since))
            .order_by(activity.id)
            .limit(BATCH)
        )

    def _old_notifications(self) -> sa.Select[Any]:
        told = self._state.table("Notification").c
        return (
            sa.select(told.id)
            .where(
                told.id < ids.lowest_id("ntf", self._cutoff),
                told.state != NotificationState.PENDING,
            )
            .order_by(told.id)
            .limit(BATCH)
        )

    def _oldest_hour(self, connection: sa.Connection) -> datetime | None:
        hour = self._state.table("Statistic").c.hour
        query = sa.select(hour).where(hour < self._cutoff).order_by(hour).limit(1)
        found: datetime | None = connection.execute(query).scalar()
        return found

    def _remove_endpoints(self, connection: sa.Connection, endpoint_ids: Sequence[str]) -> None:
        # Check again, because the lock was only acquired now.
        old = self._old_endpoints().where(self._state.table("Endpoint").c.id.in_(endpoint_ids))
        gone = connection.execute(old).scalars().all() if endpoint_ids else []
        for name, column in (
            ("Statistic", "endpoint_id"),
            ("CoalescingKey", "endpoint_id"),
            ("EndpointHealth", "endpoint_id"),
            ("Endpoint", "id"),
        ):
            if gone:
                table = self._state.table(name)
                connection.execute(sa.delete(table).where(table.c[column].in_(gone)))
        if gone:
            self._remove_buckets(connection)

    def _remove_buckets(self, connection: sa.Connection) -> None:
        """Remove rate limits without endpoints, unless they still delay something."""
        table, endpoint = self._state.table("Bucket"), self._state.table("Endpoint").c
        live = endpoint.deleted_at.is_(None)
        unused = connection.execute(
            sa.select(table.c.id)
            .where(
                table.c.free_at < self._now,
                # Separate conditions, because no index serves both at once.
                ~sa.exists().where(endpoint.bucket == table.c.id, live),
                ~sa.exists().where(endpoint.id == table.c.id, live),
            )
            .order_by(table.c.id)
            .limit(BATCH)
            .with_for_update(skip_locked=True)
        )
        connection.execute(sa.delete(table).where(table.c.id.in_(unused.scalars().all())))


def remove_events(
    state: AppState, connection: sa.Connection, event_ids: Sequence[str], ages: Ages
) -> int:
    """Lock events, and remove those that may still be removed; return their number.

    Runs within a transaction that has the write lock of SQLite.
    """
    if not event_ids:
        return 0
    event, delivery, attempt = (state.table(name) for name in ("Event", "Delivery", "Attempt"))
    # Rows that another transaction has locked are skipped until the next run. Waiting for them could cause a
    # deadlock, because actions lock the endpoint first.
    locked = (
        connection.execute(
            sa.select(event.c.id)
            .where(event.c.id.in_(event_ids))
            .order_by(event.c.id)
            .with_for_update(skip_locked=True)
        )
        .scalars()
        .all()
    )
    mine = connection.execute(
        sa.select(delivery.c.id, delivery.c.event_id, delivery.c.state)
        .where(delivery.c.event_id.in_(locked))
        .order_by(delivery.c.id)
        .with_for_update(skip_locked=True)
    ).all()
    at_rest = {row.id for row in mine if row.state in AT_REST}
    kept = {
        row.event_id
        for row in connection.execute(
            sa.select(delivery.c.id, delivery.c.event_id).where(delivery.c.event_id.in_(locked))
        )
        if row.id not in at_rest
    }
    failed = {row.event_id for row in mine if row.state in FAILED}
    gone = [
        event_id
        for event_id in locked
        if event_id not in kept and ages.passed(event_id, failed=event_id in failed)
    ]
    if gone:
        # SQLite only enforces foreign keys and cascades if the host enables them.
        theirs = sa.select(delivery.c.id).where(delivery.c.event_id.in_(gone))
        connection.execute(sa.delete(attempt).where(attempt.c.delivery_id.in_(theirs)))
        connection.execute(sa.delete(delivery).where(delivery.c.event_id.in_(gone)))
        connection.execute(sa.delete(event).where(event.c.id.in_(gone)))
    return len(gone)
