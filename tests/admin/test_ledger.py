"""The page of a ledger: each number with its event and what became of it, the highest first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from flask_webhooks.admin import ledger_views
from tests.support.helpers import add_delivery, add_endpoint, close, update
from tests.support.pages import Browser, make_app


@pytest.fixture
def app(tmp_path: Path, redis_url: str) -> Iterator[Flask]:
    app = make_app(f"sqlite:///{tmp_path / 'database.sqlite'}", redis_url)
    yield app
    close(app)


def numbers(browser: Browser, path: str) -> list[str]:
    return [" ".join(row.text.split()) for row in browser.get(path).one("tbody").all("tr")]


def test_numbers_are_listed_from_the_highest(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_views, "_LISTED", 2)
    endpoint = add_endpoint(app)
    for number, state in ((1, "succeeded"), (2, "failed"), (4, "succeeded")):
        add_delivery(app, endpoint, state, sequence=number, attempt_count=1)
    update(app, "EndpointHealth", endpoint.id, last_sequence=4)
    browser, path = Browser(app), f"/endpoints/{endpoint.id}/ledger"
    fourth, third = numbers(browser, path)
    assert fourth.startswith("4 license.created Succeeded 1")
    assert "Removed: older than deliveries are kept" in third
    page = browser.get(path)
    assert page.link("Older").endswith("?to=2")
    assert "Newest" not in page.text
    second, first = numbers(browser, page.link("Older"))
    assert second.startswith("2 license.created Failed 1")
    assert first.startswith("1 license.created Succeeded 1")
    last = browser.get(f"{path}?to=2")
    assert last.link("Newest").endswith("/ledger")
    assert ">Older<" not in last.text
    assert numbers(browser, f"{path}?to=999999") == [fourth, third]
    assert browser.get(f"/endpoints/{endpoint.id}").link("Ledger").endswith("/ledger")


def test_endpoint_without_numbers_says_so(app: Flask) -> None:
    endpoint = add_endpoint(app)
    assert (
        "No number was given out yet." in Browser(app).get(f"/endpoints/{endpoint.id}/ledger").text
    )


@pytest.mark.parametrize("number", ["0", "-1", "x", "1.5", "٣"])
def test_what_is_no_number_is_refused(app: Flask, number: str) -> None:
    endpoint = add_endpoint(app)
    page = Browser(app).get(f"/endpoints/{endpoint.id}/ledger?to={number}", 422)
    assert "must be the number of a delivery" in page.text


def test_delivery_leads_to_its_number(app: Flask) -> None:
    endpoint = add_endpoint(app)
    delivery = add_delivery(app, endpoint, "succeeded", sequence=7)
    page = Browser(app).get(f"/deliveries/{delivery}")
    assert page.link("7").endswith(f"/endpoints/{endpoint.id}/ledger?to=7")
