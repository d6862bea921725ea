"""Endpoints: the list, one, create, change, delete, and tests to it."""

from __future__ import annotations

from typing import Any, Final

from flask import Response, request

from .. import actions, queries
from ..access import Access
from ..queries.pages import check_limit, page_of
from ..serializers import (
    CreatedEndpointObject,
    DeletedObject,
    DeliveryObject,
    EndpointDetailObject,
    EndpointObject,
    EndpointRowObject,
    QuotaObject,
)
from ..state import AllTenants
from .answering import answer, answer_page, location_of
from .dialects import dialect_of_change, dialect_of_new
from .reading import (
    Reader,
    anything,
    boolean,
    json_object,
    read_body,
    read_query,
    scoped,
    scoped_to_many,
    text,
    whole,
)

#: Items on a page of any list, where nobody says how many.
LIMIT: Final = 50

#: What create and change have in common; what the values may be is checked by the actions.
_SETTINGS: Final[dict[str, Reader]] = {
    "url": anything,
    "events": anything,
    "dialect": text,
    "format": anything,
    "name": anything,
    "description": anything,
    "headers": anything,
    "user_agent": anything,
    "options": anything,
    "timeout": anything,
    "rate_limit": anything,
    "ordered": anything,
}


def endpoint_list(access: Access) -> Response:
    """The endpoints in scope, newest first."""
    query = read_query(search=text, tenant=text, before=text, limit=whole)
    access = scoped(access, query)
    limit = check_limit(query.get("limit", LIMIT))
    rows = queries.list_endpoints(
        access, query.get("search"), before=query.get("before"), limit=limit + 1
    )
    return answer_page(page_of(rows, limit, lambda row: row.endpoint.id), EndpointRowObject)


def endpoint(access: Access, endpoint_id: str) -> Response:
    """One endpoint, and how it is doing."""
    read_query()
    detail = queries.get_endpoint(access, endpoint_id)
    keys = queries.public_keys(access, detail.endpoint)
    return answer(EndpointDetailObject.serialize(detail, public_keys=keys))


def endpoint_create(access: Access) -> Response:
    """Add an endpoint; the answer has its secret, this once."""
    access.require("manage")
    body: Any = read_body(
        access.state,
        **_SETTINGS,
        tenant=text,
        secret=_own_secret,
        key_pair=boolean,
        active=boolean,
        allow_duplicate=boolean,
    )
    body["dialect"] = dialect_of_new(access.state, body)
    created = actions.create_endpoint(
        access,
        body.pop("url", ""),
        idempotency_key=request.headers.get("Idempotency-Key"),
        allow_duplicate=body.pop("allow_duplicate", False),
        **body,
    )
    members = CreatedEndpointObject.serialize(created)
    where = location_of("endpoint", endpoint_id=created.endpoint.id)
    return answer(members, 200 if created.repeated else 201, location=where)


def endpoint_update(access: Access, endpoint_id: str) -> Response:
    """Change what is named; the rest stays."""
    body: Any = read_body(access.state, **_SETTINGS, allow_duplicate=boolean)
    body["dialect"] = dialect_of_change(access.state, body)
    allowed = body.pop("allow_duplicate", False)
    changed = actions.update_endpoint(access, endpoint_id, allow_duplicate=allowed, **body)
    return answer(EndpointObject.serialize(changed))


def endpoint_delete(access: Access, endpoint_id: str) -> Response:
    """Delete one."""
    read_body(access.state)
    actions.delete_endpoint(access, endpoint_id)
    return Response(status=204)


def endpoint_delete_all(access: Access) -> Response:
    """Delete every endpoint in scope."""
    access.require("delete_all")
    body = read_body(access.state, tenant=text, all_tenants=boolean)
    return answer(
        DeletedObject.serialize(actions.delete_all_endpoints(scoped_to_many(access, body)))
    )


def endpoint_test(access: Access, endpoint_id: str) -> Response:
    """Send an event to this endpoint only."""
    body = read_body(access.state, event_type=text, data=json_object)
    delivery = actions.send_test(access, endpoint_id, body.get("event_type"), body.get("data"))
    where = location_of("delivery", delivery_id=delivery.id)
    return answer(DeliveryObject.serialize(delivery), 202, location=where)


def quota(access: Access) -> Response:
    """How many endpoints a tenant has and may have."""
    tenant = scoped(access, read_query(tenant=text)).tenant
    quota = queries.quota(access, None if isinstance(tenant, AllTenants) else tenant)
    return answer(QuotaObject.serialize(quota))


ROUTES = (
    ("GET", "/endpoints", endpoint_list),
    ("POST", "/endpoints", endpoint_create),
    ("POST", "/endpoints/delete-all", endpoint_delete_all),
    ("GET", "/endpoints/<endpoint_id>", endpoint),
    ("PATCH", "/endpoints/<endpoint_id>", endpoint_update),
    ("DELETE", "/endpoints/<endpoint_id>", endpoint_delete),
    ("POST", "/endpoints/<endpoint_id>/test", endpoint_test),
    ("GET", "/quota", quota),
)


def _own_secret(name: str, value: Any) -> Any:
    """Text, ``null`` for a new one, ``false`` for none."""
    return value if value is False else text(name, value)
