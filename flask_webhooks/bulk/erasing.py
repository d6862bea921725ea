"""Erase the data of one person from events, attempts and waiting deliveries."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from .. import attempt_errors
from ..app_state import AppState
from ..columns import utc_now
from ..db.conditions import of_tenant
from ..db.locks import lock_endpoints
from ..models import AT_REST, DeliveryState
from ..outbox.store import as_event
from .whose import Predicate, Whose

#: Events that are erased in one transaction.
BATCH = 100
#: The initial and maximum number of events of one statement, and its target duration in seconds.
FIRST, MOST, GOAL = 100, 5000, 0.1
#: Maximum duration of a preview in seconds.
PREVIEW_TIME = 1.0

#: The reason of deliveries that are cancelled because the data was erased.
ERASED = "erased"

#: Errors that quote a receiver, and the corresponding ones without the quote.
_WITHOUT_WORDS = {
    attempt_errors.REFUSED_WITH.code: attempt_errors.REFUSED,
    attempt_errors.NOT_TAKEN_WITH.code: attempt_errors.NOT_TAKEN,
}


@dataclass(slots=True)
class Looked:
    """The result of searching a range of events."""

    #: The matching events.
    ids: list[str] = field(default_factory=list)
    #: When they were recorded.
    times: list[datetime] = field(default_factory=list)
    #: The number of examined events, and the last one; ``None`` if there are no more.
    count: int = 0
    last: str | None = None


class EventSearch:
    """Searches for matching events in ranges that keep each statement short.

    :param whose: members and their values, or a function.
    :param tenant: only events of this tenant.
    :param scheduled: search scheduled events.
    """

    def __init__(
        self,
        state: AppState,
        whose: Whose | Predicate,
        tenant: str | None,
        *,
        scheduled: bool = False,
    ) -> None:
        self._state = state
        self._whose = whose
        self._scheduled = scheduled
        self._event = state.table("ScheduledEvent" if scheduled else "Event")
        self._tenant = tenant
        self._size = FIRST

    @cached_property
    def scheduled(self) -> EventSearch:
        """Return the same search among scheduled events."""
        return EventSearch(self._state, self._whose, self._tenant, scheduled=True)

    def count(self, connection: sa.Connection, bound: str) -> int:
        """Return the number of events to examine."""
        query = sa.select(sa.func.count()).select_from(self._event).where(*self._scope())
        return connection.execute(query.where(self._event.c.id < bound)).scalar_one()

    def look(
        self, connection: sa.Connection, after: str, bound: str, *, newest: bool = False
    ) -> Looked:
        """Examine the next events until a batch of matches is found.

        :param after: start after this one.
        :param bound: stop before this one.
        :param newest: search in the opposite direction.
        """
        began = time.monotonic()
        event = self._event.c
        data = sa.type_coerce(event.data, sa.Text())
        fits: sa.ColumnElement[bool] = sa.true()
        if not self._scheduled:
            fits = event.erased_at.is_(None)
        if isinstance(self._whose, Whose):
            fits = sa.and_(fits, self._whose.may_fit(data))
        columns = [event.id, event.type, event.tenant, event.occurred_at, event.created_at]
        query = (
            sa.select(*columns, sa.case((fits, data)).label("data"))
            .where(*self._scope(), event.id > after, event.id < bound)
            .order_by(event.id.desc() if newest else event.id)
            .limit(self._size)
        )
        looked = Looked()
        for row in connection.execute(query):
            looked.count += 1
            looked.last = row.id
            if row.data is not None and self._fits(row):
                looked.ids.append(row.id)
                looked.times.append(row.created_at)
                if len(looked.ids) == BATCH:
                    break
        self._size = self._next_size(time.monotonic() - began)
        if len(looked.ids) == BATCH:
            # Events after it are examined again.
            self._size = min(self._size, 2 * looked.count)
        return looked

    def _fits(self, row: Any) -> bool:
        data = json.loads(row.data)
        if isinstance(self._whose, Whose):
            return self._whose.fits(data)
        return bool(self._whose(self._state.models.Event(**{**row._mapping, "data": data})))

    def _next_size(self, took: float) -> int:
        if took > GOAL:
            return max(int(self._size * GOAL / took), 1)
        return min(self._size * 2, MOST)

    def _scope(self) -> list[sa.ColumnElement[bool]]:
        tenant = self._tenant
        return [] if tenant is None else [of_tenant(self._event.c.tenant, tenant)]


def erase_events(state: AppState, connection: sa.Connection, event_ids: Sequence[str]) -> int:
    """Erase events and their attempts; return how many were not erased yet.

    Runs within a transaction that has the write lock of SQLite. A request in flight is not interrupted, but its
    result is not recorded.
    """
    event, delivery, attempt = (state.table(name) for name in ("Event", "Delivery", "Attempt"))
    # All code locks endpoints first.
    concerned = sa.select(delivery.c.endpoint_id).where(delivery.c.event_id.in_(event_ids))
    lock_endpoints(state, connection, connection.execute(concerned.distinct()).scalars().all())
    found = (
        connection.execute(
            sa.select(event.c.id)
            .where(event.c.id.in_(event_ids), event.c.erased_at.is_(None))
            .order_by(event.c.id)
            .with_for_update()
        )
        .scalars()
        .all()
    )
    if not found:
        return 0
    waiting = sorted((set(DeliveryState) - AT_REST) | {DeliveryState.HELD})
    connection.execute(
        sa.update(delivery)
        .where(delivery.c.event_id.in_(found), delivery.c.state.in_(waiting))
        .values(
            state=DeliveryState.CANCELLED,
            reason=ERASED,
            due_at=None,
            lease_token=None,
            lease_until=None,
            completed_at=utc_now(),
        )
    )
    theirs = sa.select(delivery.c.id).where(delivery.c.event_id.in_(found))
    _erase_words(connection, attempt, theirs)
    connection.execute(
        sa.update(attempt)
        .where(attempt.c.delivery_id.in_(theirs))
        .values(
            request_headers=None,
            request_body=None,
            response_headers=None,
            response_body=None,
            body_key=None,
            error=None,
        )
    )
    connection.execute(
        sa.update(event)
        .where(event.c.id.in_(found))
        # Keep the digest of the key, so that a repetition is still recognised.
        .values(data={}, idempotency_key=None, erased_at=utc_now())
    )
    return len(found)


def cancel_erased(state: AppState, connection: sa.Connection, scheduled_ids: Sequence[str]) -> int:
    """Cancel scheduled events whose data is to be erased; return their number.

    Runs within a transaction that has the write lock of SQLite.
    """
    scheduled = state.table("ScheduledEvent")
    return connection.execute(
        sa.delete(scheduled).where(scheduled.c.id.in_(scheduled_ids))
    ).rowcount


def _erase_words(connection: sa.Connection, attempt: sa.Table, deliveries: Any) -> None:
    """Remove quotes of the receiver from errors, which may contain the data."""
    rows = connection.execute(
        sa.select(attempt.c.delivery_id, attempt.c.number, attempt.c.error_code, attempt.c.status)
        .where(attempt.c.delivery_id.in_(deliveries))
        .where(attempt.c.error_code.in_(list(_WITHOUT_WORDS)))
    ).all()
    if not rows:
        return
    values = []
    for row in rows:
        error = attempt_errors.told(_WITHOUT_WORDS[row.error_code], status=row.status)
        values.append(
            {
                "b_delivery": row.delivery_id,
                "b_number": row.number,
                "b_code": error.code,
                "b_params": error.stored_params(),
            }
        )
    connection.execute(
        sa.update(attempt)
        .where(
            attempt.c.delivery_id == sa.bindparam("b_delivery"),
            attempt.c.number == sa.bindparam("b_number"),
        )
        .values(error_code=sa.bindparam("b_code"), error_params=sa.bindparam("b_params")),
        values,
    )


def forget_unwritten(state: AppState, whose: Whose | Predicate, tenant: str | None) -> int:
    """Drop events that this process keeps in memory because the database has not stored them; return their number."""

    def unwanted(kept: Any) -> bool:
        if tenant is not None and kept.event.tenant != tenant:
            return False
        if isinstance(whose, Whose):
            return whose.fits(json.loads(kept.event.data))
        return bool(whose(as_event(state, kept.event)))

    return state.unwritten.drop(unwanted)


def preview_newest(
    search: EventSearch, connection: sa.Connection, bound: str
) -> tuple[Looked, bool]:
    """Return how many of the newest events a task would erase, found within `PREVIEW_TIME`, and whether there may
    be more.
    """
    seen = Looked()
    until = time.monotonic() + PREVIEW_TIME
    while time.monotonic() < until:
        looked = search.look(connection, "", bound, newest=True)
        if looked.last is None:
            return seen, False
        seen.ids += looked.ids
        seen.times += looked.times
        bound = looked.last
    return seen, True
