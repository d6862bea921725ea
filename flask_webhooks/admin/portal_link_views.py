"""Portal links: list, create and revoke. Only the response to the POST that creates a link shows its URL."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, Response, request
from wtforms import SelectMultipleField, StringField

from .. import actions, queries
from ..access import Access
from ..errors import InvalidInput, NotFound
from ..token_access import GRANTABLE
from . import once
from .asking import ask, done
from .filters import Filters
from .forms import ConfirmForm, WebhooksForm
from .i18n import gettext as _
from .page import current_access, notify, redirect_to, render, tenant_filter, unknown_in_filter

#: The choices of the lifetime of a link, in minutes.
MINUTES: Final = ("15", "60", "1440", "10080")


class PortalLinkForm(WebhooksForm):
    """A new portal link."""

    tenant = StringField()
    actor = StringField()
    actions = SelectMultipleField(choices=[], validate_choice=False)
    expires_in = StringField(default="60")
    once = StringField()

    def seconds(self) -> float:
        """The chosen time.

        :raises InvalidInput: it is not one of the choices.
        """
        minutes = (self.expires_in.data or "").strip()
        if minutes not in MINUTES:
            raise InvalidInput("Choose one of the times that are offered.", field="expires_in")
        return int(minutes) * 60


def register(blueprint: Blueprint) -> None:
    both = ["GET", "POST"]
    blueprint.add_url_rule("/portal-links", view_func=portal_link_list)
    blueprint.add_url_rule("/portal-links/new", view_func=portal_link_new, methods=both)
    blueprint.add_url_rule(
        "/portal-links/<link_id>/revoke", view_func=portal_link_revoke, methods=both
    )


def portal_link_list() -> Response:
    """List the portal links in scope."""
    access = _access()
    filters = Filters(request.args, "tenant")
    tenant = tenant_filter(access, filters.get("tenant"))
    page = queries.list_portal_links(access, before=filters.before, tenant=tenant)
    return render(
        "portal_link_list.html",
        page=page,
        filters=filters,
        unknown=unknown_in_filter(access, filters, page),
    )


def portal_link_new() -> Response:
    """Create a portal link. The response shows its URL."""
    access = _access()
    form = PortalLinkForm()
    if request.method != "POST":
        form.once.data = once.new_token()
        form.actions.data = ["view"]
        return _show_form(access, form)
    form.check_csrf()
    if once.used_for(form.once.data) is not None:
        notify(_("This link was already created and shown once."), "warn")
        return redirect_to("portal_link_list")
    try:
        created = actions.create_portal_link(
            access,
            (form.tenant.data or "").strip() or None,
            actor=form.actor.data or "",
            expires_in=form.seconds(),
            actions=form.actions.data or [],
        )
    except InvalidInput as error:
        form.refuse(error)
        return _show_form(access, form, 422)
    once.remember(form.once.data, created.link.id)
    return render("portal_link.html", no_store=True, link=created.link, url=created.url)


def portal_link_revoke(link_id: str) -> Response:
    """Revoke a portal link."""
    access = _access()
    row = queries.get_portal_link(access, link_id)

    def revoke() -> Response:
        actions.revoke_portal_link(access, link_id)
        return done(_("The link has been revoked and can no longer be used."), "portal_link_list")

    return ask("portal_link_revoke.html", ConfirmForm(), revoke, row=row)


def _access() -> Access:
    """Return the access, if the application has a portal."""
    access = current_access()
    access.require("tokens")
    if access.state.settings.portal_prefix is None:
        raise NotFound("This application has no portal.")
    return access


def _show_form(access: Access, form: PortalLinkForm, status: int = 200) -> Response:
    offered = [action for action in GRANTABLE if access.may(action, None)]
    return render("portal_link_form.html", status, form=form, offered=offered)
