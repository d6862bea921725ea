"""Settings of the Python interpreter during a drain: garbage collection and thread switching."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

#: Allocations before a collection. Python's default of 700 is reached by two or three requests.
THRESHOLD = 50_000
#: The switch interval of threads in seconds. libcurl acquires the interpreter's lock for each callback: next to a
#: busy thread, such as a signal receiver of the host, Python's default of 5 ms allows tens of requests per second,
#: and half a millisecond allows hundreds.
SWITCH_INTERVAL = 0.0005


@contextmanager
def often_switched() -> Iterator[None]:
    """Switch threads often, so that a busy one does not delay the network."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, SWITCH_INTERVAL))
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@contextmanager
def rarely_collected() -> Iterator[None]:
    """Collect garbage rarely: requests leave almost no cycles, and collections took a fifth of the time."""
    before = gc.get_threshold()
    gc.set_threshold(max(before[0], THRESHOLD), *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
