"""The signature debugger: explains why the signature of a pasted request does not match."""

from __future__ import annotations

from flask import Blueprint, Response, request

from .. import queries
from ..security.signature_check import MAX_BODY, MAX_HEADERS
from .forms import DebuggerForm
from .page import current_access, render


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule(
        "/endpoints/<endpoint_id>/debugger", view_func=debugger, methods=["GET", "POST"]
    )


def debugger(endpoint_id: str) -> Response:
    """Show a form, and the verdict on the pasted request, which is not stored."""
    access = current_access()
    detail = queries.get_endpoint(access, endpoint_id)
    access.require("secret", detail.endpoint)
    form = DebuggerForm()
    verdict = secret = None
    if request.method == "POST":
        form.check_csrf()
        headers = (form.headers.data or "")[:MAX_HEADERS]
        verdict = queries.check_signature(
            access, endpoint_id, headers, (form.body.data or "")[:MAX_BODY]
        )
        if verdict.secret is not None and verdict.secret < len(detail.secrets):
            secret = detail.secrets[verdict.secret]
    return render(
        "debugger.html",
        no_store=True,
        endpoint=detail.endpoint,
        detail=detail,
        form=form,
        verdict=verdict,
        secret=secret,
    )
