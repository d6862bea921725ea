"""Hosts of every kind, each an application of ``docs/how-to/hosts.md``: people sign in, and do what they may."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from flask_sqlalchemy import SQLAlchemy
from waitress.server import create_server
from werkzeug.security import generate_password_hash

from flask_webhooks import Webhooks, errors
from tests.admin.test_security import token
from tests.support.delivering import drain
from tests.support.helpers import activity, add_delivery, add_endpoint
from tests.support.hosts import FILES, SETTINGS, Host, running
from tests.support.pages import PREFIX, Browser, Page, contents, parse
from tests.support.processes import ROOT
from tests.support.receiver import Receiver

Run = Callable[..., Host]

PASSWORD = "correct horse battery staple"


@pytest.fixture
def run(tmp_path: Path, redis_url: str) -> Iterator[Run]:
    """Run an application of the page; settings over those of tests."""
    with ExitStack() as stack:

        def start(name: str, **settings: Any) -> Host:
            folder = tmp_path / Path(name).stem
            folder.mkdir()
            return stack.enter_context(running(name, folder, redis_url, **settings))

        yield start


def token_of(client: FlaskClient, path: str) -> str:
    """The token in a form of the host's own."""
    found = re.search(r'name="csrf_token"[^>]* value="([^"]+)"', client.get(path).text)
    assert found is not None
    return found[1]


def work(host: Host, browser: Browser, tenant: str | None = None) -> str:
    """Add a webhook, get an event there, send a test event and cancel it; returns the endpoint's id."""
    form = browser.get("/endpoints/new")
    with Receiver() as receiver:
        page = browser.send(form, "/endpoints/new", {"url": receiver.url()}, 200)
        assert page.one("code", id="wh-secret").text.startswith("whsec_")
        page = browser.get(page.link("I have saved it"))
        endpoint_id: str = page.response.request.path.rpartition("/")[2]
        with host.app.app_context():
            host.module.webhooks.emit("license.created", {"license_id": "lic_1"}, tenant=tenant)
            host.module.db.session.commit()
            assert drain(host.app) == 1
        receiver.wait_for(1)
    page = browser.get(f"/endpoints/{endpoint_id}")
    assert "license.created" in page.text
    assert "Succeeded" in page.text
    page = browser.send(browser.get(page.link("Send test event")), "/test")
    assert "The test event is queued." in page.text
    page = browser.send(page, "/cancel")
    assert "The delivery was cancelled." in page.text
    return endpoint_id


def actors(app: Flask) -> set[str]:
    return {row.actor for row in activity(app)}


def check_nobody_is_let_in(app: Flask, status: int, location: str | None) -> None:
    """Whoever is not signed in is sent away from each page; what is for everybody stays so.

    :param location: where to, with ``{path}`` or ``{quoted}`` for the page that was wanted.
    """
    endpoint = add_endpoint(app, events=["user.banned"])
    client, before = app.test_client(), contents(app)
    for path in ("/", "/deliveries", f"/endpoints/{endpoint.id}"):
        response = client.get(PREFIX + path)
        assert response.status_code == status
        names = {"path": PREFIX + path, "quoted": quote(PREFIX + path, safe="")}
        assert response.location == (location and location.format(**names))
    for path in ("/endpoints/new", f"/endpoints/{endpoint.id}/delete", "/delete-all"):
        # Where the host protects its forms, that comes first.
        response = client.post(PREFIX + path, data={"url": "https://a.example/"})
        assert response.status_code in (status, 400)
    assert contents(app) == before
    with client.get(f"{PREFIX}/static/webhooks.css") as styles:
        assert styles.status_code == 200
    keys = client.get(f"{PREFIX}/keys/{endpoint.id}")
    assert (keys.status_code, keys.is_json) == (404, True)


# -- who signs in -------------------------------------------------------------------------------------


def sign_in(client: FlaskClient, name: str) -> None:
    """As a person does, with Flask-Login's application."""
    values = {"name": name, "password": PASSWORD, "csrf_token": token_of(client, "/login")}
    assert client.post("/login", data=values).location == f"{PREFIX}/"


