"""Waking the workers: never at the host's expense, never lost while Redis lives, never piling up."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import redis
from rq import Queue, Worker
from rq.registry import ScheduledJobRegistry

from demo.services import HOST, RedisServer, free_port
from flask_webhooks.app_state import state_of
from flask_webhooks.config import Settings
from flask_webhooks.wakeup import listener as listener_module
from flask_webhooks.wakeup import redis_thread
from flask_webhooks.wakeup.listener import Listener
from flask_webhooks.wakeup.notifier import Notifier
from flask_webhooks.wakeup.redis_keys import Keys
from flask_webhooks.wakeup.redis_thread import RedisThread
from flask_webhooks.wakeup.redis_trouble import RedisTrouble
from flask_webhooks.wakeup.worker_queue import JOB, WorkerQueue
from tests.outbox.test_outbox import CREATED, DATA, types
from tests.support.delivering import close, db_of, webhooks_of
from tests.support.helpers import URL, make_app
from tests.support.processes import ROOT, wait_until

#: The deadline over everything, and what a busy machine may add to it.
TIMEOUT, SLACK = 0.25, 0.75
#: The pause between two attempts after a failure.
PAUSE = 0.1
#: The deadline where speed is not what a test is about.
LONG = 60.0


def make_notifier(
    url: str = "redis://", installation: str = "one", timeout: float = TIMEOUT, pause: float = PAUSE
) -> Notifier:
    settings = Settings(
        redis_url=url, installation=installation, wake_timeout=timeout, wake_pause=pause
    )
    return Notifier(WorkerQueue(settings))


class PatientQueue(WorkerQueue):
    """One whose clients wait for an answer, however long the machine takes for it."""

    def connect(self, patience: float = LONG) -> redis.Redis:
        return super().connect(LONG)


@pytest.fixture
def patient(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Notifier:
    """For what is promised while Redis answers, be it late: nothing gives up on it."""
    monkeypatch.setattr(redis_thread, "PATIENCE", LONG)
    return Notifier(PatientQueue(make_notifier(redis_url, timeout=LONG).queue.settings))


@pytest.fixture
def notifier(redis_url: str) -> Notifier:
    return make_notifier(redis_url)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def timed(call: Callable[[], object]) -> tuple[object, float]:
    began = time.monotonic()
    result = call()
    return result, time.monotonic() - began


def repeat(times: int, call: Callable[[], object]) -> None:
    for _ in range(times):
        call()


def jobs(notifier: Notifier, client: redis.Redis) -> int:
    return notifier.queue.queue(client).count


# -- invariant 2: Redis costs the host one short wait ---------------------------------------------------


@contextlib.contextmanager
def refused(server: RedisServer) -> Iterator[str]:
    server.stop()
    yield server.url
    server.start()


@contextlib.contextmanager
def hanging(server: RedisServer) -> Iterator[str]:
    server.pause()
    yield server.url
    server.resume()


@contextlib.contextmanager
def dripping(server: RedisServer) -> Iterator[str]:
    """Something that sends a byte whenever the client would lose patience with this one read."""
    with Lure(b"$1000000\r\n" + b"x" * 1000, pause=0.05) as lure:
        yield lure.url


@contextlib.contextmanager
def talking_nonsense(server: RedisServer) -> Iterator[str]:
    with Lure(b"HTTP/1.1 400 Bad Request\r\n\r\n") as lure:
        yield lure.url


class Lure:
    """A server that is no Redis, and answers everybody the same, with pauses between the bytes."""

    def __init__(self, answer: bytes, pause: float = 0.0) -> None:
        self._answer = answer
        self._pause = pause
        self._socket = socket.create_server((HOST, 0))
        self.url = f"redis://{HOST}:{self._socket.getsockname()[1]}/0"

    def __enter__(self) -> Lure:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.recv(65536)
            if not self._pause:
                connection.sendall(self._answer)
                return
            for byte in self._answer:
                connection.sendall(bytes([byte]))
                time.sleep(self._pause)


TROUBLES = [refused, hanging, dripping, talking_nonsense]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_invariant_2_redis_in_trouble_costs_the_host_one_short_wait(
    trouble: Callable[[RedisServer], contextlib.AbstractContextManager[str]],
    redis_url: str,
    redis_server: RedisServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with trouble(redis_server) as url:
        app = make_app(
            f"sqlite:///{tmp_path / 'db'}",
            url,
            WEBHOOKS_WAKE_TIMEOUT=TIMEOUT,
            WEBHOOKS_WAKE_PAUSE=PAUSE,
        )
        with app.app_context():
            webhooks_of(app).create_endpoint(URL)

            def emit_and_commit() -> None:
                assert webhooks_of(app).emit(CREATED, DATA) is not None
                db_of(app).session.commit()

            _, first = timed(emit_and_commit)
            assert first < TIMEOUT + SLACK
            # What a busy machine takes for the commits is not the question.
            notifier, waited = state_of(app).notifier, []
            notify = notifier.notify

            def timed_wake() -> bool:
                woken, seconds = timed(notify)
                waited.append(seconds)
                return bool(woken)

            monkeypatch.setattr(notifier, "notify", timed_wake)
            repeat(30, emit_and_commit)
            assert len(waited) == 30
            assert sum(waited) < TIMEOUT
            assert types(app) == [CREATED] * 31
        close(app)
    assert [record.levelname for record in caplog.records if "wake" in record.msg] == ["WARNING"]


def test_invariant_2_a_resolver_that_hangs_is_within_the_deadline_too() -> None:
    """Nothing that `socket` offers bounds DNS; so the deadline must not depend on what the call does."""
    answer = threading.Event()
    side = make_notifier(timeout=TIMEOUT, pause=PAUSE)

    def call(_: redis.Redis) -> None:
        answer.wait(20)

    succeeded, seconds = timed(lambda: side.submit(call))
    assert succeeded is False
    assert TIMEOUT <= seconds < TIMEOUT + SLACK
    _, seconds = timed(lambda: repeat(1000, lambda: side.submit(call)))
    assert seconds < 0.5
    # What is only read does not wait either.
    found, seconds = timed(lambda: side.read(call))
    assert isinstance(found, RedisTrouble)
    assert seconds < 0.1
    answer.set()
    wait_until(lambda: side.submit(call), 30)


@pytest.mark.parametrize("trouble", [refused, hanging])
def test_redis_that_comes_back_is_told_without_a_further_event(
    trouble: Callable[[RedisServer], contextlib.AbstractContextManager[str]],
    redis_url: str,
    redis_server: RedisServer,
    client: redis.Redis,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    notifier = make_notifier(redis_url)
    with trouble(redis_server):
        assert notifier.notify() is False
        _, seconds = timed(lambda: repeat(1000, notifier.notify))
        assert seconds < 0.5
        time.sleep(3 * PAUSE)
    wait_until(lambda: jobs(notifier, client) == 1, 30)
    wait_until(notifier.notify, 30)
    assert jobs(notifier, client) == 1
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_many_threads_wait_at_the_same_time_and_not_in_turn(
    redis_url: str, redis_server: RedisServer
) -> None:
    notifier, seconds = make_notifier(redis_url), []

    def commit() -> None:
        seconds.append(timed(notifier.notify)[1])

    redis_server.pause()
    threads = [threading.Thread(target=commit) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(seconds) == 20
    assert max(seconds) < TIMEOUT + SLACK
    redis_server.resume()
    # What they asked for is not made up for one by one.
    wait_until(notifier.notify, 30)


def test_threads_that_ask_during_a_call_share_the_next_one() -> None:
    calls: list[float] = []
    go_on, began = threading.Event(), threading.Event()

    def call(_: redis.Redis) -> None:
        calls.append(time.monotonic())
        began.set()
        assert go_on.wait(10)

    side, results = make_notifier(timeout=10.0, pause=PAUSE), []
    threads = [
        threading.Thread(target=lambda: results.append(side.submit(call))) for _ in range(10)
    ]
    threads[0].start()
    assert began.wait(30)
    for thread in threads[1:]:
        thread.start()
    wait_until(lambda: side._here.requests.qsize() == 9, 30)
    go_on.set()
    for thread in threads:
        thread.join(5)
    assert results == [True] * 10
    assert len(calls) == 2


def test_caller_that_nobody_let_wait_is_made_up_for() -> None:
    """The call under way may have begun before what the caller committed could be seen."""
    calls: list[float] = []
    go_on = threading.Event()

    def call(_: redis.Redis) -> None:
        calls.append(time.monotonic())
        assert go_on.wait(10)

    side = make_notifier(timeout=0.05, pause=60.0)
    assert side.submit(call) is False
    assert side.submit(call) is False
    assert len(calls) == 1
    go_on.set()
    wait_until(lambda: len(calls) == 2, 5)
    assert side.submit(call) is True
    assert len(calls) == 3


def test_call_that_ends_just_after_the_deadline_leaves_no_lasting_mark() -> None:
    side = make_notifier(timeout=0.01, pause=0.01)

    def call(_: redis.Redis) -> None:
        time.sleep(0.01)

    for _ in range(20):
        side.submit(call)
        wait_until(lambda: side.submit(call), 30)


def test_password_is_not_logged(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    port = redis_url.rpartition(":")[2]
    for address in (port, f"{free_port()}/0"):
        # With a long pause: its thread would find other trouble in the next tests, and log it there.
        notifier = make_notifier(f"redis://someone:pass-word@{HOST}:{address}", pause=600.0)
        assert notifier.notify() is False
    assert len(caplog.records) == 2
    assert "pass-word" not in caplog.text
    assert "Nothing is lost" in caplog.text


@pytest.mark.parametrize("call", [lambda _: None, lambda _: fail()], ids=["idle", "failing"])
def test_thread_ends_with_its_application(
    call: Callable[[redis.Redis], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test suites make an application for each test."""
    monkeypatch.setattr("flask_webhooks.wakeup.notifier._IDLE", 0.05)
    side = make_notifier(timeout=TIMEOUT, pause=0.05)
    side.submit(call)
    thread = side._here.thread
    assert thread is not None
    assert thread.is_alive()
    del side
    thread.join(5)
    assert not thread.is_alive()


