"""A Redis that answers, but refuses: that is no absence, and everything says what to do."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis
import rq.defaults
from rq import Queue

from demo.services import HOST, RedisServer, free_port, is_free
from flask_webhooks.app_state import state_of
from flask_webhooks.wakeup.redis_keys import Keys, hash_tag
from flask_webhooks.wakeup.redis_trouble import TroubleKind, explain_error
from tests.support.delivering import close
from tests.support.hostapp import DEFAULTS
from tests.support.pages import Browser, make_app
from tests.support.processes import COMMAND, OURS, ROOT, WorkerProcess, config_of, wait_until
from tests.support.tls_proxy import own_authority

#: The nodes of a cluster talk to each other so many ports above their own.
CLUSTER_BUS = 10_000


class Cluster(RedisServer):
    """A cluster of one node."""

    def __init__(self) -> None:
        super().__init__()
        while not is_free(self.port + CLUSTER_BUS):
            self.port = free_port()

    def _command(self) -> Sequence[str | Path]:
        return [*super()._command(), "--cluster-enabled", "yes"]


def execute(client: redis.Redis, *words: object) -> Any:
    return client.execute_command(*words)  # type: ignore[no-untyped-call]


def user(client: redis.Redis, *rules: str) -> str:
    execute(client, "ACL", "SETUSER", "hooks", "reset", "on", ">pass-word", *rules)
    return "hooks:pass-word@"


def without_scripting(client: redis.Redis) -> str:
    return user(client, "~*", "&*", "+@all", "-@scripting")


def limited_to_other_keys(client: redis.Redis) -> str:
    return user(client, "~shop:*", "&*", "+@all")


def without_memory(client: redis.Redis) -> str:
    client.config_set("maxmemory", 1)
    return ""


def wrong_type(client: redis.Redis) -> str:
    client.set(Queue("webhooks", connection=client).key, "text")
    return ""


def replica(client: redis.Redis) -> str:
    client.replicaof(HOST, "1")
    return ""


def wrong_password(client: redis.Redis) -> str:
    return "hooks:wrong@"


def nothing(client: redis.Redis) -> str:
    return ""


REFUSALS = [
    (without_scripting, "The Redis user lacks a permission", "'eval'"),
    (limited_to_other_keys, "The Redis user lacks a permission", "keys"),
    (without_memory, "Redis is out of memory", "maxmemory"),
    (wrong_type, "Another program uses one of our keys", "WRONGTYPE"),
    (replica, "Redis is a read-only replica", "WEBHOOKS_REDIS_URL"),
    (wrong_password, "Redis refuses the user name or the password", "WEBHOOKS_REDIS_URL"),
    (nothing, "Redis has no such database", "another number"),
    (nothing, "Redis runs as a cluster", "RQ_KEY_PREFIX"),
]


@contextlib.contextmanager
def refusing(refuse: Callable[[redis.Redis], str], title: str) -> Iterator[str]:
    """A Redis of its own that refuses; yields its URL."""
    kind = Cluster if "cluster" in title else RedisServer
    with kind() as server, redis.Redis.from_url(server.url) as client:
        if kind is Cluster:
            form_cluster(client)
        login = refuse(client)
        database = 99 if "database" in title else 0
        yield f"redis://{login}{HOST}:{server.port}/{database}"


def form_cluster(client: redis.Redis) -> None:
    execute(client, "CLUSTER", "ADDSLOTS", *range(16384))
    # Text, or what the client makes of it; `cluster_slots_ok` stands there from the beginning.
    ok = re.compile(r"cluster_state\W+ok")
    wait_until(lambda: ok.search(str(execute(client, "CLUSTER", "INFO"))), 20)


@pytest.mark.slow
@pytest.mark.parametrize(("refuse", "title", "hint"), REFUSALS)
def test_refusal_is_told_from_absence(
    refuse: Callable[[redis.Redis], str],
    title: str,
    hint: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with refusing(refuse, title) as url:
        app = make_app(f"sqlite:///{tmp_path / 'db'}", url)
        with app.app_context():
            assert state_of(app).notifier.notify() is False
            assert state_of(app).notifier.notify() is False
        # On a busy machine the first answer may come too late for the one who asked.
        wait_until(lambda: title in caplog.text, 10, what=lambda: caplog.text)
        said = caplog.records[-1].getMessage()
        assert hint in said
        # Nor is anything promised that a refusal prevents.
        assert "does not answer" not in said
        assert "sweep" not in said
        assert "pass-word" not in said
        browser = Browser(app)
        for page in (browser.get("/"), browser.get("/health")):
            assert title in page.text
            assert hint in page.text
            assert "does not answer" not in page.text.lower()
            assert "pass-word" not in page.text
        close(app)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("-OOM command not allowed when used memory > 'maxmemory'.", TroubleKind.MEMORY),
        ("-READONLY You can't write against a read only replica.", TroubleKind.REPLICA),
        ("-NOPERM this user has no permissions to run the 'set' command", TroubleKind.RIGHTS),
        ("-WRONGTYPE Operation against a key holding the wrong kind of value", TroubleKind.KEY),
        ("-MISCONF Errors writing to the disk", TroubleKind.REFUSED),
    ],
)
def test_refusal_within_a_script_of_redis_6_is_known(said: str, kind: TroubleKind) -> None:
    wrapped = f"Error running script (call to f_844c): @user_script:18: @user_script: 18: {said}"
    assert explain_error(redis.ResponseError(wrapped)).kind is kind


@pytest.mark.slow
def test_key_of_ours_that_another_program_uses_is_named(redis_url: str, tmp_path: Path) -> None:
    app = make_app(f"sqlite:///{tmp_path / 'db'}", redis_url)
    keys = state_of(app).worker_queue.keys
    with redis.Redis.from_url(redis_url) as client:
        client.set(keys.drains, "text")
        page = Browser(app).get("/health")
        assert "Another program uses one of our keys in Redis" in page.text
        assert f"{keys.drains} is a string, where RQ and Flask-Webhooks use a zset" in page.text
        config = {**DEFAULTS, **config_of(app)}
        with WorkerProcess(OURS, config, tmp_path / "log") as worker:
            worker.wait(30)
        assert keys.drains in worker.output()
        assert "Traceback" not in worker.output()
        client.delete(keys.drains)
        with WorkerProcess(OURS, config, tmp_path / "second.log") as worker:
            wait_until(lambda: "Listening on webhooks" in worker.output(), what=worker.output)
            # Later than at its start, it waits until the key is ours again.
            client.set(keys.listening, "text")
            client.set(Queue("webhooks", connection=client).key, "text")
            wait_until(lambda: "WRONGTYPE" in worker.output(), what=worker.output)
            time.sleep(3)
            assert worker.output().count("Traceback") == 1, worker.output()
            client.flushall()
            wait_until(lambda: "continuing" in worker.output(), what=worker.output)
    close(app)


def test_page_says_what_is_refused_before_anything_was_sent(tmp_path: Path) -> None:
    """A process that has sent nothing yet finds out by itself, and changes nothing by that."""
    with RedisServer() as server, redis.Redis.from_url(server.url) as client:
        app = make_app(f"sqlite:///{tmp_path / 'db'}", server.url)
        assert "Responds" in Browser(app).get("/health").text
        assert Queue("webhooks", connection=client).count == 0
        close(app)
        app = make_app(
            f"sqlite:///{tmp_path / 'db'}",
            f"redis://{without_scripting(client)}{HOST}:{server.port}/0",
        )
        assert "The Redis user lacks a permission" in Browser(app).get("/health").text
        close(app)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "refuse", "title", "hint"),
    [
        *((OURS, *refusal) for refusal in REFUSALS),
        # The way from there on is the same.
        *((COMMAND, *REFUSALS[number]) for number in (0, 3, 4)),
    ],
)
def test_worker_ends_with_one_line(
    command: list[str],
    refuse: Callable[[redis.Redis], str],
    title: str,
    hint: str,
    tmp_path: Path,
) -> None:
    with refusing(refuse, title) as url:
        database = f"sqlite:///{tmp_path / 'db'}"
        close(make_app(database, url))
        config = {**DEFAULTS, "SQLALCHEMY_DATABASE_URI": database, "WEBHOOKS_REDIS_URL": url}
        with WorkerProcess(command, config, tmp_path / "log") as worker:
            worker.wait(30)
        assert worker.process.returncode == 1
        [line] = [line for line in worker.output().splitlines() if line.startswith("Error: ")]
        assert title in line
        assert hint in line
        assert "Traceback" not in worker.output()


def test_keys_share_the_slot_of_a_hash_tag() -> None:
    assert hash_tag("rq:queue:") is None
    assert Keys("one").dirty == "flask_webhooks:{one}:dirty"
    assert hash_tag("{rq}:queue:") == "rq"
    assert Keys("one", "rq").dirty == "flask_webhooks:{rq}:one:dirty"


def with_prefix(
    program: str, database: str, redis_url: str, *, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Run a program under ``RQ_KEY_PREFIX``, which is read when RQ is imported; returns what it prints as JSON."""
    if not hasattr(rq.defaults, "RQ_KEY_PREFIX"):
        pytest.skip("this RQ has no RQ_KEY_PREFIX")
    monkeypatch.setenv("RQ_KEY_PREFIX", "shop")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, database, redis_url],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_prefix_of_rq_is_followed(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = """
import json, sys
from rq import Queue, Worker
from tests.support.helpers import accessing, make_app
from flask_webhooks import queries
from flask_webhooks.app_state import state_of

app = make_app(sys.argv[1], sys.argv[2])
with app.app_context():
    client = state_of(app).worker_queue.connect()
    worker = Worker([Queue("webhooks", connection=client)], name="one", connection=client)
    worker.register_birth()
    assert state_of(app).notifier.notify()
    report = queries.engine(accessing(app))
    print(json.dumps([report.waiting, report.workers, sorted(report.names)]))
"""
    database = f"sqlite:///{tmp_path / 'db'}"
    found = with_prefix(program, database, redis_url, monkeypatch=monkeypatch)
    assert found == [1, 1, ["one"]]


@pytest.mark.slow
def test_killed_worker_under_a_prefix_is_not_counted(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = """
import json, sys
from tests.support.helpers import accessing, make_app
from flask_webhooks import queries

app = make_app(sys.argv[1], sys.argv[2])
with app.app_context():
    report = queries.engine(accessing(app))
    print(json.dumps([report.workers, len(report.names)]))
"""
    database = f"sqlite:///{tmp_path / 'db'}"
    assert with_prefix(program, database, redis_url, monkeypatch=monkeypatch) == [0, 0]
    config = {**DEFAULTS, "SQLALCHEMY_DATABASE_URI": database, "WEBHOOKS_REDIS_URL": redis_url}
    with redis.Redis.from_url(redis_url) as client:
        with WorkerProcess(OURS, config, tmp_path / "log") as worker:
            wait_until(lambda: client.keys("shop:worker:*"), what=worker.output)
            assert with_prefix(program, database, redis_url, monkeypatch=monkeypatch) == [1, 1]
            worker.kill()
        [record] = client.keys("shop:worker:*")
        # What some minutes do: it runs out, while the lists of workers go on naming it.
        assert 0 < client.ttl(record) < 600
        client.delete(record)
        assert client.smembers("shop:workers:webhooks") == {record}
    assert with_prefix(program, database, redis_url, monkeypatch=monkeypatch) == [0, 0]


def redis_keys(url: str) -> set[str]:
    with redis.Redis.from_url(url) as client:
        return {key.decode() for key in client.scan_iter()}


@pytest.mark.slow
def test_scheduling_is_taken_up_soon_after_the_only_worker_was_killed(
    redis_url: str, tmp_path: Path
) -> None:
    database = f"sqlite:///{tmp_path / 'db'}"
    app = make_app(database, redis_url)
    browser = Browser(app)
    with redis.Redis.from_url(redis_url) as client, app.app_context():
        log = tmp_path / "log"
        with WorkerProcess(OURS, config_of(app), log) as worker:
            wait_until(lambda: lock(client), 30, what=worker.output)
            worker.kill()
        with WorkerProcess(OURS, config_of(app), log) as worker:
            wait_until(lambda: seen(browser), 30, what=worker.output)
            # What a minute does: the lock of the one that was killed runs out.
            before = lock(client)
            client.delete(lock_key())
            assert before
            assert "No scheduler is running." not in browser.get("/").text
            wait_until(lambda: lock(client) not in (None, before), 20, what=worker.output)
            time.sleep(0.1)
    close(app)


def seen(browser: Browser) -> bool:
    return "No worker" not in browser.get("/").text


def lock_key() -> str:
    from rq.scheduler import RQScheduler

    return str(RQScheduler.get_locking_key("webhooks"))


def lock(client: redis.Redis) -> object:
    return client.get(lock_key())


@pytest.mark.slow
def test_certificate_that_is_not_trusted_is_named(
    tmp_path: Path, redis_server: RedisServer, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with own_authority(redis_server.port, tmp_path) as (proxy, ca):
        url = f"rediss://{HOST}:{proxy.port}/0"
        app = make_app(f"sqlite:///{tmp_path / 'db'}", url)
        with app.app_context():
            assert state_of(app).notifier.notify() is False
        wait_until(lambda: "The encrypted connection to Redis fails" in caplog.text, 10)
        assert "certificate verify failed" in caplog.text
        page = Browser(app).get("/health")
        assert "The encrypted connection to Redis fails" in page.text
        assert "certificate verify failed" in page.text
        close(app)
        app = make_app(f"sqlite:///{tmp_path / 'db'}", f"{url}?ssl_ca_certs={ca}")
        with app.app_context():
            assert state_of(app).notifier.notify() is True
        assert "certificate verify failed" not in Browser(app).get("/health").text
        close(app)
    with redis.Redis.from_url(redis_url) as client:
        assert client.llen(Queue("webhooks", connection=client).key) == 1
