"""The five services' receivers as processes, and short forms for rendering in their formats."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from flask_webhooks.formats import Format, OutgoingEvent, Rendered, Target, builtin_formats
from tests.support.node import node
from tests.support.processes import wait_until

RECEIVERS = Path(__file__).parent / "receivers"
VENDORS = ("aureva", "authon", "authvaultix", "akuworks", "authforge")
SECRET = "the receiver's own secret"
ENDPOINT_ID = "ep_01j9zq3v6k8m2n4p5r7s9t1v3w"
OCCURRED = datetime(2026, 4, 10, 15, 30, 0, 123_456, UTC)
ATTEMPTED = datetime(2026, 4, 10, 15, 31, 7, tzinfo=UTC)


def vendor(name: str) -> Format:
    return builtin_formats()[name]


def outgoing(
    event_type: str,
    data: Mapping[str, Any],
    tenant: str | None = "app_1",
    occurred_at: datetime = OCCURRED,
    tenant_name: str | None = None,
) -> OutgoingEvent:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return OutgoingEvent("evt_1", event_type, tenant, occurred_at, text, tenant_name)


def target_of(name: str, *secrets: str, **values: Any) -> Target:
    """An endpoint of a format; its secrets newest first."""
    settings: dict[str, Any] = {
        "id": ENDPOINT_ID,
        "tenant": "app_1",
        "url": "https://shop.example/webhooks",
        "url_shown": "https://shop.example/webhooks",
        "headers": {},
        "user_agent": None,
        "version": 1,
        "product_name": "Acme",
    }
    return Target(format=name, secrets=secrets, **settings | values)


def rendered(
    name: str,
    event: OutgoingEvent,
    *secrets: str,
    attempted_at: datetime = ATTEMPTED,
    **values: Any,
) -> Rendered:
    """A request in a vendor's format; signed with `SECRET` if no secret is given."""
    return vendor(name).render(
        event, target_of(name, *(secrets or (SECRET,)), **values), attempted_at
    )


def body_of(name: str, event: OutgoingEvent, **values: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(rendered(name, event, **values).body)
    return body


def data_of(
    name: str, event_type: str, data: Mapping[str, Any], tenant: str | None = "app_1"
) -> dict[str, Any]:
    """The data as the format sends it."""
    found: dict[str, Any] = body_of(name, outgoing(event_type, data, tenant))["data"]
    return found


class ReceiverProcess:
    """A receiver as a process of its own; use it as a context manager.

    :param script: of `RECEIVERS`.
    :param stdin: code of a page, for ``page.py`` and ``page.js``.
    """

    def __init__(
        self,
        script: str,
        *arguments: str,
        log: Path,
        secret: str,
        stdin: str = "",
        path: str = "/webhook",
    ) -> None:
        self.log = log
        self.path = path
        #: Whether it is the code of a page.
        self.is_page = bool(stdin)
        self._stdin = stdin
        program = node() if script.endswith(".js") else sys.executable
        self._command = [program, str(RECEIVERS / script), *arguments]
        names = ("WEBHOOK_SECRET", "AUTHON_WEBHOOK_SECRET", "AUTHFORGE_WEBHOOK_SECRET")
        self._environment = {**os.environ, **dict.fromkeys(names, secret)}

    def __enter__(self) -> ReceiverProcess:
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )
        assert self.process.stdin is not None
        with self.process.stdin as stdin:
            stdin.write(self._stdin)
        wait_until(self._listens, 30, f"{self._command} listens")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait(10)

    def _listens(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return bool(self._told())

    def _told(self) -> list[dict[str, Any]]:
        lines = self.log.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]

    @property
    def port(self) -> int:
        port: int = self._told()[0]["port"]
        return port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"

    def has_answered(self, statuses: list[int]) -> bool:
        """Whether these are among its answers, in any order. A request on a stale connection comes twice."""
        found = Counter(line["status"] for line in self._told()[1:])
        return found >= Counter(statuses)
