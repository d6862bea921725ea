"""What pages, API and commands get to see, and with how many statements."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_webhooks import actions, queries
from flask_webhooks.access import Access
from flask_webhooks.app_state import state_of
from flask_webhooks.columns import utc_now
from flask_webhooks.errors import InvalidInput, NotFound
from flask_webhooks.security.vault import Vault
from tests.support.delivering import deliveries, drain, emit
from tests.support.helpers import (
    accessing,
    add_delivery,
    add_endpoint,
    as_tenant,
    close,
    database_time,
    make_app,
    statements,
    update,
)
from tests.support.receiver import Receiver

NOW = datetime(2026, 5, 4, 12, 30, tzinfo=UTC)


@pytest.fixture
def access(app: Flask) -> Access:
    return accessing(app)


def without_payload(app: Flask) -> Access:
    return Access(
        state_of(app), "support", "app_1", lambda action, endpoint: action != "view_payload"
    )


def add_statistic(app: Flask, endpoint_id: str, hour: datetime, **values: int) -> None:
    state = state_of(app)
    with state.engine.begin() as connection:
        connection.execute(
            sa.insert(state.table("Statistic")).values(endpoint_id=endpoint_id, hour=hour, **values)
        )


# -- endpoints ----------------------------------------------------------------------------------------


def test_endpoints_come_with_their_last_day_and_what_waits(app: Flask, access: Access) -> None:
    busy, quiet = add_endpoint(app, name="busy"), add_endpoint(app, name="quiet")
    hour = NOW.replace(minute=0)
    add_statistic(app, busy.id, hour, succeeded=6, failed=1)
    add_statistic(app, busy.id, hour - timedelta(hours=23), succeeded=3, failed=2)
    add_statistic(app, busy.id, hour - timedelta(hours=25), succeeded=100)
    for state in ("pending", "pending", "held", "failed", "sending"):
        add_delivery(app, busy, state)
    update(
        app,
        "EndpointHealth",
        busy.id,
        last_success_at=NOW,
        last_failure_at=NOW - timedelta(minutes=1),
    )
    first, second = queries.list_endpoints(access, now=NOW)
    assert (first.endpoint.id, second.endpoint.id) == (quiet.id, busy.id)
    assert (second.succeeded, second.failed, second.pending, second.held) == (9, 3, 2, 1)
    assert (second.success_rate, second.last_delivery_at) == (0.75, NOW)
    assert (second.last_delivery_succeeded, first.last_delivery_succeeded) == (True, None)
    assert (first.success_rate, first.last_delivery_at, first.pending) == (None, None, 0)


def test_endpoints_are_found_by_what_people_remember(app: Flask, access: Access) -> None:
    one = add_endpoint(app, "https://one.example.com/", name="Billing 100%")
    two = add_endpoint(app, "https://two.example.com/", description="for the shop")

    def found(search: str) -> list[str]:
        return [row.endpoint.id for row in queries.list_endpoints(access, search)]

    assert found("billing") == [one.id]
    assert found("TWO.example") == [two.id]
    assert found(" shop ") == [two.id]
    assert found(one.id) == [one.id]
    assert found("100%") == [one.id]
    assert found("%") == [one.id]
    assert found("_") == []
    assert found("a\0b") == []
    assert found("") == [two.id, one.id]


def test_endpoints_can_be_paged(app: Flask, access: Access) -> None:
    ids = [add_endpoint(app).id for _ in range(5)][::-1]
    assert [row.endpoint.id for row in queries.list_endpoints(access, limit=2)] == ids[:2]
    rest = queries.list_endpoints(access, before=ids[1], limit=9)
    assert [row.endpoint.id for row in rest] == ids[2:]


def test_a_tenant_sees_its_own_endpoints_only(app: Flask) -> None:
    mine = add_endpoint(app, tenant="app_1")
    add_endpoint(app, tenant="app_2")
    add_endpoint(app)
    rows = queries.list_endpoints(as_tenant(app, "app_1"))
    assert [row.endpoint.id for row in rows] == [mine.id]


def test_one_endpoint_shows_no_secret_and_what_is_wrong_with_it(app: Flask, access: Access) -> None:
    created = actions.create_endpoint(
        access, "https://example.com/", headers={"X-Key": "hush", "X-Team": "a"}
    )
    id_ = created.endpoint.id
    actions.rotate_secret(access, id_, overlap_seconds=3600)
    detail = queries.get_endpoint(access, id_)
    assert detail.header_names == ("X-Key", "X-Team")
    forever, until = detail.secrets_until
    assert forever is None
    assert until is not None
    assert abs(until - datetime.now(UTC) - timedelta(hours=1)) < timedelta(seconds=10)
    assert not detail.unreadable
    assert "hush" not in repr(detail)
    later = queries.get_endpoint(access, id_, now=datetime.now(UTC) + timedelta(hours=2))
    assert later.secrets_until == (None,)
    access.state.vault = Vault.from_config([], ["another key"])
    broken = queries.get_endpoint(access, id_)
    assert (broken.unreadable, broken.header_names, broken.secrets_until) == (True, None, ())


def test_secrets_are_told_apart(app: Flask, access: Access) -> None:
    created = actions.create_endpoint(access, "https://example.com/")
    id_ = created.endpoint.id
    [first] = queries.get_endpoint(access, id_).secrets
    assert first.last_four == str(created.secret)[-4:]
    assert first.created_at is not None
    assert abs(first.created_at - datetime.now(UTC)) < timedelta(seconds=10)
    assert first.last_used_at is None
    used = datetime.now(UTC) + timedelta(minutes=1)
    update(app, "EndpointHealth", id_, last_success_at=used)
    new = actions.rotate_secret(access, id_, overlap_seconds=3600, label=" Berlin ")
    newest, old = queries.get_endpoint(access, id_).secrets
    assert (newest.label, old.label) == ("Berlin", "")
    with pytest.raises(InvalidInput) as caught:
        actions.rotate_secret(access, id_, label="two\nlines")
    assert caught.value.field == "label"
    assert (newest.last_four, old.last_four) == (new[-4:], first.last_four)
    assert old.created_at == first.created_at
    assert newest.last_used_at == old.last_used_at
    # Neither who may only look, nor of one that is short.
    reader = dataclasses.replace(access, may=lambda action, endpoint: action == "view")
    assert {item.last_four for item in queries.get_endpoint(reader, id_).secrets} == {None}


def test_format_with_one_signature_has_used_the_oldest_secret(app: Flask, access: Access) -> None:
    short = actions.create_endpoint(
        access, "https://example.com/", format="aureva", secret="short but secret"
    ).endpoint
    [only] = queries.get_endpoint(access, short.id).secrets
    assert only.last_four is None
    actions.rotate_secret(access, short.id, overlap_seconds=3600)
    used = datetime.now(UTC) + timedelta(minutes=1)
    update(app, "EndpointHealth", short.id, last_failure_at=used)
    newest, old = queries.get_endpoint(access, short.id).secrets
    assert newest.last_used_at is None
    assert old.last_used_at is not None


def test_secrets_of_before_have_no_time_of_creation(app: Flask, access: Access) -> None:
    id_ = actions.create_endpoint(access, "https://example.com/").endpoint.id
    sealed = access.state.vault.encrypt([{"secret": "whsec_" + "a" * 32, "expires_at": None}])
    update(app, "Endpoint", id_, secrets_sealed=sealed)
    [secret] = queries.get_endpoint(access, id_).secrets
    assert (secret.created_at, secret.last_four, secret.last_used_at) == (None, "aaaa", None)


def test_a_deleted_endpoint_is_gone_unless_asked_for(app: Flask, access: Access) -> None:
    endpoint = add_endpoint(app)
    delivery_id = add_delivery(app, endpoint)
    actions.delete_endpoint(access, endpoint.id)
    assert queries.list_endpoints(access) == []
    with pytest.raises(NotFound):
        queries.get_endpoint(access, endpoint.id)
    gone = queries.get_endpoint(access, endpoint.id, include_deleted=True)
    assert gone.endpoint.deleted_at is not None
    # Its history stays.
    [row] = queries.list_deliveries(access, endpoint_id=endpoint.id).items
    assert (row.delivery.id, row.delivery.state) == (delivery_id, "cancelled")
    assert queries.get_delivery(access, delivery_id).endpoint.deleted_at is not None
    assert len(queries.list_activity(access, endpoint_id=endpoint.id).items) == 2


def test_the_quota(app: Flask, access: Access) -> None:
    first, _ = add_endpoint(app, tenant="app_1"), add_endpoint(app, tenant="app_1")
    add_endpoint(app)
    assert queries.quota(access, "app_1") == (2, 5)
    assert queries.quota(access, None) == (1, None)
    assert queries.quota(access, "app_9") == (0, 5)
    actions.delete_endpoint(access, first.id)
    assert queries.quota(as_tenant(app, "app_1"), "app_1") == (1, 5)


# -- deliveries ---------------------------------------------------------------------------------------


def test_deliveries_are_paged_newest_first(app: Flask, access: Access) -> None:
    endpoint = add_endpoint(app)
    ids = [add_delivery(app, endpoint) for _ in range(5)][::-1]
    page = queries.list_deliveries(access, limit=2)
    assert [row.delivery.id for row in page.items] == ids[:2]
    page = queries.list_deliveries(access, limit=2, before=page.next_before)
    assert [row.delivery.id for row in page.items] == ids[2:4]
    page = queries.list_deliveries(access, limit=2, before=page.next_before)
    assert ([row.delivery.id for row in page.items], page.next_before) == (ids[4:], None)
    assert queries.list_deliveries(access, limit=5).next_before is None


def test_deliveries_are_filtered(app: Flask, access: Access) -> None:
    one, two = add_endpoint(app, name="one"), add_endpoint(app, tenant="app_1")
    failed = add_delivery(app, one, "failed")
    other = add_delivery(app, two, "pending", "user.deleted")

    def found(access: Access = access, **filters: Any) -> list[str]:
        return [row.delivery.id for row in queries.list_deliveries(access, **filters).items]

    assert found() == [other, failed]
    assert found(state="failed") == [failed]
    assert found(endpoint_id=two.id) == [other]
    assert found(event_type="user.deleted") == [other]
    assert found(event_type="user.deleted", state="failed") == []
    assert found(event_type="user.*") == [other]
    assert found(as_tenant(app, "app_1")) == [other]
    [row] = queries.list_deliveries(access, state="failed").items
    assert row.endpoint.name == "one"


@pytest.mark.parametrize(
    ("filters", "field"),
    [
        ({"state": "lost"}, "state"),
        ({"event_type": "a\0b"}, "event_type"),
        ({"event_type": "license.creatd"}, "event_type"),
        ({"before": "a\0b"}, "before"),
        ({"before": 7}, "before"),
        ({"limit": 0}, "limit"),
        ({"limit": 201}, "limit"),
        ({"limit": "50"}, "limit"),
    ],
)
def test_filters_that_make_no_sense(access: Access, filters: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        queries.list_deliveries(access, **filters)
    assert caught.value.field == field


def test_a_delivery_shows_every_attempt_and_what_was_in_it(app: Flask, access: Access) -> None:
    with Receiver() as receiver:
        endpoint = add_endpoint(app, receiver.url("/flaky/1"), tenant="app_1")
        with app.app_context():
            emit(app, tenant="app_1")
        drain(app)
        update(app, "Delivery", deliveries(app)[0].id, due_at=utc_now())
        drain(app)
    [delivery] = deliveries(app)
    detail = queries.get_delivery(access, delivery.id)
    assert [item.number for item in detail.attempts] == [1, 2]
    assert [item.outcome for item in detail.attempts] == ["refused", "succeeded"]
    assert detail.payload_visible
    assert detail.event.data == {"license_id": "lic_0", "license_key": "AAAA-BBBB"}
    assert detail.attempts[0].request_body is not None
    assert "lic_0" in detail.attempts[0].request_body
    assert detail.endpoint.id == endpoint.id
    assert detail.older_attempts == 0
    newest = queries.get_delivery(access, delivery.id, attempts=1)
    assert ([item.number for item in newest.attempts], newest.older_attempts) == ([2], 1)

    masked = queries.get_delivery(without_payload(app), delivery.id)
    assert not masked.payload_visible
    assert masked.event.data is None
    for attempt in masked.attempts:
        assert (attempt.request_body, attempt.response_body) == (None, None)
        assert attempt.request_headers
    event = queries.get_event(without_payload(app), delivery.event_id)
    assert (event.event.data, event.payload_visible) == (None, False)


# -- events -------------------------------------------------------------------------------------------


def test_events_and_who_they_went_to(app: Flask, access: Access) -> None:
    mine, servers = add_endpoint(app, tenant="app_1"), add_endpoint(app)
    with app.app_context():
        [first] = emit(app, tenant="app_1")
        [second] = emit(app, event_type="user.deleted")
    [row] = [row for row in deliveries(app) if row.endpoint_id == mine.id]
    update(app, "Delivery", row.id, state="failed", due_at=None)

    page = queries.list_events(access)
    assert [(row.event.id, row.deliveries) for row in page.items] == [
        (second, {"pending": 1}),
        (first, {"pending": 1, "failed": 1}),
    ]
    assert page.items[0].event.data is None
    assert [row.event.id for row in queries.list_events(access, "user.deleted").items] == [second]
    assert queries.list_events(access, limit=1).next_before == second
    detail = queries.get_event(access, first)
    assert {row.endpoint.id for row in detail.deliveries} == {mine.id, servers.id}
    assert detail.event.data["license_id"] == "lic_0"

    # A tenant sees its event, but not who else got it.
    tenant = as_tenant(app, "app_1")
    assert [(row.event.id, row.deliveries) for row in queries.list_events(tenant).items] == [
        (first, {"failed": 1})
    ]
    assert [row.endpoint.id for row in queries.get_event(tenant, first).deliveries] == [mine.id]
    with pytest.raises(NotFound):
        queries.get_event(tenant, second)


# -- the rest -----------------------------------------------------------------------------------------


def test_the_audit_trail(app: Flask, access: Access) -> None:
    one, two = add_endpoint(app, tenant="app_1"), add_endpoint(app)
    actions.pause_endpoint(access, two.id)
    page = queries.list_activity(access, limit=2)
    assert [(row.action, row.endpoint_id) for row in page.items] == [
        ("endpoint.paused", two.id),
        ("endpoint.created", two.id),
    ]
    [last] = queries.list_activity(access, before=page.next_before).items
    assert (last.endpoint_id, last.tenant, last.actor) == (one.id, "app_1", "tester")
    assert len(queries.list_activity(access, endpoint_id=one.id).items) == 1
    assert len(queries.list_activity(as_tenant(app, "app_1")).items) == 1
    with pytest.raises(InvalidInput, match=r"no such action.*endpoint\.paused"):
        queries.list_activity(access, action="endpoint.pausd")


def test_health_counts_only_what_could_be_sent(app: Flask, access: Access) -> None:
    now = database_time(app)
    active, paused, failing = (
        add_endpoint(app, tenant="app_1"),
        add_endpoint(app),
        add_endpoint(app),
    )
    update(app, "Endpoint", paused.id, state="paused")
    update(app, "EndpointHealth", failing.id, hold_until=now + timedelta(hours=1))
    oldest = add_delivery(app, active, due_at=now - timedelta(minutes=5))
    add_delivery(app, active, due_at=now - timedelta(minutes=4))
    add_delivery(app, active, due_at=now + timedelta(hours=1))
    add_delivery(app, active, "sending")
    for endpoint in (paused, failing):
        add_delivery(app, endpoint, due_at=now - timedelta(hours=9))
        add_delivery(app, endpoint, "held")
    # Somebody asked for it, so it goes out.
    add_delivery(app, paused, trigger="manual", due_at=now - timedelta(minutes=2))
    state = state_of(app)
    with state.engine.begin() as connection:
        for name, seen in (("old", now - timedelta(days=1)), ("new", now)):
            connection.execute(
                sa.insert(state.table("Heartbeat")).values(
                    name=name,
                    kind="worker",
                    host=socket.gethostname(),
                    pid=1,
                    started_at=seen,
                    seen_at=seen,
                )
            )
    report = queries.health(access)
    assert (report.pending, report.sending, report.held, report.due) == (6, 1, 2, 3)
    assert report.oldest_due_at == {row.id: row for row in deliveries(app)}[oldest].due_at
    assert [row.name for row in report.heartbeats] == ["new", "old"]
    assert report.last_seen_at == now
    assert abs(report.now - now) < timedelta(seconds=30)

    mine = queries.health(as_tenant(app, "app_1"))
    assert (mine.pending, mine.sending, mine.held, mine.due) == (3, 1, 0, 2)
    # The names of the operator's machines are not the tenant's business.
    assert (mine.heartbeats, mine.last_seen_at) == ([], now)


READS: list[tuple[int, Callable[[Access, str, str, str], object]]] = [
    (3, lambda access, endpoint, delivery, event: queries.list_endpoints(access)),
    (4, lambda access, endpoint, delivery, event: queries.get_endpoint(access, endpoint)),
    (1, lambda access, endpoint, delivery, event: queries.list_deliveries(access)),
    (3, lambda access, endpoint, delivery, event: queries.get_delivery(access, delivery)),
    (2, lambda access, endpoint, delivery, event: queries.list_events(access)),
    (2, lambda access, endpoint, delivery, event: queries.get_event(access, event)),
    (1, lambda access, endpoint, delivery, event: queries.list_activity(access)),
    (3, lambda access, endpoint, delivery, event: queries.health(access)),
    (1, lambda access, endpoint, delivery, event: queries.quota(access, "app_1")),
    (1, lambda access, endpoint, delivery, event: queries.count_endpoints(access)),
]


def test_a_read_is_a_constant_number_of_statements(app: Flask, access: Access) -> None:
    for _ in range(7):
        endpoint = add_endpoint(app, headers={"X-Key": "1"})
        delivery_id = add_delivery(app, endpoint)
        add_delivery(app, endpoint, "held")
        add_statistic(app, endpoint.id, NOW, succeeded=1)
    event_id = deliveries(app)[0].event_id
    for most, read in READS:
        read(access, endpoint.id, delivery_id, event_id)
        with statements(app) as executed:
            read(access, endpoint.id, delivery_id, event_id)
        queried = [statement for statement in executed if not statement.startswith("BEGIN")]
        assert len(queried) <= most, queried


def test_what_waits_is_counted_over_the_partial_indexes(tmp_path: Any, redis_url: str) -> None:
    """With a parameter for the state SQLite could not use them, and would read every delivery."""
    app = make_app(f"sqlite:///{tmp_path / 'db.sqlite'}", redis_url)
    access = accessing(app)
    add_endpoint(app)
    with statements(app) as executed:
        queries.list_endpoints(access)
        queries.health(access)
    counted = [text for text in executed if "count(" in text.lower()]
    with state_of(app).engine.connect() as connection:
        for text in counted:
            arguments = ("2026-01-01 00:00:00.000000",) * text.count("?")
            plan = str(connection.exec_driver_sql("EXPLAIN QUERY PLAN " + text, arguments).all())
            assert "SCAN webhooks_delivery'" not in plan
            assert "ix_webhooks_delivery_due" in plan
    assert len(counted) == 3
    close(app)
