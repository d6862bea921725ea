"""Events: list, show with recipients, and explain why others did not get an event."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, Response, request

from .. import actions, queries
from ..access import find_endpoint
from ..catalog.registry import matches
from ..delivery.ages import longest_kept
from .asking import ask, done
from .filters import Filters
from .forms import ConfirmForm
from .i18n import gettext as _
from .page import current_access, render, tenant_filter
from .webhook_choices import webhook_choices


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/events", view_func=event_list)
    blueprint.add_url_rule("/events/<event_id>", view_func=event)
    blueprint.add_url_rule(
        "/events/<event_id>/subscribe/<endpoint_id>",
        view_func=event_subscribe,
        methods=["GET", "POST"],
    )


def event_list() -> Response:
    """List events in scope, newest first; filters are in the URL."""
    filters = Filters(request.args, "type", "id", "webhook", "tenant", "since", "until")
    access = current_access()
    wanted = filters.get("webhook")
    page = queries.list_events(
        access,
        filters.get("type"),
        before=filters.before,
        since=filters.moment("since"),
        until=filters.moment("until"),
        id=filters.get("id"),
        tenant=tenant_filter(access, filters.get("tenant")),
        endpoint_id=wanted,
    )
    endpoint = None if wanted is None else find_endpoint(access, wanted, deleted=True)
    return render(
        "event_list.html",
        page=page,
        filters=filters,
        endpoint=endpoint,
        webhooks=webhook_choices(access, endpoint),
        searched=page.searched or queries.SEARCHED,
        settings=access.state.settings,
        longest_kept=longest_kept(access.state.settings).days,
        unknown=None if page.items else queries.unknown_tenant(access, filters.get("tenant")),
    )


def event(event_id: str) -> Response:
    """Show one event: data, deliveries, and reasons for missing ones."""
    access = current_access()
    search = Filters(request.args, "webhook").get("webhook")
    detail = queries.get_event(access, event_id)
    return render(
        "event.html",
        no_store=True,
        detail=detail,
        search=search or "",
        most_explained=queries.EXPLAINED,
        routings=queries.explain_routing(access, detail, search),
        now=datetime.now(UTC),
    )


def event_subscribe(event_id: str, endpoint_id: str) -> Response:
    """Subscribe a webhook to the type of an event that it did not get, and send it this one."""
    access = current_access()
    detail = queries.get_endpoint(access, endpoint_id)
    access.require("manage", detail.endpoint)
    access.require("send", detail.endpoint)
    form = ConfirmForm()
    if request.method == "POST":
        form.check_csrf()
    event = queries.get_event(access, event_id).event
    subscribed = matches(detail.endpoint.events, event.type)

    def subscribe() -> Response:
        delivery = actions.subscribe_and_replay(access, endpoint_id, event_id)
        return done(_("The event is queued for the webhook."), "delivery", delivery_id=delivery.id)

    return ask(
        "subscribe.html",
        form,
        subscribe,
        no_store=True,
        detail=detail,
        event=event,
        subscribed=subscribed,
        heading=_("Send the event") if subscribed else _("Subscribe and send the event"),
    )
