"""An event that a webhook was not subscribed to: subscribe it, and send the event after all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from flask_webhooks import actions
from flask_webhooks.errors import InvalidTransition, NotFound
from flask_webhooks.models import Endpoint
from tests.support.delivering import deliveries, drain, emit, events, webhooks_of
from tests.support.helpers import accessing, activity, add_endpoint, as_tenant, close
from tests.support.pages import Browser, make_app
from tests.support.receiver import Receiver


@pytest.fixture
def app(tmp_path: Path, redis_url: str) -> Iterator[Flask]:
    app = make_app(f"sqlite:///{tmp_path / 'database.sqlite'}", redis_url)
    with app.app_context():
        yield app
    close(app)


@pytest.fixture
def missed(app: Flask, receiver: Receiver) -> tuple[str, str]:
    """A webhook, and an event that it did not get."""
    add_endpoint(app, "https://other.example.com/")
    made = webhooks_of(app).create_endpoint(receiver.url(), events=["user.*"], tenant="app_1")
    emit(app, event_type="license.created", tenant="app_1")
    [event] = events(app)
    return made.endpoint.id, event.id


def test_event_page_offers_to_subscribe_and_send(
    app: Flask, missed: tuple[str, str], receiver: Receiver
) -> None:
    endpoint_id, event_id = missed
    browser = Browser(app)
    page = browser.get(browser.get(f"/events/{event_id}").link("Subscribe it and send the event…"))
    assert len(deliveries(app)) == 1
    assert "every event of the type license.created" in page.text
    path = f"/events/{event_id}/subscribe/{endpoint_id}"
    page = browser.send(page, path, {})
    assert "The event is queued for the webhook." in page.text
    [mine] = [row for row in deliveries(app) if row.endpoint_id == endpoint_id]
    assert (mine.event_id, mine.tenant, mine.trigger) == (event_id, "app_1", "replay")
    size = len(json.dumps(events(app)[0].data, separators=(",", ":")))
    told = [(row.action, row.changes, row.delivery_id) for row in activity(app)[-2:]]
    assert told == [
        ("endpoint.updated", {"events": [["user.*"], ["user.*", "license.created"]]}, None),
        ("event.replayed", {"event_type": "license.created", "bytes": size}, mine.id),
    ]
    drain(app)
    assert [request.headers["webhook-id"] for request in receiver.requests] == [event_id]
    emit(app, event_type="license.created", tenant="app_1")
    drain(app)
    receiver.wait_for(2)
    assert "sent a past event to the webhook" in browser.get("/activity").text


def test_token_is_needed_and_nothing_happens_on_get(app: Flask, missed: tuple[str, str]) -> None:
    endpoint_id, event_id = missed
    path = f"/events/{event_id}/subscribe/{endpoint_id}"
    Browser(app).get(path)
    app.config["WTF_CSRF_ENABLED"] = True
    Browser(app).post(path, {}, status=400)
    assert [row.endpoint_id for row in deliveries(app)].count(endpoint_id) == 0


@pytest.mark.parametrize("denied", ["manage", "send"])
def test_it_is_for_those_who_may_change_and_send(
    app: Flask, missed: tuple[str, str], denied: str
) -> None:
    endpoint_id, event_id = missed

    def authorize(action: str, endpoint: Endpoint | None) -> bool:
        return action != denied

    webhooks_of(app).authorize(authorize)
    browser = Browser(app)
    assert "Subscribe it" not in browser.get(f"/events/{event_id}").text
    browser.get(f"/events/{event_id}/subscribe/{endpoint_id}", status=403)
    assert [row.endpoint_id for row in deliveries(app)].count(endpoint_id) == 0


def test_what_cannot_be_is_refused(app: Flask, missed: tuple[str, str]) -> None:
    endpoint_id, event_id = missed
    access = accessing(app)
    with pytest.raises(NotFound):
        actions.subscribe_and_replay(access, endpoint_id, "evt_none")
    with pytest.raises(NotFound):
        actions.subscribe_and_replay(as_tenant(app, "app_2"), endpoint_id, event_id)
    other = add_endpoint(app, tenant="app_2", events=["user.*"])
    with pytest.raises(NotFound):
        actions.subscribe_and_replay(as_tenant(app, "app_2"), other.id, event_id)
    with pytest.raises(InvalidTransition, match="cannot be subscribed"):
        actions.subscribe_and_replay(access, other.id, event_id)
    actions.subscribe_and_replay(access, endpoint_id, event_id)
    with pytest.raises(InvalidTransition, match="already"):
        actions.subscribe_and_replay(access, endpoint_id, event_id)


def test_paused_webhook_gets_it_when_it_is_resumed(app: Flask, missed: tuple[str, str]) -> None:
    endpoint_id, event_id = missed
    actions.pause_endpoint(accessing(app), endpoint_id)
    delivery = actions.subscribe_and_replay(accessing(app), endpoint_id, event_id)
    assert delivery.state == "held"


def test_webhook_that_was_subscribed_later_only_gets_the_event(
    app: Flask, missed: tuple[str, str]
) -> None:
    endpoint_id, event_id = missed
    actions.update_endpoint(accessing(app), endpoint_id, events=["license.*"])
    browser = Browser(app)
    page = browser.get(browser.get(f"/events/{event_id}").link("Send the event…"))
    assert page.heading == "Send the event"
    browser.send(page, f"/events/{event_id}/subscribe/{endpoint_id}", {})
    assert [row.action for row in activity(app)].count("endpoint.updated") == 1
