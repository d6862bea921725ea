"""The blueprint of one service: routes and authentication."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from flask import Blueprint, Response, request
from werkzeug.exceptions import MethodNotAllowed

from ... import actions, queries
from ...access import (
    Access,
    Authenticate,
    no_endpoint,
    shown,
    tenant_is_known,
)
from ...actions import checks
from ...errors import ConfigurationError, InvalidInput, InvalidSubscription, NotFound
from ...formats.vendors.webhook_ids import endpoint_id
from .. import problems
from ..blueprint import let_in, set_headers
from ..bodies import NothingBody
from ..request_reader import read_body
from ..security_schemes import Signing
from .services import SERVICES, Service

NAME: Final = "flask_webhooks_vendor"

View = Callable[..., Response]

_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


def create_blueprint(
    name: str, authenticate: Authenticate | None = None, *, tokens: bool = False
) -> Blueprint:
    """See `Webhooks.vendor_api_blueprint`.

    It only has the paths of the service, so it can share a prefix with others.

    :raises ConfigurationError: there is no API of such a service.
    """
    service = SERVICES.get(name)
    if service is None:
        choices = " or ".join(f'"{choice}"' for choice in SERVICES)
        raise ConfigurationError(f"vendor_api_blueprint takes {choices}, not {shown(name)}.")
    signing = Signing(authenticate, tokens)
    blueprint = Blueprint(f"{NAME}_{service.format}", __name__)
    blueprint.after_request(set_headers)
    problems.register(blueprint, service.refuse)
    for path, views in _ROUTES.items():
        for method, view in views.items():
            blueprint.add_url_rule(
                service.path + path,
                endpoint=view.__name__,
                view_func=_opened(service, view, signing),
                methods=[method],
            )
        blueprint.add_url_rule(
            service.path + path,
            endpoint=f"{next(iter(views.values())).__name__}_otherwise",
            view_func=_opened(service, _otherwise(list(views)), signing),
            methods=[method for method in _METHODS if method not in views],
        )
    return blueprint


def _opened(service: Service, view: View, signing: Signing) -> View:
    """Wrap a view with authentication, and narrow the access to the application."""

    def opened(app_id: str, **values: str) -> Response:
        access = let_in(signing, "vendor_api_blueprint(authenticate=…)", token_says_it=True)
        # All invalid UTF-8 becomes U+FFFD, and would be the same tenant.
        if len(app_id) > checks.MAX_TENANT_LENGTH or "\N{REPLACEMENT CHARACTER}" in app_id:
            raise NotFound("There is no tenant %(tenant)s.", tenant=shown(app_id))
        return view(access.within(app_id), service, **values)

    return opened


def _otherwise(allowed: list[str]) -> View:
    """Refuse methods that a path does not have."""

    def otherwise(access: Access, service: Service, **values: str) -> Response:
        access.require("view")
        raise MethodNotAllowed(
            allowed, f"This path takes {' and '.join(allowed)}, not {request.method}."
        )

    return otherwise


def webhook_list(access: Access, service: Service) -> Response:
    """The webhooks of an application, newest first."""
    style = access.state.formats[service.format]
    rows = queries.list_endpoints(access)
    return service.answer_list([service.webhook(row.endpoint, style) for row in rows])


def webhook_create(access: Access, service: Service) -> Response:
    """Add a webhook; only this response has its secret."""
    access.require("manage")
    [app_id] = access.tenants
    if tenant_is_known(access.state, app_id) is False:
        # It is in the path, and not a member that could be corrected.
        raise NotFound("There is no tenant %(tenant)s.", tenant=shown(app_id))
    body = read_body(access.state, service.new)
    if body["events"] is None:
        raise InvalidSubscription(
            'Write the list of event types as events, or ["*"] for all.', field="events"
        )
    url = "" if body["url"] is None else body["url"]
    created = actions.create_endpoint(
        access,
        url,
        allow_duplicate=False,
        format=_format_of(access, url, service),
        dialect=service.format,
        events=body["events"],
        secret=body.get("secret"),
        active=body.get(service.switch, True),
    )
    members = service.webhook(created.endpoint, access.state.formats[service.format])
    return service.answer({**members, "secret": created.secret}, 201)


def webhook_delete(access: Access, service: Service, webhook_id: str) -> Response:
    """Delete a webhook."""
    found = _endpoint_id(webhook_id)
    read_body(access.state, NothingBody)
    actions.delete_endpoint(access, found)
    return service.answer({"id": webhook_id, "deleted": True})


def webhook_test(access: Access, service: Service, webhook_id: str) -> Response:
    """Send a test, even if the webhook is paused."""
    found = _endpoint_id(webhook_id)
    read_body(access.state, NothingBody)
    delivery = actions.send_test(access, found)
    event = access.state.formats[service.format].event_name(delivery.event_type)
    return service.answer({"id": webhook_id, "event": event, "deliveryId": delivery.id}, 202)


def _format_of(access: Access, url: Any, service: Service) -> str:
    """Return the format of the service, except for the URLs of chats."""
    try:
        whole_url = checks.url(access.state, url)
    except InvalidInput:
        # The action reports it together with all other errors.
        return service.format
    return access.state.formats.detect(whole_url, service.format).name


def _endpoint_id(webhook_id: str) -> str:
    found = endpoint_id(webhook_id)
    if found is None:
        raise no_endpoint(webhook_id)
    return found


#: Views by path, below that of the webhooks of an application, and by method.
_ROUTES: Final[dict[str, dict[str, View]]] = {
    "": {"GET": webhook_list, "POST": webhook_create},
    "/<webhook_id>": {"DELETE": webhook_delete},
    "/<webhook_id>/test": {"POST": webhook_test},
}
