"""Programs that pull events by the API, and wait for them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy as sa
from flask import Flask

from demo.services import PostgresServer
from flask_webhooks import actions
from flask_webhooks.app_state import state_of
from flask_webhooks.queries.cursors import Cursor, scope_digest
from tests.hosts.test_web_servers import GUNICORN, serve
from tests.support.api_calls import PREFIX, Api, make_app
from tests.support.delivering import db_of, emit
from tests.support.helpers import accessing, add_endpoint, close
from tests.support.processes import config_of

#: Connections to the database that do something, or hold a transaction open.
IN_TRANSACTION = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL "
    "AND pid <> pg_backend_pid()"
)
THREADED = {"environ_overrides": {"wsgi.multithread": True}}
DATA = {"license_id": "lic_1", "license_key": "AAAA-BBBB"}


@pytest.fixture
def app(database_url: str, redis_url: str) -> Iterator[Flask]:
    app = make_app(
        database_url, redis_url, WEBHOOKS_KEEP_UNMATCHED=True, WEBHOOKS_MAX_WAITING_PULLS=4
    )
    yield app
    close(app)


@pytest.fixture
def api(app: Flask) -> Api:
    return Api(app, **THREADED)


def emitted(app: Flask, **options: Any) -> list[str]:
    with app.app_context():
        return emit(app, **options)


def test_events_are_pulled_with_their_data(app: Flask, api: Api) -> None:
    [first, second] = [*emitted(app, data=DATA), *emitted(app, tenant="app_1")]
    page = api.get("/events", after="start", limit=1)
    [item] = page["items"]
    assert {**item, "timestamp": None} == {
        "id": first,
        "type": "license.created",
        "timestamp": None,
        "data": DATA,
        "tenant": None,
        "erased_at": None,
    }
    assert page["has_more"]
    page = api.get("/events", after=page["next_after"])
    assert [item["id"] for item in page["items"]] == [second]
    assert not page["has_more"]
    assert api.get("/events", after=page["next_after"])["items"] == []


def test_list_without_a_cursor_is_as_it_was(app: Flask, api: Api) -> None:
    [first, second] = [*emitted(app), *emitted(app)]
    assert [item["id"] for item in api.get("/events")["items"]] == [second, first]
    assert api.get("/events", 422, limit=201)["field"] == "limit"


def test_token_of_a_tenant_pulls_that_tenants(app: Flask) -> None:
    [mine], _ = emitted(app, tenant="app_1"), emitted(app, tenant="app_2")
    with app.app_context():
        tokens = [
            actions.create_token(accessing(app), "CI", may, tenant="app_1").secret
            for may in (["view", "view_payload"], ["view"])
        ]
    full, narrow = (Api(app, headers={"Authorization": f"Bearer {token}"}) for token in tokens)
    assert [item["id"] for item in full.get("/events", after="start")["items"]] == [mine]
    assert full.get("/events", 404, after="start", tenant="app_2")
    assert narrow.get("/events", 403, after="start")["code"] == "forbidden"


def test_endpoint_is_pulled_for_by_its_id(app: Flask, api: Api) -> None:
    with app.app_context():
        endpoint = add_endpoint(app, events=["license.*"])
    emitted(app, event_type="user.registered", data={"user_id": 1})
    [event] = emitted(app)
    page = api.get("/events", after="start", endpoint_id=endpoint.id)
    assert [item["id"] for item in page["items"]] == [event]
    assert api.get("/events", 404, after="start", endpoint_id="ep_none")["code"] == "not_found"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"after": "now"}, "after"),
        ({"after": "start", "wait": 31}, "wait"),
        ({"after": "start", "wait": "x"}, "wait"),
        ({"after": "start", "limit": 1001}, "limit"),
        ({"after": "start", "before": "evt_1"}, "before"),
        ({"after": "start", "id": "evt_1"}, "id"),
        ({"wait": 3}, "wait"),
    ],
)
def test_bad_requests_are_told_what_to_write(api: Api, query: dict[str, Any], field: str) -> None:
    assert api.get("/events", 422, **query)["field"] == field


def test_cursors_that_cannot_be_used_are_problems(app: Flask, api: Api) -> None:
    after = api.get("/events", after="start", tenant="app_1")["next_after"]
    problem = api.get("/events", 422, after=after, tenant="app_2")
    assert (problem["code"], problem["field"]) == ("invalid_cursor", "after")
    old = Cursor(1, "", 1_700_000_000, scope_digest(None, None)).text()
    problem = api.get("/events", 410, after=old)
    assert problem["code"] == "cursor_expired"
    assert "after=start" in problem["detail"]


# -- waiting ------------------------------------------------------------------------------------------


def test_wait_ends_when_there_is_an_event(app: Flask, api: Api) -> None:
    after = api.get("/events", after="start")["next_after"]
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(api.get, "/events", after=after, wait=30)
        time.sleep(0.5)
        assert not waiting.done()
        [event] = emitted(app)
        page = waiting.result(10)
    assert [item["id"] for item in page["items"]] == [event]


def test_wait_ends_with_its_time(api: Api) -> None:
    began = time.monotonic()
    assert api.get("/events", after="start", wait=1)["items"] == []
    assert 1 <= time.monotonic() - began < 5


@pytest.mark.slow
def test_request_that_waits_holds_no_connection(app: Flask, api: Api) -> None:
    @app.before_request
    def load_user() -> None:
        db_of(app).session.execute(db_of(app).text("SELECT 1"))

    with app.app_context():
        engine = state_of(app).engine
    api.document  # noqa: B018
    held = []
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(api.get, "/events", after="start", wait=3)
        time.sleep(0.3)
        while not waiting.done():
            held.append(engine.pool.checkedout())  # type: ignore[attr-defined]
            time.sleep(0.01)
        waiting.result()
    # But for the looks, a few milliseconds each.
    assert sum(held) < len(held) / 4


def test_nobody_waits_where_the_server_has_one_thread(app: Flask) -> None:
    began = time.monotonic()
    Api(app).get("/events", after="start", wait=30)
    assert time.monotonic() - began < 5


@pytest.mark.slow
def test_so_many_wait_at_once(app: Flask, api: Api) -> None:
    def wait(tenant: str) -> float:
        began = time.monotonic()
        Api(app, **THREADED).client.get(
            f"{PREFIX}/events?after=start&wait=3&tenant={tenant}", **THREADED
        )
        return time.monotonic() - began

    tenants = ["app_1"] * 3 + ["app_2"] * 3
    for tenant in set(tenants):
        emitted(app, tenant=tenant, event_type="user.registered", data={"user_id": 1})
    # They are known now, and what they were sent is gone.
    with app.app_context(), state_of(app).engine.begin() as connection:
        connection.execute(state_of(app).table("Event").delete())
    with ThreadPoolExecutor(6) as threads:
        took = list(threads.map(wait, tenants))
    for mine in (took[:3], took[3:]):
        assert sum(seconds >= 2.9 for seconds in mine) == 2


@pytest.mark.slow
def test_hundred_wait_on_one_worker_of_gunicorn_without_connections(
    postgres_server: PostgresServer, redis_url: str, tmp_path: Path
) -> None:
    app = make_app(
        postgres_server.create_database("waiting"),
        redis_url,
        WEBHOOKS_KEEP_UNMATCHED=True,
        WEBHOOKS_MAX_WAITING_PULLS=400,
    )
    with app.app_context():
        emit(app)
    with state_of(app).engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        threads = ["-k", "gthread", "--threads", "120", "--workers", "1"]
        command = [*GUNICORN, *threads, "host_to_serve:app"]
        with serve(command, config_of(app), tmp_path, "") as server:

            def pull(**query: Any) -> Any:
                return requests.get(f"{server.url}/api/events", query, timeout=60).json()

            after = pull(after="start")["next_after"]
            samples = []
            with ThreadPoolExecutor(100) as pool:
                began = time.monotonic()
                waiting = [pool.submit(pull, after=after, wait=30) for _ in range(100)]
                while time.monotonic() < began + 15:
                    time.sleep(0.1)
                    if time.monotonic() > began + 8:
                        samples.append(connection.scalar(sa.text(IN_TRANSACTION)))
                assert not any(item.done() for item in waiting)
                began = time.monotonic()
                pull(after=after)
                other = time.monotonic() - began
                server.emit()
                began = time.monotonic()
                pages = [item.result() for item in waiting]
                took = time.monotonic() - began
    close(app)
    postgres_server.drop_database("waiting")
    held = sum(samples) / len(samples)
    print(f"{held:.2f} transactions, another request in {other:.3f} s, all told in {took:.1f} s")
    assert {len(page["items"]) for page in pages} == {1}
    # If each held one there would be no less than the pool has: 15.
    assert held < 5
    assert took < 15
