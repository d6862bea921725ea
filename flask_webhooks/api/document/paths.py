"""The paths: what each takes and answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .operations import answered, chosen, everything, listed, read, write
from .parts import Schema, one_of, reference, text


def paths(formats: Sequence[str]) -> dict[str, Any]:
    """The paths of one application.

    :param formats: names of those that there are.
    """
    catalog = {
        "/openapi.json": {"get": read("openapi", "This document", {"type": "object"})},
        "/formats": {
            "get": read("format_list", "The formats that endpoints can have", everything("Format"))
        },
        "/event-types": {
            "get": read("event_type_list", "The catalogue of event types", everything("EventType"))
        },
        "/event-types/{name}": {
            "get": read("event_type", "One event type", reference("EventType"), path="name")
        },
        "/event-types/{name}/example": {
            "get": read(
                "event_type_example",
                "The example of an event type, as an endpoint of a format would get it",
                reference("Example"),
                path="name",
                query={"format": one_of(formats, "The default format where it is left out.")},
            )
        },
    }
    return {**catalog, **_endpoint_paths(), **_history_paths(), **_task_paths(), **_health_paths()}


def _endpoint_paths() -> dict[str, Any]:
    def switch(name: str, summary: str, body: str, answer: Schema | None) -> dict[str, Any]:
        return {"post": write(name, summary, body, answer, path="endpoint_id")}

    endpoint = reference("Endpoint")
    create = write(
        "endpoint_create",
        "Add an endpoint; the answer has its secret, this once",
        "NewEndpoint",
        reference("CreatedEndpoint"),
        status=201,
    )
    create["responses"]["200"] = answered(
        "The idempotency key was there already: this is the endpoint that was created then, without its secret.",
        reference("CreatedEndpoint"),
    )
    create["parameters"] = [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "description": "What you call this request, so that it can be repeated when its answer was lost.",
            "schema": text(minLength=1, maxLength=255, pattern="^[!-~]+$"),
        }
    ]
    return {
        "/endpoints": {
            "get": listed("endpoint_list", "Endpoints", "EndpointRow", "search tenant"),
            "post": create,
        },
        "/endpoints/delete-all": {
            "post": write(
                "endpoint_delete_all",
                "Delete every endpoint in scope",
                "DeleteAll",
                reference("Deleted"),
            )
        },
        "/endpoints/{endpoint_id}": {
            "get": read(
                "endpoint",
                "One endpoint, and how it is doing",
                reference("EndpointDetail"),
                path="endpoint_id",
            ),
            "patch": write(
                "endpoint_update",
                "Change what is named; the rest stays",
                "EndpointChanges",
                endpoint,
                path="endpoint_id",
            ),
            "delete": write(
                "endpoint_delete", "Delete an endpoint", None, None, path="endpoint_id"
            ),
        },
        "/endpoints/{endpoint_id}/test": {
            "post": write(
                "endpoint_test",
                "Send an event to this endpoint only, also if it is paused",
                "Test",
                reference("Delivery"),
                status=202,
                path="endpoint_id",
            )
        },
        "/endpoints/{endpoint_id}/pause": switch(
            "endpoint_pause", "Send nothing until it is resumed", "Pause", endpoint
        ),
        "/endpoints/{endpoint_id}/resume": switch(
            "endpoint_resume", "Make it active again", "Resume", endpoint
        ),
        "/endpoints/{endpoint_id}/rotate": switch(
            "endpoint_rotate",
            "Replace the secret, with an overlap",
            "Rotation",
            reference("Rotated"),
        ),
        "/endpoints/{endpoint_id}/end-overlap": switch(
            "endpoint_end_overlap",
            "Sign with the newest secret only, from now on",
            "Nothing",
            reference("EndedOverlap"),
        ),
        "/endpoints/{endpoint_id}/remove-secret": switch(
            "endpoint_remove_secret", "Go on without a signature", "Nothing", None
        ),
        "/quota": {
            "get": read(
                "quota",
                "How many endpoints a tenant has and may have",
                reference("Quota"),
                query=chosen("tenant"),
            )
        },
    }


def _history_paths() -> dict[str, Any]:
    return {
        "/deliveries": {
            "get": listed(
                "delivery_list",
                "Deliveries. By `status` and `text` a page looks through 5,000 and may be empty, and not the last",
                "DeliveryRow",
                "endpoint_id state event_type status since until id text tenant",
            )
        },
        "/deliveries/{delivery_id}": {
            "get": read(
                "delivery",
                "One delivery with its newest attempts",
                reference("DeliveryDetail"),
                path="delivery_id",
            )
        },
        "/deliveries/{delivery_id}/resend": {
            "post": write(
                "delivery_resend",
                "Send it again, now, with the same `webhook-id`",
                "Nothing",
                reference("Delivery"),
                status=202,
                path="delivery_id",
            )
        },
        "/deliveries/{delivery_id}/cancel": {
            "post": write(
                "delivery_cancel",
                "Give up one that is pending or held",
                "Nothing",
                reference("Delivery"),
                path="delivery_id",
            )
        },
        "/events": {
            "get": listed("event_list", "Events", "EventRow", "event_type since until id tenant")
        },
        "/events/{event_id}": {
            "get": read(
                "event", "One event, and who it went to", reference("EventDetail"), path="event_id"
            )
        },
        "/events/{event_id}/routing": {
            "get": read(
                "event_routing",
                "Why endpoints without a delivery of it have none; at most 50",
                everything("Routing"),
                path="event_id",
                query=chosen("search"),
            )
        },
    }


def _task_paths() -> dict[str, Any]:
    return {
        "/tasks": {
            "get": listed("task_list", "Tasks", "Task", "endpoint_id unfinished tenant"),
            "post": write(
                "task_start",
                "Have workers do something to many deliveries",
                "TaskWish",
                reference("Task"),
                status=202,
            ),
        },
        "/tasks/preview": {
            "post": write(
                "task_preview",
                "What a task would do, without starting it",
                "TaskWish",
                reference("Preview"),
            )
        },
        "/tasks/{task_id}": {
            "get": read("task", "One task, and how far it is", reference("Task"), path="task_id")
        },
        "/tasks/{task_id}/stop": {
            "post": write(
                "task_stop",
                "Stop it; what is done stays done",
                "Nothing",
                reference("Task"),
                path="task_id",
            )
        },
    }


def _health_paths() -> dict[str, Any]:
    return {
        "/health": {
            "get": read(
                "health",
                "Backlog, and for operators the workers",
                reference("Health"),
                query=chosen("tenant"),
            )
        },
        "/statistics": {
            "get": read(
                "statistics",
                "Attempts over time",
                reference("Statistics"),
                query=chosen("endpoint_id period tenant"),
            )
        },
        "/statistics/failures": {
            "get": read(
                "most_failures",
                "The endpoints with the most failed attempts of the last 24 hours",
                everything("Failing"),
                query=chosen("tenant"),
            )
        },
        "/activity": {
            "get": listed("activity_list", "Who did what", "Activity", "endpoint_id tenant")
        },
    }
