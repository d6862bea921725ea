"""How the whole is doing: workers, scheduler, queue and backlog; and who did what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta

from flask import Blueprint, Response, request

from .. import queries
from ..access import find_endpoint
from ..models import Heartbeat
from . import banners, wording
from .filters import Filters
from .page import current_access, render


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/health", view_func=health)
    blueprint.add_url_rule("/activity", view_func=activity)


def health() -> Response:
    """Workers, scheduler, queue and backlog for operators; the backlog for everybody."""
    access = current_access()
    report = queries.health(access)
    settings = access.state.settings
    silence = timedelta(seconds=banners.silence(settings.sweep_interval))
    return render(
        "health.html",
        report=report,
        engine=banners.engine_of(access),
        silent_before=report.now - silence,
        busy=busy_workers(report.heartbeats, report.now - silence),
        series=queries.statistics(access),
        settings=settings,
    )


def busy_workers(heartbeats: Iterable[Heartbeat], silent_before: datetime) -> set[str]:
    """Names of workers that are silent because they are at work: while a run of deliveries goes on, RQ has its
    worker wait for it, and only the run gives signs of life. Pure.
    """
    beats = list(heartbeats)
    runs = Counter(
        beat.host
        for beat in beats
        if beat.kind == "drain" and beat.started_at < silent_before <= beat.seen_at
    )
    busy = set()
    for beat in sorted(beats, key=lambda beat: beat.seen_at, reverse=True):
        if beat.kind == "worker" and beat.seen_at < silent_before and runs[beat.host]:
            runs[beat.host] -= 1
            busy.add(beat.name)
    return busy


def activity() -> Response:
    """The audit trail of everything in scope, or of one endpoint."""
    access = current_access()
    filters = Filters(request.args, "webhook", "actor", "action", "tenant", "since", "until")
    wanted = filters.get("webhook")
    page = queries.list_activity(
        access,
        wanted,
        before=filters.before,
        actor=filters.get("actor"),
        action=filters.get("action"),
        tenant=filters.get("tenant"),
        since=filters.moment("since"),
        until=filters.moment("until"),
    )
    endpoints = queries.name_endpoints(
        access, {row.endpoint_id for row in page.items if row.endpoint_id is not None}
    )
    return render(
        "activity.html",
        page=page,
        endpoints=endpoints,
        filters=filters,
        actions=wording.action_texts(),
        endpoint=None if wanted is None else find_endpoint(access, wanted, deleted=True),
    )
