"""JSON responses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from flask import Response, url_for

from ..queries import Page
from ..serializers import JsonObject, to_json

T = TypeVar("T")


def answer(body: Any, status: int = 200, *, location: str | None = None) -> Response:
    """Return a JSON response.

    :param location: the URL of the created object.
    """
    response = Response(to_json(body), status, mimetype="application/json")
    if location is not None:
        response.headers["Location"] = location
    return response


def answer_page(page: Page[T], kind: type[JsonObject]) -> Response:
    """Return a page of a list with the cursor of the next page."""
    items = [kind.serialize(item) for item in page.items]
    return answer({"items": items, "next_before": page.next_before})


def answer_all(items: Iterable[Any], kind: type[JsonObject]) -> Response:
    """Return a list without pages."""
    return answer({"items": [kind.serialize(item) for item in items]})


def location_of(view: str, **values: Any) -> str:
    """Return the URL of an object of this API."""
    return url_for(f".{view}", **values)
