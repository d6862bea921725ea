"""Follow new attempts.

There is no index of attempts by time, so each poll examines the newest deliveries, and those that are waiting for
an attempt: deliveries that are being sent, will be due in a moment, or were just resent.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, defer
from sqlalchemy.orm.attributes import set_committed_value

from .. import ids
from ..access import Access, check_event_type, find_endpoint, is_id
from ..catalog.type_filter import of_type
from ..db.transactions import database_time
from ..models import Attempt, Delivery, DeliveryState, Endpoint
from .pages import literal

#: Maximum numbers of newest deliveries per poll, and of waiting ones.
NEWEST, WAITED_FOR = 1_000, 1_000
#: An attempt that began longer ago than this has been recorded.
_LONGEST = timedelta(seconds=150)
#: Deliveries that will be due this soon are followed.
_SOON = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class NewAttempt:
    """An attempt, and what it was made for. Its bodies and headers are ``None``."""

    attempt: Attempt
    delivery: Delivery
    endpoint: Endpoint


class Follower:
    """Follows the attempts in scope, from its creation or from an earlier time.

    :param endpoint_id: only those of this endpoint.
    :param event_type: only those of this type.
    :param event_id: only those of this event.
    :param since: from this time on, as far as the newest `NEWEST` deliveries go; ``None`` is from now on.
    :raises InvalidInput: there is no such event type.
    :raises NotFound: there is no such endpoint in scope.
    :raises Forbidden: not allowed to ``view``.
    """

    def __init__(
        self,
        access: Access,
        endpoint_id: str | None = None,
        event_type: str | None = None,
        *,
        event_id: str | None = None,
        since: datetime | None = None,
    ) -> None:
        endpoint = None if endpoint_id is None else find_endpoint(access, endpoint_id, deleted=True)
        access.require("view", endpoint)
        self._access = access
        table = access.state.models.Delivery
        self._conditions: list[sa.ColumnElement[bool]] = [access.scope(table.tenant)]
        if endpoint_id is not None:
            self._conditions.append(table.endpoint_id == endpoint_id)
        if event_type is not None:
            check_event_type(access, event_type)
            self._conditions.append(of_type(table.event_type, event_type))
        if event_id is not None:
            self._conditions.append(table.event_id == (event_id if is_id(event_id) else ""))
        #: Attempts that were returned, with when they began.
        self._returned: dict[tuple[str, int], datetime] = {}
        #: Deliveries that wait for an attempt, with the time of the last check.
        self._awaited: dict[str, datetime] = {}
        with access.read() as session:
            now = database_time(session)
            self._resent_from = ids.lowest_id("act", now)
            self._await(session, now)
        self._began = now if since is None else min(since, now)
        #: Start of the first poll; ``None`` after it.
        self._since: datetime | None = self._began

    def look(self) -> list[NewAttempt]:
        """Return the attempts that were recorded since the last poll, in the order in which they began."""
        with self._access.read() as session:
            now = database_time(session)
            self._await(session, now)
            since = self._since or max(self._began, now - _LONGEST)
            self._since = None
            found = self._newest(session, since)
            if self._awaited:
                found += self._of(session, self._deliveries_awaited(), since)
        new = {}
        for item in found:
            key = (item.attempt.delivery_id, item.attempt.number)
            if key not in self._returned:
                self._returned[key] = item.attempt.started_at
                new[key] = item
        self._returned = {key: at for key, at in self._returned.items() if at >= since}
        self._awaited = {key: at for key, at in self._awaited.items() if at >= since}
        return sorted(new.values(), key=lambda item: item.attempt.started_at)

    def _newest(self, session: Session, since: datetime) -> list[NewAttempt]:
        table = self._access.state.models.Delivery
        newest = (
            sa.select(table.id, table.last_attempt_at)
            .where(*self._conditions)
            .order_by(table.id.desc())
            .limit(NEWEST)
            .subquery()
        )
        tried = sa.select(newest.c.id).where(newest.c.last_attempt_at >= since)
        return self._of(session, tried, since)

    def _deliveries_awaited(self) -> list[str]:
        return list(self._awaited)[-WAITED_FOR:]

    def _of(self, session: Session, deliveries: Any, since: datetime) -> list[NewAttempt]:
        """Return attempts of some deliveries that began at a time or later."""
        models = self._access.state.models
        attempt, table = models.Attempt, models.Delivery
        query = (
            sa.select(attempt, table, models.Endpoint)
            .join(table, table.id == attempt.delivery_id)
            .join(models.Endpoint, models.Endpoint.id == table.endpoint_id)
            .where(table.id.in_(deliveries), attempt.started_at >= since)
            .options(*(defer(getattr(attempt, name)) for name in _LARGE))
        )
        found = []
        for row in session.execute(query):
            for name in _LARGE:
                set_committed_value(row[0], name, None)
            found.append(NewAttempt(*row))
        return found

    def _await(self, session: Session, now: datetime) -> None:
        """Record deliveries that wait for an attempt, and may not be among the newest."""
        models = self._access.state.models
        table, activity = models.Delivery, models.Activity
        waiting = sa.select(table.id).where(*self._conditions).limit(WAITED_FOR // 2)
        sending = waiting.where(table.state == literal(DeliveryState.SENDING))
        resent = (
            sa.select(activity.id, activity.delivery_id)
            .where(activity.id >= self._resent_from, activity.delivery_id.is_not(None))
            .order_by(activity.id)
            .limit(WAITED_FOR // 2)
        )
        found = [*session.scalars(sending), *session.scalars(self._due(session, waiting, now))]
        for activity_id, delivery_id in session.execute(resent):
            # A late commit may have a smaller id, so the last one is read again.
            self._resent_from = activity_id
            found.append(delivery_id)
        if found:
            fitting = sa.select(table.id).where(table.id.in_(found), *self._conditions)
            for delivery_id in session.scalars(fitting):
                self._awaited.pop(delivery_id, None)
                self._awaited[delivery_id] = now

    def _due(self, session: Session, waiting: sa.Select[Any], now: datetime) -> sa.Select[Any]:
        """Return deliveries that are due about now, by endpoint: the index begins with the endpoint, and a
        statement without it would read the whole backlog.
        """
        models = self._access.state.models
        table, endpoint = models.Delivery, models.Endpoint
        soon = (
            table.state == literal(DeliveryState.PENDING),
            table.due_at >= now - _SOON,
            table.due_at <= now + _SOON,
        )
        first = (
            sa.select(sa.func.min(table.due_at))
            .where(*soon, table.endpoint_id == endpoint.id)
            .correlate(endpoint)
            .scalar_subquery()
        )
        firsts = (
            sa.select(endpoint.id, first.label("due_at"))
            .where(self._access.scope(endpoint.tenant), endpoint.deleted_at.is_(None))
            .subquery()
        )
        busy = session.scalars(
            sa.select(firsts.c.id).where(firsts.c.due_at.is_not(None)).limit(WAITED_FOR // 2)
        ).all()
        return waiting.where(*soon, table.endpoint_id.in_(busy))


#: Columns that may be large.
_LARGE = ("request_headers", "request_body", "response_headers", "response_body")
