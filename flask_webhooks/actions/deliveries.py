"""Send tests, resend and cancel deliveries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ..access import Access, find_delivery, find_endpoint, no_delivery
from ..app_state import AppState
from ..bulk.changes import CANCELLED, REOPENED
from ..catalog.versions import INITIAL
from ..columns import utc_now
from ..encoding import encode_data
from ..errors import InvalidTransition, UnknownEventType
from ..formats.examples import sample_data
from ..models import AT_REST, Delivery, DeliveryState, Endpoint, Event, Trigger
from ..texts import word
from . import limits
from .audit_log import locked, record
from .challenges import check_verified
from .sends import insert_test

TEST = "test"


def send_test(
    access: Access,
    endpoint_id: str,
    event_type: str | None = None,
    data: Mapping[str, Any] | None = None,
    *,
    data_version: str | None = None,
) -> Delivery:
    """Send a test event to one endpoint, even if it is paused or disabled.

    :param event_type: a type of the catalogue; ``None`` is the test event of the endpoint's format.
    :param data: data of the newest version; ``None`` is the example of the type.
    :param data_version: the version to send it in, a date or ``initial``; ``None`` is that of the endpoint.
    :raises UnknownEventType: the catalogue does not have it.
    :raises InvalidData: the data is too large or not JSON.
    :raises InvalidEndpoint: there is no such version.
    :raises ConversionFailed: the application cannot convert the data to that version.
    :raises InvalidTransition: it has to echo a challenge first.
    :raises SendLimitReached: the tenant has reached its limit.
    :raises NotFound: there is no such endpoint in scope.
    :raises Forbidden: not allowed.
    """
    target = find_endpoint(access, endpoint_id)
    access.require("send", target)
    state = access.state
    if event_type is None and target.format in state.formats:
        event_type = state.formats[target.format].test_event
    elif isinstance(event_type, str) and event_type not in (target.events or ()):
        # Raises if it is not offered, unless the endpoint already has it.
        _ = state.offered_types[event_type]
    kind, text = _sample(state, event_type, data)
    versions = state.catalog.versions
    version = None
    if data_version is not None:
        version = versions.check(data_version, target.data_version) or INITIAL
    # Refuse what cannot be sent while the user is present.
    wanted, most = version or target.data_version, state.settings.max_data_bytes
    versions.convert(kind, text, versions.newest(kind), wanted, most)
    size = limits.sent_size(target, len(text.encode()))
    with access.write(alone=limits.lock_name(access, target.tenant)) as session:
        limits.check_sends(session, access, target.tenant, size)
        endpoint = locked(session, access, endpoint_id)
        check_verified(state, endpoint)
        delivery_id = _insert_test(session, access, endpoint, kind, text, size, version)
        delivery = session.get_one(state.models.Delivery, delivery_id)
    state.notifier.notify()
    return delivery


def insert_first_test(session: Session, access: Access, endpoint: Endpoint) -> None:
    """Write the test that a new endpoint is to answer, within the transaction that creates it.

    :raises SendLimitReached: the tenant has had as much sent as it may.
    """
    state = access.state
    kind, text = _sample(state, state.formats[endpoint.format].test_event, None)
    size = limits.sent_size(endpoint, len(text.encode()))
    limits.check_sends(session, access, endpoint.tenant, size)
    _insert_test(session, access, endpoint, kind, text, size, None)


def _insert_test(
    session: Session,
    access: Access,
    endpoint: Endpoint,
    kind: str,
    text: str,
    size: int,
    version: str | None,
) -> str:
    """Write a test and who sent it; returns the delivery's id."""
    delivery_id = insert_test(session, access, endpoint, kind, text, version)
    chosen = {} if version is None else {"data_version": version}
    changes = {"event_type": kind, limits.BYTES: size, **chosen}
    record(session, access, "endpoint.tested", endpoint, delivery_id=delivery_id, changes=changes)
    return delivery_id


