"""The forms for what an endpoint sets of its format, its secret and its pace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_webhooks import Format, actions, queries
from flask_webhooks.app_state import state_of
from flask_webhooks.models import Endpoint
from flask_webhooks.security import signing
from tests.support.delivering import drain, webhooks_of
from tests.support.helpers import accessing, activity, add_endpoint, close, update
from tests.support.pages import Browser, Element, Page, make_app
from tests.support.receiver import Receiver

URL = "https://hooks.example.com/in"
DISCORD = "https://discord.com/api/webhooks/1174502939573518396/dQw4w9WgXcQ"
TELEGRAM = "https://api.telegram.org/bot12345:abcdefghij/sendMessage"


@pytest.fixture
def app(tmp_path: Path, redis_url: str) -> Iterator[Flask]:
    app = make_app(f"sqlite:///{tmp_path / 'database.sqlite'}", redis_url)
    yield app
    close(app)


def add(browser: Browser, status: int = 200, **values: Any) -> Page:
    form = browser.get("/endpoints/new")
    return browser.send(form, "/endpoints/new", {"url": URL, **values}, status)


def edit(browser: Browser, endpoint: Endpoint, status: int = 303, **values: Any) -> Page:
    form = browser.get(f"/endpoints/{endpoint.id}/edit")
    return browser.send(form, "/edit", values, status)


def the_endpoint(app: Flask) -> Endpoint:
    [row] = queries.list_endpoints(accessing(app))
    return row.endpoint


def secrets_of(app: Flask, endpoint: Endpoint) -> list[str]:
    sealed = endpoint.secrets_sealed
    return (
        [] if sealed is None else [item["secret"] for item in state_of(app).vault.decrypt(sealed)]
    )


def faulty(page: Page) -> list[str]:
    """The fields that the summary of errors links to."""
    return [item.attributes["href"] for item in page.one(id="wh-problems").all("a")]


# -- formats and their options ------------------------------------------------------------------------


def test_every_format_can_be_chosen_and_says_what_it_needs(app: Flask, browser: Browser) -> None:
    page = browser.get("/endpoints/new")
    options = page.one("select", id="wh-format").all("option")
    assert [item.attributes["value"] for item in options] == [
        "",
        *(item.name for item in state_of(app).formats),
    ]
    notes = {
        item.attributes["data-wh-note"]: item.text
        for item in page.all("p")
        if "data-wh-note" in item.attributes
    }
    assert set(notes) == {item.attributes["value"] for item in options}
    assert "all other URLs get Standard Webhooks" in notes[""]
    assert "carries the secret itself" in notes["authon"]
    for chat in ("discord", "slack", "telegram", "teams"):
        assert "There is no secret" in notes[chat]
    parts = {item.attributes["value"]: item.attributes["data-wh-parts"] for item in options}
    assert parts["standard"] == "secret key_pair"
    assert parts["custom"] == "secret key_pair template"
    assert parts["aureva"] == "secret none"
    assert parts["telegram"] == "chat_id message_thread_id show_keys"


def test_the_style_sheet_knows_each_note_and_each_part(browser: Browser) -> None:
    page = browser.get("/endpoints/new")
    sheet = page.one("link", rel="stylesheet").attributes["href"]
    with browser.client.get(sheet) as response:
        rules = response.get_data(as_text=True)
    for item in page.walk():
        for name in ("data-wh-note", "data-wh-part-of"):
            if name in item.attributes:
                assert f'[{name}="{item.attributes[name]}"]' in rules


def test_a_chat_is_told_by_its_url_and_shows_no_secret(app: Flask, browser: Browser) -> None:
    page = add(browser, 303, url=DISCORD)
    assert "The webhook was added." in page.text
    assert the_endpoint(app).format == "discord"
    assert the_endpoint(app).options is None
    page = edit(browser, the_endpoint(app), show_keys="y")
    assert the_endpoint(app).options == {"show_keys": True}
    assert "Licence keys and hardware ids shown in full" in page.text
    edit(browser, the_endpoint(app), show_keys=None)
    assert the_endpoint(app).options is None


def test_the_form_offers_and_stores_our_names_whatever_the_format(
    app: Flask, browser: Browser
) -> None:
    """Its choices are ours, so none is taken for a vendor's name that is spelled alike."""
    page = browser.get("/endpoints/new")
    offered = {item.attributes["value"] for item in page.all("input") if is_event(item)}
    assert {name for name in offered if not name.endswith("*")} == {
        kind.name for kind in state_of(app).catalog if kind.subscribable
    }
    # AuthForge calls a reinstated licence license.activated.
    chosen = ["license.activated", "hwid.bound"]
    add(browser, format="authforge", scope="chosen", events=chosen)
    endpoint = the_endpoint(app)
    assert (endpoint.format, endpoint.events) == ("authforge", chosen)
    page = browser.get(f"/endpoints/{endpoint.id}/edit")
    checked = [
        item for item in page.all("input") if is_event(item) and "checked" in item.attributes
    ]
    assert [item.attributes["value"] for item in checked] == chosen
    edit(browser, endpoint, format="akuworks")
    assert (the_endpoint(app).format, the_endpoint(app).events) == ("akuworks", chosen)
    # A name of a vendor's is none of its choices.
    page = edit(browser, endpoint, 422, events=["license.redeemed"])
    assert "license.redeemed" in page.one(id="wh-problems").text
    assert the_endpoint(app).events == chosen


