"""The settings of an endpoint: a new one, and changes."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request

from .. import actions, queries
from ..access import Access
from ..errors import EndpointLimitReached, InvalidInput
from ..formats import Formats
from ..headers import MAX_HEADERS
from ..queries import EndpointDetail
from ..state import AllTenants
from . import once
from .forms import EndpointForm
from .i18n import gettext as _
from .page import current_access, notify, redirect_to, render
from .secret_views import show_secret
from .subscriptions import choice_groups


def register(blueprint: Blueprint) -> None:
    both = ["GET", "POST"]
    blueprint.add_url_rule("/endpoints/new", view_func=endpoint_new, methods=both)
    blueprint.add_url_rule("/endpoints/<endpoint_id>/edit", view_func=endpoint_edit, methods=both)


def endpoint_new() -> Response:
    """Add an endpoint. Where its format signs, the answer shows the secret."""
    access = current_access()
    access.require("manage")
    form = EndpointForm()
    if request.method != "POST":
        form.once.data = once.new_token()
        form.add_header_rows()
        return _show_form(access, form)
    form.check_csrf()
    if form.more_headers.data:
        form.add_header_rows()
        return _show_form(access, form)
    made = once.used_for(form.once.data)
    if made is not None:
        notify(_("This webhook was added already; its secret was shown then."), "warn")
        return redirect_to("endpoint", endpoint_id=made)
    try:
        created = _create(access, form)
    except InvalidInput as error:
        form.refuse(error)
        return _show_form(access, form, 422)
    except EndpointLimitReached as error:
        form.refuse(error.message)
        return _show_form(access, form, 409)
    once.remember(form.once.data, created.endpoint.id)
    if created.secret is None:
        notify(_("The webhook was added."))
        return redirect_to("endpoint", endpoint_id=created.endpoint.id)
    return show_secret(created.endpoint, created.secret, is_new=True)


def endpoint_edit(endpoint_id: str) -> Response:
    """Change an endpoint."""
    access = current_access()
    detail = queries.get_endpoint(access, endpoint_id)
    access.require("manage", detail.endpoint)
    if request.method != "POST":
        form = EndpointForm(data=_values(detail))
        form.add_header_rows()
        return _show_form(access, form, detail=detail)
    form = EndpointForm()
    form.check_csrf()
    if form.more_headers.data:
        form.add_header_rows()
        return _show_form(access, form, detail=detail)
    try:
        actions.update_endpoint(access, endpoint_id, **_changes(form, detail))
    except InvalidInput as error:
        form.refuse(error)
        return _show_form(access, form, 422, detail=detail)
    notify(_("The changes were saved."))
    return redirect_to("endpoint", endpoint_id=endpoint_id)


def _create(access: Access, form: EndpointForm) -> actions.CreatedEndpoint:
    headers = {name: value or "" for name, value in form.custom_headers().items()}
    return actions.create_endpoint(
        access,
        form.url.data or "",
        events=form.subscription(),
        # A tenant's own endpoints are its own; nobody is asked.
        tenant=(form.tenant.data or "").strip() or None if _operates(access) else None,
        format=form.format.data or None,
        name=form.name.data or "",
        description=form.description.data or "",
        secret=form.secret.data or None,
        headers=headers,
        user_agent=form.user_agent.data or None,
    )


def _changes(form: EndpointForm, detail: EndpointDetail) -> actions.EndpointChanges:
    """What differs. The rest is left alone: what was allowed once may not be any more."""
    endpoint = detail.endpoint
    changes = actions.EndpointChanges(
        name=form.name.data or "",
        description=form.description.data or "",
        user_agent=form.user_agent.data or "",
    )
    url = (form.url.data or "").strip()
    # A URL that is a secret is not filled in; left empty, it stays.
    if url != ("" if endpoint.url_sealed is not None else endpoint.url_shown):
        changes["url"] = url
    if form.format.data and form.format.data != endpoint.format:
        changes["format"] = form.format.data
    events = form.subscription()
    if events is None or endpoint.events is None or set(events) != set(endpoint.events):
        changes["events"] = events
    headers = form.custom_headers(detail.header_names or ())
    # Names that cannot be decrypted are not shown; that nobody wrote them again is no wish to lose them.
    if headers or detail.header_names is not None:
        changes["headers"] = headers
    return changes


def _values(detail: EndpointDetail) -> dict[str, Any]:
    """What the form shows of an endpoint; neither its secret nor values of headers."""
    endpoint = detail.endpoint
    return {
        "name": endpoint.name,
        "url": "" if endpoint.url_sealed is not None else endpoint.url_shown,
        "description": endpoint.description,
        "format": endpoint.format,
        "user_agent": endpoint.user_agent or "",
        "scope": "all" if endpoint.events is None else "chosen",
        "events": endpoint.events or [],
        "headers": [{"name": name} for name in detail.header_names or ()],
    }


def _show_form(
    access: Access, form: EndpointForm, status: int = 200, *, detail: EndpointDetail | None = None
) -> Response:
    state = access.state
    chosen = [*(form.events.data or ())]
    if detail is not None:
        chosen += detail.endpoint.events or ()
    return render(
        "endpoint_form.html",
        status,
        # What was typed comes back with an error, and values of headers often are secrets.
        no_store=True,
        form=form,
        detail=detail,
        groups=choice_groups(state.catalog, chosen),
        formats=_format_choices(state.formats, detail),
        operates=_operates(access),
        kept_headers={name.lower() for name in (detail.header_names or ())} if detail else set(),
        max_headers=MAX_HEADERS,
    )


def _format_choices(formats: Formats, detail: EndpointDetail | None) -> list[tuple[str, str]]:
    choices = [(item.name, item.label) for item in formats]
    if detail is None:
        return [("", _("As the URL tells")), *choices]
    if detail.endpoint.format not in formats:
        choices.append((detail.endpoint.format, detail.endpoint.format))
    return choices


def _operates(access: Access) -> bool:
    return isinstance(access.tenant, AllTenants)
