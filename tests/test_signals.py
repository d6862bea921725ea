"""The blinker signals: one for each event type that a host can send, and those that come back."""

from __future__ import annotations

import inspect
import logging
import re
import time
from typing import Any

import blinker
import pytest
import sqlalchemy as sa
from blinker import NamedSignal
from flask import Flask
from sqlalchemy import orm

from flask_webhooks import signals
from flask_webhooks.catalog.registry import EventType, builtin_catalog
from flask_webhooks.errors import InvalidInput
from tests.support.delivering import close, db_of, deliveries, make_app, models_of, webhooks_of
from tests.support.helpers import add_endpoint

ACTIVATED = {"license_id": "lic_1", "license_key": "K7QF", "status": "active"}

SENT_BY_THE_HOST = [
    event_type
    for event_type in builtin_catalog()
    if event_type.subscribable and not event_type.operational
]

OUTGOING = {
    "attempt_recorded": {"endpoint_id", "delivery_id", "event_id", "event_type", "tenant", "number"}
    | {"trigger", "outcome", "status", "error", "duration_ms"},
    "delivery_succeeded": {"endpoint_id", "delivery_id", "event_id", "event_type", "tenant"}
    | {"attempt_count", "status", "duration_ms"},
    "delivery_failed": {"endpoint_id", "delivery_id", "event_id", "event_type", "tenant"}
    | {"reason", "attempt_count", "status", "error"},
    "endpoint_failing": {"endpoint_id", "tenant", "url", "failing_since", "consecutive_failures"}
    | {"disable_progress", "disable_at"},
    "endpoint_recovered": {"endpoint_id", "tenant", "url", "failing_since"},
    "endpoint_disabled": {"endpoint_id", "tenant", "url", "reason", "failing_since"},
}

#: The ``#:`` lines above each signal, by its Python name.
COMMENTS = {
    name: " ".join(line.removeprefix("#:").strip() for line in lines.splitlines())
    for lines, name in re.findall(
        r"((?:^#:.*\n)+)^(\w+) = _", inspect.getsource(signals), flags=re.MULTILINE
    )
}


def python_name(event_type: EventType) -> str:
    return event_type.name.replace(".", "_")


@pytest.mark.parametrize("event_type", SENT_BY_THE_HOST, ids=python_name)
def test_event_type_has_its_signal(event_type: EventType) -> None:
    signal = getattr(signals, python_name(event_type))
    assert isinstance(signal, NamedSignal)
    assert signal.name == event_type.name
    assert signals.SIGNALS[event_type.name] is signal


@pytest.mark.parametrize("event_type", SENT_BY_THE_HOST, ids=python_name)
def test_signal_says_when_to_send_it_and_what_its_data_holds(event_type: EventType) -> None:
    comment = COMMENTS[python_name(event_type)]
    when, _, members = comment.removesuffix(".").partition(" `data`: ")
    assert when.startswith(("When ", "Each time "))
    required, _, optional = members.partition("; maybe ")
    assert sorted(required.split(", ")) == sorted(event_type.schema["required"])
    assert [name for name in optional.split(", ") if name] == [
        name
        for name in event_type.schema["properties"]
        if name not in event_type.schema["required"]
    ]


@pytest.mark.parametrize("event_type", SENT_BY_THE_HOST, ids=python_name)
def test_help_on_a_signal_shows_the_catalogues_words(event_type: EventType) -> None:
    doc = getattr(signals, python_name(event_type)).__doc__
    assert event_type.description in doc
    for name in event_type.schema["properties"]:
        assert name in doc


def test_there_is_no_signal_for_what_the_host_never_sends() -> None:
    assert list(signals.SIGNALS) == [event_type.name for event_type in SENT_BY_THE_HOST]
    assert not hasattr(signals, "test")


def test_module_holds_the_documented_signals_and_no_other() -> None:
    names = {name for name, value in vars(signals).items() if isinstance(value, NamedSignal)}
    assert names == {python_name(event_type) for event_type in SENT_BY_THE_HOST} | OUTGOING.keys()
    assert names <= COMMENTS.keys()


@pytest.mark.parametrize(("name", "keywords"), OUTGOING.items(), ids=OUTGOING)
def test_outgoing_signal_documents_its_keywords(name: str, keywords: set[str]) -> None:
    signal = getattr(signals, name)
    assert signal.name == name.replace("_", "-")
    assert set(re.findall(r":param (\w+):", signal.__doc__)) == keywords


