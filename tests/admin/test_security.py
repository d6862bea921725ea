"""What the pages must never do: walks over every route, every page, every form."""

from __future__ import annotations

import gzip
import itertools
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, session
from flask_wtf import CSRFProtect
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.routing import Rule
from werkzeug.wrappers import Response

from demo.services import RedisServer
from flask_webhooks import actions, admin, queries
from flask_webhooks.admin.blueprint import NAME
from tests.support.delivering import webhooks_of
from tests.support.helpers import (
    accessing,
    add_delivery,
    add_endpoint,
    add_portal_link,
    add_scheduled,
    close,
)
from tests.support.pages import (
    HOSTILE,
    PREFIX,
    Browser,
    Element,
    Page,
    World,
    contents,
    make_app,
    populate,
    spoil,
)
from tests.support.receiver import Receiver

STATIC = Path(admin.__file__).with_name("static")
TEMPLATES = Path(admin.__file__).with_name("templates")


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'database.sqlite'}"


@pytest.fixture
def app(database_url: str, redis_url: str) -> Iterator[Flask]:
    app = make_app(database_url, redis_url, WEBHOOKS_MAX_ENDPOINTS=20)
    yield app
    close(app)


@pytest.fixture
def world(app: Flask, receiver: Receiver) -> World:
    return populate(app, receiver)


def rules(app: Flask, method: str) -> list[Rule]:
    """Every route of ours that takes a method, but for what is public: static files, public keys."""
    found = [
        rule
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith(f"{NAME}.")
        and rule.endpoint not in (f"{NAME}.static", f"{NAME}.key_document")
        and method in (rule.methods or ())
    ]
    assert len(found) > 7
    return found


def path_of(app: Flask, rule: Rule, world: World) -> str:
    """A URL of a route, for an endpoint and a delivery that exist."""
    values = {
        "endpoint_id": world.endpoints["good"],
        "delivery_id": world.deliveries["pending"],
        "event_id": world.events.get("emitted", ""),
        "task_id": world.tasks.get("waiting", ""),
        "token_id": world.tokens.get("active", ""),
        "scheduled_id": world.scheduled,
        "link_id": world.portal_link,
        "name": "license.created",
    }
    with app.test_request_context():
        adapter = app.url_map.bind("")
        return adapter.build(rule.endpoint, {name: values[name] for name in rule.arguments})


def token(browser: Browser) -> str:
    """A token that is good for the browser's session, as `flask_wtf` makes it."""
    from flask_wtf.csrf import generate_csrf

    with browser.app.test_request_context():
        made: str = generate_csrf()
        value = session["csrf_token"]
    with browser.client.session_transaction() as stored:
        stored["csrf_token"] = value
    return made


#: What makes a POST succeed where it can.
GOOD_VALUES = {
    "url": "https://hooks.example.com/x",
    "overlap_seconds": "0",
    "held": "send",
    "since": "2026-01-01T00:00",
}


# -- forged requests ----------------------------------------------------------------------------------


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("protected", [False, True])
def test_each_post_without_its_token_is_refused(
    database_url: str, redis_url: str, protected: bool, enabled: bool
) -> None:
    app = make_app(database_url, redis_url, WTF_CSRF_ENABLED=enabled)
    if protected:
        CSRFProtect(app)
    endpoint = add_endpoint(app)
    task = actions.start_task(accessing(app), "discard", endpoint.id)
    world = World(
        {"good": endpoint.id},
        {"pending": add_delivery(app, endpoint)},
        {"emitted": "evt_none"},
        {"waiting": task.id},
        {"active": actions.create_token(accessing(app), "CI", ["view"]).token.id},
        scheduled=add_scheduled(app),
        portal_link=add_portal_link(app),
    )
    browser = Browser(app)
    stolen = token(Browser(app))
    forged: list[dict[str, Any]] = [
        {"data": GOOD_VALUES},
        {"data": {**GOOD_VALUES, "csrf_token": "wrong"}},
        {"data": {**GOOD_VALUES, "csrf_token": stolen}},
        {"json": [1]},
    ]
    before = contents(app)
    for rule, options in itertools.product(rules(app, "POST"), forged):
        response = browser.client.post(path_of(app, rule, world), **options)
        assert response.status_code == 400, rule
        assert Page(response).heading == "This page is out of date"
        if not browser.client.get_cookie("session"):
            # Later ones come from a browser that has a session.
            token(browser)
    assert contents(app) == before
    close(app)


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("name", ["csrf_token", "own_token"])
def test_forms_work_where_the_host_protects_its_own(
    database_url: str, redis_url: str, enabled: bool, name: str
) -> None:
    app = make_app(database_url, redis_url, WTF_CSRF_ENABLED=enabled, WTF_CSRF_FIELD_NAME=name)
    CSRFProtect(app)
    browser = Browser(app)
    page = browser.get("/endpoints/new")
    browser.send(page, "/endpoints/new", {"url": "https://hooks.example.com/x"}, 200)
    [row] = queries.list_endpoints(accessing(app))
    page = browser.send(browser.get(f"/endpoints/{row.endpoint.id}/test"), "/test")
    page = browser.send(page, "/cancel")
    browser.send(browser.get("/delete-all"), "/delete-all")
    assert queries.list_endpoints(accessing(app)) == []
    close(app)


