"""Coalescing by commands: rules are set, shown, reset and refused, and why says so."""

from __future__ import annotations

import json

import pytest
from flask import Flask

from tests.cli.test_cli import refused, run
from tests.support.delivering import drain, emit, endpoint
from tests.support.helpers import add_endpoint
from tests.support.receiver import Receiver

URL = "https://hooks.example.com/in"
VALIDATED = "license.validated"
BY_KEY = {VALIDATED: {"by": "data.license_key", "seconds": 60}}


def test_rules_are_set_shown_and_reset(app: Flask) -> None:
    added = run(app, "endpoints", "add", URL, "--coalesce", json.dumps(BY_KEY))
    endpoint_id = added.stdout.split()[1]
    assert endpoint(app, endpoint_id).coalesce == BY_KEY
    shown = run(app, "endpoints", "show", endpoint_id)
    assert '{"license.validated":{"by":"data.license_key","seconds":60}}' in shown.stdout
    shown = run(app, "endpoints", "show", endpoint_id, "--json")
    assert json.loads(shown.stdout)["coalesce"] == BY_KEY
    other = '{"license.rejected": {"by": "data.user.email", "seconds": 5}}'
    changed = run(app, "endpoints", "edit", endpoint_id, "--coalesce", other)
    assert changed.stdout == f"Changed {endpoint_id}: coalesce.\n"
    run(app, "endpoints", "edit", endpoint_id, "--reset", "coalesce")
    assert endpoint(app, endpoint_id).coalesce is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "--coalesce is not JSON"),
        ("[]", "Write coalesce as a JSON object"),
        ('{"license.validate": {"by": "data.a", "seconds": 1}}', "license.validated"),
        ('{"license.validated": {"by": "a", "seconds": 1}}', "is not a member of the data"),
        ('{"license.validated": {"by": "data.a", "seconds": 0}}', "from 1 to 86400"),
    ],
)
def test_malformed_rule_is_one_line(app: Flask, text: str, message: str) -> None:
    result = run(app, "endpoints", "add", URL, "--coalesce", text)
    assert message in refused(result, result.exit_code)
    assert result.exit_code != 0
    assert "There are no endpoints" in run(app, "endpoints", "list").stdout


def test_why_says_that_it_was_coalesced(app: Flask, receiver: Receiver) -> None:
    wanted = add_endpoint(app, receiver.url(), coalesce=BY_KEY)
    data = {"license_id": "lic_1", "license_key": "A", "status": "active"}
    [_first, second] = emit(app, 2, VALIDATED, data=data)
    drain(app)
    assert "It was coalesced" in run(app, "why", second, wanted.id).stdout
