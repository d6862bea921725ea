"""Tenants that nothing is known of: as a rule a name was written where the id belongs."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import sqlalchemy as sa

from ..access import Access
from ..app_state import AllTenants, AppState
from ..db.conditions import of_tenant
from ..log import log_failure

logger = logging.getLogger("flask_webhooks")

#: Known tenants whose names are compared, and the newest events that are looked at for them.
COMPARED, LOOKED_AT = 500, 1000


@dataclass(frozen=True, slots=True)
class UnknownTenant:
    """An id that nothing belongs to."""

    tenant: str
    #: Ids of known tenants that the host's ``tenant_name`` calls so.
    meant: tuple[str, ...]


def unknown_tenant(access: Access, tenant: str | None) -> UnknownTenant | None:
    """Say that no endpoint, event, delivery or record belongs to a tenant; ``None`` where one does.

    Only for those who see all tenants; ``None`` for others.

    :raises Forbidden: not allowed to ``view``.
    """
    access.require("view")
    if tenant is None or not isinstance(access.tenant, AllTenants):
        return None
    state = access.state
    models = state.models
    tables = (models.Endpoint, models.Event, models.Delivery, models.Activity, models.Task)
    with access.read() as session:
        if session.scalar(
            sa.select(
                sa.or_(
                    *(
                        sa.select(item.id).where(of_tenant(item.tenant, tenant)).exists()
                        for item in tables
                    )
                )
            )
        ):
            return None
        known: set[str] = set()
        if state.hooks.tenant_name is not None:
            newest = (
                sa.select(models.Event.tenant)
                .order_by(models.Event.id.desc())
                .limit(LOOKED_AT)
                .subquery()
            )
            for column in (models.Endpoint.tenant, newest.c.tenant):
                known.update(
                    session.scalars(
                        sa.select(column).where(column.is_not(None)).distinct().limit(COMPARED)
                    )
                )
    return UnknownTenant(tenant, tuple(sorted(id_ for id_ in known if _named(state, id_, tenant))))


def _named(state: AppState, tenant: str, name: str) -> bool:
    assert state.hooks.tenant_name is not None
    try:
        return str(state.hooks.tenant_name(tenant)).strip().casefold() == name.strip().casefold()
    except Exception as error:
        log_failure(logger, "The function of @webhooks.tenant_name failed", error=error)
        return False