def test_tests_of_a_host_may_switch_protection_off(database_url: str, redis_url: str) -> None:
    app = make_app(database_url, redis_url, TESTING=True, WTF_CSRF_ENABLED=False)
    Browser(app).post("/endpoints/new", {"url": "https://hooks.example.com/x"}, 200)
    close(app)


# -- secrets ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_secret_is_on_no_page_but_its_own_and_in_no_log(
    app: Flask, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    # With the parameters of every statement.
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "sqlalchemy.engine")
    browser = Browser(app)
    page = browser.get("/endpoints/new")
    values = {
        "url": "https://hooks.example.com/x",
        "headers-0-name": "X-Key",
        "headers-0-value": "value-of-a-header",
    }
    page = browser.send(page, "/endpoints/new", values, 200)
    secrets = [page.one("code", id="wh-secret").text, "value-of-a-header"]
    target = page.link("I have saved it")
    endpoint_id = target.rpartition("/")[2]
    page = browser.send(browser.get(page.link("I have saved it") + "/rotate"), "/rotate", {}, 200)
    secrets.append(page.one("code", id="wh-secret").text)
    assert len({len(secret) for secret in secrets[::2]}) == 1
    added = World(
        world.endpoints | {"added": endpoint_id}, world.deliveries, scheduled=world.scheduled
    )
    for path in [target, *added.paths()]:
        response = browser.get(path).response
        cookies = str(response.headers.getlist("Set-Cookie"))
        for secret in secrets:
            assert secret not in response.text, path
            assert secret not in cookies
    with browser.client.session_transaction() as stored:
        assert not any(secret in str(dict(stored)) for secret in secrets)
    assert not any(secret in str(contents(app)) for secret in secrets)
    assert "INSERT INTO webhooks_endpoint" in caplog.text
    for record in caplog.records:
        assert not any(secret in record.getMessage() for secret in secrets), record.name


# -- what is in the pages -----------------------------------------------------------------------------


