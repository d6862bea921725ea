"""Versions of event data and deprecated types by commands."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask import Flask

from tests.cli.test_cli import refused, run
from tests.support.delivering import deliveries, drain, endpoint, webhooks_of
from tests.support.helpers import add_endpoint
from tests.support.receiver import Receiver

URL = "https://hooks.example.com/in"
NAME = "license.activated"
FIRST = "2026-12-01"


def without_level(data: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name != "level"} | {"status": 1}


@pytest.fixture
def versioned(app: Flask) -> Flask:
    webhooks_of(app).version(NAME, FIRST)(without_level)
    return app


def test_endpoint_is_pinned_moved_and_set_back(versioned: Flask) -> None:
    app = versioned
    added = run(app, "endpoints", "add", URL, "--data-version", "initial").stdout.split()[1]
    assert endpoint(app, added).data_version is None
    changed = run(app, "endpoints", "edit", added, "--data-version", FIRST)
    assert changed.stdout == f"Changed {added}: data_version.\n"
    lines = run(app, "endpoints", "show", added).stdout.splitlines()
    assert any(line.split() == ["Data", "version", FIRST] for line in lines)
    shown = json.loads(run(app, "endpoints", "show", added, "--json").stdout)
    assert shown["data_version"] == FIRST
    run(app, "endpoints", "edit", added, "--data-version", "initial")
    run(app, "endpoints", "edit", added, "--reset", "data-version")
    assert endpoint(app, added).data_version == FIRST


@pytest.mark.parametrize("version", ["", "2020-01-01", "newest", "\x1b[31m"])
def test_unknown_version_is_one_line(versioned: Flask, version: str) -> None:
    made = add_endpoint(versioned)
    for command in (
        ("endpoints", "add", URL),
        ("endpoints", "edit", made.id),
        ("endpoints", "test", made.id),
        ("render", NAME),
    ):
        line = refused(run(versioned, *command, "--data-version", version))
        assert f"There are: {FIRST}, initial." in line
    assert deliveries(versioned) == []


def test_test_event_is_sent_in_a_version(versioned: Flask, receiver: Receiver) -> None:
    made = add_endpoint(versioned, receiver.url())
    run(versioned, "test", made.id, "--type", NAME, "--data-version", "initial")
    drain(versioned)
    [request] = receiver.requests
    assert json.loads(request.body)["data"]["status"] == 1


def test_example_is_printed_in_a_version(versioned: Flask) -> None:
    newest = json.loads(run(versioned, "render", NAME).stdout)["data"]
    older = json.loads(run(versioned, "render", NAME, "--data-version", "initial").stdout)["data"]
    assert older == without_level(newest)


def test_type_is_shown_with_changes_and_subscribers(versioned: Flask) -> None:
    app = versioned
    made = add_endpoint(app, events=["license.*"], tenant="app_1")
    add_endpoint(app)
    lines = run(app, "event-types", "show", NAME).stdout.splitlines()
    assert f"Version {FIRST}" in lines
    assert "Version initial" in lines
    assert "  added    level" in lines
    assert '  changed  status: 1 -> "active"' in lines
    assert any(line.startswith(f"{made.id}  app_1") for line in lines)
    assert any(line.split() == ["Subscribed", "by", "name", "1"] for line in lines)
    assert any(line.split() == ["Among", "all", "types", "1"] for line in lines)
    shown = json.loads(run(app, "event-types", "show", NAME, "--json").stdout)
    assert shown["subscribers"][0]["id"] == made.id


def test_failing_example_is_told(app: Flask) -> None:
    webhooks_of(app).version(NAME, FIRST)(lambda data: data["gone"])
    assert "fails with the example" in run(app, "event-types", "show", NAME).stdout


def test_deprecated_types_are_marked_and_listed(versioned: Flask) -> None:
    app = versioned
    none = run(app, "event-types", "list", "--deprecated").stdout
    assert none == "There are no such event types.\n"
    webhooks_of(app).add_event_type("acme.old", description="Gone soon.", deprecated=True)
    _head, line = run(app, "event-types", "list", "--deprecated").stdout.splitlines()
    assert line.split() == ["acme.old", "-", "DEPRECATED:", "Gone", "soon."]
    every = run(app, "event-types", "list").stdout.splitlines()
    assert any(line.split()[:2] == [NAME, "2"] for line in every)
    found = json.loads(run(app, "event-types", "list", "--deprecated", "--json").stdout)
    assert [item["name"] for item in found] == ["acme.old"]


def test_unknown_type_is_one_line(app: Flask) -> None:
    assert "There is no event type" in refused(run(app, "event-types", "show", "license.x"))
