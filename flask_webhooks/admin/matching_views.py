"""Resend or cancel all deliveries of a filtered list, after showing their number."""

from __future__ import annotations

from flask import Blueprint, Response, request

from .. import queries
from ..access import find_endpoint
from ..bulk.selection import TaskFilter
from ..errors import InvalidInput
from ..models import TaskKind
from .filters import Filters
from .forms import ConfirmForm
from .i18n import gettext as _
from .page import current_access, render, tenant_filter
from .task_views import start

#: Filters of the list of deliveries.
OF_LIST = ("webhook", "tenant", "state", "type", "status", "since", "until", "id", "q")


def register(blueprint: Blueprint) -> None:
    both = ["GET", "POST"]
    for action, view in (("resend-all", resend_all), ("cancel-all", cancel_all)):
        blueprint.add_url_rule(f"/deliveries/{action}", view_func=view, methods=both)


def resend_all() -> Response:
    """Resend all deliveries that match the filters of the list."""
    return _all(TaskKind.RESEND)


def cancel_all() -> Response:
    """Cancel all waiting deliveries that match the filters of the list."""
    return _all(TaskKind.CANCEL)


def _all(kind: TaskKind) -> Response:
    access = current_access()
    posted = request.method == "POST"
    filters = Filters(request.form if posted else request.args, *OF_LIST)
    endpoint_id = filters.get("webhook")
    access.require("send", None if endpoint_id is None else find_endpoint(access, endpoint_id))
    if posted:
        ConfirmForm().check_csrf()
    why_not = not_selectable(filters, several=len(access.tenants) > 1)
    if why_not is not None:
        raise InvalidInput("This cannot be done for all at once: %(why)s", why=why_not)
    tenant = tenant_filter(access, filters.get("tenant"))
    if tenant is not None:
        queries.require_tenant(access, tenant)
    wanted = TaskFilter(
        tenant=tenant,
        since=filters.moment("since"),
        until=filters.moment("until"),
        state=filters.get("state"),
        event_type=filters.get("type"),
        status=filters.get("status"),
        event_id=filters.get("id"),
    )
    if posted:
        return start(access, kind, endpoint_id, wanted)
    shown = wanted.copy()
    # It is shown next to the webhooks.
    shown.pop("tenant", None)
    return render(
        "task_confirm.html",
        kind=kind,
        seen=queries.preview_task(access, kind, endpoint_id, **wanted),
        tenant=tenant,
        wanted=shown,
        filters=filters,
        view=f"{kind}_all",
        failing=False,
    )


def not_selectable(filters: Filters, *, several: bool = False) -> str | None:
    """Return why a list with these filters cannot be selected as a whole; ``None`` if it can.

    :param several: the user manages several tenants, but not all.
    """
    if several and not filters["webhook"] and not filters["tenant"]:
        return _("Filter the list by one of your tenants, or by a webhook.")
    if filters.get("q") is not None:
        return _(
            "Text is only searched in the newest deliveries, so the matches cannot all be counted. Remove the text "
            "from the filter."
        )
    if filters["id"].startswith("dlv_"):
        return _("This is the id of one delivery: resend or cancel it on its own page.")
    return None


def choices(filters: Filters, *, several: bool = False) -> list[str]:
    """Return the bulk actions that are available for a list with these filters."""
    if not filters or not_selectable(filters, several=several) is not None:
        return []
    state = filters.get("state")
    waiting = state in (None, "pending", "held")
    return [
        *(["resend_all"] if state != "sending" else []),
        *(["cancel_all"] if waiting else []),
    ]
