"""Outbound webhooks for Flask applications: signed, durable, delivered by RQ workers."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .app_state import ALL_TENANTS
    from .catalog.registry import EventType
    from .errors import WebhooksError
    from .extension import Webhooks
    from .formats import Format
    from .worker import Worker

__version__ = "0.1.0"

__all__ = ["ALL_TENANTS", "EventType", "Format", "Webhooks", "WebhooksError", "Worker"]

_MODULES = {
    "ALL_TENANTS": "app_state",
    "EventType": "catalog.registry",
    "Format": "formats",
    "Webhooks": "extension",
    "WebhooksError": "errors",
    "Worker": "worker",
}


def __getattr__(name: str) -> Any:
    # Each when it is asked for: a receiver that imports flask_webhooks.receiver does without the sending side,
    # and the host's processes without the delivery loop and libcurl.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f".{_MODULES[name]}", __name__)
    if name == "Worker":
        module.adopt_redis()
    else:
        globals()[name] = getattr(module, name)
    return getattr(module, name)
