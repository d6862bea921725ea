"""What a host's own tests use: `capture`, `deliver_now` and the local receiver."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import ANY
from urllib.error import HTTPError

import pytest
import redis
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from rq import Queue
from sqlalchemy.orm import Session

from flask_webhooks import Webhooks, signals, testing
from flask_webhooks.app_state import state_of
from flask_webhooks.errors import (
    ConfigurationError,
    InvalidSecret,
    InvalidSubscription,
    WebhooksError,
)
from flask_webhooks.security.signing import public_key
from flask_webhooks.testing import Receiver, capture, deliver_now
from flask_webhooks.testing.local import local
from flask_webhooks.testing.matching import differences
from tests.support.delivering import close, db_of, events, update_row, webhooks_of
from tests.support.helpers import add_endpoint, make_app

#: Nobody listens there.
NO_REDIS = "redis://127.0.0.1:1/0"
DATA = {"license_id": "lic_1", "license_key": "AAAA-BBBB", "status": "active"}
REFUSED = {"reason": "Wrong password", "username": "ann"}


@pytest.fixture
def host(database_url: str) -> Iterator[Flask]:
    """A host in testing mode, without Redis and with the settings of production."""
    config: dict[str, Any] = {"WEBHOOKS_ALLOWED_NETWORKS": [], "WEBHOOKS_REQUIRE_HTTPS": True}
    config["SQLITE_IMMEDIATE"] = database_url.startswith("sqlite")
    config["WEBHOOKS_RETRY_SCHEDULE"] = [60.0]
    app = make_app(database_url, NO_REDIS, TESTING=True, **config)
    with app.app_context():
        yield app
        # Some tests leave a transaction open.
        db_of(app).session.remove()
        close(app)


@pytest.fixture
def local_receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


# -- capture ---------------------------------------------------------------------------------------


def test_event_of_an_open_transaction_is_captured_and_marked(host: Flask) -> None:
    add_endpoint(host, tenant="app_1")
    with capture(webhooks_of(host)) as captured:
        signals.license_activated.send(host, data=DATA, tenant="app_1")
        [event] = captured.events
        assert (event.type, event.tenant, event.data) == ("license.activated", "app_1", DATA)
        assert (event.transactional, event.committed) == (True, False)
        captured.assert_emitted("license.activated", committed=False)
        with pytest.raises(AssertionError, match="committed: expected True, found False"):
            captured.assert_emitted("license.activated", committed=True)
        db_of(host).session.commit()
        assert event.committed
        captured.assert_emitted("license.activated", committed=True)
    assert [row.id for row in events(host)] == [event.id]


@pytest.mark.parametrize("end", ["rollback", "close", "remove"])
def test_event_of_a_transaction_without_commit_is_dropped(host: Flask, end: str) -> None:
    add_endpoint(host)
    with capture(host) as captured:
        signals.license_activated.send(host, data=DATA)
        getattr(db_of(host).session, end)()
        assert captured.events == []
        assert [event.type for event in captured.rolled_back] == ["license.activated"]
        captured.assert_not_emitted("license.activated")
        with pytest.raises(AssertionError, match="undone because the transaction ended without a"):
            captured.assert_emitted("license.activated")
    assert events(host) == []


def test_savepoints_are_followed(host: Flask) -> None:
    add_endpoint(host)
    session, emit = db_of(host).session, webhooks_of(host).emit
    with capture(host) as captured:
        with session.begin_nested() as outer:
            emit("license.created", DATA)
            with session.begin_nested() as inner:
                emit("license.activated", DATA)
                emit("user.login_failed", REFUSED)
                inner.rollback()
            with session.begin_nested():
                emit("license.renewed", {**DATA, "expires_at": "2027-01-01T00:00:00Z"})
            assert [event.type for event in captured.rolled_back] == ["license.activated"]
            assert not any(event.committed for event in captured.events)
            outer.rollback()
        emit("license.revoked", DATA)
        session.commit()
        assert [event.type for event in captured.events] == ["user.login_failed", "license.revoked"]
        assert all(event.committed for event in captured.events)
        assert {event.type for event in captured.rolled_back} == {
            "license.created",
            "license.activated",
            "license.renewed",
        }
    assert {row.type for row in events(host)} == {"user.login_failed", "license.revoked"}


def test_refusals_are_captured_at_once_and_stay(host: Flask) -> None:
    add_endpoint(host)
    session = db_of(host).session
    with capture(host) as captured:
        # As in a test that holds an application context open around a request.
        session.execute(sa.text("SELECT 1"))
        signals.user_login_failed.send(host, data=REFUSED)
        event = captured.assert_emitted("user.login_failed", REFUSED)
        assert [item.url for item in event.deliveries] == ["https://hooks.example.com/in"]
        session.rollback()
        assert captured.events == [event]
        assert event.committed
        # Outside of a transaction it is written at once.
        signals.user_login_failed.send(host, data=REFUSED)
        assert captured.events[1].committed
    assert len(events(host)) == 2


def test_deliveries_say_where_events_would_go(host: Flask) -> None:
    mine = add_endpoint(host, "https://mine.example.com/in", tenant="app_1", events=["license.*"])
    paused = add_endpoint(host, "https://paused.example.com/in", tenant="app_1")
    update_row(host, type(paused), paused.id, state="paused")
    add_endpoint(host, "https://others.example.com/in", tenant="app_2")
    server = add_endpoint(host, "https://server.example.com/in", format="cloudevents")
    with capture(host) as captured:
        signals.license_activated.send(host, data=DATA, tenant="app_1")
        signals.license_activated.send(host, data=DATA)
        signals.user_banned.send(host, data={"user_id": "u", "username": "ann"}, tenant="app_2")
        first, second, third = captured.events
        assert [(item.endpoint_id, item.held) for item in first.deliveries] == [
            (mine.id, False),
            (paused.id, True),
            (server.id, False),
        ]
        assert [(item.url, item.format, item.tenant) for item in second.deliveries] == [
            ("https://server.example.com/in", "cloudevents", None)
        ]
        assert len(third.deliveries) == 2
        assert captured.assert_emitted("license.*", to=mine.id) is first
        assert captured.assert_emitted("*", to="https://others.example.com/in") is third
        captured.assert_not_emitted("user.*", to=mine.id)
        with pytest.raises(AssertionError, match=r"to: expected ep_.*, found https://others\.ex"):
            captured.assert_emitted("user.banned", to=mine.id)


@pytest.mark.slow
def test_event_without_subscribers_is_captured(host: Flask) -> None:
    with capture(host) as captured:
        assert webhooks_of(host).emit("license.activated", DATA) is None
        assert captured.assert_emitted("license.activated").deliveries == ()
        db_of(host).session.commit()
    assert events(host) == []


def test_repeated_key_is_one_event(host: Flask) -> None:
    add_endpoint(host)
    with capture(host) as captured:
        for _ in range(2):
            webhooks_of(host).emit("license.activated", DATA, idempotency_key="once")
        captured.assert_emitted("license.activated", times=1)
        db_of(host).session.commit()


def test_session_of_the_hosts_own_is_followed(host: Flask) -> None:
    add_endpoint(host)
    with capture(host) as captured, Session(db_of(host).engine) as own:
        signals.license_activated.send(host, data=DATA, session=own)
        db_of(host).session.rollback()
        assert not captured.events[0].committed
        own.commit()
        assert captured.events[0].committed


def test_session_that_is_joined_to_the_transaction_of_a_test(host: Flask) -> None:
    """As SQLAlchemy's documentation has it: each test in a transaction that is rolled back."""
    add_endpoint(host)
    with db_of(host).engine.connect() as connection, connection.begin() as outer:
        with (
            capture(host) as captured,
            Session(connection, join_transaction_mode="create_savepoint") as own,
        ):
            signals.license_activated.send(host, data=DATA, session=own)
            own.commit()
            captured.assert_emitted("license.activated", committed=True)
            captured.assert_emitted("license.activated", to="https://hooks.example.com/in")
            signals.license_created.send(host, data=DATA, session=own)
            own.rollback()
            captured.assert_not_emitted("license.created")
        outer.rollback()
    assert events(host) == []


