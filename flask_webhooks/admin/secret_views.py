"""Secrets: rotate, end an overlap, remove. A secret is shown once, in the response to the POST that created it."""

from __future__ import annotations

from flask import Blueprint, Response, request

from .. import actions, queries
from ..models import Endpoint
from ..security.signing import PUBLIC_KEY_PREFIX
from . import once
from .asking import ask, done
from .format_choices import has_key_pairs
from .forms import ConfirmForm, RotateForm
from .i18n import gettext as _
from .page import current_access, render
from .snippets import key_snippets, snippets


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
    """Replace the secret, with an overlap. The response shows the new one."""
    access = current_access()
    endpoint = queries.get_endpoint(access, endpoint_id).endpoint
    access.require("secret", endpoint)
    formats = access.state.formats
    form = RotateForm()
    if request.method != "POST":
        form.once.data = once.new_token()
        if queries.public_keys(access, endpoint_id):
            form.signing.data = "key_pair"

    def rotate() -> Response:
        if once.used_for(form.once.data) is not None:
            notice = _("The secret was already replaced, and the new one was shown once.")
            return done(notice, "endpoint", tone="warn", endpoint_id=endpoint_id)
        secret = actions.rotate_secret(
            access,
            endpoint_id,
            overlap_seconds=form.overlap(),
            secret=form.secret.data or None,
            key_pair=form.key_pair,
            label=form.label.data or None,
        )
        once.remember(form.once.data, endpoint_id)
        return show_secret(endpoint, secret, is_new=False, given=form.secret.data)

    return ask(
        "rotate.html",
        form,
        rotate,
        endpoint=endpoint,
        key_pairs=endpoint.format in formats and has_key_pairs(formats[endpoint.format]),
    )


def show_secret(
    endpoint: Endpoint, secret: str, *, is_new: bool, given: str | None = None
) -> Response:
    """The only page that ever shows a secret.

    :param secret: what the receiver needs: the secret, or the public key of a key pair.
    :param given: the value that was entered; for a private key, the page explains why it shows another value.
    """
    is_public = secret.startswith(PUBLIC_KEY_PREFIX) and secret != given
    return render(
        "secret.html",
        no_store=True,
        endpoint=endpoint,
        secret=secret,
        is_new=is_new,
        is_public=is_public,
        brought=is_public and bool(given),
        snippets=(key_snippets if is_public else snippets)(endpoint.format),
    )


def endpoint_end_overlap(endpoint_id: str) -> Response:
    """Sign with the newest secret only, from now on."""
    access = current_access()
    detail = queries.get_endpoint(access, endpoint_id)
    access.require("secret", detail.endpoint)

    def end() -> Response:
        if actions.end_overlap(access, endpoint_id):
            notice, tone = _("From now on, requests are only signed with the newest secret."), "ok"
        else:
            notice = _("There was no older secret left, so nothing was changed.")
            tone = "warn"
        return done(notice, "endpoint", tone=tone, endpoint_id=endpoint_id)

    return ask("end_overlap.html", ConfirmForm(), end, detail=detail)


def endpoint_remove_secret(endpoint_id: str) -> Response:
    """Send requests without a signature, if the format allows it."""
    access = current_access()
    detail = queries.get_endpoint(access, endpoint_id)
    access.require("secret", detail.endpoint)

    def remove() -> Response:
        actions.remove_secret(access, endpoint_id)
        notice = _("The secret was removed. Requests carry no signature from now on.")
        return done(notice, "endpoint", endpoint_id=endpoint_id)

    return ask("remove_secret.html", ConfirmForm(), remove, detail=detail)
