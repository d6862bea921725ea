"""The example: its licensing API and the events it sends, its pages, its receiver and its demo."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from standardwebhooks.webhooks import Webhook
from werkzeug.datastructures import Headers
from werkzeug.test import TestResponse

from example_app import accounts, licensing, terms
from example_app.app import _kept_secret_key, create_app
from example_app.events import Client
from example_app.extensions import webhooks
from example_app.models import License, UserSession, db
from example_app.receiver import BadSignature, create_receiver, failure, verify
from flask_webhooks.app_state import ALL_TENANTS
from flask_webhooks.catalog.registry import builtin_catalog
from tests.support.processes import ROOT

PASSWORD = "correct horse battery"
DEVICE, OTHER_DEVICE = "9f2c4e7ab1d05836", "c05e71f3928ad64b"


@pytest.fixture
def app(database_url: str) -> Iterator[Flask]:
    """The licensing server, on each kind of database."""
    app = create_app(
        {
            "TESTING": True,
            "SECRET_KEY": "for tests",
            "DATABASE_URL": database_url,
            # Nobody listens there: the licensing server must not mind.
            "REDIS_URL": "redis://127.0.0.1:1/0",
            "ADMIN_PASSWORD": "open sesame",
            "PASSWORD_HASH_METHOD": "pbkdf2:sha256:1",
            "WEBHOOKS_ALLOWED_NETWORKS": ["127.0.0.0/8"],
        }
    )
    with app.app_context():
        db.create_all()
        webhooks.create_endpoint("http://127.0.0.1:1025/", events=None)
    yield app
    with app.app_context():
        _check_schemas()
        db.session.remove()
        db.engine.dispose()


def _check_schemas() -> None:
    """Whatever a test made the server send must be what the catalogue promises."""
    catalog = builtin_catalog()
    for event in db.session.scalars(sa.select(webhooks.models.Event)):
        Draft202012Validator(catalog[event.type].schema).validate(event.data)


@dataclass
class Product:
    """One application's own server, as it talks to the licensing server."""

    app: Flask
    id: str
    api_key: str
    http: FlaskClient = field(init=False)
    _seen: int = 0

    def __post_init__(self) -> None:
        self.http = self.app.test_client()

    def send(self, method: str, path: str, body: object = None) -> TestResponse:
        return self.http.open(
            f"/api/v1/{path}",
            method=method,
            json=body,
            headers={"Authorization": f"Bearer {self.api_key}"},
        )

    def post(self, path: str, expected: int = 200, /, **body: object) -> dict[str, Any]:
        response = self.send("POST", path, body)
        assert response.status_code == expected, response.text
        answer: dict[str, Any] = response.get_json()
        return answer

    def sell(self, **wanted: object) -> str:
        key: str = self.post("licenses", 201, **wanted)["licenses"][0]["license_key"]
        return key

    def register(self, username: str = "mira", **wanted: object) -> str:
        """A user with a licence, bound to `DEVICE`; returns the key."""
        key = self.sell(**wanted)
        user = {"username": username, "password": PASSWORD, "license_key": key, "hwid": DEVICE}
        self.post("register", 201, **user)
        self.new_events()
        return key

    def scheduled(self) -> list[Any]:
        """What is scheduled for this application."""
        with self.app.app_context():
            event = webhooks.models.ScheduledEvent
            rows = db.session.scalars(sa.select(event).where(event.tenant == self.id)).all()
        for row in rows:
            Draft202012Validator(builtin_catalog()[row.type].schema).validate(row.data)
        return list(rows)

    def new_events(self) -> dict[str, dict[str, Any]]:
        """Data by type of the events recorded since the last call, for this application."""
        with self.app.app_context():
            event = webhooks.models.Event
            rows = db.session.scalars(
                sa.select(event).where(event.tenant == self.id).order_by(event.id)
            ).all()
        new, self._seen = rows[self._seen :], len(rows)
        found = {row.type: row.data for row in new}
        assert len(found) == len(new), "several events of one type"
        return found


@pytest.fixture
def new_product(app: Flask) -> Callable[[str], Product]:
    def make(name: str) -> Product:
        with app.app_context():
            return Product(app, *licensing.create_application(name))

    return make


@pytest.fixture
def product(new_product: Callable[[str], Product]) -> Product:
    return new_product("Aurora")


