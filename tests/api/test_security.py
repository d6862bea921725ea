"""What the API must never do: walks over every route, with every kind of request that it must refuse."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, request
from werkzeug.exceptions import default_exceptions
from werkzeug.routing import Rule

from flask_webhooks import actions
from flask_webhooks.api.request_reader import largest_body
from flask_webhooks.app_state import state_of
from flask_webhooks.errors import WebhooksError
from flask_webhooks.models import Endpoint
from tests.support.api_calls import PREFIX, PROBLEM, Api, make_app, rules, template
from tests.support.delivering import deliveries, drain, emit, webhooks_of
from tests.support.helpers import URL, accessing, add_delivery, add_endpoint, close
from tests.support.helpers import make_app as make_bare_app
from tests.support.pages import HOSTILE, World, contents, populate
from tests.support.receiver import Receiver


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'database.sqlite'}"


@pytest.fixture
def app(database_url: str, redis_url: str) -> Iterator[Flask]:
    app = make_app(
        database_url, redis_url, WEBHOOKS_MAX_ENDPOINTS=20, WEBHOOKS_PORTAL_PREFIX="/portal"
    )
    yield app
    close(app)


@pytest.fixture
def world(app: Flask, receiver: Receiver) -> World:
    return populated(app, receiver)


def populated(app: Flask, receiver: Receiver, tenant: str | None = None) -> World:
    """Something in every state, and a task."""
    world = populate(app, receiver, tenant)
    task = actions.start_task(accessing(app), "resend", world.endpoints["good"], state="failed")
    world.events["task"] = task.id
    token = actions.create_token(accessing(app), "CI", ["view"], tenant=tenant).token
    world.events["token"] = token.id
    return world


def path_of(rule: Rule, world: World) -> str:
    """A path of a route, for things that exist."""
    return template(rule).format(
        endpoint_id=world.endpoints["good"],
        delivery_id=world.deliveries["pending"],
        event_id=world.events["emitted"],
        task_id=world.events["task"],
        token_id=world.events["token"],
        scheduled_id=world.scheduled,
        link_id=world.portal_link,
        name="license.created",
    )


#: What makes each request succeed that says more than nothing.
BODIES: dict[str, Any] = {
    "/endpoints": {"url": "https://hooks.example.com/x"},
    "/endpoints/delete-all": {"all_tenants": True},
    "/tasks": {"kind": "cancel", "all_tenants": True},
    "/tasks/preview": {"kind": "cancel"},
    "/tokens": {"name": "CI", "actions": ["view"]},
    "/portal-links": {"tenant": "app_1", "actor": "mira"},
}


def send(api: Api, method: str, rule: Rule, world: World, **options: Any) -> Any:
    """A request that would do something."""
    if method not in ("GET", "DELETE") and not options:
        options = {"json": BODIES.get(template(rule), {})}
    return api.send(method, path_of(rule, world), **options)


# -- who is let in ------------------------------------------------------------------------------------


def test_there_are_routes(app: Flask) -> None:
    found = list(rules(app))
    assert len(found) > 30
    assert {method for method, _ in found} == {"GET", "POST", "PATCH", "DELETE"}


def test_strangers_are_refused_everywhere(database_url: str, redis_url: str) -> None:
    app = make_bare_app(database_url, redis_url)
    asked: list[str] = []

    def program() -> bool:
        asked.append(request.path)
        return "X-Key" in request.headers

    blueprint = webhooks_of(app).api_blueprint(authenticate=program)
    app.register_blueprint(blueprint, url_prefix=PREFIX)
    webhooks_of(app).authorize(lambda action, endpoint: asked[-1] == request.path)
    known = Api(app, headers={"X-Key": "of app_1"})
    # The document is read with the same key.
    known.client.environ_base["HTTP_X_KEY"] = "of app_1"
    stranger = app.test_client()
    before = contents(app)
    for method, rule in rules(app):
        path = PREFIX + template(rule)
        bodies: tuple[dict[str, Any], ...] = ({}, {"json": {}}, {"data": {"a": "b"}})
        for options in bodies:
            response = stranger.open(path, method=method, **options)
            assert (response.status_code, response.mimetype) == (401, PROBLEM), rule
            assert response.get_json()["code"] == "unauthorized"
            assert response.headers["WWW-Authenticate"]
    for path in ("", "/", "/nowhere"):
        assert stranger.get(PREFIX + path).status_code == 401
    assert contents(app) == before
    assert known.post("/endpoints", {"url": URL}, 201)["url"] == URL
    close(app)


@pytest.mark.parametrize(
    "answer", [("", 401), Response("Log in.", 401), 403, 1, "/login", "", {"id": 1}], ids=repr
)
def test_an_answer_of_a_view_is_no_yes(
    database_url: str, redis_url: str, caplog: pytest.LogCaptureFixture, answer: Any
) -> None:
    app = make_bare_app(database_url, redis_url, PROPAGATE_EXCEPTIONS=False)
    blueprint = webhooks_of(app).api_blueprint(authenticate=lambda: answer)
    app.register_blueprint(blueprint, url_prefix=PREFIX)
    response = app.test_client().get(f"{PREFIX}/endpoints")
    assert (response.status_code, response.mimetype) == (500, PROBLEM)
    assert "api_blueprint(authenticate=…) must return True or False" in caplog.text
    close(app)


def test_the_tenant_of_a_query_never_widens_the_scope(app: Flask, api: Api, world: World) -> None:
    webhooks_of(app).hooks.current_tenant = lambda: "app_1"
    paths = [
        template(rule)
        for method, rule in rules(app)
        if method == "GET"
        and any(
            item["name"] == "tenant"
            for item in api.document["paths"][template(rule)]["get"].get("parameters", ())
        )
    ]
    assert len(paths) > 6
    for path in paths:
        api.get(path, 200, tenant="app_1")
        for other in ("app_2", "app_1 ", "\0"):
            api.get(path, 404, tenant=other)
    for path, body in (("/tasks", {"kind": "cancel"}), ("/endpoints/delete-all", {})):
        api.post(path, {**body, "tenant": "app_2"}, 404)
        assert api.post(path, {**body, "tenant": "x" * 256}, 422)["field"] == "tenant"
    api.post("/endpoints", {"url": URL, "tenant": "app_2"}, 403)


def test_all_of_one_tenant_are_deleted_and_no_others(app: Flask, api: Api) -> None:
    ids = [add_endpoint(app, tenant=tenant).id for tenant in ("app_1", "app_1", "app_2", None)]
    assert api.post("/endpoints/delete-all", {"tenant": "app_1"}) == {"deleted": 2}
    assert [item["id"] for item in api.get("/endpoints")["items"]] == ids[:1:-1]
    for body in ({}, {"tenant": None}, {"all_tenants": False}):
        problem = api.post("/endpoints/delete-all", body, 422)
        assert problem["field"] == "tenant"
        assert '"all_tenants": true' in problem["detail"]
    both = {"tenant": "app_2", "all_tenants": True}
    assert api.post("/endpoints/delete-all", both, 422)["field"] == "all_tenants"
    # A URL that lost its id is not a wish to delete everything.
    assert api.send("DELETE", "/endpoints").status_code == 405
    assert api.send("DELETE", "/endpoints/").status_code == 404
    assert len(api.get("/endpoints")["items"]) == 2
    assert api.post("/endpoints/delete-all", {"all_tenants": True}) == {"deleted": 2}


def test_who_sees_one_tenant_only_deletes_its_own(app: Flask, api: Api) -> None:
    for tenant in ("app_1", "app_2"):
        add_endpoint(app, tenant=tenant)
    webhooks_of(app).hooks.current_tenant = lambda: "app_1"
    assert api.post("/endpoints/delete-all") == {"deleted": 1}
    assert api.post("/endpoints/delete-all", {"all_tenants": True}) == {"deleted": 0}


# -- what is secret -----------------------------------------------------------------------------------

ELSEWHERE = "https://thief.example/x"


def _without_secret(action: str, endpoint: Endpoint | None) -> bool:
    return action != "secret"


@pytest.mark.parametrize("change", [{"format": "authon"}, {"format": "authon", "url": ELSEWHERE}])
def test_a_secret_that_signs_is_never_sent_in_the_open(
    app: Flask, api: Api, change: dict[str, str]
) -> None:
    path = f"/endpoints/{add_endpoint(app).id}"
    before = contents(app)
    for may in (_without_secret, lambda action, endpoint: True):
        webhooks_of(app).authorize(may)
        problem = api.patch(path, change, 422)
        assert problem["field"] == "format"
        assert "add another endpoint" in problem["detail"]
        assert contents(app) == before
    # Not by way of a format that has no use for it either.
    discord = "https://discord.com/api/webhooks/1234567890/abcDEF-token_very_secret"
    assert api.patch(path, {"format": "discord", "url": discord})["format"] == "discord"
    assert api.patch(path, {**change, "url": URL}, 422)["field"] == "format"
    assert api.patch(path, {"format": "aureva", "url": URL})["format"] == "aureva"


def test_a_secret_that_is_sent_in_the_open_goes_to_no_other_server(app: Flask, api: Api) -> None:
    path = f"/endpoints/{add_endpoint(app, format='authon').id}"
    webhooks_of(app).authorize(_without_secret)
    for url in (ELSEWHERE, URL.replace("https:", "http:"), URL.replace(".com", ".com:8443")):
        assert api.patch(path, {"url": url}, 422)["field"] == "url", url
    webhooks_of(app).authorize(lambda action, endpoint: True)
    assert api.patch(path, {"url": ELSEWHERE})["url"] == ELSEWHERE


def test_a_url_that_is_a_secret_is_not_shown_by_another_format(app: Flask, api: Api) -> None:
    whole = "https://discord.com/api/webhooks/1234567890/abcDEF-token_very_secret"
    path = f"/endpoints/{add_endpoint(app, whole).id}"
    webhooks_of(app).authorize(_without_secret)
    before = contents(app)
    for format in ("aureva", "slack"):
        assert api.patch(path, {"format": format}, 422)["field"] == "url"
    assert contents(app) == before
    plain = api.patch(path, {"format": "aureva", "url": whole})
    assert "token_very_secret" not in plain["url"]
    assert api.patch(path, {"format": "discord"}, 422)["field"] == "url"
    back = api.patch(path, {"format": "discord", "url": whole})
    assert "token_very_secret" not in back["url"]
    webhooks_of(app).authorize(lambda action, endpoint: True)
    assert "token_very_secret" not in api.patch(path, {"format": "aureva"})["url"]
    # Whoever may know secrets reads it where the endpoint alone is shown.
    assert api.get(path)["url"] == whole


@pytest.mark.parametrize("url", [f"{URL}/other", f"{URL}?to=other", URL.replace("/in", "/")])
def test_values_of_headers_go_to_no_other_path_of_a_shared_host(
    app: Flask, api: Api, url: str
) -> None:
    added = add_endpoint(app, headers={"Authorization": "Bearer one"})
    authon = add_endpoint(app, format="authon")
    path = f"/endpoints/{added.id}"
    webhooks_of(app).authorize(_without_secret)
    before = contents(app)
    for headers in ({}, {"headers": {"authorization": None}}):
        problem = api.patch(path, {"url": url, **headers}, 422)
        assert (problem["code"], problem["field"]) == ("invalid_header", "headers")
    assert api.patch(f"/endpoints/{authon.id}", {"url": url}, 422)["field"] == "url"
    assert contents(app) == before
    # The same URL in other words is no move.
    api.patch(path, {"url": URL.replace("https://", "HTTPS://").replace(".com/", ".com:443/")})
    webhooks_of(app).authorize(lambda action, endpoint: True)
    assert api.patch(path, {"url": url})["url"] == url
    assert api.patch(f"/endpoints/{authon.id}", {"url": url})["url"] == url


def test_a_refused_address_is_shown_to_operators_only(
    app: Flask, api: Api, receiver: Receiver
) -> None:
    """A customer could else ask by names of their own what lies inside."""
    add_endpoint(app, receiver.url("/status/204"), tenant="app_1")
    with app.app_context():
        emit(app, tenant="app_1")
    drain(app, allowed_networks=())
    [delivery] = deliveries(app)
    path = f"/deliveries/{delivery.id}"
    [attempt] = api.get(path)["attempts"]
    assert (attempt["outcome"], attempt["address"]) == ("blocked", "127.0.0.1")
    webhooks_of(app).hooks.current_tenant = lambda: "app_1"
    [attempt] = api.get(path)["attempts"]
    assert (attempt["outcome"], attempt["address"]) == ("blocked", None)


@pytest.mark.slow
def test_values_of_headers_go_to_no_other_server(app: Flask, api: Api) -> None:
    added = add_endpoint(app, headers={"X-Key": "one", "X-Team": "two"})
    path = f"/endpoints/{added.id}"
    webhooks_of(app).authorize(_without_secret)
    before = contents(app)
    for headers in ({}, {"headers": {"x-key ": None}}, {"headers": {"X-Key": "1", "X-Team": None}}):
        problem = api.patch(path, {"url": ELSEWHERE, **headers}, 422)
        assert (problem["code"], problem["field"]) == ("invalid_header", "headers")
        assert contents(app) == before
    api.patch(path, {"url": ELSEWHERE, "headers": {"X-Key": "new"}})
    assert api.get(path)["header_names"] == ["X-Key"]
    api.patch(path, {"url": URL, "headers": {}})
    api.patch(path, {"url": ELSEWHERE})
    webhooks_of(app).authorize(lambda action, endpoint: True)
    api.patch(path, {"headers": {"X-Key": "new"}})
    api.patch(path, {"url": URL})
    assert api.get(path)["header_names"] == ["X-Key"]


# -- forged requests ----------------------------------------------------------------------------------


#: What a form, a beacon or a script of another site can send without asking first.
FORGED: dict[str, dict[str, Any]] = {
    "form": {"data": {"url": URL}},
    "files": {"data": {"url": URL}, "content_type": "multipart/form-data"},
    "text": {"data": json.dumps({"url": URL, "kind": "cancel"}), "content_type": "text/plain"},
    "nothing": {"data": b""},
    "no type": {"data": json.dumps({"url": URL, "kind": "cancel"}).encode()},
    "nearly": {"data": b"{}", "content_type": "application/json-seq"},
    "hidden": {"data": b"{}", "content_type": "text/plain; application/json"},
}


def test_what_another_site_can_send_is_refused(app: Flask, api: Api, world: World) -> None:
    before = contents(app)
    for (method, rule), forged in itertools.product(rules(app), FORGED.values()):
        if method == "GET" or (method == "DELETE" and "content_type" not in forged):
            continue
        response = send(api, method, rule, world, **forged)
        assert response.status_code == 415, rule
        assert "Content-Type: application/json" in response.get_json()["detail"]
    assert contents(app) == before


@pytest.mark.slow
def test_what_a_browser_sends_for_another_site_is_refused(
    app: Flask, api: Api, world: World
) -> None:
    """The host's CORS rules may say yes to JSON of another site, for all its paths."""
    before = contents(app)
    for method, rule in rules(app):
        path = path_of(rule, world)
        options = {} if method in ("GET", "DELETE") else {"json": BODIES.get(template(rule), {})}
        response = api.send(method, path, headers={"Sec-Fetch-Site": "cross-site"}, **options)
        assert response.status_code == (200 if method == "GET" else 403), rule
    assert contents(app) == before
    for site in ("same-origin", "same-site", "none"):
        api.post("/endpoints", {"url": f"{URL}/{site}"}, 201, headers={"Sec-Fetch-Site": site})


