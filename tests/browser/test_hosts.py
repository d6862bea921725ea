"""The pages inside of hosts with a policy, a prefix and a layout of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.hosts.test_applications import waitress
from tests.support.helpers import add_delivery, add_endpoint, update
from tests.support.hosts import Host, running
from tests.support.pages import World, populate
from tests.support.receiver import Receiver

from .chromium import Watched, served, violations
from .conftest import apart

LAYOUT = """<!doctype html>
<html lang="en">
<head><title>{% block title %}{% endblock %}</title><meta name="viewport" content="width=device-width"></head>
<body><header><p>Licences</p></header><main>{% block content %}{% endblock %}</main></body>
</html>"""


@contextmanager
def opened(
    chromium: Browser, name: str, folder: Path, redis_url: str, **settings: object
) -> Iterator[tuple[Host, Watched]]:
    """An application of the docs in the browser, with HTTPS; nothing forbidden may have happened in the end."""
    with ExitStack() as stack:
        host = apart(stack.enter_context, running(name, folder, redis_url, **settings))
        origin = stack.enter_context(served(host.app, https=True))
        context = chromium.new_context(ignore_https_errors=True)
        watched = Watched(context.new_page(), origin)
        try:
            yield host, watched
        finally:
            context.close()
        assert watched.faults == []


def work(watched: Watched) -> None:
    """What needs the script, the style sheet and the token of a form."""
    page = watched.open("/endpoints/new")
    page.fill("#wh-url", "https://shop.example/webhooks")
    page.fill("#wh-name", "Shop")
    page.click(".wh form button:has-text('Add webhook')")
    page.wait_for_selector("#wh-secret")
    # The script has run.
    expect(page.get_by_role("button", name="Copy").first).to_be_visible()
    page.click("text=I have saved it")
    # The style sheet was taken.
    button = page.get_by_role("link", name="Send test event")
    assert button.evaluate("item => getComputedStyle(item).borderTopLeftRadius") != "0px"
    button.click()
    page.click(".wh form button:has-text('Send test event')")
    with page.expect_request(
        lambda request: request.headers.get("flask-webhooks-fragment") == "live", timeout=30_000
    ):
        pass
    page.get_by_role("link", name="Shop").click()
    page.get_by_role("link", name="Delete").click()
    dialog = page.get_by_role("dialog", name="Delete webhook")
    expect(dialog).to_be_visible()
    dialog.get_by_role("button", name="Delete webhook").click()
    expect(page.get_by_text("The webhook was deleted.")).to_be_visible()


def look_at_everything(watched: Watched, world: World) -> None:
    # These hosts have no portal.
    for path in (path for path in world.paths() if not path.startswith("/portal-links")):
        response = watched.page.goto(f"{watched.origin}/webhooks{path}")
        assert response is not None
        assert response.status == 200, path
        assert "'unsafe" not in (response.header_value("content-security-policy") or "'unsafe")


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", ["talisman.py", "nonces.py"])
@pytest.mark.parametrize("layout", [None, "base.html"])
def test_strict_policies_of_flask_talisman_are_never_violated(
    chromium: Browser,
    tmp_path: Path,
    redis_url: str,
    receiver: Receiver,
    name: str,
    layout: str | None,
) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/base.html").write_text(LAYOUT)
    with opened(chromium, name, tmp_path, redis_url, WEBHOOKS_BASE_TEMPLATE=layout) as (
        host,
        watched,
    ):
        world = apart(populate, host.app, receiver)
        work(watched)
        look_at_everything(watched, world)
        assert (watched.page.query_selector("header >> text=Licences") is not None) == bool(layout)


def test_a_violation_would_be_noticed(chromium: Browser, tmp_path: Path, redis_url: str) -> None:
    def violate() -> None:
        with opened(chromium, "nonces.py", tmp_path, redis_url) as (_, watched):
            page = watched.open("/")
            with page.expect_event("console"):
                page.evaluate("document.body.setAttribute('style', 'color: red')")

    with pytest.raises(AssertionError, match="Content Security Policy"):
        violate()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_pages_in_the_layout_of_the_host_are_accessible(
    chromium: Browser, tmp_path: Path, redis_url: str, receiver: Receiver
) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/base.html").write_text(LAYOUT)
    settings = {"WEBHOOKS_BASE_TEMPLATE": "base.html"}
    with opened(chromium, "nonces.py", tmp_path, redis_url, **settings) as (host, watched):
        world = apart(populate, host.app, receiver)
        found = []
        for path in ("/", f"/endpoints/{world.endpoints['good']}", "/endpoints/new", "/health"):
            watched.open(path)
            found += violations(watched)
        assert found == []


#: With everything that our script looks for in pages, before ours.
BUSY = """<!doctype html>
<html lang="en">
<head><title>{% block title %}{% endblock %}</title></head>
<body>
  <header>
    <h1>Submitting changes</h1>
    <form method="post" action="/own" id="own" data-wh-asks><input name="own" data-wh-focus><button>Send</button></form>
    <div id="wh-types"><fieldset>Not ours</fieldset></div>
    <p id="wh-secret">not ours</p>
    <p id="wh-part-state" data-wh-part>not ours</p>
    <a href="/own" data-wh-dialog>Own</a>
    <button data-wh-copy="own" hidden>Not ours</button>
  </header>
  <main>{% block content %}{% endblock %}</main>
