"""A page that asks before it does something: a form, what it does, and the notice afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Response, request

from ..errors import InvalidInput
from .forms import WebhooksForm
from .page import notify, redirect_to, render


def ask(template: str, form: WebhooksForm, act: Callable[[], Response], **values: Any) -> Response:
    """Show the form; once it is sent, do what it asks for, or show again why that was refused.

    :param act: does it, and says where to go then; see `done`.
    :param values: for the template, besides `form`.
    :raises CSRFError: the token is missing, stale or that of another session.
    """
    if request.method == "POST":
        form.check_csrf()
        try:
            return act()
        except InvalidInput as error:
            form.refuse(error)
    return render(template, 422 if form.problems else 200, form=form, **values)


def done(notice: str, view: str, *, tone: str = "ok", **values: Any) -> Response:
    """Say on the next page that it is done, and go there."""
    notify(notice, tone)
    return redirect_to(view, **values)
