"""Challenges and first tests: a URL gets no other requests until its receiver has responded as it should."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ..access import Access, find_endpoint
from ..app_state import AppState
from ..columns import compact_json
from ..delivery.echo import ANY_TEST, CHALLENGE, MEMBER, challenge_digest
from ..errors import InvalidTransition
from ..formats import Format
from ..models import Delivery, DeliveryState, Endpoint, EndpointState
from . import limits
from .audit_log import locked, record
from .sends import insert_test

#: A placeholder for the digest of a token until one is generated.
TO_COME = "to come"


def must_echo(state: AppState, style: Format, url: str) -> bool:
    """Return whether a new URL has to echo a challenge. Chats cannot do this."""
    return state.settings.verify_endpoints and (style.can_echo or not style.matches(url))


def is_unverified(state: AppState, endpoint: Endpoint) -> bool:
    """Return whether an endpoint only gets challenges."""
    return state.settings.verify_endpoints and endpoint.challenge not in (None, ANY_TEST)


def check_verified(state: AppState, endpoint: Endpoint) -> None:
    """Check that an endpoint is verified.

    :raises InvalidTransition: it has to echo a challenge first.
    """
    if is_unverified(state, endpoint):
        raise InvalidTransition(
            "The receiver has not echoed its challenge yet. Nothing else is sent until it does. Send it another "
            "challenge.",
            state=endpoint.state,
        )


def send_challenge(access: Access, endpoint_id: str) -> Delivery:
    """Send an unverified endpoint another challenge; earlier ones no longer count.

    :raises InvalidTransition: it does not need to echo one.
    :raises SendLimitReached: the tenant has reached its limit.
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
    """Create a challenge in the transaction that makes an endpoint unverified; return the id of the delivery.

    :raises SendLimitReached: the tenant has reached its limit.
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
    """Hold all waiting deliveries of an endpoint whose URL has changed, including requested ones."""
    delivery = state.table("Delivery")
    held: dict[str, Any] = {"state": DeliveryState.HELD, "due_at": None, "noticed": None}
    session.connection().execute(
        sa.update(delivery)
        .where(delivery.c.endpoint_id == endpoint_id, delivery.c.state == DeliveryState.PENDING)
        .values(held)
    )


def make_unverified(endpoint: Endpoint, awaited: str = TO_COME) -> None:
    """Make an active endpoint unverified until it has echoed the challenge that is to come.

    :param awaited: `ANY_TEST`, if a test with a 2xx response is enough.
    """
    endpoint.challenge = awaited
    if endpoint.state == EndpointState.ACTIVE:
        endpoint.state = EndpointState.UNVERIFIED
        endpoint.state_since = datetime.now(UTC)
        endpoint.state_actor = None
        endpoint.state_reason = endpoint.state_reason_code = endpoint.state_reason_params = None
