"""Names whose servers hang stop no other, however many there are."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask

from flask_webhooks.delivery.http import resolver
from flask_webhooks.delivery.http.resolver import Lookup, NoCapacity, Resolver, zone_of
from tests.delivery.http.test_client import OK, make_client, perform, request
from tests.support.delivering import attempts, deliveries, drain, emit, health, webhooks_of
from tests.support.raw_server import RawServer
from tests.support.receiver import Receiver

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


class Asking:
    """Asks a resolver for names, and waits for it as the client does."""

    def __init__(self) -> None:
        self._notified = threading.Event()
        self.resolver = Resolver(self._notified.set)
        self._ended: list[Lookup] = []

    def begin(self, *hosts: str) -> list[Lookup]:
        """Ask for names, and let the lookups begin."""
        lookups = [self.resolver.lookup(host) for host in hosts]
        self._wait(0.05)
        return lookups

    def outcomes(self, lookups: list[Lookup], seconds: float = 5.0) -> list[str]:
        until = time.monotonic() + seconds
        while not all(lookup in self._ended for lookup in lookups):
            if time.monotonic() >= until:
                break
            self._wait(0.05)
        assert len(set(self._ended)) == len(self._ended)
        return [self._outcome(lookup) for lookup in lookups]

    def outcome(self, host: str) -> str:
        [found] = self.outcomes([self.resolver.lookup(host)])
        return found

    def works(self, *, found: bool = False) -> bool:
        until = time.monotonic() + 5
        while (works := self.resolver.works(found=found)) is None:
            assert time.monotonic() < until
            self._wait(0.05)
        return works

    def trouble(self, host: str) -> str | None:
        """Whose fault it is that a lookup got no answer; `None`: the name's."""
        if not self.works():
            return "no dns"
        return "no room" if self.resolver.refused(host) else None

    def take_ended(self) -> None:
        self._ended += self.resolver.take_ended()

    def _wait(self, seconds: float) -> None:
        """Wait for any lookup, but not beyond what is due."""
        seconds = min(seconds, max(self.resolver.due - time.monotonic(), 0.0))
        self._notified.wait(seconds)
        self._notified.clear()
        self.take_ended()

    def _outcome(self, lookup: Lookup) -> str:
        error = lookup.error
        if lookup not in self._ended:
            return "hangs"
        if error is None:
            assert lookup.addresses == ("127.0.0.1",)
            return "fine"
        if isinstance(error, NoCapacity):
            return "no room"
        return "no response" if Resolver.is_unanswered(error) else "missing"


@pytest.fixture
def asking() -> Iterator[Asking]:
    asking = Asking()
    yield asking
    asking.resolver.close()


# -- delivering --------------------------------------------------------------------------------------


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_without_room_no_attempt_is_spent_and_the_endpoint_is_not_held(
    app: Flask, dns: Dns
) -> None:
    names = [f"a.zone{number}.hang" for number in range(10)]
    for name in names:
        webhooks_of(app).create_endpoint(f"http://{name}/")
    emit(app)
    drain(app, timeout=2.0, retry_schedule=(600.0,))
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


def test_one_lookup_for_all_who_ask(asking: Asking, dns: Dns) -> None:
    lookups = asking.begin(*["a.one.hang"] * 50)
    assert dns.asked == {"a.one.hang": 1}
    dns.over.set()
    assert Counter(asking.outcomes(lookups)) == {"no response": 50}


def test_each_request_that_joins_a_lookup_goes_to_its_own_port(dns: Dns) -> None:
    client = make_client()
    with RawServer(OK) as one, RawServer(OK) as other:
        urls = [server.url(host="fine.example") for server in (one, other)]
        exchanges = perform(client, *map(request, urls))
        assert [item.address for item in exchanges] == [
            f"127.0.0.1:{one.port}",
            f"127.0.0.1:{other.port}",
        ]
        assert (len(one.requests), len(other.requests)) == (1, 1)
    assert dns.asked == {"fine.example": 1}
    client.close()


