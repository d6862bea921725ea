"""Each route, for each person, by each way in: what it answers, what changes, and who is named for it.

The routes are those of the application. One that is not in a table below fails the tests.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from werkzeug.datastructures import MultiDict
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

import flask_webhooks
from demo.services import RedisServer
from flask_webhooks.access import ACTIONS
from flask_webhooks.token_access import GRANTABLE
from tests.support.access_matrix import (
    EVERYWHERE,
    MARK,
    PEOPLE,
    WAYS,
    House,
    Person,
    build,
    fields_of_form,
)
from tests.support.api_calls import PREFIX as API_PREFIX
from tests.support.delivering import close, webhooks_of
from tests.support.receiver import Receiver

PACKAGE = Path(flask_webhooks.__file__).parent
#: What each page needs, for people of the host and those with a portal link.
PAGES = {
    "activity": "view",
    "cancel_all": "send",
    "debugger": "secret",
    "endpoint_ledger": "view",
    "delete_all": "delete_all",
    "delivery": "view",
    "delivery_cancel": "send",
    "delivery_list": "view",
    "delivery_resend": "send",
    "endpoint": "view",
    "endpoint_challenge": "send",
    "endpoint_delete": "manage",
    "endpoint_edit": "manage",
    "endpoint_end_overlap": "secret",
    "endpoint_list": "view",
    "endpoint_new": "manage",
    "endpoint_pause": "manage",
    "endpoint_recover": "send",
    "endpoint_remove_secret": "secret",
    "endpoint_replay": "send",
    "endpoint_resume": "manage",
    "endpoint_rotate": "secret",
    "endpoint_test": "send",
    "erase": f"delete_all {EVERYWHERE}",
    "event": "view",
    "event_list": "view",
    "event_subscribe": "manage send",
    "event_type": "view",
    "event_type_list": "view",
    "health": "view",
    "overview": "view",
    "portal_link_list": "tokens",
    "portal_link_new": "tokens",
    "portal_link_revoke": "tokens",
    "prune": f"delete_all {EVERYWHERE}",
    "resend_all": "send",
    "scheduled": "view",
    "scheduled_cancel": "send",
    "scheduled_list": "view",
    "task": "view",
    "task_list": "view",
    "task_stop": "send",
    "token_list": "tokens",
    "token_new": "tokens",
    "token_revoke": "tokens",
}
#: What each operation of the API needs.
API = {
    "activity_list": "view",
    "delivery": "view",
    "delivery_cancel": "send",
    "delivery_list": "view",
    "delivery_resend": "send",
    "endpoint": "view",
    "endpoint_challenge": "send",
    "endpoint_create": "manage",
    "endpoint_delete": "manage",
    "endpoint_delete_all": "delete_all",
    "endpoint_end_overlap": "secret",
    "endpoint_filter_test": "view",
    "endpoint_ledger": "view",
    "endpoint_list": "view",
    "endpoint_pause": "manage",
    "endpoint_remove_secret": "secret",
    "endpoint_resume": "manage",
    "endpoint_rotate": "secret",
    "endpoint_test": "send",
    "endpoint_update": "manage",
    "event": "view",
    "event_list": "view",
    "event_routing": "view",
    "event_type": "view",
    "event_type_example": "view",
    "event_type_list": "view",
    "format_list": "view",
    "health": "view",
    "most_failures": "view",
    "notification_list": "view",
    "openapi": "view",
    "portal_link_create": "tokens",
    "portal_link_list": "tokens",
    "portal_link_revoke": "tokens",
    "quota": "view",
    "scheduled": "view",
    "scheduled_cancel": "send",
    "scheduled_list": "view",
    "statistics": "view",
    "task": "view",
    "task_list": "view",
    "task_preview": "view",
    "task_start": "send",
    "task_stop": "send",
    "token_create": "tokens",
    "token_list": "tokens",
    "token_revoke": "tokens",
    # As other services have it.
    "webhook_create": "manage",
    "webhook_delete": "manage",
    "webhook_list": "view",
    "webhook_test": "send",
}
#: Answers 405 to methods that a path does not have, and to no one else but those who may see it.
OTHERWISE = "_otherwise"
#: Looks only, though by POST.
LOOKING = {"debugger", "task_preview", "endpoint_filter_test"}
#: Pages that show event data or a secret, which no cache may keep.
NEVER_STORED = {
    *("debugger", "delivery", "endpoint_test", "erase", "event", "event_subscribe", "scheduled"),
}
#: Arguments of routes that belong to no tenant: the catalogue is everyone's.
SHARED = {"name"}
URL = "https://hooks.example.com/x"
#: What people fill in, beside what the form has.
VALUES: dict[str, dict[str, str]] = {
    "endpoint_new": {"url": URL},
    "endpoint_rotate": {"overlap_seconds": "0"},
    "endpoint_recover": {"since": "2026-01-01T00:00"},
    "endpoint_replay": {"since": "2026-01-01T00:00"},
    "endpoint_edit": {"name": "new"},
    "erase": {"where": "user_id=1", "confirmed": "y"},
    "token_new": {"name": "CI", "actions": "view"},
    "portal_link_new": {"actor": "mira"},
}
BODIES: dict[str, dict[str, Any]] = {
    "endpoint_create": {"url": URL},
    "endpoint_delete_all": {"all_tenants": True},
    "endpoint_update": {"name": "new"},
    "task_preview": {"kind": "cancel"},
    "task_start": {"kind": "cancel", "all_tenants": True},
    "token_create": {"name": "CI", "actions": ["view"]},
    "portal_link_create": {"actor": "mira"},
    "webhook_create": {"url": URL, "events": ["*"]},
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[House]:
    redis_server.start()
    with Receiver() as receiver:
        house = build(tmp_path_factory.mktemp("access"), redis_server.url, receiver)
        yield house
        close(house.app)


@pytest.fixture
def house(built: House, redis_url: str) -> House:
    return built


def needs(way: str, view: str) -> set[str]:
    if view.endswith(OTHERWISE):
        return {"view"}
    return set((PAGES if way in ("page", "portal") else API)[view].split())


def rights(way: str, person: Person) -> frozenset[str]:
    """What a person may by a way in: neither links nor tokens make others, and links are for one tenant."""
    lacking = {"portal": {"tokens", EVERYWHERE}, "token": {"tokens"}}
    return person.rights - lacking.get(way, set())


def refusal(way: str, person: Person, view: str, rule: Rule) -> int | None:
    """The status of a refusal; ``None`` where there is to be none."""
    if person.tenant is None:
        return 401 if way in ("api", "token") else 403
    needed, allowed = needs(way, view), rights(way, person)
    if "tokens" in needed - allowed:
        # Before anything is looked up.
        return 403
    if person.tenant == "app_2" and rule.arguments - SHARED:
        return 404
    if needed - allowed:
        return 403
    return 405 if view.endswith(OTHERWISE) else None


class Cell:
    """One request, and what is wrong with its answer."""

    def __init__(
        self, house: House, way: str, person: Person, method: str, view: str, rule: Rule
    ) -> None:
        self.house, self.way, self.person = house, way, person
        self.method, self.view, self.rule = method, view, rule
        self.path = house.path(rule, view)
        self.wrong: list[str] = []

    def check(self) -> list[str]:
        refused = refusal(self.way, self.person, self.view, self.rule)
        if refused is None and self.method != "GET":
            self._check_forged()
        answer = self._send()
        self._check_headers(answer)
        if refused is not None:
            self._demand(answer.status_code == refused, f"{answer.status_code}, not {refused}")
        else:
            self._demand(answer.status_code < 400, f"{answer.status_code} {_told(answer)}")
        if self.person.tenant in (None, "app_2"):
            told = [id_ for id_ in self.house.ids() if id_ in answer.text and id_ not in self.path]
            self._demand(MARK not in answer.text and not told, f"tells of app_1: {told}")
        changes = refused is None and self.method != "GET" and self.view not in LOOKING
        self._check_database(changes=changes)
        return self.wrong

    def send_alone(self, **options: Any) -> TestResponse:
        """The answer to the request by itself."""
        if self._is_page:
            browser, csrf_token = self.house.browser(self.way, self.person)
            if self.method == "POST":
                values = {**VALUES.get(self.view, {}), "csrf_token": csrf_token}
                return browser.client.post(self.path, data=values, **options)
            return browser.client.open(self.path, method=self.method, **options)
        if self.method not in ("GET", "HEAD", "DELETE"):
            options["json"] = self._body()
        return self._call(**options)

    def _demand(self, right: bool, what: str) -> None:
        if not right:
            self.wrong.append(f"{self.method} {self.path}: {what}")

    @property
    def _is_page(self) -> bool:
        return self.way in ("page", "portal")

    def _send(self) -> TestResponse:
        if self._is_page and self.method == "POST":
            browser, csrf_token = self.house.browser(self.way, self.person)
            return browser.client.post(self.path, data=self._values(csrf_token))
        return self.send_alone()

    def _call(self, **options: Any) -> TestResponse:
        headers = options.pop("headers", {})
        if self.way == "api" and self.person.tenant is not None:
            headers = {"X-Key": "x", **headers}
        if self.way == "token" and self.person.name in self.house.tokens:
            token = self.house.tokens[self.person.name]
            headers = {"Authorization": f"Bearer {token}", **headers}
        client = self.house.app.test_client()
        return client.open(self.path, method=self.method, headers=headers, **options)

    def _values(self, csrf_token: str) -> MultiDict[str, str]:
        values: MultiDict[str, str] = MultiDict({"csrf_token": csrf_token})
        allowed = refusal(self.way, self.person, self.view, self.rule) is None
        if allowed and "GET" in (self.rule.methods or ()):
            browser, _ = self.house.browser(self.way, self.person)
            values = fields_of_form(browser.client.get(self.path), self.path) or values
        for name, value in VALUES.get(self.view, {}).items():
            values[name] = value
        if self.view == "portal_link_new":
            values["tenant"] = self._own_tenant
        return values

    def _body(self) -> dict[str, Any]:
        body = BODIES.get(self.view, {})
        return {**body, "tenant": self._own_tenant} if self.view == "portal_link_create" else body

    @property
    def _own_tenant(self) -> str:
        tenant = self.person.tenant
        return tenant if isinstance(tenant, str) else "app_1"

    def _check_forged(self) -> None:
        """What another site can have a browser send changes nothing."""
        if self._is_page:
            browser, _ = self.house.browser(self.way, self.person)
            stranger = next(name for name in PEOPLE if name not in ("anonymous", self.person.name))
            _, stolen = self.house.browser(self.way, PEOPLE[stranger])
            values = VALUES.get(self.view, {})
            for given in ({}, {"csrf_token": "x"}, {"csrf_token": stolen}):
                answer = browser.client.post(self.path, data={**values, **given})
                self._demand(answer.status_code == 400, f"{answer.status_code} by a forged form")
        else:
            form = self._call(data={"a": "b"})
            self._demand(form.status_code == 415, f"{form.status_code} to a form")
            other = self._call(json=self._body(), headers={"Sec-Fetch-Site": "cross-site"})
            self._demand(other.status_code == 403, f"{other.status_code} to another site")
        self._check_database(changes=False)

    def _check_headers(self, answer: TestResponse) -> None:
        kept = answer.headers.get("Cache-Control")
        never = not self._is_page or (self.view in NEVER_STORED and answer.status_code == 200)
        good = ("no-store",) if never else ("no-store", "private, no-cache")
        self._demand(kept in good, f"may be kept: {kept}")
        self._demand(answer.headers.get("X-Content-Type-Options") == "nosniff", "may be sniffed")
        named = [name for name, _ in answer.headers if name.startswith("Access-Control")]
        self._demand(not named, f"lets other sites read it: {named}")

    def _check_database(self, *, changes: bool) -> None:
        house = self.house
        if not changes:
            self._demand(not house.changed(), "changed the database")
        else:
            self._demand(house.changed(), "changed nothing")
            before = house.known_audit
            new = [row for row in house.audit() if row.id not in before]
            actor = house.actors.get((self.way, self.person.name), self.person.name)
            self._demand({row.actor for row in new} == {actor}, f"by {[row.actor for row in new]}")
            if self.person.tenant == "app_2":
                self._demand(house.of_app_1() == house.known_app_1, "changed what is app_1's")
        if house.changed():
            house.restore()


def _told(answer: TestResponse) -> str:
    return answer.text[:600]


def test_every_route_is_in_a_table(house: House) -> None:
    known = {blueprint for blueprints in WAYS.values() for blueprint in blueprints}
    found = {rule.endpoint.rpartition(".")[0] for rule in house.app.url_map.iter_rules()}
    assert found - {""} == known
    for way, table in (("page", PAGES), ("portal", PAGES | {"portal_open": ""}), ("api", API)):
        views = {view for _, view, _ in house.rules(way) if not view.endswith(OTHERWISE)}
        assert views == set(table), way


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", PEOPLE)
def test_each_route_answers_as_its_row_says(house: House, name: str, way: str) -> None:
    house.person = PEOPLE[name]
    wrong = []
    for method, view, rule in house.rules(way):
        if view != "portal_open":
            wrong += Cell(house, way, house.person, method, view, rule).check()
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("way", ["page", "api"])
def test_invariant_10_nobody_is_let_in_until_the_host_says_who(
    house: House, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.person = PEOPLE["operator"]
    monkeypatch.setattr(webhooks_of(house.app).hooks, "authorize", None)
    for method, view, rule in house.rules(way):
        answer = Cell(house, way, house.person, method, view, rule).send_alone()
        assert answer.status_code == 403, rule
        assert "@webhooks.authorize" in answer.text, rule
        assert MARK not in answer.text, rule
    assert not house.changed()


@pytest.mark.parametrize("way", ["page", "portal", "api", "token"])
def test_each_action_that_a_route_needs_is_asked_for(house: House, way: str) -> None:
    """The person may do everything else."""
    for method, view, rule in house.rules(way):
        needed = set() if view == "portal_open" else needs(way, view)
        for action in needed & set(GRANTABLE if way in ("portal", "token") else ACTIONS):
            person = replace(PEOPLE["operator"], actions=frozenset(ACTIONS) - {action})
            with house.narrowed(way, person):
                answer = Cell(house, way, person, method, view, rule).send_alone()
            assert answer.status_code == 403, (method, view, action)
    assert not house.changed()


@pytest.mark.parametrize("way", ["page", "api"])
def test_invariant_10_nothing_changes_but_by_the_method_of_a_route(house: House, way: str) -> None:
    house.person = PEOPLE["operator"]
    for _, view, rule in house.rules(way):
        methods = rule.methods or set()
        others = {"PUT", "PATCH", "DELETE"} - methods if way == "page" else set()
        for method in {"GET", "HEAD"} | others:
            # Parameters in the URL are no form.
            values = {**VALUES.get(view, {}), "csrf_token": "x"} if way == "page" else {}
            cell = Cell(house, way, house.person, method, view, rule)
            status = cell.send_alone(query_string=values).status_code
            assert status == (200 if method in methods else 405) or way == "api", (method, rule)
    assert not house.changed()


@pytest.mark.parametrize("tenant", ["app_2", "app_1 "])
def test_filters_find_nothing_of_another_tenant(house: House, tenant: str) -> None:
    house.person = replace(PEOPLE["operator"], tenant=tenant)
    browser, _ = house.browser("page", PEOPLE["operator"])
    good, known = house.world.endpoints["good"], house.ids()
    for path in (
        *("/deliveries", "/activity", "/tasks", "/deliveries/resend-all", "/deliveries/cancel-all"),
    ):
        browser.get(f"{path}?webhook={good}", 404)
    for path in ("/?q=good", "/deliveries?webhook=good", "/deliveries?q=app_1"):
        text = browser.get(path).response.text
        assert not [id_ for id_ in known if id_ in text]
    for id_ in house.world.deliveries.values():
        assert "No deliveries match." in browser.get(f"/deliveries?id={id_}").text
    assert "No events match." in browser.get(f"/events?id={house.world.events['emitted']}").text
    client = house.app.test_client()
    options: dict[str, Any] = {"headers": {"X-Key": "x"}}
    for path in ("deliveries", "activity", "tasks", "statistics"):
        assert client.get(f"{API_PREFIX}/{path}?endpoint_id={good}", **options).status_code == 404
    for path, body in (
        ("tasks", {"kind": "resend", "endpoint_id": good}),
        ("tasks/preview", {"kind": "resend", "endpoint_id": good}),
        ("endpoints/filter-test", {"event_id": house.world.events["emitted"]}),
    ):
        assert client.post(f"{API_PREFIX}/{path}", json=body, **options).status_code == 404
    for id_ in known:
        for path in ("deliveries", "events"):
            found = client.get(f"{API_PREFIX}/{path}?id={id_}", **options).get_json()
            assert found["items"] == []
    assert not house.changed()


#: What is compared in constant time, by its name.
SECRET = re.compile(r"(^|_)(secrets?|signatures?|macs?|digests?|tokens?|challenge)$")
#: By the database, which looks them up by an index; or a number of a lease, which no one is asked for.
BY_DATABASE = re.compile(r"^(table|event|scheduled)\.|lease_token|claimed\.token")
#: With what the same person has just entered.
OWN = {"admin/secret_views.py: secret != given"}


def test_secrets_are_compared_in_constant_time() -> None:
    found = {
        f"{path.relative_to(PACKAGE)}: {ast.unparse(node)}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Compare) and _compares_secrets(node)
    }
    assert found == OWN


def _compares_secrets(node: ast.Compare) -> bool:
    sides = [node.left, *node.comparators]
    return (
        isinstance(node.ops[0], ast.Eq | ast.NotEq)
        and not any(isinstance(side, ast.Constant) for side in sides)
        and any(SECRET.search(ast.unparse(side)) for side in sides)
        and not BY_DATABASE.search(ast.unparse(node))
    )
