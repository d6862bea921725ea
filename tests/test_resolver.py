"""Names whose servers hang stop no other, however many there are."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from flask import Flask

from flask_webhooks.delivery import resolver
from flask_webhooks.delivery.resolver import NoRoom, ThreadResolver, Trouble, zone_of

from .delivering import attempts, deliveries, drain, emit, health, webhooks_of
from .receiver import Receiver

NO_ANSWER = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
NO_SUCH_NAME = socket.gaierror(socket.EAI_NONAME, "Name or service not known")


class Dns:
    """Stands in for the servers of the world, which no test can make hang: names of ``.hang`` do."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.asked: Counter[str] = Counter()
        self.hanging = 0
        self.most_hanging = 0
        self.hangs: Callable[[str], bool] = lambda host: host.endswith(".hang")
        self._lock = threading.Lock()

    def lookup(self, host: str, port: int, family: int) -> list[Any]:
        with self._lock:
            self.asked[host] += 1
        if self.hangs(host):
            with self._lock:
                self.hanging += 1
                self.most_hanging = max(self.most_hanging, self.hanging)
            self.over.wait(60)
            with self._lock:
                self.hanging -= 1
            raise NO_ANSWER
        if host.endswith(".missing"):
            raise NO_SUCH_NAME
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> Iterator[Dns]:
    dns = Dns()
    monkeypatch.setattr(resolver, "_lookup", dns.lookup)
    yield dns
    dns.over.set()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that a test reaches."""
    limits = {
        "THREADS": 8,
        "THREADS_FOR_OTHERS": 6,
        "THREADS_FOR_SLOW": 3,
        "THREADS_IN_ZONE": 2,
        "THREADS_IN_ZONE_FOR_SLOW": 1,
        "PATIENCE": 0.3,
        "HANGING": 0.2,
    }
    for name, value in limits.items():
        monkeypatch.setattr(resolver, name, value)


def run(test: Callable[[ThreadResolver], Coroutine[Any, Any, None]]) -> None:
    async def within() -> None:
        resolving = ThreadResolver()
        try:
            await test(resolving)
        finally:
            await resolving.close()

    asyncio.run(within())


async def outcome(resolving: ThreadResolver, host: str, seconds: float = 5.0) -> str:
    try:
        async with asyncio.timeout(seconds):
            await resolving.resolve(host, 443)
    except NoRoom:
        return "no room"
    except TimeoutError:
        return "hangs"
    except socket.gaierror as error:
        return "no answer" if resolver.is_temporary(error) else "missing"
    return "fine"


async def begin(resolving: ThreadResolver, *hosts: str) -> list[asyncio.Task[str]]:
    """Ask for names, and let the lookups begin."""
    tasks = [asyncio.create_task(outcome(resolving, host, 30)) for host in hosts]
    await asyncio.sleep(0.05)
    return tasks


# -- delivering --------------------------------------------------------------------------------------


@pytest.mark.slow_on_postgresql
def test_a_hundred_names_that_hang_leave_the_others_alone(
    app: Flask, receiver: Receiver, dns: Dns
) -> None:
    for number in range(100):
        webhooks_of(app).create_endpoint(f"http://a{number}.zone{number}.hang/")
    emit(app)
    created = webhooks_of(app).create_endpoint(receiver.url(host="fine.example"), ["user.*"])
    emit(app, 1, "user.registered", data={"user_id": "u", "username": "u"})
    began = time.monotonic()
    drain(app, timeout=4.0, lease=20.0, retry_schedule=(600.0,))
    assert time.monotonic() - began < 30
    states = Counter((row.endpoint_id == created.endpoint.id, row.state) for row in deliveries(app))
    assert states[True, "succeeded"] == 1
    hung = [item for item in attempts(app) if item.outcome != "succeeded"]
    # The hundred are their own fault, and held for nothing.
    assert Counter(item.outcome for item in hung)["dns_failed"] >= 100
    held = {health(app, row.endpoint_id).hold_reason for row in deliveries(app)}
    assert "no_dns" not in held


@pytest.mark.slow_on_postgresql
@pytest.mark.usefixtures("small")
def test_without_room_no_attempt_is_spent_and_the_endpoint_is_not_held(
    app: Flask, dns: Dns
) -> None:
    names = [f"a.zone{number}.hang" for number in range(10)]
    for name in names:
        webhooks_of(app).create_endpoint(f"http://{name}/")
    emit(app)
    drain(app, timeout=2.0)
    rows = deliveries(app)
    spent = [row for row in rows if row.attempt_count]
    assert len(spent) == 6 == len(attempts(app))
    for row in rows:
        assert row.state == "pending"
        if not row.attempt_count:
            assert row.failure_count == 0
            found = health(app, row.endpoint_id)
            assert (found.hold_reason, found.consecutive_failures) == (None, 0)


# -- sharing the room out ----------------------------------------------------------------------------


def test_one_lookup_for_everybody_who_asks(dns: Dns) -> None:
    async def test(resolving: ThreadResolver) -> None:
        tasks = await begin(resolving, *["a.one.hang"] * 50)
        assert dns.asked == {"a.one.hang": 1}
        dns.over.set()
        assert Counter(await asyncio.gather(*tasks)) == {"no answer": 50}

    run(test)


def test_port_of_whoever_joins_is_kept(dns: Dns) -> None:
    async def test(resolving: ThreadResolver) -> None:
        one, other = await asyncio.gather(
            resolving.resolve("fine.example", 443), resolving.resolve("fine.example", 8443)
        )
        assert (one[0]["port"], other[0]["port"]) == (443, 8443)
        assert dns.asked == {"fine.example": 1}

    run(test)


@pytest.mark.usefixtures("small")
def test_zone_that_hangs_gets_a_few_threads_and_other_zones_theirs(dns: Dns) -> None:
    async def test(resolving: ThreadResolver) -> None:
        tasks = await begin(resolving, *(f"a{number}.one.hang" for number in range(50)))
        assert dns.hanging == 2
        assert await outcome(resolving, "fine.example") == "fine"
        assert await outcome(resolving, "gone.missing") == "missing"
        dns.over.set()
        assert Counter(await asyncio.gather(*tasks))["no answer"] == 50

    run(test)


@pytest.mark.usefixtures("small")
def test_zone_that_answers_is_only_taken_in_turns(dns: Dns) -> None:
    async def test(resolving: ThreadResolver) -> None:
        tasks = await begin(resolving, *(f"a{number}.one.example" for number in range(50)))
        assert Counter(await asyncio.gather(*tasks)) == {"fine": 50}

    run(test)


@pytest.mark.usefixtures("small")
def test_name_that_answered_lately_has_room_among_any_number_that_hang(dns: Dns) -> None:
    async def test(resolving: ThreadResolver) -> None:
        assert await outcome(resolving, "known.example") == "fine"
        await begin(resolving, *(f"a.zone{number}.hang" for number in range(50)))
        assert dns.hanging == 6
        assert await outcome(resolving, "known.example") == "fine"
        assert dns.asked["known.example"] == 2
        assert await outcome(resolving, "new.example") == "no room"
        assert await resolving.trouble("new.example") == Trouble.NO_ROOM
        assert await resolving.trouble("a.zone0.hang") is None
        assert dns.most_hanging == 6

    run(test)


@pytest.mark.usefixtures("small")
def test_last_answer_is_used_where_names_that_answered_before_hang_by_the_dozen(dns: Dns) -> None:
    async def test(resolving: ThreadResolver) -> None:
        turned = [f"a.zone{number}.example" for number in range(20)]
        for host in [*turned, "known.example"]:
            assert await outcome(resolving, host) == "fine"
        dns.hangs = lambda host: host in turned
        await begin(resolving, *turned)
        assert dns.hanging == 8
        began = time.monotonic()
        [answer] = await resolving.resolve("known.example", 443)
        assert (answer["host"], answer["port"]) == ("127.0.0.1", 443)
        assert time.monotonic() - began < 1
        assert dns.asked["known.example"] == 1

    run(test)


@pytest.mark.usefixtures("small")
def test_names_that_hung_before_leave_room_for_new_ones(dns: Dns) -> None:
    async def test(resolving: ThreadResolver) -> None:
        bad = [f"a.zone{number}.hang" for number in range(6)]
        tasks = await begin(resolving, *bad)
        dns.over.set()
        await asyncio.gather(*tasks)
        dns.over.clear()
        await begin(resolving, *bad, "b.zone0.hang")
        # Three of the six, and one that nobody had asked for before.
        assert dns.hanging == 4
        assert await outcome(resolving, "new.example") == "fine"

    run(test)


@pytest.mark.usefixtures("small")
def test_name_that_answers_again_is_as_good_as_any(dns: Dns) -> None:
    async def test(resolving: ThreadResolver) -> None:
        [task] = await begin(resolving, "a.zone.hang")
        dns.over.set()
        assert await task == "no answer"
        dns.hangs = lambda host: host.endswith(".bad")
        assert await outcome(resolving, "a.zone.hang") == "fine"
        dns.over.clear()
        await begin(resolving, *(f"a.zone{number}.bad" for number in range(20)))
        assert await outcome(resolving, "a.zone.hang") == "fine"

    run(test)


# -- whose fault it is ---------------------------------------------------------------------------------


def test_control_lookup_has_a_thread_of_its_own_and_only_one(
    dns: Dns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "CONTROL_TIMEOUT", 0.1)
    monkeypatch.setattr(resolver, "THREADS", 4)
    monkeypatch.setattr(resolver, "THREADS_FOR_OTHERS", 4)
    dns.hangs = lambda host: True

    async def test(resolving: ThreadResolver) -> None:
        await begin(resolving, *(f"a.zone{number}.hang" for number in range(20)))
        assert dns.hanging == 4
        for _ in range(3):
            assert await resolving.trouble("a.zone0.hang") == Trouble.NO_DNS
        assert dns.asked[resolver.CONTROL_NAME] == 1
        dns.hangs = lambda host: host != resolver.CONTROL_NAME
        dns.over.set()

    run(test)


def test_full_pool_is_not_taken_for_a_resolver_that_is_down(
    dns: Dns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "THREADS", 4)
    monkeypatch.setattr(resolver, "THREADS_FOR_OTHERS", 4)

    async def test(resolving: ThreadResolver) -> None:
        await begin(resolving, *(f"a.zone{number}.hang" for number in range(20)))
        assert await resolving.trouble("a.zone0.hang") is None
        # Still waiting for room when its request gave up.
        assert await resolving.trouble("a.zone19.hang") == Trouble.NO_ROOM

    run(test)


def test_end_does_not_wait_for_what_hangs(dns: Dns) -> None:
    async def test(resolving: ThreadResolver) -> None:
        await begin(resolving, *(f"a.zone{number}.hang" for number in range(20)))

    began = time.monotonic()
    run(test)
    assert time.monotonic() - began < 10


def test_what_is_remembered_is_bounded(dns: Dns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "MEMORY", 10)

    async def test(resolving: ThreadResolver) -> None:
        for number in range(30):
            await outcome(resolving, f"a{number}.example")
        assert len(resolving._answers) == 10
        assert resolving._lookups == {}
        assert (resolving._counts.all, resolving._counts.in_zone) == (0, {})

    run(test)


@pytest.mark.parametrize(
    ("host", "zone"),
    [
        ("hooks.example.com", "example.com"),
        ("a.b.example.com.", "example.com"),
        ("A.Example.COM", "example.com"),
        ("hooks.example.co.uk", "example.co.uk"),
        ("hooks.example.de", "example.de"),
        ("example.com", "example.com"),
        ("localhost", "localhost"),
    ],
)
def test_zone(host: str, zone: str) -> None:
    assert zone_of(host) == zone
