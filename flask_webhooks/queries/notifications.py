"""Notifications to owners of endpoints."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from ..access import Access, is_id, no_endpoint
from ..models import Notification
from ..notifications import Incident, error_sentence, incident_of
from ..texts import Text
from .pages import Page, check_limit, older_than, page_of


@dataclass(frozen=True, slots=True)
class NotificationRow:
    """A notification with its incident."""

    notification: Notification
    incident: Incident
    #: Why the last attempt failed.
    error: Text | None


def list_notifications(
    access: Access, endpoint_id: str, before: str | None = None, limit: int = 50
) -> Page[NotificationRow]:
    """The notifications of an endpoint, newest first. One statement.

    :param before: only older than this id.
    :raises NotFound: there is no such endpoint in scope.
    :raises InvalidInput: a filter is invalid; `field` names it.
    :raises Forbidden: not allowed.
    """
    if not is_id(endpoint_id):
        raise no_endpoint(endpoint_id)
    endpoint, table = access.state.models.Endpoint, access.state.models.Notification
    wanted = sa.and_(table.endpoint_id == endpoint.id, *older_than(table.id, before))
    query = (
        sa.select(endpoint, table)
        .outerjoin(table, wanted)
        .where(endpoint.id == endpoint_id)
        .order_by(table.id.desc())
        .limit(check_limit(limit) + 1)
    )
    with access.read() as session:
        rows = session.execute(query).all()
    if not rows or not access.sees(rows[0][0].tenant):
        raise no_endpoint(endpoint_id)
    access.require("view", rows[0][0])
    found = [notification for _, notification in rows if notification is not None]
    return page_of(found, limit, lambda row: row.id).map(_row)


def _row(notification: Notification) -> NotificationRow:
    error = error_sentence(notification.error_code, notification.error_detail)
    return NotificationRow(notification, incident_of(notification), error)
