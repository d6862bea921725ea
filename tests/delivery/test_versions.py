"""Endpoints get event data in the version that they are pinned to, until they are moved."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_webhooks import actions, queries
from flask_webhooks.app_state import state_of
from flask_webhooks.errors import ConversionFailed, InvalidEndpoint
from tests.support.delivering import (
    attempts,
    db_of,
    deliveries,
    drain,
    emit,
    endpoint,
    events,
    health,
    states,
    the_delivery,
    webhooks_of,
)
from tests.support.helpers import (
    accessing,
    activity,
    add_endpoint,
    close,
    make_app,
    statements,
    update,
)
from tests.support.hostapp import create_app
from tests.support.processes import OURS, WorkerProcess, config_of, wait_until
from tests.support.receiver import Receiver

NAME = "license.activated"
FIRST, SECOND = "2026-12-01", "2027-03-01"
NEW = {"license": {"id": "lic_1"}, "plan": "pro", "seats": 5}
MIDDLE = {"license_id": "lic_1", "plan": "pro", "seats": 5}
OLD = {"license_id": "lic_1", "plan": "pro"}


def flatten(data: dict[str, Any]) -> dict[str, Any]:
    return {"license_id": data.pop("license")["id"], **data}


def without_seats(data: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name != "seats"}


def add_first(app: Flask, event_type: str = NAME) -> None:
    webhooks_of(app).version(event_type, FIRST)(without_seats)


def add_second(app: Flask) -> None:
    webhooks_of(app).version(NAME, SECOND)(flatten)


def sent(receiver: Receiver, path: str) -> list[Any]:
    return [json.loads(item.body)["data"] for item in receiver.requests if item.path == path]


def test_each_endpoint_gets_its_own_version(app: Flask, receiver: Receiver) -> None:
    before = add_endpoint(app, receiver.url("/before"))
    add_first(app)
    first = add_endpoint(app, receiver.url("/first"))
    add_second(app)
    second = add_endpoint(app, receiver.url("/second"))
    assert [item.data_version for item in (before, first, second)] == [None, FIRST, SECOND]
    emit(app, event_type=NAME, data=NEW)
    assert drain(app) == 3
    assert states(app) == {"succeeded": 3}
    assert sent(receiver, "/before") == [OLD]
    assert sent(receiver, "/first") == [MIDDLE]
    assert sent(receiver, "/second") == [NEW]
    # It is stored once, as it was emitted.
    assert [event.data for event in events(app)] == [NEW]
    bodies = {json.dumps(json.loads(item.request_body or "")["data"]) for item in attempts(app)}
    assert len(bodies) == 3


@pytest.mark.slow_on_postgresql
def test_worker_sends_the_version(
    database_url: str, redis_url: str, receiver: Receiver, tmp_path: Path
) -> None:
    """The whole way, with a worker's process."""
    app = make_app(database_url, redis_url, DATA_VERSIONS={NAME: {FIRST: "seats"}})
    with app.app_context():
        add_endpoint(app, receiver.url("/old"), data_version="initial")
        add_endpoint(app, receiver.url("/new"))
        with WorkerProcess(OURS, config_of(app), tmp_path / "worker.log") as worker:
            emit(app, event_type=NAME, data=MIDDLE)
            wait_until(lambda: states(app) == {"succeeded": 2}, 30, worker.output)
        assert sent(receiver, "/old") == [OLD]
        assert sent(receiver, "/new") == [MIDDLE]
    close(app)


def test_moving_holds_for_what_is_sent_afterwards(app: Flask, receiver: Receiver) -> None:
    made = add_endpoint(app, receiver.url("/in"))
    add_first(app)
    add_second(app)
    for wanted, data in (
        ("initial", OLD),
        (FIRST, MIDDLE),
        (SECOND, NEW),
        ("initial", OLD),
        (None, NEW),
    ):
        changed = actions.update_endpoint(accessing(app), made.id, data_version=wanted)
        assert changed.data_version == {"initial": None, None: SECOND}.get(wanted, wanted)
        emit(app, event_type=NAME, data=NEW)
        drain(app)
        assert sent(receiver, "/in")[-1] == data
    changes = [row.changes for row in activity(app) if row.action == "endpoint.updated"]
    assert {"data_version": [FIRST, SECOND]} in changes


