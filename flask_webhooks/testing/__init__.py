"""Tools for the tests of an application: captured events and received webhooks, without Redis and workers.

::

    with capture(webhooks) as captured:
        client.post("/licenses/K7QF-29XM/activate")
    captured.assert_emitted("license.activated", data={"license_id": "lic_1"}, tenant="app_1")

Fixtures for pytest are in `flask_webhooks.testing.plugin`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .capturing import Capture, capture
    from .delivery import deliver_now
    from .events import CapturedEvent, PlannedDelivery
    from .receiver import Received, Receiver

__all__ = [
    "Capture",
    "CapturedEvent",
    "PlannedDelivery",
    "Received",
    "Receiver",
    "capture",
    "deliver_now",
]

_MODULES = {
    "Capture": "capturing",
    "CapturedEvent": "events",
    "PlannedDelivery": "events",
    "Received": "receiver",
    "Receiver": "receiver",
    "capture": "capturing",
    "deliver_now": "delivery",
}


def __getattr__(name: str) -> Any:
    # Lazy: pytest loads the plugin before the application's tests import Flask.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
