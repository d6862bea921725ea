"""Routes of the API: the view, and the types of requests and responses.

The OpenAPI document is generated from them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any

from flask import Response

from ..access import Access
from ..serializers import JsonObject
from .bodies import NothingBody
from .parameters import NoQuery
from .request_reader import read_body, read_query


@dataclass(frozen=True, slots=True)
class PageOf:
    """The response is one page of a list."""

    kind: type[JsonObject]


@dataclass(frozen=True, slots=True)
class AllOf:
    """The response is a list without pages."""

    kind: type[JsonObject]


@dataclass(frozen=True, eq=False)
class Route:
    """A route.

    Its view gets an `Access`, the values of the path, and `query` or `body` if the route has a type for it.

    :ivar view: its docstring is the summary of the operation, its name the id.
    :ivar requires: the action that is checked before the request is read; otherwise the view checks it.
    :ivar answer: the type of the response; ``None`` if it has no body.
    :ivar located: the response has the URL of the created object in ``Location``.
    :ivar limited: the number of requests of a tenant is limited.
    :ivar otherwise: another type of response, which depends on the parameters.
    :ivar expires: its cursor may be too old.
    :ivar converts: a GET that converts data to a version, in which a function of the application may fail.
    :ivar headers: request headers, as parameters of the document.
    :ivar repeated: the meaning of a response with status 200, if the usual status is another.
    """

    method: str
    path: str
    view: Callable[..., Response]
    answer: type[JsonObject] | type[dict[str, Any]] | PageOf | AllOf | None
    _: KW_ONLY
    query: type | None = None
    body: type | None = None
    status: int = 200
    requires: str | None = None
    located: bool = False
    limited: bool = False
    otherwise: type[JsonObject] | None = None
    expires: bool = False
    converts: bool = False
    headers: tuple[dict[str, Any], ...] = ()
    repeated: str | None = None

    @property
    def name(self) -> str:
        return self.view.__name__

    def respond(self, access: Access, **values: str) -> Response:
        """Read the request and call the view."""
        if self.requires is not None:
            access.require(self.requires)
        if self.method == "GET":
            query = read_query(self.query or NoQuery)
            return self.view(access, **values, **({"query": query} if self.query else {}))
        body = read_body(access.state, self.body or NothingBody)
        return self.view(access, **values, **({"body": body} if self.body else {}))
