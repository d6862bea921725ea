"""Somebody who looks after two of three tenants."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_webhooks import actions, queries
from flask_webhooks.access import Access, request_access
from flask_webhooks.app_state import ALL_TENANTS, state_of
from flask_webhooks.errors import (
    ConfigurationError,
    Forbidden,
    InvalidEndpoint,
    InvalidInput,
    NotFound,
    SendLimitReached,
)
from tests.support.api_calls import PREFIX as API
from tests.support.api_calls import Api
from tests.support.delivering import webhooks_of
from tests.support.helpers import URL, accessing, add_delivery, add_endpoint, as_tenant, close
from tests.support.pages import Browser, make_app

MINE = ("app_1", "app_3")
HOUR = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
ALL = ("app_1", "app_2", "app_3", None)
RECOVER: dict[str, Any] = {"kind": "recover", "since": "2020-01-01T00:00:00Z"}


@pytest.fixture
def app(database_url: str, redis_url: str) -> Iterator[Flask]:
    app = make_app(database_url, redis_url)
    webhooks = webhooks_of(app)
    app.register_blueprint(
        webhooks.api_blueprint(authenticate=lambda: True, tokens=True), url_prefix=API
    )
    webhooks.current_tenant(lambda: list(MINE))
    webhooks.tenant_name(lambda tenant: {"app_1": "Acme Ltd"}.get(tenant, tenant))
    with app.app_context():
        yield app
        close(app)


@pytest.fixture
def mine(app: Flask) -> Access:
    return Access(state_of(app), "ann", frozenset(MINE), lambda action, endpoint: True)


@pytest.fixture
def world(app: Flask) -> dict[str | None, dict[str, str]]:
    """One of everything for each tenant, and for the whole server."""
    access = accessing(app)
    found = {}
    for tenant in ALL:
        endpoint = add_endpoint(app, name=f"of {tenant}", tenant=tenant)
        delivery_id = add_delivery(app, endpoint, "failed")
        detail = queries.get_delivery(access, delivery_id)
        found[tenant] = {
            "endpoint": endpoint.id,
            "delivery": delivery_id,
            "event": detail.event.id,
            "task": actions.start_task(access, "resend", endpoint.id).id,
            "token": actions.create_token(
                access, f"token of {tenant}", ["view"], tenant=tenant
            ).token.id,
        }
        with state_of(app).engine.begin() as connection:
            statistic = state_of(app).table("Statistic")
            connection.execute(
                sa.insert(statistic).values(endpoint_id=endpoint.id, hour=HOUR, failed=1, ms_10=1)
            )
    return found


World = dict[str | None, dict[str, str]]


# -- what the host may say ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "scope"),
    [
        (["app_1", "app_3"], frozenset(MINE)),
        (("app_3", "app_1", "app_1"), frozenset(MINE)),
        ({"app_1"}, "app_1"),
        (frozenset({1, 2}), frozenset({"1", "2"})),
        (["app_1", None, ""], "app_1"),
    ],
)
def test_tenants_of_a_person(app: Flask, given: Any, scope: Any) -> None:
    webhooks_of(app).current_tenant(lambda: given)
    assert request_access(state_of(app)).tenant == scope


@pytest.mark.parametrize("given", [[], (), set(), [None], [""]])
def test_no_tenant_at_all_sees_nothing(app: Flask, given: Any) -> None:
    webhooks_of(app).current_tenant(lambda: given)
    with pytest.raises(Forbidden, match="do not belong to a tenant"):
        request_access(state_of(app))


@pytest.mark.parametrize("given", [[object()], ["app_1", ALL_TENANTS], [["app_1"]], {"app_1": 1}])
def test_what_is_no_tenant_is_the_hosts_mistake(app: Flask, given: Any) -> None:
    webhooks_of(app).current_tenant(lambda: given)
    with pytest.raises(ConfigurationError, match="must return the id of a tenant"):
        request_access(state_of(app))


# -- lists --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_list_has_what_is_of_both(mine: Access, world: World) -> None:
    def of(kind: str) -> list[str]:
        return sorted(world[tenant][kind] for tenant in MINE)

    lists: dict[str, list[list[str]]] = {
        "endpoint": [
            [row.endpoint.id for row in queries.list_endpoints(mine)],
            [item.id for item in queries.find_endpoints(mine, limit=9)],
            list(queries.name_endpoints(mine, [ids["endpoint"] for ids in world.values()])),
            [row.endpoint.id for row in queries.most_failures(mine)],
        ],
        "delivery": [[row.delivery.id for row in queries.list_deliveries(mine).items]],
        "event": [[row.event.id for row in queries.list_events(mine).items]],
        "task": [[row.task.id for row in queries.list_tasks(mine).items]],
        "token": [[row.token.id for row in queries.list_tokens(mine).items]],
    }
    for kind, found in lists.items():
        for ids in found:
            assert sorted(ids) == of(kind), kind
    assert {row.tenant for row in queries.list_activity(mine).items} == set(MINE)
    assert queries.count_endpoints(mine) == 2
    assert queries.statistics(mine).total.attempts == 2
    assert queries.health(mine).heartbeats == []


@pytest.mark.slow
def test_every_list_is_filtered_by_one(mine: Access, world: World) -> None:
    ids = world["app_3"]
    assert [row.endpoint.id for row in queries.list_endpoints(mine, tenant="app_3")] == [
        ids["endpoint"]
    ]
    rows = queries.list_deliveries(mine, tenant="app_3").items
    assert [row.delivery.id for row in rows] == [ids["delivery"]]
    assert [row.event.id for row in queries.list_events(mine, tenant="app_3").items] == [
        ids["event"]
    ]
    assert [row.task.id for row in queries.list_tasks(mine, tenant="app_3").items] == [ids["task"]]
    for other in ("app_2", "\0"):
        assert queries.list_endpoints(mine, tenant=other) == []
        assert queries.list_deliveries(mine, tenant=other).items == []
        assert queries.list_tasks(mine, tenant=other).items == []


@pytest.mark.slow
def test_what_is_of_the_third_does_not_exist(mine: Access, world: World) -> None:
    for tenant in ("app_2", None):
        ids = world[tenant]
        for read, id_ in (
            (queries.get_endpoint, ids["endpoint"]),
            (queries.get_delivery, ids["delivery"]),
            (queries.get_event, ids["event"]),
            (queries.get_task, ids["task"]),
            (queries.get_token, ids["token"]),
        ):
            with pytest.raises(NotFound):
                read(mine, id_)
        with pytest.raises(NotFound):
            actions.revoke_token(mine, ids["token"])
    with pytest.raises(NotFound):
        mine.within("app_2")
    queries.get_endpoint(mine, world["app_1"]["endpoint"])


# -- changes ------------------------------------------------------------------------------------------


def test_whoever_adds_something_says_whose_it_is(app: Flask, mine: Access) -> None:
    for create in (
        lambda **values: actions.create_endpoint(mine, URL, **values).endpoint,
        lambda **values: actions.create_token(mine, "CI", ["view"], **values).token,
    ):
        with pytest.raises(InvalidEndpoint, match="app_1, app_3") as caught:
            create()
        assert caught.value.field == "tenant"
        with pytest.raises(Forbidden):
            create(tenant="app_2")
        assert create(tenant="app_3").tenant == "app_3"


def test_task_over_many_is_for_one_tenant(app: Flask, mine: Access, world: World) -> None:
    with pytest.raises(InvalidInput, match="several tenants") as caught:
        queries.preview_task(mine, "resend")
    assert caught.value.field == "tenant"
    with pytest.raises(InvalidInput):
        actions.start_task(mine, "cancel")
    with pytest.raises(NotFound):
        actions.start_task(mine, "resend", tenant="app_2")
    assert queries.preview_task(mine, "resend", tenant="app_1").count == 1
    task = actions.start_task(mine, "resend", tenant="app_1")
    assert (task.tenant, task.endpoint_id) == ("app_1", None)
    # One of another tenant is no hindrance.
    assert actions.start_task(mine, "resend", tenant="app_3").tenant == "app_3"
    # The endpoint says whose it is.
    assert queries.preview_task(mine, "resend", world["app_1"]["endpoint"]).count == 1
    with pytest.raises(NotFound):
        queries.preview_task(mine, "resend", world["app_1"]["endpoint"], tenant="app_3")


def test_deleting_all_spares_the_third(app: Flask, mine: Access, world: World) -> None:
    assert actions.delete_all_endpoints(mine) == 2
    left = {row.endpoint.tenant for row in queries.list_endpoints(accessing(app))}
    assert left == {"app_2", None}


def test_limits_are_of_each_tenant(database_url: str, redis_url: str) -> None:
    app = make_app(database_url, redis_url, WEBHOOKS_MAX_SENDS_PER_HOUR=2, WEBHOOKS_MAX_ENDPOINTS=1)
    mine = Access(state_of(app), "ann", frozenset(MINE), lambda action, endpoint: True)
    one, other = (actions.create_endpoint(mine, URL, tenant=tenant).endpoint for tenant in MINE)
    for _ in range(2):
        actions.send_test(mine, one.id)
    with pytest.raises(SendLimitReached):
        actions.send_test(mine, one.id)
    with pytest.raises(SendLimitReached):
        actions.send_test(as_tenant(app, "app_1"), one.id)
    assert actions.send_test(mine, other.id).tenant == "app_3"
    close(app)


# -- by the API ---------------------------------------------------------------------------------------


def test_lists_of_the_api(app: Flask, world: World) -> None:
    api = Api(app)
    for path, kind in (
        ("/endpoints", "endpoint"),
        ("/deliveries", "delivery"),
        ("/events", "event"),
        ("/tasks", "task"),
        ("/tokens", "token"),
    ):
        both = {item["id"] for item in api.get(path)["items"]}
        assert both == {world[tenant][kind] for tenant in MINE}, path
        if kind != "token":
            one = [item["id"] for item in api.get(path, tenant="app_1")["items"]]
            assert one == [world["app_1"][kind]], path
            api.get(path, 404, tenant="app_2")
    assert {item["tenant"] for item in api.get("/activity")["items"]} == set(MINE)
    assert {item["tenant"] for item in api.get("/activity", tenant="app_1")["items"]} == {"app_1"}
    assert api.get("/statistics")["total"]["failed"] == 2
    assert api.get("/statistics", tenant="app_1")["total"]["failed"] == 1
    assert api.get("/health")["queue"] is None


def test_api_asks_whose(app: Flask, world: World) -> None:
    api = Api(app)
    assert api.get("/quota", 422)["field"] == "tenant"
    assert api.get("/quota", tenant="app_1") == {"used": 1, "limit": 5}
    problem = api.post("/endpoints", {"url": URL}, 422)
    assert (problem["field"], "app_1, app_3" in problem["detail"]) == ("tenant", True)
    other = {"url": f"{URL}/other", "tenant": "app_1"}
    assert api.post("/endpoints", other, 201)["tenant"] == "app_1"
    for body in ({}, {"all_tenants": True}):
        assert api.post("/tasks", {"kind": "resend", **body}, 422)["field"] == "tenant"
    assert api.post("/tasks", {"kind": "resend", "tenant": "app_1"}, 202)["tenant"] == "app_1"
    assert api.post("/endpoints/delete-all", {}, 422)["field"] == "tenant"
    assert api.post("/endpoints/delete-all", {"tenant": "app_3"}) == {"deleted": 1}
    assert api.post("/endpoints/delete-all", {"all_tenants": True}) == {"deleted": 2}
    assert len(queries.list_endpoints(accessing(app))) == 2


# -- on the pages -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_pages_show_both_by_their_names(app: Flask, world: World) -> None:
    browser = Browser(app)
    paths = ("/", "/deliveries", "/events", "/activity", "/tasks", "/health", "/overview")
    for path in (*paths, "/delete-all", "/tokens"):
        page = browser.get(path)
        assert "app_2" not in page.text, path
        for ids in (world["app_2"], world[None]):
            assert not [id_ for id_ in ids.values() if id_ in page.response.text], path
        if path not in ("/tasks", "/health"):
            assert "Acme Ltd" in page.text, path
            # The id is for those who filter by it.
            assert "app_1" not in page.one("main").text.replace("of app_1", ""), path


@pytest.mark.slow
def test_lists_of_pages_are_filtered_by_one(app: Flask, world: World) -> None:
    browser = Browser(app)
    for path, kind in (("/", "endpoint"), ("/deliveries", "delivery"), ("/events", "event")):
        page = browser.get(path)
        [select] = page.all("select", name="tenant")
        options = {item.attributes["value"]: item.text for item in select.all("option")}
        assert list(options.items())[1:] == [("app_1", "Acme Ltd"), ("app_3", "app_3")]
        filtered = browser.get(f"{path}?tenant=app_3").response.text
        assert world["app_3"][kind] in filtered, path
        assert world["app_1"][kind] not in filtered, path
        browser.get(f"{path}?tenant=app_2", 404)
    browser.get("/activity?tenant=app_2", 404)
    assert "1 of 5 used" in browser.get("/?tenant=app_1").text


def test_form_asks_whose(app: Flask) -> None:
    browser = Browser(app)
    page = browser.get("/endpoints/new?tenant=app_3")
    [select] = page.all("select", name="tenant")
    assert [item.attributes["value"] for item in select.all("option")] == ["", *MINE]
    refused = browser.send(page, "/endpoints/new", {"url": URL, "tenant": ""}, 422)
    assert "Choose the tenant it belongs to" in refused.one(id="wh-tenant-error").text
    browser.send(page, "/endpoints/new", {"url": URL}, 200)
    [row] = queries.list_endpoints(accessing(app))
    assert row.endpoint.tenant == "app_3"
    token = browser.get("/tokens/new")
    assert browser.send(token, "/tokens/new", {"name": "CI"}, 422).one(id="wh-tenant-error").text


@pytest.mark.slow
def test_many_deliveries_at_once_are_of_one_tenant(app: Flask, world: World) -> None:
    browser = Browser(app)
    page = browser.get("/deliveries?state=failed")
    assert "Resend all that match…" not in page.links()
    assert "one of your tenants" in page.text
    browser.get("/deliveries/resend-all?state=failed", 422)
    page = browser.get("/deliveries?state=failed&tenant=app_1")
    page = browser.get(page.link("Resend all that match…"))
    assert "1 delivery" in page.text
    assert "Acme Ltd" in page.text
    browser.send(page, "/deliveries/resend-all")
    [newest, *_] = queries.list_tasks(accessing(app)).items
    assert (newest.task.kind, newest.task.tenant, newest.task.endpoint_id) == (
        "resend",
        "app_1",
        None,
    )
    browser.get("/deliveries/resend-all?state=failed&tenant=app_2", 404)
    # An operator's list with that filter is of that tenant as well.
    webhooks_of(app).current_tenant(lambda: ALL_TENANTS)
    page = browser.get("/deliveries/cancel-all?tenant=app_3")
    assert "There is nothing to do" in page.text
