"""After an outage: resend failed deliveries of an endpoint, or replay missed events, after showing their number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flask import Blueprint, Response, request
from wtforms import StringField

from .. import queries
from ..access import Access
from ..bulk.selection import TaskFilter
from ..delivery.ages import longest_kept
from ..errors import InvalidInput, WebhooksError
from ..models import EndpointState, TaskKind
from .filters import Filters
from .forms import WebhooksForm
from .i18n import gettext as _
from .page import current_access, render
from .task_views import start


class WindowForm(WebhooksForm):
    """The start time of a recovery or replay."""

    since = StringField()
    until = StringField()
    type = StringField()

    def place_of(self, error: WebhooksError) -> str:
        if isinstance(error, InvalidInput) and error.field == "event_type":
            return "type"
        return super().place_of(error)


@dataclass(frozen=True, slots=True)
class Preset:
    """A suggested time."""

    label: str
    since: datetime

    @property
    def value(self) -> str:
        """Return the start of its minute, for the URL and the field."""
        return self.since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M")


def register(blueprint: Blueprint) -> None:
    both = ["GET", "POST"]
    for kind, view in (("recover", endpoint_recover), ("replay", endpoint_replay)):
        blueprint.add_url_rule(f"/endpoints/<endpoint_id>/{kind}", view_func=view, methods=both)


def endpoint_recover(endpoint_id: str) -> Response:
    """Resend deliveries that have failed since a time."""
    return _since(TaskKind.RECOVER, endpoint_id, _recover_presets)


def endpoint_replay(endpoint_id: str) -> Response:
    """Send events since a time that the endpoint never got."""
    return _since(TaskKind.REPLAY, endpoint_id, _replay_presets)


_Presets = Callable[[Access, queries.EndpointDetail, datetime], list[Preset]]


def _since(kind: TaskKind, endpoint_id: str, presets: _Presets) -> Response:
    """Ask for the start time, show the number of matches, then start."""
    access = current_access()
    detail = queries.get_endpoint(access, endpoint_id)
    access.require("send", detail.endpoint)
    posted = request.method == "POST"
    filters = Filters(request.form if posted else request.args, "since", "until", "type")
    form = WindowForm(**filters.given)
    if posted:
        form.check_csrf()
    try:
        if posted:
            return start(access, kind, endpoint_id, _window(filters))
        if "since" in request.args and "change" not in request.args:
            wanted = _window(filters)
            seen = queries.preview_task(access, kind, endpoint_id, **wanted)
            return render(
                "task_confirm.html",
                kind=kind,
                seen=seen,
                wanted=wanted,
                filters=filters,
                view=f"endpoint_{kind}",
                failing=detail.health.probe_interval is not None,
            )
    except InvalidInput as error:
        form.refuse(error)
    offered = presets(access, detail, datetime.now(UTC))
    form.since.data = filters.local("since") or offered[0].value
    form.until.data = filters.local("until")
    return render(
        "task_window.html",
        422 if form.problems else 200,
        kind=kind,
        detail=detail,
        form=form,
        presets=offered,
    )


def _window(filters: Filters) -> TaskFilter:
    return TaskFilter(
        since=filters.moment("since"),
        until=filters.moment("until"),
        event_type=filters.get("type"),
    )


def _recover_presets(access: Access, detail: queries.EndpointDetail, now: datetime) -> list[Preset]:
    """Return suggested times, the most likely one first."""
    found = []
    if detail.health.failing_since is not None:
        found.append(Preset(_("Since it began to fail"), detail.health.failing_since))
    disabled = _disabled_at(access, detail)
    if disabled is not None:
        found.append(Preset(_("Since it was disabled"), disabled))
    return [
        *found,
        Preset(_("Last 24 hours"), now - timedelta(hours=24)),
        Preset(_("Last 7 days"), now - timedelta(days=7)),
        Preset(_("Since it was added"), detail.endpoint.created_at),
    ]


def _replay_presets(access: Access, detail: queries.EndpointDetail, now: datetime) -> list[Preset]:
    kept = longest_kept(access.state.settings)
    return [
        Preset(_("Last 24 hours"), now - timedelta(hours=24)),
        Preset(_("Last 7 days"), now - timedelta(days=7)),
        Preset(_("Whole history"), now - kept),
    ]


def _disabled_at(access: Access, detail: queries.EndpointDetail) -> datetime | None:
    """Return when the endpoint was last disabled, even if it has been resumed since then."""
    if detail.endpoint.state == EndpointState.DISABLED:
        return detail.endpoint.state_since
    activity = queries.list_activity(access, detail.endpoint.id)
    return next((row.at for row in activity.items if row.action == "endpoint.disabled"), None)
