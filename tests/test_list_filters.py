"""Lists take the same filters as commands, in the API and on pages, and each filter narrows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from flask import Flask

from flask_webhooks import actions, queries
from flask_webhooks.api.document_views import ROUTES
from flask_webhooks.cli import webhooks as webhooks_command
from tests.cli.test_cli import refused, run
from tests.support.api_calls import PREFIX as API
from tests.support.api_calls import Api
from tests.support.delivering import webhooks_of
from tests.support.helpers import (
    accessing,
    add_delivery,
    add_endpoint,
    add_portal_link,
    close,
    update,
)
from tests.support.pages import Browser, make_app
from tests.test_docs import generate, leaves

#: What filters are called in the API and on pages, where that is another word than the command's option.
IN_API = {"endpoint": "endpoint_id", "type": "event_type", "event": "id"}
ON_PAGES = {"endpoint": "webhook", "event": "id", "search": "q", "text": "q"}
#: The same, of one list.
OF_LIST: dict[str, dict[str, str]] = {
    "tasks list": {"type": "kind"},
    "deliveries resend-all": {"event": "event_id"},
    "deliveries cancel-all": {"event": "event_id"},
}
#: Options and parameters that filter nothing.
NO_FILTERS = {"limit", "json", "dry-run", "yes", "wait", "before", "after", "all_tenants", "where"}
#: What one place does without: a page of tasks filters by state, which holds it.
ONLY = {("tasks list", "unfinished"): {"command", "api"}}
LISTS: dict[str, dict[str, Any]] = generate.LISTS


@pytest.fixture
def app(tmp_path: Path, redis_url: str) -> Iterator[Flask]:
    app = make_app(f"sqlite:///{tmp_path / 'database.sqlite'}", redis_url)
    api = webhooks_of(app).api_blueprint(authenticate=lambda: True, tokens=True)
    app.register_blueprint(api, url_prefix=API)
    yield app
    close(app)


def options(name: str) -> set[str]:
    """The long options of a command that filter; of one with two names the first."""
    command: click.Command = webhooks_command
    for word in name.split():
        assert isinstance(command, click.Group)
        command = command.commands[word]
    found = {
        option.opts[0].removeprefix("--")
        for option in command.params
        if isinstance(option, click.Option)
    }
    return found - NO_FILTERS


def taken(name: str) -> set[str]:
    """The same, whatever name the option has."""
    words = OF_LIST.get(name, {})
    return {next((item for item, word in words.items() if word == o), o) for o in options(name)}


def in_api(name: str, option: str) -> str:
    return OF_LIST.get(name, {}).get(option) or IN_API.get(option, option)


# -- which filters ------------------------------------------------------------------------------------


def test_every_list_is_in_the_table() -> None:
    lists = {name for name in leaves(webhooks_command) if name.endswith("list")}
    assert lists <= LISTS.keys()


@pytest.mark.parametrize("name", LISTS)
def test_list_takes_every_filter_or_says_why_not(name: str) -> None:
    without = LISTS[name]["without"]
    assert taken(name) & set(generate.FILTERS) == set(generate.FILTERS) - set(without)
    assert all(without.values())


@pytest.mark.parametrize("name", [name for name in LISTS if "api" in LISTS[name]])
def test_api_takes_the_filters_of_the_command(name: str) -> None:
    [route] = [route for route in ROUTES if route.name == LISTS[name]["api"]]
    parameters = route.query or route.body
    expected = {
        in_api(name, option)
        for option in options(name)
        if "api" in ONLY.get((name, option), {"api"})
    }
    own = {"kind"} if route.body else set()
    assert set(parameters.__annotations__) - NO_FILTERS - own == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in LISTS if "page" in LISTS[name]])
def test_page_takes_the_filters_of_the_command(app: Flask, name: str) -> None:
    endpoint = add_endpoint(app)
    add_delivery(app, endpoint, "failed")
    actions.start_task(accessing(app), "resend")
    actions.create_token(accessing(app), "CI", ["view"])
    add_portal_link(app)
    form = Browser(app).get(LISTS[name]["page"]).one("form", role="search")
    fields = {
        item.attributes["name"]
        for item in form.walk()
        if item.tag in ("input", "select") and "name" in item.attributes
    }
    expected = {
        ON_PAGES.get(option, option)
        for option in options(name)
        if "page" in ONLY.get((name, option), {"page"})
    }
    assert fields == expected


# -- what they do -------------------------------------------------------------------------------------


@pytest.fixture
def values(app: Flask) -> dict[str, Any]:
    """Something of everything, and a value for each filter."""
    endpoints = [
        add_endpoint(app, name="one", tenant="app_1", events=["license.*"]),
        add_endpoint(app, name="two", tenant="app_2", events=["user.deleted"]),
        add_endpoint(app, name="three"),
    ]
    kinds = ("license.created", "user.deleted", "license.revoked")
    for endpoint in endpoints:
        for event_type, state, status in zip(
            kinds, ("failed", "pending", "succeeded"), (503, None, 200), strict=True
        ):
            last = add_delivery(app, endpoint, state, event_type, last_status=status)
    actions.pause_endpoint(accessing(app), endpoints[2].id)
    update(app, "EndpointHealth", endpoints[1].id, probe_interval=60.0)
    access = accessing(app)
    for kind, endpoint in (("resend", endpoints[0]), ("cancel", endpoints[1])):
        task = actions.start_task(access, kind, endpoint.id, event_type="user.deleted")
    actions.stop_task(access, task.id)
    for tenant in ("app_1", None):
        token = actions.create_token(access, "CI", ["view"], tenant=tenant).token
    actions.revoke_token(access, token.id)
    for tenant in ("app_1", "app_2"):
        add_portal_link(app, tenant)
    event = queries.get_delivery(access, last).event.id
    return {
        "tenant": "app_1",
        "type": ("license.*", "license.created"),
        "since": ("2020-01-01T00:00:00+00:00", "2090-01-01T00:00:00+00:00"),
        "until": ("2020-01-01T00:00:00+00:00", "2090-01-01T00:00:00+00:00"),
        "health": ("failing", "healthy"),
        "event": event,
        "endpoint": endpoints[0].id,
        "search": "two",
        "status": ("5xx", "none", "200"),
        "text": ("lic_1", "nothing"),
        "actor": "test",
        "action": ("endpoint.created", "endpoint.paused"),
        "unfinished": "",
    }


STATES = {
    "endpoints list": ("active", "paused"),
    "deliveries list": ("failed", "pending", "held"),
    "tasks list": ("waiting", "stopped"),
    "tokens list": ("active", "revoked", "expired"),
}
KINDS = ("resend", "cancel", "replay")
#: Filters that take all or nothing of what `values` makes; the others take some of it.
ALL_OR_NONE = {"since", "until", "text", "actor"}


@pytest.mark.slow
def test_each_filter_narrows_alike_by_command_and_in_the_api(
    app: Flask, values: dict[str, Any]
) -> None:
    api = Api(app)
    paths = {route.name: route.path for route in ROUTES}
    for name, found in LISTS.items():
        if "page" not in found:
            continue
        limit = [] if name == "endpoints list" else ["--limit", "200"]

        def listed(*arguments: str, name: str = name, limit: list[str] = limit) -> list[Any]:
            result = run(app, *name.split(), *limit, *arguments, "--json")
            assert result.exit_code == 0, result.output
            items: list[Any] = json.loads(result.stdout)
            return items

        path = paths[found["api"]]
        everything = listed()
        whole = {item["id"] for item in everything}
        assert len(whole) > 1
        assert everything == api.get(path, limit=200)["items"]
        for option in options(name):
            given = {"state": STATES.get(name), "kind": KINDS}.get(option) or values[option]
            sizes = set()
            for value in (given,) if isinstance(given, str) else given:
                narrowed = listed(f"--{option}", *([value] if value else []))
                parameter = {in_api(name, option): value or "true", "limit": 200}
                assert narrowed == api.get(path, **parameter)["items"], (name, option)
                assert {item["id"] for item in narrowed} <= whole
                sizes.add(len(narrowed))
            some = {0, len(whole)} if option in ALL_OR_NONE else set(range(1, len(whole)))
            assert sizes & some, (name, option, sizes)


@pytest.mark.slow
def test_tasks_over_many_take_a_tenant(app: Flask, values: dict[str, Any]) -> None:
    for command, number in (("resend-all", 3), ("cancel-all", 1)):
        line = run(app, "deliveries", command, "--tenant", "app_1", "--dry-run").stdout
        assert line.startswith(f"{number} deliveries"), line
        api = {"resend-all": "resend", "cancel-all": "cancel"}[command]
        seen = Api(app).post("/tasks/preview", {"kind": api, "tenant": "app_1"})
        assert seen["count"] == number
    assert run(app, "deliveries", "resend-all", "--tenant", "app_1", "--yes").exit_code == 0
    [task, *_] = queries.list_tasks(accessing(app)).items
    assert task.task.tenant == "app_1"
    assert "tenant" in refused(run(app, "deliveries", "resend-all", "--tenant", "a\nb"))


# -- event types that there are not -------------------------------------------------------------------


BY_TYPE = [name for name in LISTS if "type" not in LISTS[name]["without"] and name != "tasks list"]


@pytest.mark.parametrize("name", BY_TYPE)
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("lisence.activated", "There is no event type 'lisence.activated'. Did you mean license."),
        ("licence.*", "No event type begins with 'licence.'. Did you mean license.*"),
        ("lic*", "'lic*' is not a pattern"),
        ("a\x00b", ""),
    ],
)
def test_misspelt_event_type_is_one_line(app: Flask, name: str, given: str, words: str) -> None:
    add_delivery(app, add_endpoint(app))
    line = refused(run(app, *name.split(), "--type", given))
    assert words in line


@pytest.mark.parametrize(
    ("path", "page"), [("/endpoints", "/"), ("/events", "/events"), ("/deliveries", "/deliveries")]
)
def test_misspelt_event_type_is_a_problem_and_a_message(app: Flask, path: str, page: str) -> None:
    problem = Api(app).get(path, 422, event_type="lisence.activated")
    assert problem["field"] == "event_type"
    assert "Did you mean license.activated" in problem["detail"]
    answer = Browser(app).client.get(f"/webhooks{page}?type=lisence.activated")
    assert answer.status_code == 422
    assert "Did you mean license.activated" in answer.text


@pytest.mark.slow
def test_event_type_of_the_past_is_found(app: Flask) -> None:
    delivery = add_delivery(app, add_endpoint(app), event_type="shop.ordered")
    result = run(app, "deliveries", "list", "--type", "shop.ordered", "--json")
    assert [item["id"] for item in json.loads(result.stdout)] == [delivery]
    assert len(json.loads(run(app, "events", "list", "--type", "shop.*", "--json").stdout)) == 1
