"""What the matrix of access is made of: people, ways in, and a world whose database is as before after each request."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from flask import Flask, request, url_for
from werkzeug.datastructures import MultiDict
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from flask_webhooks import ALL_TENANTS, actions
from flask_webhooks.access import ACTIONS
from flask_webhooks.api.vendors.services import SERVICES
from flask_webhooks.app_state import AllTenants, state_of
from flask_webhooks.formats.vendors.webhook_ids import webhook_id
from flask_webhooks.models import Activity
from flask_webhooks.token_access import GRANTABLE
from tests.support.api_calls import ELSEWHERE
from tests.support.delivering import webhooks_of
from tests.support.helpers import accessing, activity, add_delivery, add_endpoint, update
from tests.support.pages import Browser, Page, World, contents, make_app, populate
from tests.support.receiver import Receiver

#: Stands wherever tenant app_1 wrote something.
MARK = "written-by-app_1"
#: The right of those who see every tenant, beside the actions.
EVERYWHERE = "everywhere"


@dataclass(frozen=True)
class Person:
    """Who asks, and what the host says of them."""

    name: str
    tenant: str | AllTenants | None
    actions: frozenset[str]

    @property
    def rights(self) -> frozenset[str]:
        return self.actions | ({EVERYWHERE} if self.tenant is ALL_TENANTS else set())


PEOPLE = {
    person.name: person
    for person in (
        Person("anonymous", None, frozenset()),
        Person("other tenant", "app_2", frozenset(ACTIONS)),
        Person("reader", "app_1", frozenset({"view", "view_payload"})),
        Person("manager", "app_1", frozenset({"view", "view_payload", "manage", "send"})),
        Person("operator", ALL_TENANTS, frozenset(ACTIONS)),
    )
}

#: The blueprints behind each way in. The API takes keys of the host and tokens of ours.
WAYS = {
    "page": ("flask_webhooks",),
    "portal": ("flask_webhooks_portal",),
    "api": ("flask_webhooks_api", *(f"flask_webhooks_vendor_{name}" for name in SERVICES)),
    "token": ("flask_webhooks_api", *(f"flask_webhooks_vendor_{name}" for name in SERVICES)),
}
#: Answers anyone, and tells nothing of anyone.
PUBLIC = {"static", "key_document"}


@dataclass
class House:
    """The host, what is in its database, and who asks."""

    app: Flask
    world: World
    file: Path
    before: bytes = b""
    person: Person = PEOPLE["operator"]
    tokens: dict[str, str] = field(default_factory=dict)
    browsers: dict[tuple[str, str], tuple[Browser, str]] = field(default_factory=dict)
    #: The name in the audit log, by way and person, where it is not that of the person.
    actors: dict[tuple[str, str], str] = field(default_factory=dict)

    def changed(self) -> bool:
        """Whether one byte of the database is another one."""
        return self.file.read_bytes() != self.before

    def restore(self) -> None:
        """Have every table be what it was."""
        state_of(self.app).engine.dispose()
        self.file.write_bytes(self.before)

    def rules(self, way: str) -> Iterator[tuple[str, str, Rule]]:
        """Each route of a way in with each of its methods, and the name of its view."""
        for rule in self.app.url_map.iter_rules():
            blueprint, _, view = rule.endpoint.rpartition(".")
            if blueprint in WAYS[way] and rule.endpoint != ELSEWHERE and view not in PUBLIC:
                for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                    yield method, view, rule

    def path(self, rule: Rule, view: str) -> str:
        """The URL of a route for what belongs to app_1."""
        good = self.world.endpoints["good"]
        endpoint = self.world.endpoints.get(view, good)
        values = {
            "endpoint_id": endpoint,
            "webhook_id": webhook_id(good),
            "app_id": "app_1",
            "delivery_id": self.world.deliveries.get(view, self.world.deliveries["pending"]),
            "event_id": self.world.events["emitted"],
            "task_id": self.world.tasks["waiting"],
            "token_id": self.world.tokens["active"],
            "scheduled_id": self.world.scheduled,
            "link_id": self.world.portal_link,
            "name": "license.created",
        }
        adapter = self.app.url_map.bind("localhost")
        return adapter.build(rule.endpoint, {name: values[name] for name in rule.arguments})

    def ids(self) -> list[str]:
        """The ids of what belongs to app_1."""
        world = self.world
        made = (world.endpoints, world.deliveries, world.events, world.tasks, world.tokens)
        return [*(id_ for ids in made for id_ in ids.values()), world.scheduled, world.portal_link]

    @contextmanager
    def narrowed(self, way: str, person: Person) -> Iterator[None]:
        """Have the operator's session, link and token be worth as much as a person may."""
        self.person = person
        model = {"portal": "PortalLink", "token": "Token"}.get(way)
        if model is None:
            yield
            return
        [key] = re.findall(r"\((\w+)\)", self.actors[way, person.name])
        update(self.app, model, key, actions=sorted(person.actions & set(GRANTABLE)))
        before = self.file.read_bytes()
        yield
        assert self.file.read_bytes() == before
        self.restore()

    def browser(self, way: str, person: Person) -> tuple[Browser, str]:
        """A browser with a session, and a token that is good for its forms."""
        return self.browsers[way, person.name]

    def audit(self) -> list[Activity]:
        return activity(self.app)

    @cached_property
    def known_audit(self) -> set[str]:
        """The audit log before any request."""
        return {row.id for row in self.audit()}

    @cached_property
    def known_app_1(self) -> list[Any]:
        """`of_app_1` before any request."""
        return self.of_app_1()

    def of_app_1(self) -> list[Any]:
        """Every row that belongs to app_1."""
        return [
            tuple(row)
            for rows in contents(self.app).values()
            for row in rows
            if getattr(row, "tenant", None) == "app_1"
        ]


