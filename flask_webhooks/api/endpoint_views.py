"""Endpoints: the list, one, create, change, delete, and tests to it."""

from __future__ import annotations

from typing import Any, Final

from flask import Response, request

from .. import actions, queries
from ..access import Access
from ..errors import InvalidInput
from ..queries.pages import check_limit, page_of
from ..serializers import (
    CreatedEndpointObject,
    DeletedObject,
    DeliveryObject,
    EndpointDetailObject,
    EndpointObject,
    EndpointRowObject,
    FilterTrialObject,
    LedgerObject,
    NotificationObject,
    PublicKeyObject,
    QuotaObject,
)
from .answering import answer, answer_page, location_of
from .bodies import (
    DeleteAllBody,
    EndpointChangesBody,
    FilterTestBody,
    NewEndpointBody,
    TestBody,
)
from .dialects import dialect_of_change, dialect_of_new
from .parameters import EndpointListQuery, LedgerQuery, NotificationListQuery, TenantQuery
from .request_reader import tenant_of_many, wanted_tenant
from .routes import PageOf, Route

#: Items on a page of any list, unless the caller sets a limit.
LIMIT: Final = 50


def endpoint_list(access: Access, query: dict[str, Any]) -> Response:
    """Endpoints, newest first."""
    tenant = wanted_tenant(access, query)
    limit = check_limit(query.pop("limit", LIMIT))
    rows = queries.list_endpoints(access, tenant=tenant, limit=limit + 1, **query)
    return answer_page(page_of(rows, limit, lambda row: row.endpoint.id), EndpointRowObject)


def endpoint(access: Access, endpoint_id: str) -> Response:
    """One endpoint with its health."""
    detail = queries.get_endpoint(access, endpoint_id)
    found = queries.public_keys(access, detail.endpoint)
    keys = [PublicKeyObject.serialize(key) for key in found]
    return answer(EndpointDetailObject.serialize(detail, public_keys=keys))


def endpoint_create(access: Access, body: dict[str, Any]) -> Response:
    """Create an endpoint; only this response has its secret."""
    body["dialect"] = dialect_of_new(access.state, body)
    url = body.pop("url")
    created = actions.create_endpoint(
        access,
        "" if url is None else url,
        idempotency_key=request.headers.get("Idempotency-Key"),
        allow_duplicate=body.pop("allow_duplicate", False),
        **body,
    )
    members = CreatedEndpointObject.serialize(created)
    where = location_of("endpoint", endpoint_id=created.endpoint.id)
    return answer(members, 200 if created.repeated else 201, location=where)


def endpoint_update(access: Access, endpoint_id: str, body: dict[str, Any]) -> Response:
    """Change the given members of an endpoint."""
    body["dialect"] = dialect_of_change(access.state, body)
    allowed = body.pop("allow_duplicate", False)
    changed = actions.update_endpoint(access, endpoint_id, allow_duplicate=allowed, **body)
    return answer(EndpointObject.serialize(changed))


def endpoint_delete(access: Access, endpoint_id: str) -> Response:
    """Delete an endpoint."""
    actions.delete_endpoint(access, endpoint_id)
    return Response(status=204)


def endpoint_delete_all(access: Access, body: dict[str, Any]) -> Response:
    """Delete every endpoint in scope."""
    tenant = tenant_of_many(access, body)
    narrowed = access if tenant is None else access.within(tenant)
    return answer(DeletedObject.serialize(actions.delete_all_endpoints(narrowed)))


def endpoint_test(access: Access, endpoint_id: str, body: dict[str, Any]) -> Response:
    """Send a test event to this endpoint, even if it is paused."""
    delivery = actions.send_test(
        access,
        endpoint_id,
        body.get("event_type"),
        body.get("data"),
        data_version=body.get("data_version"),
    )
    where = location_of("delivery", delivery_id=delivery.id)
    return answer(DeliveryObject.serialize(delivery), 202, location=where)


def endpoint_filter_test(access: Access, body: dict[str, Any]) -> Response:
    """Test a filter with an example, a recorded event, or data."""
    filter = body.pop("filter", None)
    return answer(FilterTrialObject.serialize(queries.try_filter(access, filter, **body)))


def notification_list(access: Access, endpoint_id: str, query: dict[str, Any]) -> Response:
    """Sent and pending notifications to the owner of an endpoint, newest first."""
    return answer_page(queries.list_notifications(access, endpoint_id, **query), NotificationObject)


def endpoint_ledger(access: Access, endpoint_id: str, query: dict[str, Any]) -> Response:
    """The event and state of each number of an endpoint, signed like its webhooks.

    The signature is in `webhook-id`, `webhook-timestamp` and `webhook-signature`, as in Standard Webhooks; there
    is none for endpoints whose format signs in another way, or has no secret.
    """
    page = queries.get_ledger(access, endpoint_id, query.get("from", 1), query.get("to"))
    response = answer(LedgerObject.serialize(page))
    response.headers.update(queries.ledger_signature(access, endpoint_id, response.get_data()))
    return response


def quota(access: Access, query: dict[str, Any]) -> Response:
    """How many endpoints a tenant has and may have."""
    tenant = wanted_tenant(access, query)
    if tenant is None and access.tenants:
        tenant, *others = access.tenants
        if others:
            raise InvalidInput("Name one of your tenants.", field="tenant")
    return answer(QuotaObject.serialize(queries.quota(access, tenant)))


_IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "A key of your choice, which makes it safe to repeat the request if its response was lost.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}

ROUTES = (
    Route("GET", "/endpoints", endpoint_list, PageOf(EndpointRowObject), query=EndpointListQuery),
    Route(
        "POST",
        "/endpoints",
        endpoint_create,
        CreatedEndpointObject,
        requires="manage",
        body=NewEndpointBody,
        status=201,
        located=True,
        headers=(_IDEMPOTENCY_KEY,),
        repeated="The idempotency key was already used: this is the endpoint that was created then, without its "
        "secret.",
    ),
    Route(
        "POST",
        "/endpoints/delete-all",
        endpoint_delete_all,
        DeletedObject,
        requires="delete_all",
        body=DeleteAllBody,
    ),
    Route(
        "POST",
        "/endpoints/filter-test",
        endpoint_filter_test,
        FilterTrialObject,
        body=FilterTestBody,
    ),
    Route("GET", "/endpoints/<endpoint_id>", endpoint, EndpointDetailObject),
    Route(
        "PATCH",
        "/endpoints/<endpoint_id>",
        endpoint_update,
        EndpointObject,
        body=EndpointChangesBody,
    ),
    Route("DELETE", "/endpoints/<endpoint_id>", endpoint_delete, None, status=204),
    Route(
        "POST",
        "/endpoints/<endpoint_id>/test",
        endpoint_test,
        DeliveryObject,
        body=TestBody,
        status=202,
        located=True,
        limited=True,
    ),
    Route(
        "GET",
        "/endpoints/<endpoint_id>/notifications",
        notification_list,
        PageOf(NotificationObject),
        query=NotificationListQuery,
    ),
    Route(
        "GET",
        "/endpoints/<endpoint_id>/ledger",
        endpoint_ledger,
        LedgerObject,
        query=LedgerQuery,
    ),
    Route("GET", "/quota", quota, QuotaObject, query=TenantQuery),
)
