"""What the dashboard of an application shows: its licences, and how its webhooks are doing.

It reads the tables of Flask-Webhooks through `webhooks.models`. The pages of Flask-Webhooks show the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from .extensions import webhooks
from .models import Application, License, LicenseStatus, transaction, utc_now
from .terms import NOTICE

LATEST = 10
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Dashboard:
    """The content of the page."""

    application: Application
    #: The number of licences by status.
    licenses: dict[str, int]
    #: Licences whose term ends soon, the first one first.
    expiring: Sequence[License]
    #: Endpoints with `name`, `health`, `last_success_at` and `failed`, the failed deliveries of a day.
    endpoints: Sequence[Any]
    #: The latest deliveries, newest first.
    deliveries: Sequence[Any]


def load(application_id: str) -> Dashboard | None:
    """Read the dashboard of an application; ``None`` if there is no such application."""
    with transaction() as session:
        application = session.get(Application, application_id)
        if application is None:
            return None
        counts = session.execute(
            sa.select(License.status, sa.func.count().label("number"))
            .where(License.application_id == application_id)
            .group_by(License.status)
        )
        return Dashboard(
            application,
            {row.status: row.number for row in counts},
            session.scalars(_expiring(application_id)).all(),
            session.execute(_endpoints(application_id)).all(),
            session.execute(_deliveries(application_id)).all(),
        )


def _expiring(application_id: str) -> sa.Executable:
    return (
        sa.select(License)
        .where(
            License.application_id == application_id,
            License.status == LicenseStatus.ACTIVE,
            License.expires_at < utc_now() + NOTICE,
        )
        .order_by(License.expires_at)
        .limit(LATEST)
    )


def _endpoints(application_id: str) -> sa.Executable:
    endpoint, health = webhooks.models.Endpoint, webhooks.models.EndpointHealth
    delivery = webhooks.models.Delivery
    failed = sa.select(sa.func.count(delivery.id)).where(
        delivery.endpoint_id == endpoint.id,
        delivery.state == "failed",
        delivery.created_at > utc_now() - DAY,
    )
    is_failing = (endpoint.state == "active") & health.probe_interval.is_not(None)
    return (
        sa.select(
            endpoint.id,
            sa.case((endpoint.name != "", endpoint.name), else_=endpoint.url_shown).label("name"),
            sa.case((is_failing, "failing"), else_=endpoint.state).label("health"),
            health.last_success_at,
            failed.scalar_subquery().label("failed"),
        )
        .outerjoin(health, health.endpoint_id == endpoint.id)
        .where(endpoint.tenant == application_id, endpoint.deleted_at.is_(None))
        .order_by(endpoint.id)
    )


def _deliveries(application_id: str) -> sa.Executable:
    delivery = webhooks.models.Delivery
    return (
        sa.select(delivery.id, delivery.event_type, delivery.state, delivery.created_at)
        .where(delivery.tenant == application_id)
        .order_by(delivery.id.desc())
        .limit(LATEST)
    )