def every_page(browser: Browser, world: World) -> Iterator[tuple[str, Page]]:
    """Each page in each state, with those that only a POST or a fault shows."""
    for path in world.paths():
        yield path, browser.get(path)
    yield "error 404", browser.get("/endpoints/x", 404)
    yield "error 422", browser.get(f"/deliveries?state={HOSTILE.replace('#', '')}", 422)
    yield "search", browser.get("/?q=" + HOSTILE.replace("&", ""))
    form = browser.get("/endpoints/new")
    fields = {"name": HOSTILE, "description": HOSTILE, "user_agent": HOSTILE, "url": HOSTILE}
    fields["contact"] = HOSTILE
    headers = {"headers-0-name": HOSTILE, "headers-0-value": HOSTILE}
    yield (
        "refused",
        browser.send(form, "/endpoints/new", fields | headers | {"scope": "chosen"}, 422),
    )
    yield (
        "more headers",
        browser.send(form, "/endpoints/new", fields | headers, 200, button="more_headers"),
    )
    custom = {
        "format": "custom",
        "template": f'{{"x": "{HOSTILE[2:]}", "y": "{{{{ data.license_id }}}}"}}'.replace(
            "{{7*7}}", ""
        ),
    }
    yield "preview", browser.send(form, "/endpoints/new", custom, 200, button="preview")
    broken = {"format": "custom", "template": HOSTILE}
    yield "no preview", browser.send(form, "/endpoints/new", broken, 422, button="preview")
    keys = {"url": "https://hooks.example.com/keys", "signing": "key_pair"}
    page = browser.send(form, "/endpoints/new", keys, 200)
    yield "public key", page
    yield "endpoint with a key pair", browser.get(page.link("Go to the webhook"))
    good = f"/endpoints/{world.endpoints['good']}"
    yield "sample", browser.send(browser.get(f"{good}/test"), "/test", {"sample": HOSTILE}, 422)
    yield "rotate", browser.send(browser.get(f"{good}/rotate"), "/rotate", {"secret": "x"}, 422)
    yield "pause", browser.send(browser.get(f"{good}/pause"), "/pause", {"reason": "x" * 501}, 422)
    pasted = {"headers": f"webhook-signature: v1,{HOSTILE}\nwebhook-id: {HOSTILE}", "body": HOSTILE}
    yield "debugged", browser.send(browser.get(f"{good}/debugger"), "/debugger", pasted, 200)
    yield "secret", browser.send(browser.get(f"{good}/rotate"), "/rotate", {}, 200)
    yield "overlap", browser.get(good)
    yield "notice", browser.send(browser.get(f"{good}/test"), "/test")


@pytest.fixture(scope="module")
def pages(
    tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer
) -> list[tuple[str, Page]]:
    """For tests that only read them: to make them all takes seconds."""
    redis_server.start()
    url = f"sqlite:///{tmp_path_factory.mktemp('pages') / 'database.sqlite'}"
    app = make_app(url, redis_server.url, WEBHOOKS_MAX_ENDPOINTS=20)
    with Receiver() as receiver:
        made = list(every_page(Browser(app), populate(app, receiver)))
    close(app)
    return made


URL_ATTRIBUTES = {"href", "src", "action", "formaction", "poster", "data", "srcset", "ping"}


@pytest.mark.slow
def test_pages_hold_nothing_that_a_strict_policy_forbids(pages: list[tuple[str, Page]]) -> None:
    for path, page in pages:
        check_policy(path, page)


@pytest.mark.slow
def test_hostile_text_in_every_column_stays_text(app: Flask, world: World) -> None:
    assert spoil(app) > 30
    browser = Browser(app)
    for path in world.paths():
        page = browser.get(path)
        check_policy(path, page)
    for path in (f"/endpoints/{world.endpoints['good']}", "/health", "/activity", "/deliveries"):
        # Where room is short, its beginning.
        assert HOSTILE[:20] in browser.get(path).text, path


def check_policy(path: str, page: Page) -> None:
    """Nothing in it runs, and nothing is fetched from elsewhere."""
    for element in page.walk():
        where = f"{path}: <{element.tag} {element.attributes}>"
        assert element.tag not in {"style", "img", "iframe", "object", "embed", "base"}, where
        assert "style" not in element.attributes, where
        assert not [name for name in element.attributes if name.startswith("on")], where
        if element.tag == "script":
            assert element.attributes["src"].startswith(f"{PREFIX}/static/"), where
            assert element.text == "", where
        for name in URL_ATTRIBUTES & element.attributes.keys():
            value = element.attributes[name]
            assert value.startswith((f"{PREFIX}/", "#wh-")), where
    assert "alert(1)</script>" not in page.response.text, path
    assert "alert(2)>49" not in page.text, path
    policy = page.response.headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "data:" not in policy
    assert "default-src 'none'" in policy


@pytest.mark.slow
def test_headers_of_every_page(pages: list[tuple[str, Page]]) -> None:
    for path, page in pages:
        headers = page.response.headers
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "SAMEORIGIN"
        private = (
            "/deliveries/dlv_" in path
            or "/events/" in path
            or path in ("secret", "notice", "refused")
        )
        assert headers["Cache-Control"] in (
            ("no-store",) if private else ("no-store", "private, no-cache")
        )


