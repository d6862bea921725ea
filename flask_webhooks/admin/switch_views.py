"""Pause, resume and delete: each asks on a page of its own first."""

from __future__ import annotations

from flask import Blueprint, Response, request

from .. import actions, queries
from ..errors import InvalidInput
from .forms import ConfirmForm, PauseForm, ResumeForm
from .i18n import gettext as _
from .i18n import ngettext
from .page import current_access, notify, redirect_to, render


def register(blueprint: Blueprint) -> None:
    both = ["GET", "POST"]
    for rule, view in (
        ("/endpoints/<endpoint_id>/pause", endpoint_pause),
        ("/endpoints/<endpoint_id>/resume", endpoint_resume),
        ("/endpoints/<endpoint_id>/delete", endpoint_delete),
        ("/delete-all", delete_all),
    ):
        blueprint.add_url_rule(rule, view_func=view, methods=both)


def endpoint_pause(endpoint_id: str) -> Response:
    """Send nothing until it is resumed."""
    access = current_access()
    detail = queries.get_endpoint(access, endpoint_id)
    access.require("manage", detail.endpoint)
    form = PauseForm()
    if request.method == "POST":
        form.check_csrf()
        try:
            actions.pause_endpoint(access, endpoint_id, form.reason.data or "")
        except InvalidInput as error:
            form.refuse(error)
        else:
            notify(_("The webhook is paused. What happens meanwhile is held for it."))
            return redirect_to("endpoint", endpoint_id=endpoint_id)
    return render("pause.html", 422 if form.problems else 200, detail=detail, form=form)


def endpoint_resume(endpoint_id: str) -> Response:
    """Make it active again, and say what becomes of the deliveries that were held."""
    access = current_access()
    detail = queries.get_endpoint(access, endpoint_id)
    access.require("manage", detail.endpoint)
    form = ResumeForm()
    if request.method == "POST":
        form.check_csrf()
        try:
            actions.resume_endpoint(access, endpoint_id, form.held.data or "")
        except InvalidInput as error:
            form.refuse(error)
        else:
            notify(_("The webhook is active again."))
            return redirect_to("endpoint", endpoint_id=endpoint_id)
    return render("resume.html", 422 if form.problems else 200, detail=detail, form=form)


def endpoint_delete(endpoint_id: str) -> Response:
    """Delete one."""
    access = current_access()
    detail = queries.get_endpoint(access, endpoint_id)
    access.require("manage", detail.endpoint)
    form = ConfirmForm()
    if request.method != "POST":
        return render("delete.html", detail=detail)
    form.check_csrf()
    actions.delete_endpoint(access, endpoint_id)
    notify(_("The webhook was deleted."))
    return redirect_to("endpoint_list")


def delete_all() -> Response:
    """Delete every endpoint in scope."""
    access = current_access()
    access.require("delete_all")
    form = ConfirmForm()
    if request.method != "POST":
        return render("delete_all.html", rows=queries.list_endpoints(access))
    form.check_csrf()
    count = actions.delete_all_endpoints(access)
    notify(ngettext("%(num)s webhook was deleted.", "%(num)s webhooks were deleted.", count))
    return redirect_to("endpoint_list")
