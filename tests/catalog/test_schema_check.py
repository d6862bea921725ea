"""Data of events against the JSON Schema of their type: as jsonschema judges, and as the settings say."""

from __future__ import annotations

import datetime
import logging
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_webhooks import Webhooks, signals
from flask_webhooks.catalog.registry import builtin_catalog
from flask_webhooks.catalog.schema_check import compile_schema
from flask_webhooks.errors import InvalidData, InvalidEventType, InvalidInput
from tests.support.delivering import close, db_of, events, webhooks_of
from tests.support.helpers import add_endpoint, make_app

TYPES = list(builtin_catalog())

#: Every keyword that counts, in ways that members of data can offend against.
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 3, "pattern": "^[a-z]*$"},
        "count": {"type": "integer", "minimum": 0, "maximum": 5},
        "share": {"type": ["number", "null"], "exclusiveMinimum": 0, "exclusiveMaximum": 2},
        "kind": {"enum": ["a", 1, True, None, {"x": [1]}]},
        "fixed": {"const": 1},
        "list": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "boolean"}},
        "pair": {"prefixItems": [{}, {}], "items": {"type": "string"}},
        "inner": {
            "type": "object",
            "patternProperties": {"^x_": {}},
            "properties": {"name": {"type": "string"}},
            "additionalProperties": False,
        },
        "others": {"type": "object", "additionalProperties": {"type": "integer"}},
        "never": False,
    },
}

scalars = st.none() | st.booleans() | st.integers(-2, 8) | st.sampled_from([0.0, 0.5, 1.0, 2.0])
texts = st.sampled_from(["", "a", "ab", "abcd", "A", "x_1", "name"])
values = st.recursive(
    scalars | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def refusal(schema: dict[str, Any], data: Any) -> InvalidData | None:
    try:
        compile_schema(schema)(data, "data")
    except InvalidData as error:
        return error
    return None


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(SCHEMA["properties"], values))
    | st.dictionaries(st.sampled_from(sorted(SCHEMA["properties"])), values)
    | values
)
def test_verdict_is_that_of_jsonschema(data: Any) -> None:
    valid = jsonschema.Draft202012Validator(SCHEMA).is_valid(data)
    assert (refusal(SCHEMA, data) is None) == valid


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(TYPES), st.data())
def test_verdict_on_built_in_types_is_that_of_jsonschema(event_type: Any, data: Any) -> None:
    schema = dict(event_type.schema)
    changed = dict(event_type.example)
    for name in data.draw(st.lists(st.sampled_from(sorted(schema["properties"])), max_size=2)):
        changed[name] = data.draw(values)
    valid = jsonschema.Draft202012Validator(schema).is_valid(changed)
    assert (refusal(schema, changed) is None) == valid


@pytest.mark.parametrize(
    ("data", "path", "says"),
    [
        ({"name": 7}, "data.name", "data.name must be text, not a number."),
        ({"name": "abcd"}, "data.name", "data.name must be text of at most 3 characters."),
        ({"name": "A"}, "data.name", "data.name must be text that matches ^[a-z]*$."),
        ({"name": "a", "count": "1"}, "data.count", "data.count must be a whole number, not text."),
        ({"name": "a", "count": 9}, "data.count", "data.count must be at most 5."),
        ({"name": "a", "count": None}, "data.count", "Leave the member out if there is no value."),
        ({"name": "a", "share": "x"}, "data.share", "must be a number or null, not text."),
        ({"name": "a", "kind": "b"}, "data.kind", "data.kind must be one of 'a', 1, True, None"),
        ({"name": "a", "list": [True, 1]}, "data.list[1]", "must be true or false, not a number."),
        ({"name": "a", "inner": {"y": 1}}, "data.inner.y", "not a member of this event type"),
        ({}, "data", "data lacks the member 'name'."),
    ],
)
def test_refusal_names_the_path_and_what_to_write(data: Any, path: str, says: str) -> None:
    error = refusal(SCHEMA, data)
    assert error is not None
    assert says in str(error)
    assert error.path == path


def test_check_costs_microseconds() -> None:
    event_type = max(TYPES, key=lambda item: len(item.example))
    check = compile_schema(event_type.schema)
    best = float("inf")
    for _ in range(20):
        began = time.perf_counter()
        for _ in range(100):
            check(event_type.example, "data")
        best = min(best, time.perf_counter() - began)
    assert best / 100 < 50e-6


