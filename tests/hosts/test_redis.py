"""Redis as operators run it: the whole way over each, by a worker whose own wake-ups and alarms have to work."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
import rq.defaults
from flask import Flask, current_app

from demo.services import HOST, RedisServer
from flask_webhooks.app_state import state_of
from flask_webhooks.wakeup.redis_keys import hash_tag
from tests.support.delivering import close, deliveries, emit, states, webhooks_of
from tests.support.hostapp import DEFAULTS
from tests.support.pages import Browser, make_app
from tests.support.processes import COMMAND, OURS, ROOT, WorkerProcess, config_of, wait_until
from tests.support.receiver import Receiver
from tests.support.tls_proxy import own_authority
from tests.wakeup.test_redis_refuses import Cluster, execute, form_cluster, user

#: As in docs/how-to/redis.md.
RIGHTS = [
    "~rq:*",
    "~flask_webhooks:*",
    "resetchannels",
    "&rq:*",
    "+@read",
    "+@write",
    "+@connection",
    "+@transaction",
    "+@scripting",
    "+@pubsub",
    "+@blocking",
    "+info",
    "+time",
]

SERVICE, PASSWORD = "licences", "pass-word"


class Sentinel(RedisServer):
    """A sentinel that watches one primary, and those that replicate it."""

    def __init__(self, primary: RedisServer) -> None:
        super().__init__()
        self._config = self.directory / "sentinel.conf"
        self._config.write_text(
            f"port {self.port}\nbind {HOST}\ndir {self.directory}\nrequirepass {PASSWORD}\n"
            f"sentinel monitor {SERVICE} {HOST} {primary.port} 1\n"
            f"sentinel down-after-milliseconds {SERVICE} 500\n"
            f"sentinel failover-timeout {SERVICE} 2000\n"
        )

    def _command(self) -> Sequence[str | Path]:
        return [self.binary, self._config, "--sentinel"]

    def _is_ready(self, pid: int) -> bool:
        try:
            with self.client() as client:
                return bool(client.info("server")["process_id"] == pid)
        except redis.RedisError:
            return False

    def client(self) -> redis.Redis:
        return redis.Redis(HOST, self.port, password=PASSWORD)

    def primary(self) -> int:
        """The port of the primary."""
        with self.client() as client:
            return int(execute(client, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])


@dataclass
class Watched:
    """A primary and its replica, and the URL by which sentinels find the primary."""

    primary: RedisServer
    replica: RedisServer
    sentinel: Sentinel
    url: str

    def fail_over(self) -> None:
        """End the primary, and wait until the replica takes its place."""
        self.primary.stop()
        wait_until(lambda: self.sentinel.primary() == self.replica.port, 30, self._log)

    def _log(self) -> str:
        return self.sentinel.log.read_text()


@contextlib.contextmanager
def watched() -> Iterator[Watched]:
    with RedisServer() as primary, RedisServer() as replica:
        for server in (primary, replica):
            with redis.Redis.from_url(server.url) as client:
                login = user(client, "~*", "&*", "+@all")
                client.config_set("repl-diskless-sync-delay", 0)
        with redis.Redis.from_url(replica.url) as client:
            client.replicaof(HOST, str(primary.port))
            wait_until(lambda: client.info("replication")["master_link_status"] == "up")
        with Sentinel(primary) as sentinel:
            with sentinel.client() as client:
                wait_until(lambda: len(execute(client, "SENTINEL", "REPLICAS", SERVICE)) == 1)
            # The first one does not answer.
            addresses = f"{HOST}:1,{HOST}:{sentinel.port}"
            url = f"redis+sentinel://{login}{addresses}/{SERVICE}/0?sentinel_password={PASSWORD}"
            yield Watched(primary, replica, sentinel, url)


#: For a host that reads another environment than the tests.
EMIT = """
from tests.support.hostapp import create_app

app = create_app()
with app.app_context():
    app.extensions["test_webhooks"].emit("license.created", {})
    app.extensions["sqlalchemy"].session.commit()