def build(directory: Path, redis_url: str, receiver: Receiver) -> House:
    """A host with every blueprint, and a world that belongs to app_1."""
    file = directory / "database.sqlite"
    app = make_app(f"sqlite:///{file}", redis_url, WTF_CSRF_ENABLED=True, WEBHOOKS_MAX_ENDPOINTS=20)
    webhooks = webhooks_of(app)
    # The catalogue belongs to everyone.
    webhooks.version("license.activated", "2026-06-01")(lambda data: data)

    def known() -> bool:
        return "X-Key" in request.headers

    api = webhooks.api_blueprint(authenticate=known, tokens=True)
    app.register_blueprint(api, url_prefix="/api/webhooks")
    for name in SERVICES:
        vendor = webhooks.vendor_api_blueprint(name, known, tokens=True)
        app.register_blueprint(vendor, url_prefix=f"/{name}")
    house = House(app, populate(app, receiver, "app_1", MARK), file)
    _prepare(house)
    webhooks.authorize(lambda action, endpoint: action in house.person.actions)
    webhooks.current_tenant(lambda: house.person.tenant)
    webhooks.current_actor(lambda: house.person.name)
    for person in PEOPLE.values():
        _let_in(house, person)
    house.person = PEOPLE["operator"]
    state_of(app).engine.dispose()
    house.before = file.read_bytes()
    # Read now, while nothing has changed.
    assert house.known_audit
    assert house.known_app_1
    return house


def _prepare(house: House) -> None:
    """Have for each change something that it can change; by the name of its view."""
    app, endpoints = house.app, house.world.endpoints
    access = accessing(app)
    endpoints["endpoint_resume"] = endpoints["paused"]
    overlapping = add_endpoint(app, "https://hooks.example.com/overlap", tenant="app_1")
    actions.rotate_secret(access, overlapping.id, overlap_seconds=3600)
    endpoints["endpoint_end_overlap"] = overlapping.id
    unsigned = add_endpoint(
        app, "https://hooks.example.com/none", tenant="app_1", format="aureva", secret="x" * 24
    )
    endpoints["endpoint_remove_secret"] = unsigned.id
    challenged = add_endpoint(app, "https://hooks.example.com/new", tenant="app_1")
    update(app, "Endpoint", challenged.id, challenge="x" * 20)
    # Not before: all would have to echo one.
    state = state_of(app)
    state.settings = replace(state.settings, verify_endpoints=True)
    endpoints["endpoint_challenge"] = challenged.id
    late = add_endpoint(
        app, "https://hooks.example.com/late", tenant="app_1", events=["user.banned"]
    )
    endpoints["event_subscribe"] = endpoints["endpoint_replay"] = late.id
    house.world.deliveries["delivery_resend"] = house.world.deliveries["failed"]
    # Someone else has something too.
    add_delivery(app, add_endpoint(app, tenant="app_2"))


def _let_in(house: House, person: Person) -> None:
    """Give a person a session on the pages, a portal link and a token, so far as one may have them."""
    app = house.app
    house.person = PEOPLE["operator"]
    for way in ("page", "portal"):
        browser = Browser(app)
        if way == "portal" and person.tenant is not None:
            tenant = "app_1" if isinstance(person.tenant, AllTenants) else person.tenant
            with app.test_request_context():
                made = actions.create_portal_link(
                    accessing(app), tenant, actor=person.name, expires_in=86400, actions=GRANTABLE
                )
            assert browser.client.get(made.url).status_code == 302
            house.actors[way, person.name] = f"{person.name} ({made.link.id})"
        csrf_token = ""
        if way == "page" or person.tenant is not None:
            with app.test_request_context():
                name = {"page": "flask_webhooks", "portal": "flask_webhooks_portal"}[way]
                path = url_for(f"{name}.endpoint_new")
            fields = fields_of_form(browser.client.get(path), path)
            assert fields is not None
            csrf_token = fields["csrf_token"]
        if way == "portal" and person.tenant is not None:
            granted = sorted(person.actions & set(GRANTABLE))
            update(app, "PortalLink", made.link.id, actions=granted)
        house.browsers[way, person.name] = browser, csrf_token
    if person.tenant is not None:
        tenant_of_token = None if isinstance(person.tenant, AllTenants) else person.tenant
        granted = sorted(person.actions & set(GRANTABLE))
        token = actions.create_token(accessing(app), person.name, granted, tenant=tenant_of_token)
        # Its use is noted once a minute, which is no change that the matrix is about.
        update(app, "Token", token.token.id, last_used_at=datetime(2199, 1, 1, tzinfo=UTC))
        house.tokens[person.name] = token.secret
        house.actors["token", person.name] = f"token:{person.name} ({token.token.id})"


def fields_of_form(response: TestResponse, path: str) -> MultiDict[str, str] | None:
    """What a browser sends of the form that leads back to a page, if there is one."""
    forms = [
        form
        for form in Page(response).all("form")
        if form.attributes["action"].partition("?")[0] == path
        and form.attributes["method"] == "post"
    ]
    return Browser.fields(forms[0]) if forms else None
