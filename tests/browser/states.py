"""What no link leads to: pages that a form, a person, a fault or an empty database shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from flask import Flask
from playwright.sync_api import Page

from flask_webhooks.state import ALL_TENANTS
from tests.delivering import webhooks_of
from tests.helpers import add_delivery, add_endpoint
from tests.pages import HOSTILE, World

from .chromium import Watched
from .conftest import apart


def every_state(watched: Watched, app: Flask, world: World) -> Iterator[str]:
    """Put the browser into one state after another; gives the name of each."""
    yield from _answers_of_forms(watched, world)
    yield from _menus_and_dialogs(watched, world)
    yield from _of_others(watched, app, world)
    yield from _faults(watched, app, world)
    yield from _banners(watched, app, world)


def _answers_of_forms(watched: Watched, world: World) -> Iterator[str]:
    good = f"/endpoints/{world.endpoints['good']}"

    def submit(page: Page, text: str) -> None:
        with page.expect_navigation():
            page.click(f".wh form[method=post] button:has-text('{text}')")

    page = watched.open("/endpoints/new")
    # The server is to say what is wrong, not the browser.
    page.eval_on_selector_all("form", "forms => forms.forEach(form => { form.noValidate = true; })")
    page.fill("#wh-url", "ftp://127.0.0.1/")
    page.fill("#wh-name", HOSTILE)
    page.fill("#wh-rate_limit", "many")
    page.fill("#wh-secret", "short")
    submit(page, "Add webhook")
    yield "a webhook refused"
    page = watched.open("/endpoints/new")
    page.fill("#wh-url", "https://desk.example/in")
    page.select_option("#wh-format", "custom")
    page.fill("#wh-template", '{"x": "{{ data.license_id }}"}')
    submit(page, "Preview")
    yield "a template previewed"
    page.fill("#wh-template", "{{ nothing")
    submit(page, "Preview")
    yield "a template refused"
    page = watched.open("/endpoints/new")
    page.fill("#wh-url", "https://shop.example/webhooks")
    page.fill("#wh-name", HOSTILE)
    submit(page, "Add webhook")
    yield "a secret shown"
    page.click("text=I have saved it")
    yield "a webhook that nothing was sent to"
    page = watched.open("/endpoints/new")
    page.fill("#wh-url", "https://keys.example/webhooks")
    page.check("#wh-signing-key_pair")
    submit(page, "Add webhook")
    yield "a public key shown"
    page.click("text=Go to the webhook")
    yield "a webhook with a key pair"
    page = watched.open(f"{good}/test")
    page.fill("#wh-sample", "{")
    submit(page, "Send test event")
    yield "a sample refused"
    page = watched.open(f"{good}/test")
    submit(page, "Send test event")
    yield "a notice"
    page = watched.open(f"{good}/debugger")
    page.fill("#wh-headers", f"webhook-signature: v1,{HOSTILE}\nwebhook-id: {HOSTILE}")
    page.fill("#wh-body", HOSTILE)
    submit(page, "Check the signature")
    yield "a signature checked"
    page = watched.open(f"{good}/rotate")
    page.fill("#wh-secret", "short")
    submit(page, "Rotate secret")
    yield "a rotation refused"
    page = watched.open(f"{good}/rotate")
    submit(page, "Rotate secret")
    yield "a new secret"
    watched.open(good)
    yield "an overlap"


def _menus_and_dialogs(watched: Watched, world: World) -> Iterator[str]:
    page = watched.open("/")
    page.click(".wh-more >> nth=0")
    page.wait_for_selector(".wh-menu:popover-open")
    yield "a menu"
    for name in ("Pause", "Delete"):
        page = watched.open(f"/endpoints/{world.endpoints['good']}")
        page.get_by_role("link", name=name, exact=True).click()
        page.wait_for_selector("dialog")
        yield f"the dialog {name}"
    page = watched.open("/")
    page.get_by_role("link", name="Delete all").click()
    page.wait_for_selector("dialog")
    yield "the dialog Delete all"


def _of_others(watched: Watched, app: Flask, world: World) -> Iterator[str]:
    webhooks = webhooks_of(app)
    hooks = webhooks.hooks
    everything = hooks.authorize
    hooks.authorize = lambda action, endpoint: action == "view"
    for path in (
        "/",
        f"/endpoints/{world.endpoints['refusing']}",
        f"/deliveries/{world.deliveries['attempt succeeded']}",
        "/health",
    ):
        watched.open(path)
        yield f"read-only {path}"
    watched.open("/endpoints/new")
    yield "not allowed"
    hooks.authorize = None
    watched.open("/")
    yield "nobody was let in"
    hooks.authorize = everything
    hooks.current_tenant = lambda: "app_1"
    for path in ("/", "/overview", "/deliveries", "/events", "/activity", "/health"):
        watched.open(path)
        yield f"nothing yet {path}"
    apart(lambda: [add_endpoint(app, tenant="app_1", name=str(n)) for n in range(20)])
    watched.open("/")
    yield "at the limit"
    hooks.current_tenant = lambda: ALL_TENANTS


def _faults(watched: Watched, app: Flask, world: World) -> Iterator[str]:
    watched.open("/endpoints/nothing")
    yield "not found"
    watched.open("/deliveries?state=odd")
    yield "not understood"
    page = watched.open(f"/deliveries/{world.deliveries['pending']}")
    page.context.clear_cookies()
    with page.expect_navigation():
        page.click("#wh-cancel")
    yield "out of date"


def _banners(watched: Watched, app: Flask, world: World) -> Iterator[str]:
    def late() -> None:
        endpoint = add_endpoint(app, "https://late.example/", name="late")
        add_delivery(app, endpoint, due_at=datetime.now(UTC) - timedelta(hours=1))

    apart(late)
    watched.open("/")
    yield "nobody delivers"


States = Callable[[Watched, Flask, World], Iterator[str]]
