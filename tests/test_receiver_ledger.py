"""The receiver's ledger: every gap is found, and nothing that is none."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_webhooks import actions
from flask_webhooks.app_state import state_of
from flask_webhooks.delivery.retention import prune
from flask_webhooks.errors import ConfigurationError, VerificationError
from flask_webhooks.receiver import Ledger, verify
from tests.support.api_calls import Api
from tests.support.api_calls import make_app as make_api_app
from tests.support.delivering import close, deliveries, drain, emit, make_due, webhooks_of
from tests.support.helpers import accessing, database_time
from tests.support.receiver import Receiver


@pytest.fixture
def app(database_url: str, redis_url: str) -> Iterator[Flask]:
    app = make_api_app(database_url, redis_url)
    with app.app_context():
        yield app
        close(app)


class Customer:
    """Receives what its server got, and asks the sender's API."""

    def __init__(self, app: Flask, receiver: Receiver, path: str = "/ok", **options: Any) -> None:
        created = webhooks_of(app).create_endpoint(receiver.url(path), **options)
        assert created.secret is not None
        self.id, self.secret = created.endpoint.id, created.secret
        self._api = Api(app)
        self._receiver = receiver
        self._seen = 0

    def get(self, path: str) -> tuple[Any, bytes]:
        response = self._api.send("GET", path)
        return response.headers, response.data

    def note(self, ledger: Ledger, *lost: int) -> None:
        """Note what arrived since, but for some numbers, as if the receiver had failed at them."""
        requests = self._receiver.requests
        for request in requests[self._seen :]:
            verify(request.headers, request.body, self.secret)
            if int(request.headers.get("webhook-sequence", 0)) not in lost:
                ledger.note(request.headers)
        self._seen = len(requests)


@pytest.fixture
def customer(app: Flask, receiver: Receiver) -> Customer:
    return Customer(app, receiver)


