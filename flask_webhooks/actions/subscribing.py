"""Subscribe an endpoint to an event type, and send it a past event."""

from __future__ import annotations

import sqlalchemy as sa

from ..access import Access, find_endpoint, is_id, shown
from ..catalog.registry import matches
from ..columns import utc_now
from ..errors import InvalidTransition, NotFound
from ..models import Delivery, Trigger
from ..outbox.store import insert_deliveries
from . import limits
from .audit_log import locked, record
from .deliveries import check_not_erased


def subscribe_and_replay(access: Access, endpoint_id: str, event_id: str) -> Delivery:
    """Subscribe an endpoint to the type of an event, if necessary, and send it this event.

    If the endpoint is paused, the delivery is held.

    :raises InvalidTransition: the endpoint already has the event or cannot subscribe to its type, or the data was
        erased.
    :raises SendLimitReached: the tenant has reached its limit.
    :raises NotFound: there is no such endpoint or event in scope.
    :raises Forbidden: not allowed to ``manage`` the endpoint and to ``send``.
    """
    target = find_endpoint(access, endpoint_id)
    access.require("manage", target)
    access.require("send", target)
    state = access.state
    events, deliveries = state.models.Event, state.models.Delivery
    with access.write(alone=limits.lock_name(access, target.tenant)) as session:
        endpoint = locked(session, access, endpoint_id)
        event = None
        if is_id(event_id):
            event = session.scalars(
                sa.select(events)
                .where(events.id == event_id, access.scope(events.tenant))
                # A concurrent erasure waits, and sees the delivery.
                .with_for_update(read=True)
            ).one_or_none()
        if event is None:
            raise NotFound("There is no event %(id)s.", id=shown(event_id))
        check_not_erased(event)
        type_ = state.catalog[event.type]
        known = matches(endpoint.events, event.type)
        if (
            not type_.subscribable
            or endpoint.tenant not in (None, event.tenant)
            or not (known or event.type in state.offered_types)
        ):
            raise InvalidTransition("This webhook cannot be subscribed to events of this type.")
        if session.scalar(
            sa.select(deliveries.id)
            .where(deliveries.event_id == event.id, deliveries.endpoint_id == endpoint.id)
            .limit(1)
        ):
            raise InvalidTransition("The webhook already has this event: resend its delivery.")
        size = limits.sent_size(endpoint, limits.data_size(session, state, event.id))
        limits.check_sends(session, access, endpoint.tenant, size)
        if not known:
            before = list(endpoint.events or ())
            endpoint.events = [*before, event.type]
            endpoint.version += 1
            endpoint.updated_at = utc_now()
            record(
                session,
                access,
                "endpoint.updated",
                endpoint,
                changes={"events": [before, endpoint.events]},
            )
            session.flush()
        [delivery_id] = insert_deliveries(
            state,
            session.connection(),
            event.id,
            event.type,
            [(endpoint.id, endpoint.tenant, endpoint.state)],
            trigger=Trigger.REPLAY,
            actor=access.actor,
        )
        record(
            session,
            access,
            "event.replayed",
            endpoint,
            delivery_id=delivery_id,
            changes={"event_type": event.type, limits.BYTES: size},
        )
        delivery = session.get_one(deliveries, delivery_id)
    state.notifier.notify()
    return delivery