def test_outgoing_signal_is_not_mistaken_for_an_event_type() -> None:
    assert not {signal.name for signal in signals.SIGNALS.values()} & {
        getattr(signals, name).name for name in OUTGOING
    }


@pytest.mark.parametrize(
    ("keyword", "says"),
    [
        ("tennant", "Did you mean 'tenant'?"),
        ("idempotency", "Did you mean 'idempotency_key'?"),
        ("occured_at", "Did you mean 'occurred_at'?"),
        ("sesion", "Did you mean 'session'?"),
        ("license_id", "Write data={'license_id': ...}."),
        ("transactional", "Call webhooks.emit()"),
        ("request_id", "It takes data, tenant, idempotency_key, occurred_at, session."),
    ],
)
def test_unknown_keyword_raises_in_development(
    keyword: str, says: str, database_url: str, redis_url: str
) -> None:
    app = make_app(database_url, redis_url, WEBHOOKS_VALIDATE_DATA="raise")
    values: dict[str, Any] = {"data": ACTIVATED, keyword: "app_1"}
    with app.app_context():
        add_endpoint(app)
        with pytest.raises(InvalidInput) as caught:
            signals.license_activated.send(app, **values)
        assert says in str(caught.value)
        assert caught.value.field == keyword
        db_of(app).session.commit()
        assert deliveries(app) == []
        close(app)


@pytest.mark.parametrize("validate", ["log", None])
def test_unknown_keyword_is_logged_once_in_production(
    validate: str | None, database_url: str, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(database_url, redis_url, WEBHOOKS_VALIDATE_DATA=validate)
    with app.app_context():
        add_endpoint(app)
        for _ in range(3):
            signals.license_activated.send(app, data=ACTIVATED, tennant="app_1", request_id="r-81")
        signals.user_logged_in.send(app, data={"user_id": "u", "username": "ann"}, tennant="app_1")
        db_of(app).session.commit()
        assert len(deliveries(app)) == 4
        close(app)
    errors = [line for line in caplog.records if line.levelno == logging.ERROR]
    said = [line.getMessage() for line in errors]
    assert [line.exc_info for line in errors] == [None] * 3
    assert "license_activated does not take 'request_id'." in said[0]
    assert "license_activated does not take 'tennant'. Did you mean 'tenant'?" in said[1]
    assert "user_logged_in does not take 'tennant'." in said[2]
    assert all("recorded without it" in line for line in said)
    assert "r-81" not in caplog.text


def test_signal_rides_in_a_session_of_the_hosts_own(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    add_endpoint(app)
    for event_type in ("license_activated", "user_login_failed"):
        for commit in (True, False):
            with orm.Session(db_of(app).engine) as own:
                own.execute(sa.update(models_of(app).table("EndpointHealth")).values(warned=0))
                before, began = len(deliveries(app)), time.monotonic()
                getattr(signals, event_type).send(app, data={}, tenant=str(commit), session=own)
                assert time.monotonic() - began < 2
                assert len(deliveries(app)) == before
                own.commit() if commit else own.rollback()
    # The refusal is there whatever became of the transaction.
    assert sorted(row.event_type for row in deliveries(app)) == [
        "license.activated",
        *["user.login_failed"] * 2,
    ]
    assert [record for record in caplog.records if record.name == "flask_webhooks.outbox"] == []


def test_connected_signal_rides_in_the_session_that_its_function_names(app: Flask) -> None:
    add_endpoint(app)
    signal = blinker.Signal()

    def build(sender: object, session: orm.Session) -> tuple[dict[str, str], None, orm.Session]:
        return {"license_id": "lic_1"}, None, session

    webhooks_of(app).connect(signal, "license.activated", build)
    with orm.Session(db_of(app).engine) as own:
        signal.send(app, session=own)
        own.commit()
    assert len(deliveries(app)) == 1


def test_signal_carries_data_tenant_and_what_else_the_host_sends() -> None:
    """One without Flask-Webhooks takes what it likes."""
    app, heard = Flask("licences"), []

    def receiver(sender: Flask, **keywords: object) -> None:
        heard.append((sender, keywords))

    with signals.license_activated.connected_to(receiver, sender=app):
        signals.license_activated.send(app, data={"license_id": "lic_1"}, tenant="app_1", extra=1)
        signals.license_activated.send(Flask("other"), data={})
    assert heard == [(app, {"data": {"license_id": "lic_1"}, "tenant": "app_1", "extra": 1})]