@pytest.fixture
def ledger(customer: Customer, tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite", customer.id, customer.secret)


def numbers(entries: list[Any]) -> list[int]:
    return [entry.sequence for entry in entries]


@pytest.mark.slow
def test_gap_is_found_and_pulled(app: Flask, customer: Customer, ledger: Ledger) -> None:
    event_ids = emit(app, 6)
    drain(app)
    customer.note(ledger, 2, 3, 6)
    # The last one is no gap to who has only what came.
    assert ledger.gaps() == [(2, 3)]
    found = ledger.check(customer.get)
    sent = {row.sequence: row.event_id for row in deliveries(app)}
    assert [(item.sequence, item.event_id) for item in found.missing] == [
        (number, sent[number]) for number in (2, 3, 6)
    ]
    assert {item.state for item in found.missing} == {"succeeded"}
    assert found.pending == found.removed == []
    handled: list[dict[str, Any]] = []
    assert ledger.pull(customer.get, handled.append).missing == []
    assert {event["id"] for event in handled} <= set(event_ids)
    assert [event["type"] for event in handled] == ["license.created"] * 3
    again = ledger.check(customer.get)
    assert (again.missing, again.pending, again.removed) == ([], [], [])
    assert ledger.gaps() == []


@pytest.mark.slow
def test_nothing_is_missing_of_what_is_on_its_way(
    app: Flask, receiver: Receiver, tmp_path: Path
) -> None:
    customer = Customer(app, receiver, "/flaky/1")
    ledger = Ledger(tmp_path / "ledger.sqlite", customer.id, customer.secret)
    emit(app, 3)
    drain(app)
    found = ledger.check(customer.get)
    assert (numbers(found.pending), found.missing) == ([1, 2, 3], [])
    receiver.requests.clear()
    make_due(app)
    drain(app)
    customer.note(ledger)
    found = ledger.check(customer.get)
    assert (found.pending, found.missing, found.removed) == ([], [], [])


@pytest.mark.slow
def test_number_that_fails_or_is_cancelled_is_missing(
    app: Flask, receiver: Receiver, tmp_path: Path
) -> None:
    customer = Customer(app, receiver, "/status/400")
    ledger = Ledger(tmp_path / "ledger.sqlite", customer.id, customer.secret)
    emit(app)
    drain(app, retry_schedule=())
    [entry] = ledger.check(customer.get).missing
    assert (entry.sequence, entry.state) == (1, "failed")
    actions.resend(accessing(app), deliveries(app)[0].id)
    assert numbers(ledger.check(customer.get).pending) == [1]


@pytest.mark.slow
def test_gap_that_is_older_than_retention_is_told_apart(
    app: Flask, customer: Customer, ledger: Ledger
) -> None:
    emit(app, 3)
    drain(app)
    customer.note(ledger, 2)
    with state_of(app).engine.connect() as connection:
        prune(state_of(app), connection, database_time(app) + timedelta(days=400))
    found = ledger.pull(customer.get, lambda event: None)
    assert (numbers(found.removed), found.missing) == ([2], [])
    ledger.accept(found.removed[0])
    assert ledger.check(customer.get).removed == []


def test_number_is_believed_only_with_its_event(
    app: Flask, customer: Customer, ledger: Ledger
) -> None:
    """No signature covers `webhook-sequence`: a request may have been given that of another event."""
    emit(app, 2)
    drain(app)
    first, second = (
        row.event_id for row in sorted(deliveries(app), key=lambda row: row.sequence or 0)
    )
    ledger.note({"Webhook-Id": first, "Webhook-Sequence": "1"})
    ledger.note({"Webhook-Id": first, "Webhook-Sequence": "2"})
    assert [entry.event_id for entry in ledger.check(customer.get).missing] == [second]


def test_answer_of_another_endpoint_or_sender_is_refused(
    app: Flask, receiver: Receiver, customer: Customer, ledger: Ledger, tmp_path: Path
) -> None:
    other = Customer(app, receiver, "/other", secret=customer.secret)
    with pytest.raises(VerificationError, match="not the ledger of this endpoint"):
        ledger.check(lambda path: customer.get(path.replace(customer.id, other.id)))
    emit(app)
    drain(app)
    [webhook, *_] = receiver.requests
    with pytest.raises(VerificationError, match="not the ledger"):
        ledger.check(lambda path: (webhook.headers, webhook.body))
    stranger = Ledger(tmp_path / "other.sqlite", customer.id, "whsec_" + "QUFB" * 12)
    with pytest.raises(VerificationError):
        stranger.check(customer.get)
    for first in (2, 9):
        with pytest.raises(VerificationError, match="begin with the number"):
            ledger.check(
                lambda path, first=first: customer.get(path.replace("from=1", f"from={first}"))  # type: ignore[misc]
            )
    # An answer that ends early is asked to go on.
    emit(app, 2)
    drain(app)
    entries = ledger.check(lambda path: customer.get(f"{path}&to={path.rpartition('=')[2]}"))
    assert numbers(entries.missing) == [1, 2, 3]


def test_tests_are_not_noted_and_repeats_once(
    app: Flask, customer: Customer, ledger: Ledger
) -> None:
    actions.send_test(accessing(app), customer.id)
    emit(app)
    drain(app)
    for _ in range(2):
        customer._seen = 0
        customer.note(ledger)
    assert ledger.note({"webhook-id": "evt_1"}) is None
    assert ledger.gaps() == []
    assert ledger.check(customer.get).missing == []


@pytest.mark.parametrize(
    "headers",
    [
        {"webhook-id": "evt_1", "webhook-sequence": "one"},
        {"webhook-id": "evt_1", "webhook-sequence": "-1"},
        {"webhook-id": "evt_1", "webhook-sequence": "9" * 30},
        {"webhook-sequence": "1"},
    ],
)
def test_header_that_is_no_number_is_refused(headers: dict[str, str], tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite", "ep_1", "whsec_" + "QUFB" * 12)
    with pytest.raises(VerificationError, match="webhook-sequence"):
        ledger.note(headers)
    assert ledger.gaps() == []


@pytest.mark.parametrize("options", [{"first": 0}, {"first": "1"}, {"table": "a; DROP TABLE b"}])
def test_misuse_is_told(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="must be"):
        Ledger(tmp_path / "ledger.sqlite", "ep_1", "whsec_" + "QUFB" * 12, **options)


def test_notes_stand_and_fall_with_the_transaction_of_the_customer(
    app: Flask, customer: Customer, tmp_path: Path
) -> None:
    emit(app, 2)
    drain(app)
    with closing(sqlite3.connect(tmp_path / "customer.sqlite")) as own:
        own.execute("CREATE TABLE shop_ledger (endpoint_id TEXT, sequence BIGINT, event_id TEXT)")
        ledger = Ledger(lambda: own, customer.id, customer.secret, table="shop_ledger")
        customer.note(ledger)
        own.rollback()
        assert numbers(ledger.check(customer.get).missing) == [1, 2]
        customer._seen = 0
        customer.note(ledger)
        own.commit()
        assert ledger.check(customer.get).missing == []


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_table_may_be_in_another_database(
    app: Flask, customer: Customer, database_url: str
) -> None:
    emit(app, 3)
    drain(app)
    engine = state_of(app).engine
    with engine.connect() as connection:
        connection.execute(
            sa.text("CREATE TABLE noted (endpoint_id text, sequence bigint, event_id text)")
        )
        raw = connection.connection.dbapi_connection
        ledger = Ledger(lambda: raw, customer.id, customer.secret, table="noted", placeholder="%s")
        customer.note(ledger, 2)
        assert ledger.gaps() == [(2, 2)]
        assert numbers(ledger.check(customer.get).missing) == [2]
        connection.commit()


def test_what_is_in_order_is_forgotten(
    app: Flask, customer: Customer, ledger: Ledger, tmp_path: Path
) -> None:
    for _ in range(3):
        emit(app, 4)
        drain(app)
        customer.note(ledger, 6)
        ledger.check(customer.get)
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as file:
        kept = file.execute("SELECT sequence FROM webhook_ledger ORDER BY sequence").fetchall()
    assert [number for (number,) in kept] == [5, 7, 8, 9, 10, 11, 12]


def test_ledger_that_begins_later_asks_for_nothing_before(
    app: Flask, customer: Customer, tmp_path: Path
) -> None:
    emit(app, 3)
    drain(app)
    ledger = Ledger(tmp_path / "ledger.sqlite", customer.id, customer.secret, first=3)
    assert numbers(ledger.check(customer.get).missing) == [3]


@pytest.mark.parametrize("seed", range(3))
def test_every_gap_is_found_and_nothing_else(
    app: Flask, customer: Customer, ledger: Ledger, seed: int
) -> None:
    chance = random.Random(seed)
    lost: set[int] = set()
    for _ in range(4):
        count = chance.randint(1, 12)
        emit(app, count)
        drain(app)
        before = max((row.sequence or 0 for row in deliveries(app)), default=0) - count
        fails = {before + n for n in range(1, count + 1) if chance.random() < 0.3}
        customer.note(ledger, *fails)
        lost |= fails
        found = ledger.check(customer.get)
        assert numbers(found.missing) == sorted(lost)
        assert found.pending == found.removed == []
        if chance.random() < 0.5:
            ledger.pull(customer.get, lambda event: None)
            lost.clear()
