"""The blinker signals: one for each event type that a host can send, and those that come back."""

from __future__ import annotations

import inspect
import re

import pytest
from blinker import NamedSignal
from flask import Flask

from flask_webhooks import extension, signals
from flask_webhooks.catalog import EventType, builtin_catalog

from .delivering import db_of, deliveries
from .helpers import add_endpoint

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
    ("given", "says"),
    [
        ({"data", "tennant"}, "Did you mean 'tenant'?"),
        ({"data", "tenant", "idempotency"}, "Did you mean 'idempotency_key'?"),
        ({"data", "occured_at"}, "Did you mean 'occurred_at'?"),
        ({"dta", "tenant"}, "Did you mean 'data'?"),
        ({"license_id"}, "Write data={'license_id': ...}."),
    ],
)
def test_keyword_that_was_meant_for_us_is_noticed(given: set[str], says: str) -> None:
    warning = signals.keyword_warning("license.activated", given)
    assert warning is not None
    assert says in warning


@pytest.mark.parametrize(
    "given",
    [
        {"data"},
        {"data", "tenant", "idempotency_key", "occurred_at"},
        {"data", "request_id", "license", "user"},
        # Both: then one of them is the host's own.
        {"data", "tenant", "tenants"},
        {"data", "license_id"},
        {"user"},
        set(),
    ],
)
def test_keyword_of_the_hosts_own_is_left_alone(given: set[str]) -> None:
    assert signals.keyword_warning("license.activated", given) is None


def test_misspelt_keyword_is_logged_once_and_breaks_nothing(
    app: Flask, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extension, "_warned", set())
    add_endpoint(app)
    for _ in range(3):
        signals.license_activated.send(app, data={"license_id": "lic_1"}, tennant="app_1", extra=1)
    db_of(app).session.commit()
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "The signal license_activated has the keyword 'tennant', which Flask-Webhooks does not know. "
        "Did you mean 'tenant'?"
    ]
    assert len(deliveries(app)) == 3


def test_signal_carries_data_tenant_and_what_else_the_host_sends() -> None:
    app, heard = Flask("licences"), []

    def receiver(sender: Flask, **keywords: object) -> None:
        heard.append((sender, keywords))

    with signals.license_activated.connected_to(receiver, sender=app):
        signals.license_activated.send(app, data={"license_id": "lic_1"}, tenant="app_1", extra=1)
        signals.license_activated.send(Flask("other"), data={})
    assert heard == [(app, {"data": {"license_id": "lic_1"}, "tenant": "app_1", "extra": 1})]
