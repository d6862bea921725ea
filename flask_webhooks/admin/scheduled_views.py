"""Scheduled events: list, show and cancel."""

from __future__ import annotations

from flask import Blueprint, Response, request

from .. import actions, queries
from .asking import ask, done
from .filters import Filters
from .forms import ConfirmForm
from .i18n import gettext as _
from .page import current_access, render, tenant_filter


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/scheduled", view_func=scheduled_list)
    blueprint.add_url_rule("/scheduled/<scheduled_id>", view_func=scheduled)
    blueprint.add_url_rule(
        "/scheduled/<scheduled_id>/cancel", view_func=scheduled_cancel, methods=["GET", "POST"]
    )


def scheduled_list() -> Response:
    """List scheduled events in scope, most recently scheduled first; filters are in the URL."""
    filters = Filters(request.args, "type", "key", "tenant", "since", "until")
    access = current_access()
    page = queries.list_scheduled(
        access,
        filters.get("type"),
        before=filters.before,
        since=filters.moment("since"),
        until=filters.moment("until"),
        key=filters.get("key"),
        tenant=tenant_filter(access, filters.get("tenant")),
    )
    return render(
        "scheduled_list.html",
        page=page,
        filters=filters,
        unknown=None if page.items else queries.unknown_tenant(access, filters.get("tenant")),
    )


def scheduled(scheduled_id: str) -> Response:
    """Show one scheduled event with its data."""
    detail = queries.get_scheduled(current_access(), scheduled_id)
    return render("scheduled.html", no_store=True, detail=detail)


def scheduled_cancel(scheduled_id: str) -> Response:
    """Cancel a scheduled event."""
    access = current_access()
    access.require("send")
    detail = queries.get_scheduled(access, scheduled_id)

    def cancel() -> Response:
        actions.cancel_scheduled(access, scheduled_id)
        return done(_("The event is cancelled: it is not sent."), "scheduled_list")

    return ask("scheduled_cancel.html", ConfirmForm(), cancel, event=detail.event)
