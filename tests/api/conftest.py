"""Fixtures of the tests of the API; ``app`` is that of the test's own module."""

from __future__ import annotations

import pytest
from flask import Flask

from tests.support.api_calls import Api


@pytest.fixture
def api(app: Flask) -> Api:
    """A program that uses the API; every answer is held against the OpenAPI document."""
    return Api(app)
