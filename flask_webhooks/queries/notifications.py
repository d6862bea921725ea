"""What owners of endpoints were told, and are to be told."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from ..access import Access, find_endpoint
from ..models import Notification
from ..notifications import Incident, error_sentence, incident_of
from ..texts import Text
from .pages import Page, check_limit, older_than, page_of


@dataclass(frozen=True, slots=True)
class NotificationRow:
    """A notification, with what it tells of."""

    notification: Notification
    incident: Incident
    #: Why the last attempt failed.
    error: Text | None


def list_notifications(
    access: Access, endpoint_id: str, before: str | None = None, limit: int = 50
) -> Page[NotificationRow]:
    """The notifications of an endpoint, newest first.

    :param before: only those older than this id.
    :raises NotFound: there is no such endpoint in scope.
    :raises InvalidInput: a filter makes no sense; `field` names it.
    :raises Forbidden: not allowed.
    """
    access.require("view", find_endpoint(access, endpoint_id, deleted=True))
    table = access.state.models.Notification
    query = (
        sa.select(table)
        .where(table.endpoint_id == endpoint_id, *older_than(table.id, before))
        .order_by(table.id.desc())
        .limit(check_limit(limit) + 1)
    )
    with access.read() as session:
        rows = session.scalars(query).all()
    return page_of(rows, limit, lambda row: row.id).map(_row)


def _row(notification: Notification) -> NotificationRow:
    error = error_sentence(notification.error_code, notification.error_detail)
    return NotificationRow(notification, incident_of(notification), error)
