"""How Python runs while a drain does: when it looks for garbage, and when threads take turns."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

#: Objects that are made before it looks. Python's own 700 are those of two or three requests.
THRESHOLD = 50_000
#: Seconds after which a thread that runs Python lets another one go on. libcurl takes the interpreter's lock back at
#: each callback: beside a busy thread, such as a receiver of the host's signals, Python's own 5 ms leave it some tens
#: of requests a second, and half a millisecond some hundreds.
SWITCH_INTERVAL = 0.0005


@contextmanager
def often_switched() -> Iterator[None]:
    """Let threads take turns often, so that a busy one does not keep the network waiting."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, SWITCH_INTERVAL))
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@contextmanager
def rarely_collected() -> Iterator[None]:
    """Look seldom: next to nothing of a request is left in a cycle, and looking took a fifth of its time."""
    before = gc.get_threshold()
    gc.set_threshold(max(before[0], THRESHOLD), *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
