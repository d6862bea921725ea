"""The list of endpoints, one endpoint, and test events to it."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, Response, request

from .. import actions, queries
from ..access import Access, shown
from ..actions.checks import MAX_TENANT_LENGTH
from ..errors import ConversionFailed, InvalidInput, NotFound, SendLimitReached
from ..formats import Format
from ..formats.examples import sample_data
from ..models import EndpointState
from ..security.client_certificates import certificate_expiry
from .display import pretty
from .failures import status_of
from .filters import Filters
from .format_choices import shown_options
from .forms import SampleForm
from .i18n import gettext as _
from .i18n import translated
from .page import current_access, notify, redirect_to, render, tenant_filter
from .version_choices import version_choices

#: Deliveries on an endpoint's page.
_RECENT = 10
#: Notifications on it.
_NOTIFICATIONS = 10
#: Tasks on it.
_TASKS = 5
#: Endpoints on a page of the list.
_LISTED = 50


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/", view_func=endpoint_list)
    blueprint.add_url_rule("/endpoints/<endpoint_id>", view_func=endpoint)
    blueprint.add_url_rule(
        "/endpoints/<endpoint_id>/test", view_func=endpoint_test, methods=["GET", "POST"]
    )


def endpoint_list() -> Response:
    """List all endpoints in scope."""
    access = current_access()
    filters = Filters(request.args, "q", "state", "health", "type", "since", "until")
    tenant = _tenant(access)
    rows = queries.list_endpoints(
        access,
        filters.get("q"),
        tenant=tenant,
        state=filters.get("state"),
        health=filters.get("health"),
        event_type=filters.get("type"),
        since=filters.moment("since"),
        until=filters.moment("until"),
        before=filters.before,
        limit=_LISTED + 1,
    )
    older = rows[_LISTED - 1].endpoint.id if len(rows) > _LISTED else None
    rows = rows[:_LISTED]
    unknown = None if rows else queries.unknown_tenant(access, tenant)
    used, limit = (0, None) if tenant is None or unknown else queries.quota(access, tenant)
    return render(
        "endpoint_list.html",
        rows=rows,
        filters=filters,
        older=older,
        states=list(EndpointState),
        tenant=None if isinstance(access.tenant, str) else tenant,
        unknown=unknown,
        used=used,
        limit=limit,
        show_tenants=not isinstance(access.tenant, str)
        and any(row.endpoint.tenant is not None for row in rows),
    )


def endpoint(endpoint_id: str) -> Response:
    """Show one endpoint: settings, health and recent deliveries."""
    access = current_access()
    detail = queries.get_endpoint(access, endpoint_id)
    return render(
        "endpoint.html",
        # A complete URL may be a secret.
        no_store=detail.url is not None,
        detail=detail,
        now=datetime.now(UTC),
        series=queries.statistics(access, endpoint_id, request.args.get("period", "24h")),
        deliveries=queries.list_deliveries(access, endpoint_id, limit=_RECENT),
        notifications=queries.list_notifications(access, endpoint_id, limit=_NOTIFICATIONS),
        tasks=queries.list_tasks(access, endpoint_id, limit=_TASKS),
        public_keys=queries.public_keys(access, detail.endpoint),
        options=shown_options(detail.endpoint),
        certificate_expires_at=certificate_expiry(detail.endpoint.client_certificate),
    )


def endpoint_test(endpoint_id: str) -> Response:
    """Send an edited example of an event type, and redirect to its delivery."""
    access = current_access()
    detail = queries.get_endpoint(access, endpoint_id)
    access.require("send", detail.endpoint)
    form = SampleForm()
    if request.method != "POST":
        form.event_type.data = request.args.get("event_type") or _usual_type(access, detail)
        return _show_test(access, detail, form, load=True)
    form.check_csrf()
    if form.load.data:
        return _show_test(access, detail, form, load=True)
    try:
        delivery = actions.send_test(
            access,
            endpoint_id,
            form.event_type.data or None,
            form.sample_data(),
            data_version=form.data_version.data or None,
        )
    except (InvalidInput, SendLimitReached) as error:
        # Keep the user's input.
        form.refuse(error)
        return _show_test(access, detail, form, status_of(error))
    except ConversionFailed as error:
        form.add_problem("data_version" if form.data_version.data else "", translated(error.text))
        return _show_test(access, detail, form, 409)
    notify(_("The test event is queued."))
    return redirect_to("delivery", delivery_id=delivery.id)


def _show_test(
    access: Access,
    detail: queries.EndpointDetail,
    form: SampleForm,
    status: int = 200,
    *,
    load: bool = False,
) -> Response:
    """:param load: put the sample of the chosen type into the form."""
    if load:
        catalog = access.state.catalog
        name = form.event_type.data or ""
        if name not in catalog:
            raise NotFound("There is no event type %(name)s.", name=shown(name))
        form.sample.data = pretty(sample_data(catalog[name], access.state.settings.product_name))
    versions = version_choices(detail.endpoint)
    return render("test.html", status, no_store=True, detail=detail, form=form, versions=versions)


def _usual_type(access: Access, detail: queries.EndpointDetail) -> str:
    formats, name = access.state.formats, detail.endpoint.format
    usual = formats[name].test_event if name in formats else Format.test_event
    return usual if usual in access.state.offered_types else Format.test_event


def _tenant(access: Access) -> str | None:
    """Return the tenant of the list: the only one in scope, or the selected one."""
    if isinstance(access.tenant, str):
        return access.tenant
    given = request.args.get("tenant", "").strip()[:MAX_TENANT_LENGTH] or None
    return tenant_filter(access, given)