@pytest.mark.parametrize("schema", [{"type": "text"}, {"pattern": "("}, {"minimum": "low"}])
def test_malformed_schema_is_refused_where_it_is_written(
    tmp_path: Path, schema: dict[str, Any]
) -> None:
    app = host(tmp_path)
    with pytest.raises(InvalidEventType, match="not a JSON Schema"):
        webhooks_of(app).add_event_type(
            "order.paid", description="An order was paid.", schema=schema
        )
    close(app)


# -- in the host -----------------------------------------------------------------------------------

DATA = {"license_id": "lic_1", "license_key": "AAAA-BBBB-SECRET", "status": "active"}


def host(tmp_path: Path, **config: Any) -> Flask:
    # Nobody listens there.
    return make_app(f"sqlite:///{tmp_path / 'host.sqlite'}", "redis://127.0.0.1:1/0", **config)


def test_emit_and_signal_raise_in_testing(tmp_path: Path) -> None:
    app = host(tmp_path, WEBHOOKS_VALIDATE_DATA="raise")
    wrong = {**DATA, "level": ["gold"]}
    with app.app_context():
        add_endpoint(app)
        for send in (
            lambda: webhooks_of(app).emit("license.activated", wrong),
            lambda: signals.license_activated.send(app, data=wrong),
        ):
            with pytest.raises(InvalidData) as caught:
                send()
            assert str(caught.value) == (
                "The data of license.activated does not fit its schema: "
                "data.level must be a whole number or text, not a list."
            )
            assert caught.value.path == "data.level"
        # What becomes text on its way is judged as what it becomes.
        soon = datetime.datetime(2026, 12, 1, tzinfo=datetime.UTC)
        webhooks_of(app).emit("license.activated", {**DATA, "expires_at": soon})
        db_of(app).session.commit()
        assert len(events(app)) == 1
        close(app)


@pytest.mark.parametrize("mode", ["TESTING", "DEBUG"])
def test_mode_that_is_set_after_init_app_counts(tmp_path: Path, mode: str) -> None:
    db = SQLAlchemy()
    app = Flask("product")
    url = f"sqlite:///{tmp_path / 'host.sqlite'}"
    app.config.update(SECRET_KEY="test", SQLALCHEMY_DATABASE_URI=url)
    app.config.update(WEBHOOKS_REDIS_URL="redis://127.0.0.1:1/0")
    db.init_app(app)
    webhooks = Webhooks(db)
    webhooks.init_app(app)
    app.config[mode] = True
    with app.app_context():
        db.create_all()
        with pytest.raises(InvalidData):
            webhooks.emit("license.activated", {})
        with pytest.raises(InvalidInput):
            signals.license_activated.send(app, data=DATA, tennant="app_1")
        app.config[mode] = False
        webhooks.emit("license.activated", {})
        close(app)


def test_production_logs_each_fault_once_without_values(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = host(tmp_path, WEBHOOKS_VALIDATE_DATA="log")
    with app.app_context():
        add_endpoint(app)
        for number in range(3):
            webhooks_of(app).emit("license.activated", {**DATA, "level": [f"gold {number}"]})
        webhooks_of(app).emit("license.activated", {**DATA, "ip": 7})
        db_of(app).session.commit()
        assert len(events(app)) == 4
        close(app)
    said = [item.getMessage() for item in caplog.records if item.levelno >= logging.WARNING]
    said = [line for line in said if "schema" in line]
    assert len(said) == 2
    assert "data.level must be a whole number or text" in said[0]
    assert "data.ip must be text" in said[1]
    assert "gold" not in caplog.text
    assert "SECRET" not in caplog.text


def test_data_is_not_looked_at_where_the_host_does_not_want_it(tmp_path: Path) -> None:
    app = host(tmp_path, WEBHOOKS_VALIDATE_DATA=None)
    with app.app_context():
        add_endpoint(app)
        webhooks_of(app).emit("license.activated", {"level": ["gold"]})
        db_of(app).session.commit()
        assert len(events(app)) == 1
        close(app)


def test_types_of_the_hosts_own_are_checked_too(tmp_path: Path) -> None:
    app = host(tmp_path, WEBHOOKS_VALIDATE_DATA="raise")
    webhooks = webhooks_of(app)
    schema = {"type": "object", "properties": {"total": {"type": "number", "minimum": 0}}}
    webhooks.add_event_type("order.paid", description="An order was paid.", schema=schema)
    with app.app_context():
        with pytest.raises(InvalidData, match=r"data\.total must be at least 0\."):
            webhooks.emit("order.paid", {"total": -1})
        webhooks.emit("order.paid", {"total": 0})
        close(app)
