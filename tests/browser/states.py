"""What no link leads to: pages that a form, a person, a fault or an empty database shows.

The tests look for faults in each of these states, and ``make screenshots`` draws them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import redis
import sqlalchemy as sa
from flask import Flask
from playwright.sync_api import Page
from rq import Worker
from rq.suspension import resume, suspend

from demo.services import RedisServer
from flask_webhooks.app_state import ALL_TENANTS, state_of
from flask_webhooks.bulk.runner import run_next
from flask_webhooks.columns import utc_now
from flask_webhooks.security.vault import Sealed
from tests.delivery.test_retention import add_settled
from tests.support.delivering import add_backlog, emit, webhooks_of
from tests.support.helpers import add_delivery, add_endpoint, update
from tests.support.pages import World

from .chromium import Watched
from .conftest import apart
from .customer_states import customer_states


def every_state(watched: Watched, app: Flask, world: World, server: RedisServer) -> Iterator[str]:
    """Put the browser into one state after another; gives the name of each.

    :param server: the application's Redis, which is out of order for a while.
    """
    yield from _answers_of_forms(watched, world)
    yield from menus_and_dialogs(watched, app, world)
    yield from _of_others(watched, app, world)
    yield from _faults(watched, app, world)
    yield from _banners(watched, app, server)
    yield from _pages_of_lists(watched, app, world)
    yield from _old_events(watched, app)
    yield from _filtered(watched, app, world)
    yield from customer_states(watched, app, world)
    yield from _erased(watched, app, world)


def _answers_of_forms(watched: Watched, world: World) -> Iterator[str]:
    good = f"/endpoints/{world.endpoints['good']}"

    def submit(page: Page, text: str) -> None:
        with page.expect_navigation():
            page.click(f".wh form[method=post] button:has-text('{text}')")

    page = watched.open("/endpoints/new")
    # The server is to say what is wrong, not the browser.
    page.eval_on_selector_all("form", "forms => forms.forEach(form => { form.noValidate = true; })")
    page.fill("#wh-url", "ftp://127.0.0.1/")
    page.fill("#wh-name", world.hostile)
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
    page.fill("#wh-url", "https://desk.example/in")
    page.check("#wh-filter_by-rows")
    page.fill("#wh-filter_rows-0-path", "license_id")
    page.fill("#wh-filter_rows-0-value", world.hostile)
    page.select_option("#wh-filter_rows-1-operator", "exists")
    page.fill("#wh-filter_rows-1-path", "gone")
    submit(page, "Try the filter")
    yield "a filter tried"
    page.fill("#wh-filter_rows-1-path", "a..b")
    submit(page, "More conditions")
    yield "a filter with more rows"
    submit(page, "Add webhook")
    yield "a filter refused"
    page.check("#wh-filter_by-json")
    page.fill("#wh-filter_json", "{")
    submit(page, "Try the filter")
    yield "a filter in JSON refused"
    page = watched.open("/endpoints/new")
    page.fill("#wh-url", "https://shop.example/webhooks")
    page.fill("#wh-name", world.hostile)
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
    page.fill("#wh-headers", f"webhook-signature: v1,{world.hostile}\nwebhook-id: {world.hostile}")
    page.fill("#wh-body", world.hostile)
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
    page = watched.open("/tokens/new")
    page.eval_on_selector_all("form", "forms => forms.forEach(form => { form.noValidate = true; })")
    page.uncheck("#wh-action-view")
    submit(page, "Create token")
    yield "a token refused"
    page.fill("#wh-name", world.hostile)
    page.check("#wh-action-view")
    submit(page, "Create token")
    yield "a new token"


def menus_and_dialogs(watched: Watched, app: Flask, world: World) -> Iterator[str]:
    def prepare() -> str:
        paused = add_endpoint(app, name="paused", active=False)
        add_delivery(app, paused, "held")
        return paused.id

    page = watched.open("/")
    page.click(".wh-more >> nth=0")
    page.wait_for_selector(".wh-menu:popover-open")
    yield "a menu"
    signed = apart(lambda: add_endpoint(app, name="signed", format="aureva").id)
    good, paused = world.endpoints["good"], apart(prepare)
    for path, name in (
        ("/", "Add webhook"),
        (f"/endpoints/{good}", "Pause"),
        (f"/endpoints/{good}", "Delete"),
        (f"/endpoints/{good}", "Switch now"),
        (f"/endpoints/{good}", "Recover failed…"),
        (f"/endpoints/{good}", "Replay missed…"),
        (f"/endpoints/{paused}", "Resume"),
        (f"/endpoints/{signed}", "Remove the secret"),
        ("/deliveries?state=pending", "Resend all that match…"),
        ("/deliveries?state=pending", "Cancel all that match…"),
        ("/", "Delete all"),
    ):
        page = watched.open(path)
        page.get_by_role("link", name=name, exact=True).first.click()
        page.wait_for_selector("dialog")
        if name == "Resume":
            assert page.is_visible("dialog >> text=1 delivery was held meanwhile.")
        yield f"the dialog {name}"


def _read_only(world: World) -> list[str]:
    """Every page of somebody who may only look."""
    return [
        "/",
        "/overview",
        *(f"/endpoints/{world.endpoints[name]}" for name in ("refusing", "paused", "disabled")),
        "/deliveries",
        "/deliveries?state=failed",
        f"/deliveries/{world.deliveries['attempt succeeded']}",
        f"/deliveries/{world.deliveries['pending']}",
        "/events",
        f"/events/{world.events['emitted']}",
        "/event-types",
        "/event-types/license.created",
        "/activity",
        "/health",
        "/tasks",
        f"/tasks/{world.tasks['running']}",
    ]


def _of_others(watched: Watched, app: Flask, world: World) -> Iterator[str]:
    webhooks = webhooks_of(app)
    hooks = webhooks.hooks
    everything = hooks.authorize
    hooks.authorize = lambda action, endpoint: action == "view"
    for path in _read_only(world):
        page = watched.open(path)
        assert not page.locator("form[method=post]").count(), path
        yield f"read-only {path}"
    watched.open("/endpoints/new")
    yield "not allowed"
    hooks.authorize = None
    watched.open("/")
    yield "nobody was let in"
    hooks.authorize = everything
    hooks.current_tenant = lambda: "app_1"
    for path in ("/", "/overview", "/deliveries", "/events", "/activity", "/health", "/tasks"):
        watched.open(path)
        yield f"nothing yet {path}"

    def fill() -> None:
        for number in range(20):
            endpoint = add_endpoint(app, tenant="app_1", name=str(number))
        add_delivery(app, endpoint, due_at=datetime.now(UTC) - timedelta(hours=1))

    apart(fill)
    page = watched.open("/")
    assert page.is_visible("text=All of your 20 webhooks are in use.")
    assert page.is_visible("text=Deliveries are delayed.")
    yield "at the limit, and deliveries are delayed"
    hooks.current_tenant = lambda: ALL_TENANTS
    page = watched.open("/?tenant=app_1")
    assert page.is_visible("text=app_1 has reached its limit of 20 webhooks.")
    yield "a tenant at the limit"


def _faults(watched: Watched, app: Flask, world: World) -> Iterator[str]:
    good = world.endpoints["good"]
    watched.open("/endpoints/nothing")
    yield "not found"
    watched.open("/deliveries?state=odd")
    yield "Invalid request"
    page = watched.open(f"/deliveries/{world.deliveries['pending']}")
    page.context.clear_cookies()
    with page.expect_navigation():
        page.click("#wh-cancel")
    yield "out of date"
    page = watched.open(f"/deliveries/{world.deliveries['pending']}")
    update(app, "Delivery", world.deliveries["pending"], state="succeeded", due_at=None)
    with page.expect_navigation():
        page.click("#wh-cancel")
    assert page.inner_text("h1") == "Not possible now"
    yield "Not possible"
    page = watched.open(f"/deliveries/{world.deliveries['failed']}")
    with _writing(app):
        with page.expect_navigation():
            page.click("#wh-resend")
        assert page.inner_text("h1") == "Something went wrong"
        yield "not now"
    watched.open(f"/endpoints/{good}")
    broken = Sealed("of another key")
    update(app, "Endpoint", good, headers_sealed=broken, secrets_sealed=broken)
    page = watched.open(f"/endpoints/{good}")
    assert page.is_visible("text=Nothing can be sent.")
    yield "a webhook that cannot be read"
    watched.open(f"/endpoints/{good}/edit")
    yield "the settings of a webhook that cannot be read"


@contextmanager
def _writing(app: Flask) -> Iterator[None]:
    """Somebody else writes to the database, and does not stop."""
    path = state_of(app).engine.url.database
    assert path is not None
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    yield
    connection.close()


def _banners(watched: Watched, app: Flask, server: RedisServer) -> Iterator[str]:
    def late() -> None:
        endpoint = add_endpoint(app, "https://late.example/", name="late")
        add_delivery(app, endpoint, due_at=datetime.now(UTC) - timedelta(hours=1))

    apart(late)
    page = watched.open("/")
    assert page.is_visible("text=No worker is running.")
    yield "nobody delivers"

    def give_a_sign() -> None:
        values = {"name": "w", "kind": "worker", "host": "h", "pid": 1}
        with state_of(app).engine.begin() as connection:
            connection.execute(
                sa.insert(state_of(app).table("Heartbeat")).values(
                    **values, started_at=utc_now(), seen_at=utc_now()
                )
            )

    apart(give_a_sign)
    page = watched.open("/")
    assert page.is_visible("text=Deliveries are late.")
    yield "deliveries are late"
    yield from _banners_of_redis(watched, app, server)


def _banners_of_redis(watched: Watched, app: Flask, server: RedisServer) -> Iterator[str]:
    with redis.Redis.from_url(server.url) as client:
        worker: Any = Worker([state_of(app).settings.queue], name="plain", connection=client)
        worker.register_birth()
        _open_until(watched, "No scheduler is running.")
        yield "no scheduler"
        suspend(client)
        _open_until(watched, "The queue is suspended.")
        yield "the queue is suspended"
        server.pause()
        try:
            _open_until(watched, "Redis does not respond.")
            yield "Redis does not respond"
            watched.open("/health")
            yield "the health page without Redis"
        finally:
            server.resume()
        resume(client)
        worker.register_death()


def _open_until(watched: Watched, banner: str) -> None:
    """What Redis says is asked for every few seconds only."""
    for _ in range(50):
        if watched.open("/").is_visible(f"text={banner}"):
            return
        watched.page.wait_for_timeout(500)
    raise AssertionError(f"no banner {banner!r}")


def _pages_of_lists(watched: Watched, app: Flask, world: World) -> Iterator[str]:
    apart(
        lambda: add_backlog(app, world.endpoints["refusing"], 120, state="cancelled", due_at=None)
    )
    for path in ("/deliveries", "/events"):
        page = watched.open(path)
        assert page.is_visible("nav[aria-label=Pages]")
        yield f"the first page of {path}"
        page.click("text=Older")
        page.wait_for_url("**before=*")
        assert page.is_visible("text=Newest")
        assert page.is_visible("text=Older")
        yield f"the second page of {path}"
    watched.open("/deliveries?before=dlv_0")
    yield "past the last page"


def _old_events(watched: Watched, app: Flask) -> Iterator[str]:
    """Their removal: counted, waiting, amid it, stopped."""
    apart(lambda: add_settled(app, add_endpoint(app).id, 3, age=timedelta(days=40)))
    page = watched.open("/health")
    page.get_by_role("link", name="Remove old events…").click()
    page.wait_for_selector("dialog")
    assert page.is_visible("dialog >> text=3 events")
    yield "the dialog Remove old events"
    page.click("dialog button:has-text('Remove them')")
    page.wait_for_url("**/tasks/task_*")
    yield "the removal of old events waits"
    task_id = page.url.rpartition("/")[2]
    update(app, "Task", task_id, state="running", total=3, done=1)
    page.reload()
    assert page.is_visible("text=1 of 3 events")
    yield "the removal of old events runs"
    with page.expect_navigation():
        page.click("button:has-text('Stop')")
    yield "the removal of old events was stopped"
    page = watched.open("/health")
    assert page.is_visible("text=The removal of old events was stopped")
    yield "old events stay for a day"


def _filtered(watched: Watched, app: Flask, world: World) -> Iterator[str]:
    """An event that a filter did not let through, and the page of the endpoint."""

    def narrow() -> tuple[str, str]:
        either = [{"data": {"license_id": world.hostile + "x" * 200}}, {"data": {"gone": 1}}]
        url = "https://narrow.example/in"
        endpoint = add_endpoint(app, url, name=world.hostile, filter={"$or": either})
        [event] = emit(app, data={"license_id": world.hostile})
        update(app, "Event", event, created_at=datetime.now(UTC) + timedelta(seconds=1))
        return endpoint.id, event

    def in_context() -> tuple[str, str]:
        with app.app_context():
            return narrow()

    endpoint_id, event = apart(in_context)
    page = watched.open(f"/events/{event}?webhook=narrow.example")
    assert page.is_visible("text=One of these would have been enough:")
    yield "a filtered event"
    watched.open(f"/endpoints/{endpoint_id}")
    yield "a webhook with a filter"
    watched.open(f"/endpoints/{endpoint_id}/edit")
    yield "the settings of a webhook with a filter"


def _erased(watched: Watched, app: Flask, world: World) -> Iterator[str]:
    """A person's data: asked for, counted, waiting, and gone."""
    page = watched.open("/health")
    page.get_by_role("link", name="Erase the data of a person…").click()
    page.wait_for_url("**/erase")

    def count(where: str) -> None:
        page.fill("#wh-where", where)
        with page.expect_navigation():
            page.click("button:has-text('Count them')")

    count("license_id")
    assert page.is_visible("text=Nothing has been changed yet.")
    yield "an erasure refused"
    count("license_id=nobody's")
    assert page.is_visible("text=There is nothing to do")
    yield "an erasure of nothing"
    watched.open("/erase")
    count(f"license_id={world.hostile}")
    assert page.is_visible("text=license_id")
    yield "an erasure counted"
    with page.expect_navigation():
        page.click("button:has-text('Erase it')")
    assert page.is_visible("text=with the digest")
    yield "an erasure waits"
    apart(lambda: list(iter(lambda: run_next(state_of(app), lambda: False), False)))
    page.reload()
    assert page.is_visible("text=The data was erased, including")
    yield "an erasure is over"
    watched.open(f"/events/{world.events['emitted']}")
    assert page.is_visible("text=The data was erased.")
    yield "an erased event"
    watched.open(f"/deliveries/{world.deliveries['attempt succeeded']}")
    yield "a delivery of an erased event"