@pytest.mark.slow
def test_pages_are_put_together_properly(pages: list[tuple[str, Page]]) -> None:
    for path, page in pages:
        ids = [item.attributes["id"] for item in page.walk() if "id" in item.attributes]
        assert len(ids) == len(set(ids)), f"{path}: {sorted(i for i in ids if ids.count(i) > 1)}"
        assert len(page.all("h1")) == 1, path
        assert len(page.all("main")) == 1, path
        assert page.one("head").one("title").text, path
        labelled = {item.attributes.get("for") for item in page.all("label")}
        for item in page.walk():
            where = f"{path}: <{item.tag} {item.attributes}>"
            if item.tag in ("select", "textarea") or (
                item.tag == "input" and item.attributes.get("type") != "hidden"
            ):
                assert item.attributes["id"] in labelled, where
            for name in ("aria-describedby", "aria-labelledby"):
                for target in item.attributes.get(name, "").split():
                    assert target in ids, where
            if item.attributes.get("href", "").startswith("#"):
                assert item.attributes["href"][1:] in ids, where
            if item.tag == "table":
                assert item.all("caption"), where
            if item.tag == "form":
                _check_form(item, where)
            if item.has_class("wh-status"):
                assert item.text, where
                assert item.all("svg", aria_hidden="true"), where
            if item.tag == "time":
                assert re.fullmatch(r"\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d UTC)?", item.text), where
                assert re.fullmatch(
                    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", item.attributes["datetime"]
                ), where


@pytest.mark.slow
def test_charts_need_neither_style_sheet_nor_eyes(pages: list[tuple[str, Page]]) -> None:
    drawn = 0
    for path, page in pages:
        charts = page.all("svg", role="img")
        drawn += len(charts)
        for chart in charts:
            assert chart.attributes["aria-label"], path
            for shape in [*chart.all("rect"), *chart.all("polyline"), *chart.all("path")]:
                assert "fill" in shape.attributes, (path, shape.attributes)
                assert shape.attributes["fill"] != "none" or "stroke" in shape.attributes, path
        # The same in numbers, beside them.
        for numbers in page.all("details", id="wh-numbers") if charts else []:
            assert numbers.all("table") or "no attempts" in numbers.text, path
        assert bool(charts) == bool(page.all("details", id="wh-numbers")), path
    assert drawn > 10


def _check_form(form: Element, where: str) -> None:
    assert form.attributes["method"] in ("get", "post"), where
    tokens = form.all("input", name="csrf_token")
    assert len(tokens) == (1 if form.attributes["method"] == "post" else 0), where
    assert form.all("button"), where


@pytest.mark.slow
def test_pages_work_below_a_prefix_of_the_server(
    app: Flask, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        app, "wsgi_app", DispatcherMiddleware(Response(status=404), {"/shop": app.wsgi_app})
    )
    client = app.test_client()

    def links(page: Page) -> set[str]:
        found = {
            item.attributes[name]
            for item in page.walk()
            for name in ("href", "src", "action")
            if not item.attributes.get(name, "#").startswith("#")
        }
        assert all(link.startswith(f"/shop{PREFIX}/") for link in found), found
        return found

    for path in world.paths():
        for link in links(Page(client.get(f"/shop{PREFIX}{path}"))):
            if "/static/" in link:
                with client.get(link) as response:
                    assert response.status_code == 200
    good = f"/shop{PREFIX}/endpoints/{world.endpoints['good']}"
    page = Page(client.get(f"{good}/test"))
    [form] = [item for item in page.all("form") if item.attributes["action"].endswith("/test")]
    value = form.one("input", name="csrf_token").attributes["value"]
    response = client.post(form.attributes["action"], data={"csrf_token": value})
    assert response.status_code == 303
    assert response.location.startswith(f"/shop{PREFIX}/deliveries/")


# -- static files -------------------------------------------------------------------------------------


def test_static_files_are_small_and_for_everybody(app: Flask) -> None:
    webhooks_of(app).hooks.authorize = None
    client = app.test_client()
    for name, limit in (("webhooks.css", 8192), ("webhooks.js", 4096)):
        with client.get(f"{PREFIX}/static/{name}") as response:
            assert response.status_code == 200
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert len(gzip.compress(response.data, 9)) <= limit


