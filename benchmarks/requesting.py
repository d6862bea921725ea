"""Requests to the host application in this process: how long they take, and what they say to the database."""

from __future__ import annotations

import contextlib
import re
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from .host import Host
from .workers import BenchmarkError


class HostRequests:
    """Makes requests to a host, without a network between."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._client = host.app.test_client()

    def post(self, path: str) -> float:
        """Seconds of one request."""
        return self._request("POST", path)

    def get(self, path: str) -> float:
        """Seconds of one request."""
        return self._request("GET", path)

    def exists(self, path: str) -> bool:
        """Whether there is a page, rather than a redirect or a download."""
        answer = self._client.get(path)
        return answer.status_code == 200 and answer.mimetype == "text/html"

    def _request(self, method: str, path: str) -> float:
        began = time.perf_counter()
        answer = self._client.open(path, method=method)
        seconds = time.perf_counter() - began
        if answer.status_code != 200:
            raise BenchmarkError(f"{method} {path} was answered {answer.status}.")
        return seconds

    def statements(self, path: str) -> Counter[str]:
        """What one POST says to the database, by the statements' first words."""
        words: Counter[str] = Counter()
        with _statements(self._host.engine, words):
            self.post(path)
        return words


def _verbs(statement: str) -> list[str]:
    """Its first word; of a WITH that writes, each INSERT in it."""
    first = statement.split(None, 1)[0].upper()
    return (first == "WITH" and re.findall(r"\bINSERT(?= INTO\b)", statement)) or [first]


@contextlib.contextmanager
def _statements(engine: sa.Engine, words: Counter[str]) -> Iterator[None]:
    def count(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        words.update(_verbs(statement))

    sa.event.listen(engine, "before_cursor_execute", count)
    try:
        yield
    finally:
        sa.event.remove(engine, "before_cursor_execute", count)
