"""A form that performs an action, with a notice afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Response, request

from ..errors import InvalidInput
from .forms import WebhooksForm
from .page import notify, redirect_to, render


def ask(template: str, form: WebhooksForm, act: Callable[[], Response], **values: Any) -> Response:
    """Show the form; on submit, perform the action, or show the form again with the errors.

    :param act: performs the action, and returns the response; see `done`.
    :param values: values for the template, in addition to `form`.
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
    """Redirect to a page that shows a notice."""
    notify(notice, tone)
    return redirect_to(view, **values)
