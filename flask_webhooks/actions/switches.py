"""Pause and resume endpoints."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ..access import Access, find_endpoint
from ..app_state import AppState
from ..bulk.changes import DISCARDED
from ..columns import utc_now
from ..delivery.holding import hold_pending
from ..errors import InvalidTransition
from ..log import get_logger
from ..models import DeliveryState, Endpoint, EndpointState
from ..texts import Text, word
from . import checks
from .audit_log import locked, record
from .challenges import check_verified

logger = get_logger("flask_webhooks")

#: What to do with held deliveries: send, cancel, or keep holding.
HELD_CHOICES = ("send", "discard", "keep")
#: The reason of deliveries that stay held after a resume.
KEPT = "kept"


def pause_endpoint(access: Access, endpoint_id: str, reason: str = "") -> Endpoint:
    """Pause an endpoint: nothing is sent until it is resumed, and deliveries are held.

    :param reason: for people, shown next to the state.
    :raises InvalidTransition: it is already paused or disabled.
    :raises NotFound: there is no such endpoint in scope.
    :raises Forbidden: not allowed.
    """
    access.require("manage", find_endpoint(access, endpoint_id))
    why = checks.one_line(reason, "reason", Text("reason"), checks.MAX_REASON_LENGTH)
    state = access.state
    with access.write() as session:
        endpoint = locked(session, access, endpoint_id)
        if endpoint.state != EndpointState.ACTIVE:
            raise InvalidTransition(
                "The endpoint is already %(now)s.", now=word(endpoint.state), state=endpoint.state
            )
        held = hold_pending(state, session.connection(), [endpoint.id])
        _switch(endpoint, EndpointState.PAUSED, access.actor, why)
        changes = {"state": [EndpointState.ACTIVE, EndpointState.PAUSED], "held": held}
        record(session, access, "endpoint.paused", endpoint, changes=changes | _reason(why))
        session.flush()
        session.refresh(endpoint)
    _log(endpoint, "Endpoint %s is paused")
    return endpoint


def resume_endpoint(access: Access, endpoint_id: str, held: str = "send") -> Endpoint:
    """Make a paused or disabled endpoint active again, and reset its health.

    :param held: one of `HELD_CHOICES`.
    :raises InvalidTransition: it is already active, or has to echo a challenge first.
    :raises NotFound: there is no such endpoint in scope.
    :raises Forbidden: not allowed.
    """
    choice = checks.check_choice(held, "held", HELD_CHOICES)
    access.require("manage", find_endpoint(access, endpoint_id))
    state = access.state
    with access.write() as session:
        endpoint = locked(session, access, endpoint_id)
        before = endpoint.state
        if before == EndpointState.ACTIVE:
            raise InvalidTransition("The endpoint is already active.", state=before)
        check_verified(state, endpoint)
        # An event that was written concurrently may have missed the pause.
        hold_pending(state, session.connection(), [endpoint.id])
        count = _release(session, state, endpoint.id, choice)
        forget_failures(session, state, endpoint.id)
        # A challenge or a test that was waited for is not any more.
        endpoint.challenge = None
        _switch(endpoint, EndpointState.ACTIVE, access.actor, "")
        changes = {"state": [before, EndpointState.ACTIVE], "held": choice, "deliveries": count}
        record(session, access, "endpoint.resumed", endpoint, changes=changes)
        session.flush()
        session.refresh(endpoint)
    _log(endpoint, "Endpoint %s is resumed")
    state.notifier.notify()
    return endpoint


def go_live(session: Session, state: AppState, endpoint: Endpoint, actor: str) -> None:
    """Release the held deliveries of an endpoint that no longer needs to echo a challenge."""
    _release(session, state, endpoint.id, "send")
    _switch(endpoint, EndpointState.ACTIVE, actor, "")


def forget_failures(session: Session, state: AppState, endpoint_id: str) -> None:
    """Reset the health: no delay, and no failures."""
    health = state.table("EndpointHealth")
    session.execute(
        sa.update(health)
        .where(health.c.endpoint_id == endpoint_id)
        .values(
            consecutive_failures=0,
            failing_since=None,
            probe_interval=None,
            hold_until=None,
            hold_reason=None,
            warned=0,
        )
    )


def _release(session: Session, state: AppState, endpoint_id: str, choice: str) -> int:
    values: dict[str, Any]
    match choice:
        case "send":
            values = {"state": DeliveryState.PENDING, "due_at": utc_now(), "reason": None}
        case "discard":
            values = {
                "state": DeliveryState.CANCELLED,
                "reason": DISCARDED,
                "completed_at": utc_now(),
            }
        case _:
            # Without it, they would be treated as deliveries that missed the resume, and be sent.
            values = {"reason": KEPT}
    delivery = state.table("Delivery")
    return (
        session.connection()
        .execute(
            sa.update(delivery)
            .where(delivery.c.endpoint_id == endpoint_id, delivery.c.state == DeliveryState.HELD)
            .values(values)
        )
        .rowcount
    )


def _switch(endpoint: Endpoint, to: EndpointState, actor: str, reason: str) -> None:
    endpoint.state = to
    endpoint.state_reason = reason or None
    endpoint.state_reason_code = endpoint.state_reason_params = None
    endpoint.state_actor = actor
    endpoint.state_since = utc_now()
    endpoint.updated_at = utc_now()
    endpoint.version += 1


def _log(endpoint: Endpoint, message: str) -> None:
    logger.info(message, endpoint.id, extra={"endpoint_id": endpoint.id, "tenant": endpoint.tenant})


def _reason(text: str) -> dict[str, str]:
    return {"reason": text} if text else {}
