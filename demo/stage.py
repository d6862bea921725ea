"""Everything that the demo runs: Redis, a customer's receiver, the worker and the licensing server."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
import rq

from example_app import applications
from example_app.app import create_app
from example_app.extensions import db, webhooks

from .processes import ROOT, Child, DemoError, Stopped, wait_until
from .scoreboard import Scoreboard, get_json, post_json
from .services import HOST, RedisServer, free_port

#: Where to look first for a port, so that the addresses are the same each time.
WEB_PORT, RECEIVER_PORT = 8080, 8081
START_SECONDS = 30.0
#: The receiver fails the first request for about one event in so many.
FAIL_EVERY = 10
RETRY_SCHEDULE = (1, 2, 4, 8)
ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Subscription:
    """An endpoint of the demo, and the hook of the receiver that it points to."""

    hook: str
    #: Index of the application, or ``None`` for the whole server.
    application: int | None
    events: list[str] | None


APPLICATIONS = ("Aurora Launcher", "Borealis CAD")
#: The first one gets every event, so that each leaves a row to count.
SUBSCRIPTIONS = (
    Subscription("ledger", None, None),
    Subscription("license-desk", 0, ["license.*", "hwid.*"]),
    Subscription("security", 0, ["user.login_failed", "license.rejected", "hwid.mismatched"]),
    Subscription("everything", 1, None),
)


class Stage:
    """What runs. Each thing that is started goes onto a stack, which ends them in the opposite order.

    :param stack: closed by whoever made it.
    :param directory: for the database and the logs.
    :param stop: set to give up waiting.
    :param hurry: set when there is no time for an orderly end.
    """

    def __init__(
        self,
        stack: contextlib.ExitStack,
        directory: Path,
        stop: threading.Event,
        hurry: threading.Event,
    ) -> None:
        self._stack = stack
        self._directory = directory
        self._stop = stop
        self._hurry = hurry
        self._children: list[Child] = []
        self.web_port = _port(WEB_PORT)
        self._receiver_port = _port(RECEIVER_PORT)
        self.receiver_url = f"http://{HOST}:{self._receiver_port}"
        self.password = os.environ.get("EXAMPLE_ADMIN_PASSWORD") or secrets.token_urlsafe(6)
        self.api_keys: list[str] = []

    def start(self, redis_url: str | None) -> Scoreboard:
        """Start everything, and wait until all of it answers.

        :param redis_url: a Redis to use; ``None`` for one of our own.
        :raises DemoError: something did not start.
        :raises ChildDied: a process ended by itself.
        :raises Stopped: `stop` was set.
        """
        settings = self._settings() | self._redis(redis_url)
        environment = _environment(settings)
        module = [sys.executable, "-m"]

        receiver = [*module, "demo.receiver", "--port", str(self._receiver_port)]
        log = str(self._directory / "received.jsonl")
        options = ["--fail-every", str(FAIL_EVERY), "--log", log]
        self._start("receiver", [*receiver, *options], environment)
        self._wait_for("receiver", lambda: _answers(f"{self.receiver_url}/stats"))
        scoreboard = self._set_up(settings)

        worker = [*module, "rq.cli", "worker", "-w", "flask_webhooks.Worker"]
        self._start("worker", worker, environment)
        listen = f"--listen={HOST}:{self.web_port}"
        web = [*module, "waitress", listen, "--threads=8", "--call", "example_app.app:create_app"]
        self._start("web", web, environment)
        self._wait_for("web", lambda: _listens(self.web_port))
        self._wait_for("worker", lambda: _has_worker(settings))
        return scoreboard

    def introduce(self) -> None:
        """Say where to click."""
        web = f"http://{HOST}:{self.web_port}"
        print(f"  licensing server  {web}/")
        print(f"  webhooks          {web}/webhooks/   sign in as {ADMIN} / {self.password}")
        print(f"  receiver          {self.receiver_url}/stats")
        print(f"  a URL to add      {self.receiver_url}/try   or /try/503, which always fails")
        print(f"  logs              {self._directory}")
        print(
            f"The receiver fails the first request for about one event in {FAIL_EVERY} on purpose:"
        )
        print("those deliveries succeed at their second attempt.")
        print("Ctrl-C stops everything.", flush=True)

    def check(self) -> None:
        """:raises ChildDied: a process ended by itself."""
        for child in self._children:
            child.check()

    def _settings(self) -> dict[str, Any]:
        """The configuration that all processes share."""
        return {
            "SECRET_KEY": secrets.token_urlsafe(32),
            "DATABASE_URL": f"sqlite:///{self._directory / 'demo.sqlite'}",
            "ADMIN_USERNAME": ADMIN,
            "ADMIN_PASSWORD": self.password,
            # The demo is about webhooks: real hashes would keep its processors busy with logins.
            "PASSWORD_HASH_METHOD": "pbkdf2:sha256:1000",
            "WEBHOOKS_ALLOWED_NETWORKS": ["127.0.0.0/8", "::1/128"],
            "WEBHOOKS_REQUIRE_HTTPS": False,
            "WEBHOOKS_RETRY_SCHEDULE": list(RETRY_SCHEDULE),
            # Failures on purpose may come five in a row; a minute's pause is too long for a demo.
            "WEBHOOKS_PROBE_INTERVAL": 1,
            "WEBHOOKS_MAX_PROBE_INTERVAL": 4,
        }

    def _redis(self, url: str | None) -> dict[str, str]:
        if url is None:
            url = self._stack.enter_context(RedisServer()).url
            return {"REDIS_URL": url, "WEBHOOKS_QUEUE": "webhooks"}
        _check_redis(url)
        # Other workers on that Redis have nothing to do with us.
        return {"REDIS_URL": url, "WEBHOOKS_QUEUE": f"webhooks-demo-{secrets.token_hex(4)}"}

    def _set_up(self, settings: Mapping[str, Any]) -> Scoreboard:
        """Create the tables, the applications, and the endpoints at the receiver."""
        app = create_app(settings)
        with app.app_context():
            db.create_all()
            products = [applications.create(name) for name in APPLICATIONS]
            self.api_keys = [product.api_key for product in products]
            hooks: dict[str, str] = {}
            for wanted in SUBSCRIPTIONS:
                tenant = None if wanted.application is None else products[wanted.application].id
                url = f"{self.receiver_url}/hooks/{wanted.hook}"
                created = webhooks.create_endpoint(
                    url, events=wanted.events, tenant=tenant, name=wanted.hook
                )
                hooks[created.endpoint.id] = wanted.hook
                secret = {"hook": wanted.hook, "secret": created.secret}
                post_json(f"{self.receiver_url}/secrets", secret)
            scoreboard = Scoreboard(db.engine.url, webhooks.models, hooks, self.receiver_url)
            db.engine.dispose()
        self._stack.callback(scoreboard.close)
        return scoreboard

    def _start(self, name: str, command: list[str], environment: Mapping[str, str]) -> None:
        child = Child(name, command, logs=self._directory, environment=environment)
        self._stack.callback(child.stop, self._hurry)
        self._stack.callback(self._children.remove, child)
        self._children.append(child)

    def _wait_for(self, name: str, ready: Callable[[], bool]) -> None:
        def done() -> bool:
            self.check()
            return ready()

        if not wait_until(done, START_SECONDS, self._stop):
            if self._stop.is_set():
                raise Stopped
            raise DemoError(f"The {name} did not start within {START_SECONDS:g} s.")


def _environment(settings: Mapping[str, Any]) -> dict[str, str]:
    """The environment of the child processes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RQ_")}
    ours = {f"EXAMPLE_{key}": json.dumps(value) for key, value in settings.items()}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    plain = {"FLASK_APP": "example_app.app", "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    return kept | ours | plain


def _port(preferred: int) -> int:
    with socket.socket() as probe:
        # As servers do: a port whose last connections are still closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, preferred))
        except OSError:
            return free_port()
    return preferred


def _answers(url: str) -> bool:
    try:
        get_json(url)
    except OSError:
        return False
    return True


def _listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def _has_worker(settings: Mapping[str, Any]) -> bool:
    with contextlib.closing(redis.Redis.from_url(settings["REDIS_URL"])) as client:
        return bool(rq.Worker.count(queue=rq.Queue(settings["WEBHOOKS_QUEUE"], connection=client)))


def _check_redis(url: str) -> None:
    """:raises DemoError: no Redis answers there."""
    try:
        with contextlib.closing(redis.Redis.from_url(url, socket_connect_timeout=3)) as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        # The URL may hold a password, so it is not shown.
        raise DemoError(f"The Redis that REDIS_URL names does not answer: {error}") from error
