"""Health, statistics and the audit log."""

from __future__ import annotations

from typing import Any

from flask import Response

from .. import queries
from ..access import Access
from ..app_state import AllTenants
from ..serializers import (
    ActivityObject,
    FailingObject,
    HealthObject,
    QueueObject,
    StatisticsObject,
)
from .answering import answer, answer_all, answer_page
from .parameters import ActivityListQuery, StatisticsQuery, TenantQuery
from .request_reader import scoped, wanted_tenant
from .routes import AllOf, PageOf, Route


def health(access: Access, query: dict[str, Any]) -> Response:
    """The backlog, and for operators the workers and the queue."""
    access = scoped(access, query)
    operates = isinstance(access.tenant, AllTenants)
    report = queries.health(access)
    queue = QueueObject.serialize(queries.engine(access)) if operates else None
    return answer(HealthObject.serialize(report, queue=queue))


def statistics(access: Access, query: dict[str, Any]) -> Response:
    """Attempts over time, of all endpoints in scope or of one."""
    series = queries.statistics(scoped(access, query), **query)
    return answer(StatisticsObject.serialize(series))


def most_failures(access: Access, query: dict[str, Any]) -> Response:
    """The endpoints with the most failed attempts of the last 24 hours."""
    access = scoped(access, query)
    return answer_all(queries.most_failures(access), FailingObject)


def activity_list(access: Access, query: dict[str, Any]) -> Response:
    """The audit log, newest first.

    With `actor` or `action`, a page searches 5,000 entries: it may be empty without being the last.
    """
    tenant = wanted_tenant(access, query)
    return answer_page(queries.list_activity(access, tenant=tenant, **query), ActivityObject)


ROUTES = (
    Route("GET", "/health", health, HealthObject, query=TenantQuery),
    Route("GET", "/statistics", statistics, StatisticsObject, query=StatisticsQuery),
    Route("GET", "/statistics/failures", most_failures, AllOf(FailingObject), query=TenantQuery),
    Route("GET", "/activity", activity_list, PageOf(ActivityObject), query=ActivityListQuery),
)