def test_a_form_that_says_it_is_a_delete_is_refused(app: Flask, api: Api, world: World) -> None:
    # Hosts may have a middleware that reads the method out of a form.
    path = f"/endpoints/{world.endpoints['good']}"
    assert api.send("DELETE", path, data={"_method": "DELETE"}).status_code == 415
    api.delete(path)


def test_other_sites_are_not_let_in(app: Flask, api: Api) -> None:
    asking = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    for _, rule in rules(app):
        response = api.client.options(PREFIX + template(rule), headers=asking)
        assert not [name for name, _ in response.headers if name.startswith("Access-Control")]


def test_a_type_with_a_charset_is_json(api: Api) -> None:
    for content_type in ("application/json; charset=utf-8", "Application/JSON"):
        body = json.dumps({"url": URL, "allow_duplicate": True})
        response = api.send("POST", "/endpoints", data=body, content_type=content_type)
        assert response.status_code == 201


# -- bodies -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b'{"url": NaN}', "NaN"),
        (b'{"name": "\\ud800"}', "surrogates"),
        (b'{"\\udfff": 1}', "surrogates"),
        (b"[" * 100_000, "not JSON"),
        (b'{"a":' * 50_000, "not JSON"),
        (b"9" * 5000, "not JSON"),
        (b"[]", "JSON object"),
        (b"null", "JSON object"),
        (b'"text"', "JSON object"),
        ('{"url": "x"}'.encode("utf-16"), "not JSON"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_bodies_that_are_no_object_are_refused(api: Api, raw: bytes, words: str) -> None:
    response = api.send("POST", "/endpoints", data=raw, content_type="application/json")
    assert response.status_code == 400
    assert words in response.get_json()["detail"]
    assert len(response.get_json()["detail"]) < 400


def test_bodies_are_bounded(app: Flask, api: Api) -> None:
    most = largest_body(state_of(app))
    spaces = b" " * (most - 2)
    response = api.send(
        "POST", "/tasks/preview", data=b"{}" + spaces, content_type="application/json"
    )
    assert response.status_code == 422
    response = api.send(
        "POST", "/tasks/preview", data=b"{} " + spaces, content_type="application/json"
    )
    assert response.status_code == 413
    assert f"{most:,}" in response.get_json()["detail"]


def test_a_body_that_tells_no_length_is_refused(api: Api) -> None:
    response = api.send(
        "POST",
        "/tasks/preview",
        content_type="application/json",
        headers={"Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert response.status_code == 411


def test_a_smaller_limit_of_the_host_holds(database_url: str, redis_url: str) -> None:
    app = make_app(database_url, redis_url, MAX_CONTENT_LENGTH=100)
    response = Api(app).send("POST", "/endpoints", json={"name": "x" * 200})
    assert response.status_code == 413
    close(app)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": 5}, "url"),
        ({"url": "http://10.0.0.1/"}, "url"),
        ({"url": URL, "events": []}, "events"),
        ({"url": URL, "events": "license.*"}, "events"),
        ({"url": URL, "events": {"license.*": 1}}, "events"),
        ({"url": URL, "events": [None]}, "events"),
        ({"url": URL, "events": ["licence.created"]}, "events"),
        ({"url": URL, "format": 5}, "format"),
        ({"url": URL, "name": "a\nb"}, "name"),
        ({"url": URL, "name": ["x"]}, "name"),
        ({"url": URL, "description": "\0"}, "description"),
        ({"url": URL, "headers": ["X-A"]}, "headers"),
        ({"url": URL, "headers": {"X-A": 5}}, "headers"),
        ({"url": URL, "headers": {"Host": "x"}}, "headers"),
        ({"url": URL, "user_agent": "ü"}, "user_agent"),
        ({"url": URL, "contact": "a b"}, "contact"),
        ({"url": URL, "contact": ["a@b.example"]}, "contact"),
        ({"url": URL, "options": []}, "options"),
        ({"url": URL, "format": "custom"}, "template"),
        ({"url": URL, "timeout": "5"}, "timeout"),
        ({"url": URL, "timeout": 1e9}, "timeout"),
        ({"url": URL, "rate_limit": True}, "rate_limit"),
        ({"url": URL, "ordered": None}, "ordered"),
        ({"url": URL, "ordered": 1}, "ordered"),
        ({"url": URL, "active": "yes"}, "active"),
        ({"url": URL, "key_pair": 1}, "key_pair"),
        ({"url": URL, "secret": True}, "secret"),
        ({"url": URL, "secret": False}, "secret"),
        ({"url": URL, "secret": "short"}, "secret"),
        ({"url": URL, "tenant": 5}, "tenant"),
        ({"url": URL, "tenant": ""}, "tenant"),
        ({"url": URL, "tenant": "\0"}, "tenant"),
        ({"url": URL, "state": "paused"}, "state"),
        ({"url": URL, HOSTILE: 1}, None),
    ],
)
def test_bad_endpoints_are_refused(app: Flask, api: Api, body: Any, field: str | None) -> None:
    problem = api.post("/endpoints", body, 422)
    if field is not None:
        assert problem["field"] == field
    assert len(problem["detail"]) < 1000
    assert api.get("/endpoints")["items"] == []


def test_a_refusal_tells_of_everything_that_is_wrong(app: Flask, api: Api) -> None:
    body = {"url": "ftp://x", "name": "a\nb", "events": ["licence.created"], "timeout": 0}
    path = f"/endpoints/{add_endpoint(app).id}"
    for problem in (api.post("/endpoints", body, 422), api.patch(path, body, 422)):
        errors = problem["errors"]
        assert [error["field"] for error in errors] == ["url", "name", "events", "timeout"]
        assert (problem["field"], problem["detail"]) == ("url", errors[0]["detail"])
        assert "license.created" in errors[2]["detail"]
    problem = api.get("/deliveries?stat=failed", 422)
    assert problem["errors"] == [{"field": "stat", "detail": problem["detail"]}]
    assert "errors" not in api.get("/nowhere", 404)


def test_all_that_has_a_wrong_shape_is_told_at_once(api: Api) -> None:
    def told(problem: Any) -> dict[str, str]:
        return {error["field"]: error["detail"] for error in problem["errors"]}

    body = {"kind": "resend", "status": 503, "all_tenants": 1, "since": "yesterday", "stat": "x"}
    errors = told(api.post("/tasks", body, 422))
    assert list(errors) == ["stat", "all_tenants", "since", "status"]
    assert errors["stat"].endswith("Did you mean state?")
    assert errors["all_tenants"] == "Write true or false for all_tenants, or leave it out."
    assert errors["status"] == "Write status as text, or leave it out."
    body = {"overlap_seconds": "1", "secret": 0, "key_pair": None}
    errors = told(api.post("/endpoints/ep_1/rotate", body, 422))
    assert list(errors) == ["overlap_seconds", "secret", "key_pair"]
    errors = told(api.get("/deliveries", 422, limit="x", since="now", state=["a", "b"], stat=""))
    assert list(errors) == ["state", "stat", "limit", "since"]
    assert errors["state"] == "Give state once."


def test_a_refusal_names_some_of_many_unknown_members(api: Api) -> None:
    problem = api.post("/endpoints", {f"x{number}": 1 for number in range(1000)}, 422)
    assert len(problem["errors"]) == 20


def test_zero_is_not_false(api: Api) -> None:
    problem = api.post("/endpoints", {"url": URL, "secret": 0}, 422)
    assert (problem["field"], problem["detail"]) == (
        "secret",
        "Write secret as text, or leave it out.",
    )


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("rotate", {"overlap_seconds": -1}, "overlap_seconds"),
        ("rotate", {"overlap_seconds": True}, "overlap_seconds"),
        ("rotate", {"overlap_seconds": 10**400}, "overlap_seconds"),
        ("rotate", {"secret": 0}, "secret"),
        ("rotate", {"key_pair": None}, "key_pair"),
        ("pause", {"reason": ["x"]}, "reason"),
        ("pause", {"reason": "x" * 501}, "reason"),
        ("resume", {"held": "drop"}, "held"),
        ("resume", {"held": {}}, "held"),
        ("test", {"event_type": "license.creatd"}, "event_type"),
        ("test", {"event_type": 5}, "event_type"),
        ("test", {"data": [1]}, "data"),
        ("test", {"data": {"x": "y" * 300_000}}, "data"),
        ("end-overlap", {"x": 1}, "x"),
    ],
)
def test_bad_changes_are_refused(app: Flask, api: Api, path: str, body: Any, field: str) -> None:
    added = add_endpoint(app)
    if path == "resume":
        actions.pause_endpoint(accessing(app), added.id)
    before = contents(app)
    assert api.post(f"/endpoints/{added.id}/{path}", body, 422)["field"] == field
    assert contents(app) == before