@pytest.mark.slow
def test_flask_login(run: Run) -> None:
    host = run("login.py")
    app, user = host.app, host.module.User
    hashed = generate_password_hash(PASSWORD, "pbkdf2:sha256:1000")
    host.add(
        user(name="ann", password_hash=hashed, is_staff=True),
        user(name="bob", password_hash=hashed, application_id="app_1"),
        user(name="eve", password_hash=hashed, application_id="app_2"),
        user(name="nil", password_hash=hashed),
    )
    check_nobody_is_let_in(app, 302, "/login?next={quoted}")
    people = {name: Browser(app) for name in ("ann", "bob", "eve", "nil")}
    for name, browser in people.items():
        sign_in(browser.client, name)

    mine = work(host, people["bob"], "app_1")
    people["eve"].get(f"/endpoints/{mine}", 404)
    assert mine not in people["eve"].get("/").response.text
    people["nil"].get("/", 403)
    assert mine in people["ann"].get("/").response.text
    work(host, people["ann"])
    assert actors(app) == {"tester", "ann", "bob"}

    people["bob"].get("/delete-all", 403)
    page = people["ann"].send(people["ann"].get("/delete-all"), "/delete-all")
    assert "3 webhooks were deleted." in page.text
    # Neither the host's protection nor ours lets a form without its token through.
    page = people["ann"].post("/endpoints/new", {"url": "https://a.example/"}, 400)
    assert page.heading == "This page is out of date"


@pytest.mark.slow
def test_flask_security(run: Run) -> None:
    host = run("security.py", SECURITY_PASSWORD_SALT="1", SECURITY_PASSWORD_HASH="pbkdf2_sha512")
    app, datastore = host.app, host.module.security.datastore
    check_nobody_is_let_in(app, 302, "/login?next={path}")
    from flask_security import hash_password

    with app.app_context():
        for role in ("admin", "support"):
            datastore.create_role(name=role)
            datastore.create_user(
                email=f"{role}@example.com", password=hash_password(PASSWORD), roles=[role]
            )
        datastore.commit()
    people = {role: Browser(app) for role in ("admin", "support")}
    for role, browser in people.items():
        values = {"email": f"{role}@example.com", "password": PASSWORD}
        values["csrf_token"] = token_of(browser.client, "/login")
        response = browser.client.post("/login", data=values)
        assert response.status_code == 302, response.text

    mine = work(host, people["admin"])
    assert "admin@example.com" in actors(app)
    page = people["support"].get(f"/endpoints/{mine}")
    assert "Send test event" not in page.links()
    people["support"].get("/endpoints/new", 403)
    before = contents(app)
    people["support"].post("/delete-all", {"csrf_token": token(people["support"])}, 403)
    assert contents(app) == before


@pytest.mark.slow
def test_signals_of_flask_security_become_events(run: Run) -> None:
    """It sends them in the middle of its views, and commits at their end."""
    host = run(
        "security.py",
        SECURITY_PASSWORD_SALT="1",
        SECURITY_PASSWORD_HASH="pbkdf2_sha512",
        SECURITY_REGISTERABLE=True,
        SECURITY_SEND_REGISTER_EMAIL=False,
        SECURITY_EMAIL_VALIDATOR_ARGS={"check_deliverability": False},
    )
    from flask_security import user_authenticated, user_registered

    def build(sender: Flask, user: Any, **extra: Any) -> dict[str, Any]:
        return {"user_id": user.fs_uniquifier, "username": user.email}

    host.module.webhooks.connect(user_registered, "user.registered", build)
    host.module.webhooks.connect(user_authenticated, "user.logged_in", build)
    with host.app.app_context():
        add_endpoint(host.app)
    client = host.app.test_client()
    values = {"email": "ann@shop.example.com", "password": PASSWORD, "password_confirm": PASSWORD}
    values["csrf_token"] = token_of(client, "/register")
    assert client.post("/register", data=values).status_code == 302
    client.post("/logout", data={"csrf_token": values["csrf_token"]})
    for password in ("wrong", PASSWORD):
        values |= {"password": password, "csrf_token": token_of(client, "/login")}
        client.post("/login", data=values)
    with host.app.app_context():
        event = host.module.webhooks.models.Event
        found = host.module.db.session.query(event).order_by(event.id).all()
        assert sorted(row.type for row in found) == [
            "user.logged_in",
            "user.logged_in",
            "user.registered",
        ]
        assert {row.data["username"] for row in found} == {"ann@shop.example.com"}
        assert len({row.data["user_id"] for row in found}) == 1


@pytest.mark.slow
def test_session_of_the_hosts_own(run: Run) -> None:
    host = run("own_session.py", PASSWORD=PASSWORD)
    check_nobody_is_let_in(host.app, 302, "/login")
    browser = Browser(host.app)
    assert browser.client.post("/login", data={"password": "wrong"}).status_code == 200
    assert browser.client.get(f"{PREFIX}/").status_code == 302
    browser.client.post("/login", data={"password": PASSWORD})
    work(host, browser)
    assert "operator" in actors(host.app)
    form = browser.get("/delete-all")
    browser.client.post("/logout")
    # A form that was open stays without effect.
    values = {"csrf_token": form.form("/delete-all").one("input").attributes["value"]}
    assert browser.client.post(f"{PREFIX}/delete-all", data=values).location == "/login"
    browser.client.post("/login", data={"password": PASSWORD})
    assert browser.client.post(f"{PREFIX}/delete-all", data=values).status_code == 400