def test_no_thread_to_be_had_is_no_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    side = make_notifier(timeout=TIMEOUT, pause=0.05)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        assert [side.submit(void), side.submit(void)] == [False, False]
    assert len(caplog.records) == 1
    side.submit(void)
    wait_until(lambda: side.submit(void), 30)


def fail() -> None:
    raise ZeroDivisionError


def void(_: object) -> None:
    pass


# -- a fork -----------------------------------------------------------------------------------------------


def run_python(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_wake_after_a_fork(redis_url: str) -> None:
    """Pre-forking web servers and RQ fork a process that has woken workers before."""
    program = """
        import os, sys, threading
        from flask_webhooks.wakeup.notifier import Notifier
        from flask_webhooks.wakeup.worker_queue import WorkerQueue
        from flask_webhooks.config import Settings

        notifier = Notifier(
            WorkerQueue(Settings(redis_url=sys.argv[1], installation="one", wake_timeout=30))
        )
        assert notifier.notify()
        if sys.argv[2] == "locked":
            # As if another thread were in the middle of a wake-up.
            notifier._here.lock.acquire()
        child = os.fork()
        if child == 0:
            os._exit(0 if notifier.notify() and notifier.notify() else 1)
        status = os.waitpid(child, 0)[1]
        if sys.argv[2] == "locked":
            notifier._here.lock.release()
        print(status, notifier.notify())
    """
    for lock in ("free", "locked"):
        assert run_python(program, redis_url, lock).split() == ["0", "True"]


def test_fork_while_redis_is_in_trouble_tries_anew(
    redis_server: RedisServer, redis_url: str
) -> None:
    program = """
        import os, sys
        from flask_webhooks.wakeup.notifier import Notifier
        from flask_webhooks.wakeup.worker_queue import WorkerQueue
        from flask_webhooks.config import Settings

        settings = Settings(
            redis_url=sys.argv[1], installation="one", wake_timeout=30, wake_pause=600
        )
        notifier = Notifier(WorkerQueue(settings))
        assert not notifier.notify()
        print("forking", flush=True)
        sys.stdin.readline()
        child = os.fork()
        if child == 0:
            os._exit(0 if notifier.notify() else 1)
        print(os.waitpid(child, 0)[1])
    """
    redis_server.stop()
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program), redis_url],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "forking\n"
        redis_server.start()
        output, _ = process.communicate("\n", timeout=20)
    assert output == "0\n"


