"""What the host and the customers are told of deliveries and endpoints."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from typing import Any

import blinker
import jsonschema
import pytest
import sqlalchemy as sa
from flask import Flask, current_app

from flask_webhooks import actions, signals
from flask_webhooks.app_state import state_of
from flask_webhooks.delivery.outcome import Outcome
from tests.support.delivering import (
    deliveries,
    drain,
    emit,
    make_due,
    models_of,
    the_delivery,
    webhooks_of,
)
from tests.support.helpers import accessing, add_endpoint, statements
from tests.support.receiver import Receiver
from tests.support.working import Worker, ended

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0


# -- signals out ---------------------------------------------------------------------------------------

OUT = [
    signals.attempt_recorded,
    signals.delivery_succeeded,
    signals.delivery_failed,
    signals.endpoint_failing,
    signals.endpoint_recovered,
    signals.endpoint_disabled,
]


def documented(signal: blinker.NamedSignal) -> set[str]:
    return set(re.findall(r":param (\w+):", signal.__doc__ or ""))


@contextmanager
def listening(app: Flask) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """All signals out, in the order in which they come."""
    heard: list[tuple[str, dict[str, Any]]] = []
    receivers = []
    for signal in OUT:

        def receive(sender: Any, name: str = signal.name, **values: Any) -> None:
            assert sender is app
            assert current_app._get_current_object() is app  # type: ignore[attr-defined]
            heard.append((name, values))

        signal.connect(receive, weak=False)
        receivers.append((signal, receive))
    try:
        yield heard
    finally:
        for signal, receive in receivers:
            signal.disconnect(receive)


def test_signals_have_the_documented_keywords(app: Flask) -> None:
    created = add_endpoint(app, events=["license.*"], tenant="app_1")
    with listening(app) as heard, closing(Worker(app, retry_schedule=(1.0,))) as worker:
        emit(app, 7, tenant="app_1")
        worker.settle(*(ended(flying, 500) for flying in worker.take()))
        worker.wait(2 * MINUTE)
        worker.answer(worker.take_one(), 200)
        worker.wait(2)
        worker.settle(*(ended(flying, 410) for flying in worker.take()))
    names = Counter(name for name, _ in heard)
    assert names == {
        "attempt-recorded": 14,
        "endpoint-failing": 1,
        "endpoint-recovered": 1,
        "endpoint-disabled": 1,
        "delivery-succeeded": 1,
        "delivery-failed": 6,
    }
    by_name = {signal.name: signal for signal in OUT}
    for name, values in heard:
        assert values.keys() == documented(by_name[name]), name
        assert values["endpoint_id"] == created.id
        assert values["tenant"] == "app_1"
        for key, value in values.items():
            if key.endswith(("_since", "_at")):
                assert isinstance(value, datetime), key
                assert value.tzinfo is not None
            else:
                assert type(value) in (str, int, float, type(None)), key
    [failing] = [values for name, values in heard if name == "endpoint-failing"]
    assert (failing["consecutive_failures"], failing["disable_progress"]) == (5, 0)
    assert failing["disable_at"] - failing["failing_since"] == timedelta(days=5)
    [recovered] = [values for name, values in heard if name == "endpoint-recovered"]
    assert recovered["failing_since"] == failing["failing_since"]
    failed = [values for name, values in heard if name == "delivery-failed"]
    assert {values["reason"] for values in failed} == {"gone"}
    assert {values["attempt_count"] for values in failed} == {2}


def test_beginning_of_an_incident_is_told_apart_from_its_warnings(
    app: Flask, worker: Worker
) -> None:
    add_endpoint(app, events=["license.*"])
    emit(app, 5)
    with listening(app) as heard:
        for wait in (0, 3 * DAY, 1, 1, 1):
            worker.wait(wait)
            worker.answer(worker.take_one(), 500)
    told = [values for name, values in heard if name == "endpoint-failing"]
    assert [values["disable_progress"] for values in told] == [50, 0]
    assert [values["consecutive_failures"] for values in told] == [2, 5]


def test_recovery_is_told_too(app: Flask) -> None:
    add_endpoint(app, events=["license.*"])
    emit(app)
    with listening(app) as heard, closing(Worker(app, max_interruptions=1)) as worker:
        worker.take_one()
        worker.wait(60)
        worker.recover()
    [(_, recorded), (_, failed)] = heard
    assert (recorded["outcome"], recorded["duration_ms"]) == ("interrupted", None)
    assert (failed["reason"], failed["status"]) == ("interrupted", None)
    assert recorded.keys() == documented(signals.attempt_recorded)
    assert failed.keys() == documented(signals.delivery_failed)


def test_signals_are_sent_after_the_commit_and_nothing_they_raise_matters(
    app: Flask, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    add_endpoint(app)
    emit(app)
    seen: list[str] = []

    def look(sender: Any, **values: Any) -> None:
        seen.append(the_delivery(app).state)
        raise RuntimeError("a bug of the host")

    with (
        signals.attempt_recorded.connected_to(look),
        signals.delivery_succeeded.connected_to(look),
    ):
        worker.answer(worker.take_one())
    assert seen == ["succeeded", "succeeded"]
    assert caplog.text.count("a bug of the host") >= 2


def test_stale_answer_is_not_told(app: Flask, worker: Worker) -> None:
    add_endpoint(app)
    emit(app)
    flying = worker.take_one()
    worker.wait(60)
    worker.recover()
    with listening(app) as heard:
        worker.answer(flying)
    assert heard == []


# -- operational events --------------------------------------------------------------------------------


def operational(app: Flask) -> list[tuple[str, str | None, dict[str, Any]]]:
    """Type, tenant and data of the events about webhooks, as their receivers get them."""
    model = models_of(app).Event
    with sa.orm.Session(state_of(app).engine) as session:
        rows = session.scalars(sa.select(model).order_by(model.id))
        return [
            (row.type, row.tenant, row.data)
            for row in rows
            if not row.type.startswith(("license", "test"))
        ]


def test_operational_events_go_to_whoever_subscribes_and_fit_the_catalogue(app: Flask) -> None:
    watched = add_endpoint(app, events=["license.*"], tenant="app_1", name="Orders")
    server = add_endpoint(app, events=["endpoint.*", "delivery.*"])
    sibling = add_endpoint(app, events=["endpoint.*"], tenant="app_1")
    stranger = add_endpoint(app, events=["endpoint.*"], tenant="app_2")

    def answer(worker: Worker, status: int) -> None:
        mine = [flying for flying in worker.take() if flying[0].endpoint_id == watched.id]
        worker.settle(*(ended(flying, status) for flying in mine))

    with closing(Worker(app, retry_schedule=(1.0,))) as worker:
        emit(app, 6, tenant="app_1")
        answer(worker, 500)
        worker.wait(2 * MINUTE)
        answer(worker, 200)
        worker.wait(2)
        answer(worker, 410)
    found = operational(app)
    types = Counter(name for name, _, _ in found)
    assert types == {
        "endpoint.failing": 1,
        "endpoint.recovered": 1,
        "endpoint.disabled": 1,
        "delivery.failed": 5,
    }
    catalog = state_of(app).catalog
    for name, tenant, data in found:
        jsonschema.validate(data, catalog[name].schema)
        assert data.keys() <= catalog[name].schema["properties"].keys()
        assert tenant == "app_1"
        assert (data["endpoint_id"], data["endpoint_name"]) == (watched.id, "Orders")
    owed = Counter(row.endpoint_id for row in deliveries(app) if row.event_type in types)
    assert owed == {server.id: 8, sibling.id: 3}
    assert stranger.id not in owed
    [failing] = [data for name, _, data in found if name == "endpoint.failing"]
    assert (failing["last_status"], failing["last_error"]) == (
        500,
        "The receiver responded with 500.",
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", failing["failing_since"])
    failed = [data for name, _, data in found if name == "delivery.failed"]
    assert {data["reason"] for data in failed} == {"gone"}
    assert {data["event_type"] for data in failed} == {"license.created"}


def test_no_operational_events_about_operational_events_or_tests(app: Flask) -> None:
    server = add_endpoint(app, events=["endpoint.*", "delivery.*"])
    watched = add_endpoint(app, events=["license.*"], tenant="app_1")
    actions.send_test(accessing(app), watched.id)
    emit(app, 1, tenant="app_1")
    with closing(Worker(app, retry_schedule=())) as worker:
        for _ in range(5):
            worker.answer_all(500)
            worker.wait(2 * HOUR)
    # One for the event that was given up; none for the notice of it, which was given up too.
    assert [name for name, _, _ in operational(app)] == ["delivery.failed"]
    assert {row.state for row in deliveries(app) if row.endpoint_id == server.id} == {"failed"}


def test_nobody_is_told_of_itself(app: Flask) -> None:
    """What fails cannot tell of it: its notice would only wait with the rest."""
    alone = add_endpoint(app, tenant="app_1")
    other = add_endpoint(app)
    sibling = add_endpoint(app, tenant="app_1", events=["endpoint.*", "delivery.*"])

    def answer(worker: Worker, status: int) -> None:
        mine = [flying for flying in worker.take() if flying[0].endpoint_id == alone.id]
        worker.settle(*(ended(flying, status) for flying in mine))

    with closing(Worker(app, retry_schedule=(1.0,))) as worker:
        emit(app, 6, tenant="app_1")
        answer(worker, 500)
        worker.wait(2 * MINUTE)
        answer(worker, 200)
        worker.wait(2)
        answer(worker, 410)
    notices = {"endpoint.failing": 1, "endpoint.recovered": 1, "endpoint.disabled": 1}
    expected = Counter({**notices, "delivery.failed": 5})

    def told(endpoint_id: str) -> Counter[str]:
        rows = deliveries(app)
        return Counter(row.event_type for row in rows if row.endpoint_id == endpoint_id)

    assert told(alone.id) == {"license.created": 6}
    assert told(sibling.id) == expected
    assert told(other.id) == expected + Counter({"license.created": 6})


@pytest.mark.parametrize("kept", [False, True])
def test_notice_for_nobody_is_kept_for_the_record_only(app: Flask, kept: bool) -> None:
    add_endpoint(app)
    emit(app)
    with closing(Worker(app, keep_unmatched=kept)) as worker:
        settled = worker.answer(worker.take_one(), 410)
        assert settled.emitted is False
    assert [name for name, _, _ in operational(app)] == (
        ["endpoint.disabled", "delivery.failed"] if kept else []
    )


def test_subscribers_are_looked_up_once_for_a_batch(app: Flask, worker: Worker) -> None:
    add_endpoint(app, events=["license.*"], tenant="app_1")
    add_endpoint(app, events=["license.*"], tenant="app_2")
    server = add_endpoint(app, events=["delivery.*"])

    def look(number: int) -> int:
        for tenant in ("app_1", "app_2"):
            emit(app, number, tenant=tenant)
        taken = [flying for flying in worker.take() if flying[0].endpoint_id != server.id]
        assert len(taken) == 2 * number
        with statements(app) as executed:
            worker.settle(*(ended(flying, None, outcome=Outcome.BLOCKED) for flying in taken))
        return sum("webhooks_endpoint.events" in statement for statement in executed)

    assert look(1) == 1
    assert look(2) == 1
    assert Counter(row.endpoint_id for row in deliveries(app))[server.id] == 6


def test_recovered_rows_that_fail_are_reported(app: Flask) -> None:
    add_endpoint(app, events=["delivery.*"])
    watched = add_endpoint(app, events=["license.*"])
    emit(app)
    with closing(Worker(app, max_interruptions=1)) as worker:
        worker.take_one()
        worker.wait(60)
        worker.recover()
    [(name, _, data)] = operational(app)
    assert (name, data["reason"], data["endpoint_id"]) == (
        "delivery.failed",
        "interrupted",
        watched.id,
    )
    jsonschema.validate(data, state_of(app).catalog[name].schema)


def test_end_to_end_the_notice_of_a_failure_is_delivered_by_the_same_drain(
    app: Flask, receiver: Receiver
) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/status/410"), ["license.*"])
    webhooks_of(app).create_endpoint(receiver.url("/ok"), ["endpoint.*", "delivery.*"])
    emit(app)
    drain(app)
    make_due(app)
    drain(app)
    told = Counter(row.event_type for row in deliveries(app) if row.state == "succeeded")
    assert told == {"endpoint.disabled": 1, "delivery.failed": 1}
