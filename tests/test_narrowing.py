"""`WEBHOOKS_EVENT_TYPES` and `WEBHOOKS_FORMATS`: what is offered, and what there is all the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_webhooks import Webhooks, actions, queries
from flask_webhooks.app_state import state_of
from flask_webhooks.errors import (
    ConfigurationError,
    InvalidEndpoint,
    InvalidSubscription,
    InvalidTransition,
    UnknownEventType,
)
from tests.support.api_calls import PREFIX as API
from tests.support.api_calls import Api
from tests.support.delivering import deliveries, drain, emit, states, webhooks_of
from tests.support.helpers import URL, accessing, add_endpoint, close, update
from tests.support.hostapp import DEFAULTS
from tests.support.pages import Browser, make_app
from tests.support.processes import OURS, WorkerProcess, config_of, wait_until
from tests.support.receiver import Receiver

TYPES = ["license.*", "user.registered"]
FORMATS = ["standard", "discord"]
DISCORD = "https://discord.com/api/webhooks/1234567890/abcDEF-token_very_secret"
SLACK = "https://hooks.slack.com/services/T00/B00/xxxxxxxxxxxxxxxx"


@pytest.fixture
def app(database_url: str, redis_url: str) -> Iterator[Flask]:
    app = make_app(database_url, redis_url, WEBHOOKS_EVENT_TYPES=TYPES, WEBHOOKS_FORMATS=FORMATS)
    webhooks = webhooks_of(app)
    app.register_blueprint(
        webhooks.api_blueprint(authenticate=lambda: True, tokens=True), url_prefix=API
    )
    with app.app_context():
        yield app
        close(app)


@pytest.fixture
def earlier(app: Flask) -> str:
    """An endpoint from before the application offered less; its id."""
    endpoint = add_endpoint(app, name="earlier", events=["license.created"])
    update(app, "Endpoint", endpoint.id, events=["payment.*", "user.banned"], format="authforge")
    return endpoint.id


def listed(found: Any, name: str = "name") -> list[str]:
    return [item[name] for item in found["items"]]


# -- the settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"EVENT_TYPES": ["license.creatd"]}, "Did you mean license.created"),
        ({"EVENT_TYPES": ["licence.*"]}, "No event type begins with 'licence.'"),
        ({"EVENT_TYPES": ["test"]}, "Leave it out"),
        ({"EVENT_TYPES": []}, "empty list"),
        ({"EVENT_TYPES": "license.*"}, "must be a list"),
        ({"FORMATS": ["standard", "discrod"]}, "Did you mean 'discord'"),
        ({"FORMATS": ["discord"]}, "WEBHOOKS_DEFAULT_FORMAT is 'standard'"),
        ({"FORMATS": []}, "empty list"),
    ],
)
def test_bad_settings_say_what_to_write(settings: dict[str, Any], said: str) -> None:
    app = Flask("host")
    app.config.update(DEFAULTS, SQLALCHEMY_DATABASE_URI="sqlite://")
    app.config.update({f"WEBHOOKS_{name}": value for name, value in settings.items()})
    db = SQLAlchemy(app)
    with pytest.raises(
        ConfigurationError, match=f"(?s)WEBHOOKS_{next(iter(settings))}.*|{said}"
    ) as caught:
        Webhooks(db, app)
    assert said in str(caught.value)


def test_event_types_of_the_hosts_own_can_be_listed() -> None:
    app = Flask("host")
    app.config.update(
        DEFAULTS, SQLALCHEMY_DATABASE_URI="sqlite://", WEBHOOKS_EVENT_TYPES=["shop.ordered"]
    )
    webhooks = Webhooks(SQLAlchemy(app))
    webhooks.add_event_type("shop.ordered", description="Something was ordered.")
    webhooks.init_app(app)
    assert [kind.name for kind in state_of(app).offered_types] == [
        "test",
        "webhook.challenge",
        "shop.ordered",
    ]


def test_without_settings_everything_is_offered(database_url: str, redis_url: str) -> None:
    app = make_app(database_url, redis_url)
    state = state_of(app)
    assert state.offered_types is state.catalog
    assert state.offered_formats is state.formats
    close(app)


# -- what is offered ----------------------------------------------------------------------------------


def test_api_offers_these_and_no_others(app: Flask) -> None:
    api = Api(app)
    names = listed(api.get("/event-types"))
    assert "user.registered" in names
    assert {name.partition(".")[0] for name in names} == {"license", "user", "test", "webhook"}
    assert listed(api.get("/formats")) == FORMATS
    assert set(api.document["webhooks"]) == set(names)
    text = json.dumps(api.document)
    assert "payment." not in text
    assert "authforge" not in text
    api.get("/event-types/payment.refunded", 404)
    api.get("/event-types/payment.refunded/example", 404)
    assert (
        api.get("/event-types/user.registered/example", 422, format="authon")["field"] == "format"
    )
    for body, field in (
        ({"events": ["payment.refunded"]}, "events"),
        ({"events": ["payment.*"]}, "events"),
        ({"format": "authon"}, "format"),
        ({"dialect": "authon"}, "dialect"),
        ({"url": SLACK}, "url"),
    ):
        problem = api.post("/endpoints", {"url": URL, **body}, 422)
        assert problem["field"] == field, body
    made = api.post("/endpoints", {"url": DISCORD, "events": ["user.registered"]}, 201)
    assert made["format"] == "discord"
    path = f"/endpoints/{made['id']}/test"
    assert api.post(path, {"event_type": "payment.refunded"}, 422)["field"] == "event_type"
    api.post(path, {}, 202)


@pytest.mark.slow
def test_pages_offer_these_and_no_others(app: Flask) -> None:
    browser = Browser(app)
    endpoint = add_endpoint(app)
    for path in (
        "/event-types",
        "/endpoints/new",
        "/deliveries",
        "/events",
        f"/endpoints/{endpoint.id}/edit",
        f"/endpoints/{endpoint.id}/test",
        f"/endpoints/{endpoint.id}/replay",
        "/event-types/user.registered",
    ):
        text = browser.get(path).response.text
        assert "payment." not in text, path
        assert "user.banned" not in text, path
        assert not [name for name in ("Telegram", "Aureva", "AuthForge") if name in text], path
    browser.get("/event-types/payment.refunded", 404)
    page = browser.get("/endpoints/new")
    [select] = page.all("select", name="format")
    assert [item.attributes["value"] for item in select.all("option")] == ["", *FORMATS]
    for values, field in (({"url": SLACK}, "url"), ({"format": "authon"}, "format")):
        refused = browser.send(page, "/endpoints/new", {"url": URL, **values}, 422)
        assert refused.one(id=f"wh-{field}-error").text


def test_python_and_commands_offer_the_same(app: Flask) -> None:
    with pytest.raises(InvalidSubscription):
        webhooks_of(app).create_endpoint(URL, ["payment.*"])
    with pytest.raises(InvalidEndpoint, match="Choose one of: standard, discord"):
        webhooks_of(app).create_endpoint(URL, format="authon")
    command = ["webhooks", "endpoints", "add", URL, "--event", "user.banned"]
    result = app.test_cli_runner().invoke(args=command)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "There is no event type 'user.banned'" in result.stderr
    assert queries.list_endpoints(accessing(app)) == []


# -- what there is all the same -----------------------------------------------------------------------


@pytest.mark.slow
def test_endpoint_keeps_what_it_has(app: Flask, earlier: str) -> None:
    access, api, browser = accessing(app), Api(app), Browser(app)
    shown = browser.get(f"/endpoints/{earlier}")
    assert "AuthForge" in shown.text
    assert "payment.*" in shown.text
    page = browser.get(f"/endpoints/{earlier}/edit")
    checked = [
        item.attributes["value"]
        for item in page.all("input", name="events")
        if "checked" in item.attributes
    ]
    assert checked == ["payment.*", "user.banned"]
    assert page.one("select", name="format").all(selected="")[0].attributes["value"] == "authforge"
    browser.send(page, "/edit", {"name": "renamed", "events": ["payment.*", "user.registered"]})
    found = queries.get_endpoint(access, earlier).endpoint
    assert (found.name, found.format) == ("renamed", "authforge")
    assert found.events == ["payment.*", "user.registered"]
    # What it has given up is not offered again.
    assert api.patch(f"/endpoints/{earlier}", {"events": ["user.banned"]}, 422)["field"] == "events"
    body = {"events": ["payment.*"], "format": "authforge"}
    assert api.patch(f"/endpoints/{earlier}", body)["events"] == ["payment.*"]
    assert api.patch(f"/endpoints/{earlier}", {"format": "authon"}, 422)["field"] == "format"


@pytest.mark.slow
def test_events_that_are_not_listed_are_sent(app: Flask, earlier: str, receiver: Receiver) -> None:
    everything = add_endpoint(app, receiver.url("/ok"))
    chosen = add_endpoint(app, receiver.url("/ok/chosen"), events=["license.*"])
    [event_id] = emit(app, event_type="user.banned", data={"user_id": "u_1"})
    drain(app, retry_schedule=(1000.0,))
    reached = {item.endpoint_id for item in deliveries(app) if item.event_id == event_id}
    assert reached == {everything.id, earlier}
    browser = Browser(app)
    assert "user.banned" in browser.get(f"/events/{event_id}").text
    page = browser.get("/events?type=user.banned")
    assert event_id in page.text
    # The filter that was asked for stays.
    [select] = page.all("select", name="type")
    assert [item.attributes["value"] for item in select.all("option", selected="")] == [
        "user.banned"
    ]
    # Nobody is led to a subscription that there is not.
    assert "Subscribe it and send the event…" not in browser.get(f"/events/{event_id}").links()
    with pytest.raises(InvalidTransition):
        actions.subscribe_and_replay(accessing(app), chosen.id, event_id)


@pytest.mark.slow
def test_real_worker_delivers_what_is_offered_and_what_is_not(
    app: Flask, receiver: Receiver, tmp_path: Path
) -> None:
    api = Api(app)
    body = {"url": receiver.url("/offered"), "events": ["payment.succeeded"]}
    assert api.post("/endpoints", body, 422)["errors"]
    offered = api.post("/endpoints", body | {"events": ["user.registered"]}, 201)
    everything = add_endpoint(app, receiver.url("/everything"))
    with WorkerProcess(OURS, config_of(app), tmp_path / "worker.log") as worker:
        emit(app, event_type="user.registered", data={"user_id": "u_1", "username": "mira"})
        emit(app, event_type="user.banned", data={"user_id": "u_1", "username": "mira"})
        api.post(f"/endpoints/{offered['id']}/test", {"event_type": "user.banned"}, 422)
        api.post(f"/endpoints/{offered['id']}/test", {"event_type": "license.created"}, 202)
        wait_until(lambda: states(app) == {"succeeded": 4}, 30, worker.output)
    sent = sorted((item.path, json.loads(item.body)["type"]) for item in receiver.requests)
    assert sent == [
        ("/everything", "user.banned"),
        ("/everything", "user.registered"),
        ("/offered", "license.created"),
        ("/offered", "user.registered"),
    ]
    assert everything.events is None


def test_test_events_are_those_offered_and_those_it_has(app: Flask, earlier: str) -> None:
    access = accessing(app)
    actions.send_test(access, earlier)
    actions.send_test(access, earlier, "user.banned")
    actions.send_test(access, earlier, "license.created")
    for name in ("payment.refunded", "nothing.there"):
        with pytest.raises(UnknownEventType):
            actions.send_test(access, earlier, name)
