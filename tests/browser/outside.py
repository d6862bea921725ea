"""What happens outside the browser during a journey: events, deliveries, and what the receiver makes of them."""

from __future__ import annotations

import json
import time
from typing import Any

from flask import Flask
from standardwebhooks import Webhook

from tests.support.delivering import emit, states
from tests.support.receiver import Request

from .conftest import apart

#: Milliseconds that a worker may take on a busy machine.
PATIENCE = 60_000
#: A receiver that is down fails for good soon, and never so often that sending to it is slowed down;
#: what happens before there is a webhook is kept for it.
JOURNEY = {
    "WEBHOOKS_RETRY_SCHEDULE": [0.1],
    "WEBHOOKS_FAILING_AFTER": 1000,
    "WEBHOOKS_KEEP_UNMATCHED": True,
}


def emit_some(app: Flask, count: int) -> None:
    """Record so many events of one type."""

    def emit_all() -> None:
        with app.app_context():
            emit(app, count)

    apart(emit_all)


def wait_for_states(app: Flask, **wanted: int) -> None:
    """Wait until so many deliveries stand in each state, and none in another."""
    deadline = time.monotonic() + PATIENCE / 1000
    while (found := apart(states, app)) != wanted:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def body_of(request: Request) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(request.body)
    return body


def verified(request: Request, secret: str) -> dict[str, Any]:
    """What a receiver with this secret is told."""
    told: dict[str, Any] = Webhook(secret).verify(request.body, dict(request.headers))
    return told
