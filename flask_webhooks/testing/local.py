"""The state of an application for deliveries in tests: without Redis, and to this machine only."""

from __future__ import annotations

import dataclasses
import ipaddress
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flask import Flask

from ..app_state import AppState, state_of
from ..wakeup.notifier import Notifier
from ..wakeup.worker_queue import WorkerQueue

if TYPE_CHECKING:
    from ..extension import Webhooks

_LOOPBACK = ("127.0.0.0/8", "::1/128")
#: A port without a server, which refuses connections at once.
_NOWHERE = "127.0.0.1:1"
_LOGGERS = ("flask_webhooks.alarm", "flask_webhooks.delivery")


def find_state(webhooks: Webhooks | Flask) -> AppState:
    """Return the state of an application, or of the current one of an extension object."""
    return state_of(webhooks) if isinstance(webhooks, Flask) else webhooks._state()


def local(state: AppState) -> AppState:
    """Return the state of the same application without Redis, and with loopback as the only network."""
    settings = dataclasses.replace(
        state.settings,
        allowed_networks=_LOOPBACK,
        denied_networks=_elsewhere(),
        require_https=False,
        redis_url=f"redis://{_NOWHERE}/0",
        linger=0.0,
    )
    worker_queue = WorkerQueue(settings)
    return dataclasses.replace(
        state,
        settings=settings,
        policy=settings.network_policy(),
        worker_queue=worker_queue,
        notifier=Notifier(worker_queue, muted=lambda: True),
    )


@contextmanager
def without_warnings_of_redis() -> Iterator[None]:
    """Suppress warnings that the Redis of `local` does not respond."""

    def speaks_of_others(record: logging.LogRecord) -> bool:
        return _NOWHERE not in record.getMessage()

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(speaks_of_others)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(speaks_of_others)


def _elsewhere() -> tuple[str, ...]:
    """Return the networks of all addresses except loopback."""
    return tuple(
        str(network)
        for loopback in map(ipaddress.ip_network, _LOOPBACK)
        for network in ipaddress.ip_network(
            "0.0.0.0/0" if loopback.version == 4 else "::/0"
        ).address_exclude(loopback)  # type: ignore[arg-type]
    )
