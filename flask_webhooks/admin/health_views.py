"""The health page: workers, scheduler, queue, backlog and retention; and the audit log."""

from __future__ import annotations

from datetime import timedelta

from flask import Blueprint, Response, request
from wtforms import StringField, TextAreaField

from .. import queries
from ..access import Access, find_endpoint
from ..bulk.looking import require_all_tenants_to_erase
from ..bulk.selection import TaskFilter
from ..bulk.whose import Whose, read_members
from ..delivery.ages import kept_days, longest_kept
from ..errors import InvalidInput
from ..models import TaskKind
from . import banners, wording
from .filters import Filters
from .forms import ConfirmForm, WebhooksForm
from .i18n import translated
from .page import current_access, is_fragment, render, tenant_filter
from .task_views import start
from .webhook_choices import webhook_choices

#: Tasks on the health page: unfinished ones, and the latest ones.
_UNFINISHED, _LATEST = 20, 10


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/health", view_func=health)
    blueprint.add_url_rule("/prune", view_func=prune, methods=["GET", "POST"])
    blueprint.add_url_rule("/erase", view_func=erase, methods=["GET", "POST"])
    blueprint.add_url_rule("/activity", view_func=activity)


def health() -> Response:
    """Show workers, scheduler and queue to operators, and the backlog to everyone."""
    access = current_access()
    report = queries.health(access)
    settings = access.state.settings
    silence = timedelta(seconds=banners.silence(settings.sweep_interval))
    return render(
        "health.html",
        report=report,
        engine=banners.engine_of(access),
        troubles=[translated(text) for text in queries.database_troubles(access)],
        silent_before=report.now - silence,
        # The charts are not refreshed.
        series=None if is_fragment() else queries.statistics(access),
        settings=settings,
        kept_days=kept_days(settings),
        kept_since=report.now - longest_kept(settings),
        rests_until=queries.pruning_rests_until(access),
        tasks=_tasks(access),
    )


def prune() -> Response:
    """Remove old events now, after showing their number."""
    access = current_access()
    access.require("delete_all")
    if request.method == "POST":
        ConfirmForm().check_csrf()
        return start(access, TaskKind.PRUNE, None, {})
    seen = queries.preview_task(access, TaskKind.PRUNE)
    return render(
        "task_confirm.html",
        kind=TaskKind.PRUNE,
        seen=seen,
        wanted=TaskFilter(until=seen.until),
        filters=Filters({}),
        view="prune",
        failing=False,
    )


class ErasureForm(WebhooksForm):
    """The form for an erasure. Its values are never in a URL, which logs and browsers would store."""

    where = TextAreaField()
    tenant = StringField()


def erase() -> Response:
    """Ask whose data to erase, show the number of events, then start."""
    access = current_access()
    access.require("delete_all")
    require_all_tenants_to_erase(access)
    form = ErasureForm()
    if request.method == "POST":
        form.check_csrf()
        given = {"where": form.where.data or "", "tenant": (form.tenant.data or "").strip()}
        try:
            lines = [line for line in given["where"].splitlines() if line.strip()]
            wanted = TaskFilter(where=read_members(lines), tenant=given["tenant"] or None)
            if "confirmed" in request.form:
                return start(access, TaskKind.ERASE, None, wanted)
            seen = queries.preview_task(access, TaskKind.ERASE, **wanted)
        except InvalidInput as error:
            form.refuse(error)
        else:
            filters = Filters({})
            # Unchanged, however long.
            filters.given = {**given, "confirmed": "y"}
            shown = {"where": Whose(wanted["where"] or {}), "tenant": wanted["tenant"]}
            return render(
                "task_confirm.html",
                no_store=True,
                kind=TaskKind.ERASE,
                seen=seen,
                wanted=shown,
                filters=filters,
                view="erase",
                failing=False,
            )
    status = 422 if form.problems else 200
    return render("erase.html", status, no_store=True, form=form)


def _tasks(access: Access) -> list[queries.TaskRow]:
    """Return unfinished tasks, then the latest finished ones."""
    running = queries.list_tasks(access, unfinished=True, limit=_UNFINISHED).items
    latest = queries.list_tasks(access, limit=_LATEST).items
    return [*running, *(row for row in latest if row.ended)]


def activity() -> Response:
    """Show the audit log of everything in scope, or of one endpoint."""
    access = current_access()
    filters = Filters(request.args, "webhook", "actor", "action", "tenant", "since", "until")
    wanted = filters.get("webhook")
    page = queries.list_activity(
        access,
        wanted,
        before=filters.before,
        actor=filters.get("actor"),
        action=filters.get("action"),
        tenant=tenant_filter(access, filters.get("tenant")),
        since=filters.moment("since"),
        until=filters.moment("until"),
    )
    endpoints = queries.name_endpoints(
        access, {row.endpoint_id for row in page.items if row.endpoint_id is not None}
    )
    endpoint = None if wanted is None else find_endpoint(access, wanted, deleted=True)
    return render(
        "activity.html",
        page=page,
        endpoints=endpoints,
        filters=filters,
        actions=wording.action_texts(),
        unknown=None if page.items else queries.unknown_tenant(access, filters.get("tenant")),
        endpoint=endpoint,
        webhooks=webhook_choices(access, endpoint),
    )
