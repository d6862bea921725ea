"""Pages, API and commands say the same of the same things."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_webhooks import actions
from flask_webhooks.app_state import state_of
from tests.support.api_calls import PREFIX as API
from tests.support.api_calls import Api
from tests.support.delivering import emit, webhooks_of
from tests.support.helpers import accessing, add_delivery, add_endpoint, close, update
from tests.support.pages import Browser, make_app
from tests.support.working import Worker, ended


@pytest.fixture
def app(database_url: str, redis_url: str) -> Iterator[Flask]:
    app = make_app(database_url, redis_url)
    api = webhooks_of(app).api_blueprint(authenticate=lambda: True, tokens=True)
    app.register_blueprint(api, url_prefix=API)
    yield app
    close(app)


def by_command(app: Flask, *arguments: str) -> Any:
    result = app.test_cli_runner().invoke(args=["webhooks", *arguments, "--json"])
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def counts_on_page(app: Flask, query: str) -> dict[str, int]:
    """Deliveries in all states, by the ids of the events in the list."""
    page = Browser(app).get(f"/events?{query}")
    found = {}
    for row in page.one("tbody").all("tr"):
        cells = row.all("td")
        numbers = [item for item in cells[-2].all("span") if item.has_class("wh-number")]
        found[cells[0].text] = sum(int(item.text) for item in numbers)
    return found


@pytest.mark.parametrize("query", ["", "tenant=app_1", "type=license.created"])
def test_events_have_as_many_deliveries_on_pages_by_the_api_and_by_command(
    app: Flask, query: str
) -> None:
    """The whole server's endpoints get what is a tenant's, too."""
    of_tenant, of_server = add_endpoint(app, tenant="app_1"), add_endpoint(app)
    add_endpoint(app, tenant="app_2")
    webhooks = webhooks_of(app)
    with app.app_context():
        for tenant in ("app_1", "app_2", None):
            webhooks.emit("license.created", {"license_id": "lic_1"}, tenant=tenant)
            webhooks.db.session.commit()
    assert of_tenant.tenant != of_server.tenant
    name, _, value = query.partition("=")
    api_query = {{"type": "event_type"}.get(name, name): value} if query else {}
    by_api = Api(app).get("/events", **api_query)["items"]
    options = [f"--{name}", value] if query else []
    listed = by_command(app, "events", "list", *options)
    assert by_api == listed
    counted = {item["id"]: sum(item["deliveries"].values()) for item in listed}
    assert counted == counts_on_page(app, query)
    assert sorted(counted.values()) == ([2] if name == "tenant" else [1, 2, 2])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"state": "active"}, {"well", "ill"}),
        ({"state": "paused"}, {"paused"}),
        ({"health": "failing"}, {"ill"}),
        ({"health": "healthy"}, {"well"}),
        ({"state": "paused", "health": "healthy"}, set()),
        ({"state": "active", "tenant": "app_1"}, {"well"}),
    ],
)
def test_endpoints_are_filtered_alike(
    app: Flask, query: dict[str, str], expected: set[str]
) -> None:
    add_endpoint(app, name="well", tenant="app_1")
    ill, paused = add_endpoint(app, name="ill"), add_endpoint(app, name="paused")
    update(app, "EndpointHealth", ill.id, probe_interval=60.0)
    actions.pause_endpoint(accessing(app), paused.id)
    by_api = Api(app).get("/endpoints", **query)["items"]
    options = [part for name, value in query.items() for part in (f"--{name}", value)]
    assert by_api == by_command(app, "endpoints", "list", *options)
    assert {item["name"] for item in by_api} == expected


@pytest.mark.parametrize("query", [{"state": "gone"}, {"health": "ill"}])
def test_filters_that_there_are_not_are_refused(app: Flask, query: dict[str, str]) -> None:
    [name] = query
    assert Api(app).get("/endpoints", 422, **query)["field"] == name


def test_deliveries_are_filtered_by_tenant_alike(app: Flask) -> None:
    mine, other, server = (add_endpoint(app, tenant=tenant) for tenant in ("app_1", "app_2", None))
    expected = [add_delivery(app, mine) for _ in range(2)]
    for endpoint in (other, server):
        add_delivery(app, endpoint)
    by_api = Api(app).get("/deliveries", tenant="app_1")["items"]
    assert [item["id"] for item in by_api] == expected[::-1]
    assert by_api == by_command(app, "deliveries", "list", "--tenant", "app_1")
    links = [
        item.attributes["href"] for item in Browser(app).get("/deliveries?tenant=app_1").all("a")
    ]
    shown = [link.rpartition("/")[2] for link in links if "/deliveries/dlv_" in link]
    assert shown == expected[::-1]


@pytest.mark.slow
def test_notifications_are_the_same_on_the_page_by_the_api_and_by_command(app: Flask) -> None:
    webhooks_of(app).notify(lambda *given: None)
    endpoint = add_endpoint(app, tenant="app_1", contact="ops@shop.example")
    with app.app_context(), closing(Worker(app, retry_schedule=())) as worker:
        emit(app, 6, tenant="app_1")
        worker.settle(*(ended(flying, 500) for flying in worker.take()))
    update_all(app, "Notification", state="failed", error_code="refused", error_detail="550")
    by_api = Api(app).get(f"/endpoints/{endpoint.id}/notifications")["items"]
    assert by_api == by_command(app, "endpoints", "notifications", endpoint.id)
    assert [(item["stage"], item["count"]) for item in by_api] == [("given_up", 6), ("failing", 5)]
    assert {item["error"] for item in by_api} == {
        "The mail server refused the address (550). Correct the contact."
    }
    page = Browser(app).get(f"/endpoints/{endpoint.id}")
    [table] = [item for item in page.all("table") if "Notifications" in item.one("caption").text]
    assert [row.one("th").text for row in table.one("tbody").all("tr")] == [
        "Deliveries given up (6)",
        "Failing",
    ]
    assert "The mail server refused the address (550)." in table.text
    assert Api(app).get(f"/endpoints/{endpoint.id}")["contact"] == "ops@shop.example"
    changed = Api(app).patch(f"/endpoints/{endpoint.id}", {"contact": None})
    assert changed["contact"] is None
    result = app.test_cli_runner().invoke(
        args=["webhooks", "endpoints", "edit", endpoint.id, "--contact", "a b"]
    )
    assert result.exit_code != 0
    assert "Write one e-mail address, such as ops@example.com" in result.stderr


@pytest.mark.slow
def test_portal_links_are_made_listed_and_revoked_on_each_surface(
    database_url: str, redis_url: str
) -> None:
    app = make_app(database_url, redis_url, WEBHOOKS_PORTAL_PREFIX="/portal/webhooks")
    api = webhooks_of(app).api_blueprint(authenticate=lambda: True)
    app.register_blueprint(api, url_prefix=API)
    app.config["SERVER_NAME"] = "licences.example"
    browser = Browser(app, base_url="http://licences.example")
    calls = Api(app, base_url="http://licences.example")
    urls = [
        by_command(app, "portal-link", "create", "app_1", "--actor", "mira")["url"],
        calls.post("/portal-links", {"tenant": "app_1", "actor": "mira"}, 201)["url"],
    ]
    form = browser.get("/portal-links/new")
    made = browser.send(form, "/portal-links/new", {"tenant": "app_1", "actor": "mira"}, 200)
    urls.append(made.one(id="wh-secret").text)
    for url in urls:
        answer = app.test_client().get(url)
        assert (answer.status_code, answer.headers["Location"]) == (302, "/portal/webhooks/")
    listed = calls.get("/portal-links")["items"]
    assert by_command(app, "portal-link", "list") == listed
    assert {(row["tenant"], row["actor"], row["condition"]) for row in listed} == {
        ("app_1", "mira", "active")
    }
    assert not any("url" in row for row in listed)
    assert len(browser.get("/portal-links").one("tbody").all("tr")) == 3
    first, second, third = (row["id"] for row in listed)
    calls.delete(f"/portal-links/{first}")
    page = browser.get(f"/portal-links/{second}/revoke")
    browser.send(page, f"/{second}/revoke", {})
    run = app.test_cli_runner().invoke(args=["webhooks", "portal-link", "revoke", third])
    assert run.exit_code == 0
    assert all(row["condition"] == "revoked" for row in calls.get("/portal-links")["items"])
    for url in urls:
        assert app.test_client().get(url).status_code == 403
    # Bad input, with nothing made.
    form = browser.get("/portal-links/new")
    refused = browser.send(form, "/portal-links/new", {"tenant": "", "actor": ""}, 422)
    assert {item.attributes["href"] for item in refused.one(id="wh-problems").all("a")} >= {
        "#wh-tenant",
        "#wh-actor",
    }
    errors = calls.post("/portal-links", {"actor": "", "expires_in": 1}, 422)["errors"]
    assert [error["field"] for error in errors] == ["tenant", "actor", "expires_in"]
    run = app.test_cli_runner().invoke(
        args=["webhooks", "portal-link", "create", "", "--actor", "mira"]
    )
    assert (run.exit_code, len(run.stderr.splitlines())) == (1, 1)
    close(app)


def update_all(app: Flask, model: str, **values: Any) -> None:
    with app.app_context(), state_of(app).engine.begin() as connection:
        connection.execute(sa.update(state_of(app).table(model)).values(values))