def test_retry_and_resend_get_the_version_of_the_moment(app: Flask, receiver: Receiver) -> None:
    made = add_endpoint(app, receiver.url("/status/503"))
    add_first(app)
    emit(app, event_type=NAME, data=MIDDLE)
    drain(app)
    actions.update_endpoint(accessing(app), made.id, data_version=FIRST)
    actions.resend(accessing(app), the_delivery(app).id)
    drain(app)
    assert [json.loads(item.body)["data"] for item in receiver.requests] == [OLD, MIDDLE]


@pytest.mark.parametrize("format", ["cloudevents", "custom", "authon"])
def test_every_format_gets_the_version(app: Flask, receiver: Receiver, format: str) -> None:
    template = '{"plan": "{{ data.plan }}", "seats": "{{ data.seats }}"}'
    options = {"template": template} if format == "custom" else None
    add_endpoint(app, receiver.url("/in"), format=format, options=options)
    add_first(app)
    emit(app, event_type=NAME, data=MIDDLE)
    drain(app)
    body = receiver.requests[0].body.decode()
    assert '"pro"' in body
    assert '"seats":5' not in body.replace(" ", "")


def test_filter_is_decided_on_the_newest_data(app: Flask, receiver: Receiver) -> None:
    add_endpoint(app, receiver.url("/in"), filter={"data": {"seats": {"$gte": 5}}})
    add_first(app)
    emit(app, event_type=NAME, data=MIDDLE)
    drain(app)
    assert sent(receiver, "/in") == [OLD]


def test_emit_runs_no_more_statements_and_no_function(app: Flask) -> None:
    add_endpoint(app)
    emit(app, event_type=NAME, data=MIDDLE)
    with statements(app) as before:
        emit(app, event_type=NAME, data=MIDDLE)
    called = []

    @webhooks_of(app).version(NAME, FIRST)
    def note(data: dict[str, Any]) -> dict[str, Any]:
        called.append(data)
        return data

    with statements(app) as after:
        emit(app, event_type=NAME, data=MIDDLE)
    assert after == before
    assert called == []


def test_removed_version_goes_by_the_dates_that_are_left(app: Flask, receiver: Receiver) -> None:
    made = add_endpoint(app, receiver.url("/in"))
    add_second(app)
    update(app, "Endpoint", made.id, data_version="2027-01-01")
    emit(app, event_type=NAME, data=NEW)
    drain(app)
    assert sent(receiver, "/in") == [MIDDLE]
    # It may keep what it has, and not be moved to what is gone.
    kept = actions.update_endpoint(accessing(app), made.id, name="x", data_version="2027-01-01")
    assert kept.data_version == "2027-01-01"
    with pytest.raises(InvalidEndpoint, match=f"There are: {SECOND}, initial"):
        actions.update_endpoint(accessing(app), made.id, data_version="2027-01-02")


def test_unknown_version_creates_nothing(app: Flask) -> None:
    add_first(app)
    with pytest.raises(InvalidEndpoint, match=f"There are: {FIRST}, initial") as caught:
        add_endpoint(app, data_version="2026-12-02")
    assert caught.value.field == "data_version"
    assert queries.list_endpoints(accessing(app)) == []


def test_events_of_before_a_change_are_left_alone(app: Flask, receiver: Receiver) -> None:
    """What waits when a change is deployed is as it was emitted, and so is what is replayed later."""
    made = add_endpoint(app, receiver.url("/in"))
    emit(app, event_type=NAME, data=OLD)
    add_first(app)
    emit(app, event_type=NAME, data=MIDDLE)
    add_second(app)
    emit(app, event_type=NAME, data=NEW)
    assert [event.data_version for event in events(app)] == [None, FIRST, SECOND]
    drain(app)
    assert sent(receiver, "/in") == [OLD, OLD, OLD]
    actions.update_endpoint(accessing(app), made.id, data_version=SECOND)
    for delivery in deliveries(app):
        actions.resend(accessing(app), delivery.id)
    drain(app)
    again = sent(receiver, "/in")[3:]
    assert len(again) == 3
    assert all(data in again for data in (OLD, MIDDLE, NEW))


