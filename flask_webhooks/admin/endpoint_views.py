"""The list of endpoints, one endpoint, and test events to it."""

from __future__ import annotations

from flask import Blueprint, Response, request

from .. import actions, queries
from ..errors import InvalidInput
from ..state import AllTenants
from .forms import SampleForm
from .i18n import gettext as _
from .page import current_access, notify, redirect_to, render

#: Deliveries on an endpoint's page.
_RECENT = 10
#: Endpoints on a page of the list.
_LISTED = 50
_MAX_SEARCH = 200


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/", view_func=endpoint_list)
    blueprint.add_url_rule("/endpoints/<endpoint_id>", view_func=endpoint)
    blueprint.add_url_rule(
        "/endpoints/<endpoint_id>/test", view_func=endpoint_test, methods=["POST"]
    )


def endpoint_list() -> Response:
    """Every endpoint in scope."""
    access = current_access()
    search = request.args.get("q", "").strip()[:_MAX_SEARCH]
    before = request.args.get("before", "").strip()
    rows = queries.list_endpoints(access, search or None, before=before or None, limit=_LISTED + 1)
    older = rows[_LISTED - 1].endpoint.id if len(rows) > _LISTED else None
    rows = rows[:_LISTED]
    used, limit = _quota()
    return render(
        "endpoint_list.html",
        rows=rows,
        search=search,
        before=before,
        older=older,
        used=used,
        limit=limit,
        show_tenants=isinstance(access.tenant, AllTenants)
        and any(row.endpoint.tenant is not None for row in rows),
    )


def endpoint(endpoint_id: str) -> Response:
    """One endpoint: what it is, how it is doing, what it got last."""
    return show_endpoint(endpoint_id, SampleForm())


def endpoint_test(endpoint_id: str) -> Response:
    """Send a test event, and go to its delivery."""
    access = current_access()
    detail = queries.get_endpoint(access, endpoint_id)
    access.require("send", detail.endpoint)
    form = SampleForm()
    form.check_csrf()
    try:
        delivery = actions.send_test(
            access, endpoint_id, form.event_type.data or None, form.sample_data()
        )
    except InvalidInput as error:
        form.refuse(error)
        return show_endpoint(endpoint_id, form, 422)
    notify(_("The test event is queued."))
    return redirect_to("delivery", delivery_id=delivery.id)


def show_endpoint(endpoint_id: str, form: SampleForm, status: int = 200) -> Response:
    """The page of an endpoint."""
    access = current_access()
    return render(
        "endpoint.html",
        status,
        detail=queries.get_endpoint(access, endpoint_id),
        series=queries.statistics(access, endpoint_id, request.args.get("period", "24h")),
        deliveries=queries.list_deliveries(access, endpoint_id, limit=_RECENT),
        form=form,
    )


def _quota() -> tuple[int, int | None]:
    """How many endpoints whoever asks has and may have; operators have no limit."""
    access = current_access()
    if isinstance(access.tenant, AllTenants):
        return 0, None
    return queries.quota(access, access.tenant)
