"""What a route of the API is: its view, and what it takes and answers. The OpenAPI document tells of the same."""

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
    """The answer is one page of a list."""

    kind: type[JsonObject]


@dataclass(frozen=True, slots=True)
class AllOf:
    """The answer is a list that is never long."""

    kind: type[JsonObject]


@dataclass(frozen=True, eq=False)
class Route:
    """A route. Its view gets an `Access`, the values of the path, and `query` or `body` where there is a type of one.

    :ivar view: its docstring is the summary of the operation, its name the id.
    :ivar requires: the action that is asked for before the request is read; else the view does so.
    :ivar answer: ``None`` for one without a body.
    :ivar located: the answer tells in ``Location`` where it is what was made.
    :ivar limited: a tenant may do it so often only.
    :ivar otherwise: what else it may answer, as its parameters say.
    :ivar expires: a cursor that it takes may be too old.
    :ivar converts: a GET that turns data into a version, which a function of the application may not be able to.
    :ivar headers: of the request, as parameters of the document.
    :ivar repeated: what an answer with status 200 means, where it is another one.
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