@pytest.mark.slow
def test_http_basic_authentication(run: Run) -> None:
    users = {"ann": generate_password_hash(PASSWORD, "pbkdf2:sha256:1000")}
    host = run("basic.py", USERS=users)
    check_nobody_is_let_in(host.app, 401, None)
    answer = host.app.test_client().get(f"{PREFIX}/")
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="Webhooks"'
    for name, password in (("ann", "wrong"), ("bob", PASSWORD), ("ann", "")):
        assert host.app.test_client().get(f"{PREFIX}/", auth=(name, password)).status_code == 401
    browser = Browser(host.app, auth=("ann", PASSWORD))
    work(host, browser)
    assert "ann" in actors(host.app)
    # A browser that knows the password sends it with forged requests, too.
    page = browser.post("/delete-all", {}, 400)
    assert page.heading == "This page is out of date"


# -- policies -----------------------------------------------------------------------------------------

HTTPS = "https://localhost"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["talisman.py", "nonces.py"])
def test_flask_talisman_has_the_last_word(run: Run, name: str) -> None:
    host = run(name)
    insecure = host.app.test_client().get(f"{PREFIX}/")
    assert (insecure.status_code, insecure.location) == (302, f"{HTTPS}{PREFIX}/")
    browser = Browser(host.app, base_url=HTTPS)
    work(host, browser)
    page = browser.get("/")
    [policy] = page.response.headers.getlist("Content-Security-Policy")
    assert "default-src 'none'" in policy
    tags = [page.one("script"), page.one("link", rel="stylesheet")]
    if name == "nonces.py":
        [*nonces] = re.findall(r"'nonce-([^']+)'", policy)
        assert len(nonces) == 2
        assert [tag.attributes["nonce"] for tag in tags] == nonces
        again = browser.get("/")
        assert again.one("script").attributes["nonce"] != nonces[0]
    else:
        assert not any("nonce" in tag.attributes for tag in tags)


@pytest.mark.slow
def test_flask_wtf_finds_the_referrer_that_it_wants_on_https(run: Run) -> None:
    host = run("talisman.py")
    page = Browser(host.app, base_url=HTTPS).get("/endpoints/new")
    assert page.response.headers["Referrer-Policy"] in (
        "same-origin",
        "strict-origin-when-cross-origin",
    )


# -- menus, layouts, templates ------------------------------------------------------------------------


def test_link_in_the_menu_of_flask_admin(run: Run) -> None:
    host = run("flask_admin_menu.py")
    link = f'href="{PREFIX}/"'
    client = host.app.test_client()
    shown = client.get("/admin/")
    assert shown.status_code == 200
    assert link not in shown.text
    with client.session_transaction() as session:
        session["user"] = "operator"
    assert link in client.get("/admin/").text
    browser = Browser(host.app)
    browser.client = client
    work(host, browser)


def test_template_of_the_hosts_replaces_ours_by_its_name(run: Run) -> None:
    host = run("own_session.py", PASSWORD=PASSWORD)
    browser = Browser(host.app)
    browser.client.post("/login", data={"password": PASSWORD})
    page = browser.get("/endpoints/nothing", 404)
    assert page.heading == "Not found"
    assert "Write to support@licences.example." in page.text
    # The rest of the page is ours.
    assert "Deliveries" in page.links()


# -- where they are mounted ---------------------------------------------------------------------------


def test_prefix_that_a_proxy_takes_off(run: Run) -> None:
    host = run("proxied.py")
    headers = {"X-Forwarded-Prefix": "/shop", "X-Forwarded-Proto": "https"}
    page = Page(host.app.test_client().get(f"{PREFIX}/", headers=headers))
    assert {item.attributes["href"].startswith(f"/shop{PREFIX}/") for item in page.all("link")} == {
        True
    }
    assert page.link("Add webhook") == f"/shop{PREFIX}/endpoints/new"
    work(host, Browser(host.app))


@contextmanager
def waitress(app: Flask, prefix: str) -> Iterator[str]:
    """The application behind a real server below a prefix; gives its address."""
    server = create_server(app, host="127.0.0.1", port=0, url_prefix=prefix, threads=4)

    def serve() -> None:
        # It may wait at the socket that is closed for it in the end.
        with suppress(OSError):
            server.run()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.effective_port}"  # type: ignore[union-attr]
    finally:
        server.close()
        thread.join(10)