</body>
</html>"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_script_looks_for_nothing_outside_of_the_pages(
    chromium: Browser, tmp_path: Path, redis_url: str
) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/base.html").write_text(BUSY)
    settings = {"WEBHOOKS_BASE_TEMPLATE": "base.html"}
    with opened(chromium, "nonces.py", tmp_path, redis_url, **settings) as (host, watched):
        endpoint = apart(add_endpoint, host.app)
        delivery = apart(add_delivery, host.app, endpoint)
        page = watched.open("/endpoints/new")
        assert page.evaluate("document.activeElement.name") != "own"
        assert page.is_hidden("header button[data-wh-copy]")
        page = watched.open("/event-types")
        page.fill("#wh-find", "banned")
        expect(page.get_by_text("license.created")).to_be_hidden()
        assert page.is_visible("header fieldset")
        # A dialog has the title and the form of our page.
        page = watched.open(f"/endpoints/{endpoint.id}")
        page.get_by_role("link", name="Delete", exact=True).click()
        dialog = page.get_by_role("dialog", name="Delete webhook")
        expect(dialog).to_be_visible()
        assert dialog.get_by_role("button", name="Delete webhook").is_visible()
        # What refreshes itself is ours, too.
        page = watched.open(f"/deliveries/{delivery}")
        update(host.app, "Delivery", delivery, state="succeeded", due_at=None)
        expect(page.locator("main #wh-part-state")).to_contain_text("Succeeded", timeout=30_000)
        assert page.inner_text("header #wh-part-state") == "not ours"
        # Links and forms of the host's are the host's.
        page.evaluate("""document.getElementById("own").addEventListener(
            "submit", (event) => { event.preventDefault(); window.sent = (window.sent ?? 0) + 1; })""")
        for _ in range(2):
            page.click("header form button")
        assert page.evaluate("window.sent") == 2
        with page.expect_navigation():
            page.click("header a")
        assert page.url.endswith("/own")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_script_works_below_a_prefix_of_the_server(
    chromium: Browser, tmp_path: Path, redis_url: str
) -> None:
    with running("proxied.py", tmp_path, redis_url) as host, waitress(host.app, "/shop") as origin:
        context = chromium.new_context()
        watched = Watched(context.new_page(), f"{origin}/shop")
        work(watched)
        assert watched.page.url == f"{origin}/shop/webhooks/"
        assert watched.faults == []
        context.close()
