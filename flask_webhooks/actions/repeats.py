"""Repeated requests for a new endpoint, after the response to the first was lost."""

from __future__ import annotations

import hashlib
import json

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ..app_state import AppState
from ..errors import InvalidInput
from ..models import Endpoint
from ..outbox.idempotency import MAX_KEY_LENGTH, is_key, key_digest


def mark(endpoint: Endpoint, key: str | None, whole_url: str) -> None:
    """Store the idempotency key in a new endpoint.

    :param key: the key of the caller, or ``None``.
    :raises InvalidInput: the key is invalid.
    """
    if key is None:
        return
    if not is_key(key):
        raise InvalidInput(
            "The idempotency key must be a text of 1 to %(most)s printable characters.",
            most=MAX_KEY_LENGTH,
            field="idempotency_key",
        )
    endpoint.idempotency_digest = key_digest(endpoint.tenant, key)
    # Without secrets and headers: a digest would allow guessing them.
    parts: list[object] = [whole_url, endpoint.format, endpoint.events]
    # Only if set, so that requests from before endpoints had filters are still recognised.
    request = json.dumps(parts if endpoint.filter is None else [*parts, endpoint.filter])
    endpoint.idempotency_request = hashlib.sha256(request.encode()).hexdigest()


def find_created(session: Session, state: AppState, endpoint: Endpoint) -> Endpoint | None:
    """Return the endpoint that was created by an earlier request with this key, if any.

    :raises InvalidInput: that request was different, or its endpoint was deleted.
    """
    if endpoint.idempotency_digest is None:
        return None
    table = state.models.Endpoint
    first = session.scalars(
        sa.select(table).where(table.idempotency_digest == endpoint.idempotency_digest)
    ).one_or_none()
    if first is None:
        return None
    if first.idempotency_request != endpoint.idempotency_request:
        raise InvalidInput(
            "This idempotency key was used for an endpoint with another URL, format or other event types: use a "
            "new one for each endpoint.",
            field="idempotency_key",
        )
    if first.deleted_at is not None:
        raise InvalidInput(
            "The endpoint that was created with this idempotency key has been deleted: use a new one.",
            field="idempotency_key",
        )
    return first
