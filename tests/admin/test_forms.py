"""Forms that are refused: all that is wrong at once, each at its field, and nothing that was typed is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from flask import Flask

from flask_webhooks import actions, queries
from flask_webhooks.app_state import state_of
from flask_webhooks.security import signing
from tests.admin.test_formats import add, edit, faulty, secrets_of, the_endpoint
from tests.support.delivering import webhooks_of
from tests.support.helpers import accessing, add_endpoint, close
from tests.support.pages import Browser, Page, make_app

URL = "https://hooks.example.com/in"
WRONG = {
    "url": "ftp://example.com/",
    "name": "x" * 201,
    "description": "y" * 2001,
    "contact": "nobody",
    "tenant": "z" * 256,
    "scope": "chosen",
    "user_agent": "Tür/1",
    "headers-0-name": "a b",
    "headers-0-value": "kept",
    "headers-1-name": "X-Empty",
    "rate_limit": "many",
    "timeout": "0",
}
FIELDS = [
    "#wh-url",
    "#wh-name",
    "#wh-description",
    "#wh-contact",
    "#wh-tenant",
    "#wh-events",
    "#wh-user_agent",
    "#wh-headers-0-name",
    "#wh-headers-1-value",
    "#wh-rate_limit",
    "#wh-timeout",
]


@pytest.fixture
def app(tmp_path: Path, redis_url: str) -> Iterator[Flask]:
    app = make_app(f"sqlite:///{tmp_path / 'database.sqlite'}", redis_url)
    yield app
    close(app)


def check_summary(page: Page) -> None:
    """Each entry leads to a field of the page, which is marked and says the same."""
    summary = page.one(id="wh-problems")
    assert summary.attributes["role"] == "alert"
    for link in summary.all("a"):
        name = link.attributes["href"].removeprefix("#")
        field = page.one(id=name)
        assert page.one(id=f"{name}-error").text == link.text
        if field.attributes.get("type") == "radio":
            [group] = [item for item in page.all("fieldset") if field in item.all("input")]
            assert group.attributes["aria-invalid"] == "true"
            assert group.attributes["aria-describedby"] == f"{name}-error"
        elif field.tag in ("input", "select", "textarea"):
            assert field.attributes["aria-invalid"] == "true", name
            assert f"{name}-error" in field.attributes["aria-describedby"].split()


def test_a_new_webhook_is_told_everything_that_is_wrong(app: Flask, browser: Browser) -> None:
    page = add(browser, 422, **WRONG)
    assert faulty(page) == FIELDS
    check_summary(page)
    assert queries.list_endpoints(accessing(app)) == []
    for name, value in WRONG.items():
        if name not in ("scope", "description"):
            assert page.one("input", name=name).attributes["value"] == value, name
    assert page.one("textarea", name="description").raw_text.strip() == WRONG["description"]
    assert page.one("input", name="scope", value="chosen").attributes.get("checked") is not None


def test_changes_are_told_everything_that_is_wrong(app: Flask, browser: Browser) -> None:
    endpoint = add_endpoint(app, name="Old")
    wrong = {name: value for name, value in WRONG.items() if name != "tenant"}
    page = edit(browser, endpoint, 422, **wrong)
    assert faulty(page) == [field for field in FIELDS if field != "#wh-tenant"]
    check_summary(page)
    assert the_endpoint(app).name == "Old"


def test_the_secret_and_the_url_are_told_together(app: Flask, browser: Browser) -> None:
    page = add(browser, 422, url="nonsense", format="standard", signing="none", secret="x" * 20)
    assert faulty(page) == ["#wh-secret", "#wh-url"]


def test_a_secret_that_was_typed_is_asked_for_again(app: Flask, browser: Browser) -> None:
    """It is not repeated; without a word another one would be made in its place."""
    own = signing.generate_secret()
    page = add(browser, 422, name="x" * 201, secret=own)
    assert faulty(page) == ["#wh-name", "#wh-secret"]
    assert "Enter the secret again" in page.one(id="wh-secret-error").text
    assert own not in page.response.text
    browser.send(page, "/endpoints/new", {"name": "Shop", "secret": own}, 200)
    assert secrets_of(app, the_endpoint(app)) == [own]


def test_values_of_headers_are_asked_for_where_they_go_elsewhere(
    app: Flask, browser: Browser
) -> None:
    endpoint = add_endpoint(app, headers={"X-A": "a", "X-Team": "old"})
    webhooks_of(app).authorize(lambda action, endpoint: action != "secret")
    moved = {"url": "https://other.example/in", "headers-0-name": ""}
    page = edit(browser, endpoint, 422, **moved)
    assert faulty(page) == ["#wh-headers-1-value"]
    check_summary(page)
    assert "X-Team again" in page.one(id="wh-headers-1-value-error").text
    assert the_endpoint(app).url_shown == endpoint.url_shown
    browser.send(page, "/edit", {"headers-1-value": "new"})
    sealed = the_endpoint(app).headers_sealed
    assert sealed is not None
    assert state_of(app).vault.decrypt(sealed) == {"X-Team": "new"}
    assert the_endpoint(app).url_shown == moved["url"]


def test_a_new_value_of_a_stored_header_survives_a_refusal(app: Flask, browser: Browser) -> None:
    endpoint = add_endpoint(app, headers={"X-Team": "old"})
    page = edit(browser, endpoint, 422, **{"headers-0-value": "new", "rate_limit": "many"})
    assert page.one("input", name="headers-0-value").attributes["value"] == "new"
    browser.send(page, "/edit", {"rate_limit": ""})
    sealed = the_endpoint(app).headers_sealed
    assert sealed is not None
    assert state_of(app).vault.decrypt(sealed) == {"X-Team": "new"}


def test_of_two_headers_of_one_name_the_second_is_at_fault(app: Flask, browser: Browser) -> None:
    page = add(
        browser,
        422,
        **{
            "headers-0-name": "X-Team",
            "headers-0-value": "1",
            "headers-1-name": "X-Team",
            "headers-1-value": "2",
        },
    )
    assert faulty(page) == ["#wh-headers-1-name"]


def test_a_rotation_is_told_of_overlap_and_secret(app: Flask, browser: Browser) -> None:
    endpoint = add_endpoint(app)
    path = f"/endpoints/{endpoint.id}/rotate"
    page = browser.send(
        browser.get(path), "/rotate", {"overlap_seconds": "soon", "secret": "short"}, 422
    )
    assert faulty(page) == ["#wh-overlap_seconds", "#wh-secret"]
    check_summary(page)


@pytest.mark.slow
def test_a_private_key_that_was_brought_is_not_taken_for_a_secret(
    app: Flask, browser: Browser
) -> None:
    key = signing.generate_private_key()
    endpoint = add_endpoint(app)
    page = browser.get(f"/endpoints/{endpoint.id}/rotate")
    page = browser.send(page, "/rotate", {"secret": key, "overlap_seconds": "0"}, 200)
    assert page.heading == "Give your receiver its public key"
    assert "You entered a private key." in page.text
    assert page.one("code", id="wh-secret").text == signing.public_key(key)
    assert key not in page.response.text
    page = add(browser, 200, url=f"{URL}/2", secret=key)
    assert "You entered a private key." in page.text
    # One that was made by us needs no such words.
    page = add(browser, 200, url=f"{URL}/3", signing="key_pair")
    assert page.heading == "Give your receiver its public key"
    assert "You entered" not in page.text


def test_a_secret_that_looks_like_a_public_key_is_shown_as_the_secret_that_it_is(
    app: Flask, browser: Browser
) -> None:
    own = "whpk_this-is-a-secret-of-my-own"
    page = add(browser, 200, format="aureva", secret=own)
    assert page.heading == "Save your webhook secret"
    assert page.one("code", id="wh-secret").text == own


# -- the limit ----------------------------------------------------------------------------------------


def test_an_operator_sees_how_much_of_its_limit_a_tenant_uses(app: Flask, browser: Browser) -> None:
    for number in range(4):
        add_endpoint(app, f"{URL}/{number}", tenant="app_1")
    add_endpoint(app, f"{URL}/other", tenant="app_2", name="Second of them")
    page = browser.get("/")
    assert "used" not in page.one("header", _class="wh-head").text
    page = browser.send(page, "/webhooks/", {"tenant": "app_1"})
    assert "4 of 5 used" in page.text
    assert "Second of them" not in page.text
    page = browser.get(page.link("Add webhook"))
    assert page.one("input", name="tenant").attributes["value"] == "app_1"
    assert "A tenant may have 5 webhooks." in page.text
    browser.send(page, "/endpoints/new", {"url": f"{URL}/5"}, 200)
    full = browser.get("/?tenant=app_1")
    assert "5 of 5 used" in full.text
    [button] = [item for item in full.all("button") if item.text == "Add webhook"]
    assert "disabled" in button.attributes
    assert "raise the limit" in full.one(id=button.attributes["aria-describedby"]).text

    page = add(browser, 409, url=f"{URL}/6", tenant="app_1")
    assert faulty(page) == ["#wh-tenant"]
    assert "5 of 5 endpoints are in use" in page.one(id="wh-tenant-error").text
    actions.delete_endpoint(accessing(app), add_endpoint(app, tenant="app_3").id)
    assert "app_3 has no webhooks." in browser.get("/?tenant=app_3").text


def test_the_limit_of_each_tenant_is_the_hosts_to_say(app: Flask, browser: Browser) -> None:
    webhooks_of(app).endpoint_limit({"free": 1, "pro": None}.get)
    add_endpoint(app, tenant="free")
    page = browser.get("/?tenant=free")
    assert "1 of 1 used" in page.text
    assert "A tenant may have" not in browser.get("/endpoints/new").text
    for number in range(7):
        add_endpoint(app, f"{URL}/{number}", tenant="pro")
    assert "used" not in browser.get("/?tenant=pro").one("header", _class="wh-head").text


# -- lists --------------------------------------------------------------------------------------------


def test_events_of_one_tenant(app: Flask, browser: Browser) -> None:
    endpoint, other = add_endpoint(app, tenant="app_1"), add_endpoint(app, tenant="app_2")
    for item in (endpoint, other):
        actions.send_test(accessing(app), item.id, "license.created")
    page = browser.send(browser.get("/events"), "/events", {"tenant": "app_1"})
    assert [row.text for row in page.all("td", data_label="Tenant")] == ["app_1"]
    add_endpoint(app, tenant="app_3")
    page = browser.get("/events?tenant=app_3")
    assert "No events match." in page.text
    assert "is not recorded" in page.text
    # A tenant is not asked for its own name.
    webhooks_of(app).hooks.current_tenant = lambda: "app_1"
    page = browser.get("/events?tenant=app_2")
    assert page.all("input", name="tenant") == []
    assert "No events match." in page.text


def test_what_one_person_did(app: Flask, browser: Browser) -> None:
    first = actions.create_endpoint(accessing(app, "ann"), URL, tenant="app_1").endpoint
    actions.pause_endpoint(accessing(app, "bob"), first.id, "Because")
    actions.create_endpoint(accessing(app, "bob"), f"{URL}/2")

    def done(**filters: str) -> list[str]:
        page = browser.send(browser.get("/activity"), "/activity", filters)
        return [item.one("strong").text for item in page.all("li", _class="wh-rowitem")]

    assert done() == ["bob", "bob", "ann"]
    assert done(actor="ANN") == ["ann"]
    assert done(action="endpoint.paused") == ["bob"]
    assert done(action="endpoint.created") == ["bob", "ann"]
    assert done(tenant="app_1") == ["bob", "ann"]
    assert done(since="2199-01-01T00:00") == []
    assert done(until="2199-01-01T00:00", actor="bob") == ["bob", "bob"]
    page = browser.get(f"/activity?webhook={first.id}&actor=bob")
    assert "paused the webhook" in page.text
    assert len(page.all("li", _class="wh-rowitem")) == 1
    assert "No activity matches." in browser.get("/activity?actor=nobody").text


def test_before_and_after_are_in_words(app: Flask, browser: Browser) -> None:
    endpoint = add_endpoint(app, name="Old", headers={"X-Team": "a secret value"})
    access = accessing(app)
    actions.update_endpoint(
        access, endpoint.id, name="New", ordered=True, headers={"X-Other": "a secret value"}
    )
    actions.pause_endpoint(access, endpoint.id)
    page = browser.get("/activity")
    changes = [item.text for item in page.all("li") if item.all("ins")]
    assert "Name Old New" in changes
    assert "In order No Yes" in changes
    assert "Custom headers X-Team X-Other" in changes
    assert "State Active Paused" in changes
    assert "a secret value" not in page.response.text


def test_a_client_certificate_is_shown_without_its_key_and_removed(
    app: Flask, browser: Browser
) -> None:
    made = trustme.CA().issue_cert("acme.example.com", common_name="acme")
    key = made.private_key_pem.bytes().decode()
    given = made.cert_chain_pems[0].bytes().decode() + key
    page = add(browser, 422, name="x" * 201, client_certificate=given)
    assert faulty(page) == ["#wh-name", "#wh-client_certificate"]
    assert "PRIVATE KEY-----\n" not in page.response.text
    browser.send(page, "/endpoints/new", {"name": "Shop", "client_certificate": given}, 200)
    endpoint = the_endpoint(app)
    assert endpoint.client_certificate is not None
    shown = browser.get(f"/endpoints/{endpoint.id}").response.text
    assert "CN=acme" in shown
    assert endpoint.client_certificate["fingerprint"] in shown
    page = edit(browser, endpoint, name="Left empty, it stays")
    assert the_endpoint(app).client_certificate == endpoint.client_certificate
    edit(browser, endpoint, remove_certificate="y")
    assert the_endpoint(app).client_certificate is None