print(app.test_client().get("/webhooks/health").text)
"""


def emit_elsewhere(app: Flask) -> None:
    """Emit in a process of its own, to which Redis answers."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", EMIT],
        cwd=ROOT,
        env={**os.environ, "TEST_CONFIG": json.dumps(config_of(app))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Responds" in done.stdout
    assert "Could not wake" not in done.stderr


@contextlib.contextmanager
def delivering(
    url: str,
    directory: Path,
    receiver: Receiver,
    command: list[str] = OURS,
    emit: Callable[[Flask], object] = emit,
) -> Iterator[WorkerProcess]:
    """A host and its worker, in the context of the host: an event is retried once, and then seen on the pages."""
    app = make_app(f"sqlite:///{directory / 'db'}", url)
    with app.app_context():
        webhooks_of(app).create_endpoint(receiver.url("/flaky/1"))
        with WorkerProcess(command, config_of(app), directory / "log") as worker:
            wait_until(lambda: "Listening on webhooks" in worker.output(), what=worker.output)
            emit(app)
            wait_until(lambda: deliveries(app)[0].state == "succeeded", 30, what=worker.output)
            said = worker.output()
            yield worker
            worker.terminate()
            worker.wait(15)
        assert "Traceback" not in said
        assert "Redis" not in said.replace("WEBHOOKS_REDIS_URL", ""), said
        assert deliveries(app)[0].attempt_count == 2
        assert "Succeeded" in Browser(app).get("/deliveries").text
    close(app)


def deliver(*arguments: Any, **options: Any) -> None:
    with delivering(*arguments, **options):
        pass


@pytest.mark.slow
def test_the_rights_of_the_documentation_suffice(tmp_path: Path, receiver: Receiver) -> None:
    text = (ROOT / "docs/how-to/redis.md").read_text()
    assert " ".join(RIGHTS) in " ".join(text.split())
    with RedisServer() as server, redis.Redis.from_url(server.url) as client:
        deliver(f"redis://{user(client, *RIGHTS)}{HOST}:{server.port}/0", tmp_path, receiver)
        assert execute(client, "ACL", "LOG") == []


@pytest.mark.slow
def test_tls(redis_server: RedisServer, redis_url: str, tmp_path: Path, receiver: Receiver) -> None:
    with own_authority(redis_server.port, tmp_path) as (proxy, ca):
        deliver(f"rediss://{HOST}:{proxy.port}/0?ssl_ca_certs={ca}", tmp_path, receiver)


@pytest.mark.slow
def test_cluster_with_a_hash_tag_delivers(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_prefix(monkeypatch, "{rq}")
    with Cluster() as server, redis.Redis.from_url(server.url) as client:
        form_cluster(client)
        with delivering(server.url, tmp_path, receiver, emit=emit_elsewhere):
            keys = [key.decode() for key in client.keys("*webhooks*")]
        assert keys
        assert {hash_tag(key) for key in keys} == {"rq"}


@pytest.mark.slow
def test_prefix_of_the_keys_of_rq(
    redis_url: str, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_prefix(monkeypatch, "shop")
    deliver(redis_url, tmp_path, receiver, emit=emit_elsewhere)
    with redis.Redis.from_url(redis_url) as client:
        keys = {key.decode().partition(":")[0] for key in client.scan_iter()}
        assert "rq" not in keys
        assert "shop" in keys


def needs_prefix(monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    if not hasattr(rq.defaults, "RQ_KEY_PREFIX"):
        pytest.skip("this RQ has no RQ_KEY_PREFIX")
    monkeypatch.setenv("RQ_KEY_PREFIX", prefix)


@pytest.mark.slow
def test_sentinel(tmp_path: Path, receiver: Receiver) -> None:
    with watched() as servers:
        deliver(servers.url, tmp_path, receiver, COMMAND)


@pytest.mark.slow
def test_sentinel_makes_the_replica_the_primary(tmp_path: Path, receiver: Receiver) -> None:
    """Host and worker follow, without a restart."""
    with watched() as servers, delivering(servers.url, tmp_path, receiver) as worker:
        servers.fail_over()
        app = current_app._get_current_object()  # type: ignore[attr-defined]
        emit(app)
        wait_until(lambda: states(app) == {"succeeded": 2}, 30, what=worker.output)
        with redis.Redis.from_url(servers.replica.url) as client:
            name = f"rq:workers:{state_of(app).settings.queue}"
            wait_until(lambda: client.scard(name) == 1, 30, what=worker.output)


@pytest.mark.parametrize(
    ("right", "wrong", "says"),
    [
        (SERVICE, "other", "no sentinel names a primary of the service 'other'"),
        (f"sentinel_password={PASSWORD}", "sentinel_password=x", "a sentinel requires another"),
    ],
)
def test_sentinel_that_does_not_help(right: str, wrong: str, says: str, tmp_path: Path) -> None:
    with watched() as servers:
        url = servers.url.replace(right, wrong)
        close(make_app(f"sqlite:///{tmp_path / 'db'}", url))
        config = {**DEFAULTS, "SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path / 'db'}"}
        config["WEBHOOKS_REDIS_URL"] = url
        with WorkerProcess(OURS, config, tmp_path / "log") as worker:
            worker.wait(30)
        assert worker.process.returncode == 1
        [line] = [line for line in worker.output().splitlines() if line.startswith("Error: ")]
        assert says in line
        assert "pass-word" not in worker.output()
        assert "Traceback" not in worker.output()