def is_event(item: Element) -> bool:
    return item.attributes.get("name") == "events"


def test_telegram_needs_a_chat_and_says_so_at_its_field(app: Flask, browser: Browser) -> None:
    page = add(browser, 422, url=TELEGRAM)
    assert faulty(page) == ["#wh-chat_id"]
    field = page.one("input", id="wh-chat_id")
    assert field.attributes["aria-invalid"] == "true"
    page = browser.send(page, "/endpoints/new", {"chat_id": "-1001", "message_thread_id": "7"})
    assert the_endpoint(app).options == {"chat_id": -1001, "message_thread_id": 7}
    assert "Chat -1001" in page.text
    # Nothing was touched, and nothing changes.
    edit(browser, the_endpoint(app))
    assert [item.action for item in activity(app)] == ["endpoint.created"]
    page = edit(browser, the_endpoint(app), 422, chat_id="no chat")
    assert faulty(page) == ["#wh-chat_id"]


def test_cloudevents_have_a_source(app: Flask, browser: Browser) -> None:
    page = add(browser, 422, format="cloudevents", source="with a space")
    assert faulty(page) == ["#wh-source"]
    page = add(browser, 200, format="cloudevents", source="https://licences.example/")
    # Signed as Standard Webhooks, so verified alike.
    assert [item.text for item in page.all("summary")] == [
        "Python (Flask)",
        "Node (Express)",
        "curl",
    ]
    assert the_endpoint(app).options == {"source": "https://licences.example/"}


def test_a_template_is_written_previewed_and_used(
    app: Flask, browser: Browser, receiver: Receiver
) -> None:
    page = browser.get("/endpoints/new")
    template = '{\r\n  "what": "{{ event.type }}",\r\n  "licence": "{{ data.license_id }}"\r\n}'
    values = {
        "url": receiver.url(),
        "name": "Desk",
        "format": "custom",
        "template": template,
        "preview_type": "license.expired",
    }
    page = browser.send(page, "/endpoints/new", values, 200, button="preview")
    example = state_of(app).catalog["license.expired"].example
    shown = page.one(id="wh-preview")
    assert json.loads(shown.one("pre").raw_text) == {
        "what": "license.expired",
        "licence": example["license_id"],
    }
    assert queries.list_endpoints(accessing(app)) == []
    browser.send(page, "/endpoints/new", {}, 200)
    endpoint = the_endpoint(app)
    assert endpoint.name == "Desk"
    assert endpoint.options == {"template": template.replace("\r\n", "\n")}
    actions.send_test(accessing(app), endpoint.id, "license.expired")
    drain(app)
    assert json.loads(receiver.requests[0].body)["what"] == "license.expired"
    before = len(activity(app))
    edit(browser, endpoint)
    assert len(activity(app)) == before


@pytest.mark.parametrize("button", ["preview", None])
def test_a_template_that_cannot_be_used_is_refused_at_its_field(
    browser: Browser, button: str | None
) -> None:
    form = browser.get("/endpoints/new")
    values = {"url": URL, "format": "custom", "template": '{"a": "{{ secret }}"}'}
    page = browser.send(form, "/endpoints/new", values, 422, button=button)
    assert faulty(page) == ["#wh-template"]
    assert "There is no {{ secret }}." in page.text
    assert "{{ secret }}" in page.one("textarea", id="wh-template").raw_text