def test_answer_of_a_moment_ago_is_known_and_no_other(
    asking: Asking, dns: Dns, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asking.resolver.known("fine.example") is None
    assert asking.outcome("fine.example") == "fine"
    assert asking.resolver.known("fine.example") == ("127.0.0.1",)
    assert asking.outcome("gone.missing") == "missing"
    assert asking.resolver.known("gone.missing") is None
    monkeypatch.setattr(resolver, "FRESH", 0.05)
    time.sleep(0.1)
    assert asking.resolver.known("fine.example") is None
    assert asking.outcome("fine.example") == "fine"
    assert dns.asked["fine.example"] == 2


@pytest.mark.usefixtures("small")
def test_zone_that_hangs_gets_a_few_threads_and_other_zones_theirs(
    asking: Asking, dns: Dns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "PATIENCE", 10.0)
    lookups = asking.begin(*(f"a{number}.one.hang" for number in range(50)))
    assert dns.hanging == 2
    assert asking.outcome("fine.example") == "fine"
    assert asking.outcome("gone.missing") == "missing"
    dns.over.set()
    assert Counter(asking.outcomes(lookups)) == {"no response": 50}


@pytest.mark.usefixtures("small")
def test_zone_that_answers_is_only_taken_in_turns(asking: Asking, dns: Dns) -> None:
    lookups = asking.begin(*(f"a{number}.one.example" for number in range(50)))
    assert Counter(asking.outcomes(lookups)) == {"fine": 50}


@pytest.mark.usefixtures("small")
def test_name_that_answered_lately_has_a_thread_among_any_number_that_hang(
    asking: Asking, dns: Dns
) -> None:
    assert asking.outcome("known.example") == "fine"
    asking.begin(*(f"a.zone{number}.hang" for number in range(50)))
    assert dns.hanging == 6
    assert asking.outcome("known.example") == "fine"
    assert dns.asked["known.example"] == 2
    assert asking.outcome("new.example") == "no room"
    assert asking.trouble("new.example") == "no room"
    assert asking.trouble("a.zone0.hang") is None
    assert dns.most_hanging == 6


@pytest.mark.usefixtures("small")
def test_last_answer_is_used_where_names_that_answered_before_hang_by_the_dozen(
    asking: Asking, dns: Dns
) -> None:
    turned = [f"a.zone{number}.example" for number in range(20)]
    for host in [*turned, "known.example"]:
        assert asking.outcome(host) == "fine"
    dns.hangs = lambda host: host in turned
    asking.begin(*turned)
    assert dns.hanging == 8
    began = time.monotonic()
    assert asking.outcome("known.example") == "fine"
    assert time.monotonic() - began < 1
    assert dns.asked["known.example"] == 1


@pytest.mark.usefixtures("small")
def test_names_that_hung_before_leave_room_for_new_ones(asking: Asking, dns: Dns) -> None:
    bad = [f"a.zone{number}.hang" for number in range(6)]
    lookups = asking.begin(*bad)
    dns.over.set()
    asking.outcomes(lookups)
    dns.over.clear()
    asking.begin(*bad, "b.zone0.hang")
    # Three of the six, and one that was never asked for before.
    assert dns.hanging == 4
    assert asking.outcome("new.example") == "fine"


@pytest.mark.usefixtures("small")
def test_name_that_answers_again_is_as_good_as_any(asking: Asking, dns: Dns) -> None:
    lookups = asking.begin("a.zone.hang")
    dns.over.set()
    assert asking.outcomes(lookups) == ["no response"]
    dns.hangs = lambda host: host.endswith(".bad")
    assert asking.outcome("a.zone.hang") == "fine"
    dns.over.clear()
    asking.begin(*(f"a.zone{number}.bad" for number in range(20)))
    assert asking.outcome("a.zone.hang") == "fine"


def test_name_that_cannot_be_encoded_is_a_missing_one(asking: Asking) -> None:
    assert asking.outcome("a" * 64 + ".example") == "missing"


# -- receivers that move --------------------------------------------------------------------------------


def pass_time(found: Resolver, seconds: float) -> None:
    """Let answers be older by this."""
    found._answers = {
        name: (addresses, at - seconds) for name, (addresses, at) in found._answers.items()
    }


@pytest.mark.parametrize("full", [False, True], ids=["threads", "no-threads"])
def test_receiver_that_moves_is_followed_within_a_minute(
    monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    """By the constants as they are, with a request every five seconds over a connection that is kept."""
    leads_to = "127.0.0.1"

    def lookup(host: str, port: int, family: int) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (leads_to, port))]

    monkeypatch.setattr(resolver, "_lookup", lookup)
    client = make_client()
    with RawServer(OK) as old, RawServer(OK, address="127.0.0.2", port=old.port) as new:
        url = old.url(host="shop.example")
        assert [item.status for item in perform(client, request(url))] == [200]
        leads_to = "127.0.0.2"
        if full:
            monkeypatch.setattr(resolver, "THREADS", 0)
        seconds = 0
        followed = False
        while not followed and seconds < 600:
            pass_time(client.resolver, 5)
            seconds += 5
            [exchange] = perform(client, request(url))
            followed = bool(new.requests) or exchange.no_lookup_thread
        assert seconds <= 60
        # What finds no thread waits, rather than go where the name led.
        assert (exchange.status, exchange.no_lookup_thread) == (
            (None, True) if full else (200, False)
        )
    client.close()


