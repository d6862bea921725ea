"""Create and edit endpoints."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request

from .. import actions, queries
from ..access import Access
from ..app_state import AllTenants
from ..errors import (
    DuplicateEndpoint,
    EndpointLimitReached,
    Faults,
    Forbidden,
    InvalidInput,
    NotFound,
    SendLimitReached,
)
from ..formats.custom import Custom
from ..formats.examples import Example
from ..queries import EndpointDetail
from ..security.client_certificates import MAX_PEM_LENGTH
from ..security.headers import MAX_HEADERS
from . import once
from .failures import status_of
from .filter_rows import operator_choices
from .format_choices import CUSTOM, format_choices, sent_options
from .forms import EndpointForm
from .i18n import gettext as _
from .i18n import translated
from .page import current_access, notify, redirect_to, render
from .secret_views import show_secret
from .setting_changes import changes_of, shown_values
from .subscriptions import choice_groups
from .version_choices import version_choices


def register(blueprint: Blueprint) -> None:
    both = ["GET", "POST"]
    blueprint.add_url_rule("/endpoints/new", view_func=endpoint_new, methods=both)
    blueprint.add_url_rule("/endpoints/<endpoint_id>/edit", view_func=endpoint_edit, methods=both)


def endpoint_new() -> Response:
    """Add an endpoint. If its format signs, the response shows the secret."""
    access = current_access()
    access.require("manage")
    form = EndpointForm()
    if request.method != "POST":
        form.once.data = once.new_token()
        form.template.data = Custom.example_options["template"]
        form.tenant.data = request.args.get("tenant", "")
        form.add_header_rows()
        form.add_condition_rows()
        form.add_rule_rows()
        return _show_form(access, form)
    form.check_csrf()
    shown = _show_again(access, form)
    if shown is not None:
        return shown
    made = once.used_for(form.once.data)
    if made is not None:
        notify(_("This webhook was already added, and its secret was shown once."), "warn")
        return redirect_to("endpoint", endpoint_id=made)
    try:
        created = _create(access, form)
    except (InvalidInput, EndpointLimitReached, DuplicateEndpoint, SendLimitReached) as error:
        form.refuse(error)
        return _show_form(access, form, status_of(error))
    once.remember(form.once.data, created.endpoint.id)
    secret = created.secret or created.public_key
    if secret is None:
        notify(_("The webhook was added."))
        return redirect_to("endpoint", endpoint_id=created.endpoint.id)
    return show_secret(created.endpoint, secret, is_new=True, given=form.secret.data)


def endpoint_edit(endpoint_id: str) -> Response:
    """Change an endpoint."""
    access = current_access()
    detail = queries.get_endpoint(access, endpoint_id)
    access.require("manage", detail.endpoint)
    if request.method != "POST":
        form = EndpointForm(data=shown_values(detail))
        form.show_filter(detail.endpoint.filter)
        form.show_coalescing(detail.endpoint.coalesce)
        form.add_header_rows()
        form.add_condition_rows()
        form.add_rule_rows()
        return _show_form(access, form, detail=detail)
    form = EndpointForm()
    form.check_csrf()
    shown = _show_again(access, form, detail)
    if shown is not None:
        return shown
    try:
        actions.update_endpoint(
            access,
            endpoint_id,
            allow_duplicate=bool(form.allow_duplicate.data),
            **changes_of(access, form, detail),
        )
    except (InvalidInput, DuplicateEndpoint, SendLimitReached) as error:
        form.refuse(error)
        return _show_form(access, form, status_of(error), detail=detail)
    notify(_("The changes were saved."))
    return redirect_to("endpoint", endpoint_id=endpoint_id)


def _show_again(
    access: Access, form: EndpointForm, detail: EndpointDetail | None = None
) -> Response | None:
    """Show the form again after a button that does not save."""
    if form.more_headers.data:
        form.add_header_rows()
    elif form.more_conditions.data:
        form.add_condition_rows()
    elif form.more_rules.data:
        form.add_rule_rows()
    elif form.preview.data:
        return _show_preview(access, form, detail)
    elif form.try_filter.data:
        return _show_trial(access, form, detail)
    else:
        return None
    return _show_form(access, form, detail=detail)


def _create(access: Access, form: EndpointForm) -> actions.CreatedEndpoint:
    state = access.state
    names = sent_options(state.formats, form.format.data or "", state.settings.default_format)
    values: dict[str, Any] = {
        "events": form.subscription(),
        # A user of one tenant always adds endpoints to that tenant.
        "tenant": None
        if isinstance(access.tenant, str)
        else (form.tenant.data or "").strip() or None,
        "format": form.format.data or None,
        "name": form.name.data or "",
        "description": form.description.data or "",
        "key_pair": form.key_pair,
        "headers": [(name, value or "") for name, value in form.custom_headers()],
        "data_version": form.data_version.data or None,
        "user_agent": form.user_agent.data or None,
        "contact": form.contact.data or None,
        "client_certificate": form.client_certificate.data or None,
        "options": form.options(names) or None,
        "timeout": form.number("timeout"),
        "rate_limit": form.number("rate_limit"),
        "ordered": bool(form.ordered.data),
        "active": not form.paused.data,
        "test_first": bool(form.test_first.data),
    }
    url = form.url.data or ""
    faults = Faults()
    secret = faults.check(form.chosen_secret)
    values["filter"] = faults.check(form.chosen_filter)
    values["coalesce"] = faults.check(form.chosen_coalescing, state.catalog)
    if faults.found:
        # Other errors are shown together with it.
        faults.check(actions.draft_endpoint, access, url, **values)
    faults.finish()
    allowed = bool(form.allow_duplicate.data)
    return actions.create_endpoint(access, url, secret=secret, allow_duplicate=allowed, **values)


def _show_preview(access: Access, form: EndpointForm, detail: EndpointDetail | None) -> Response:
    """Show the form again with a preview of the template."""
    try:
        example = queries.example(
            access, CUSTOM, form.preview_type.data or None, options=form.options(["template"])
        )
    except InvalidInput as error:
        form.refuse(error)
        return _show_form(access, form, 422, detail=detail)
    return _show_form(access, form, detail=detail, example=example)


def _show_trial(access: Access, form: EndpointForm, detail: EndpointDetail | None) -> Response:
    """Show the form again with the result of the filter."""
    event_id = (form.try_event.data or "").strip() or None
    try:
        trial = queries.try_filter(
            access,
            form.chosen_filter(),
            event_id=event_id,
            event_type=None if event_id else form.try_type.data or None,
        )
    except InvalidInput as error:
        form.refuse(error)
        return _show_form(access, form, 422, detail=detail)
    except (Forbidden, NotFound) as error:
        form.add_problem("try_event", translated(error.text))
        return _show_form(access, form, 422, detail=detail)
    return _show_form(access, form, detail=detail, trial=trial)


def _show_form(
    access: Access,
    form: EndpointForm,
    status: int = 200,
    *,
    detail: EndpointDetail | None = None,
    example: Example | None = None,
    trial: queries.FilterTrial | None = None,
) -> Response:
    state = access.state
    chosen = [*(form.events.data or ())]
    if detail is not None:
        chosen += detail.endpoint.events or ()
    endpoint = None if detail is None else detail.endpoint
    default = state.settings.default_format
    formats = format_choices(state.formats, state.offered_formats, default, endpoint)
    return render(
        "endpoint_form.html",
        status,
        # The input is shown again with an error, and values of headers are often secrets.
        no_store=True,
        form=form,
        detail=detail,
        example=example,
        trial=trial,
        filter_operators=operator_choices(),
        versions=version_choices(endpoint),
        groups=choice_groups(state.offered_types, chosen),
        formats=formats,
        parts={part for item in formats for part in item.parts},
        offers_test=detail is None
        and not state.settings.verify_endpoints
        and access.may("send", None),
        operates=isinstance(access.tenant, AllTenants),
        kept_headers={name.lower() for name in (detail.header_names or ())} if detail else set(),
        max_headers=MAX_HEADERS,
        longest_certificate=MAX_PEM_LENGTH,
        most_endpoints=state.settings.max_endpoints if state.hooks.endpoint_limit is None else None,
        default_timeout=f"{state.settings.timeout:g}",
    )
