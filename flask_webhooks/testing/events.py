"""An event that a host emitted in its tests, and its planned deliveries."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import SessionTransaction

from ..app_state import AppState
from ..db.transactions import reading
from ..models import EndpointState
from ..outbox.store import NewEvent, subscribers

#: Characters of the data in a line.
_MOST_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class PlannedDelivery:
    """An endpoint that gets an event."""

    endpoint_id: str
    #: The URL for display: a secret URL is masked.
    url: str
    format: str
    #: The endpoint's tenant; ``None`` for the whole server.
    tenant: str | None
    #: The endpoint is paused or disabled: the event waits until it is resumed.
    held: bool


@dataclass(eq=False)
class CapturedEvent:
    """An event that was emitted."""

    #: Sent as ``webhook-id``.
    id: str
    type: str
    tenant: str | None
    #: The sent data: plain JSON values.
    data: dict[str, Any]
    occurred_at: datetime
    #: Whether it belongs to the application's transaction.
    transactional: bool
    #: Whether this transaction was committed, so that workers would see the event. ``False``: it is still open.
    committed: bool
    #: For a scheduled event, when it will be recorded, and its key.
    deliver_at: datetime | None
    key: str | None
    _state: AppState = field(repr=False)
    _event: NewEvent = field(repr=False)
    #: Its savepoint or transaction, while this is open.
    _transaction: SessionTransaction | None = field(default=None, repr=False)
    _deliveries: tuple[PlannedDelivery, ...] | None = field(default=None, repr=False)

    @property
    def deliveries(self) -> tuple[PlannedDelivery, ...]:
        """The endpoints that it would be delivered to, as of the first access.

        :raises DatabaseError: the database has no tables of Flask-Webhooks.
        """
        if self._deliveries is None:
            model = self._state.models.Endpoint
            with reading(self._state) as session:
                found = subscribers(self._state, session.connection(), self._event)
                rows = session.scalars(
                    sa.select(model)
                    .where(model.id.in_([endpoint_id for endpoint_id, _, _ in found]))
                    .order_by(model.id)
                ).all()
            self._deliveries = tuple(
                PlannedDelivery(
                    row.id,
                    row.url_shown,
                    row.format,
                    row.tenant,
                    row.state != EndpointState.ACTIVE,
                )
                for row in rows
            )
        return self._deliveries

    @property
    def line(self) -> str:
        """The event in one line, for messages."""
        data = json.dumps(self.data, ensure_ascii=False)
        if len(data) > _MOST_CHARACTERS:
            data = data[:_MOST_CHARACTERS] + "…"
        tenant = "" if self.tenant is None else f" of tenant {self.tenant!r}"
        is_open = self._transaction is not None and not self.committed
        key = "" if self.key is None else f" as {self.key!r}"
        due = "" if self.deliver_at is None else f" for {self.deliver_at.isoformat()}{key}"
        return f"{self.type}{tenant}{due}{' (transaction still open)' if is_open else ''}: {data}"