def test_the_style_sheet_keeps_to_itself() -> None:
    text = re.sub(r"/\*.*?\*/", "", (STATIC / "webhooks.css").read_text(), flags=re.S)
    # In no layer: rules of the host that are in none would win.
    assert "@layer" not in text
    # By the size of the host's root nothing is measured.
    assert not re.search(r"\drem\b", text)
    depth, prelude, preludes = 0, "", []
    for character in text:
        if character == "{" and depth == 0:
            preludes.append(prelude.strip())
        depth += {"{": 1, "}": -1}.get(character, 0)
        prelude = prelude + character if depth == 0 and character != "}" else ""
    assert set(preludes) == {
        ":where(.wh, .wh-page)",  # variables, which a host may set
        ".wh-page",  # our own layout
        ".wh:not(#wh-none#wh-none)",
        "@keyframes wh-spin",
    }
    assert "url(" not in text
    assert "@import" not in text
    assert "!important" not in text


def test_the_style_sheet_suits_every_direction_of_writing() -> None:
    text = re.sub(r"/\*.*?\*/", "", (STATIC / "webhooks.css").read_text(), flags=re.S)
    names = set(re.findall(r"(?:^|[{;])\s*([a-z-]+)\s*:", text, flags=re.M))
    sides = {"left", "right", "top", "bottom", "width", "height"}
    physical = {
        name
        for name in names
        if name in sides | {f"{most}-{side}" for most in ("max", "min") for side in sides}
        or re.match(r"(margin|padding|border|inset|scroll-\w+)-(left|right|top|bottom)", name)
    }
    assert physical == set()
    assert not re.search(r"(text-align|float|clear): (left|right)", text)


def test_every_variable_of_the_style_sheet_is_ours() -> None:
    text = (STATIC / "webhooks.css").read_text()
    names = set(re.findall(r"(?<![\w-])--[\w-]+", text))
    assert len(names) > 20
    assert {name for name in names if not name.startswith("--wh-")} == set()


def test_every_class_in_the_templates_has_a_style() -> None:
    styles = (STATIC / "webhooks.css").read_text()
    markup = "".join(path.read_text() for path in TEMPLATES.rglob("*.html"))
    literal = re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "", markup, flags=re.S)
    used = {name for value in re.findall(r'class="([^"]*)"', literal) for name in value.split()}
    # The beginnings of names that an expression completes.
    used = {name for name in used if not name.endswith("-")}
    assert len(used) > 40
    assert {name for name in used if not re.search(rf"\.{name}(?![\w-])", styles)} == set()


# -- colours ------------------------------------------------------------------------------------------


def colours(scheme: int) -> dict[str, str]:
    """The variables of the style sheet in the light (0) or the dark (1) scheme."""
    text = (STATIC / "webhooks.css").read_text()
    found = re.findall(r"--wh-([a-z-]+): light-dark\((#\w{6}), (#\w{6})\)", text)
    return {name: pair[scheme] for name, *pair in found}


def contrast(one: str, other: str) -> float:
    """As WCAG 2.2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", [0, 1])
def test_colours_have_the_contrast_that_wcag_asks_for(scheme: int) -> None:
    known = colours(scheme)
    grounds = ("bg", "surface", "sunken")
    texts = [(name, ground) for name in ("text", "muted", "accent", "bad") for ground in grounds]
    texts += [(name, f"{name}-bg") for name in ("ok", "bad", "warn", "wait", "off")]
    texts += [("text", f"{name}-bg") for name in ("ok", "bad", "warn", "wait")]
    texts += [("accent", f"{name}-bg") for name in ("bad", "warn")]
    texts += [("on-accent", "accent"), ("on-accent", "bad")]
    # Edges of controls, and the marks of charts.
    shapes = [(name, ground) for name in ("edge", "accent") for ground in grounds]
    shapes += [(name, "surface") for name in ("ok-mark", "bad-mark", "warn")]
    weak = {pair: contrast(*map(known.__getitem__, pair)) for pair in texts}
    weak = {pair: value for pair, value in weak.items() if value < 4.5}
    weak |= {
        pair: value for pair in shapes if (value := contrast(*map(known.__getitem__, pair))) < 3
    }
    assert weak == {}
