"""Cancel scheduled events."""

from __future__ import annotations

import sqlalchemy as sa

from ..access import Access, is_id, no_scheduled
from ..audit import cut_values
from ..models import ScheduledEvent


def cancel_scheduled(access: Access, scheduled_id: str) -> ScheduledEvent:
    """Cancel a scheduled event: it is never recorded or sent.

    :return: the cancelled event.
    :raises NotFound: there is none in scope; it may have been recorded, replaced or cancelled.
    :raises Forbidden: not allowed to ``send``.
    """
    access.require("send")
    models = access.state.models
    table = models.ScheduledEvent
    if not is_id(scheduled_id):
        raise no_scheduled(scheduled_id)
    with access.write() as session:
        event = session.scalars(
            sa.select(table)
            .where(table.id == scheduled_id, access.scope(table.tenant))
            .with_for_update()
        ).one_or_none()
        if event is None:
            raise no_scheduled(scheduled_id)
        session.execute(sa.delete(table).where(table.id == event.id))
        session.expunge(event)
        values = {
            "scheduled": event.id,
            "event_type": event.type,
            "deliver_at": event.deliver_at.isoformat(),
            **({} if event.key is None else {"key": event.key}),
        }
        session.add(
            models.Activity(
                actor=access.actor,
                action="scheduled.cancelled",
                tenant=event.tenant,
                changes=cut_values(values),
            )
        )
    return event
