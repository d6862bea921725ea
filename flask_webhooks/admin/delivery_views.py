"""Deliveries: the list, one with its attempts, resend and cancel."""

from __future__ import annotations

from flask import Blueprint, Response, request

from .. import actions, queries
from ..access import find_delivery, find_endpoint
from ..models import AT_REST, DeliveryState
from .filters import Filters
from .forms import ConfirmForm
from .i18n import gettext as _
from .page import current_access, notify, redirect_to, render


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/deliveries", view_func=delivery_list)
    blueprint.add_url_rule("/deliveries/<delivery_id>", view_func=delivery)
    for action, view in (("resend", delivery_resend), ("cancel", delivery_cancel)):
        blueprint.add_url_rule(
            f"/deliveries/<delivery_id>/{action}", view_func=view, methods=["POST"]
        )


def delivery_list() -> Response:
    """Deliveries of everybody in scope, or of one endpoint; filters stand in the URL."""
    access = current_access()
    filters = Filters(
        request.args, "webhook", "state", "type", "status", "since", "until", "id", "q"
    )
    wanted = filters.get("webhook")
    page = queries.list_deliveries(
        access,
        wanted,
        filters.get("state"),
        filters.get("type"),
        before=filters.before,
        status=filters.get("status"),
        since=filters.moment("since"),
        until=filters.moment("until"),
        id=filters.get("id"),
        text=filters.get("q"),
    )
    return render(
        "delivery_list.html",
        # Somebody may have looked for a customer's data.
        no_store=filters.get("q") is not None,
        page=page,
        endpoint=None if wanted is None else find_endpoint(access, wanted, deleted=True),
        filters=filters,
        states=list(DeliveryState),
        live=not filters.before
        and any(DeliveryState(row.delivery.state) not in AT_REST for row in page.items),
        searched=queries.SEARCHED,
    )


def delivery(delivery_id: str) -> Response:
    """One delivery and every attempt that was made for it."""
    detail = queries.get_delivery(current_access(), delivery_id)
    state = DeliveryState(detail.delivery.state)
    return render(
        "delivery.html",
        no_store=True,
        detail=detail,
        at_rest=state in AT_REST,
        can_resend=state != DeliveryState.SENDING and detail.endpoint.deleted_at is None,
        can_cancel=state in {DeliveryState.PENDING, DeliveryState.HELD},
    )


def delivery_resend(delivery_id: str) -> Response:
    """Send it again, now."""
    access = current_access()
    access.require("send", find_delivery(access, delivery_id)[1])
    ConfirmForm().check_csrf()
    actions.resend(access, delivery_id)
    notify(_("It is queued to be sent again."))
    return redirect_to("delivery", delivery_id=delivery_id)


def delivery_cancel(delivery_id: str) -> Response:
    """Give it up."""
    access = current_access()
    access.require("send", find_delivery(access, delivery_id)[1])
    ConfirmForm().check_csrf()
    actions.cancel(access, delivery_id)
    notify(_("The delivery was cancelled."))
    return redirect_to("delivery", delivery_id=delivery_id)
