"""The audit log, and the lock that changes of one endpoint share with the workers."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ..access import Access, no_endpoint
from ..audit import cut_values
from ..models import Endpoint


def record(
    session: Session,
    access: Access,
    action: str,
    endpoint: Endpoint,
    *,
    delivery_id: str | None = None,
    changes: dict[str, Any] | None = None,
) -> None:
    """Add an entry to the audit log in the same transaction.

    :param action: a noun and a past participle, ``endpoint.created``.
    :param changes: ``{"name": ["old", "new"]}``, never with a secret.
    """
    session.add(
        access.state.models.Activity(
            actor=access.actor,
            action=action,
            tenant=endpoint.tenant,
            endpoint_id=endpoint.id,
            delivery_id=delivery_id,
            changes=cut_values(changes),
        )
    )


def locked(session: Session, access: Access, endpoint_id: str) -> Endpoint:
    """Return an endpoint, locked against changes by workers and users until the transaction ends.

    Workers lock in the same order: the health row, then deliveries.

    :raises NotFound: it was deleted in the meantime.
    """
    models = access.state.models
    session.execute(
        sa.select(models.EndpointHealth.endpoint_id)
        .where(models.EndpointHealth.endpoint_id == endpoint_id)
        .with_for_update()
    )
    endpoint = session.get(models.Endpoint, endpoint_id)
    if endpoint is None or endpoint.deleted_at is not None:
        raise no_endpoint(endpoint_id)
    return endpoint
