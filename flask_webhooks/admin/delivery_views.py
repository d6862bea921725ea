"""Deliveries: the list, one with its attempts, resend and cancel."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, Response, request

from .. import actions, queries
from ..access import Access, find_delivery, find_endpoint
from ..delivery.echo import CHALLENGE
from ..models import AT_REST, DeliveryState, Endpoint
from .display import SHOWN_ATTEMPTS
from .filters import Filters
from .forms import ConfirmForm
from .i18n import gettext as _
from .matching_views import OF_LIST, choices, not_selectable
from .page import current_access, notify, redirect_to, render, tenant_filter
from .webhook_choices import MOST, webhook_choices


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/deliveries", view_func=delivery_list)
    blueprint.add_url_rule("/deliveries/<delivery_id>", view_func=delivery)
    for action, view in (("resend", delivery_resend), ("cancel", delivery_cancel)):
        blueprint.add_url_rule(
            f"/deliveries/<delivery_id>/{action}", view_func=view, methods=["POST"]
        )


def delivery_list() -> Response:
    """List all deliveries in scope, or of one endpoint; filters are in the URL."""
    access = current_access()
    filters = Filters(request.args, *OF_LIST)
    wanted = filters.get("webhook")
    if wanted is not None and not wanted.startswith("ep_"):
        return _find_webhook(access, filters, wanted)
    endpoint = None if wanted is None else find_endpoint(access, wanted, deleted=True)
    page = queries.list_deliveries(
        access,
        wanted,
        filters.get("state"),
        filters.get("type"),
        before=filters.before,
        tenant=tenant_filter(access, filters.get("tenant")),
        status=filters.get("status"),
        since=filters.moment("since"),
        until=filters.moment("until"),
        id=filters.get("id"),
        text=filters.get("q"),
    )
    return _show_list(access, filters, page, endpoint)


def _find_webhook(access: Access, filters: Filters, search: str) -> Response:
    """Resolve a name or a URL that the user entered: use the only match, or ask which one."""
    found = queries.find_endpoints(access, search, limit=MOST)
    if len(found) == 1:
        values = filters.without("webhook")
        return redirect_to("delivery_list", webhook=found[0].id, **values)
    nothing: queries.Page[queries.DeliveryRow] = queries.Page([], None)
    return _show_list(access, filters, nothing, None, which=found)


def _show_list(
    access: Access,
    filters: Filters,
    page: queries.Page[queries.DeliveryRow],
    endpoint: Endpoint | None,
    which: list[Endpoint] | None = None,
) -> Response:
    """:param which: webhooks to choose from first."""
    tenant = None if page.items or page.next_before else filters.get("tenant")
    several = len(access.tenants) > 1
    deleted = endpoint is not None and endpoint.deleted_at is not None
    return render(
        "delivery_list.html",
        # The search may contain a customer's data.
        no_store=filters.get("q") is not None,
        page=page,
        endpoint=endpoint,
        webhooks=webhook_choices(access, endpoint),
        which=which,
        most_named=MOST,
        matching=[] if deleted else choices(filters, several=several),
        why_not=None if deleted else not_selectable(filters, several=several),
        unknown=queries.unknown_tenant(access, tenant) if access.may("view", None) else None,
        filters=filters,
        states=list(DeliveryState),
        live=not filters.before
        and any(DeliveryState(row.delivery.state) not in AT_REST for row in page.items),
        searched=page.searched or queries.SEARCHED,
    )


def delivery(delivery_id: str) -> Response:
    """Show one delivery with its attempts."""
    detail = queries.get_delivery(current_access(), delivery_id, attempts=SHOWN_ATTEMPTS)
    state = DeliveryState(detail.delivery.state)
    return render(
        "delivery.html",
        no_store=True,
        detail=detail,
        now=datetime.now(UTC),
        at_rest=state in AT_REST,
        can_resend=state != DeliveryState.SENDING
        and detail.endpoint.deleted_at is None
        and detail.event.erased_at is None
        # An old one proves nothing: another is sent instead.
        and detail.event.type != CHALLENGE,
        can_cancel=state in {DeliveryState.PENDING, DeliveryState.HELD},
    )


def delivery_resend(delivery_id: str) -> Response:
    """Resend a delivery now."""
    access = current_access()
    access.require("send", find_delivery(access, delivery_id)[1])
    ConfirmForm().check_csrf()
    actions.resend(access, delivery_id)
    notify(_("It is queued to be sent again."))
    return redirect_to("delivery", delivery_id=delivery_id)


def delivery_cancel(delivery_id: str) -> Response:
    """Cancel a delivery."""
    access = current_access()
    access.require("send", find_delivery(access, delivery_id)[1])
    ConfirmForm().check_csrf()
    actions.cancel(access, delivery_id)
    notify(_("The delivery was cancelled."))
    return redirect_to("delivery", delivery_id=delivery_id)