# -- wake-ups neither pile up nor get lost ------------------------------------------------------------------


def test_thousand_wake_ups_without_a_worker_make_one_job(
    notifier: Notifier, client: redis.Redis
) -> None:
    assert all(notifier.notify() for _ in range(1000))
    (job,) = notifier.queue.queue(client).jobs
    assert job.func_name == JOB
    assert job.args == ("one", 0)
    assert job.timeout is not None
    assert job.timeout > notifier.queue.settings.drain_time + notifier.queue.settings.timeout
    assert client.exists(notifier.queue.keys.dirty)


def test_wake_ups_from_many_processes_at_once_make_one_job(
    redis_url: str, client: redis.Redis
) -> None:
    notifiers = [make_notifier(redis_url) for _ in range(8)]
    start = threading.Barrier(len(notifiers))

    def work(notifier: Notifier) -> None:
        start.wait(30)
        for _ in range(50):
            notifier.notify()

    threads = [threading.Thread(target=work, args=(notifier,)) for notifier in notifiers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert jobs(notifiers[0], client) == 1


def test_job_that_was_taken_makes_room_for_the_next(
    notifier: Notifier, client: redis.Redis
) -> None:
    assert notifier.queue.notify(client) is True
    assert notifier.queue.notify(client) is False
    assert notifier.queue.queue(client).pop_job_id() is not None
    assert notifier.queue.notify(client) is True
    assert jobs(notifier, client) == 1


def test_job_that_was_announced_and_never_came_is_not_relied_on_for_long(
    notifier: Notifier, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that was to enqueue it was killed in between."""
    with monkeypatch.context() as patch:
        patch.setattr(Queue, "enqueue", lambda *args, **options: fail())
        with pytest.raises(ZeroDivisionError):
            notifier.queue.notify(client)
    assert notifier.queue.notify(client) is False
    time.sleep(0.6)
    assert notifier.queue.notify(client) is True
    assert jobs(notifier, client) == 1


def test_listening_drain_is_rung_and_no_job_is_made(
    notifier: Notifier, client: redis.Redis
) -> None:
    listen(notifier, client, "d1")
    assert [notifier.queue.notify(client) for _ in range(100)] == [False] * 100
    assert jobs(notifier, client) == 0
    assert client.llen(notifier.queue.keys.channel("d1")) == 1
    assert client.exists(notifier.queue.keys.dirty)


def test_drain_that_says_nothing_any_more_is_not_relied_on(
    notifier: Notifier, client: redis.Redis
) -> None:
    listen(notifier, client, "d1", milliseconds=-1)
    assert notifier.queue.notify(client) is True
    assert jobs(notifier, client) == 1


class Notified:
    """As a drain appears to its listener."""

    def __init__(self) -> None:
        self.capacity = True
        #: It was told to look for work.
        self.told = threading.Event()

    def has_capacity(self) -> bool:
        return self.capacity

    def busy(self) -> bool:
        return False

    def look(self) -> None:
        self.told.set()

    def stop(self) -> None:
        raise AssertionError("nobody asked it to stop")

    def make_way(self, jobs_wait: bool) -> None:
        raise AssertionError("it serves no queue")


@contextlib.contextmanager
def listener_of(
    notifier: Notifier, drain: Notified | None = None, id: str = "d1"
) -> Iterator[Listener]:
    """One that gives signs of life only when the test says so. It hears wake-ups for a given drain."""
    listener = Listener(notifier.queue, id, drain or Notified(), worker_name="somebody")
    listener._redis.start()
    if drain is not None:
        threading.Thread(target=listener._wait_for_wake_ups, daemon=True).start()
    yield listener
    listener.close()


def test_drain_without_capacity_does_not_listen(notifier: Notifier, client: redis.Redis) -> None:
    with listener_of(notifier) as listener:
        listener.present(capacity=True)
        assert notifier.queue.notify(client) is False
        listener.present(capacity=False)
        assert notifier.queue.notify(client) is True


def test_each_wake_up_goes_to_another_drain_until_all_have_one(
    notifier: Notifier, client: redis.Redis
) -> None:
    """A drain that does not answer on its channel may be dead."""
    for number in range(3):
        listen(notifier, client, f"d{number}", milliseconds=10_000 + number)
    rung = []
    for _ in range(4):
        assert notifier.queue.notify(client) is False
        rung.append(
            [int(client.llen(notifier.queue.keys.channel(f"d{number}"))) for number in range(3)]
        )
    assert rung == [[0, 0, 1], [0, 1, 1], [1, 1, 1], [1, 1, 1]]
    assert jobs(notifier, client) == 0


def test_wake_up_that_is_passed_on_reaches_another_drain(
    patient: Notifier, client: redis.Redis
) -> None:
    listen(patient, client, "idle", milliseconds=600_000)
    drain = Notified()
    with listener_of(patient, drain, "full") as listener:
        assert listener.arrive() is True

        def ring_it() -> None:
            client.zadd(patient.queue.keys.listening, {"full": int(time.time() * 1000) + 900_000})
            assert patient.queue.notify(client) is False
            assert drain.told.wait(30)
            drain.told.clear()

        ring_it()
        assert not client.exists(patient.queue.keys.channel("idle"))
        assert not listener.passed_on
        drain.capacity = False
        ring_it()
        assert listener.passed_on
        wait_until(lambda: client.exists(patient.queue.keys.channel("idle")) == 1, 30)
        # As soon as there is capacity it is told to look once more.
        assert listener.present(capacity=True) is True
        assert listener.present(capacity=True) is False
        assert not listener.passed_on
    assert jobs(patient, client) == 0


def test_wake_up_whose_message_is_lost_on_the_way_makes_the_drain_look(
    redis_url: str, client: redis.Redis
) -> None:
    """Redis has taken it off the list by then, and a drain that stays would not see the mark for minutes."""
    drain = Notified()
    with Forgetful(int(redis_url.rpartition(":")[2].partition("/")[0])) as firewall:
        notifier = make_notifier(firewall.url)
        with listener_of(notifier, drain) as listener:
            assert listener.arrive()
            wait_until(lambda: bool(client.info("clients")["blocked_clients"]), 30)
            # How the answer to BLPOP begins.
            firewall.last_word = b"*2\r\n$"
            assert notifier.queue.notify(client) is False
            assert drain.told.wait(30)
            assert firewall.last_word is None
            assert not client.exists(notifier.queue.keys.channel("d1"))


@pytest.mark.slow
@pytest.mark.parametrize("trouble", [refused, hanging])
def test_drain_waits_for_redis_once_and_then_for_some_seconds_not_at_all(
    trouble: Callable[[RedisServer], contextlib.AbstractContextManager[str]],
    redis_server: RedisServer,
    redis_url: str,
) -> None:
    with listener_of(make_notifier(redis_url, pause=2.0)) as listener:
        assert listener.arrive()
        with trouble(redis_server):
            began = time.monotonic()
            listener.present(capacity=True)
            assert listener.away
            for _ in range(500):
                listener.present(capacity=True)
                listener.request_worker()
            listener.hand_over(to_others=True)
            assert time.monotonic() - began < 1.9

        def answered() -> bool:
            listener._must_stop()
            return not listener.away

        wait_until(answered, 30)


def test_redis_that_answers_too_late_is_left_alone_all_the_same(redis_url: str) -> None:
    """A drain pauses while Redis is away. It would look without end if it took it for back, and skipped it."""
    thread = RedisThread(make_notifier(redis_url, pause=60.0).queue)
    thread.start()
    go_on = threading.Event()
    assert thread.call(lambda _: go_on.wait(30)) is None
    assert thread.away
    go_on.set()
    thread.close()
    thread._thread.join(30)
    assert thread.away


def test_submitted_call_that_was_skipped_is_not_taken_for_one_under_way(
    redis_server: RedisServer, redis_url: str, client: redis.Redis
) -> None:
    thread = RedisThread(make_notifier(redis_url).queue)
    thread.start()
    go_on, made = threading.Event(), threading.Event()

    def failing(client: redis.Redis) -> None:
        assert go_on.wait(30)
        client.ping()

    redis_server.stop()
    thread.submit("fails", failing)
    thread.submit("is skipped", lambda _: made.set())
    go_on.set()
    wait_until(lambda: thread._requests.empty() and thread.away, 30)
    assert not made.is_set()
    redis_server.start()

    def again() -> bool:
        thread.submit("is skipped", lambda _: made.set())
        return made.wait(0.05)

    wait_until(again, 30)
    thread.close()


def test_listener_that_never_began_does_not_wait_to_sign_off(
    notifier: Notifier, caplog: pytest.LogCaptureFixture
) -> None:
    """The database was away from the first moment on."""
    listener = Listener(notifier.queue, "d1", Notified())
    listener.vanish()
    listener.close()
    assert not listener.away
    assert caplog.records == []


@pytest.mark.parametrize("farewell", [Listener.leave, Listener.vanish])
def test_drain_that_has_left_gives_no_further_sign_of_life(
    patient: Notifier, client: redis.Redis, farewell: Callable[[Listener], object]
) -> None:
    """The thread says it every second by itself: wake-ups would go to a drain that is no more."""
    for _ in range(20):
        with listener_of(patient) as listener:
            _in_turn(
                listener._redis,
                partial(listener.present, capacity=True),
                partial(farewell, listener),
                partial(listener.present, capacity=True),
            )
            listener.present(capacity=True)
        assert patient.queue.notify(client) is True
        patient.queue.queue(client).empty()  # type: ignore[no-untyped-call]
        client.delete(patient.queue.keys.dirty)


def _in_turn(thread: RedisThread, *calls: Callable[[], object]) -> None:
    """Make calls in threads of their own, while the one that carries them out is busy."""
    go_on, requests = threading.Event(), thread._requests
    thread.submit("wait", lambda _: go_on.wait(30))
    wait_until(requests.empty, 30)
    threads = [threading.Thread(target=call) for call in calls]
    for number, caller in enumerate(threads):
        caller.start()
        wait_until(lambda number=number: requests.qsize() > number, 30)  # type: ignore[misc]
    go_on.set()
    for caller in threads:
        caller.join(30)


@pytest.mark.slow
def test_drain_that_gets_no_answer_stays_while_others_count_on_it(
    redis_server: RedisServer, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener_module, "PRESENCE", 2500)
    with listener_of(make_notifier(redis_url)) as listener:
        assert listener.arrive()
        counted_on = time.monotonic() + 2.5
        redis_server.pause()
        assert listener.leave() is False
        assert listener.leave() is False
        while time.monotonic() <= counted_on:
            time.sleep(0.05)
        assert listener.leave() is True


def test_drain_stays_where_its_arrival_got_no_answer_and_may_be_done_all_the_same(
    redis_server: RedisServer, redis_url: str, client: redis.Redis
) -> None:
    """Redis does it once it goes on; then wake-ups come to us."""
    notifier = make_notifier(redis_url)
    with listener_of(notifier) as listener:
        # Connects.
        assert listener._must_stop() is False
        redis_server.pause()
        assert listener.present(capacity=True) is False
        assert listener.leave() is False
        redis_server.resume()
        wait_until(lambda: client.zcard(notifier.queue.keys.listening) == 1, 30)
        assert notifier.queue.notify(client) is False
        assert listener.leave() is False
        wait_until(listener.leave, 30)
        assert notifier.queue.notify(client) is True


def test_drain_that_was_kept_from_leaving_still_listens(
    patient: Notifier, client: redis.Redis
) -> None:
    with listener_of(patient) as listener:
        listener.present(capacity=True)
        assert patient.queue.notify(client) is False
        assert listener.leave() is False
        assert not client.exists(patient.queue.keys.dirty), "it looks for work now, once"
        listener.present(capacity=True)
        assert patient.queue.notify(client) is False


@pytest.mark.parametrize(("somebody_listens", "calls"), [(True, (1, 0)), (False, (1, 1))])
def test_wake_up_is_one_script_and_a_job_one_transaction_more(
    notifier: Notifier, client: redis.Redis, somebody_listens: bool, calls: tuple[int, int]
) -> None:
    # Connects, and asks for the version of Redis.
    assert notifier.notify()
    client.flushdb()
    if somebody_listens:
        listen(notifier, client, "d1")
    client.config_resetstat()
    assert notifier.notify()
    stats: dict[str, dict[str, int]] = client.info("commandstats")
    made = [stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("eval", "exec")]
    assert tuple(made) == calls
    assert not {"cmdstat_info", "cmdstat_client|setinfo", "cmdstat_auth"} & set(stats)


def test_wake_after_everything_was_flushed(notifier: Notifier, client: redis.Redis) -> None:
    assert notifier.notify()
    listen(notifier, client, "d1")
    client.flushall()
    assert notifier.notify()
    assert jobs(notifier, client) == 1


def test_wake_over_a_connection_from_before_a_restart(
    redis_url: str, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    notifier = make_notifier(redis_url, timeout=LONG)
    assert notifier.notify()
    redis_server.restart()
    assert notifier.notify()
    with redis.Redis.from_url(redis_server.url) as client:
        assert jobs(notifier, client) == 1
    assert caplog.records == []


def test_wake_over_a_connection_that_breaks_when_it_is_used(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As a firewall does that has forgotten an idle connection: nothing shows it before."""
    with Forgetful(int(redis_url.rpartition(":")[2].partition("/")[0])) as firewall:
        notifier = make_notifier(firewall.url, timeout=LONG)
        assert notifier.notify()
        firewall.forget()
        assert notifier.notify()
    assert caplog.records == []


def test_connection_that_breaks_between_the_decision_and_the_job_makes_the_job_all_the_same(
    redis_url: str, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    with Forgetful(int(redis_url.rpartition(":")[2].partition("/")[0])) as firewall:
        notifier = make_notifier(firewall.url, timeout=LONG)
        firewall.last_word = b"MULTI"
        assert notifier.notify()
        assert firewall.last_word is None
        assert jobs(notifier, client) == 1
        assert not client.exists(notifier.queue.keys.entering)
    assert caplog.records == []


class Forgetful:
    """Passes bytes on to a port, but closes connections from before `forget` at their next byte."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket = socket.create_server((HOST, 0))
        self._era = 0
        self._ends: list[socket.socket] = []
        #: The connection that says this next is closed, and nothing of it is passed on.
        self.last_word: bytes | None = None
        self.url = f"redis://{HOST}:{self._socket.getsockname()[1]}/0"

    def __enter__(self) -> Forgetful:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for end in (self._socket, *self._ends):
            close_socket(end)

    def forget(self) -> None:
        self._era += 1

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._socket.accept()
                far = socket.create_connection((HOST, self._port))
                self._ends += [near, far]
                for ends in ((near, far, self._era), (far, near, self._era)):
                    threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, era: int) -> None:
        with contextlib.suppress(OSError):
            while (data := source.recv(65536)) and era == self._era:
                if self.last_word is not None and self.last_word in data:
                    self.last_word = None
                    break
                target.sendall(data)
        close_socket(source)
        close_socket(target)


def close_socket(end: socket.socket) -> None:
    """Also for whoever is reading from it."""
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


def listen(notifier: Notifier, client: redis.Redis, drain: str, milliseconds: int = 10_000) -> None:
    """As a drain does that has room."""
    until = int(time.time() * 1000) + milliseconds
    client.zadd(notifier.queue.keys.drains, {drain: until})
    client.zadd(notifier.queue.keys.listening, {drain: until})


class Workers:
    """Threads that take jobs as RQ's workers do, and drain as `delivery.drain` does, but from a counter.

    The protocol with Redis is the real one. `committed` stands for rows that are due, which a drain sees only
    when it looks.
    """

    def __init__(self, notifier: Notifier, count: int) -> None:
        self.notifier = notifier
        self.committed = 0
        self.delivered = 0
        self.drains = 0
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(count)]

    def __enter__(self) -> Workers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join(10)

    def commit(self) -> None:
        with self._lock:
            self.committed += 1

    def idle(self) -> bool:
        with self._lock:
            return self.delivered == self.committed

    def _look(self) -> bool:
        with self._lock:
            found = self.delivered != self.committed
            self.delivered = self.committed
            return found

    def _work(self) -> None:
        with self.notifier.queue.connect() as client:
            key = self.notifier.queue.queue(client).key
            while not self._done.is_set():
                if client.blpop([key], timeout=0.1):
                    self._drain()

    def _drain(self) -> None:
        self.drains += 1
        drain = Notified()
        with listener_of(self.notifier, drain, uuid.uuid4().hex) as listener:
            listener.arrive()
            while True:
                drain.told.clear()
                if self._look():
                    # It lingers a moment, or not at all.
                    drain.told.wait(0.002)
                elif listener.leave():
                    break
            listener.vanish()


@pytest.mark.slow
def test_wake_up_that_meets_a_leaving_drain_is_not_lost(
    patient: Notifier, client: redis.Redis
) -> None:
    """Thousands of commits by three hosts, with pauses such that drains are just about to leave."""
    threads, commits = 3, 300
    with Workers(patient, 2) as workers:

        def host(seed: int) -> None:
            with patient.queue.connect() as own:
                for number in range(commits):
                    workers.commit()
                    patient.queue.notify(own)
                    time.sleep((number * 7 + seed) % 11 / 1500)

        hosts = [threading.Thread(target=host, args=(seed,)) for seed in range(threads)]
        for thread in hosts:
            thread.start()
        for thread in hosts:
            thread.join(LONG)
        assert workers.committed == threads * commits
        wait_until(workers.idle, LONG, "nobody came for what was committed last")
        # Each time that all was quiet, somebody had left: there were many chances to lose one.
        assert workers.drains > 10
    assert jobs(patient, client) <= 1


@pytest.mark.slow
def test_single_wake_up_is_never_lost(patient: Notifier) -> None:
    """One commit at a time, each when the drain of the one before is leaving: nothing else repairs a loss."""
    with Workers(patient, 1) as workers, patient.queue.connect() as client:
        for number in range(300):
            workers.commit()
            patient.queue.notify(client)
            deadline = time.monotonic() + LONG
            # In smaller steps than the drain takes to leave, which it does 2 ms later.
            while not workers.idle():
                assert time.monotonic() < deadline, f"commit {number} was not noticed"
                time.sleep(0.0002)
            time.sleep(number % 41 / 10_000)


# -- hosts that share a Redis -----------------------------------------------------------------------------


def test_two_installations_do_not_see_each_other(redis_url: str, client: redis.Redis) -> None:
    one, two = make_notifier(redis_url, "one"), make_notifier(redis_url, "two")
    names = [
        set(vars(Keys(notifier.queue.settings.installation)).values()) for notifier in (one, two)
    ]
    assert not names[0] & names[1]
    listen(one, client, "d1")
    assert one.notify()
    assert two.notify()
    assert [job.args for job in two.queue.queue(client).jobs] == [("two", 0)]
    assert not client.exists(two.queue.keys.channel("d1"))
    later = datetime.now(UTC) + timedelta(minutes=5)
    assert one.queue.schedule(client, later)
    assert two.queue.schedule(client, later)


def test_enqueue_passes_on_whose_job_it_is(notifier: Notifier, client: redis.Redis) -> None:
    notifier.queue.enqueue(client)
    notifier.queue.enqueue(client, hops=3, installation="other")
    assert [job.args for job in notifier.queue.queue(client).jobs] == [("one", 0), ("other", 3)]


def test_job_has_time_for_the_slowest_request_that_an_endpoint_may_ask_for(
    redis_url: str, client: redis.Redis
) -> None:
    """RQ would raise in the middle of the event loop, and what came of all requests in flight be lost."""
    for settings in (
        Settings(lease=3600.0),
        Settings(drain_time=1.0),
        Settings(drain_time=86_400.0),
    ):
        notifier = Notifier(WorkerQueue(dataclasses.replace(settings, redis_url=redis_url)))
        notifier.queue.enqueue(client)
        [job] = notifier.queue.queue(client).jobs
        # Claimed at its last moment, with all of its lease, and then settled.
        assert job.timeout is not None
        assert job.timeout > settings.drain_time + settings.lease + 30
        client.flushall()


# -- alarms for later, and more workers -------------------------------------------------------------------


def scheduled(notifier: Notifier, client: redis.Redis) -> list[float]:
    """Seconds from now, in order."""
    queue: Queue = notifier.queue.queue(client)
    registry = ScheduledJobRegistry(queue=queue)  # type: ignore[no-untyped-call]
    return sorted(
        registry.get_scheduled_time(job_id).timestamp() - time.time()
        for job_id in registry.get_job_ids()
    )


def about(*seconds: float) -> object:
    """RQ keeps whole seconds, and some time passes on a busy machine."""
    return pytest.approx(list(seconds), abs=10)


def test_schedule_never_moves_a_sooner_alarm_later(notifier: Notifier, client: redis.Redis) -> None:
    def at(seconds: float) -> bool:
        return notifier.queue.schedule(client, datetime.now(UTC) + timedelta(seconds=seconds))

    assert at(100)
    assert not at(200)
    assert not at(3600)
    assert not at(101)
    assert scheduled(notifier, client) == about(100)
    assert at(50)
    assert not at(100)
    assert scheduled(notifier, client) == about(50), "it takes the place of the later one"


def test_one_alarm_is_scheduled_however_often_it_is_set(
    notifier: Notifier, client: redis.Redis
) -> None:
    now = datetime.now(UTC)
    for seconds in (300, 100, 200, 50, 400, 50, 10, 90):
        notifier.queue.schedule(client, now + timedelta(seconds=seconds))
    assert scheduled(notifier, client) == about(10)
    # Nothing of the others is left in Redis.
    assert len(client.keys("rq:job:*")) == 1


def test_alarm_whose_job_has_vanished_is_set_again(notifier: Notifier, client: redis.Redis) -> None:
    at = datetime.now(UTC) + timedelta(seconds=100)
    assert notifier.queue.schedule(client, at)
    registry = notifier.queue.queue(client).scheduled_job_registry
    for job_id in registry.get_job_ids():
        registry.remove(job_id, delete_job=True)
    assert notifier.queue.schedule(client, at)
    assert scheduled(notifier, client) == about(100)


def test_alarms_that_nobody_rang_are_removed(
    notifier: Notifier, client: redis.Redis, redis_url: str
) -> None:
    """A plain worker runs no scheduler."""
    now = datetime.now(UTC)
    for seconds in (5, 4, 3):
        assert notifier.queue.schedule(client, now - timedelta(seconds=seconds))
    other = make_notifier(redis_url, "other")
    assert other.queue.schedule(client, now - timedelta(seconds=5))
    hosts = notifier.queue.queue(client).enqueue_at(now - timedelta(seconds=5), "time.time")
    assert notifier.queue.schedule(client, now + timedelta(seconds=100))
    assert notifier.queue.forget_past(client) == 3
    assert notifier.queue.forget_past(client) == 0
    assert scheduled(notifier, client) == about(-5, -5, 100)
    assert client.exists(hosts.key)
    assert len(client.keys("rq:job:*")) == 3


def test_alarm_is_set_again_while_the_job_of_the_last_one_runs(
    notifier: Notifier, client: redis.Redis
) -> None:
    """RQ deletes a job that has run; under one and the same id the next alarm would go with it."""
    assert notifier.queue.schedule(client, datetime.now(UTC) + timedelta(seconds=100))
    queue = notifier.queue.queue(client)
    registry = queue.scheduled_job_registry
    [job_id] = registry.get_job_ids()
    job = queue.fetch_job(job_id)
    assert job is not None
    registry.remove(job_id)
    assert notifier.queue.schedule(client, datetime.now(UTC) + timedelta(seconds=200))
    job.delete()
    assert scheduled(notifier, client) == about(200)
    assert [queue.fetch_job(job_id) is not None for job_id in registry.get_job_ids()] == [True]


def test_alarm_that_has_gone_off_can_be_set_again(notifier: Notifier, client: redis.Redis) -> None:
    assert notifier.queue.schedule(client, datetime.now(UTC) + timedelta(milliseconds=50))
    time.sleep(0.1)
    assert notifier.queue.schedule(client, datetime.now(UTC) + timedelta(seconds=100))
    assert notifier.queue.schedule(client, datetime.now(UTC) - timedelta(seconds=100))


def test_alarm_may_be_weeks_away_and_in_any_time_zone(
    notifier: Notifier, client: redis.Redis
) -> None:
    at = datetime.now(ZoneInfo("Asia/Tokyo")) + timedelta(days=45)
    assert notifier.queue.schedule(client, at)
    assert scheduled(notifier, client) == about(45 * 86400)
    assert client.ttl(notifier.queue.keys.alarm) == pytest.approx(45 * 86400, abs=10)


def test_schedule_after_a_flush(notifier: Notifier, client: redis.Redis) -> None:
    at = datetime.now(UTC) + timedelta(seconds=100)
    assert notifier.queue.schedule(client, at)
    client.flushall()
    assert notifier.queue.schedule(client, at)
    assert scheduled(notifier, client) == about(100)


def test_summon_wakes_as_many_workers_as_there_are(notifier: Notifier, client: redis.Redis) -> None:
    queue = notifier.queue.queue(client)
    assert notifier.queue.request_worker(client) is False
    workers = [Worker([queue], connection=client, name=f"w{number}") for number in range(3)]
    for worker in workers:
        worker.register_birth()  # type: ignore[no-untyped-call]
    listen(notifier, client, "d1")
    assert notifier.queue.request_worker(client) is True
    assert notifier.queue.request_worker(client) is False, "one is waiting already"
    queue.pop_job_id()
    listen(notifier, client, "d2")
    assert notifier.queue.request_worker(client) is True
    queue.pop_job_id()
    listen(notifier, client, "d3")
    assert notifier.queue.request_worker(client) is False, "all three deliver"
    client.zadd(notifier.queue.keys.drains, {"d3": 1})
    assert notifier.queue.request_worker(client) is True, "one of them has died"
    for worker in workers:
        worker.register_death()  # type: ignore[no-untyped-call]


def test_worker_side_hears_of_trouble(redis_server: RedisServer, redis_url: str) -> None:
    notifier = make_notifier(redis_url)
    redis_server.stop()
    client = notifier.queue.connect()
    for call in (notifier.queue.notify, notifier.queue.request_worker, notifier.queue.enqueue):
        with pytest.raises(redis.RedisError):
            call(client)
    with pytest.raises(redis.RedisError):
        notifier.queue.schedule(client, datetime.now(UTC))
    client.close()


def test_wake_is_quick_while_all_is_well(notifier: Notifier) -> None:
    assert notifier.notify()
    _, seconds = timed(lambda: repeat(200, notifier.notify))
    assert seconds / 200 < 0.02
