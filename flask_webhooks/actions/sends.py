"""Events that are created for one endpoint on request."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from .. import ids
from ..access import Access
from ..models import Endpoint, Trigger
from ..outbox.store import NewEvent, insert_deliveries, insert_event


def insert_test(
    session: Session,
    access: Access,
    endpoint: Endpoint,
    event_type: str,
    data: str,
    data_version: str | None = None,
) -> str:
    """Create a test event for one endpoint; return the id of its delivery.

    :param data: compact JSON text.
    :param data_version: the version to send it in; ``None`` is that of the endpoint.
    """
    event = NewEvent(
        id=ids.new_id("evt"),
        type=event_type,
        tenant=endpoint.tenant,
        data=data,
        occurred_at=datetime.now(UTC),
        data_version=access.state.catalog.versions.newest(event_type),
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
    if data_version is not None:
        delivery = state.table("Delivery")
        chosen = sa.update(delivery).where(delivery.c.id == delivery_id)
        connection.execute(chosen.values(data_version=data_version))
    return delivery_id
