"""Fixtures of the tests of the API; a module that needs another host has an ``app`` of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask

from tests.support.api_calls import Api, make_app
from tests.support.delivering import close


@pytest.fixture
def app(database_url: str, redis_url: str) -> Iterator[Flask]:
    app = make_app(database_url, redis_url)
    with app.app_context():
        yield app
    close(app)


@pytest.fixture
def api(app: Flask) -> Api:
    """A program that uses the API; every answer is held against the OpenAPI document."""
    return Api(app)
