"""Refusals of the API repeat only the beginning of what was sent."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

import pytest

from flask_webhooks.api import bodies
from tests.support.api_calls import Api, make_app
from tests.support.helpers import URL, add_endpoint, close

LONG = "x" * 100_000


@pytest.mark.slow
def test_refusals_are_short_whatever_was_sent(tmp_path: Path, redis_url: str) -> None:
    app = make_app(f"sqlite:///{tmp_path / 'database.sqlite'}", redis_url)
    api = Api(app)
    endpoint = add_endpoint(app)
    refused = 0
    for method, path, kind in (
        ("POST", "/endpoints", bodies.NewEndpointBody),
        ("PATCH", f"/endpoints/{endpoint.id}", bodies.EndpointChangesBody),
        ("POST", f"/endpoints/{endpoint.id}/test", bodies.TestBody),
    ):
        for name in [*typing.get_type_hints(kind), LONG]:
            values: list[Any] = [LONG, [LONG], {LONG: LONG}, dict.fromkeys(map(str, range(5000)))]
            for value in values:
                body = {name: value} if method == "PATCH" else {"url": URL, name: value}
                answer = api.send(method, path, json=body)
                if answer.status_code >= 400:
                    assert answer.status_code == 422, (method, name, answer.text[:500])
                    assert len(answer.data) < 5000, (method, name, answer.text[:500])
                    refused += 1
    assert refused > 100
    close(app)