def test_scheduled_event_is_in_the_version_of_its_making(app: Flask, receiver: Receiver) -> None:
    add_endpoint(app, receiver.url("/in"))
    add_first(app)
    soon = datetime.now(UTC) + timedelta(seconds=0.5)
    webhooks_of(app).emit(NAME, MIDDLE, deliver_at=soon, key="one")
    db_of(app).session.commit()
    add_second(app)
    wait_until(lambda: drain(app) == 1, 30)
    assert [event.data_version for event in events(app)] == [FIRST]
    assert sent(receiver, "/in") == [OLD]


def test_data_of_a_version_that_is_gone_holds_those_who_need_it_older(
    app: Flask, receiver: Receiver
) -> None:
    """As when an application is set back to code of before a change."""
    old = add_endpoint(app, receiver.url("/old"))
    add_endpoint(app, receiver.url("/new"), name="new")
    [event_id] = emit(app, event_type=NAME, data=NEW)
    update(app, "Event", event_id, data_version=SECOND)
    [row] = queries.list_endpoints(accessing(app), "new")
    update(app, "Endpoint", row.endpoint.id, data_version=SECOND)
    drain(app)
    assert (sent(receiver, "/old"), sent(receiver, "/new")) == ([], [NEW])
    assert health(app, old.id).hold_reason == "version_failed"


# -- a function that fails ------------------------------------------------------------------------------------


@pytest.fixture
def failing(app: Flask, receiver: Receiver) -> list[bool]:
    """A host whose function fails while the list is not empty; one endpoint needs it, and one does not."""
    broken = [True]

    def convert(data: dict[str, Any]) -> dict[str, Any]:
        return data["AAAA-BBBB"] if broken else without_seats(data)

    add_endpoint(app, receiver.url("/old"), name="old")
    webhooks_of(app).version(NAME, FIRST)(convert)
    add_endpoint(app, receiver.url("/new"), name="new")
    return broken


def the_old(app: Flask) -> Any:
    [row] = queries.list_endpoints(accessing(app), "old")
    return row.endpoint


def test_failing_function_holds_the_endpoint_and_keeps_the_event(
    app: Flask, receiver: Receiver, failing: list[bool], caplog: pytest.LogCaptureFixture
) -> None:
    data = {**MIDDLE, "license_key": "AAAA-BBBB"}
    emit(app, event_type=NAME, data=data)
    with caplog.at_level(logging.WARNING, "flask_webhooks.delivery"):
        drain(app)
    assert states(app) == {"succeeded": 1, "pending": 1}
    [waiting] = [item for item in deliveries(app) if item.state == "pending"]
    assert (waiting.attempt_count, waiting.failure_count) == (0, 0)
    state = health(app, the_old(app).id)
    assert (state.hold_reason, state.consecutive_failures) == ("version_failed", 0)
    assert state.hold_until is not None
    [record] = [item for item in caplog.records if item.levelno == logging.WARNING]
    assert the_old(app).id in record.getMessage()
    assert (
        f"The data of {NAME} cannot be turned into what it was before {FIRST}"
        in record.getMessage()
    )
    assert "KeyError at test_versions.py:" in record.getMessage()
    assert "AAAA" not in caplog.text
    # Nothing else goes to it meanwhile.
    emit(app, data=data)
    drain(app)
    assert sent(receiver, "/old") == []
    assert len(sent(receiver, "/new")) == 2


def test_endpoint_goes_on_once_the_function_is_corrected(
    app: Flask, receiver: Receiver, failing: list[bool]
) -> None:
    emit(app, event_type=NAME, data=MIDDLE)
    drain(app)
    failing.clear()
    let_go(app)
    drain(app)
    assert sent(receiver, "/old") == [OLD]
    assert states(app) == {"succeeded": 2}
    assert health(app, the_old(app).id).hold_reason is None


def test_endpoint_goes_on_once_it_is_moved(
    app: Flask, receiver: Receiver, failing: list[bool]
) -> None:
    emit(app, event_type=NAME, data=MIDDLE)
    drain(app)
    actions.update_endpoint(accessing(app), the_old(app).id, data_version=FIRST)
    let_go(app)
    drain(app)
    assert sent(receiver, "/old") == [MIDDLE]


