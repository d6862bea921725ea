"""What customers get, once the whole way on MariaDB: each feature for a tenant of its own, in one database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask, request

from demo.services import RedisServer
from flask_webhooks import actions, queries
from flask_webhooks.app_state import state_of
from flask_webhooks.receiver import Ledger
from tests.support.api_calls import Api
from tests.support.delivering import (
    close,
    db_of,
    drain,
    emit,
    endpoint,
    make_app,
    models_of,
    webhooks_of,
)
from tests.support.helpers import accessing, add_endpoint, as_tenant
from tests.support.receiver import Receiver
from tests.support.serving import serving


@pytest.fixture(scope="module")
def database(mariadb_url: str, redis_server: RedisServer) -> Iterator[Flask]:
    """A host whose tables stay for all tests of this module."""
    redis_server.start()
    app = make_app(mariadb_url, redis_server.url, WEBHOOKS_KEEP_UNMATCHED=True)
    yield app
    with app.app_context():
        db_of(app).session.remove()
        state_of(app).models.metadata.drop_all(state_of(app).engine)
        close(app)


@pytest.fixture
def app(database: Flask) -> Iterator[Flask]:
    with database.app_context():
        yield database
        db_of(database).session.remove()
    webhooks_of(database).hooks.notify = None


def bodies(receiver: Receiver, path: str) -> list[Any]:
    return [json.loads(item.body) for item in receiver.requests if item.path == path]


def test_owner_is_told_once_that_deliveries_fail(app: Flask, receiver: Receiver) -> None:
    told: list[tuple[str, str]] = []

    @webhooks_of(app).notify
    def tell(incident: Any, target: Any, context: Any, text: Any) -> None:
        told.append((incident, target.contact))

    add_endpoint(
        app, receiver.url("/status/500"), tenant="told", contact="ops@example.com", ordered=False
    )
    emit(app, 6, tenant="told")
    for _ in range(3):
        drain(app)
    assert [contact for _, contact in told] == ["ops@example.com"]
    with state_of(app).engine.connect() as connection:
        table = models_of(app).table("Notification")
        assert connection.scalar(sa.select(sa.func.count()).select_from(table)) == 1


def test_portal_link_opens_its_tenant_until_it_is_revoked(
    app: Flask, mariadb_url: str, redis_server: RedisServer
) -> None:
    host = make_app(mariadb_url, redis_server.url, WEBHOOKS_PORTAL_PREFIX="/portal")
    mine = add_endpoint(app, tenant="visitor", name="Mine")
    other = add_endpoint(app, "https://other.example/", tenant="other")
    with host.test_request_context("/", base_url="https://licences.example"):
        url = webhooks_of(host).portal_link("visitor", actor="mira")
    client = host.test_client()
    assert client.get(url).status_code == 302

    def get(path: str) -> int:
        return client.get(f"/portal{path}", base_url="https://licences.example").status_code

    assert get(f"/endpoints/{mine.id}") == 200
    assert get(f"/endpoints/{other.id}") == 404
    [row] = queries.list_portal_links(accessing(host)).items
    actions.revoke_portal_link(accessing(host), row.link.id)
    assert get("/") == 403
    close(host)


def test_endpoint_goes_live_by_its_echo_or_its_test(
    app: Flask, mariadb_url: str, redis_server: RedisServer
) -> None:
    asking = make_app(mariadb_url, redis_server.url, WEBHOOKS_VERIFY_ENDPOINTS=True)
    echo = Flask("echo")

    @echo.post("/")
    def answer() -> str:
        return request.headers.get("webhook-challenge", "")

    with serving(echo) as url:
        verified = add_endpoint(asking, url, tenant="echo").id
        tried = add_endpoint(app, url, tenant="echo", test_first=True, name="tried").id
        emit(app, tenant="echo")
        assert {endpoint(app, id_).state for id_ in (verified, tried)} == {"unverified"}
        drain(asking)
        drain(asking)
    assert {endpoint(app, id_).state for id_ in (verified, tried)} == {"active"}
    found = queries.list_deliveries(as_tenant(app, "echo")).items
    assert sorted(item.delivery.event_type for item in found) == [
        "license.created",
        "license.created",
        "test",
        "webhook.challenge",
    ]
    assert {item.delivery.state for item in found} == {"succeeded"}
    close(asking)


def test_flood_is_coalesced_and_counted(app: Flask, receiver: Receiver) -> None:
    rule = {"license.validated": {"by": "data.license_key", "seconds": 60}}
    made = add_endpoint(app, receiver.url("/flood"), tenant="flood", coalesce=rule)
    for _ in range(2):
        emit(app, 3, "license.validated", tenant="flood")
        drain(app)
    assert len(bodies(receiver, "/flood")) == 1
    key = models_of(app).CoalescingKey
    with state_of(app).engine.begin() as connection:
        connection.execute(
            sa.update(key)
            .where(key.endpoint_id == made.id)
            .values(passed_at=datetime.now(UTC) - timedelta(minutes=2))
        )
    emit(app, 1, "license.validated", tenant="flood")
    drain(app)
    last = receiver.requests[-1]
    assert (last.path, last.headers["webhook-coalesced"]) == ("/flood", "5")


def test_scheduled_event_is_replaced_cancelled_and_delivered(
    app: Flask, receiver: Receiver
) -> None:
    webhooks, session = webhooks_of(app), db_of(app).session
    add_endpoint(app, receiver.url("/due"), tenant="due")

    def schedule(key: str, seconds: float) -> None:
        due = datetime.now(UTC) + timedelta(seconds=seconds)
        data = {"license_id": key, "seconds": seconds}
        webhooks.emit("license.created", data, tenant="due", deliver_at=due, key=key)

    schedule("kept", 3600)
    schedule("gone", 3600)
    session.commit()
    schedule("kept", 1800)
    assert webhooks.cancel("gone", tenant="due")
    session.commit()
    assert len(queries.list_scheduled(as_tenant(app, "due")).items) == 1
    table = models_of(app).table("ScheduledEvent")
    with state_of(app).engine.begin() as connection:
        connection.execute(sa.update(table).values(deliver_at=datetime.now(UTC)))
    drain(app)
    assert [body["data"]["license_id"] for body in bodies(receiver, "/due")] == ["kept"]
    assert queries.list_scheduled(as_tenant(app, "due")).items == []


def test_ledger_finds_what_did_not_arrive_and_pulls_it(
    mariadb_url: str, redis_server: RedisServer, app: Flask, receiver: Receiver, tmp_path: Any
) -> None:
    host = make_app(mariadb_url, redis_server.url)
    api = webhooks_of(host).api_blueprint(authenticate=lambda: True)
    host.register_blueprint(api, url_prefix="/api/webhooks")
    made = webhooks_of(app).create_endpoint(receiver.url("/ledger"), tenant="ledger")
    events = emit(app, 3, tenant="ledger")
    drain(app)
    client = host.test_client()

    def get(path: str) -> tuple[Any, bytes]:
        answer = client.get("/api/webhooks" + path)
        assert answer.status_code == 200
        return answer.headers, answer.data

    assert made.secret is not None
    with_two = Ledger(tmp_path / "ledger.sqlite", made.endpoint.id, made.secret)
    sent = sorted(
        (item for item in receiver.requests if item.path == "/ledger"),
        key=lambda item: item.headers["webhook-sequence"],
    )
    for item in (sent[0], sent[2]):
        with_two.note(item.headers)
    [missing] = with_two.check(get).missing
    assert (missing.sequence, missing.state) == (2, "succeeded")
    pulled: list[Any] = []
    with_two.pull(get, pulled.append)
    assert with_two.check(get).missing == []
    assert missing.event_id in events
    page = queries.Pull(as_tenant(app, "ledger"), limit=2).page()
    rest = queries.Pull(as_tenant(app, "ledger"), page.next_after).page()
    assert [item.id for item in (*page.items, *rest.items)] == events
    assert len(Api(host).get(f"/endpoints/{made.endpoint.id}/ledger")["items"]) == 3
    close(host)


def test_each_endpoint_gets_its_version(app: Flask, receiver: Receiver) -> None:
    add_endpoint(app, receiver.url("/old"), tenant="versions")

    @webhooks_of(app).version("license.renewed", "2026-12-01")
    def without_seats(data: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in data.items() if name != "seats"}

    add_endpoint(app, receiver.url("/new"), tenant="versions")
    data = {"license_id": "lic_1", "seats": 5}
    emit(app, 1, "license.renewed", data=data, tenant="versions")
    drain(app)
    assert [body["data"] for body in bodies(receiver, "/old")] == [{"license_id": "lic_1"}]
    assert [body["data"] for body in bodies(receiver, "/new")] == [data]