def test_capture_works_outside_the_application_context(tmp_path: Path) -> None:
    db = SQLAlchemy()
    webhooks = Webhooks(db)
    url = f"sqlite:///{tmp_path / 'own.sqlite'}"
    app = Flask("own")
    app.config.update(SECRET_KEY="s", TESTING=True, SQLALCHEMY_DATABASE_URI=url)
    db.init_app(app)
    webhooks.init_app(app)

    @app.post("/activate")
    def activate() -> dict[str, str]:
        signals.license_activated.send(app, data=DATA)
        db.session.commit()
        return {}

    @app.post("/forget")
    def forget() -> dict[str, str]:
        signals.license_created.send(app, data=DATA)
        return {}

    with app.app_context():
        db.create_all()
        webhooks.create_endpoint("https://hooks.example.com/in")
    with capture(webhooks) as captured:
        app.test_client().post("/activate")
        app.test_client().post("/forget")
    event = captured.assert_emitted("license.activated", committed=True)
    assert len(event.deliveries) == 1
    # Without a commit the event does not exist.
    captured.assert_not_emitted("license.created")
    close(app)


def test_other_applications_are_not_captured(host: Flask, tmp_path: Path) -> None:
    other = make_app(f"sqlite:///{tmp_path / 'other.sqlite'}", NO_REDIS)
    with capture(host) as captured:
        with other.app_context():
            webhooks_of(other).emit("license.activated", DATA)
            close(other)
        assert captured.events == []