def let_go(app: Flask) -> None:
    """Have the minute be over."""
    models = state_of(app).models
    earlier = sa.text("created_at")
    with state_of(app).engine.begin() as connection:
        connection.execute(sa.update(models.EndpointHealth).values(hold_until=None))
        connection.execute(
            sa.update(models.Delivery)
            .where(models.Delivery.state == "pending")
            .values(due_at=earlier)
        )


def test_operators_are_told(app: Flask, failing: list[bool]) -> None:
    emit(app, event_type=NAME, data=MIDDLE)
    drain(app)
    assert queries.health(accessing(app)).trouble == "version_failed"


# -- tests ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "data"), [(None, MIDDLE), (FIRST, MIDDLE), (SECOND, NEW), ("initial", OLD)]
)
def test_test_event_is_sent_in_either_version(
    app: Flask, receiver: Receiver, version: str | None, data: dict[str, Any]
) -> None:
    add_first(app)
    add_second(app)
    made = add_endpoint(app, receiver.url("/in"), data_version=FIRST)
    delivery = actions.send_test(accessing(app), made.id, NAME, NEW, data_version=version)
    assert delivery.data_version == version
    drain(app)
    assert sent(receiver, "/in") == [data]
    # Sent again, it is the same one.
    actions.resend(accessing(app), delivery.id)
    drain(app)
    assert sent(receiver, "/in") == [data, data]
    assert endpoint(app, made.id).data_version == FIRST


def test_test_event_of_an_unknown_version_is_refused(app: Flask) -> None:
    add_first(app)
    made = add_endpoint(app)
    with pytest.raises(InvalidEndpoint, match="There is no version '2020-01-01' of the data"):
        actions.send_test(accessing(app), made.id, NAME, data_version="2020-01-01")
    assert (events(app), deliveries(app)) == ([], [])


def test_test_event_that_cannot_be_turned_back_is_refused(app: Flask, failing: list[bool]) -> None:
    with pytest.raises(ConversionFailed, match=FIRST):
        actions.send_test(accessing(app), the_old(app).id, NAME)
    assert (events(app), deliveries(app)) == ([], [])
    actions.send_test(accessing(app), the_old(app).id, NAME, data_version=FIRST)
    assert len(deliveries(app)) == 1


# -- pulls ----------------------------------------------------------------------------------------------------


def pulled(app: Flask, **options: Any) -> list[Any]:
    return [item.data for item in queries.Pull(accessing(app), **options).page().items]


def test_pull_for_an_endpoint_has_its_version(app: Flask) -> None:
    made = add_endpoint(app)
    add_first(app)
    emit(app, event_type=NAME, data=MIDDLE)
    emit(app, data={"a": 1})
    assert pulled(app, endpoint_id=made.id) == [OLD, {"a": 1}]
    assert pulled(app) == [MIDDLE, {"a": 1}]
    actions.update_endpoint(accessing(app), made.id, data_version=FIRST)
    assert pulled(app, endpoint_id=made.id) == [MIDDLE, {"a": 1}]


def test_pull_says_that_a_function_fails(app: Flask, failing: list[bool]) -> None:
    emit(app, event_type=NAME, data=MIDDLE)
    with pytest.raises(ConversionFailed, match=FIRST):
        pulled(app, endpoint_id=the_old(app).id)
    failing.clear()
    assert pulled(app, endpoint_id=the_old(app).id) == [OLD]


@pytest.mark.slow
def test_versions_are_of_the_extension_and_not_of_the_process(
    redis_url: str, tmp_path: Path
) -> None:
    """Each application with an extension object of its own has versions of its own."""
    url = f"sqlite:///{tmp_path / 'x.sqlite'}"
    one, other = (
        create_app(SQLALCHEMY_DATABASE_URI=url, WEBHOOKS_REDIS_URL=redis_url) for _ in range(2)
    )
    add_first(one)
    assert state_of(one).catalog.versions.dates == (FIRST,)
    assert state_of(other).catalog.versions.dates == ()
