"""Decrypted endpoints, and names of tenants, for formats."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from ...app_state import AppState, name_of_tenant, prepared
from ...errors import UnreadableSecret
from ...formats import OutgoingEvent, Target
from ...security.signing import live_secrets


class Targets:
    """A cache of decrypted endpoints of one drain. Decrypting costs more than the rest of a claim."""

    def __init__(self, state: AppState) -> None:
        self.state = state
        self._known: dict[str, Target] = {}

    def __getitem__(self, endpoint_id: str) -> Target:
        return self._known[endpoint_id]

    def forget(self) -> None:
        """Clear the cache, because a secret may have expired."""
        self._known.clear()

    def load(self, connection: sa.Connection, versions: dict[str, int], now: float) -> set[str]:
        """Decrypt endpoints that are missing or outdated; return those that cannot be decrypted.

        :param versions: endpoint ids and their versions in the database.
        :param now: Unix seconds; secrets that have expired by then are left out.
        """
        missing = [
            endpoint_id
            for endpoint_id, version in versions.items()
            if endpoint_id not in self._known or self._known[endpoint_id].version != version
        ]
        unreadable: set[str] = set()
        if missing:
            for row in connection.execute(_endpoints(self.state), {"ids": missing}):
                try:
                    self._known[row.id] = as_target(self.state, row, now)
                except UnreadableSecret:
                    unreadable.add(row.id)
        return unreadable


@prepared
def _endpoints(state: AppState) -> sa.Select[Any]:
    table = state.table("Endpoint")
    return sa.select(table).where(table.c.id.in_(sa.bindparam("ids", expanding=True)))


class TenantNames:
    """A cache of names of tenants, from the host's function."""

    def __init__(self, state: AppState) -> None:
        self.state = state
        self._known: dict[str, str] = {}

    def forget(self) -> None:
        """Clear the cache."""
        self._known.clear()

    def give(self, event: OutgoingEvent) -> OutgoingEvent:
        """Return the event with its tenant's name.

        No transaction may be open, because the host may query its database.
        """
        if event.tenant is None:
            return event
        if event.tenant not in self._known:
            self._known[event.tenant] = self._ask(event.tenant)
        return replace(event, tenant_name=self._known[event.tenant])

    def _ask(self, tenant: str) -> str:
        if self.state.hooks.tenant_name is None:
            return tenant
        with self.state.app.app_context():
            return name_of_tenant(self.state, tenant)


def as_target(state: AppState, row: Any, now: float) -> Target:
    """Decrypt an endpoint row.

    :param now: Unix seconds; secrets that have expired by then are left out.
    :raises UnreadableSecret: no configured key can decrypt it.
    """

    def opened(sealed: Any, empty: Any) -> Any:
        return empty if sealed is None else state.vault.decrypt(sealed)

    return Target(
        id=row.id,
        tenant=row.tenant,
        url=opened(row.url_sealed, row.url_shown),
        url_shown=row.url_shown,
        format=row.format,
        secrets=tuple(item["secret"] for item in live_secrets(opened(row.secrets_sealed, []), now)),
        headers=opened(row.headers_sealed, {}),
        user_agent=row.user_agent,
        version=row.version,
        options=row.options or {},
        product_name=state.settings.product_name,
        timeout=row.timeout,
        client_certificate=opened(row.certificate_sealed, None),
        data_version=row.data_version,
    )
