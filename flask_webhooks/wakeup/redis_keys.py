"""The names of keys in Redis, which hosts and drains share."""

from __future__ import annotations

import re


class Keys:
    """The names of the Redis keys of one installation.

    :param tag: a hash tag that they share with other keys; by default their own.
    """

    def __init__(self, installation: str, tag: str | None = None) -> None:
        own = f"{{{installation}}}" if tag is None else f"{{{tag}}}:{installation}"
        base = f"flask_webhooks:{own}:"
        self.dirty = base + "dirty"
        self.listening = base + "listening"
        self.drains = base + "drains"
        #: Each drain has a separate wake-up channel, so that another one cannot take its wake-ups.
        self.channels = base + "bell:"
        self.waiting = base + "waiting"
        self.entering = base + "entering"
        self.alarm = base + "alarm"
        #: The id of the waiting job for tasks.
        self.task = base + "task"
        #: Written to check whether Redis accepts writes; never read.
        self.check = base + "check"

    def channel(self, drain_id: str) -> str:
        return self.channels + drain_id


def hash_tag(key: str) -> str | None:
    """Return the part of a key that determines its slot in a cluster; ``None``: all of it."""
    found = re.search(r"\{([^}]+)\}", key)
    return found and found[1]
