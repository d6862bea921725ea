"""Tasks over many deliveries or events: start, show progress and stop."""

from __future__ import annotations

from flask import Blueprint, Response, request

from .. import actions, queries
from ..access import Access, find_endpoint
from ..bulk.looking import right_of
from ..bulk.selection import TaskFilter
from ..errors import InvalidTransition
from ..models import TaskKind, TaskState
from . import banners
from .filters import Filters
from .forms import ConfirmForm
from .i18n import gettext as _
from .i18n import translated
from .page import current_access, notify, redirect_to, render, tenant_filter, unknown_in_filter
from .webhook_choices import webhook_choices


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/tasks", view_func=task_list)
    blueprint.add_url_rule("/tasks/<task_id>", view_func=task)
    blueprint.add_url_rule("/tasks/<task_id>/stop", view_func=task_stop, methods=["POST"])


def start(
    access: Access,
    kind: TaskKind,
    endpoint_id: str | None,
    wanted: TaskFilter,
) -> Response:
    """Start a task and redirect to its page, or to that of a conflicting task.

    :raises InvalidInput: the filter is invalid.
    """
    try:
        started = actions.start_task(access, kind, endpoint_id, **wanted)
    except InvalidTransition as error:
        running = _running(access, kind, endpoint_id, wanted.get("tenant"))
        if running is None:
            raise
        notify(translated(error.text), "warn")
        return redirect_to("task", task_id=running)
    notify(_("The task is queued."))
    return redirect_to("task", task_id=started.id)


def _running(
    access: Access, kind: TaskKind, endpoint_id: str | None, tenant: str | None
) -> str | None:
    """Return the conflicting task of this kind."""
    rows = queries.list_tasks(access, endpoint_id, unfinished=True, limit=queries.MAX_LIMIT).items
    whose = access.tenant if isinstance(access.tenant, str) else tenant
    for row in rows:
        task = row.task
        alike = task.kind == kind and task.endpoint_id == endpoint_id
        # An operator also sees tasks that tenants have started for all of their endpoints.
        if alike and (endpoint_id is not None or task.tenant == whose):
            return task.id
    return None


def task_list() -> Response:
    """List all tasks in scope, or of one endpoint, newest first."""
    access = current_access()
    filters = Filters(request.args, "webhook", "kind", "state", "tenant", "since", "until")
    wanted = filters.get("webhook")
    page = queries.list_tasks(
        access,
        wanted,
        kind=filters.get("kind"),
        state=filters.get("state"),
        tenant=tenant_filter(access, filters.get("tenant")),
        since=filters.moment("since"),
        until=filters.moment("until"),
        before=filters.before,
    )
    endpoint = None if wanted is None else find_endpoint(access, wanted, deleted=True)
    return render(
        "task_list.html",
        page=page,
        filters=filters,
        kinds=list(TaskKind),
        states=list(TaskState),
        unknown=unknown_in_filter(access, filters, page),
        endpoint=endpoint,
        webhooks=webhook_choices(access, endpoint),
    )


def task(task_id: str) -> Response:
    """Show one task with its progress."""
    access = current_access()
    row = queries.get_task(access, task_id)
    waits = row.task.state == TaskState.WAITING
    # Tenants, and people with access to single endpoints only, do not see the state of Redis.
    engine = banners.engine_of(access) if waits and access.may("view", None) else None
    return render("task.html", row=row, trouble=engine and engine.trouble)


def task_stop(task_id: str) -> Response:
    """Stop a task; what it has done is not undone."""
    access = current_access()
    row = queries.get_task(access, task_id)
    access.require(right_of(row.task.kind), row.endpoint)
    ConfirmForm().check_csrf()
    try:
        actions.stop_task(access, task_id)
    except InvalidTransition as error:
        # It has ended since the page was shown.
        notify(translated(error.text), "warn")
    else:
        notify(_("The task was stopped. What it has done is not undone."))
    return redirect_to("task", task_id=task_id)
