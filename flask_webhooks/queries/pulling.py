"""Events in the order of their batches, for programs that pull them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from .. import ids
from ..access import Access, check_event_type, find_endpoint
from ..catalog.type_filter import of_type
from ..columns import compact_json
from ..db.conditions import of_tenant
from ..db.errors import told_as_messages
from ..db.locks import read_only
from ..db.transactions import database_time
from ..delivery.retention import kept_since
from ..errors import InvalidInput
from ..models import Trigger
from ..outbox.numbering import last_batch, number
from .cursors import START, Cursor, check_age, read_cursor, scope_digest

#: The maximum number of events of a page.
MAX_PULLED: Final = 1_000
#: The default number of events of a page.
DEFAULT_PULLED: Final = 100
#: Events that one statement examines: matches for an endpoint may be far apart.
_WINDOW: Final = 10_000
#: Maximum numbers of statements, and of new batches, per page.
_ROUNDS: Final = 5


@dataclass(frozen=True, slots=True)
class PulledEvent:
    """An event in its sent form."""

    id: str
    type: str
    tenant: str | None
    timestamp: datetime
    data: Any
    #: When its data was erased; it has been empty since then.
    erased_at: datetime | None
    #: The version of its data.
    data_version: str | None = None


@dataclass(frozen=True, slots=True)
class Pulled:
    """Some events, oldest first."""

    items: list[PulledEvent]
    #: Pass it as `after` to get the events that follow.
    next_after: str
    #: There are more. A page may still be empty, because matches may be far apart.
    has_more: bool


class Pull:
    """Pulls events that were committed after a cursor, in that order, without tests.

    :param after: the `next_after` of the previous page; ``start`` for the oldest stored events.
    :param tenant: only of this tenant. A caller who sees several must name one.
    :param endpoint_id: only those with a delivery to this endpoint.
    :raises InvalidCursor: the cursor is malformed, or of another tenant or endpoint.
    :raises InvalidInput: a filter is invalid; `field` names it.
    :raises NotFound: there is no such endpoint in scope.
    :raises Forbidden: not allowed to ``view`` and ``view_payload``.
    """

    def __init__(
        self,
        access: Access,
        after: str = START,
        *,
        tenant: str | None = None,
        endpoint_id: str | None = None,
        event_type: str | None = None,
        limit: int = DEFAULT_PULLED,
    ) -> None:
        if type(limit) is not int or not 1 <= limit <= MAX_PULLED:
            raise InvalidInput(
                "limit must be a whole number from 1 to %(most)s.", most=MAX_PULLED, field="limit"
            )
        if tenant is not None:
            access = access.within(tenant)
        endpoint = None if endpoint_id is None else find_endpoint(access, endpoint_id)
        access.require("view", endpoint)
        access.require("view_payload", endpoint)
        #: The tenant of the events; ``None``: all tenants.
        self.tenant = endpoint.tenant if endpoint is not None else _only_tenant(access)
        self._access = access
        self._endpoint = endpoint
        self._limit = limit
        self._digest = scope_digest(self.tenant, endpoint_id)
        self._after = None if after == START else read_cursor(after, self._digest)
        event = access.state.table("Event").c
        self._scope = sa.true() if self.tenant is None else of_tenant(event.tenant, self.tenant)
        self._fits = _conditions(access, endpoint_id, event_type)

    def page(self) -> Pulled:
        """Return the next page.

        :raises CursorExpired: the cursor is older than the retention time.
        :raises ConversionFailed: the application cannot convert data to the version of the endpoint.
        """
        access = self._access
        with access.read() as session:
            now = database_time(session)
        if self._after is not None:
            check_age(self._after, kept_since(access.state, now))
        cursor = self._after or Cursor(0, "", int(now.timestamp()), self._digest)
        found: list[PulledEvent] = []
        more = True
        for _ in range(_ROUNDS):
            with access.read() as session:
                rows, cursor, more = self._look(session, cursor, self._limit - len(found))
            # After the session is closed, because these are functions of the host.
            found += [self._in_version(event) for event in rows]
            # All numbered events were examined. New batches follow them.
            more = more or number(access.state, owns_request=access.owns_request)
            if not more or len(found) >= self._limit:
                break
        if not more:
            cursor = replace(cursor, complete_to=int(now.timestamp()))
        self._after = cursor
        return Pulled(found, cursor.text(), more)

    @cached_property
    def _news(self) -> sa.Select[Any]:
        event = self._access.state.table("Event").c
        unnumbered = sa.exists().where(event.batch.is_(None))
        numbered = sa.exists().where(self._scope, event.batch >= sa.bindparam("from_batch"))
        return sa.select(sa.or_(unnumbered, numbered))

    def has_news(self) -> bool:
        """Return whether the next page may have events, in one round trip, for waiting callers."""
        state = self._access.state
        after = {"from_batch": self._after.batch if self._after else 0}
        with told_as_messages(), state.own_engine.connect() as connection, read_only(connection):
            return bool(connection.execute(self._news, after).scalar())

    def _look(
        self, session: Session, cursor: Cursor, count: int
    ) -> tuple[list[PulledEvent], Cursor, bool]:
        """Search the numbered events after a cursor.

        :return: the matches, the new position, and whether there are more.
        """
        event = self._access.state.table("Event").c
        last = last_batch(self._access.state, session)
        numbered = (
            sa.select(event.id, event.batch)
            .where(
                self._scope,
                # Not a row comparison, for which MySQL would not use the index.
                event.batch.between(cursor.batch, last),
                sa.or_(event.batch > cursor.batch, event.id > cursor.event_id),
            )
            .order_by(event.batch, event.id)
        )
        window = numbered.limit(_WINDOW).subquery()
        columns = (event.id, event.type, event.tenant, event.occurred_at, event.data)
        rows = session.execute(
            sa.select(*columns, event.erased_at, event.data_version, event.batch)
            .join(window, window.c.id == event.id)
            .where(*self._fits)
            .order_by(window.c.batch, window.c.id)
            .limit(count + 1)
        ).all()
        more = len(rows) > count
        rows = rows[:count]
        if more:
            end: Any = rows[-1]
        else:
            end = session.execute(numbered.offset(_WINDOW - 1).limit(1)).first()
            more = end is not None
        complete_to = max([cursor.complete_to, *_seconds(rows)])
        batch, event_id = (end.batch, end.id) if more else (last + 1, "")
        found = [PulledEvent(*row[:-1]) for row in rows]
        return found, Cursor(batch, event_id, complete_to, cursor.scope), more

    def _in_version(self, event: PulledEvent) -> PulledEvent:
        """Return the event with its data in the version of the endpoint."""
        state, endpoint = self._access.state, self._endpoint
        if endpoint is None or event.erased_at is not None:
            return event
        versions, given, wanted = state.catalog.versions, event.data_version, endpoint.data_version
        if not versions.steps(event.type, given, wanted):
            return event
        most = state.settings.max_data_bytes
        text = versions.convert(event.type, compact_json(event.data), given, wanted, most)
        return replace(event, data=json.loads(text))


def _seconds(rows: Sequence[Any]) -> list[int]:
    """Return the Unix times at which events were emitted."""
    return [milliseconds // 1000 for milliseconds in ids.milliseconds_of(row.id for row in rows)]


def _only_tenant(access: Access) -> str | None:
    """Return the tenant of a caller who sees only one; ``None`` for all tenants.

    :raises InvalidInput: the caller sees several.
    """
    if len(access.tenants) > 1:
        raise InvalidInput(
            "You can see several tenants: name the one to pull from.", field="tenant"
        )
    return access.tenants[0] if access.tenants else None


def _conditions(
    access: Access, endpoint_id: str | None, event_type: str | None
) -> list[sa.ColumnElement[bool]]:
    event, delivery = (access.state.table(name).c for name in ("Event", "Delivery"))
    # Not with EXISTS, which databases may evaluate by reading all deliveries.
    is_test = sa.func.max(sa.case((delivery.trigger == str(Trigger.TEST), 1), else_=0))
    of_event = sa.select(is_test).where(delivery.event_id == event.id)
    if endpoint_id is None:
        conditions = [sa.func.coalesce(of_event.scalar_subquery(), 0) == 0]
    else:
        owed = of_event.where(delivery.endpoint_id == endpoint_id)
        conditions = [owed.scalar_subquery() == 0]
    if event_type is not None:
        check_event_type(access, event_type)
        conditions.append(of_type(event.type, event_type))
    return conditions
