"""The secret: shown once, in the answer to the POST that made it; the end of an overlap; going without."""

from __future__ import annotations

from flask import Blueprint, Response, request

from .. import actions, queries
from ..access import Access
from ..errors import InvalidInput
from ..models import Endpoint
from . import once
from .format_choices import has_key_pairs
from .forms import ConfirmForm, RotateForm
from .i18n import gettext as _
from .page import current_access, notify, redirect_to, render
from .snippets import snippets


def register(blueprint: Blueprint) -> None:
    for rule, view in (
        ("rotate", endpoint_rotate),
        ("end-overlap", endpoint_end_overlap),
        ("remove-secret", endpoint_remove_secret),
    ):
        blueprint.add_url_rule(
            f"/endpoints/<endpoint_id>/{rule}", view_func=view, methods=["GET", "POST"]
        )


def endpoint_rotate(endpoint_id: str) -> Response:
    """Replace the secret, with an overlap. The answer shows the new one."""
    access = current_access()
    endpoint = queries.get_endpoint(access, endpoint_id).endpoint
    access.require("secret", endpoint)
    form = RotateForm()
    if request.method != "POST":
        form.once.data = once.new_token()
        if queries.public_keys(access, endpoint_id):
            form.signing.data = "key_pair"
        return _show_form(access, endpoint, form)
    form.check_csrf()
    if once.used_for(form.once.data) is not None:
        notify(_("The secret was replaced already; the new one was shown then."), "warn")
        return redirect_to("endpoint", endpoint_id=endpoint_id)
    try:
        secret = actions.rotate_secret(
            access,
            endpoint_id,
            overlap_seconds=form.overlap(),
            secret=form.secret.data or None,
            key_pair=form.key_pair,
        )
    except InvalidInput as error:
        form.refuse(error)
        return _show_form(access, endpoint, form, 422)
    once.remember(form.once.data, endpoint_id)
    public = {key.text for key in queries.public_keys(access, endpoint_id)}
    return show_secret(endpoint, secret, is_new=False, is_public=secret in public)


def show_secret(endpoint: Endpoint, secret: str, *, is_new: bool, is_public: bool) -> Response:
    """The only page that ever shows a secret.

    :param is_public: it is the public key of a pair, which is none.
    """
    return render(
        "secret.html",
        no_store=True,
        endpoint=endpoint,
        secret=secret,
        is_new=is_new,
        is_public=is_public,
        snippets=() if is_public else snippets(endpoint.format),
    )


def endpoint_end_overlap(endpoint_id: str) -> Response:
    """Sign with the newest secret only, from now on."""
    access = current_access()
    detail = queries.get_endpoint(access, endpoint_id)
    access.require("secret", detail.endpoint)
    form = ConfirmForm()
    if request.method != "POST":
        return render("end_overlap.html", detail=detail)
    form.check_csrf()
    if actions.end_overlap(access, endpoint_id):
        notify(_("Requests are signed with the newest secret only from now on."))
    else:
        notify(_("There was no older secret any more, so nothing was changed."), "warn")
    return redirect_to("endpoint", endpoint_id=endpoint_id)


def endpoint_remove_secret(endpoint_id: str) -> Response:
    """Send without a signature, where the format allows it."""
    access = current_access()
    detail = queries.get_endpoint(access, endpoint_id)
    access.require("secret", detail.endpoint)
    form = ConfirmForm()
    if request.method != "POST":
        return render("remove_secret.html", detail=detail)
    form.check_csrf()
    actions.remove_secret(access, endpoint_id)
    notify(_("The secret is gone. Requests carry no signature from now on."))
    return redirect_to("endpoint", endpoint_id=endpoint_id)


def _show_form(access: Access, endpoint: Endpoint, form: RotateForm, status: int = 200) -> Response:
    formats = access.state.formats
    return render(
        "rotate.html",
        status,
        endpoint=endpoint,
        form=form,
        key_pairs=endpoint.format in formats and has_key_pairs(formats[endpoint.format]),
    )
