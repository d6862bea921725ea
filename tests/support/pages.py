"""A browser without JavaScript for tests of the pages: it reads HTML, follows links and sends forms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.datastructures import MultiDict
from werkzeug.test import TestResponse

from flask_webhooks import actions
from flask_webhooks.access import Access
from flask_webhooks.app_state import state_of
from flask_webhooks.attempt_errors import REFUSED_WITH
from flask_webhooks.columns import JsonText, LongText, SealedText, utc_now
from tests.support.delivering import drain, emit, webhooks_of
from tests.support.helpers import (
    accessing,
    add_delivery,
    add_endpoint,
    add_portal_link,
    add_scheduled,
    update,
)
from tests.support.helpers import make_app as make_bare_app
from tests.support.receiver import Receiver

PREFIX = "/webhooks"

#: Markup that would run or break out, if it were not escaped.
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{7*7}}"

_VOID = {"br", "hr", "img", "input", "link", "meta", "circle", "path", "polyline"}


def make_app(database_url: str, redis_url: str, **config: Any) -> Flask:
    """A host with pages."""
    app = make_bare_app(
        database_url,
        redis_url,
        **{"WEBHOOKS_URL_PREFIX": PREFIX, "WEBHOOKS_PORTAL_PREFIX": "/portal", **config},
    )
    # There is a page of tokens once there is an API that takes them.
    webhooks_of(app).api_blueprint(tokens=True)
    return app


@dataclass
class Element:
    """An HTML element."""

    tag: str
    attributes: dict[str, str]
    children: list[Element | str] = field(default_factory=list)

    def all(self, tag: str | None = None, **attributes: str) -> list[Element]:
        """Descendants by tag and attributes; write ``aria_label`` for ``aria-label``."""
        wanted = {name.strip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [
            element
            for element in self.walk()
            if tag in (None, element.tag) and wanted.items() <= element.attributes.items()
        ]

    def one(self, tag: str | None = None, **attributes: str) -> Element:
        found = self.all(tag, **attributes)
        assert len(found) == 1, f"{len(found)} elements {tag} {attributes}"
        return found[0]

    def walk(self) -> Iterator[Element]:
        for child in self.children:
            if isinstance(child, Element):
                yield child
                yield from child.walk()

    @property
    def text(self) -> str:
        """All text in it, with single spaces."""
        return " ".join(" ".join(self._strings()).split())

    @property
    def raw_text(self) -> str:
        return "".join(self._strings())

    def _strings(self) -> Iterator[str]:
        for child in self.children:
            if isinstance(child, str):
                yield child
            else:
                yield from child._strings()

    def has_class(self, name: str) -> bool:
        return name in self.attributes.get("class", "").split()


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> repeats an attribute: {attrs}"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in _VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def parse(html: str) -> Element:
    """The document; markup that is not properly nested fails the test."""
    parser = _Parser()
    parser.feed(html)
    parser.close()
    assert len(parser.open) == 1, f"<{parser.open[-1].tag}> is not closed"
    return parser.root


class Page(Element):
    """What the server answered."""

    def __init__(self, response: TestResponse) -> None:
        root = parse(response.text)
        super().__init__(root.tag, root.attributes, root.children)
        self.response = response
        self.status = response.status_code

    @property
    def heading(self) -> str:
        return self.one("h1").text

    def form(self, action: str) -> Element:
        """The form that is sent to a URL that ends so."""
        found = [item for item in self.all("form") if item.attributes["action"].endswith(action)]
        assert len(found) == 1, f"{len(found)} forms for {action}"
        return found[0]

    def link(self, text: str) -> str:
        found = {item.attributes["href"] for item in self.all("a") if item.text == text}
        assert len(found) == 1, f"{found} for {text}"
        return found.pop()

    def links(self) -> list[str]:
        return [item.text for item in self.all("a")]

    def buttons(self) -> list[str]:
        return [item.text for item in self.all("button")]


class Browser:
    """Somebody who looks at the pages and sends forms."""

    def __init__(self, app: Flask, **options: Any) -> None:
        self.app = app
        self.client: FlaskClient = app.test_client()
        self.options = options

    def get(self, path: str, status: int = 200, **options: Any) -> Page:
        """Open a page; `path` is below the prefix, or a whole one from a link."""
        return self._page(self.client.get(_whole(path), **self.options, **options), status)

    def post(self, path: str, values: Any = None, status: int = 303, **options: Any) -> Page:
        """Send values as they are."""
        response = self.client.post(_whole(path), data=values or {}, **self.options, **options)
        return self._page(response, status)

    def send(
        self,
        page: Page,
        action: str,
        values: dict[str, Any] | None = None,
        status: int = 303,
        button: str | None = None,
    ) -> Page:
        """Fill in a form and send it; follows the redirect.

        :param values: by name; a list for several of one name; ``None`` leaves a field out.
        :param button: name of the button that is pressed.
        """
        form = page.form(action)
        fields = self.fields(form)
        for name, value in (values or {}).items():
            if form.attributes.get("method") == "post":
                assert any(item.attributes.get("name") == name for item in form.walk()), name
            fields.setlist(
                name, [] if value is None else value if isinstance(value, list) else [value]
            )
        if button is not None:
            fields[button] = "y"
        url = form.attributes["action"]
        if form.attributes["method"] == "get":
            return self._page(self.client.get(url, query_string=fields, **self.options), 200)
        response = self.client.post(url, data=fields, **self.options)
        assert response.status_code == status, response.text[:3000]
        if response.status_code == 303:
            return self._page(self.client.get(response.location, **self.options), 200)
        return Page(response)

    @staticmethod
    def fields(form: Element) -> MultiDict[str, str]:
        """What a browser sends of a form that nobody has touched."""
        fields: MultiDict[str, str] = MultiDict()
        for item in form.walk():
            name, kind = item.attributes.get("name"), item.attributes.get("type", "text")
            if name is None or "disabled" in item.attributes:
                continue
            if item.tag == "select":
                options = item.all("option")
                chosen = [option for option in options if "selected" in option.attributes]
                fields.add(name, (chosen or options)[0].attributes["value"])
            elif item.tag == "textarea":
                fields.add(name, item.raw_text.removeprefix("\n"))
            elif item.tag == "input" and (
                kind not in ("checkbox", "radio") or "checked" in item.attributes
            ):
                fields.add(name, item.attributes.get("value", ""))
        return fields

    @staticmethod
    def _page(response: TestResponse, status: int) -> Page:
        assert response.status_code == status, response.text[:3000]
        return Page(response)


def _whole(path: str) -> str:
    return path if path.startswith(PREFIX) else PREFIX + path


@dataclass
class World:
    """Ids of what `populate` made."""

    endpoints: dict[str, str]
    deliveries: dict[str, str]
    events: dict[str, str] = field(default_factory=dict)
    #: By state.
    tasks: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    #: What stands wherever somebody else writes.
    hostile: str = HOSTILE
    scheduled: str = "sch_none"
    #: The id of a portal link.
    portal_link: str = ""

    def paths(self) -> list[str]:
        """Every page in every state that it can be in, below the prefix."""
        one = list(self.endpoints.values())
        return [
            "/",
            "/?q=nothing+like+that",
            "/?q=example",
            "/endpoints/new",
            f"/endpoints/{one[0]}/test?event_type=user.banned",
            "/delete-all",
            *(f"/endpoints/{id_}" for id_ in one),
            *(f"/endpoints/{id_}/{page}" for id_ in one for page in ENDPOINT_PAGES),
            f"/endpoints/{one[0]}/ledger",
            f"/endpoints/{self.endpoints['paused']}/ledger",
            "/deliveries",
            "/deliveries?state=failed",
            "/deliveries?state=held&type=file.updated",
            *(f"/deliveries?webhook={id_}" for id_ in one),
            *(f"/deliveries/{id_}" for id_ in self.deliveries.values()),
            "/deliveries?status=5xx",
            "/deliveries?q=example",
            "/deliveries?id=dlv_nothing&since=2026-01-01T00:00&until=2026-01-02T00:00",
            f"/deliveries/resend-all?state=failed&webhook={one[0]}",
            "/deliveries/resend-all?until=2020-01-01T00:00&status=none",
            "/deliveries/cancel-all?state=pending",
            "/deliveries?webhook=ood",
            "/deliveries?webhook=in",
            "/deliveries?webhook=nothing+like+that",
            f"/endpoints/{self.endpoints['refusing']}/recover",
            *(
                f"/endpoints/{self.endpoints[name]}/recover?since=2020-01-01T00:00"
                for name in ("good", "disabled")
            ),
            f"/endpoints/{one[0]}/recover?since=2020-01-01T00:00&type=user.banned&change=y",
            f"/endpoints/{one[0]}/replay",
            f"/endpoints/{one[0]}/replay?since=2020-01-01T00:00&type=license.created",
            "/tasks",
            f"/tasks?webhook={self.endpoints['paused']}",
            *(f"/tasks/{id_}" for id_ in self.tasks.values()),
            "/overview",
            "/overview?period=7d",
            "/events",
            "/events?type=file.updated",
            *(f"/events/{id_}" for id_ in self.events.values()),
            *(f"/events/{id_}?webhook=good" for id_ in self.events.values()),
            *(f"/events/{id_}/subscribe/{one[0]}" for id_ in self.events.values()),
            "/scheduled",
            "/scheduled?key=none",
            f"/scheduled/{self.scheduled}",
            f"/scheduled/{self.scheduled}/cancel",
            "/event-types",
            "/event-types/license.activated",
            "/event-types/license.created",
            "/event-types/test",
            "/health",
            "/prune",
            "/erase",
            "/tokens",
            "/tokens/new",
            "/portal-links",
            "/portal-links/new",
            *([f"/portal-links/{self.portal_link}/revoke"] if self.portal_link else []),
            *(f"/tokens/{id_}/revoke" for id_ in self.tokens.values()),
            "/activity",
            *(f"/activity?webhook={id_}" for id_ in one),
        ]


ENDPOINT_PAGES = (
    "test",
    "edit",
    "rotate",
    "end-overlap",
    "remove-secret",
    "pause",
    "resume",
    "challenge",
    "delete",
    "debugger",
)


def populate(
    app: Flask, receiver: Receiver, tenant: str | None = None, hostile: str = HOSTILE
) -> World:
    """Endpoints and deliveries in every state, with hostile text wherever somebody else writes.

    :param hostile: what to write instead.
    """
    access = accessing(app, f"ann {hostile}")
    if not webhooks_of(app).catalog.versions.dates:
        webhooks_of(app).version("license.activated", "2026-06-01")(lambda data: {hostile: data})
    with app.app_context():
        urls = {name: receiver.url(f"{path}/{name}") for name, path in _RECEIVERS.items()}
        endpoints = {
            name: add_endpoint(
                app,
                url,
                tenant=tenant,
                name=f"{name} {hostile}" if name != "refusing" else "",
                description=f"For {hostile}\nand more",
                user_agent=f"Agent {hostile}",
                headers={"X-Team": hostile},
                contact="o'%7b{{7*7}}&@customer.example",
                events=["license.*"] if name == "good" else None,
            )
            for name, url in urls.items()
        }
        [event] = emit(
            app,
            data={"license_id": hostile, "\u202e": hostile},
            tenant=tenant,
            idempotency_key=hostile,
        )
        drain(app, retry_schedule=(1000.0,))
        actions.pause_endpoint(access, endpoints["paused"].id, f"Because {hostile}")
        update(
            app,
            "Endpoint",
            endpoints["disabled"].id,
            state="disabled",
            state_actor="Flask-Webhooks",
            state_reason="It failed for more than 5 days.",
            state_reason_code="failed_for_days",
            state_reason_params={"days": "5"},
        )
        update(
            app,
            "EndpointHealth",
            endpoints["refusing"].id,
            probe_interval=60.0,
            hold_reason="failing",
            hold_until=datetime(2199, 1, 1, tzinfo=UTC),
        )
        test = actions.send_test(access, endpoints["good"].id, "license.activated")
        _answer_with(app, endpoints["good"].id, hostile)
        deliveries = {
            state: add_delivery(app, endpoints["good"], state)
            for state in ("pending", "sending", "failed", "cancelled", "held")
        }
        deliveries["test"] = test.id
        update(app, "Delivery", deliveries["failed"], reason="exhausted")
        update(app, "Delivery", deliveries["cancelled"], reason="endpoint_deleted")
        deliveries |= _attempted(app)
        gone = add_endpoint(app, tenant=tenant)
        deliveries["deleted endpoint"] = add_delivery(app, gone, "succeeded")
        actions.delete_endpoint(access, gone.id)
        later = add_endpoint(app, urls["good"] + "/later", tenant=tenant, name=f"later {hostile}")
        actions.update_endpoint(access, later.id, name=f"changed {hostile}", events=["user.banned"])
        made = {name: item.id for name, item in endpoints.items()}
        tasks = _tasks(app, access, made, hostile)
        tokens = _tokens(app, access, tenant, hostile)
        scheduled = add_scheduled(app, tenant, f"expiring:{hostile}"[:255])
        portal_link = _portal_link(app, tenant, hostile)
    return World(
        made, deliveries, {"emitted": event}, tasks, tokens, hostile, scheduled, portal_link
    )


def _portal_link(app: Flask, tenant: str | None, hostile: str) -> str:
    if state_of(app).settings.portal_prefix is None:
        return ""
    return add_portal_link(app, tenant or "app_9", f"mira {hostile}")


def _tokens(app: Flask, access: Access, tenant: str | None, hostile: str) -> dict[str, str]:
    """A token in every state."""
    webhooks_of(app).hooks.tokens = True
    found = {}
    for condition in ("active", "expired", "revoked"):
        token = actions.create_token(access, f"CI {hostile}", ["view"], tenant=tenant).token
        found[condition] = token.id
    update(app, "Token", found["expired"], expires_at=datetime(2020, 1, 1, tzinfo=UTC))
    actions.revoke_token(access, found["revoked"])
    return found


def _tasks(app: Flask, access: Access, endpoints: dict[str, str], hostile: str) -> dict[str, str]:
    """A task in every state, as if workers had got so far."""
    now = datetime.now(UTC)
    began = {"started_at": now}
    ended = {**began, "finished_at": now}
    since = now - timedelta(days=3)
    wanted: dict[str, tuple[str, str | None, dict[str, Any], dict[str, Any]]] = {
        "finished": ("resend", None, {"status": "5xx"}, {**ended, "total": 37, "done": 37}),
        "stopped": ("cancel", "paused", {}, {**ended, "total": 2500, "done": 600}),
        "failed": ("discard", "disabled", {}, {**ended, "total": 4, "error": f"Why: {hostile}"}),
        "counting": (
            "recover",
            "closing",
            {"since": since},
            {**began, "state": "running", "total": None, "done": 200},
        ),
        "running": (
            "recover",
            "refusing",
            {"since": since, "event_type": "license.created"},
            {**began, "total": 1284, "done": 412},
        ),
        "waiting": ("replay", "good", {"since": since}, {}),
    }
    found = {}
    for state, (kind, name, filter, values) in wanted.items():
        endpoint_id = None if name is None else endpoints[name]
        task = actions.start_task(access, kind, endpoint_id, **filter)
        update(app, "Task", task.id, **{"state": state, **values})
        found[state] = task.id
    return found


_RECEIVERS = {
    "good": "/ok",
    "refusing": "/status/503",
    "redirecting": "/redirect",
    "closing": "/close",
    "paused": "/ok",
    "disabled": "/status/410",
}


def _answer_with(app: Flask, endpoint_id: str, text: str) -> None:
    """As if the receiver had answered with this."""
    state = state_of(app)
    table = state.table("Attempt")
    with state.engine.begin() as connection:
        connection.execute(
            sa.update(table)
            .where(table.c.endpoint_id == endpoint_id)
            .values(
                response_body=text,
                response_cut=True,
                response_headers=[["X-Answer", text], [text, "x"]],
                error_code=REFUSED_WITH.code,
                error_params={"status": "200", "said": text},
                actor=text,
                url=f"https://example.com/{text}",
            )
        )


def _attempted(app: Flask) -> dict[str, str]:
    """The first delivery with an attempt of each outcome."""
    state = state_of(app)
    table = state.table("Attempt")
    found: dict[str, str] = {}
    with state.engine.connect() as connection:
        for outcome, delivery_id in connection.execute(
            sa.select(table.c.outcome, table.c.delivery_id).order_by(table.c.delivery_id)
        ):
            found.setdefault(f"attempt {outcome}", delivery_id)
    return found


#: Columns that decide what a page shows, or which rows belong together: only our own code writes them.
_DECIDING = {
    *("id", "digest", "kind", "state", "trigger", "outcome", "error_code", "format", "bucket"),
    # Of a task.
    *("filter", "cursor", "bound"),
}
#: What stands in columns of JSON.
_JSON: dict[str, Any] = {
    "events": [HOSTILE],
    "actions": [HOSTILE],
    "error_params": {"status": HOSTILE, "said": HOSTILE},
    "request_headers": [[HOSTILE, HOSTILE]],
    "response_headers": [[HOSTILE, HOSTILE]],
    "changes": {HOSTILE: [HOSTILE, HOSTILE], "events": [None, [HOSTILE]]},
    "coalesce": {HOSTILE: {"by": HOSTILE, "seconds": 60}},
    "client_certificate": {
        "subject": HOSTILE,
        "expires_at": "2030-01-01T00:00:00+00:00",
        "fingerprint": HOSTILE,
    },
}


def spoil(app: Flask) -> int:
    """Write hostile text into every column that holds text; returns how many those are."""
    state = state_of(app)
    count = 0
    with state.engine.begin() as connection:
        # One of each: their names will be equal.
        connection.execute(sa.delete(state.table("Heartbeat")))
        connection.execute(
            sa.insert(state.table("Heartbeat")).values(
                name="w", kind="worker", host="h", pid=1, started_at=utc_now(), seen_at=utc_now()
            )
        )
        for name in state.models.__dataclass_fields__:
            table = state.table(name)
            values = {
                column.name: value
                for column in table.columns
                if (value := _hostile_for(column)) is not None
            }
            if values:
                connection.execute(sa.update(table).values(values))
            count += len(values)
    return count


def _hostile_for(column: sa.Column[Any]) -> Any:
    if (
        column.primary_key
        or column.name in _DECIDING
        or column.name.endswith(("_id", "_token", "_digest"))
    ):
        return None
    match column.type:
        case JsonText():
            # Numbers of milliseconds, and options that only their format reads.
            return None if column.name == "timings" else _JSON.get(column.name, {HOSTILE: HOSTILE})
        case SealedText():
            return None
        case sa.String() | LongText():
            return HOSTILE
    return None


def sent_rows(
    prefix: str, names: tuple[str, ...], given: tuple[tuple[str, ...], ...]
) -> dict[str, str]:
    """What a form sends of rows of fields."""
    return {
        f"{prefix}-{number}-{name}": value
        for number, row in enumerate(given)
        for name, value in zip(names, row, strict=True)
    }


def contents(app: Flask) -> dict[str, list[Any]]:
    """Every row of every table of ours."""
    state = state_of(app)
    names = state.models.__dataclass_fields__
    with state.engine.connect() as connection:
        return {name: _rows(connection, state.table(name)) for name in names}


def _rows(connection: sa.Connection, table: sa.Table) -> list[Any]:
    return list(connection.execute(sa.select(table).order_by(*table.primary_key.columns)))