def test_what_people_and_receivers_wrote_stays_text(app: Flask, api: Api, world: World) -> None:
    found = ""
    for method, rule in rules(app):
        if method == "GET":
            response = send(api, method, rule, world)
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert "html" not in response.mimetype
            found += str(response.get_json())
    assert "<script>" in found


# -- errors -------------------------------------------------------------------------------------------


def test_every_error_below_the_prefix_is_a_problem(app: Flask, api: Api) -> None:
    for method, path, status in (
        ("GET", "/nowhere", 404),
        ("GET", "", 404),
        ("GET", "/", 404),
        ("POST", "", 404),
        ("GET", "/endpoints/", 404),
        ("POST", "/deliveries/x/y", 404),
        ("PUT", "/endpoints", 405),
        ("GET", "/tasks/preview", 404),
        ("GET", "/endpoints/delete-all", 404),
    ):
        response = api.send(method, path, **({} if method == "GET" else {"json": {}}))
        assert response.status_code == status, path
        problem = response.get_json()
        assert (problem["status"], problem["title"]) == (
            status,
            response.status.partition(" ")[2].title(),
        )
        assert response.mimetype == PROBLEM
    allowed = api.send("PUT", "/endpoints", json={}).headers["Allow"]
    assert {item.strip() for item in allowed.split(",")} == {"GET", "POST"}


