"""Filters of the lists, in the words of what they list, and by tenants that there may not be."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from flask_webhooks import actions, queries
from flask_webhooks.admin.wording import delivery_status
from flask_webhooks.models import DeliveryState, Trigger
from tests.support.delivering import webhooks_of
from tests.support.helpers import accessing, add_endpoint, close
from tests.support.pages import Browser, make_app


@pytest.fixture
def app(tmp_path: Path, redis_url: str) -> Iterator[Flask]:
    app = make_app(f"sqlite:///{tmp_path / 'database.sqlite'}", redis_url)
    with app.app_context():
        yield app
    close(app)


def words_of_filter(browser: Browser) -> list[str]:
    return [
        option.text for option in browser.get("/deliveries").one(id="wh-filter-state").all("option")
    ]


def test_status_filter_has_every_word_that_rows_have(app: Flask) -> None:
    offered = " ".join(words_of_filter(Browser(app))).lower()
    rows = {
        delivery_status(state, attempts, trigger).word
        for state in DeliveryState
        for attempts in (0, 3)
        for trigger in Trigger
    }
    assert {"Queued", "Retrying"} <= rows
    assert [word for word in rows if word.lower() not in offered] == []


def test_hint_of_the_form_is_true_for_every_format(app: Flask) -> None:
    browser = Browser(app)
    hint = browser.get("/endpoints/new").one(id="wh-url-hint").text
    assert hint.startswith("Ensure your endpoint can verify signatures")
    assert "chats" in hint
    signed = add_endpoint(app).id
    unsigned = add_endpoint(app, format="aureva", secret=False).id
    assert browser.get(f"/endpoints/{signed}/edit").one(id="wh-url-hint").text == (
        "Ensure your endpoint can verify signatures."
    )
    assert browser.get(f"/endpoints/{unsigned}/edit").all(id="wh-url-hint") == []


@pytest.fixture
def named(app: Flask) -> Flask:
    webhooks_of(app).tenant_name(lambda tenant: {"app_1": "Acme Ltd"}.get(tenant, tenant))
    add_endpoint(app, tenant="app_1")
    return app


@pytest.mark.parametrize("path", ["/", "/events", "/activity"])
def test_page_says_when_nothing_is_known_of_a_tenant(named: Flask, path: str) -> None:
    browser = Browser(named)
    page = browser.get(f"{path}?tenant=acme ltd")
    assert "of 5 used" not in page.text
    assert "has no webhooks" not in page.text
    assert "No webhook, event or delivery belongs to a tenant with the id “acme ltd”." in page.text
    assert page.link("app_1").endswith("?tenant=app_1")
    page = browser.get(f"{path}?tenant=nonsense\x07")
    assert "No webhook, event or delivery belongs to a tenant" in page.text
    assert "app_1" not in page.links()
    page = browser.get(f"{path}?tenant=app_1")
    assert "belongs to a tenant with the id" not in page.text


def test_quota_is_that_of_a_tenant_of_which_something_is_known(named: Flask) -> None:
    browser = Browser(named)
    assert "1 of 5 used" in browser.get("/?tenant=app_1").text
    # Its only webhook was deleted.
    [row] = queries.list_endpoints(accessing(named))
    actions.delete_endpoint(accessing(named), row.endpoint.id)
    assert "0 of 5 used" in browser.get("/?tenant=app_1").text


def test_function_for_names_that_fails_spoils_no_page(named: Flask) -> None:
    webhooks_of(named).tenant_name(lambda tenant: str(1 / 0))
    assert "belongs to a tenant with the id" in Browser(named).get("/?tenant=acme").text


@pytest.mark.slow
def test_slow_function_for_names_is_asked_for_a_bounded_time(app: Flask) -> None:
    asked: list[str] = []

    def slow(tenant: str) -> str:
        asked.append(tenant)
        time.sleep(0.1)
        return f"{tenant} Ltd"

    ids = [f"app_{number:02}" for number in range(30)]
    for tenant in [*ids, *ids]:
        add_endpoint(app, tenant=tenant)
    webhooks_of(app).tenant_name(slow)
    page = Browser(app).get("/?tenant=app_29 ltd")
    assert page.link("app_29")
    page = Browser(app).get("/?tenant=app_00 ltd")
    assert "app_00" not in page.links()
    assert max(Counter(asked).values()) == 2
    # A person who looks after all of these chooses one of them by name, or by id.
    webhooks_of(app).current_tenant(lambda: ids)
    options = Browser(app).get("/").one("select", name="tenant").all("option")
    assert [option.attributes["value"] for option in options] == ["", *ids]
    assert [option.text for option in options][1] == "app_00 Ltd"
    assert [option.text for option in options][-1] == "app_29"
    assert len(asked) < 20


@pytest.mark.parametrize("tenant", ["Acme Ltd", "app_2"])
def test_commands_say_that_a_name_stands_where_the_id_belongs(
    named: Flask, tmp_path: Path, tenant: str
) -> None:
    file = tmp_path / "export.json"
    file.write_text('[{"url": "https://example.com/2"}]')
    for arguments in (
        ["import", str(file), "--dry-run"],
        ["endpoints", "add", "https://example.com/"],
    ):
        result = named.test_cli_runner().invoke(args=["webhooks", *arguments, "--tenant", tenant])
        assert result.exit_code == 0, result.output
        expected = (
            "Note: --tenant expects an id, and no webhook or event belongs to 'Acme Ltd'. A tenant of this name has "
            "the id app_1.\n"
        )
        assert result.stderr == (expected if tenant == "Acme Ltd" else "")