# -- licences, users and devices -------------------------------------------------------------------


def test_registration_activates_the_licence_and_says_so(product: Product) -> None:
    key = product.sell(level=2, duration="30d")
    assert product.new_events()["license.created"]["expires_at"] is None

    user = product.post(
        "register", 201, username="mira", password=PASSWORD, license_key=key, hwid=DEVICE
    )

    license = product.send("GET", f"licenses/{key}").get_json()
    assert (license["status"], license["hwids"], license["username"]) == (
        "active",
        [DEVICE],
        "mira",
    )
    left = datetime.fromisoformat(license["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=29) < left < timedelta(days=30)
    events = product.new_events()
    assert list(events) == ["license.activated", "hwid.bound", "user.registered"]
    assert events["license.activated"]["activated_by"] == user["user_id"]
    assert events["user.registered"]["license_key"] == key


def test_a_taken_name_changes_nothing_and_sends_nothing(product: Product) -> None:
    product.register("mira")
    key = product.sell()
    product.new_events()

    body = {"username": "mira", "password": PASSWORD, "license_key": key, "hwid": OTHER_DEVICE}
    assert product.post("register", 409, **body)["code"] == "username_taken"

    assert product.new_events() == {}
    assert product.send("GET", f"licenses/{key}").get_json()["status"] == "created"


def test_a_key_is_used_for_the_first_time_only_once(product: Product) -> None:
    key = product.sell()
    product.post("activate", license_key=key, hwid=DEVICE)
    assert list(product.new_events()) == ["license.created", "license.activated", "hwid.bound"]

    assert product.post("activate", 403, license_key=key, hwid=DEVICE)["code"] == "license_in_use"
    assert list(product.new_events()) == ["license.rejected"]


@pytest.mark.slow
def test_login_opens_a_session(product: Product) -> None:
    product.register()
    answer = product.post(
        "login", username="mira", password=PASSWORD, hwid=DEVICE, ip="2001:DB8::1"
    )
    assert len(answer["token"]) > 30
    events = product.new_events()
    assert list(events) == ["user.logged_in", "session.created"]
    assert events["session.created"]["session_id"] == answer["session_id"]
    assert events["user.logged_in"]["ip"] == "2001:db8::1"
    assert answer["token"] not in json.dumps(events)


@pytest.mark.parametrize(
    ("username", "code"), [("mira", "invalid_credentials"), ("nobody", "user_not_found")]
)
def test_failed_login_commits_nothing_but_is_told(
    product: Product, username: str, code: str
) -> None:
    product.register()
    answer = product.post("login", 401, username=username, password="wrong", hwid=DEVICE)
    # The client must not learn which names exist; the operator's webhooks may.
    assert answer["code"] == "invalid_credentials"
    events = product.new_events()
    assert list(events) == ["user.login_failed"]
    assert (events["user.login_failed"]["code"], events["user.login_failed"]["hwid"]) == (
        code,
        DEVICE,
    )


def test_validation_of_a_good_key(product: Product) -> None:
    key = product.register()
    assert product.post("validate", license_key=key, hwid=DEVICE)["status"] == "active"
    # As people type it.
    product.post("validate", license_key=f" {key.lower().replace('-', '')}", hwid=DEVICE)
    with product.app.app_context():
        count = sa.select(sa.func.count()).where(webhooks.models.Event.type == "license.validated")
        assert db.session.scalar(count) == 2


def test_an_unknown_key_is_rejected(product: Product) -> None:
    answer = product.post("validate", 404, license_key="AAAA-BBBB-CCCC-DDDD", hwid=DEVICE)
    assert answer["code"] == "license_not_found"
    assert product.new_events()["license.rejected"]["license_id"] is None


def test_a_key_that_was_not_activated_is_not_valid(product: Product) -> None:
    key = product.sell()
    assert product.post("validate", 403, license_key=key, hwid=DEVICE)["code"] == "license_unused"


def test_another_device_is_refused(product: Product) -> None:
    key = product.register()
    answer = product.post("validate", 403, license_key=key, hwid=OTHER_DEVICE)
    assert answer["code"] == "hwid_mismatch"
    events = product.new_events()
    assert list(events) == ["hwid.mismatched"]
    assert events["hwid.mismatched"]["expected_hwid"] == DEVICE


def test_login_from_another_device_is_a_mismatch_and_a_failed_login(product: Product) -> None:
    product.register()
    login = {"username": "mira", "password": PASSWORD, "hwid": OTHER_DEVICE}
    assert product.post("login", 403, **login)["code"] == "hwid_mismatch"
    assert list(product.new_events()) == ["hwid.mismatched", "user.login_failed"]


def test_devices_are_bound_up_to_the_limit(product: Product) -> None:
    key = product.register(device_limit=2)
    product.post("validate", license_key=key, hwid=OTHER_DEVICE)
    assert product.new_events()["hwid.bound"]["hwid_count"] == 2
    product.post("validate", 403, license_key=key, hwid="a third one")
    assert product.new_events()["hwid.mismatched"]["expected_hwid"] is None


def test_reset_frees_the_licence_for_another_device(product: Product) -> None:
    key = product.register()
    product.post("reset-hwid", license_key=key, reason="New computer", actor="support")
    reset = product.new_events()["hwid.reset"]
    assert (reset["hwid"], reset["reset_by"]) == (DEVICE, "support")
    product.post("validate", license_key=key, hwid=OTHER_DEVICE)
    assert list(product.new_events()) == ["hwid.bound", "license.validated"]


def test_one_device_takes_the_place_of_another(product: Product) -> None:
    key = product.register()
    change = {"license_key": key, "previous_hwid": DEVICE, "hwid": OTHER_DEVICE}
    assert product.post("change-hwid", **change)["hwids"] == [OTHER_DEVICE]
    assert product.new_events()["hwid.changed"]["previous_hwid"] == DEVICE
    assert product.post("change-hwid", 409, **change)["code"] == "hwid_not_bound"


def test_ban_ends_sessions_and_keeps_the_user_out(product: Product) -> None:
    product.register()
    login = {"username": "mira", "password": PASSWORD, "hwid": DEVICE}
    product.post("login", **login)
    product.new_events()

    product.post("ban", username="mira", reason="Shared the account", actor="moderator")
    assert product.new_events()["user.banned"]["banned_by"] == "moderator"
    with product.app.app_context():
        assert db.session.scalar(sa.select(sa.func.count(UserSession.id))) == 0

    assert product.post("login", 403, **login)["code"] == "user_banned"
    assert product.new_events()["user.login_failed"]["code"] == "user_banned"
    assert product.post("ban", 409, username="mira")["code"] == "user_banned"
    product.post("unban", username="mira")
    product.post("login", **login)


@pytest.mark.parametrize(("verb", "status"), [("revoke", "revoked"), ("suspend", "suspended")])
def test_a_licence_that_was_taken_away_comes_back(product: Product, verb: str, status: str) -> None:
    key = product.register()
    assert product.post(f"licenses/{key}/{verb}", reason="Chargeback")["status"] == status
    refused = product.post("validate", 403, license_key=key, hwid=DEVICE)
    assert refused["code"] == f"license_{status}"
    assert product.post(f"licenses/{key}/{verb}", 409)["code"] == f"license_{status}"

    assert product.post(f"licenses/{key}/reinstate")["status"] == "active"
    product.post("validate", license_key=key, hwid=DEVICE)
    assert list(product.new_events()) == [
        f"license.{status}",
        "license.rejected",
        "license.reinstated",
        "license.validated",
    ]


def _end_term(app: Flask, key: str) -> None:
    with app.app_context():
        past = datetime.now(UTC) - timedelta(seconds=1)
        db.session.execute(sa.update(License).where(License.key == key).values(expires_at=past))
        db.session.commit()


def test_notice_of_the_end_follows_the_licence(product: Product) -> None:
    key = product.register(duration="30d")
    [notice] = product.scheduled()
    assert timedelta(days=22) < notice.deliver_at - datetime.now(UTC) < timedelta(days=23)
    assert notice.data["license_key"] == key
    product.post(f"licenses/{key}/renew", duration="30d")
    [notice] = product.scheduled()
    assert timedelta(days=52) < notice.deliver_at - datetime.now(UTC) < timedelta(days=53)
    for verb in ("suspend", "revoke"):
        product.post(f"licenses/{key}/{verb}", reason="Fraud")
        assert product.scheduled() == []
        product.post(f"licenses/{key}/reinstate", reason="It was none")
        assert len(product.scheduled()) == 1


@pytest.mark.parametrize("duration", ["3d", "lifetime", "90y"])
def test_no_notice_of_an_end_too_near_or_too_far(product: Product, duration: str) -> None:
    product.register(duration=duration)
    assert product.scheduled() == []


def test_expiry_is_found_at_the_next_use_and_told_once(product: Product) -> None:
    key = product.register()
    _end_term(product.app, key)
    refused = product.post("validate", 403, license_key=key, hwid=DEVICE)
    assert refused["code"] == "license_expired"
    # The refusal rolled back, the end of the term did not.
    assert list(product.new_events()) == ["license.expired", "license.rejected"]
    product.post("validate", 403, license_key=key, hwid=DEVICE)
    assert list(product.new_events()) == ["license.rejected"]

    renewed = product.post(f"licenses/{key}/renew", duration="1w")
    assert renewed["status"] == "active"
    product.post("validate", license_key=key, hwid=DEVICE)


def test_expiry_is_found_by_the_command(product: Product) -> None:
    key = product.register()
    _end_term(product.app, key)
    runner = product.app.test_cli_runner()
    assert runner.invoke(args=["expire"]).output == "1 licences expired.\n"
    assert runner.invoke(args=["expire"]).output == "0 licences expired.\n"
    assert list(product.new_events()) == ["license.expired"]


def test_list_of_licences_goes_on_where_it_ended(product: Product) -> None:
    product.post("licenses", 201, count=5)
    pages, path = [], "licenses?limit=2&status=created"
    while path:
        answer = product.send("GET", path).get_json()
        pages.append([license["license_key"] for license in answer["licenses"]])
        path = (answer["next"] or "").removeprefix("/api/v1/")
    assert [len(page) for page in pages] == [2, 2, 1]
    assert len({key for page in pages for key in page}) == 5


def test_applications_know_nothing_of_each_other(new_product: Callable[[str], Product]) -> None:
    one, other = new_product("one"), new_product("other")
    key = one.register("mira")
    assert other.send("GET", f"licenses/{key}").status_code == 404
    other.post("ban", 404, username="mira")
    other.register("mira")
    assert one.new_events() == {}


# -- what the API refuses --------------------------------------------------------------------------


def test_requests_need_an_api_key(product: Product) -> None:
    for headers in (
        {},
        {"Authorization": "Bearer key_wrong"},
        {"Authorization": "Basic Zm9vOmJhcg=="},
    ):
        response = product.http.post("/api/v1/validate", json={}, headers=headers)
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
        assert response.content_type == "application/problem+json"


@pytest.mark.parametrize(
    ("change", "member"),
    [
        ({"username": None}, "username"),
        ({"username": "x" * 65}, "username"),
        ({"username": "line\nbreak"}, "username"),
        ({"password": "short"}, "password"),
        ({"license_key": 17}, "license_key"),
        ({"hwid": ""}, "hwid"),
        ({"ip": "999.0.0.1"}, "ip"),
    ],
)
def test_malformed_members_are_named(
    product: Product, change: dict[str, object], member: str
) -> None:
    good: dict[str, object] = {
        "username": "mira",
        "password": PASSWORD,
        "license_key": product.sell(),
        "hwid": DEVICE,
    }
    answer = product.post("register", 400, **(good | change))
    assert (answer["code"], answer["member"]) == ("invalid_member", member)
    assert answer["detail"].startswith(member)


@pytest.mark.parametrize("duration", ["0d", "1 month", "forever", "101y", "999999y", "d"])
def test_impossible_durations_are_refused(product: Product, duration: str) -> None:
    assert product.post("licenses", 400, duration=duration)["member"] == "duration"


def test_errors_of_the_framework_are_problem_details_too(product: Product) -> None:
    for method, path, status in (
        ("GET", "nothing-here", 404),
        ("GET", "validate", 405),
        ("POST", "validate", 400),
    ):
        response = product.send(method, path)
        assert response.status_code == status
        assert response.content_type == "application/problem+json"
        assert response.get_json()["status"] == status


def test_terms() -> None:
    assert terms.parse_duration("12h") == timedelta(hours=12)
    assert terms.parse_duration("4w") == timedelta(days=28)
    assert terms.parse_duration("lifetime") is None
    now = datetime.now(UTC)
    assert terms.has_ended(now, now)
    assert not terms.has_ended(None, now)
    assert re.fullmatch(r"(?:[A-HJ-NP-Z2-9]{4}-?){4}", terms.new_license_key())


# -- transactions ----------------------------------------------------------------------------------


def test_a_change_that_is_not_committed_sends_nothing(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    product.register()

    def fail() -> None:
        raise RuntimeError("the disk is full")

    with product.app.app_context():
        monkeypatch.setattr(db.session(), "commit", fail)
        with pytest.raises(RuntimeError, match="disk"):
            accounts.ban(product.id, "mira", reason="", banned_by=None)
    assert product.new_events() == {}


def test_a_refusal_is_told_outside_of_a_request_too(product: Product) -> None:
    client = Client(hwid=DEVICE, ip="203.0.113.7")
    with product.app.app_context(), pytest.raises(Exception, match="no licence with this key"):
        licensing.validate(product.id, "?", client)
    assert list(product.new_events()) == ["license.rejected"]


# -- settings and commands -------------------------------------------------------------------------


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:2/0")
    monkeypatch.setenv("EXAMPLE_DATABASE_URL", "sqlite://")
    monkeypatch.setenv("EXAMPLE_ADMIN_PASSWORD", "123456")
    monkeypatch.setenv("EXAMPLE_WEBHOOKS_RETRY_SCHEDULE", "[1, 2]")
    app = create_app({"SECRET_KEY": "for tests"})
    assert app.config["SQLALCHEMY_DATABASE_URI"] == "sqlite://"
    assert app.config["REDIS_URL"] == "redis://127.0.0.1:2/0"
    assert app.config["ADMIN_PASSWORD"] == "123456"
    assert app.config["WEBHOOKS_RETRY_SCHEDULE"] == [1, 2]


def test_secret_key_is_made_once_and_for_the_owner_only(tmp_path: Path) -> None:
    app = Flask("example", instance_path=str(tmp_path / "instance"))
    key = _kept_secret_key(app)
    assert len(key) > 40
    assert _kept_secret_key(app) == key
    (path,) = (tmp_path / "instance").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_commands_create_tables_and_applications(app: Flask) -> None:
    runner = app.test_cli_runner()
    assert runner.invoke(args=["init"]).exit_code == 0
    assert "API key:     key_" in runner.invoke(args=["create-application", "Aurora"]).output
    again = runner.invoke(args=["create-application", "Aurora"])
    assert again.exit_code == 1
    assert "already" in again.output


# -- pages -----------------------------------------------------------------------------------------


def _token(page: TestResponse) -> str:
    found = re.search(r'name="csrf_token"[^>]* value="([^"]+)"', page.text)
    assert found is not None
    return found[1]


def _sign_in(
    browser: FlaskClient, url: str = "/login", password: str = "open sesame"
) -> TestResponse:
    form = {"username": "admin", "password": password, "csrf_token": _token(browser.get(url))}
    return browser.post(url, data=form)


def test_pages_ask_for_a_login(app: Flask) -> None:
    browser = app.test_client()
    assert browser.get("/").location == "/login"
    answer = browser.get("/webhooks/", headers={"Accept": "text/html"})
    assert answer.location == "/login?next=/webhooks/"
    assert _sign_in(browser, answer.location).location == "/webhooks/"


def test_webhooks_are_for_the_administrator(app: Flask) -> None:
    browser = app.test_client()
    assert browser.get("/webhooks/", headers={"Accept": "application/json"}).status_code == 403
    _sign_in(browser)
    assert browser.get("/webhooks/").status_code == 200


def test_applications_look_at_their_own_webhooks(new_product: Callable[[str], Product]) -> None:
    one, other = new_product("Aurora"), new_product("Borealis")
    with one.app.app_context():
        created = webhooks.create_endpoint("https://shop.example/hooks", tenant=one.id).endpoint
    path = f"webhooks/endpoints/{created.id}"
    assert one.send("GET", path).get_json()["tenant"] == one.id
    assert other.send("GET", path).status_code == 404
    stranger = one.http.get(f"/api/v1/{path}")
    assert (stranger.status_code, stranger.mimetype) == (401, "application/problem+json")
    assert stranger.get_json()["code"] == "invalid_api_key"
    items = one.send("GET", "webhooks/endpoints").get_json()["items"]
    assert [item["id"] for item in items] == [created.id]
    assert other.send("GET", "webhooks/endpoints").get_json()["items"] == []


def test_the_key_of_client_software_changes_no_webhooks(product: Product) -> None:
    with product.app.app_context():
        created = webhooks.create_endpoint("https://shop.example/hooks", tenant=product.id).endpoint
    path = f"webhooks/endpoints/{created.id}"
    # Not even beside an administrator's session.
    _sign_in(product.http)
    for method, where, body in (
        ("POST", "webhooks/endpoints", {"url": "https://thief.example/"}),
        ("PATCH", path, {"url": "https://thief.example/"}),
        ("DELETE", path, None),
        ("POST", f"{path}/rotate", {}),
        ("POST", f"{path}/test", {}),
        ("POST", "webhooks/tasks", {"kind": "cancel"}),
        ("POST", "webhooks/endpoints/delete-all", {}),
        ("GET", "webhooks/deliveries?text=lic", None),
    ):
        assert product.send(method, where, body).status_code == 403, (method, where)
    assert product.send("GET", path).get_json()["url"] == "https://shop.example/hooks"


def test_wrong_password_is_refused(app: Flask) -> None:
    browser = app.test_client()
    assert _sign_in(browser, password="open says me").status_code == 401
    assert browser.get("/").status_code == 302


def test_login_without_csrf_token_is_refused(app: Flask) -> None:
    browser = app.test_client()
    browser.post("/login", data={"username": "admin", "password": "open sesame"})
    assert browser.get("/").status_code == 302


def test_nobody_signs_in_without_a_configured_password(app: Flask) -> None:
    app.config["ADMIN_PASSWORD"] = None
    browser = app.test_client()
    assert "EXAMPLE_ADMIN_PASSWORD" in browser.get("/login").text
    form = {"username": "admin", "password": "", "csrf_token": _token(browser.get("/login"))}
    browser.post("/login", data=form)
    assert browser.get("/").status_code == 302


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example/", "/\\evil.example", "evil", ""]
)
def test_login_leads_to_this_server_only(app: Flask, target: str) -> None:
    browser = app.test_client()
    assert _sign_in(browser, f"/login?next={target}").location == "/"


def test_sign_out(app: Flask) -> None:
    browser = app.test_client()
    _sign_in(browser)
    assert browser.post("/logout").status_code == 400
    browser.post("/logout", data={"csrf_token": _token(browser.get("/"))})
    assert browser.get("/").status_code == 302


def test_home_page_chooses_whose_webhooks_are_shown(product: Product) -> None:
    browser = product.app.test_client()
    _sign_in(browser)
    page = browser.get("/")
    assert product.id in page.text
    hook = webhooks.hooks.current_tenant
    assert hook is not None
    with browser:
        browser.get("/")
        assert hook() is ALL_TENANTS
        form = {"application": product.id, "csrf_token": _token(page)}
        assert browser.post("/scope", data=form).location == "/"
        assert hook() == product.id
        assert browser.post("/scope", data=form | {"application": "app_else"}).status_code == 400


# -- the receiver ----------------------------------------------------------------------------------

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
BODY = '{"type":"user.banned","timestamp":"2026-03-02T09:30:00.000Z","data":{"name":"Zoë"}}'


def _signed(
    message_id: str = "evt_1", secret: str = SECRET, *, age: float = 0, body: str = BODY
) -> Headers:
    """Headers from an implementation that is not ours."""
    at = datetime.now(UTC) - timedelta(seconds=age)
    return Headers(
        {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": Webhook(secret).sign(message_id, at, body),
        }
    )


def _verify(headers: Headers, body: str = BODY) -> None:
    verify(SECRET, headers, body.encode(), time.time())


def test_receiver_knows_nothing_of_the_sending_side() -> None:
    program = "import sys, example_app.receiver; sys.exit('flask_webhooks' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)


def test_receiver_accepts_what_standardwebhooks_signs() -> None:
    _verify(_signed())


def test_receiver_accepts_either_signature_while_the_secret_changes() -> None:
    headers = _signed()
    other = _signed(secret=OTHER_SECRET)["webhook-signature"]
    headers["webhook-signature"] = f"v1a,c29tZXRoaW5n {other} {headers['webhook-signature']}"
    _verify(headers)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
@pytest.mark.parametrize("value", [None, "", "1", "v1,é", "evt_2"])
def test_receiver_refuses_changed_headers(name: str, value: str | None) -> None:
    headers = _signed()
    del headers[name]
    if value is not None:
        headers[name] = value
    with pytest.raises(BadSignature):
        _verify(headers)


def test_receiver_refuses_other_secrets_other_bodies_and_other_times() -> None:
    for headers, body in (
        (_signed(secret=OTHER_SECRET), BODY),
        (_signed(), BODY + " "),
        (_signed(age=301), BODY),
        (_signed(age=-302), BODY),
    ):
        with pytest.raises(BadSignature):
            _verify(headers, body)


def _deliver(customer: FlaskClient, message_id: str = "evt_1", **options: Any) -> int:
    headers = _signed(message_id, **options)
    return customer.post("/hooks/desk", data=BODY.encode(), headers=headers).status_code


def test_receiver_answers_as_the_path_says_to_whoever_tries_it() -> None:
    customer = create_receiver().test_client()
    assert customer.post("/try", data=b"{}").status_code == 200
    assert customer.post("/try/503", data=b"{}").status_code == 503
    assert customer.post("/try/99").status_code == 404
    assert customer.get("/stats").get_json()["received"] == 0


def test_receiver_takes_in_an_event_once() -> None:
    customer = create_receiver({"desk": SECRET}).test_client()
    assert [_deliver(customer) for _ in range(3)] == [204, 204, 204]
    assert _deliver(customer, "evt_2", secret=OTHER_SECRET) == 401
    stats = customer.get("/stats").get_json()
    assert {name: stats[name] for name in ("received", "verified", "rejected", "duplicates")} == {
        "received": 4,
        "verified": 1,
        "rejected": 1,
        "duplicates": 2,
    }
    assert stats["ids"] == 1
    assert stats["latency_ms"]["p50"] > 0


def test_receiver_learns_a_secret_later() -> None:
    customer = create_receiver().test_client()
    assert _deliver(customer) == 404
    secret = {"hook": "desk", "secret": SECRET}
    stranger = {"REMOTE_ADDR": "203.0.113.9"}
    assert customer.post("/secrets", json=secret, environ_base=stranger).status_code == 403
    assert customer.post("/secrets", json=secret).status_code == 204
    assert _deliver(customer) == 204


def test_receiver_fails_the_first_request_of_some_events() -> None:
    ids = [f"evt_{number}" for number in range(1000)]
    failing = [message_id for message_id in ids if failure(message_id, 10)]
    assert 70 < len(failing) < 130
    assert {failure(message_id, 10) for message_id in failing} == {500, 503}
    assert not any(failure(message_id, 0) for message_id in ids)

    customer = create_receiver({"desk": SECRET}, fail_every=10).test_client()
    assert _deliver(customer, failing[0]) == failure(failing[0], 10)
    assert customer.get("/stats").get_json()["verified"] == 0
    assert _deliver(customer, failing[0]) == 204
    stats = customer.get("/stats").get_json()
    assert (stats["verified"], stats["duplicates"]) == (1, 0)


def test_receiver_remembers_over_a_restart(tmp_path: Path) -> None:
    log = tmp_path / "received.jsonl"
    for _ in range(2):
        receiver = create_receiver({"desk": SECRET}, log=log)
        assert _deliver(receiver.test_client()) == 204
        receiver.extensions["inbox"].close()
    assert receiver.test_client().get("/stats").get_json()["duplicates"] == 1
    assert len(log.read_text().splitlines()) == 1


def test_receiver_lists_events_page_by_page() -> None:
    customer = create_receiver({"desk": SECRET}).test_client()
    for number in range(5):
        _deliver(customer, f"evt_{number}")
    first = customer.get("/events?limit=3").get_json()
    rest = customer.get(f"/events?after={first['next']}").get_json()
    assert [event["id"] for event in first["events"] + rest["events"]] == [
        f"evt_{number}" for number in range(5)
    ]
    assert customer.get(f"/events?after={rest['next']}").get_json()["events"] == []
    assert first["events"][0]["type"] == "user.banned"