def test_options_of_formats_that_were_not_chosen_do_not_count(app: Flask, browser: Browser) -> None:
    add(browser, 200, format="standard", template="broken", source="with a space", chat_id="x")
    assert the_endpoint(app).options is None


def test_another_format_begins_with_its_own_options(app: Flask, browser: Browser) -> None:
    endpoint = add_endpoint(app, format="cloudevents", options={"source": "/here"})
    page = edit(browser, endpoint, 303, format="custom", template='{"x": 1}')
    assert "Custom JSON" in page.text
    assert the_endpoint(app).options == {"template": '{"x": 1}'}
    edit(browser, endpoint, 303, format="standard")
    assert the_endpoint(app).options is None


def test_a_format_that_the_secret_does_not_fit_is_refused(app: Flask, browser: Browser) -> None:
    endpoint = add_endpoint(app, format="akuworks", secret="a secret of the desk")
    page = edit(browser, endpoint, 422, format="standard")
    assert faulty(page) == ["#wh-format"]


def test_options_that_the_form_does_not_know_stay(app: Flask, browser: Browser) -> None:
    endpoint = add_endpoint(app, DISCORD)
    update(app, "Endpoint", endpoint.id, options={"from_later": 1, "show_keys": True})
    edit(browser, endpoint, name="Renamed")
    assert the_endpoint(app).options == {"from_later": 1, "show_keys": True}


class Desk(Format):
    """A format of the host's own."""

    name = "desk"
    label = "Desk"

    def generate_secret(self) -> str:
        return "generated"

    def check_secret(self, secret: str) -> str:
        return secret


def test_a_format_of_the_hosts_own_has_no_note_and_no_options(app: Flask, browser: Browser) -> None:
    webhooks_of(app).add_format(Desk())
    page = browser.get("/endpoints/new")
    [option] = [item for item in page.all("option") if item.attributes["value"] == "desk"]
    assert option.attributes["data-wh-parts"] == "secret"
    add(browser, 200, format="desk")
    assert secrets_of(app, the_endpoint(app)) == ["generated"]


# -- secrets ------------------------------------------------------------------------------------------


def test_an_endpoint_that_signs_by_a_key_pair(app: Flask, browser: Browser) -> None:
    page = add(browser, 200, signing="key_pair")
    assert page.heading == "Give your receiver its public key"
    shown = page.one("code", id="wh-secret").text
    [private] = secrets_of(app, the_endpoint(app))
    assert shown == signing.public_key(private)
    assert private not in page.response.text
    page = browser.get(page.link("Go to the webhook"))
    assert shown in page.text
    assert private not in page.response.text
    document = browser.client.get(page.link("As JSON, for receivers")).get_json()
    assert document["keys"][0]["public_key"] == shown

    page = browser.get(page.link("Rotate secret"))
    # It stays a key pair, unless somebody wants it otherwise.
    page = browser.send(page, "/rotate", {}, 200)
    newer = page.one("code", id="wh-secret").text
    assert newer.startswith(signing.PUBLIC_KEY_PREFIX)
    page = browser.get(page.link("Go to the webhook"))
    assert newer in page.text
    assert shown in page.text
    page = browser.get(page.link("Rotate secret"))
    page = browser.send(page, "/rotate", {"signing": "secret", "overlap_seconds": "0"}, 200)
    assert page.heading == "Save your webhook secret"
    assert page.one("code", id="wh-secret").text.startswith("whsec_")


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"signing": "key_pair", "secret": signing.generate_secret()}, "#wh-secret"),
        ({"signing": "none", "secret": signing.generate_secret()}, "#wh-secret"),
        ({"signing": "none"}, "#wh-secret"),
        ({"signing": "key_pair", "format": "authon"}, "#wh-secret"),
        ({"url": DISCORD, "secret": "a secret of my own"}, "#wh-secret"),
        ({"rate_limit": "many"}, "#wh-rate_limit"),
        ({"rate_limit": "0"}, "#wh-rate_limit"),
        ({"rate_limit": "nan"}, "#wh-rate_limit"),
        ({"timeout": "1e9"}, "#wh-timeout"),
        ({"timeout": "0,5"}, "#wh-timeout"),
        ({"user_agent": "Tür/1"}, "#wh-user_agent"),
    ],
)
def test_each_refusal_is_at_its_field(
    app: Flask, browser: Browser, values: dict[str, str], field: str
) -> None:
    page = add(browser, 422, **values)
    assert faulty(page) == [field]
    assert queries.list_endpoints(accessing(app)) == []


