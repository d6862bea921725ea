"""A package that cannot trace since OpenTelemetry is not installed, and one in which no line is about traces."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from flask_webhooks import tracing as ours
from flask_webhooks.outbox import emit as host_side

#: Where the host's side calls it.
_emit: Any = host_side

#: The first is measured, and the second is what it is compared with.
MODES = ("absent", "removed")


def install(mode: str) -> None:
    """Set the mode of this process."""
    ours._otel = None
    if mode == "removed":
        ours.enabled = lambda: False
        ours.flush = lambda: None
        _emit.emitting = lambda event_type, event_id: nullcontext()


@contextmanager
def tracing(mode: str) -> Iterator[None]:
    """Set the mode for a block."""
    before = ours._otel, ours.enabled, ours.flush, _emit.emitting
    install(mode)
    try:
        yield
    finally:
        ours._otel, ours.enabled, ours.flush, _emit.emitting = before
