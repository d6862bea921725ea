"""Webhooks to choose from in the filter of a list."""

from __future__ import annotations

from typing import Final

from .. import queries
from ..access import Access
from ..models import Endpoint
from .display import short
from .i18n import gettext as _

#: The maximum number of webhooks in a select; with more, the filter is a text field.
MOST: Final = 50


def webhook_choices(access: Access, chosen: Endpoint | None) -> list[tuple[str, str]]:
    """Return webhooks for the filter, ids with names; empty if there are too many."""
    if not access.may("view", None):
        return []
    endpoints = queries.find_endpoints(access, limit=MOST + 1)
    if len(endpoints) > MOST:
        return []
    if chosen is not None and all(item.id != chosen.id for item in endpoints):
        endpoints = [chosen, *endpoints]
    return [(item.id, _label(item)) for item in endpoints]


def _label(endpoint: Endpoint) -> str:
    name = short(endpoint.name or endpoint.url_shown, 50)
    return f"{name} ({_('deleted')})" if endpoint.deleted_at is not None else name
