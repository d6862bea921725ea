"""Fixtures for pytest: ``pytest_plugins = ["flask_webhooks.testing.plugin"]`` in the topmost ``conftest.py``.

They need a fixture `app` of the application. Nothing is imported before one of them is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from flask import Flask

    from ..models import Attempt
    from .capturing import Capture
    from .receiver import Receiver


@pytest.fixture
def captured_webhooks(app: Flask) -> Iterator[Capture]:
    """Capture the events of this test."""
    from .capturing import capture

    with capture(app) as captured:
        yield captured


@pytest.fixture
def webhook_receiver() -> Iterator[Receiver]:
    """Provide a receiver on loopback that records requests and verifies signatures."""
    from .receiver import Receiver

    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def deliver_webhooks(app: Flask) -> Callable[[], Sequence[Attempt]]:
    """Provide a function that makes due attempts in this process."""
    from .delivery import deliver_now

    return lambda: deliver_now(app)
