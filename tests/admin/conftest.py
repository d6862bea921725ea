"""Fixtures of the tests of pages; ``app`` is that of the test's own module."""

from __future__ import annotations

import pytest
from flask import Flask

from tests.support.pages import Browser


@pytest.fixture
def browser(app: Flask) -> Browser:
    """A browser without JavaScript."""
    return Browser(app)
