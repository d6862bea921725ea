"""Pause, resume, challenge and delete endpoints, each with a confirmation page."""

from __future__ import annotations

from flask import Blueprint, Response

from .. import actions, queries
from .asking import ask, done
from .forms import ConfirmForm, PauseForm, ResumeForm
from .i18n import gettext as _
from .i18n import ngettext
from .page import current_access

#: The number of endpoints that are listed before all are deleted.
_NAMED = 20


def register(blueprint: Blueprint) -> None:
    both = ["GET", "POST"]
    for rule, view in (
        ("/endpoints/<endpoint_id>/pause", endpoint_pause),
        ("/endpoints/<endpoint_id>/resume", endpoint_resume),
        ("/endpoints/<endpoint_id>/challenge", endpoint_challenge),
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

    def pause() -> Response:
        actions.pause_endpoint(access, endpoint_id, form.reason.data or "")
        notice = _("The webhook is paused. Events that occur meanwhile are held for it.")
        return done(notice, "endpoint", endpoint_id=endpoint_id)

    return ask("pause.html", form, pause, detail=detail)


def endpoint_resume(endpoint_id: str) -> Response:
    """Make an endpoint active again, and choose what to do with held deliveries."""
    access = current_access()
    detail = queries.get_endpoint(access, endpoint_id)
    access.require("manage", detail.endpoint)
    form = ResumeForm()

    def resume() -> Response:
        actions.resume_endpoint(access, endpoint_id, form.held.data or "")
        return done(_("The webhook is active again."), "endpoint", endpoint_id=endpoint_id)

    return ask("resume.html", form, resume, detail=detail)


def endpoint_challenge(endpoint_id: str) -> Response:
    """Send an endpoint another challenge."""
    access = current_access()
    detail = queries.get_endpoint(access, endpoint_id)
    access.require("send", detail.endpoint)

    def send() -> Response:
        delivery = actions.send_challenge(access, endpoint_id)
        return done(_("The challenge has been queued."), "delivery", delivery_id=delivery.id)

    return ask("challenge.html", ConfirmForm(), send, detail=detail)


def endpoint_delete(endpoint_id: str) -> Response:
    """Delete an endpoint."""
    access = current_access()
    detail = queries.get_endpoint(access, endpoint_id)
    access.require("manage", detail.endpoint)

    def delete() -> Response:
        actions.delete_endpoint(access, endpoint_id)
        return done(_("The webhook was deleted."), "endpoint_list")

    return ask("delete.html", ConfirmForm(), delete, detail=detail)


def delete_all() -> Response:
    """Delete every endpoint in scope."""
    access = current_access()
    access.require("delete_all")

    def delete() -> Response:
        count = actions.delete_all_endpoints(access)
        notice = ngettext("%(num)s webhook was deleted.", "%(num)s webhooks were deleted.", count)
        return done(notice, "endpoint_list")

    return ask(
        "delete_all.html",
        ConfirmForm(),
        delete,
        rows=queries.list_endpoints(access, limit=_NAMED),
        count=queries.count_endpoints(access),
    )
