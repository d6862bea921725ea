"""A portal link in a frame of the host's application, which is another site."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page

from tests.support.delivering import webhooks_of
from tests.support.helpers import add_endpoint, close
from tests.support.pages import make_app

from .chromium import find_chromium, served
from .conftest import apart

#: Of what browsers without third-party cookies have: only partitioned ones are kept in frames of another site.
NO_THIRD_PARTY_COOKIES = "--test-third-party-cookie-phaseout"


@contextmanager
def framed(browser: Browser, redis_url: str, database: Path, *, allowed: bool) -> Iterator[Page]:
    """A page of one site with a frame of another, in which a portal link is opened."""
    outer = Flask("outer")
    links: list[str] = []

    @outer.get("/")
    def page() -> str:
        frame = f'<iframe name="portal" width="900" height="700" src="{links[-1]}"></iframe>'
        return f"<!doctype html><title>x</title>{frame}"

    with served(outer, https=True) as origin:
        site = origin.replace("127.0.0.1", "localhost")
        app = make_app(
            f"sqlite:///{database}",
            redis_url,
            WEBHOOKS_PORTAL_PREFIX="/portal",
            WEBHOOKS_PORTAL_FRAME_ANCESTORS=[site] if allowed else [],
        )
        with served(app, https=True) as inner:

            def make() -> None:
                add_endpoint(app, tenant="app_1", name="Shop")
                with app.test_request_context("/", base_url=inner):
                    link = webhooks_of(app).portal_link(
                        "app_1", actor="mira", actions=["view", "manage"]
                    )
                    links.append(link)

            apart(make)
            context = browser.new_context(ignore_https_errors=True)
            opened = context.new_page()
            opened.goto(f"{site}/")
            yield opened
            context.close()
        close(app)


@pytest.fixture
def strict(chromium: Browser) -> Iterator[Browser]:
    """A browser that keeps no cookies of third parties."""
    browser = chromium.browser_type.launch(
        executable_path=find_chromium(),
        args=["--no-sandbox", "--disable-dev-shm-usage", NO_THIRD_PARTY_COOKIES],
    )
    yield browser
    browser.close()


@pytest.mark.slow
def test_link_works_in_a_frame_that_is_allowed(
    strict: Browser, redis_url: str, tmp_path: Path
) -> None:
    with framed(strict, redis_url, tmp_path / "x.sqlite", allowed=True) as page:
        portal = page.frame_locator("iframe")
        portal.get_by_role("link", name="Shop").first.click()
        portal.get_by_role("link", name="Edit").click()
        portal.locator("#wh-name").fill("Shop in Rome")
        portal.get_by_role("button", name="Save changes").click()
        portal.get_by_text("The changes were saved.").wait_for()
        assert portal.locator("h1").inner_text() == "Shop in Rome"
        [cookie] = page.context.cookies()
        assert (cookie["sameSite"], cookie["secure"]) == ("None", True)


@pytest.mark.slow
def test_frame_that_is_not_allowed_shows_nothing(
    strict: Browser, redis_url: str, tmp_path: Path
) -> None:
    with framed(strict, redis_url, tmp_path / "x.sqlite", allowed=False) as page:
        frame = page.frame("portal")
        assert frame is not None
        assert frame.url.startswith("chrome-error:")
        assert "Shop" not in frame.content()