class HostFault(Exception):
    """Of a host that answers it by itself."""


def test_pages_of_the_host_for_errors_are_not_for_programs(
    app: Flask, api: Api, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """The host has one for each status, and one for every exception."""

    def page(error: Exception) -> tuple[str, int]:
        return "<h1>Oops</h1>", getattr(error, "code", None) or 500

    for status in default_exceptions:
        app.register_error_handler(status, page)
    app.register_error_handler(Exception, page)
    app.register_error_handler(HostFault, lambda error: ("the host's own", 418))
    test_every_error_below_the_prefix_is_a_problem(app, api)
    for body, status in ((b"{", 400), (b"[]", 400), (b'{"url": 5}', 422)):
        answer = api.send("POST", "/endpoints", data=body, content_type="application/json")
        assert (answer.status_code, answer.mimetype) == (status, PROBLEM)
    for method, rule in rules(app):
        if method not in ("GET", "DELETE"):
            assert send(api, method, rule, world, data=b"{}").status_code == 415
    test_trouble_that_passes_is_told_so(app, api)
    test_a_fault_is_a_problem_that_tells_nothing(app, api, caplog)

    @webhooks_of(app).authorize
    def broken(action: str, endpoint: object) -> bool:
        raise HostFault

    assert api.client.get(f"{PREFIX}/endpoints").text == "the host's own"
    assert app.test_client().get("/api/elsewhere").text == "<h1>Oops</h1>"


def test_other_paths_of_the_host_are_its_own(app: Flask) -> None:
    assert app.test_client().get("/api/elsewhere").mimetype == "text/html"


def test_a_fault_is_a_problem_that_tells_nothing(
    app: Flask, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    @webhooks_of(app).authorize
    def broken(action: str, endpoint: object) -> bool:
        raise RuntimeError("the password is 1234")

    app.config["PROPAGATE_EXCEPTIONS"] = False
    with caplog.at_level(logging.ERROR):
        response = api.client.get(f"{PREFIX}/endpoints")
    assert (response.status_code, response.mimetype) == (500, PROBLEM)
    assert "1234" not in response.text
    assert "1234" in caplog.text


def test_a_mistake_of_the_host_is_for_its_log(
    app: Flask, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    webhooks_of(app).authorize(lambda action, endpoint: "yes")  # type: ignore[arg-type,return-value]
    app.config["PROPAGATE_EXCEPTIONS"] = False
    with caplog.at_level(logging.ERROR):
        response = api.client.get(f"{PREFIX}/endpoints")
    assert (response.status_code, response.mimetype) == (500, PROBLEM)
    assert "must return True or False" in caplog.text


def test_trouble_that_passes_is_told_so(app: Flask, api: Api) -> None:
    @webhooks_of(app).authorize
    def locked(action: str, endpoint: object) -> bool:
        raise WebhooksError("The database is locked.")

    response = api.client.get(f"{PREFIX}/endpoints")
    assert (response.status_code, response.mimetype) == (503, PROBLEM)


def test_a_host_without_the_extension_is_told(app: Flask) -> None:
    other = Flask("other")
    other.register_blueprint(webhooks_of(app).api_blueprint(), url_prefix=PREFIX)
    other.config["PROPAGATE_EXCEPTIONS"] = False
    assert other.test_client().get(f"{PREFIX}/endpoints").status_code == 500


@pytest.mark.slow
def test_deliveries_of_deleted_endpoints_are_seen_by_their_tenant_only(
    app: Flask, api: Api
) -> None:
    added = add_endpoint(app, tenant="app_1")
    delivery = add_delivery(app, added, "failed")
    actions.delete_endpoint(accessing(app), added.id)
    webhooks_of(app).hooks.current_tenant = lambda: "app_1"
    assert api.get(f"/deliveries/{delivery}")["endpoint"]["deleted"]
    webhooks_of(app).hooks.current_tenant = lambda: "app_2"
    api.get(f"/deliveries/{delivery}", 404)
