"""What the pages that only show read, on each kind of database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_webhooks import actions, queries
from flask_webhooks.access import Access
from flask_webhooks.app_state import state_of
from flask_webhooks.errors import Forbidden, InvalidInput, NotFound
from flask_webhooks.queries import Why
from flask_webhooks.security.signature_check import SignatureFinding
from tests.queries.test_queries import add_statistic, without_payload
from tests.support.delivering import (
    add_backlog,
    deliveries,
    drain,
    emit,
    models_of,
    webhooks_of,
)
from tests.support.helpers import (
    accessing,
    add_delivery,
    add_endpoint,
    as_tenant,
    statements,
    update,
)
from tests.support.receiver import Receiver

NOW = datetime(2026, 5, 4, 12, 30, tzinfo=UTC)
HOUR = NOW.replace(minute=0)


@pytest.fixture
def access(app: Flask) -> Access:
    return accessing(app)


# -- statistics ---------------------------------------------------------------------------------------


def test_statistics_of_everything_of_a_tenant_and_of_one(app: Flask, access: Access) -> None:
    one, two = add_endpoint(app, tenant="app_1"), add_endpoint(app, tenant="app_2")
    add_statistic(app, one.id, HOUR, succeeded=3, failed=1, duration_ms=400, ms_100=3, ms_250=1)
    add_statistic(app, two.id, HOUR, succeeded=1, duration_ms=100, ms_100=1)
    add_statistic(app, two.id, HOUR - timedelta(days=2), failed=5, duration_ms=500, ms_more=5)

    def totals(access: Access, *options: str | None) -> tuple[int, int]:
        with statements(app) as executed:
            total = queries.statistics(access, *options, now=NOW).total  # type: ignore[arg-type]
        assert len([text for text in executed if "SELECT" in text]) <= 2
        return total.succeeded, total.failed

    assert totals(access) == (4, 1)
    assert totals(access, None, "7d") == (4, 6)
    assert totals(access, one.id) == (3, 1)
    assert totals(as_tenant(app, "app_1")) == (3, 1)
    assert totals(as_tenant(app, "app_2"), None, "30d") == (1, 5)
    total = queries.statistics(access, now=NOW).total
    assert (total.mean_ms, total.counts[3], total.counts[4]) == (100, 4, 1)
    with pytest.raises(NotFound):
        queries.statistics(as_tenant(app, "app_2"), one.id)
    with pytest.raises(InvalidInput):
        queries.statistics(access, period="century")


def test_the_endpoints_that_fail_most(app: Flask, access: Access) -> None:
    few, many, none = (add_endpoint(app, tenant=tenant) for tenant in ("app_1", "app_2", "app_1"))
    gone = add_endpoint(app)
    for endpoint, failed in ((few, 1), (many, 9), (none, 0), (gone, 50)):
        add_statistic(app, endpoint.id, HOUR, succeeded=2, failed=failed)
    add_statistic(app, few.id, HOUR - timedelta(days=2), failed=100)
    actions.delete_endpoint(access, gone.id)

    def found(access: Access) -> list[tuple[str, int]]:
        return [(row.endpoint.id, row.failed) for row in queries.most_failures(access, now=NOW)]

    assert found(access) == [(many.id, 9), (few.id, 1)]
    assert found(as_tenant(app, "app_1")) == [(few.id, 1)]
    assert len(queries.most_failures(access, limit=1, now=NOW)) == 1


def test_the_last_day_of_an_endpoint_hour_by_hour(app: Flask, access: Access) -> None:
    one = add_endpoint(app)
    add_statistic(app, one.id, HOUR, succeeded=1, failed=2)
    add_statistic(app, one.id, HOUR - timedelta(hours=23), succeeded=3)
    [row] = queries.list_endpoints(access, now=NOW)
    assert len(row.hours) == 24
    assert (row.hours[0], row.hours[22], row.hours[23]) == ((3, 0), (0, 0), (1, 2))


# -- lists --------------------------------------------------------------------------------------------


def test_deliveries_are_found_by_what_no_index_finds(app: Flask, access: Access) -> None:
    one, two = add_endpoint(app), add_endpoint(app, tenant="app_1")
    refused = add_delivery(app, one, "failed", last_status=404)
    broken = add_delivery(app, two, "failed", last_status=503)
    with app.app_context():
        [event] = emit(app, data={"license_id": "Ünïque_100%"}, tenant="app_1")
    told = [row.id for row in deliveries(app) if row.event_id == event][::-1]

    def found(access: Access = access, **filters: Any) -> list[str]:
        return [row.delivery.id for row in queries.list_deliveries(access, **filters).items]

    assert found(status="4xx") == [refused]
    assert found(status="503") == [broken]
    assert found(status="none") == told
    assert found(as_tenant(app, "app_1"), status="4xx") == []
    assert found(text="Ünïque_100%") == told
    assert found(text="_100") == told
    assert found(text="e_1_0") == []
    assert found(text="a\0b") == []
    assert found(text="Ünïque", status="5xx") == []
    assert found(text="Ünïque", endpoint_id=one.id) == [
        row.id for row in deliveries(app) if row.event_id == event and row.endpoint_id == one.id
    ]
    assert found(id=event) == told
    assert found(id="a\0b") == []
    assert found(since=datetime(2020, 1, 1, tzinfo=UTC), until=datetime(9999, 1, 1, tzinfo=UTC))
    with pytest.raises(Forbidden):
        found(without_payload(app), text="x")
    with pytest.raises(InvalidInput):
        found(status="99")


def test_looking_on_finds_each_delivery_once(
    app: Flask, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_webhooks.queries.searching.SEARCHED", 4)
    endpoint = add_endpoint(app)
    wanted = []
    for number in range(11):
        wanted.append(add_delivery(app, endpoint, last_status=500 if number % 3 == 0 else 200))
    wanted = wanted[::3][::-1]
    found: list[str] = []
    before: str | None = None
    for _ in range(20):
        page = queries.list_deliveries(access, status="500", before=before, limit=1)
        found += [row.delivery.id for row in page.items]
        before = page.next_before
        if before is None:
            break
    assert found == wanted


def test_endpoints_are_named_within_the_scope(app: Flask, access: Access) -> None:
    one, two = add_endpoint(app, tenant="app_1"), add_endpoint(app, tenant="app_2")
    assert set(queries.name_endpoints(access, [one.id, two.id, "ep_x"])) == {one.id, two.id}
    assert set(queries.name_endpoints(as_tenant(app, "app_1"), [one.id, two.id])) == {one.id}
    assert queries.name_endpoints(access, []) == {}


# -- the backlog --------------------------------------------------------------------------------------


def test_the_backlog_is_counted_up_to_a_limit(
    app: Flask, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_webhooks.queries.system.MOST_COUNTED", 50)
    add_backlog(app, add_endpoint(app).id, 80)
    assert queries.backlog(access).due == 50
    assert queries.health(access).pending == 50


def test_what_waits_for_each_endpoint_is_counted_up_to_a_limit(
    app: Flask, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_webhooks.queries.endpoints.MOST_COUNTED", 50)
    many, few, none = (add_endpoint(app) for _ in range(3))
    add_backlog(app, many.id, 80)
    add_backlog(app, few.id, 20)
    add_delivery(app, few, "held")
    add_delivery(app, few, "failed")
    rows = {row.endpoint.id: (row.pending, row.held) for row in queries.list_endpoints(access)}
    assert rows == {many.id: (50, 0), few.id: (20, 1), none.id: (0, 0)}
    detail = queries.get_endpoint(access, many.id)
    assert (detail.pending, detail.held) == (50, 0)


def test_the_backlog_leaves_out_what_waits_on_purpose(app: Flask, access: Access) -> None:
    then = datetime(2026, 1, 1, tzinfo=UTC)
    paused, held, deleted = add_endpoint(app), add_endpoint(app), add_endpoint(app)
    for endpoint in (paused, held, deleted):
        add_delivery(app, endpoint, due_at=then)
    update(app, "Endpoint", paused.id, state="paused")
    update(app, "EndpointHealth", held.id, hold_until=datetime(2199, 1, 1, tzinfo=UTC))
    update(app, "Endpoint", deleted.id, deleted_at=then)
    found = queries.backlog(access)
    assert (found.due, found.oldest_due_at) == (0, None)
    # What a person asked for goes out all the same.
    add_delivery(app, paused, due_at=then + timedelta(hours=1), trigger="manual")
    found = queries.backlog(access)
    assert (found.due, found.oldest_due_at) == (1, then + timedelta(hours=1))
    assert queries.backlog(as_tenant(app, "app_1")).due == 0


# -- routing ------------------------------------------------------------------------------------------


def test_why_knows_all_of_many_event_types(app: Flask, access: Access) -> None:
    """The audit log keeps them whole, where it cuts other long lists."""
    webhooks = webhooks_of(app)
    names = [f"shop.event_{number}" for number in range(60)]
    for name in names:
        webhooks.add_event_type(name, description="Something happened in the shop.")
    created = add_endpoint(app, tenant="app_1", events=names)
    with app.app_context():
        [event] = emit(app, tenant="app_1", event_type=names[58])
    update(app, "Event", event, created_at=datetime.now(UTC))
    with state_of(app).engine.begin() as connection:
        connection.execute(sa.delete(models_of(app).table("Delivery")))
    actions.update_endpoint(access, created.id, events=names[:2])
    [routing] = queries.explain_routing(access, queries.get_event(access, event), created.id)
    assert routing.why == Why.REMOVED


@pytest.mark.slow
def test_why_an_endpoint_has_not_got_an_event(app: Flask, access: Access) -> None:
    add_endpoint(app, tenant="app_1", name="has it")
    narrow = add_endpoint(app, tenant="app_1", events=["user.*"])
    widened = add_endpoint(app, tenant="app_1", events=["user.*"])
    narrowed = add_endpoint(app, tenant="app_1")
    other = add_endpoint(app, tenant="app_2")
    with app.app_context():
        [event] = emit(app, tenant="app_1")
    update(app, "Event", event, created_at=datetime.now(UTC))
    actions.update_endpoint(access, widened.id, events=["license.*"])
    actions.update_endpoint(access, widened.id, events=["file.*", "license.created"])
    actions.update_endpoint(access, narrowed.id, events=["user.*"])

    def why(search: str | None = None, access: Access = access) -> dict[str, Why]:
        detail = queries.get_event(access, event)
        with statements(app) as executed:
            routings = queries.explain_routing(access, detail, search)
        assert len([text for text in executed if "SELECT" in text]) == 2
        return {routing.endpoint.id: routing.why for routing in routings}

    assert why() == {narrow.id: Why.NOT_SUBSCRIBED, widened.id: Why.SUBSCRIBED_LATER}
    # Other changes say nothing, whatever is written in them, and are not read.
    loaded: list[Any] = []
    model = state_of(app).models.Activity
    for number in range(20):
        for endpoint in (narrow, widened):
            actions.update_endpoint(access, endpoint.id, name=f'"events":{number}')
    sa.event.listen(model, "load", lambda row, _context: loaded.append(row))
    assert why() == {narrow.id: Why.NOT_SUBSCRIBED, widened.id: Why.SUBSCRIBED_LATER}
    assert [row.endpoint_id for row in loaded] == [widened.id]
    assert why(other.id) == {other.id: Why.OTHER_TENANT}
    assert why(other.id, as_tenant(app, "app_1")) == {}
    assert why("nothing like that") == {}


def test_an_endpoint_that_has_the_event_tells_of_its_delivery(app: Flask, access: Access) -> None:
    paused = add_endpoint(app, name="paused one")
    add_endpoint(app, name="another")
    actions.pause_endpoint(access, paused.id)
    with app.app_context():
        [event] = emit(app)
    detail = queries.get_event(access, event)
    assert queries.explain_routing(access, detail) == []
    with statements(app) as executed:
        [routing] = queries.explain_routing(access, detail, "paused")
    assert len([text for text in executed if "SELECT" in text]) == 2
    assert routing.why == Why.OWED
    assert routing.delivery is not None
    assert (routing.delivery.event_id, routing.delivery.state) == (event, "held")
    assert routing.health is not None


def test_an_event_without_tenant_goes_to_the_whole_servers_endpoints_only(
    app: Flask, access: Access
) -> None:
    add_endpoint(app)
    mine = add_endpoint(app, tenant="app_1")
    with app.app_context():
        [event] = emit(app)
    detail = queries.get_event(access, event)
    assert queries.explain_routing(access, detail) == []
    [routing] = queries.explain_routing(access, detail, mine.id)
    assert routing.why == Why.WITHOUT_TENANT


# -- signatures ---------------------------------------------------------------------------------------


def test_a_signature_is_compared_with_what_was_sent(
    app: Flask, access: Access, receiver: Receiver
) -> None:
    made = add_endpoint(app, receiver.url(), tenant="app_1")
    actions.send_test(access, made.id)
    drain(app)
    [request] = receiver.requests
    headers = "\n".join(f"{name}: {value}" for name, value in request.headers.items())
    body = request.body.decode()
    assert queries.check_signature(access, made.id, headers, body).finding == SignatureFinding.FITS
    cut = queries.check_signature(access, made.id, headers, body[:9])
    assert (cut.finding, cut.attempt, cut.sent_size) == (SignatureFinding.CUT_BODY, 1, len(body))
    # Another endpoint's history helps nobody.
    other = add_endpoint(app, tenant="app_2")
    found = queries.check_signature(as_tenant(app, "app_2"), other.id, headers, body)
    assert (found.finding, found.attempt) == (SignatureFinding.WRONG_SECRET, None)
    with pytest.raises(NotFound):
        queries.check_signature(as_tenant(app, "app_2"), made.id, headers, body)
    with pytest.raises(Forbidden):
        queries.check_signature(
            Access(state_of(app), "x", "app_1", lambda action, endpoint: action != "secret"),
            made.id,
            headers,
            body,
        )


# -- the engine ---------------------------------------------------------------------------------------


def test_only_operators_learn_of_the_workers(app: Flask, access: Access) -> None:
    found = queries.engine(access)
    assert (found.reachable, found.workers, found.scheduler) == (True, 0, False)
    with pytest.raises(Forbidden):
        queries.engine(as_tenant(app, "app_1"))
