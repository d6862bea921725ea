"""What the host's requests ask of Redis beside wake-ups, and over which connections."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from flask import Flask
from rq import Queue

from demo.services import HOST, RedisServer
from flask_webhooks.app_state import state_of
from flask_webhooks.wakeup import notifier as notifier_module
from tests.support.delivering import close
from tests.support.helpers import make_app
from tests.support.middlebox import Middlebox
from tests.support.processes import wait_until
from tests.wakeup.test_notifier import SLACK, TIMEOUT, jobs, make_notifier, timed


@pytest.fixture
def host(tmp_path: Path, redis_url: str) -> Iterator[Flask]:
    app = make_app(f"sqlite:///{tmp_path / 'db'}", redis_url, WEBHOOKS_WAKE_TIMEOUT=TIMEOUT)
    with app.app_context():
        yield app
    close(app)


def test_connection_that_a_middlebox_forgot_is_not_used_again(
    redis_server: RedisServer, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier_module, "STALE", 0.3)
    with Middlebox(redis_server.port) as box:
        notifier = make_notifier(f"redis://{HOST}:{box.port}/0")
        assert notifier.notify()
        assert notifier.notify()
        assert box.connections == 1
        for _ in range(3):
            time.sleep(0.4)
            box.forget()
            assert notifier.notify()


def test_call_to_tasks_does_not_read_the_queue(host: Flask, redis_url: str) -> None:
    state = state_of(host)
    with redis.Redis.from_url(redis_url) as client:
        queue = Queue("webhooks", connection=client)
        client.rpush(queue.key, *range(1000))
        client.config_resetstat()
        assert state.notifier.request_task_worker()
        assert state.notifier.request_task_worker()
        assert queue.count == 1001, "once, however often it is called"
        assert not {"cmdstat_lrange", "cmdstat_lpos"} & client.info("commandstats").keys()
        # The job is taken: the next call makes another one.
        queue.fetch_job(queue.job_ids[-1]).delete()  # type: ignore[union-attr]
        assert state.notifier.request_task_worker()
        assert queue.count == 1001


def test_call_to_tasks_has_the_bound_of_a_wake_up(
    host: Flask, redis_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    answer, state, resolve = threading.Event(), state_of(host), socket.getaddrinfo

    def hang(*arguments: object, **options: object) -> object:
        answer.wait(20)
        return resolve(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    called, seconds = timed(lambda: state.notifier.request_task_worker())
    assert called is False
    assert seconds < TIMEOUT + SLACK
    # One trouble, whoever meets it: a wake-up does not wait for the same Redis again.
    woken, seconds = timed(state.notifier.notify)
    assert woken is False
    assert seconds < TIMEOUT / 2
    assert [record.name for record in caplog.records] == ["flask_webhooks.alarm"]
    answer.set()
    with redis.Redis.from_url(redis_url) as client:
        wait_until(lambda: jobs(state.notifier, client) == 2, 30, "both are made up for")
