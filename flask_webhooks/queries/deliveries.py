"""Deliveries and their attempts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import defer
from sqlalchemy.orm.attributes import set_committed_value

from ..access import Access, find_delivery, find_endpoint
from ..models import Attempt, Delivery, Endpoint, Event
from .pages import Page, check_limit, check_state, older_than, page_of


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A delivery and where it goes."""

    delivery: Delivery
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class DeliveryDetail:
    """A delivery with everything that was sent and came back."""

    delivery: Delivery
    #: Its `data` is ``None`` for those who may not ``view_payload``.
    event: Event
    endpoint: Endpoint
    #: In the order in which they were made. Bodies are ``None`` for those who may not ``view_payload``.
    attempts: list[Attempt]
    #: Whether data and bodies are there.
    payload_visible: bool


def list_deliveries(
    access: Access,
    endpoint_id: str | None = None,
    state: str | None = None,
    event_type: str | None = None,
    before: str | None = None,
    limit: int = 50,
) -> Page[DeliveryRow]:
    """Deliveries, newest first, of all endpoints in scope or of one; of deleted endpoints too.

    :param before: only those older than this id.
    :raises InvalidInput: a filter makes no sense; `field` names it.
    :raises NotFound: there is no such endpoint in scope.
    :raises Forbidden: not allowed to ``view``.
    """
    endpoint = None if endpoint_id is None else find_endpoint(access, endpoint_id, deleted=True)
    access.require("view", endpoint)
    models = access.state.models
    table = models.Delivery
    wanted_state = check_state(state)
    conditions = [access.scope(table.tenant), *older_than(table.id, before)]
    if endpoint_id is not None:
        conditions.append(table.endpoint_id == endpoint_id)
    if wanted_state is not None:
        conditions.append(table.state == wanted_state)
    if event_type is not None:
        conditions.append(has_type(table.event_type, event_type))
    query = (
        sa.select(table, models.Endpoint)
        .join_from(table, models.Endpoint, table.endpoint_id == models.Endpoint.id)
        .where(*conditions)
        .order_by(table.id.desc())
        .limit(check_limit(limit) + 1)
    )
    with access.read() as session:
        rows = session.execute(query).all()
    return page_of(rows, limit, lambda row: row[0].id).map(lambda row: DeliveryRow(*row))


def get_delivery(access: Access, delivery_id: str) -> DeliveryDetail:
    """One delivery. Three statements.

    :raises NotFound: there is no such delivery in scope.
    :raises Forbidden: not allowed to ``view`` its endpoint.
    """
    delivery, endpoint = find_delivery(access, delivery_id)
    access.require("view", endpoint)
    payload_visible = access.may("view_payload", endpoint)
    models = access.state.models
    event_query = sa.select(models.Event).where(models.Event.id == delivery.event_id)
    attempts_query = (
        sa.select(models.Attempt)
        .where(models.Attempt.delivery_id == delivery_id)
        .order_by(models.Attempt.number)
    )
    if not payload_visible:
        event_query = event_query.options(defer(models.Event.data))
        attempts_query = attempts_query.options(
            defer(models.Attempt.request_body), defer(models.Attempt.response_body)
        )
    with access.read() as session:
        event = session.scalars(event_query).one()
        attempts = list(session.scalars(attempts_query))
    if not payload_visible:
        set_committed_value(event, "data", None)
        for attempt in attempts:
            set_committed_value(attempt, "request_body", None)
            set_committed_value(attempt, "response_body", None)
    return DeliveryDetail(delivery, event, endpoint, attempts, payload_visible)


def has_type(column: Any, event_type: str) -> sa.ColumnElement[bool]:
    """The condition for a column with the name of an event type."""
    # PostgreSQL refuses text that holds NUL; no event type does.
    return column == event_type if event_type.isprintable() else sa.false()
