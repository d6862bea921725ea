"""Ids with a prefix, for shell completion: the newest ones, with one short statement each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from .. import ids
from ..access import Access, BoundedTenantNames

#: The maximum number of offered ids.
OFFERED = 50
#: The newest endpoints whose tenants are offered.
_LOOKED_AT = 1000


def begun_deliveries(access: Access, begun: str) -> list[tuple[str, str]]:
    """Return ids of deliveries, newest first, with help texts.

    :raises Forbidden: not allowed to ``view``.
    """
    table = access.state.models.Delivery
    return _begun(access, table, "dlv", begun, table.event_type, table.state)


def begun_events(access: Access, begun: str) -> list[tuple[str, str]]:
    """Ids of events; as `begun_deliveries`."""
    table = access.state.models.Event
    return _begun(access, table, "evt", begun, table.type)


def begun_tasks(access: Access, begun: str) -> list[tuple[str, str]]:
    """Ids of tasks; as `begun_deliveries`."""
    table = access.state.models.Task
    return _begun(access, table, "task", begun, table.kind, table.state)


def begun_scheduled(access: Access, begun: str) -> list[tuple[str, str]]:
    """Ids of scheduled events; as `begun_deliveries`."""
    table = access.state.models.ScheduledEvent
    return _begun(access, table, "sch", begun, table.type)


def begun_tokens(access: Access, begun: str) -> list[tuple[str, str]]:
    """Ids of tokens that were not revoked; as `begun_deliveries`.

    :raises Forbidden: not allowed to ``tokens``.
    """
    table = access.state.models.Token
    more = [table.revoked_at.is_(None)]
    return _begun(access, table, "tok", begun, table.name, more=more, action="tokens")


def begun_portal_links(access: Access, begun: str) -> list[tuple[str, str]]:
    """Ids of portal links that were not revoked; as `begun_tokens`."""
    table = access.state.models.PortalLink
    more = [table.revoked_at.is_(None)]
    return _begun(access, table, "plk", begun, table.actor, more=more, action="tokens")


def begun_endpoints(access: Access, begun: str) -> list[tuple[str, str]]:
    """Ids of endpoints that were not deleted; as `begun_deliveries`."""
    table = access.state.models.Endpoint
    name = sa.func.coalesce(sa.func.nullif(table.name, ""), table.url_shown)
    return _begun(access, table, "ep", begun, name, more=[table.deleted_at.is_(None)])


def begun_tenants(access: Access, begun: str) -> list[tuple[str, str]]:
    """Return tenants of the newest endpoints, with their names.

    :raises Forbidden: not allowed to ``view``.
    """
    access.require("view")
    if not begun.isprintable():
        return []
    tenant = access.state.models.Endpoint.tenant
    query = (
        sa.select(tenant)
        .where(access.scope(tenant), tenant.startswith(begun, autoescape=True))
        .order_by(access.state.models.Endpoint.id.desc())
        .limit(_LOOKED_AT)
    )
    with access.read() as session:
        found = [item for item in session.scalars(query) if item is not None]
    # LIKE is case-insensitive on SQLite.
    begins = [item for item in dict.fromkeys(found) if item.startswith(begun)]
    names = BoundedTenantNames(access.state)
    return [(item, names.name(item)) for item in begins[:OFFERED]]


def _begun(
    access: Access,
    table: Any,
    prefix: str,
    begun: str,
    *shown: Any,
    more: Sequence[sa.ColumnElement[bool]] = (),
    action: str = "view",
) -> list[tuple[str, str]]:
    """:param prefix: of these ids.
    :param shown: columns of the help text.
    :param more: further conditions.
    :param action: the required permission.
    """
    access.require(action)
    start = f"{prefix}_"
    rest = begun.removeprefix(start)
    if not start.startswith(begun) and (
        not begun.startswith(start) or set(rest) - set(ids.ALPHABET) or len(rest) > ids.LENGTH
    ):
        return []
    conditions = [access.scope(table.tenant), *more]
    if begun.startswith(start) and rest:
        # A range of ids uses the index, which a pattern does not with every collation.
        low, high = (rest.ljust(ids.LENGTH, end) for end in (ids.ALPHABET[0], ids.ALPHABET[-1]))
        conditions.append(table.id.between(start + low, start + high))
    query = sa.select(table.id, *shown).where(*conditions).order_by(table.id.desc()).limit(OFFERED)
    with access.read() as session:
        return [(row[0], " ".join(map(str, row[1:]))) for row in session.execute(query)]