def test_captures_nest_and_end(host: Flask) -> None:
    emit = webhooks_of(host).emit
    with capture(host) as outer:
        emit("license.created", DATA)
        with capture(host) as inner:
            emit("license.activated", DATA)
        emit("license.revoked", DATA)
    emit("license.deleted", DATA)
    assert [event.type for event in inner.events] == ["license.activated"]
    assert [event.type for event in outer.events] == [
        "license.created",
        "license.activated",
        "license.revoked",
    ]
    outer.clear()
    assert outer.events == []
    assert state_of(host).hooks.observers == []


def test_no_worker_is_woken_meanwhile(app: Flask, redis_url: str) -> None:
    add_endpoint(app)
    emit, session = webhooks_of(app).emit, db_of(app).session
    with redis.Redis.from_url(redis_url) as client:
        queue = Queue("webhooks", connection=client)
        with capture(app):
            emit("license.activated", DATA)
            session.commit()
        assert queue.count == 0
        emit("license.activated", DATA)
        session.commit()
        assert queue.count == 1


def test_capture_in_a_hosts_test_takes_at_most_5_ms(tmp_path: Path) -> None:
    app = make_app(f"sqlite:///{tmp_path / 'host.sqlite'}", NO_REDIS, TESTING=True)

    def emit_and_commit() -> None:
        signals.license_activated.send(app, data=DATA, tenant="app_1")
        db_of(app).session.commit()

    def captured() -> None:
        with capture(app) as events:
            emit_and_commit()
        event = events.assert_emitted("license.activated", {"license_id": "lic_1"}, tenant="app_1")
        assert len(event.deliveries) == 1

    with app.app_context():
        add_endpoint(app, tenant="app_1")
        with capture(app):
            # No waiting for Redis in either.
            plain, whole = best(emit_and_commit), best(captured)
        close(app)
    assert whole - plain <= 0.005


def best(action: Callable[[], None]) -> float:
    """The least time of the processor: capture waits for nothing, and the machine may be busy."""
    times = []
    for _ in range(20):
        began = time.thread_time()
        action()
        times.append(time.thread_time() - began)
    return min(times)


# -- what an assertion says ------------------------------------------------------------------------


