"""Outbound webhooks for Flask applications: signed, durable, delivered by RQ workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .catalog import EventType
from .errors import WebhooksError
from .extension import Webhooks
from .formats import Format
from .state import ALL_TENANTS

if TYPE_CHECKING:
    from .worker import Worker

__version__ = "0.1.0"

__all__ = ["ALL_TENANTS", "EventType", "Format", "Webhooks", "WebhooksError", "Worker"]


def __getattr__(name: str) -> Any:
    # The worker side brings aiohttp and the whole delivery loop; the host's processes do without.
    if name == "Worker":
        from . import worker

        worker.adopt_redis()
        return worker.Worker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
