"""Deliveries and their attempts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import defer
from sqlalchemy.orm.attributes import set_committed_value

from ..access import Access, check_event_type, find_delivery, find_endpoint, is_id, no_delivery
from ..app_state import AllTenants
from ..attempt_errors import stored_error
from ..catalog.type_filter import of_type
from ..db.conditions import check_status, created_between, of_tenant
from ..delivery.outcome import Outcome
from ..models import Attempt, Delivery, DeliveryState, Endpoint, EndpointHealth, Event
from .bodies import decrypt_bodies, explain_missing
from .pages import Page, check_limit, check_state, literal, older_than, page_of
from .searching import answered_so, check_text, holding

#: Attempts of one delivery. Each may hold bodies, and one that is resent goes on getting more.
MOST_ATTEMPTS = 50


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A delivery with its endpoint."""

    delivery: Delivery
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class DeliveryDetail:
    """A delivery with its requests and responses."""

    delivery: Delivery
    #: Its `data` is ``None`` without the permission ``view_payload``.
    event: Event
    endpoint: Endpoint
    #: The health of the endpoint.
    health: EndpointHealth
    #: The newest, in the order in which they were made. Bodies are ``None`` for those who may not
    #: ``view_payload``, and so are refused addresses for those who do not see all tenants.
    attempts: list[Attempt]
    #: How many were made before those.
    older_attempts: int
    #: Whether data and bodies are there.
    payload_visible: bool


def list_deliveries(
    access: Access,
    endpoint_id: str | None = None,
    state: str | None = None,
    event_type: str | None = None,
    before: str | None = None,
    limit: int = 50,
    *,
    tenant: str | None = None,
    status: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    id: str | None = None,
    text: str | None = None,
) -> Page[DeliveryRow]:
    """Deliveries, newest first, of all endpoints in scope or of one; of deleted endpoints too.

    Filters without an index (`status` and `text`) search the newest `SEARCHED` deliveries that match the others,
    and a text at most `SEARCHED_TEXT` characters of data, so that no filter takes long; the page then has a
    `next_before`, even if it has no items.

    :param event_type: a name, or a prefix such as ``license.*``.
    :param before: only older than this id.
    :param tenant: only those to this one's endpoints; ``None`` for all that are in scope.
    :param status: the last response: a number (``503``), a class (``5xx``) or ``none`` for no response.
    :param since: only those that were created at this time or later.
    :param until: only before this time.
    :param id: of a delivery, or of an event (the ``webhook-id``).
    :param text: a part of the event's data as JSON text.
    :raises InvalidInput: a filter is invalid; `field` names it.
    :raises NotFound: there is no such endpoint in scope.
    :raises Forbidden: not allowed to ``view``; with `text`, not allowed to ``view_payload``.
    """
    endpoint = None if endpoint_id is None else find_endpoint(access, endpoint_id, deleted=True)
    access.require("view", endpoint)
    if text is not None:
        access.require("view_payload", endpoint)
        check_text(text)
    models = access.state.models
    table = models.Delivery
    if status is not None:
        check_status(status)
    conditions = [
        access.scope(table.tenant),
        *older_than(table.id, before),
        *created_between(table.id, "dlv", since, until),
    ]
    if tenant is not None:
        conditions.append(of_tenant(table.tenant, tenant))
    if endpoint_id is not None:
        conditions.append(table.endpoint_id == endpoint_id)
    if state is not None:
        # As text, so that the planner can use a partial index.
        wanted_state = DeliveryState(check_state(state, DeliveryState))
        conditions.append(table.state == literal(wanted_state))
    if event_type is not None:
        check_event_type(access, event_type)
        conditions.append(of_type(table.event_type, event_type))
    if id is not None:
        wanted = id if is_id(id) else ""
        conditions.append(sa.or_(table.id == wanted, table.event_id == wanted))
    query = (
        sa.select(table, models.Endpoint)
        .join_from(table, models.Endpoint, table.endpoint_id == models.Endpoint.id)
        .order_by(table.id.desc())
    )
    most = check_limit(limit) + 1
    if status is None and text is None:
        with access.read() as session:
            rows = session.execute(query.where(*conditions).limit(most)).all()
        return page_of(rows, limit, lambda row: row[0].id).map(lambda row: DeliveryRow(*row))
    with access.read() as session:
        if text is None:
            assert status is not None
            found = answered_so(session, models, conditions, status, most)
        else:
            found = holding(session, models, conditions, text, status, most)
        rows = session.execute(query.where(table.id.in_(found.ids))).all()
    page = page_of(rows, limit, lambda row: row[0].id)
    next_before = page.next_before or found.reached
    return Page([DeliveryRow(*row) for row in page.items], next_before, found.searched)


