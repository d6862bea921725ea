"""Answers in JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from flask import Response, url_for

from ..queries import Page
from ..serializers import JsonObject, to_json

T = TypeVar("T")


def answer(body: Any, status: int = 200, *, location: str | None = None) -> Response:
    """A JSON answer.

    :param location: the URL of what was made.
    """
    response = Response(to_json(body), status, mimetype="application/json")
    if location is not None:
        response.headers["Location"] = location
    return response


def answer_page(page: Page[T], kind: type[JsonObject]) -> Response:
    """A page of a list, and where the next one begins."""
    items = [kind.serialize(item) for item in page.items]
    return answer({"items": items, "next_before": page.next_before})


def answer_all(items: Iterable[Any], kind: type[JsonObject]) -> Response:
    """A list that is never long."""
    return answer({"items": [kind.serialize(item) for item in items]})


def location_of(view: str, **values: Any) -> str:
    """The URL of something of this API."""
    return url_for(f".{view}", **values)
