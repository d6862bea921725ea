"""Unknown tenants: usually a name was given instead of an id."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ..access import Access, BoundedTenantNames, shown, tenant_is_known
from ..app_state import AllTenants, AppState
from ..db.conditions import of_tenant
from ..errors import NotFound

#: The newest endpoints and events whose tenants' names are compared.
LOOKED_AT = 1000


@dataclass(frozen=True, slots=True)
class UnknownTenant:
    """The id of an unknown tenant."""

    tenant: str
    #: Ids of known tenants with this name.
    meant: tuple[str, ...]
    #: The host does not have such a tenant. Otherwise it may just have no events yet.
    missing: bool = False


def require_tenant(access: Access, tenant: str) -> None:
    """Refuse a tenant that is not in scope, or does not exist.

    :raises NotFound: there is no such tenant.
    """
    access.within(tenant)
    if isinstance(access.tenant, AllTenants) and tenant_is_known(access.state, tenant) is False:
        with access.read() as session:
            if _has_anything(session, access.state, tenant):
                # It was deleted, but its objects can still be shown.
                return
        raise NotFound("There is no tenant %(tenant)s.", tenant=shown(tenant))


def unknown_tenant(access: Access, tenant: str | None) -> UnknownTenant | None:
    """Return an `UnknownTenant` if no object belongs to a tenant, else ``None``.

    Only for people who see all tenants; ``None`` for others.

    :raises Forbidden: not allowed to ``view``.
    """
    access.require("view")
    if tenant is None or not isinstance(access.tenant, AllTenants):
        return None
    state = access.state
    models = state.models
    known_to_host = tenant_is_known(state, tenant)
    if known_to_host:
        return None
    with access.read() as session:
        if _has_anything(session, state, tenant):
            return None
        known: list[str] = []
        if state.hooks.tenant_name is not None:
            for column, id_ in (
                (models.Endpoint.tenant, models.Endpoint.id),
                (models.Event.tenant, models.Event.id),
            ):
                newest = sa.select(column).order_by(id_.desc()).limit(LOOKED_AT)
                known += [each for each in session.scalars(newest) if each is not None]
    names = BoundedTenantNames(state)
    meant = {each for each in known if _equal(names.name(each), tenant)}
    return UnknownTenant(tenant, tuple(sorted(meant)), missing=known_to_host is False)


def _has_anything(session: Session, state: AppState, tenant: str) -> bool:
    models = state.models
    tables = (
        models.Endpoint,
        models.Event,
        models.Delivery,
        models.Activity,
        models.Task,
        models.Token,
    )
    found = (
        sa.select(table.id).where(of_tenant(table.tenant, tenant)).exists() for table in tables
    )
    return bool(session.scalar(sa.select(sa.or_(*found))))


def _equal(name: str, other: str) -> bool:
    return name.strip().casefold() == other.strip().casefold()