def resend(access: Access, delivery_id: str) -> Delivery:
    """Resend a delivery now: the same event and ``webhook-id``, with a new retry schedule.

    :raises InvalidTransition: it is being sent, its endpoint was deleted, or the data of the event erased.
    :raises SendLimitReached: the tenant has reached its limit.
    :raises NotFound: there is no such delivery in scope.
    :raises Forbidden: not allowed.
    """
    delivery, endpoint = find_delivery(access, delivery_id)
    access.require("send", endpoint)
    if endpoint.deleted_at is not None:
        raise InvalidTransition(
            "The endpoint of this delivery was deleted, so it cannot be sent again.",
            state=delivery.state,
        )
    # A test remains a test: it must neither be retried nor count against the endpoint.
    trigger = Trigger.TEST if delivery.trigger == Trigger.TEST else Trigger.MANUAL
    with access.write(alone=limits.lock_name(access, endpoint.tenant)) as session:
        state = access.state
        size = limits.sent_size(endpoint, limits.data_size(session, state, delivery.event_id))
        limits.check_sends(session, access, endpoint.tenant, size)
        endpoint = locked(session, access, endpoint.id)
        check_verified(state, endpoint)
        check_not_erased(session.get(state.models.Event, delivery.event_id))
        reopened = _move(
            session,
            access.state,
            delivery_id,
            {*AT_REST, DeliveryState.PENDING},
            {**REOPENED, "trigger": trigger, "actor": access.actor},
        )
        if not reopened:
            raise _being_sent()
        record(
            session,
            access,
            "delivery.resent",
            endpoint,
            delivery_id=delivery_id,
            changes={limits.BYTES: size},
        )
        changed = session.get_one(access.state.models.Delivery, delivery_id)
    access.state.notifier.notify()
    return changed


def cancel(access: Access, delivery_id: str) -> Delivery:
    """Cancel a delivery that has not been sent yet.

    :raises InvalidTransition: it is being sent, or has ended.
    :raises NotFound: there is no such delivery in scope.
    :raises Forbidden: not allowed.
    """
    _, endpoint = find_delivery(access, delivery_id)
    access.require("send", endpoint)
    models = access.state.models
    with access.write() as session:
        cancelled = _move(
            session,
            access.state,
            delivery_id,
            {DeliveryState.PENDING, DeliveryState.HELD},
            {
                "state": DeliveryState.CANCELLED,
                "reason": CANCELLED,
                "due_at": None,
                "completed_at": utc_now(),
            },
        )
        delivery = session.get_one(models.Delivery, delivery_id)
        if not cancelled:
            if delivery.state == DeliveryState.SENDING:
                raise _being_sent()
            raise InvalidTransition(
                "It is already %(now)s; only pending or held deliveries can be cancelled.",
                now=word(delivery.state),
                state=delivery.state,
            )
        record(session, access, "delivery.cancelled", endpoint, delivery_id=delivery_id)
    return delivery


def check_not_erased(event: Event | None) -> None:
    """Check that the data of an event still exists.

    :raises InvalidTransition: it was erased.
    """
    if event is not None and event.erased_at is not None:
        raise InvalidTransition(
            "The data of this event was erased on %(day)s, so it can no longer be sent.",
            day=f"{event.erased_at:%Y-%m-%d}",
        )


def _being_sent() -> InvalidTransition:
    return InvalidTransition(
        "It is being sent right now: wait until that attempt has ended.",
        state=DeliveryState.SENDING,
    )


def _move(
    session: Session,
    state: AppState,
    delivery_id: str,
    allowed: set[DeliveryState],
    values: dict[str, Any],
) -> bool:
    """Change a delivery if it is in one of these states, in one statement; return whether it was.

    :raises NotFound: it was removed in the meantime.
    """
    table = state.table("Delivery")
    result = session.connection().execute(
        sa.update(table).where(table.c.id == delivery_id, table.c.state.in_(allowed)).values(values)
    )
    if result.rowcount == 1:
        return True
    if session.get(state.models.Delivery, delivery_id) is None:
        raise no_delivery(delivery_id)
    return False


def _sample(
    state: AppState, event_type: str | None, data: Mapping[str, Any] | None
) -> tuple[str, str]:
    """Return the name of the type and the data as JSON text."""
    name = TEST if event_type is None else event_type
    if not isinstance(name, str):
        raise UnknownEventType('Name the event type by its text, such as "license.created".')
    known = state.catalog[name]
    if data is None:
        data = sample_data(known, state.settings.product_name)
    return known.name, encode_data(data, state.settings.max_data_bytes)