def last_errors(access: Access, deliveries: Iterable[Delivery]) -> dict[str, str]:
    """Return the errors of the last attempts by delivery id; deliveries without an error are omitted. One statement.

    :param deliveries: found in scope.
    :raises Forbidden: not allowed to ``view``.
    """
    access.require("view")
    models = access.state.models
    table, attempt = models.Delivery, models.Attempt
    query = (
        sa.select(
            attempt.delivery_id, attempt.error_code, attempt.error_params, attempt.error_stored
        )
        .join(
            table,
            sa.and_(table.id == attempt.delivery_id, table.attempt_count == attempt.number),
        )
        .where(attempt.delivery_id.in_([delivery.id for delivery in deliveries]))
    )
    with access.read() as session:
        rows = session.execute(query).all()
    errors = {
        row.delivery_id: stored_error(row.error_code, row.error_params, row.error_stored)
        for row in rows
    }
    return {delivery_id: error for delivery_id, error in errors.items() if error is not None}


def get_delivery(
    access: Access, delivery_id: str, *, attempts: int = MOST_ATTEMPTS
) -> DeliveryDetail:
    """One delivery. Three statements.

    :param attempts: maximum number of its newest attempts.
    :raises NotFound: there is no such delivery in scope.
    :raises Forbidden: not allowed to ``view`` its endpoint.
    """
    delivery, endpoint = find_delivery(access, delivery_id)
    access.require("view", endpoint)
    payload_visible = access.may("view_payload", endpoint)
    models = access.state.models
    its_health = models.EndpointHealth.endpoint_id == endpoint.id
    event_query = (
        sa.select(models.Event, models.EndpointHealth)
        .join_from(models.Event, models.EndpointHealth, its_health)
        .where(models.Event.id == delivery.event_id)
    )
    its_own = models.Attempt.delivery_id == delivery_id
    counted = sa.select(sa.func.count()).select_from(models.Attempt).where(its_own)
    attempts_query = (
        sa.select(models.Attempt, counted.correlate(None).scalar_subquery())
        .where(its_own)
        .order_by(models.Attempt.number.desc())
        .limit(attempts)
    )
    if not payload_visible:
        event_query = event_query.options(defer(models.Event.data))
        attempts_query = attempts_query.options(
            defer(models.Attempt.request_body), defer(models.Attempt.response_body)
        )
    with access.read() as session:
        found = session.execute(event_query).one_or_none()
        newest = session.execute(attempts_query).all()
    if found is None:
        # Retention has just removed it.
        raise no_delivery(delivery_id)
    event, health = found
    shown = [attempt for attempt, _ in reversed(newest)]
    if not isinstance(access.tenant, AllTenants):
        # A customer could otherwise probe the internal network with their own names.
        for attempt in shown:
            if attempt.outcome == Outcome.BLOCKED:
                set_committed_value(attempt, "address", None)
    older = newest[0][1] - len(newest) if newest else 0
    if payload_visible:
        decrypt_bodies(access.state, shown)
        explain_missing(access.state, event, shown)
    else:
        set_committed_value(event, "data", None)
        for attempt in shown:
            set_committed_value(attempt, "request_body", None)
            set_committed_value(attempt, "response_body", None)
    return DeliveryDetail(delivery, event, endpoint, health, shown, older, payload_visible)
