"""Events that are made for one endpoint, because a person asked for them."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy.orm import Session

from .. import ids
from ..access import Access
from ..models import Endpoint, Trigger
from ..outbox.store import NewEvent, insert_deliveries, insert_event


def insert_test(
    session: Session, access: Access, endpoint: Endpoint, event_type: str, data: str
) -> str:
    """Write an event that counts as a test, for no other endpoint; returns the id of its delivery.

    :param data: compact JSON text.
    """
    event = NewEvent(
        id=ids.new_id("evt"),
        type=event_type,
        tenant=endpoint.tenant,
        data=data,
        occurred_at=datetime.now(UTC),
    )
    state, connection = access.state, session.connection()
    insert_event(state, connection, event, [])
    [delivery_id] = insert_deliveries(
        state,
        connection,
        event.id,
        event.type,
        [(endpoint.id, endpoint.tenant, endpoint.state)],
        trigger=Trigger.TEST,
        actor=access.actor,
    )
    return delivery_id
