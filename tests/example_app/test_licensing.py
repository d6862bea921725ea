"""The licensing API of the example, and the events that it sends."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from flask import Flask

from example_app import accounts, activation, terms
from example_app.app import create_app
from example_app.events import Client
from example_app.extensions import db, webhooks
from example_app.models import License

from .product import DEVICE, OTHER_DEVICE, PASSWORD, Product

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


def test_login_is_told(product: Product) -> None:
    product.register()
    product.post("login", username="mira", password=PASSWORD, hwid=DEVICE, ip="2001:DB8::1")
    events = product.new_events()
    assert list(events) == ["user.logged_in"]
    assert events["user.logged_in"]["ip"] == "2001:db8::1"


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
    assert product.new_events()["license.rejected"]["code"] == "license_not_found"


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
    product.post(f"licenses/{key}/reset-hwid", reason="New computer", actor="support")
    reset = product.new_events()["hwid.reset"]
    assert (reset["hwid"], reset["reset_by"]) == (DEVICE, "support")
    product.post("validate", license_key=key, hwid=OTHER_DEVICE)
    assert list(product.new_events()) == ["hwid.bound", "license.validated"]


def test_ban_keeps_the_user_out(product: Product) -> None:
    product.register()
    login = {"username": "mira", "password": PASSWORD, "hwid": DEVICE}
    product.post("login", **login)
    product.new_events()

    product.post("ban", username="mira", reason="Shared the account", actor="moderator")
    assert product.new_events()["user.banned"]["banned_by"] == "moderator"
    assert product.post("login", 403, **login)["code"] == "user_banned"
    assert product.new_events()["user.login_failed"]["code"] == "user_banned"
    assert product.post("ban", 409, username="mira")["code"] == "user_banned"


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
    assert runner.invoke(args=["expire"]).output == "Licences that expired: 1\n"
    assert runner.invoke(args=["expire"]).output == "Licences that expired: 0\n"
    assert list(product.new_events()) == ["license.expired"]


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
            accounts.ban(product.id, "mira", "", None)
    assert product.new_events() == {}


def test_a_refusal_is_told_outside_of_a_request_too(product: Product) -> None:
    client = Client(hwid=DEVICE, ip="203.0.113.7")
    with product.app.app_context(), pytest.raises(Exception, match="no licence with this key"):
        activation.validate(product.id, "?", client)
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


def test_server_without_a_secret_key_says_how_to_make_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EXAMPLE_SECRET_KEY", raising=False)
    with pytest.raises(RuntimeError, match="EXAMPLE_SECRET_KEY"):
        create_app()


def test_commands_create_tables_and_applications(app: Flask) -> None:
    runner = app.test_cli_runner()
    assert runner.invoke(args=["init"]).exit_code == 0
    assert re.search("API key: +key_", runner.invoke(args=["create-application", "Aurora"]).output)
    again = runner.invoke(args=["create-application", "Aurora"])
    assert again.exit_code == 1
    assert "already" in again.output
