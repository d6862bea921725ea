"""Answers in JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from flask import Response, url_for

from ..queries import Page

T = TypeVar("T")


def answer(body: Any, status: int = 200, *, location: str | None = None) -> Response:
    """A JSON answer.

    :param location: the URL of what was made.
    """
    # Not by the application's JSON provider, which the host may have changed.
    response = Response(json.dumps(body, allow_nan=False), status, mimetype="application/json")
    if location is not None:
        response.headers["Location"] = location
    return response


def answer_page(page: Page[T], members: Callable[[T], dict[str, Any]]) -> Response:
    """A page of a list, and where the next one begins."""
    items = [members(item) for item in page.items]
    return answer({"items": items, "next_before": page.next_before})


def answer_all(items: Iterable[Any]) -> Response:
    """A list that is never long."""
    return answer({"items": list(items)})


def location_of(view: str, **values: Any) -> str:
    """The URL of something of this API."""
    return url_for(f".{view}", **values)
