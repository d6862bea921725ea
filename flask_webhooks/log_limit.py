"""Rate limit of log lines about one subject: one per minute, with the number of suppressed ones."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

#: Seconds between two lines about the same subject.
INTERVAL = 60.0


@dataclass(slots=True)
class _Line:
    """The last line about a subject."""

    #: Until when further lines are suppressed, by the limiter's clock.
    until: float
    #: Since the last line.
    count: int = 0
    level: int = 0
    message: str = ""
    args: tuple[object, ...] = ()
    fields: dict[str, Any] | None = None


class LimitedLog:
    """Writes the first line about a subject at once, and then at most one per minute. For one thread.

    :param clock: a monotonic clock in seconds.
    """

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._clock = clock
        self._lines: dict[Hashable, _Line] = {}
        #: When the first suppressed line is due.
        self._next = float("inf")

    def write(
        self,
        subject: Hashable,
        level: int,
        message: str,
        *args: object,
        fields: dict[str, Any] | None = None,
    ) -> None:
        """Log a line, or count it if there was one about the subject within the last minute.

        :param subject: the subject, such as a kind and an endpoint.
        :param fields: attributes of the log record.
        """
        if not self._logger.isEnabledFor(level):
            return
        line = self._lines.get(subject)
        if line is None:
            self._begin(subject)
            self._logger.log(level, message, *args, extra=fields)
        else:
            line.count += 1
            line.level, line.message, line.args, line.fields = level, message, args, fields
            self.write_due()

    def write_due(self) -> None:
        """Write lines whose minute is over, and remove subjects without new lines."""
        if self._clock() >= self._next:
            self._write([key for key, line in self._lines.items() if line.until <= self._clock()])

    def close(self) -> None:
        """Write suppressed lines."""
        self._write(list(self._lines))
        self._lines.clear()
        self._next = float("inf")

    def _begin(self, subject: Hashable) -> None:
        until = self._clock() + INTERVAL
        self._lines[subject] = _Line(until)
        self._next = min(self._next, until)

    def _write(self, subjects: list[Hashable]) -> None:
        for subject in subjects:
            line = self._lines.pop(subject)
            if not line.count:
                continue
            message, args = line.message, line.args
            if line.count > 1:
                message, args = f"{message} (%d like it since the last line)", (*args, line.count)
            extra = {**(line.fields or {}), "count": line.count}
            self._logger.log(line.level, message, *args, extra=extra)
            self._begin(subject)
        self._next = min((line.until for line in self._lines.values()), default=float("inf"))
