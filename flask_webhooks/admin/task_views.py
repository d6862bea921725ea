"""Tasks over many deliveries or events: start one, see how far it is, stop it."""

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
    """Start a task and go to its page, or to that of the one which is in the way.

    :raises InvalidInput: the filter makes no sense.
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
    """The task of this kind that is in the way."""
    rows = queries.list_tasks(access, endpoint_id, unfinished=True, limit=queries.MAX_LIMIT).items
    whose = access.tenant if isinstance(access.tenant, str) else tenant
    for row in rows:
        task = row.task
        alike = task.kind == kind and task.endpoint_id == endpoint_id
        # An operator sees those that tenants have started over all of theirs, too.
        if alike and (endpoint_id is not None or task.tenant == whose):
            return task.id
    return None


def task_list() -> Response:
    """Every task in scope, or of one endpoint, newest first."""
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
    """One task: what it is about, and how far it is."""
    access = current_access()
    row = queries.get_task(access, task_id)
    waits = row.task.state == TaskState.WAITING
    # Tenants are told nothing of Redis, nor is who may see single endpoints only.
    engine = banners.engine_of(access) if waits and access.may("view", None) else None
    return render("task.html", row=row, trouble=engine and engine.trouble)


def task_stop(task_id: str) -> Response:
    """Stop it; what is done stays done."""
    access = current_access()
    row = queries.get_task(access, task_id)
    access.require(right_of(row.task.kind), row.endpoint)
    ConfirmForm().check_csrf()
    try:
        actions.stop_task(access, task_id)
    except InvalidTransition as error:
        # It has ended between the page and the button.
        notify(translated(error.text), "warn")
    else:
        notify(_("The task was stopped. What it has done is not undone."))
    return redirect_to("task", task_id=task_id)
