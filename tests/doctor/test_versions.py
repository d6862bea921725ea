"""What the doctor says of versions of event data."""

from __future__ import annotations

from typing import Any

from flask import Flask

from flask_webhooks.doctor import Level
from tests.delivery.test_versions import FIRST, MIDDLE, NAME, add_first, add_second
from tests.doctor.test_doctor import found, the
from tests.support.delivering import drain, emit, webhooks_of
from tests.support.helpers import add_endpoint, update


def test_without_versions_nothing_is_said(app: Flask) -> None:
    add_endpoint(app)
    assert found(app, "versions") == []


def test_functions_are_tried_with_the_examples(app: Flask) -> None:
    add_first(app)
    [finding] = found(app, "versions")
    assert (finding.level, finding.text) == (
        Level.OK,
        f"Data can be turned into each version: {FIRST}, initial.",
    )
    # It needs a member that the example has not.
    add_second(app)
    finding = the(app, "versions", Level.WARNING)
    assert f"The data of {NAME} cannot be turned into what it was before" in finding.text
    assert "raised KeyError at test_versions.py:" in finding.text


def test_endpoints_whose_version_is_gone_are_counted(app: Flask) -> None:
    add_first(app)
    add_endpoint(app)
    for number in range(2):
        made = add_endpoint(app, f"https://hooks.example.com/{number}")
        update(app, "Endpoint", made.id, data_version="2026-01-01")
    finding = the(app, "versions", Level.WARNING)
    assert finding.text == (
        "Endpoints are pinned to the version 2026-01-01 of event data, which is not registered: 2."
    )


def test_endpoints_that_wait_for_a_function_are_a_problem(app: Flask) -> None:
    add_endpoint(app)

    @webhooks_of(app).version(NAME, FIRST)
    def fail(data: dict[str, Any]) -> dict[str, Any]:
        raise ValueError

    emit(app, event_type=NAME, data=MIDDLE)
    drain(app)
    problems = [item.text for item in found(app, "workers", Level.PROBLEM)]
    assert (
        "A function of the application cannot turn data into the version that the webhook gets."
        in problems
    )