def test_failure_shows_the_closest_and_everything_else(host: Flask) -> None:
    with capture(host) as captured:
        with pytest.raises(AssertionError) as caught:
            captured.assert_emitted("license.activated")
        assert str(caught.value) == "license.activated was not emitted.\nNo event was emitted."
        webhooks_of(host).emit("license.activated", {**DATA, "status": "expired"}, tenant="app_1")
        webhooks_of(host).emit("license.created", {**DATA, "email": "a@example.com"})
        with pytest.raises(AssertionError) as caught:
            captured.assert_emitted("license.activated", data=DATA, tenant="app_2")
    said = str(caught.value).splitlines()
    assert said[:4] == [
        "license.activated as described was not emitted.",
        "The closest differs:",
        "  data.status: expected 'active', found 'expired'",
        "  tenant: expected 'app_2', found 'app_1'",
    ]
    assert said[5].startswith("  license.activated of tenant 'app_1' (transaction still open): {")
    assert '"email": "a@example.com"' in said[6]


def test_number_of_times_is_checked(host: Flask) -> None:
    with capture(host) as captured:
        for _ in range(3):
            webhooks_of(host).emit("license.activated", DATA)
        with pytest.raises(AssertionError, match="was emitted 3 times instead of 2"):
            captured.assert_emitted("license.activated", times=2)
        captured.assert_emitted("license.activated", times=3)
        with pytest.raises(AssertionError, match=r"license\.activated was emitted:"):
            captured.assert_not_emitted("license.activated")


def test_misspelt_event_type_is_an_error(host: Flask) -> None:
    with capture(host) as captured:
        for check in (captured.assert_emitted, captured.assert_not_emitted):
            with pytest.raises(InvalidSubscription, match=r"Did you mean license\.activated"):
                check("license.activatd")


@pytest.mark.parametrize(
    ("expected", "found", "says"),
    [
        ({}, {"a": 1}, []),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, []),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2, "c": 3}]}, []),
        ({"a": ANY}, {"a": object}, []),
        ({"a": pytest.approx(0.3)}, {"a": 0.1 + 0.2}, []),
        ({"a": datetime(2026, 1, 1, tzinfo=UTC)}, {"a": "2026-01-01T00:00:00+00:00"}, []),
        ({"a": Decimal("1.50")}, {"a": "1.50"}, []),
        ({"a": None}, {}, ["data.a: expected None, but there is no such member"]),
        ({"a": 1}, {"a": True}, ["data.a: expected 1, found True"]),
        ({"a": True}, {"a": 1}, ["data.a: expected True, found 1"]),
        ({"a": [1]}, {"a": [1, 2]}, ["data.a: expected a list of 1, found [1, 2]"]),
        ({"a": {"b": 1}}, {"a": 7}, ["data.a: expected an object, found 7"]),
        (
            {"a": {"b": 1}, "c": [{"d": 2}]},
            {"a": {"b": 2}, "c": [{"d": 3}]},
            ["data.a.b: expected 1, found 2", "data.c[0].d: expected 2, found 3"],
        ),
    ],
)
def test_data_is_compared_in_part(expected: Any, found: Any, says: list[str]) -> None:
    assert list(differences(expected, found)) == says


# -- deliver_now -----------------------------------------------------------------------------------


