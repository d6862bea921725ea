"""The receiver's process, and what it has counted."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from demo.processes import ROOT


@dataclass(frozen=True)
class Seen:
    """What has come to one kind of path since the last reset."""

    requests: int
    #: Deliveries: a ``webhook-id`` at a path, however often it came.
    distinct: int
    #: By the machine's monotonic clock.
    first: float | None
    last: float


class Receiver:
    """`benchmarks.receiver` as a child process.

    :param certificate: the file of a certificate with its key, to speak TLS as well.
    """

    def __init__(self, certificate: Path | None = None) -> None:
        self._arguments = [] if certificate is None else [str(certificate)]

    def __enter__(self) -> Self:
        # In a session of its own: Ctrl-C is ours to handle. It ends with its standard input.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.receiver", *self._arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline())
        self.url = f"http://127.0.0.1:{self._port}"
        #: Where it speaks TLS.
        self.tls_port = int(self._process.stdout.readline()) if self._arguments else None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def reset(self) -> None:
        """Forget everything."""
        self._get("/reset", 60)

    def wait(self, kind: str, deliveries: int, seconds: float) -> Seen:
        """Wait until so many deliveries have come, or the time is over."""
        return Seen(**self._get(f"/wait/{kind}/{deliveries}/{seconds:g}", seconds + 60))

    def seen(self, kind: str) -> Seen:
        return self.wait(kind, 0, 10)

    def arrivals(self, kind: str) -> dict[str, float]:
        """The first arrival of each ``webhook-id``, by the machine's monotonic clock."""
        arrivals: dict[str, float] = self._get(f"/arrivals/{kind}", 60)
        return arrivals

    def deliveries(self, kind: str) -> dict[tuple[str, str], float]:
        """The first arrival by path and ``webhook-id``."""
        found: dict[str, float] = self._get(f"/deliveries/{kind}", 60)
        parted = {key: key.partition(" ") for key in found}
        return {(parted[key][0], parted[key][2]): at for key, at in found.items()}

    def _get(self, path: str, seconds: float) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=seconds)
        try:
            connection.request("GET", path)
            return json.load(connection.getresponse())
        finally:
            connection.close()
