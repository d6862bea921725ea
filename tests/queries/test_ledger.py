"""The ledger: which event each number of an endpoint is, the same by API, command, page and Python."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_webhooks import actions, queries
from flask_webhooks.app_state import state_of
from flask_webhooks.delivery.retention import prune
from flask_webhooks.errors import InvalidInput, NotFound, VerificationError
from flask_webhooks.receiver import verify
from tests.support.api_calls import Api
from tests.support.api_calls import make_app as make_api_app
from tests.support.delivering import close, deliveries, drain, emit, models_of, webhooks_of
from tests.support.helpers import accessing, add_endpoint, as_tenant, database_time, update
from tests.support.receiver import Receiver


@pytest.fixture
def app(database_url: str, redis_url: str) -> Any:
    app = make_api_app(database_url, redis_url)
    with app.app_context():
        yield app
        close(app)


def add_numbered(app: Flask, endpoint_id: str, count: int) -> list[str]:
    """Events that were sent, straight into the database; returns the ids of their deliveries."""
    event_ids = emit(app, count)
    table = models_of(app).table("Delivery")
    with state_of(app).engine.begin() as connection:
        for number, event_id in enumerate(event_ids, 1):
            connection.execute(
                sa.update(table)
                .where(table.c.event_id == event_id, table.c.endpoint_id == endpoint_id)
                .values(sequence=number, state="succeeded", due_at=None)
            )
    update(app, "EndpointHealth", endpoint_id, last_sequence=count)
    return event_ids


@pytest.mark.slow
def test_every_surface_says_the_same(app: Flask, receiver: Receiver) -> None:
    endpoint = add_endpoint(app, receiver.url("/status/400"))
    [first] = emit(app)
    drain(app, retry_schedule=())
    [second] = emit(app)
    actions.pause_endpoint(accessing(app), endpoint.id)
    emit(app)
    page = webhooks_of(app).ledger(endpoint.id)
    assert (page.endpoint_id, page.last_sequence, page.next_from) == (endpoint.id, 1, None)
    [item] = page.items
    assert (item.sequence, item.state, item.event_id) == (1, "failed", first)
    assert (item.event_type, item.attempt_count) == ("license.created", 1)
    by_api = Api(app).get(f"/endpoints/{endpoint.id}/ledger")
    assert by_api["type"] == "webhook.ledger"
    assert by_api["items"][0]["event_id"] == first
    run = app.test_cli_runner().invoke
    by_command = run(args=["webhooks", "endpoints", "ledger", endpoint.id, "--json"])
    assert json.loads(by_command.stdout) == by_api
    shown = run(args=["webhooks", "endpoints", "ledger", endpoint.id]).stdout
    assert first in shown
    assert second not in shown
    delivery = Api(app).get(f"/deliveries/{item.delivery_id}")
    assert delivery["sequence"] == 1


def test_pages_are_bounded_and_go_on(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = add_endpoint(app)
    event_ids = add_numbered(app, endpoint.id, 7)
    monkeypatch.setattr(queries.ledger, "MAX_NUMBERS", 3)
    access = accessing(app)
    found: list[str | None] = []
    start: int | None = 1
    while start is not None:
        page = queries.get_ledger(access, endpoint.id, start)
        assert len(page.items) <= 3
        found += [item.event_id for item in page.items]
        start = page.next_from
    assert found == event_ids
    page = queries.get_ledger(access, endpoint.id, 3, 5)
    assert [item.sequence for item in page.items] == [3, 4, 5]
    assert page.next_from is None
    assert queries.get_ledger(access, endpoint.id, 6, 1000).next_from is None
    beyond = queries.get_ledger(access, endpoint.id, 8)
    assert (beyond.items, beyond.next_from, beyond.last_sequence) == ([], None, 7)
    more = app.test_cli_runner().invoke(args=["webhooks", "endpoints", "ledger", endpoint.id])
    assert "--from 4" in more.stderr


@pytest.mark.slow
def test_number_that_is_older_than_retention_is_removed(app: Flask, receiver: Receiver) -> None:
    endpoint = add_endpoint(app, receiver.url())
    emit(app, 2)
    drain(app)
    later = database_time(app) + timedelta(days=400)
    with state_of(app).engine.connect() as connection:
        prune(state_of(app), connection, later)
    assert deliveries(app) == []
    [event_id] = emit(app)
    drain(app)
    page = webhooks_of(app).ledger(endpoint.id)
    told = [(item.sequence, item.state, item.event_id) for item in page.items]
    assert told == [(1, "removed", None), (2, "removed", None), (3, "succeeded", event_id)]
    items = Api(app).get(f"/endpoints/{endpoint.id}/ledger?from=2&to=2")["items"]
    assert [item["state"] for item in items] == ["removed"]


@pytest.mark.parametrize("key_pair", [False, True])
def test_answer_is_signed_as_webhooks_of_the_endpoint_are(app: Flask, key_pair: bool) -> None:
    created = webhooks_of(app).create_endpoint("https://example.com/hook", key_pair=key_pair)
    add_numbered(app, created.endpoint.id, 2)
    response = Api(app).send("GET", f"/endpoints/{created.endpoint.id}/ledger")
    keys = created.public_key if key_pair else created.secret
    assert keys is not None
    assert verify(response.headers, response.data, keys) == response.get_json()
    with pytest.raises(VerificationError):
        verify(response.headers, response.data.replace(b"succeeded", b"cancelled"), keys)


def test_answer_is_not_signed_where_webhooks_are_not(app: Flask) -> None:
    """Or in another way, for which the receiver's helper has no use."""
    endpoint = add_endpoint(app, format="authforge", secret="a secret of theirs")
    response = Api(app).send("GET", f"/endpoints/{endpoint.id}/ledger")
    assert response.status_code == 200
    assert "webhook-signature" not in response.headers


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("from=0", "from"),
        ("from=-1", "from"),
        ("from=one", "from"),
        ("from=5&to=4", "to"),
        ("to=0", "to"),
        ("from=99999999999999999999", "from"),
        ("from=", "from"),
    ],
)
def test_bounds_that_are_no_numbers_are_refused(app: Flask, query: str, field: str) -> None:
    endpoint = add_endpoint(app)
    problem = Api(app).call("GET", f"/endpoints/{endpoint.id}/ledger?{query}", 422)
    assert [error["field"] for error in problem["errors"]] == [field]
    assert field in problem["errors"][0]["detail"]


def test_mistakes_in_python_and_commands_are_told(app: Flask) -> None:
    endpoint = add_endpoint(app)
    ledger = webhooks_of(app).ledger
    for first in (0, True, 1.5, "1", 2**63):
        with pytest.raises(InvalidInput, match="whole number from 1 on"):
            ledger(endpoint.id, first)  # type: ignore[arg-type]
    arguments = ["webhooks", "endpoints", "ledger", endpoint.id, "--from", "3", "--to", "2"]
    result = app.test_cli_runner().invoke(args=arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "to must not be less than from" in result.stderr


def test_ledger_of_another_tenant_is_not_there(app: Flask) -> None:
    endpoint = add_endpoint(app, tenant="app_1")
    assert queries.get_ledger(as_tenant(app, "app_1"), endpoint.id).items == []
    with pytest.raises(NotFound):
        queries.get_ledger(as_tenant(app, "app_2"), endpoint.id)
    with pytest.raises(NotFound):
        queries.ledger_signature(as_tenant(app, "app_2"), endpoint.id, b"{}")
    assert Api(app).send("GET", "/endpoints/ep_none/ledger").status_code == 404
