"""How a drain hears that it must end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def on_sigterm(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` on SIGTERM, and then the handler that stood there before.

    A work-horse gets SIGTERM from our Worker, or from a service manager that signals every process; with
    RQ's default it would die at once, in the middle of its requests. Call this on the running loop.
    """
    loop = asyncio.get_running_loop()
    before: Any = signal.getsignal(signal.SIGTERM)

    def handle() -> None:
        stop()
        if callable(before):
            # SimpleWorker: RQ's own handler lives in this very process, and may raise to end its loop.
            with contextlib.suppress(Exception):
                before(signal.SIGTERM, None)

    try:
        loop.add_signal_handler(signal.SIGTERM, handle)
    except (ValueError, RuntimeError, NotImplementedError):
        # Not the main thread, or a system without signals: Redis tells us within a second.
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)
