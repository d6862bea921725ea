"""Equal endpoints, through each of which an event would arrive once."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ..app_state import AppState
from ..errors import DuplicateEndpoint, UnreadableSecret
from ..models import Endpoint
from . import checks


def find_equal(
    session: Session, state: AppState, endpoint: Endpoint, whole_url: str
) -> Endpoint | None:
    """Return the first other endpoint of the tenant with the same URL, format, options and event types."""
    table = state.models.Endpoint
    others = session.scalars(
        sa.select(table)
        .where(
            table.tenant.is_(None) if endpoint.tenant is None else table.tenant == endpoint.tenant,
            table.deleted_at.is_(None),
            table.format == endpoint.format,
            # Equal URLs are masked in the same way.
            table.url_shown == endpoint.url_shown,
            table.id != endpoint.id,
        )
        .order_by(table.id)
    )
    return next((other for other in others if _is_equal(state, other, endpoint, whole_url)), None)


def refuse_equal(session: Session, state: AppState, endpoint: Endpoint, whole_url: str) -> None:
    """Check that there is no equal endpoint.

    :raises DuplicateEndpoint: there is one.
    """
    other = find_equal(session, state, endpoint, whole_url)
    if other is not None:
        raise DuplicateEndpoint(
            "Another endpoint has the same URL, format and event types (%(id)s), so each event would arrive "
            "there twice. Change one of them, or confirm that you want both.",
            id=other.id,
            endpoint_id=other.id,
        )


def gets_the_same(other: Endpoint, endpoint: Endpoint) -> bool:
    """Return whether two endpoints of one format have the same event types, filter and options."""
    return (
        same_events(other, endpoint)
        and other.filter == endpoint.filter
        and (other.options or {}) == (endpoint.options or {})
    )


def same_events(other: Endpoint, endpoint: Endpoint) -> bool:
    """Return whether two endpoints have the same event types."""
    return _events(other) == _events(endpoint)


def _is_equal(state: AppState, other: Endpoint, endpoint: Endpoint, whole_url: str) -> bool:
    if not gets_the_same(other, endpoint):
        return False
    try:
        return checks.whole_url(state, other) == whole_url
    except UnreadableSecret:
        return False


def _events(endpoint: Endpoint) -> frozenset[str] | None:
    return None if endpoint.events is None else frozenset(endpoint.events)
