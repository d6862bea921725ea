"""The names that hosts and drains agree on in Redis."""

from __future__ import annotations

import re


class Keys:
    """The names of one installation's Redis keys.

    :param tag: the hash tag that they share with other keys; one of their own when not given.
    """

    def __init__(self, installation: str, tag: str | None = None) -> None:
        own = f"{{{installation}}}" if tag is None else f"{{{tag}}}:{installation}"
        base = f"flask_webhooks:{own}:"
        self.dirty = base + "dirty"
        self.listening = base + "listening"
        self.drains = base + "drains"
        #: Each drain has a wake-up channel of its own: what is meant for one must not be taken by another.
        self.channels = base + "bell:"
        self.waiting = base + "waiting"
        self.entering = base + "entering"
        self.alarm = base + "alarm"
        #: The id of the job that waits to work on tasks.
        self.task = base + "task"
        #: Written to see whether Redis takes writes; nothing reads it.
        self.check = base + "check"

    def channel(self, drain_id: str) -> str:
        return self.channels + drain_id


def hash_tag(key: str) -> str | None:
    """The part of a key that decides about its slot in a cluster; ``None``: all of it."""
    found = re.search(r"\{([^}]+)\}", key)
    return found and found[1]
