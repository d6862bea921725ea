"""The form of the API of each service: paths, members and envelopes of responses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from flask import Response

from ...formats import Format
from ...formats.vendors.base import camel_case
from ...formats.vendors.webhook_ids import webhook_id, with_webhook_ids
from ...models import Endpoint, EndpointState
from ..answering import answer
from .bodies import NewAuthForgeWebhook, NewWebhook


@dataclass(frozen=True)
class Service:
    """A service that has an API for webhooks.

    :ivar format: the name of its format, whose names of event types are used.
    :ivar path: the path of the webhooks of an application, below the prefix.
    :ivar new: the type of the body that creates a webhook.
    :ivar switch: the member that says whether a webhook is active.
    :ivar listed: the member with a list; ``None``: the response is the list itself.
    :ivar wrapped: responses are wrapped in ``{"success": true, "data": …}``, and errors have ``"success": false``.
    """

    format: str
    path: str
    new: type
    switch: str
    listed: str | None = None
    wrapped: bool = False

    def answer(self, data: Any, status: int = 200) -> Response:
        """Return a successful response."""
        return answer({"success": True, "data": data} if self.wrapped else data, status)

    def answer_list(self, items: list[dict[str, Any]]) -> Response:
        """Return a complete list."""
        return self.answer(items if self.listed is None else {self.listed: items})

    def refuse(self, status: int, code: str, detail: str, **members: Any) -> Response:
        """Return an error; see `api.problems.problem`."""
        body: dict[str, Any] = {"success": False} if self.wrapped else {}
        body |= {"error": with_webhook_ids(detail), "code": code}
        if (equal := members.pop("endpoint_id", None)) is not None:
            members["webhook_id"] = webhook_id(equal)
        return answer(
            body | {camel_case(name): value for name, value in members.items()}, int(status)
        )

    def webhook(self, endpoint: Endpoint, style: Format) -> dict[str, Any]:
        """Return an endpoint as a webhook of the service."""
        events = ["*"] if endpoint.events is None else map(style.event_name, endpoint.events)
        return {
            "id": webhook_id(endpoint.id),
            "url": endpoint.url_shown,
            "events": list(dict.fromkeys(events)),
            self.switch: endpoint.state == EndpointState.ACTIVE,
        }


SERVICES: Final[Mapping[str, Service]] = {
    service.format: service
    for service in (
        Service(
            format="authon",
            path="/admin/apps/<app_id>/webhooks",
            new=NewWebhook,
            switch="active",
            wrapped=True,
        ),
        Service(
            format="authforge",
            path="/apps/<app_id>/webhooks",
            new=NewAuthForgeWebhook,
            switch="enabled",
            listed="webhooks",
        ),
    )
}