def test_events_arrive_signed_without_redis_and_worker(
    host: Flask, local_receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    local_receiver.subscribe(webhooks_of(host), ["license.*"], tenant="app_1")
    signals.license_activated.send(host, data=DATA, tenant="app_1")
    signals.user_login_failed.send(host, data=REFUSED, tenant="app_1")
    db_of(host).session.commit()
    caplog.clear()
    [attempt] = deliver_now(webhooks_of(host))
    assert (attempt.outcome, attempt.status) == ("succeeded", 200)
    [request] = local_receiver.requests
    assert request.verified is True
    assert request.json["data"] == DATA
    assert request.id == events(host)[0].id
    assert deliver_now(host) == []
    assert [line for line in caplog.messages if "Redis" in line] == []


@pytest.mark.parametrize("format_name", ["cloudevents", "aureva", "authon", "akuworks"])
def test_every_signed_format_is_verified(
    host: Flask, local_receiver: Receiver, format_name: str
) -> None:
    local_receiver.subscribe(host, format=format_name)
    signals.license_activated.send(host, data=DATA)
    db_of(host).session.commit()
    deliver_now(host)
    assert [request.verified for request in local_receiver.requests] == [True]


def test_key_pair_is_verified_by_its_public_key(host: Flask, local_receiver: Receiver) -> None:
    created = local_receiver.subscribe(host, key_pair=True)
    assert created.public_key
    assert created.secret is None or public_key(created.secret) == created.public_key
    signals.license_activated.send(host, data=DATA)
    db_of(host).session.commit()
    deliver_now(host)
    assert [request.verified for request in local_receiver.requests] == [True]


def test_wrong_secret_is_refused_as_by_a_customer(host: Flask, local_receiver: Receiver) -> None:
    add_endpoint_here(host, local_receiver.url("/shop"))
    local_receiver.add_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", path="/shop")
    signals.license_activated.send(host, data=DATA)
    db_of(host).session.commit()
    [attempt] = deliver_now(host)
    assert attempt.status == 401
    [request] = local_receiver.requests
    assert request.verified is False
    assert "No signature matches" in str(request.error)


@pytest.mark.slow
def test_receiver_without_secret_records_all_the_same(
    host: Flask, local_receiver: Receiver
) -> None:
    add_endpoint_here(host, local_receiver.url("/anything"))
    signals.license_activated.send(host, data=DATA)
    db_of(host).session.commit()
    [attempt] = deliver_now(host)
    assert attempt.status == 200
    assert local_receiver.requests[0].verified is None


@pytest.mark.slow
def test_failed_attempt_waits_for_its_retry(host: Flask, local_receiver: Receiver) -> None:
    local_receiver.subscribe(host)
    local_receiver.answer(503)
    signals.license_activated.send(host, data=DATA)
    db_of(host).session.commit()
    [attempt] = deliver_now(host)
    assert attempt.status == 503
    assert deliver_now(host) == []


def add_endpoint_here(host: Flask, url: str) -> None:
    """An endpoint as of an application that allows loopback."""
    state = state_of(host)
    strict = state.policy, state.settings
    state.policy, state.settings = local(state).policy, local(state).settings
    add_endpoint(host, url)
    state.policy, state.settings = strict


@pytest.mark.slow
def test_open_transaction_is_refused(host: Flask, local_receiver: Receiver) -> None:
    local_receiver.subscribe(host)
    signals.license_activated.send(host, data=DATA)
    with pytest.raises(WebhooksError, match=r"license\.activated.*db\.session\.commit"):
        deliver_now(host)
    assert local_receiver.requests == []
    db_of(host).session.rollback()
    assert deliver_now(host) == []


def test_transaction_of_the_tests_own_connection_is_refused(
    host: Flask, local_receiver: Receiver
) -> None:
    local_receiver.subscribe(host)
    session = db_of(host).session
    engines: Any = db_of(host).engines
    engine = state_of(host).engine
    with engine.connect() as connection, connection.begin():
        # As test suites do with Flask-SQLAlchemy.
        engines[None] = connection
        try:
            signals.license_activated.send(host, data=DATA)
            session.commit()
            with pytest.raises(WebhooksError, match=r"joined to a connection.*Use capture\(\)"):
                deliver_now(host)
            session.remove()
        finally:
            engines[None] = engine
    assert local_receiver.requests == []


def test_nothing_is_sent_to_another_machine(host: Flask, local_receiver: Receiver) -> None:
    local_receiver.subscribe(host)
    add_endpoint(host, "https://hooks.example.com/in")
    signals.license_activated.send(host, data=DATA)
    db_of(host).session.commit()
    with pytest.raises(WebhooksError, match=r"this machine only.*https://hooks\.example\.com/in"):
        deliver_now(host)
    assert local_receiver.requests == []
    policy = local(state_of(host)).policy
    assert policy.refusal("127.0.0.1") is policy.refusal("::1") is None
    for address in ("93.184.216.34", "10.0.0.1", "2606:2800:220:1::1", "169.254.169.254"):
        assert policy.refusal(address)


def test_database_in_memory_is_delivered_from(local_receiver: Receiver) -> None:
    db = SQLAlchemy()
    app = Flask("memory")
    app.config.update(SECRET_KEY="s", TESTING=True, SQLALCHEMY_DATABASE_URI="sqlite://")
    db.init_app(app)
    webhooks = Webhooks(db, app)
    with app.app_context():
        db.create_all()
        local_receiver.subscribe(webhooks)
        with capture(webhooks) as captured:
            webhooks.emit("license.activated", DATA)
            db.session.commit()
        assert len(deliver_now(webhooks)) == 1
        captured.assert_emitted("license.activated", to=local_receiver.url("/1"))
        close(app)


# -- the receiver ----------------------------------------------------------------------------------


def test_receiver_answers_as_it_is_told() -> None:
    with Receiver() as receiver:
        receiver.answer(500, 410)
        statuses = []
        for _ in range(3):
            try:
                with urllib.request.urlopen(receiver.url("/x"), data=b'{"a": 1}') as answer:
                    statuses.append(answer.status)
            except HTTPError as error:
                statuses.append(error.code)
                error.close()
        assert statuses == [500, 410, 200]
        assert [request.path for request in receiver.requests] == ["/x"] * 3
        assert receiver.requests[0].json == {"a": 1}


def test_receiver_says_what_is_missing() -> None:
    with pytest.raises(RuntimeError, match="with Receiver"):
        Receiver().url()
    with (
        Receiver() as receiver,
        pytest.raises(ValueError, match="no signed format 'slack'"),
    ):
        receiver.add_secret("x", format="slack")
    with Receiver() as receiver, pytest.raises(InvalidSecret):
        receiver.add_secret("whsec_no base 64")


def test_every_name_can_be_imported() -> None:
    for name in testing.__all__:
        assert getattr(testing, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'captured'"):
        _ = testing.captured


def test_application_without_webhooks_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="not set up"), capture(Flask("bare")):
        pass


def test_scheduled_events_are_captured_apart(host: Flask) -> None:
    webhooks = webhooks_of(host)
    moment = datetime.now(UTC) + timedelta(days=7)
    with capture(webhooks) as captured:
        webhooks.emit("license.created", DATA, deliver_at=moment, key="welcome:lic_1")
        db_of(host).session.rollback()
        assert captured.scheduled == []
        webhooks.emit("license.created", DATA, deliver_at=moment, key="welcome:lic_1")
        db_of(host).session.commit()
    found = captured.assert_scheduled("license.created", key="welcome:lic_1", deliver_at=moment)
    assert (found.committed, found.data, captured.events) == (True, DATA, [])
    captured.assert_not_emitted("license.created")
    with pytest.raises(AssertionError, match="Scheduled for later"):
        captured.assert_emitted("license.created")
    with pytest.raises(AssertionError, match="key: expected other, found welcome:lic_1"):
        captured.assert_scheduled("license.created", key="other")


def test_scheduled_events_are_delivered_until_a_time(host: Flask, local_receiver: Receiver) -> None:
    webhooks = webhooks_of(host)
    local_receiver.subscribe(webhooks)
    moment = datetime.now(UTC) + timedelta(days=7)
    webhooks.emit("license.created", DATA, deliver_at=moment)
    db_of(host).session.commit()
    assert deliver_now(webhooks, until=moment - timedelta(seconds=1)) == []
    with pytest.raises(WebhooksError, match="time zone"):
        deliver_now(webhooks, until=moment.replace(tzinfo=None))
    [attempt] = deliver_now(webhooks, until=moment)
    assert attempt.outcome == "succeeded"
