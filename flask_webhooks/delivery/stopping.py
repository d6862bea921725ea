"""Stop requests for a drain."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def on_sigterm(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` on SIGTERM, and then the previous handler.

    A work-horse gets SIGTERM from our Worker, or from a service manager that signals every process; with RQ's
    default it would end at once, in the middle of its requests.

    :param stop: called between any two instructions, so it must be minimal.
    """
    if threading.current_thread() is not threading.main_thread():
        # Redis reports it within a second.
        yield
        return
    before: Any = signal.getsignal(signal.SIGTERM)

    def handle(number: int, frame: Any) -> None:
        stop()
        if callable(before):
            # SimpleWorker: RQ's own handler is in this process, and may raise to end its loop.
            with contextlib.suppress(Exception):
                before(number, frame)

    signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
