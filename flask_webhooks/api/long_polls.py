"""Requests that wait for events. Each occupies a thread of the server, but no connection to the database."""

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
#: Approximate seconds between polls: requests that began at the same time must not poll at the same time for ever.
PAUSE: Final = 1.0


def check_wait(seconds: int) -> int:
    """:raises InvalidInput: it is not a number from 0 to `MAX_WAIT`."""
    if not 0 <= seconds <= MAX_WAIT:
        raise InvalidInput(f"wait must be a whole number from 0 to {MAX_WAIT}.", field="wait")
    return seconds


def page_in_time(access: Access, pull: Pull, seconds: int) -> Pulled:
    """Return the next page as soon as it has events or the time is over.

    Return at once if the server has no other threads, or too many requests are waiting.
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
    """The waiting requests of this process by tenant."""

    def __init__(self, state: AppState) -> None:
        self._most = state.settings.max_waiting_pulls
        # One tenant must not occupy all slots.
        self._most_of_one = max(self._most // 4, 2)
        self._lock = threading.Lock()
        self._waiting: Counter[str | None] = Counter()

    @contextmanager
    def taken(self, tenant: str | None) -> Iterator[bool]:
        """Occupy a slot during the block; yield whether one was free."""
        with self._lock:
            free = self._waiting.total() < self._most and self._waiting[tenant] < self._most_of_one
            self._waiting[tenant] += free
        try:
            yield free
        finally:
            with self._lock:
                self._waiting[tenant] -= free
                # Remove zero counts, which would otherwise stay for ever.
                self._waiting += Counter()


_slots = prepared(_Slots)
