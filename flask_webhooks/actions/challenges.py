"""Challenges: a URL gets nothing else until its receiver has echoed a random token."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ..access import Access, find_endpoint
from ..app_state import AppState
from ..columns import compact_json
from ..delivery.echo import CHALLENGE, MEMBER, challenge_digest
from ..errors import InvalidTransition
from ..formats import Format
from ..models import Delivery, DeliveryState, Endpoint, EndpointState
from . import limits
from .audit_log import locked, record
from .sends import insert_test

#: Stands for the digest of a token until one is made.
TO_COME = "to come"


def must_echo(state: AppState, style: Format, url: str) -> bool:
    """Tell whether a new URL has to echo a challenge: all but those of chats, which cannot."""
    return state.settings.verify_endpoints and (style.can_echo or not style.matches(url))


def is_unverified(state: AppState, endpoint: Endpoint) -> bool:
    """Tell whether an endpoint gets nothing but challenges."""
    return state.settings.verify_endpoints and endpoint.challenge is not None


def check_verified(state: AppState, endpoint: Endpoint) -> None:
    """Refuse what would send something else.

    :raises InvalidTransition: it has to echo a challenge first.
    """
    if is_unverified(state, endpoint):
        raise InvalidTransition(
            "The receiver has not echoed its challenge yet. Nothing else is sent until it does. Send it another "
            "challenge.",
            state=endpoint.state,
        )


def send_challenge(access: Access, endpoint_id: str) -> Delivery:
    """Send an unverified endpoint another challenge, which alone counts from now on.

    :raises InvalidTransition: it need not echo any.
    :raises SendLimitReached: the tenant has had as much sent as it may.
    :raises NotFound: there is no such endpoint in scope.
    :raises Forbidden: not allowed.
    """
    target = find_endpoint(access, endpoint_id)
    access.require("send", target)
    state = access.state
    with access.write(alone=limits.lock_name(access, target.tenant)) as session:
        endpoint = locked(session, access, endpoint_id)
        if not is_unverified(state, endpoint):
            raise InvalidTransition(
                "This endpoint does not need to echo a challenge.", state=endpoint.state
            )
        delivery_id = issue(session, access, endpoint)
        delivery = session.get_one(state.models.Delivery, delivery_id)
    state.notifier.notify()
    return delivery


def issue(session: Session, access: Access, endpoint: Endpoint) -> str:
    """Write a challenge for an endpoint, within the transaction that makes it unverified; returns the delivery's id.

    :raises SendLimitReached: the tenant has had as much sent as it may.
    """
    limits.check_sends(session, access, endpoint.tenant)
    token = secrets.token_urlsafe(24)
    endpoint.challenge = challenge_digest(token)
    session.flush()
    data = compact_json({MEMBER: token})
    delivery_id = insert_test(session, access, endpoint, CHALLENGE, data)
    record(session, access, "endpoint.challenged", endpoint, delivery_id=delivery_id)
    return delivery_id


def hold_everything(session: Session, state: AppState, endpoint_id: str) -> None:
    """Hold all that waits for an endpoint whose URL has changed, also what people asked for."""
    delivery = state.table("Delivery")
    held: dict[str, Any] = {"state": DeliveryState.HELD, "due_at": None, "noticed": None}
    session.connection().execute(
        sa.update(delivery)
        .where(delivery.c.endpoint_id == endpoint_id, delivery.c.state == DeliveryState.PENDING)
        .values(held)
    )


def make_unverified(endpoint: Endpoint) -> None:
    """Stop an active endpoint until it has echoed the challenge that is to come."""
    endpoint.challenge = TO_COME
    if endpoint.state == EndpointState.ACTIVE:
        endpoint.state = EndpointState.UNVERIFIED
        endpoint.state_since = datetime.now(UTC)
        endpoint.state_actor = None
        endpoint.state_reason = endpoint.state_reason_code = endpoint.state_reason_params = None
