"""The APIs of the services: the commands of their pages, and what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from flask_webhooks import ALL_TENANTS, queries
from flask_webhooks.catalog.registry import builtin_catalog
from flask_webhooks.errors import ConfigurationError
from flask_webhooks.formats.vendors.webhook_ids import (
    endpoint_id,
    webhook_id,
    with_webhook_ids,
)
from flask_webhooks.models import Endpoint
from tests.support import seeds
from tests.support.delivering import deliveries, webhooks_of
from tests.support.helpers import accessing, activity, add_endpoint, close, make_app
from tests.support.pages import contents
from tests.support.processes import OURS, WorkerProcess, config_of
from tests.support.receiver import Receiver
from tests.support.vendor_calls import (
    EVENTS,
    PATHS,
    SERVICES,
    STAFF,
    TOKEN,
    curl,
    curl_commands,
    serve,
    with_services,
)
from tests.support.vendoring import outgoing, rendered

SHOP = "https://hooks.example.com/in"


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'database.sqlite'}"


@pytest.fixture
def app(database_url: str, redis_url: str) -> Iterator[Flask]:
    app = with_services(make_app(database_url, redis_url))
    yield app
    close(app)


class Program:
    """A program that was written for a service."""

    def __init__(self, app: Flask, service: str, token: str | None = TOKEN) -> None:
        self.client = app.test_client()
        self.service = service
        self.headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    def send(
        self, method: str, path: str = "", tenant: str = "app_1", **options: Any
    ) -> TestResponse:
        where = PATHS[self.service].format(tenant) + path
        headers = self.headers | options.pop("headers", {})
        return self.client.open(where, method=method, headers=headers, **options)

    def call(self, status: int, method: str, path: str = "", **options: Any) -> Any:
        """Send a request, and look at what is around its answer; returns what is within, or the refusal."""
        answer = self.send(method, path, **options)
        assert answer.status_code == status, answer.text
        assert answer.mimetype == "application/json"
        assert answer.headers["Cache-Control"] == "no-store"
        body = answer.get_json()
        if self.service == "authon":
            assert body.pop("success") is (status < 400)
        if status >= 400:
            assert body["error"]
            assert body["code"]
            return body
        return body["data"] if self.service == "authon" else body

    def listed(self, **options: Any) -> list[dict[str, Any]]:
        found = self.call(200, "GET", **options)
        items: list[dict[str, Any]] = found if self.service == "authon" else found["webhooks"]
        return items

    def create(self, status: int = 201, /, **members: Any) -> Any:
        body = {"url": SHOP, "events": [EVENTS[self.service][0]]} | members
        return self.call(status, "POST", json=body)


@pytest.fixture(params=SERVICES)
def program(request: pytest.FixtureRequest, app: Flask) -> Program:
    return Program(app, request.param)


def endpoints(app: Flask) -> list[Endpoint]:
    with app.app_context():
        return [row.endpoint for row in queries.list_endpoints(accessing(app))]


# -- as the pages show them ------------------------------------------------------------------------


@pytest.mark.slow
def test_commands_of_the_authon_page_work(app: Flask, tmp_path: Path, receiver: Receiver) -> None:
    create, create_discord, test, list_ = curl_commands(seeds.page("authon"))
    [shown] = [item for item in seeds.json_objects("authon") if "success" in item]
    config = config_of(app)
    with (
        serve(config, tmp_path / "server.log") as url,
        WorkerProcess(OURS, config, tmp_path / "worker.log"),
    ):
        place = {"https://api.authon.pro": url, "YOUR_APP_ID": "app_1", "YOUR_TOKEN": TOKEN}
        status, answer = curl(create, **place)
        assert (status, answer["success"]) == (201, True)
        assert shown["data"].keys() <= answer["data"].keys()
        made = answer["data"]
        assert (made["url"], made["events"]) == (shown["data"]["url"], shown["data"]["events"])
        assert re.fullmatch("wh_[0-9a-z]+", made["id"])
        assert re.fullmatch("whsec_[0-9a-f]{64}", made["secret"])

        status, answer = curl(create_discord, **place)
        assert (status, answer["success"]) == (201, True)
        assert answer["data"]["url"] == "https://discord.com/api/webhooks/1234567890/••••"
        assert answer["data"]["secret"] is None

        status, answer = curl(create, **place, **{shown["data"]["url"]: receiver.url()})
        ours = answer["data"]
        place["WEBHOOK_ID"] = ours["id"]
        status, answer = curl(test, **place)
        assert (status, answer["success"], answer["data"]["event"]) == (202, True, "test")
        receiver.wait_for(1)

        status, answer = curl(list_, **place)
        assert (status, answer["success"]) == (200, True)
        assert [item["id"] for item in answer["data"]][::2] == [ours["id"], made["id"]]
        assert not any("secret" in item for item in answer["data"])

        delete = [word.replace("POST", "DELETE").removesuffix("/test") for word in test]
        status, answer = curl(delete, **place)
        assert (status, answer["success"], answer["data"]["id"]) == (200, True, ours["id"])
        status, answer = curl(delete, **place)
        assert (status, answer["success"]) == (404, False)
        assert len(curl(list_, **place)[1]["data"]) == 2
    [ping] = receiver.requests
    assert ping.headers["x-webhook-secret"] == ours["secret"]
    assert json.loads(ping.body)["data"]["webhookId"] == ours["id"]
    assert {item.format: item.events for item in endpoints(app)} == {
        "authon": ["user.logged_in", "user.registered", "license.activated"],
        "discord": ["user.logged_in", "user.registered", "user.banned"],
    }


@pytest.mark.slow
def test_commands_of_the_authforge_page_work(
    app: Flask, tmp_path: Path, receiver: Receiver
) -> None:
    create, test = curl_commands(seeds.page("authforge"))
    config = config_of(app)
    with (
        serve(config, tmp_path / "server.log") as url,
        WorkerProcess(OURS, config, tmp_path / "worker.log"),
    ):
        place = {
            "https://api.authforge.cc": url,
            "YOUR_APP_ID": "app_1",
            "af_live_your_key": TOKEN,
        }
        status, made = curl(create, **place)
        assert status == 201
        assert made["url"] == "https://your-server.com/webhooks/authforge"
        assert made["events"] == ["license.created", "license.revoked"]
        assert made["enabled"] is True

        status, ours = curl(
            create, **place, **{"https://your-server.com/webhooks/authforge": receiver.url()}
        )
        place["WEBHOOK_ID"] = ours["id"]
        status, answer = curl(test, **place)
        assert (status, answer["event"]) == (202, "license.validated")
        receiver.wait_for(1)

        list_ = [word.replace("POST", "GET").partition("/WEBHOOK_ID")[0] for word in test]
        status, answer = curl(list_, **place)
        assert [item["id"] for item in answer["webhooks"]] == [ours["id"], made["id"]]
        delete = [word.replace("POST", "DELETE").removesuffix("/test") for word in test]
        assert curl(delete, **place) == (200, {"id": ours["id"], "deleted": True})
        status, refusal = curl(delete, **place)
        assert (status, refusal["code"]) == (404, "not_found")
        assert ours["id"] in refusal["error"]
    [request] = receiver.requests
    assert request.headers["x-authforge-event"] == "license.validated"
    webhooks_of(app).formats["authforge"].check_secret(ours["secret"])
    assert {item.format for item in endpoints(app)} == {"authforge"}


def test_curl_is_needed_for_no_command_of_a_page(
    app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = curl_commands(seeds.page("authon"))[0]
    monkeypatch.setattr("shutil.which", lambda name: None)
    with serve(config_of(app), tmp_path / "server.log") as url:
        place = {"https://api.authon.pro": url, "YOUR_APP_ID": "app_1", "YOUR_TOKEN": TOKEN}
        status, answer = curl(create, **place)
    assert (status, answer["success"]) == (201, True)


# -- what a program gets ---------------------------------------------------------------------------


def test_event_types_are_those_of_the_service(app: Flask, program: Program) -> None:
    theirs, ours = EVENTS[program.service]
    made = program.create(events=[theirs, "payment.succeeded"])
    assert made["events"] == [theirs, "payment.succeeded"]
    assert program.listed() == [{key: made[key] for key in made if key != "secret"}]
    [endpoint] = endpoints(app)
    assert (endpoint.events, endpoint.tenant) == ([ours, "payment.succeeded"], "app_1")
    assert endpoint.format == program.service
    assert webhook_id(endpoint.id) == made["id"]


def test_all_event_types_are_a_star(app: Flask, program: Program) -> None:
    assert program.create(events=["*"])["events"] == ["*"]
    assert endpoints(app)[0].events is None


def test_secret_that_the_receiver_has_is_kept(app: Flask, program: Program) -> None:
    assert program.create(secret="the secret of the shop")["secret"] == "the secret of the shop"


def test_webhook_that_is_not_enabled_is_paused(app: Flask) -> None:
    program = Program(app, "authforge")
    assert program.create(enabled=False)["enabled"] is False
    assert [item["enabled"] for item in program.listed()] == [False]
    assert endpoints(app)[0].state == "paused"


def test_chat_gets_messages_of_its_own(app: Flask, program: Program) -> None:
    made = program.create(url="https://discord.com/api/webhooks/1/hush")
    assert (made["url"], made["secret"]) == ("https://discord.com/api/webhooks/1/••••", None)
    assert endpoints(app)[0].format == "discord"


def test_changes_are_in_the_audit_log(app: Flask, program: Program) -> None:
    webhooks_of(app).current_actor(lambda: "the program")
    made = program.create()
    program.call(202, "POST", f"/{made['id']}/test")
    program.call(200, "DELETE", f"/{made['id']}")
    assert [(row.action, row.actor) for row in activity(app)] == [
        (action, "the program")
        for action in ("endpoint.created", "endpoint.tested", "endpoint.deleted")
    ]
    assert program.listed() == []


def test_test_may_have_an_empty_object_as_its_body(app: Flask, program: Program) -> None:
    path = f"/{program.create()['id']}/test"
    bodies: tuple[dict[str, Any], ...] = (
        {},
        {"json": {}},
        {"data": b"", "content_type": "application/json"},
    )
    for options in bodies:
        program.call(202, "POST", path, **options)
    assert len(deliveries(app)) == 3
    assert program.call(422, "POST", path, json={"event": "user.login"})["field"] == "event"


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize("token", [None, "wrong"])
def test_strangers_are_refused(app: Flask, program: Program, token: str | None) -> None:
    made = program.create()
    before = contents(app)
    stranger = Program(app, program.service, token)
    for method, path, options in (
        ("GET", "", {}),
        ("POST", "", {"json": {"url": SHOP, "events": ["*"]}}),
        ("DELETE", f"/{made['id']}", {}),
        ("POST", f"/{made['id']}/test", {}),
        ("PUT", "", {"json": {}}),
    ):
        refusal = stranger.call(401, method, path, **options)
        assert refusal["code"] == "unauthorized"
    assert "Bearer" in stranger.send("GET").headers["WWW-Authenticate"]
    assert contents(app) == before


def test_nobody_is_let_in_until_the_host_says_who(app: Flask, program: Program) -> None:
    webhooks_of(app).hooks.authorize = None
    assert "@webhooks.authorize" in program.call(403, "GET")["error"]
    assert program.create(403)["code"] == "forbidden"


@pytest.mark.parametrize("tenant", ["app_2", "app_1 ", "a\0", "x" * 300])
def test_application_out_of_scope_is_unknown(app: Flask, program: Program, tenant: str) -> None:
    before = contents(app)
    for method in ("GET", "POST"):
        body = {"url": SHOP, "events": ["*"]} if method == "POST" else None
        refusal = program.call(404, method, tenant=tenant, json=body)
        assert refusal["code"] == "not_found"
        assert "There is no tenant" in refusal["error"]
    assert contents(app) == before


@pytest.mark.parametrize("tenant", ["%ff", "app_1%c3", "%ed%a0%80"])
def test_application_that_is_no_utf_8_is_unknown_to_all(
    app: Flask, program: Program, tenant: str
) -> None:
    program = Program(app, program.service, STAFF)
    for method in ("GET", "POST"):
        body = {"url": SHOP, "events": ["*"]} if method == "POST" else None
        assert program.call(404, method, tenant=tenant, json=body)["code"] == "not_found"
    assert endpoints(app) == []


def test_application_that_there_is_not_gets_no_webhook(app: Flask, program: Program) -> None:
    webhooks_of(app).tenant_exists(lambda tenant: tenant == "app_1")
    program = Program(app, program.service, STAFF)
    body = {"url": SHOP, "events": ["*"]}
    assert program.call(404, "POST", tenant="app_9", json=body)["code"] == "not_found"
    program.create()
    assert [item.tenant for item in endpoints(app)] == ["app_1"]


def test_webhook_of_another_application_is_unknown(app: Flask, program: Program) -> None:
    for tenant in ("app_2", None):
        other = webhook_id(add_endpoint(app, tenant=tenant).id)
        for known in (program, Program(app, program.service, STAFF)):
            assert other in known.call(404, "DELETE", f"/{other}")["error"]
            known.call(404, "POST", f"/{other}/test")
    assert program.listed() == []
    assert len(endpoints(app)) == 2


@pytest.mark.parametrize("made_up", ["wh_abc123", "wh_", "nonsense", "wh_" + "0" * 26])
def test_webhook_that_is_none_is_named(program: Program, made_up: str) -> None:
    for method, path in (("DELETE", ""), ("POST", "/test")):
        assert f"'{made_up}'" in program.call(404, method, f"/{made_up}{path}")["error"]


def test_ids_of_our_own_api_are_none_here(app: Flask, program: Program) -> None:
    ours = add_endpoint(app, tenant="app_1").id
    program.call(404, "DELETE", f"/{ours}")
    assert len(endpoints(app)) == 1


@pytest.mark.parametrize(
    ("members", "field", "says"),
    [
        ({"url": "ftp://example.com/"}, "url", "https://"),
        ({"url": "http://[::1"}, "url", ""),
        ({"url": "http://10.0.0.7/"}, "url", "private"),
        ({"url": 7}, "url", ""),
        ({"url": None}, "url", ""),
        ({"events": ["user.flew"]}, "events", "user.flew"),
        ({"events": []}, "events", "at least one"),
        ({"events": None}, "events", '["*"]'),
        ({"events": "user.login"}, "events", "list"),
        ({"secret": "short"}, "secret", "8 to 256"),
        ({"secret": 7}, "secret", "text"),
        ({"name": "Shop"}, "name", "Choose one of: url, events, secret"),
    ],
)
def test_bad_values_are_refused_with_what_to_write(
    app: Flask, program: Program, members: dict[str, Any], field: str, says: str
) -> None:
    before = contents(app)
    refusal = program.create(422, **members)
    assert refusal["field"] == field
    assert says in refusal["error"]
    assert [item["field"] for item in refusal["errors"]] == [field]
    assert contents(app) == before


def test_all_that_is_wrong_is_told_at_once(program: Program) -> None:
    refusal = program.create(422, url="ftp://x", events=["user.flew"], secret="short")
    assert [item["field"] for item in refusal["errors"]] == ["url", "secret", "events"]


def test_switch_is_one_of_authforge(app: Flask) -> None:
    assert Program(app, "authon").create(422, enabled=True)["field"] == "enabled"
    assert "true or false" in Program(app, "authforge").create(422, enabled="on")["error"]


def test_limit_of_an_application_holds(app: Flask, program: Program) -> None:
    for number in range(5):
        program.create(url=f"{SHOP}/{number}")
    refusal = program.create(409)
    assert (refusal["code"], refusal["limit"]) == ("endpoint_limit_reached", 5)
    assert "5 of 5" in refusal["error"]


def test_same_webhook_is_not_made_twice(program: Program) -> None:
    made = program.create()
    refusal = program.create(409)
    assert (refusal["code"], refusal["webhookId"]) == ("duplicate_endpoint", made["id"])
    assert made["id"] in refusal["error"]
    assert "ep_" not in refusal["error"]


def test_tests_are_limited_and_say_for_how_long(
    app: Flask, program: Program, database_url: str, redis_url: str
) -> None:
    path = f"/{program.create()['id']}/test"
    limited = with_services(make_app(database_url, redis_url, WEBHOOKS_MAX_SENDS_PER_HOUR=1))
    program = Program(limited, program.service)
    program.call(202, "POST", path)
    answer = program.send("POST", path)
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) == answer.get_json()["retryAfter"] > 0
    close(limited)


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"url": NaN}', b"\xff"])
def test_body_that_is_no_object_is_refused(program: Program, body: bytes) -> None:
    refusal = program.call(400, "POST", data=body, content_type="application/json")
    assert "JSON" in refusal["error"]


def test_method_that_a_path_does_not_have_is_refused(program: Program) -> None:
    made = program.create()
    for method, path, allowed in (
        ("PUT", "", "GET and POST"),
        ("PATCH", f"/{made['id']}", "DELETE"),
        ("GET", f"/{made['id']}/test", "POST"),
    ):
        answer = program.send(method, path, json={})
        assert answer.status_code == 405
        assert allowed in answer.get_json()["error"]
        assert set(allowed.split(" and ")) <= set(answer.headers["Allow"].split(", "))


def test_nothing_changes_on_get(app: Flask, program: Program) -> None:
    made = program.create()
    before = contents(app)
    for path in ("", f"/{made['id']}", f"/{made['id']}/test"):
        program.send("GET", path)
        program.send("HEAD", path)
    assert contents(app) == before


def test_form_of_another_site_changes_nothing(app: Flask, program: Program) -> None:
    """A browser adds cookies by itself, and never a bearer token."""
    path = f"/{program.create()['id']}/test"
    before = contents(app)
    for options in (
        {"data": {"a": "b"}},
        {"data": b"{}", "content_type": "text/plain"},
        {"headers": {"Sec-Fetch-Site": "cross-site"}},
    ):
        assert program.call(403 if "headers" in options else 415, "POST", path, **options)
    assert contents(app) == before


def test_request_without_a_token_says_that_it_is_json(database_url: str, redis_url: str) -> None:
    """Where the host knows who it is by a cookie."""
    app = make_app(database_url, redis_url)
    webhooks = webhooks_of(app)
    webhooks.current_tenant(lambda: ALL_TENANTS)
    app.register_blueprint(webhooks.vendor_api_blueprint("authon"), url_prefix="/v1")
    program = Program(app, "authon", None)
    path = f"/{program.create()['id']}/test"
    for headers in ({}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer "}):
        refusal = program.call(415, "POST", path, headers=headers)
        assert "Content-Type: application/json" in refusal["error"]
    program.call(202, "POST", path, json={})
    close(app)


def test_service_without_an_api_is_refused(app: Flask) -> None:
    with pytest.raises(ConfigurationError, match=r'takes "authon" or "authforge", not .aureva.'):
        webhooks_of(app).vendor_api_blueprint("aureva")


def test_answer_of_a_view_is_no_yes(
    database_url: str, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(database_url, redis_url, PROPAGATE_EXCEPTIONS=False)
    blueprint = webhooks_of(app).vendor_api_blueprint("authon", lambda: 403)  # type: ignore[arg-type, return-value]
    app.register_blueprint(blueprint, url_prefix="/v1")
    refusal = Program(app, "authon").call(500, "GET")
    assert refusal["code"] == "internal_server_error"
    assert "vendor_api_blueprint(authenticate=…) must return True or False" in caplog.text
    close(app)


# -- ids -------------------------------------------------------------------------------------------


def test_ids_are_ours_with_another_prefix(app: Flask) -> None:
    ours = add_endpoint(app).id
    theirs = webhook_id(ours)
    assert theirs == "wh_" + ours.removeprefix("ep_")
    assert endpoint_id(theirs) == ours
    assert endpoint_id(ours) is None
    for other in ("lic_1", "ep_1", "ep_of_the_host", f"{ours}0", f"{ours}\n"):
        assert webhook_id(other) == other
    assert with_webhook_ids(f"See '{ours}', not step_1 or ep_1.") == (
        f"See '{theirs}', not step_1 or ep_1."
    )


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("event_type", ["endpoint.failing", "delivery.failed"])
def test_events_about_an_endpoint_name_it_as_the_api_does(service: str, event_type: str) -> None:
    data = builtin_catalog()[event_type].example
    body = rendered(service, outgoing(event_type, data)).body
    sent = json.loads(body)["data"]
    named = sent["webhookId" if service == "authon" else "endpointId"]
    assert endpoint_id(named) == data["endpoint_id"]
    assert b"ep_" not in body


@pytest.mark.parametrize("service", SERVICES)
def test_ids_of_the_host_s_own_things_stay_as_they_are(service: str) -> None:
    body = rendered(service, outgoing("shop.scanned", {"endpoint_id": "ep_berlin_1"})).body
    assert "ep_berlin_1" in json.loads(body)["data"].values()