@pytest.mark.slow
def test_script_name_of_a_real_server(run: Run) -> None:
    host = run("proxied.py", WEBHOOKS_URL_PREFIX="/staff/hooks")
    delivery = add_delivery(host.app, add_endpoint(host.app))
    with waitress(host.app, "/shop") as origin, requests.Session() as session:
        mounted = f"{origin}/shop/staff/hooks"
        assert session.get(f"{origin}/elsewhere/staff/hooks/").status_code == 404
        seen: set[str] = set()
        waiting = ["/shop/staff/hooks/"]
        # Everything that can be reached by following links.
        while waiting and len(seen) < 60:
            path = waiting.pop(0)
            answer = session.get(origin + path)
            assert answer.status_code == 200, path
            seen.add(path)
            if not answer.headers["Content-Type"].startswith("text/html"):
                continue
            for item in parse(answer.text).walk():
                for name in ("href", "src", "action"):
                    link = item.attributes.get(name, "#")
                    if link.startswith("#"):
                        continue
                    assert link.startswith("/shop/staff/hooks/"), (path, link)
                    if name != "action" and link not in seen and link not in waiting:
                        waiting.append(link)
        assert f"/shop/staff/hooks/deliveries/{delivery}" in seen
        form = parse(session.get(f"{mounted}/deliveries/{delivery}").text)
        [cancel] = [
            item for item in form.all("form") if item.attributes["action"].endswith("/cancel")
        ]
        token = cancel.one("input", name="csrf_token").attributes["value"]
        answer = session.post(origin + cancel.attributes["action"], data={"csrf_token": token})
        assert answer.url == f"{mounted}/deliveries/{delivery}"
        assert "The delivery was cancelled." in answer.text


@pytest.mark.slow
def test_subdomain(run: Run) -> None:
    host = run("subdomain.py")
    client = host.app.test_client()
    main, hooks = "http://licences.example", "http://hooks.licences.example"
    assert client.get(f"{PREFIX}/", base_url=main).status_code == 404
    assert client.get(f"{PREFIX}/", base_url="http://other.licences.example").status_code == 404
    assert client.get(f"{PREFIX}/", base_url=hooks).status_code == 403
    client.post("/login", base_url=main)
    browser = Browser(host.app, base_url=hooks)
    browser.client = client
    work(host, browser)


def test_subdomain_that_the_host_does_not_look_at_is_refused() -> None:
    for options, config in (
        ({}, {"SERVER_NAME": "licences.example"}),
        ({"subdomain_matching": True}, {}),
    ):
        app = Flask("host", **options)  # type: ignore[arg-type]
        app.config.update(SETTINGS, SQLALCHEMY_DATABASE_URI="sqlite://", **config)
        app.config["WEBHOOKS_SUBDOMAIN"] = "hooks"
        with pytest.raises(
            errors.ConfigurationError, match=r"subdomain_matching=True.*SERVER_NAME"
        ):
            Webhooks(SQLAlchemy(app), app)
        assert "webhooks" not in app.extensions


# -- languages ----------------------------------------------------------------------------------------


def test_flask_babel(run: Run) -> None:
    host = run("languages.py")
    german = Browser(host.app, headers={"Accept-Language": "de"})
    assert german.get("/overview").heading == "Überblick"
    assert Browser(host.app).get("/overview").heading == "Overview"


@pytest.mark.slow
def test_flask_babel_that_is_not_initialised(run: Run) -> None:
    host = run("talisman.py")
    browser = Browser(host.app, base_url=HTTPS, headers={"Accept-Language": "de"})
    assert browser.get("/overview").heading == "Overview"


WITHOUT_BABEL = """
import sys, warnings
warnings.simplefilter("error")
sys.modules["babel"] = sys.modules["flask_babel"] = None  # as if it were not installed
from pathlib import Path
from tests.support.hosts import running
from tests.support.helpers import add_delivery, add_endpoint
from tests.support.pages import Browser

with running("proxied.py", Path(sys.argv[1]), sys.argv[2]) as host:
    browser = Browser(host.app, headers={"Accept-Language": "de"})
    delivery = add_delivery(host.app, add_endpoint(host.app))
    for path in ("/", "/overview", "/endpoints/new", f"/deliveries/{delivery}", "/event-types"):
        print(browser.get(path).heading)
    assert "flask_babel" not in dir(sys.modules["flask_webhooks.admin.i18n"])
"""


@pytest.mark.slow
def test_flask_babel_that_is_not_installed(tmp_path: Path, redis_url: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_BABEL, str(tmp_path), redis_url],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split("\n")[:3] == ["Webhooks", "Overview", "Add webhook"]


# -- the page -----------------------------------------------------------------------------------------


def test_every_application_of_the_page_is_run_here() -> None:
    text = Path(__file__).read_text()
    assert len(FILES) >= 10
    for name in FILES:
        assert f'"{name}"' in text or name.endswith(".html"), name