def test_an_endpoint_without_a_secret(app: Flask, browser: Browser) -> None:
    page = add(browser, 303, format="aureva", signing="none")
    assert "None: requests are not signed" in page.text
    assert secrets_of(app, the_endpoint(app)) == []
    page = browser.get(page.link("Rotate secret"))
    page = browser.send(page, "/rotate", {}, 200)
    page = browser.get(page.link("I have saved it"))
    page = browser.get(page.link("Remove the secret"))
    page = browser.send(page, "/remove-secret")
    assert "The secret was removed." in page.text
    assert "Remove the secret" not in page.links()
    assert secrets_of(app, the_endpoint(app)) == []


@pytest.mark.slow
def test_a_secret_that_is_needed_cannot_be_removed(app: Flask, browser: Browser) -> None:
    endpoint = add_endpoint(app)
    assert "Remove the secret" not in browser.get(f"/endpoints/{endpoint.id}").links()
    form = browser.get(f"/endpoints/{endpoint.id}/remove-secret")
    page = browser.send(form, "/remove-secret", {}, 422)
    assert "needs a secret" in page.text
    assert len(secrets_of(app, the_endpoint(app))) == 1


def test_an_overlap_that_is_over_is_said(app: Flask, browser: Browser) -> None:
    endpoint = add_endpoint(app)
    page = browser.get(f"/endpoints/{endpoint.id}/end-overlap")
    assert "There is no older secret left." in page.text
    page = browser.send(page, "/end-overlap")
    assert "nothing was changed" in page.text


def test_rotation_says_how_the_format_signs_meanwhile(app: Flask, browser: Browser) -> None:
    both = add_endpoint(app)
    one = add_endpoint(app, format="authforge")
    assert "signed with both" in browser.get(f"/endpoints/{both.id}/rotate").text
    page = browser.get(f"/endpoints/{one.id}/rotate")
    assert "only supports one signature" in page.text
    assert not page.all("input", name="signing")


# -- pace ---------------------------------------------------------------------------------------------


def test_pace_is_set_shown_and_taken_back(app: Flask, browser: Browser) -> None:
    add(browser, 200, rate_limit="2.5", timeout="1.5", ordered="y", paused="y")
    endpoint = the_endpoint(app)
    assert (endpoint.rate_limit, endpoint.timeout, endpoint.ordered) == (2.5, 1.5, True)
    assert endpoint.state == "paused"
    page = browser.get(f"/endpoints/{endpoint.id}")
    assert "2.5 a second" in page.text
    assert "1.5 s" in page.text
    assert "One at a time" in page.text
    edit(browser, endpoint)
    assert [item.action for item in activity(app)] == ["endpoint.created"]
    edit(browser, endpoint, rate_limit="", timeout="", ordered=None)
    endpoint = the_endpoint(app)
    assert (endpoint.rate_limit, endpoint.timeout, endpoint.ordered) == (None, None, False)


# -- tests --------------------------------------------------------------------------------------------


def test_the_sample_is_that_of_the_format(app: Flask, browser: Browser) -> None:
    endpoint = add_endpoint(app, format="authforge")
    page = browser.get(f"/endpoints/{endpoint.id}/test")
    [chosen] = page.one("select", id="wh-event_type").all("option", selected="")
    assert chosen.text == "license.validated"
    sample = json.loads(page.one("textarea", id="wh-sample").raw_text)
    assert sample == state_of(app).catalog["license.validated"].example


def test_an_event_type_that_does_not_exist_has_no_sample(app: Flask, browser: Browser) -> None:
    endpoint = add_endpoint(app)
    page = browser.get(f"/endpoints/{endpoint.id}/test?event_type=no.such", 404)
    assert "There is no event type" in page.text
