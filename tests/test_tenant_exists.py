"""What is said of a tenant that the application does not know."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from flask_webhooks import actions, queries
from flask_webhooks.app_state import state_of
from flask_webhooks.errors import ConfigurationError, InvalidEndpoint, NotFound
from tests.support.api_calls import PREFIX as API
from tests.support.api_calls import Api
from tests.support.delivering import webhooks_of
from tests.support.helpers import URL, accessing, add_delivery, add_endpoint, as_tenant, close
from tests.support.pages import Browser, make_app

NAMES = {"app_1": "Acme Ltd", "app_2": "Bolt & Co"}


@pytest.fixture
def app(database_url: str, redis_url: str) -> Iterator[Flask]:
    app = make_app(database_url, redis_url)
    webhooks = webhooks_of(app)
    app.register_blueprint(
        webhooks.api_blueprint(authenticate=lambda: True, tokens=True), url_prefix=API
    )
    webhooks.tenant_name(lambda tenant: NAMES.get(tenant, ""))
    webhooks.tenant_exists(lambda tenant: tenant in NAMES)
    with app.app_context():
        add_endpoint(app, tenant="app_1")
        yield app
        close(app)


def run(app: Flask, *arguments: str) -> Any:
    return app.test_cli_runner().invoke(args=["webhooks", *arguments])


def test_lists_of_pages_say_that_there_is_none(app: Flask) -> None:
    browser = Browser(app)
    for path in ("/", "/deliveries", "/events", "/activity"):
        page = browser.get(f"{path}?tenant=app_9")
        assert "There is no tenant with the id “app_9”." in page.text, path
        # Its name leads to its id.
        page = browser.get(f"{path}?tenant=acme+ltd")
        assert page.link("app_1").endswith("tenant=app_1"), path
        # One that exists, and has nothing yet.
        assert "no tenant with the id" not in browser.get(f"{path}?tenant=app_2").text, path
    for kind in ("resend", "cancel"):
        for tenant in ("app_9", "Acme Ltd"):
            path = f"/deliveries/{kind}-all?tenant={tenant}"
            assert f"There is no tenant '{tenant}'." in browser.get(path, 404).text
        browser.get(f"/deliveries/{kind}-all?tenant=app_2")
    assert "Bolt & Co has no webhooks." in browser.get("/?tenant=app_2").text


def test_api_answers_404(app: Flask) -> None:
    api = Api(app)
    for path in (
        "/endpoints",
        "/deliveries",
        "/events",
        "/tasks",
        "/activity",
        "/health",
        "/quota",
    ):
        for tenant in ("app_9", "Acme Ltd"):
            problem = api.get(path, 404, tenant=tenant)
            assert problem["detail"] == f"There is no tenant '{tenant}'."
        api.get(path, tenant="app_2")
    api.post("/tasks", {"kind": "cancel", "tenant": "app_9"}, 404)
    api.post("/endpoints/delete-all", {"tenant": "app_9"}, 404)
    assert len(queries.list_endpoints(accessing(app))) == 1


def test_commands_end_with_one_line(app: Flask) -> None:
    for name in ("endpoints", "deliveries", "events", "tasks", "activity", "tokens"):
        result = run(app, name, "list", "--tenant", "app_9")
        assert (result.exit_code, result.stdout) == (1, ""), name
        assert result.stderr == "Error: There is no tenant 'app_9'.\n"
        assert run(app, name, "list", "--tenant", "app_2").exit_code == 0
    for tenant in ("app_9", "Acme Ltd"):
        for name in ("resend-all", "cancel-all"):
            result = run(app, "deliveries", name, "--tenant", tenant, "--yes")
            assert (result.exit_code, result.stdout) == (1, ""), name
            assert f"Error: There is no tenant '{tenant}'." in result.stderr
            assert run(app, "deliveries", name, "--tenant", "app_2", "--yes").exit_code == 0
    assert queries.list_tasks(accessing(app)).items == []
    result = run(app, "events", "list", "--tenant", "Acme Ltd")
    assert "A tenant of this name has the id app_1." in result.stderr


def test_commands_do_what_is_of_one_tenant(app: Flask) -> None:
    for tenant in ("app_1", "app_2"):
        add_delivery(app, add_endpoint(app, f"{URL}/{tenant}", tenant=tenant), "failed")
    result = run(app, "deliveries", "resend-all", "--tenant", "app_2", "--yes")
    assert (result.exit_code, result.stdout.partition(" ")[0]) == (0, "1")
    [task] = queries.list_tasks(accessing(app)).items
    assert task.task.tenant == "app_2"


def test_nothing_is_made_for_it(app: Flask) -> None:
    access = accessing(app)
    for create in (
        lambda tenant: actions.create_endpoint(access, URL, tenant=tenant),
        lambda tenant: actions.create_token(access, "CI", ["view"], tenant=tenant),
        lambda tenant: webhooks_of(app).create_endpoint(URL, tenant=tenant),
        lambda tenant: list(actions.import_endpoints(access, [{"url": URL}], tenant=tenant)),
    ):
        with pytest.raises(InvalidEndpoint, match="There is no tenant 'app_9'") as caught:
            create("app_9")
        assert caught.value.field == "tenant"
        create("app_2")
        create(None)
    result = run(app, "endpoints", "add", f"{URL}/x", "--tenant", "app_9")
    assert (result.exit_code, result.stdout) == (1, "")
    browser = Browser(app)
    page = browser.get("/endpoints/new")
    refused = browser.send(page, "/endpoints/new", {"url": URL, "tenant": "app_9"}, 422)
    assert "There is no tenant" in refused.one(id="wh-tenant-error").text
    assert Api(app).post("/endpoints", {"url": URL, "tenant": "app_9"}, 422)["field"] == "tenant"


@pytest.mark.slow
def test_what_was_a_deleted_tenants_can_be_looked_at(app: Flask) -> None:
    add_delivery(app, add_endpoint(app, tenant="app_2"))
    webhooks_of(app).tenant_exists(lambda tenant: tenant == "app_1")
    assert len(Api(app).get("/deliveries", tenant="app_2")["items"]) == 1
    assert run(app, "deliveries", "list", "--tenant", "app_2").exit_code == 0
    assert "license.created" in Browser(app).get("/deliveries?tenant=app_2").text


def test_customers_are_not_asked_about(app: Flask) -> None:
    def never(tenant: str) -> bool:
        raise AssertionError

    webhooks_of(app).tenant_exists(never)
    mine = as_tenant(app, "app_1")
    actions.create_endpoint(mine, f"{URL}/mine")
    queries.require_tenant(mine, "app_1")
    with pytest.raises(NotFound):
        queries.require_tenant(mine, "app_2")


def test_answer_that_is_none_is_the_hosts_mistake(app: Flask) -> None:
    webhooks_of(app).tenant_exists(lambda tenant: "yes")  # type: ignore[arg-type, return-value]
    with pytest.raises(ConfigurationError, match="tenant_exists must return True or False"):
        actions.create_endpoint(accessing(app), URL, tenant="app_1")


def test_names_stand_on_every_page(app: Flask) -> None:
    access, browser = accessing(app), Browser(app)
    [row] = queries.list_endpoints(access)
    delivery_id = add_delivery(app, row.endpoint, "failed")
    event_id = queries.get_delivery(access, delivery_id).event.id
    task = actions.start_task(access, "resend", tenant="app_1")
    actions.create_token(access, "CI", ["view"], tenant="app_1")
    paths = [
        *(
            "/",
            "/deliveries",
            "/events",
            "/overview",
            "/tasks",
            "/activity",
            "/tokens",
            "/delete-all",
        ),
        *(f"/endpoints/{row.endpoint.id}", f"/deliveries/{delivery_id}", f"/events/{event_id}"),
        *(f"/tasks/{task.id}", "/health", "/deliveries/resend-all?tenant=app_1"),
    ]
    for path in paths:
        assert "Acme Ltd" in browser.get(path).text, path
    # A function that fails costs the name, and not the page.
    webhooks_of(app).tenant_name(lambda tenant: NAMES[tenant[:-1]])
    for path in paths:
        page = browser.get(path)
        assert "app_1" in page.text, path
    assert state_of(app).hooks.tenant_name is not None
