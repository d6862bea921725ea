"""Requests that wait for events. Each holds a thread of the server, and no connection to the database."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from flask import request

from ..access import Access
from ..app_state import AppState, prepared
from ..errors import InvalidInput
from ..queries import Pull, Pulled

#: Seconds that one request may wait.
MAX_WAIT: Final = 30
#: Seconds between two looks, about: those who began to wait at once must not all look at once for ever.
PAUSE: Final = 1.0


def check_wait(seconds: int) -> int:
    """:raises InvalidInput: it is not a number from 0 to `MAX_WAIT`."""
    if not 0 <= seconds <= MAX_WAIT:
        raise InvalidInput(f"wait must be a whole number from 0 to {MAX_WAIT}.", field="wait")
    return seconds


def page_in_time(access: Access, pull: Pull, seconds: int) -> Pulled:
    """Return the next page, as soon as there is something on it or the time is over.

    At once where the server has no other threads, or too many requests wait already.
    """
    give_up_at = time.monotonic() + seconds
    page = pull.page()
    if not seconds or _says_something(page) or not request.environ.get("wsgi.multithread"):
        return page
    with _slots(access.state).taken(pull.tenant) as may_wait:
        while may_wait and not _says_something(page):
            left = give_up_at - time.monotonic()
            if left <= 0:
                break
            access.release()
            time.sleep(min(PAUSE * random.uniform(0.9, 1.1), left))
            if pull.has_news():
                page = pull.page()
    return page


def _says_something(page: Pulled) -> bool:
    return bool(page.items) or page.has_more


class _Slots:
    """How many requests wait in this process, and for which tenants."""

    def __init__(self, state: AppState) -> None:
        self._most = state.settings.max_waiting_pulls
        # One tenant must not keep all others from waiting.
        self._most_of_one = max(self._most // 4, 2)
        self._lock = threading.Lock()
        self._waiting: Counter[str | None] = Counter()

    @contextmanager
    def taken(self, tenant: str | None) -> Iterator[bool]:
        """Take a slot for as long as the block takes; tells whether there was one."""
        with self._lock:
            free = self._waiting.total() < self._most and self._waiting[tenant] < self._most_of_one
            self._waiting[tenant] += free
        try:
            yield free
        finally:
            with self._lock:
                self._waiting[tenant] -= free
                # Counted up to nothing, it would stay for good.
                self._waiting += Counter()


_slots = prepared(_Slots)