# -- whose fault it is ---------------------------------------------------------------------------------


@pytest.fixture
def four(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for four lookups."""
    monkeypatch.setattr(resolver, "THREADS", 4)
    monkeypatch.setattr(resolver, "THREADS_FOR_OTHERS", 4)


@pytest.mark.usefixtures("four")
def test_control_lookup_has_a_thread_of_its_own_and_only_one(
    asking: Asking, dns: Dns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "CONTROL_TIMEOUT", 0.1)
    monkeypatch.setattr(resolver, "PROOF", 0.1)
    dns.hangs = lambda host: True
    asking.begin(*(f"a.zone{number}.hang" for number in range(20)))
    assert dns.hanging == 4
    for _ in range(3):
        assert asking.trouble("a.zone0.hang") == "no dns"
        time.sleep(0.2)
    assert dns.asked[resolver.CONTROL_NAME] == 1


def test_control_lookup_that_hangs_is_due_once(
    asking: Asking, dns: Dns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stayed due would keep the client from waiting."""
    monkeypatch.setattr(resolver, "CONTROL_TIMEOUT", 0.1)
    dns.hangs = lambda host: True
    assert asking.resolver.works() is None
    assert time.monotonic() < asking.resolver.due < time.monotonic() + 0.2
    time.sleep(0.2)
    asking.take_ended()
    assert asking.resolver.due == float("inf")
    assert not asking.works()


def test_control_lookup_that_ends_late_takes_no_room_and_gives_none(
    asking: Asking, dns: Dns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "CONTROL_TIMEOUT", 0.1)
    monkeypatch.setattr(resolver, "PROOF", 0.1)
    dns.hangs = lambda host: True
    assert not asking.works()
    dns.over.set()
    until = time.monotonic() + 5
    while dns.hanging and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.05)
    asking.take_ended()
    assert asking._ended == []
    assert asking.resolver._counts == resolver._Counts()
    dns.hangs = lambda host: False
    time.sleep(0.2)
    assert asking.works()
    assert dns.asked == {resolver.CONTROL_NAME: 2}


@pytest.mark.usefixtures("four")
def test_full_pool_is_not_taken_for_a_resolver_that_is_down(asking: Asking, dns: Dns) -> None:
    asking.begin(*(f"a.zone{number}.hang" for number in range(20)))
    assert asking.trouble("a.zone0.hang") is None
    # Still waiting for room when its request gave up.
    assert asking.trouble("a.zone19.hang") == "no room"


def test_name_that_is_said_not_to_exist_proves_that_names_are_answered_but_not_found(
    asking: Asking, dns: Dns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "CONTROL_NAME", "control.missing")
    assert asking.outcome("gone.missing") == "missing"
    assert asking.works()
    assert dns.asked == {"gone.missing": 1}
    assert not asking.works(found=True)
    assert dns.asked["control.missing"] == 1
    assert asking.outcome("fine.example") == "fine"
    assert asking.works(found=True)


def test_end_does_not_wait_for_what_hangs(asking: Asking, dns: Dns) -> None:
    asking.begin(*(f"a.zone{number}.hang" for number in range(20)))
    assert dns.hanging == 20
    began = time.monotonic()
    asking.resolver.close()
    assert time.monotonic() - began < 1
    assert all(
        thread.daemon for thread in threading.enumerate() if thread.name == "flask-webhooks-dns"
    )


def test_what_is_remembered_is_bounded(
    asking: Asking, dns: Dns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "MEMORY", 10)
    for number in range(30):
        assert asking.outcome(f"a{number}.example") == "fine"
    assert len(asking.resolver._answers) == 10
    assert asking.resolver._lookups == {}
    assert asking.resolver._counts == resolver._Counts()


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
