"""API tokens: list, create and revoke. Only the response to the POST that creates a token shows it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from flask import Blueprint, Response, request
from wtforms import SelectMultipleField, StringField

from .. import actions, queries
from ..access import Access
from ..errors import InvalidInput, NotFound, TokenLimitReached, WebhooksError
from ..token_access import CONDITIONS, GRANTABLE
from . import once
from .asking import ask, done
from .filters import Filters
from .forms import ConfirmForm, WebhooksForm
from .i18n import gettext as _
from .page import current_access, notify, redirect_to, render, tenant_filter, unknown_in_filter

#: The choices of the lifetime of a token, in days; empty is unlimited.
DAYS: Final = ("30", "90", "365", "")


class TokenForm(WebhooksForm):
    """A new token."""

    name = StringField()
    tenant = StringField()
    actions = SelectMultipleField(choices=[], validate_choice=False)
    days = StringField(default="90")
    once = StringField()

    def place_of(self, error: WebhooksError) -> str:
        if isinstance(error, InvalidInput) and error.field == "expires_at":
            return "days"
        return super().place_of(error)

    def expires_at(self) -> datetime | None:
        """Return the chosen time of expiry.

        :raises InvalidInput: it is not one of the choices.
        """
        days = (self.days.data or "").strip()
        if days not in DAYS:
            raise InvalidInput("Choose one of the times that are offered.", field="days")
        return datetime.now(UTC) + timedelta(days=int(days)) if days else None


def register(blueprint: Blueprint) -> None:
    both = ["GET", "POST"]
    blueprint.add_url_rule("/tokens", view_func=token_list)
    blueprint.add_url_rule("/tokens/new", view_func=token_new, methods=both)
    blueprint.add_url_rule("/tokens/<token_id>/revoke", view_func=token_revoke, methods=both)


def token_list() -> Response:
    """List the tokens in scope."""
    access = _access()
    filters = Filters(request.args, "state", "tenant", "since", "until")
    page = queries.list_tokens(
        access,
        before=filters.before,
        tenant=tenant_filter(access, filters.get("tenant")),
        state=filters.get("state"),
        since=filters.moment("since"),
        until=filters.moment("until"),
    )
    return render(
        "token_list.html",
        page=page,
        filters=filters,
        conditions=CONDITIONS,
        unknown=unknown_in_filter(access, filters, page),
    )


def token_new() -> Response:
    """Create a token. The response shows it."""
    access = _access()
    form = TokenForm()
    if request.method != "POST":
        form.once.data = once.new_token()
        form.actions.data = ["view"]
        return _show_form(access, form)
    form.check_csrf()
    if once.used_for(form.once.data) is not None:
        notify(_("This token was already created and shown once."), "warn")
        return redirect_to("token_list")
    try:
        created = actions.create_token(
            access,
            form.name.data or "",
            form.actions.data or [],
            tenant=(form.tenant.data or "").strip() or None,
            expires_at=form.expires_at(),
        )
    except (InvalidInput, TokenLimitReached) as error:
        form.refuse(error)
        return _show_form(access, form, 422 if isinstance(error, InvalidInput) else 409)
    once.remember(form.once.data, created.token.id)
    return render(
        "token.html", no_store=True, token=created.token, row=created.row, secret=created.secret
    )


def token_revoke(token_id: str) -> Response:
    """Revoke a token."""
    access = _access()
    row = queries.get_token(access, token_id)

    def revoke() -> Response:
        actions.revoke_token(access, token_id)
        return done(_("The token has been revoked and can no longer be used."), "token_list")

    return ask("token_revoke.html", ConfirmForm(), revoke, row=row)


def _access() -> Access:
    """Return the access, if the application has an API that accepts tokens."""
    access = current_access()
    access.require("tokens")
    if not access.state.hooks.tokens:
        raise NotFound("This application has no API that accepts tokens.")
    return access


def _show_form(access: Access, form: TokenForm, status: int = 200) -> Response:
    offered = [action for action in GRANTABLE if access.may(action, None)]
    return render("token_form.html", status, form=form, offered=offered)
