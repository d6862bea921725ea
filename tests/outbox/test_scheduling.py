"""Events for a time ahead, in the host's transaction: scheduled, replaced and cancelled; and what is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from flask import Flask
from sqlalchemy import orm

from flask_webhooks.app_state import state_of
from flask_webhooks.delivery.scheduled import record_due
from flask_webhooks.errors import InvalidInput
from flask_webhooks.models import ScheduledEvent
from tests.support.delivering import close, db_of, events, make_app, models_of, webhooks_of
from tests.support.helpers import at_once

DATA = {"license_id": "lic_1", "license_key": "AAAA-BBBB"}
KEY = "expiring:lic_1"


def in_days(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def schedule(app: Flask, days: float = 7, key: str | None = KEY, **options: Any) -> ScheduledEvent:
    made = webhooks_of(app).emit(
        "license.created", DATA, deliver_at=in_days(days), key=key, **options
    )
    assert made is not None
    return made


def commit(app: Flask) -> None:
    db_of(app).session.commit()


def scheduled(app: Flask) -> list[ScheduledEvent]:
    """All that is scheduled, oldest first, as others see it."""
    model = models_of(app).ScheduledEvent
    with orm.Session(state_of(app).engine) as session:
        return list(session.scalars(sa.select(model).order_by(model.id)))


def test_scheduling_returns_what_was_scheduled(app: Flask) -> None:
    moment = in_days(7)
    made = webhooks_of(app).emit(
        "license.created", DATA, tenant="app_1", deliver_at=moment, key=KEY
    )
    commit(app)
    assert made is not None
    [row] = scheduled(app)
    assert (row.id, row.type, row.tenant, row.data, row.key) == (
        *(made.id, "license.created", "app_1", DATA, KEY),
    )
    assert row.deliver_at == row.occurred_at == made.deliver_at == moment
    assert events(app) == []


def test_scheduling_stands_and_falls_with_the_transaction(app: Flask) -> None:
    schedule(app)
    db_of(app).session.rollback()
    assert scheduled(app) == []
    schedule(app)
    commit(app)
    assert len(scheduled(app)) == 1


def test_same_key_replaces_what_was_scheduled(app: Flask) -> None:
    schedule(app, 7)
    commit(app)
    later = schedule(app, 30)
    commit(app)
    [row] = scheduled(app)
    assert (row.id, row.deliver_at) == (later.id, later.deliver_at)


def test_replacement_that_is_rolled_back_leaves_the_first(app: Flask) -> None:
    first = schedule(app, 7)
    commit(app)
    schedule(app, 30)
    db_of(app).session.rollback()
    assert [row.id for row in scheduled(app)] == [first.id]


def test_cancelling_stands_and_falls_with_the_transaction(app: Flask) -> None:
    schedule(app)
    commit(app)
    assert webhooks_of(app).cancel(KEY) is True
    db_of(app).session.rollback()
    assert len(scheduled(app)) == 1
    assert webhooks_of(app).cancel(KEY) is True
    commit(app)
    assert scheduled(app) == []


def test_cancelling_an_unknown_key_says_so(app: Flask) -> None:
    assert webhooks_of(app).cancel("nothing") is False
    schedule(app)
    assert webhooks_of(app).cancel(KEY) is True
    assert webhooks_of(app).cancel(KEY) is False
    commit(app)
    assert scheduled(app) == []


def test_each_tenant_has_keys_of_its_own(app: Flask) -> None:
    for tenant in (None, "app_1", "app_2"):
        schedule(app, tenant=tenant)
    commit(app)
    assert webhooks_of(app).cancel(KEY, tenant="app_1") is True
    commit(app)
    assert {row.tenant for row in scheduled(app)} == {None, "app_2"}


def test_events_without_key_do_not_replace_each_other(app: Flask) -> None:
    schedule(app, key=None)
    schedule(app, key=None)
    commit(app)
    assert len(scheduled(app)) == 2


def test_session_of_the_hosts_own_carries_it(app: Flask) -> None:
    with orm.Session(state_of(app).engine) as session, session.begin():
        schedule(app, session=session)
    assert len(scheduled(app)) == 1
    with orm.Session(state_of(app).engine) as session, session.begin():
        assert webhooks_of(app).cancel(KEY, session=session) is True
    assert scheduled(app) == []


@pytest.mark.slow
def test_commit_wakes_a_worker_and_rollback_does_not(app: Flask, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        schedule(app)
        db_of(app).session.rollback()
        assert client.llen("rq:queue:webhooks") == 0
        schedule(app)
        commit(app)
        assert client.llen("rq:queue:webhooks") == 1


@pytest.mark.parametrize(
    ("options", "field", "says"),
    [
        ({"deliver_at": in_days(1).replace(tzinfo=None)}, "deliver_at", "with a time zone"),
        ({"deliver_at": "tomorrow"}, "deliver_at", "with a time zone"),
        ({"deliver_at": in_days(-1)}, "deliver_at", "leave it out"),
        ({"deliver_at": datetime.min.replace(tzinfo=UTC)}, "deliver_at", "leave it out"),
        ({"deliver_at": in_days(3700)}, "deliver_at", "ten years"),
        (
            {"deliver_at": datetime.max.replace(tzinfo=timezone(timedelta(hours=-14)))},
            "deliver_at",
            "ten years",
        ),
        ({"key": KEY}, "key", "pass deliver_at"),
        ({"deliver_at": in_days(1), "key": "k" * 256}, "key", "1 to 255"),
        ({"deliver_at": in_days(1), "key": ""}, "key", "1 to 255"),
        ({"deliver_at": in_days(1), "key": "a\nb"}, "key", "printable"),
        ({"deliver_at": in_days(1), "key": 7}, "key", "must be a text"),
        (
            {"deliver_at": in_days(1), "idempotency_key": "once"},
            "idempotency_key",
            "takes no idempotency_key",
        ),
        ({"deliver_at": in_days(1), "transactional": False}, "deliver_at", "leave deliver_at out"),
    ],
    ids=lambda value: None,
)
def test_bad_input_is_refused_with_what_to_write(
    app: Flask, options: dict[str, Any], field: str, says: str
) -> None:
    with pytest.raises(InvalidInput, match=says) as caught:
        webhooks_of(app).emit("license.created", DATA, **options)
    assert caught.value.field == field
    commit(app)
    assert scheduled(app) == []
    assert events(app) == []


def test_refusals_can_be_scheduled_only_in_the_transaction(app: Flask) -> None:
    data = {"username": "ann", "reason": "Wrong password"}
    with pytest.raises(InvalidInput, match="transactional=True"):
        webhooks_of(app).emit("user.login_failed", data, deliver_at=in_days(1))
    webhooks_of(app).emit("user.login_failed", data, deliver_at=in_days(1), transactional=True)
    commit(app)
    assert len(scheduled(app)) == 1


def test_time_that_has_just_passed_is_due_now(app: Flask) -> None:
    schedule(app, days=-10 / 86400)
    commit(app)
    assert len(scheduled(app)) == 1


@pytest.mark.parametrize("key", ["", "k" * 256, "a\0b", None, 7])
def test_cancelling_what_can_be_no_key_is_refused(app: Flask, key: Any) -> None:
    with pytest.raises(InvalidInput, match="expiring:lic_1"):
        webhooks_of(app).cancel(key)


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def busy(request: pytest.FixtureRequest, tmp_path: Any, redis_url: str) -> Iterator[Flask]:
    """A host on each kind of database."""
    if request.param == "mariadb":
        url = request.getfixturevalue("mariadb_url")
    elif request.param == "postgresql":
        url = request.getfixturevalue("postgres_server").create_database("scheduling")
    else:
        url = f"sqlite:///{tmp_path / 'database.sqlite'}"
    app = make_app(url, redis_url)
    with app.app_context():
        yield app
        if request.param == "mariadb":
            db_of(app).drop_all()
        close(app)
    if request.param == "postgresql":
        request.getfixturevalue("postgres_server").drop_database("scheduling")


def test_transactions_that_replace_one_key_follow_each_other(busy: Flask) -> None:
    barrier = threading.Barrier(4)

    def replace(number: int) -> Callable[[], None]:
        def run() -> None:
            with busy.app_context():
                for round_ in range(5):
                    barrier.wait()
                    schedule(busy, days=1 + number + round_ / 10)
                    commit(busy)

        return run

    assert at_once(*(replace(number) for number in range(4))) == [None] * 4
    assert len(scheduled(busy)) == 1


@pytest.mark.slow
def test_replacing_what_is_being_recorded_ends_no_transaction(busy: Flask) -> None:
    state = state_of(busy)
    over = threading.Event()

    def replace() -> None:
        try:
            with busy.app_context():
                for _ in range(40):
                    schedule(busy, days=0)
                    commit(busy)
                    schedule(busy, days=0, key="another")
                    webhooks_of(busy).cancel("third")
                    commit(busy)
        finally:
            over.set()

    def record() -> None:
        while not over.is_set():
            with state.own_engine.connect() as connection:
                record_due(state, connection, datetime.now(UTC))

    assert at_once(replace, record) == [None, None]
