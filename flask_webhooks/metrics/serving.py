"""Serve metrics over HTTP: a blueprint in the host's application, and a process next to a worker."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Collection, Iterator
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from flask import Blueprint, Response, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Forbidden as ForbiddenPage
from werkzeug.exceptions import Unauthorized

from ..access import Authenticate, lets_in, request_access
from ..app_state import AllTenants, AppState, state_of
from ..errors import ConfigurationError, Forbidden
from .collector import Collector, StateCollector
from .library import CollectorRegistry, choose_encoder, make_wsgi_app

if TYPE_CHECKING:
    from ..extension import Webhooks

NAME: Final = "flask_webhooks_metrics"


def create_blueprint(
    webhooks: Webhooks, authenticate: Authenticate | None, labels: Collection[str]
) -> Blueprint:
    """Create a blueprint with one page, ``/metrics``; see `Webhooks.metrics_blueprint`."""
    # Not the shared registry: its process metrics would be those of a random process of the host.
    registry = CollectorRegistry()
    registry.register(Collector(webhooks, labels=labels))
    blueprint = Blueprint(NAME, __name__)

    @blueprint.get("/metrics")
    def show() -> Response:
        _let_in(authenticate)
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        response = Response(encode(registry), content_type=content_type)
        response.headers["Cache-Control"] = "no-store"
        return response

    return blueprint


def _let_in(authenticate: Authenticate | None) -> None:
    if authenticate is not None:
        if not lets_in(authenticate, "metrics_blueprint(authenticate=…)"):
            raise Unauthorized(
                "Send the credentials that the application requires for metrics.",
                www_authenticate=WWWAuthenticate("bearer"),
            )
        return
    try:
        access = request_access(state_of())
        access.require("view")
    except Forbidden as error:
        raise ForbiddenPage(error.message) from error
    if not isinstance(access.tenant, AllTenants):
        raise ForbiddenPage(
            "Metrics cover all tenants, so only users who may see all of them have access."
        )


@contextlib.contextmanager
def beside(state: AppState, host: str, port: int, labels: Collection[str] = ()) -> Iterator[None]:
    """Serve metrics from a separate process, which ends with the block or with this process.

    Not from a thread: a fork of the worker during a scrape would inherit its locks.

    :raises ConfigurationError: the port is not available, or there is no such label.
    """
    server = _listen(state, host, port, labels)
    pid = os.fork()
    if pid == 0:
        _serve(server, state)
    server.server_close()
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)


def _listen(state: AppState, host: str, port: int, labels: Collection[str]) -> _Server:
    registry = CollectorRegistry()
    registry.register(StateCollector(lambda: state, labels))
    server_class = _ServerV6 if ":" in host else _Server
    try:
        return make_server(host, port, make_wsgi_app(registry), server_class, _Quiet)
    except OSError as error:
        raise ConfigurationError(
            f"Metrics cannot be served on {host}, port {port}: {error.strerror or error}. Choose another one with "
            "--metrics-port and --metrics-host. One worker that serves them is enough: they cover all workers."
        ) from error


def _serve(server: _Server, state: AppState) -> None:
    """Serve until stopped, or until the worker is gone; never returns."""
    # Imported here, because a host that mounts the page does not need the worker's side.
    from .. import jobs

    status = 1
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        jobs.after_fork(state)
        server.serve_forever()
        status = 0
    finally:
        os._exit(status)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._worker = os.getpid()
        super().__init__(*args, **kwargs)

    def service_actions(self) -> None:
        """Exit when the worker has ended; called twice a second."""
        if os.getppid() != self._worker:
            os._exit(0)


class _ServerV6(_Server):
    address_family = socket.AF_INET6


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing, because scrapes are frequent."""
