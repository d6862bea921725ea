"""Processes that end at a named place, by a signal that leaves no chance to tidy up."""

from __future__ import annotations

import functools
import os
import signal
from importlib import import_module
from pathlib import Path
from typing import Any


def variables(when: str, place: str, mark: Path, *, forked: bool = False) -> dict[str, str]:
    """The environment of a process whose application is that of `tests.support.hostapp`, and which is to crash.

    :param when: ``before`` or ``after`` the call.
    :param place: ``module:function`` or ``module:Class.method``, where the package looks it up.
    :param mark: a file that is made by the crash. Where there is one, no other process crashes.
    :param forked: whether only a fork crashes: a worker runs the same code before its first job, to warm up.
    """
    return {
        "CRASH_WHEN": when,
        "CRASH_PLACE": place,
        "CRASH_MARK": str(mark),
        "CRASH_FORKED": "1" if forked else "",
    }


def arm() -> None:
    """Replace the function that the environment names, if it names one."""
    place = os.environ.get("CRASH_PLACE")
    if place is None:
        return
    when, mark = os.environ["CRASH_WHEN"], os.environ["CRASH_MARK"]
    module, _, path = place.partition(":")
    *classes, name = path.split(".")
    owner: Any = functools.reduce(getattr, classes, import_module(module))
    function = getattr(owner, name)
    spared = os.getpid() if os.environ["CRASH_FORKED"] else None

    @functools.wraps(function)
    def crashing(*args: Any, **kwargs: Any) -> Any:
        if when == "before" and os.getpid() != spared:
            _crash(mark)
        result = function(*args, **kwargs)
        if when == "after" and os.getpid() != spared:
            _crash(mark)
        return result

    setattr(owner, name, crashing)


def _crash(mark: str) -> None:
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
