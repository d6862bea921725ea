"""How often Python looks for garbage while a drain runs."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

#: Objects that are made before it looks. Python's own 700 are those of two or three requests.
THRESHOLD = 50_000


@contextmanager
def rarely_collected() -> Iterator[None]:
    """Look seldom: next to nothing of a request is left in a cycle, and looking took a fifth of its time."""
    before = gc.get_threshold()
    gc.set_threshold(max(before[0], THRESHOLD), *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
