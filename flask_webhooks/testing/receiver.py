"""A receiver for the tests of an application: it records requests and verifies their signatures."""

from __future__ import annotations

import itertools
import json
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .. import actions
from ..access import system_access
from ..errors import VerificationError
from ..receiver import SIGNED_FORMATS, verify
from ..security.addresses import SERVICE_PORTS
from .local import find_state, local

if TYPE_CHECKING:
    from flask import Flask

    from ..extension import Webhooks


#: Matches no secret, so it only shows whether a secret is well-formed.
_FORGED = {
    "webhook-id": "evt_forged",
    "webhook-timestamp": "0",
    "webhook-signature": f"v1,{'A' * 43}=",
}


@dataclass(frozen=True)
class Received:
    """A received request."""

    path: str
    #: Names in lower case.
    headers: Mapping[str, str] = field(repr=False)
    body: bytes
    #: Whether the signature was verified; ``None`` if no secret is known for the path.
    verified: bool | None
    #: Why it was not verified.
    error: VerificationError | None = None

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def id(self) -> str | None:
        """The event's id in formats with Standard Webhooks signatures."""
        return self.headers.get("webhook-id")


class Receiver:
    """A server on loopback, in a thread; use it as a context manager.

    It responds with 200, or with 401 if the signature does not match the secret of the path.
    """

    def __init__(self) -> None:
        #: All requests in order.
        self.requests: list[Received] = []
        self._secrets: dict[str, tuple[list[str], str]] = {}
        self._statuses: deque[int] = deque()
        self._paths = itertools.count(1)
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Receiver:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                status = receiver._receive(self.path, headers, body)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *values: Any) -> None:
                pass

        self._server = _server(Handler)
        thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), name="webhook-receiver", daemon=True
        )
        thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def url(self, path: str = "/") -> str:
        """Return the URL of a path.

        :raises RuntimeError: the receiver is not running: use it in a ``with`` statement.
        """
        if self._server is None:
            raise RuntimeError(
                "The receiver is not running yet: write 'with Receiver() as receiver:'."
            )
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    def answer(self, *statuses: int) -> None:
        """Respond to the next requests with these statuses, then with 200 again."""
        self._statuses.extend(statuses)

    def add_secret(self, secret: str, *, format: str = "standard", path: str = "/") -> None:
        """Verify requests to a path with this secret or public key, or with another added one.

        :raises InvalidSecret: it is malformed.
        :raises ConfigurationError: the format is not signed.
        """
        with suppress(VerificationError):
            verify(_FORGED, b"{}", secret, format, tolerance=None)
        known, _ = self._secrets.setdefault(path, ([], format))
        self._secrets[path] = ([*known, secret], format)

    def subscribe(
        self,
        webhooks: Webhooks | Flask,
        events: Iterable[str] | None = None,
        *,
        tenant: str | None = None,
        format: str | None = None,
        **options: Any,
    ) -> actions.CreatedEndpoint:
        """Create an endpoint at a new path of this receiver, and verify its requests.

        The settings for networks and HTTPS need not allow it.

        :param options: see `Webhooks.create_endpoint`.
        """
        path = f"/{next(self._paths)}"
        state = find_state(webhooks)
        created = actions.create_endpoint(
            system_access(local(state), "application"),
            self.url(path),
            events=events,
            dialect=format or state.settings.default_format,
            tenant=tenant,
            format=format,
            **options,
        )
        shown = created.public_key or created.secret
        if shown is not None and created.endpoint.format in SIGNED_FORMATS:
            self.add_secret(shown, format=created.endpoint.format, path=path)
        return created

    def _receive(self, path: str, headers: dict[str, str], body: bytes) -> int:
        verified, error = None, None
        if path in self._secrets:
            secrets, format = self._secrets[path]
            try:
                verify(headers, body, secrets, format)
                verified = True
            except VerificationError as refusal:
                verified, error = False, refusal
        self.requests.append(Received(path, headers, body, verified, error))
        if verified is False:
            return 401
        return self._statuses.popleft() if self._statuses else 200


def _server(handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    """Return a server on a free, allowed port, which does not belong to a well-known service."""
    while True:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        if server.server_port not in SERVICE_PORTS:
            return server
        server.server_close()
