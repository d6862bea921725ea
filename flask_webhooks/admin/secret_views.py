"""The secret: shown once, in the answer to the POST that made it."""

from __future__ import annotations

from flask import Blueprint, Response, request

from .. import actions, queries
from ..access import Access
from ..errors import InvalidInput
from ..models import Endpoint
from . import once
from .forms import RotateForm
from .i18n import gettext as _
from .page import current_access, notify, redirect_to, render
from .snippets import snippets


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule(
        "/endpoints/<endpoint_id>/rotate", view_func=endpoint_rotate, methods=["GET", "POST"]
    )


def endpoint_rotate(endpoint_id: str) -> Response:
    """Replace the secret, with an overlap. The answer shows the new one."""
    access = current_access()
    endpoint = queries.get_endpoint(access, endpoint_id).endpoint
    access.require("secret", endpoint)
    form = RotateForm()
    if request.method != "POST":
        form.once.data = once.new_token()
        return _show_form(endpoint, form)
    form.check_csrf()
    if once.used_for(form.once.data) is not None:
        notify(_("The secret was replaced already; the new one was shown then."), "warn")
        return redirect_to("endpoint", endpoint_id=endpoint_id)
    try:
        secret = _rotate(access, endpoint_id, form)
    except InvalidInput as error:
        form.refuse(error)
        return _show_form(endpoint, form, 422)
    once.remember(form.once.data, endpoint_id)
    return show_secret(endpoint, secret, is_new=False)


def show_secret(endpoint: Endpoint, secret: str, *, is_new: bool) -> Response:
    """The only page that ever shows a secret."""
    return render(
        "secret.html",
        no_store=True,
        endpoint=endpoint,
        secret=secret,
        is_new=is_new,
        snippets=snippets(endpoint.format),
    )


def _rotate(access: Access, endpoint_id: str, form: RotateForm) -> str:
    return actions.rotate_secret(
        access, endpoint_id, overlap_seconds=form.overlap(), secret=form.secret.data or None
    )


def _show_form(endpoint: Endpoint, form: RotateForm, status: int = 200) -> Response:
    return render("rotate.html", status, endpoint=endpoint, form=form)
