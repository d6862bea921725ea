"""How it is doing: backlog and workers, attempts over time, what fails most, who did what."""

from __future__ import annotations

from flask import Response

from .. import queries
from ..access import Access
from ..serializers import (
    ActivityObject,
    FailingObject,
    HealthObject,
    StatisticsObject,
)
from ..state import AllTenants
from .answering import answer, answer_all, answer_page
from .reading import read_query, scoped, text, whole


def health(access: Access) -> Response:
    """Backlog in scope, and for operators the workers and the queue."""
    access = scoped(access, read_query(tenant=text))
    operates = isinstance(access.tenant, AllTenants)
    report = queries.health(access)
    engine = queries.engine(access) if operates else None
    return answer(HealthObject.serialize(report, queue=engine))


def statistics(access: Access) -> Response:
    """Attempts over time, of everything in scope or of one endpoint."""
    query = read_query(endpoint_id=text, period=text, tenant=text)
    series = queries.statistics(scoped(access, query), **query)
    return answer(StatisticsObject.serialize(series))


def most_failures(access: Access) -> Response:
    """The endpoints with the most failed attempts of the last 24 hours."""
    access = scoped(access, read_query(tenant=text))
    return answer_all(queries.most_failures(access), FailingObject)


def activity_list(access: Access) -> Response:
    """Who did what to the endpoints in scope, or to one, newest first."""
    query = read_query(endpoint_id=text, tenant=text, before=text, limit=whole)
    return answer_page(queries.list_activity(scoped(access, query), **query), ActivityObject)


ROUTES = (
    ("GET", "/health", health),
    ("GET", "/statistics", statistics),
    ("GET", "/statistics/failures", most_failures),
    ("GET", "/activity", activity_list),
)
