"""Old events go, with what belongs to them; nothing goes that is still owed."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_webhooks import ids
from flask_webhooks.access import system_access
from flask_webhooks.actions import delete_endpoint, resend
from flask_webhooks.app_state import state_of
from flask_webhooks.delivery import retention
from tests.support.delivering import (
    count,
    deliveries,
    drain,
    emit,
    models_of,
    states,
    webhooks_of,
)
from tests.support.helpers import at_once, statements, update
from tests.support.receiver import Receiver

LATER = timedelta(days=31)


def prune(app: Flask, now: datetime, budget: float = 30.0) -> int:
    with state_of(app).engine.connect() as connection:
        return retention.prune(state_of(app), connection, now, budget)


def test_settled_events_go_after_the_days_that_are_set(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).create_endpoint(receiver.url(), ["license.*"])
    emit(app, 3)
    drain(app)
    now = datetime.now(UTC)
    assert prune(app, now + timedelta(days=29)) == 0
    assert count(app, "Attempt") == 3
    assert prune(app, now + LATER) == 3
    assert [count(app, name) for name in ("Event", "Delivery", "Attempt", "Statistic")] == [0] * 4
    assert count(app, "Endpoint") == 1


def test_what_is_still_owed_stays(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/status/500"), ["license.*"])
    emit(app)
    drain(app)
    assert states(app) == {"pending": 1}
    assert prune(app, datetime.now(UTC) + LATER) == 0
    assert count(app, "Event") == count(app, "Delivery") == count(app, "Attempt") == 1


def test_a_deleted_endpoint_goes_with_its_last_delivery(app: Flask, receiver: Receiver) -> None:
    created = webhooks_of(app).create_endpoint(receiver.url(), ["license.*"])
    emit(app)
    drain(app)
    delete_endpoint(system_access(state_of(app), "test"), created.endpoint.id)
    now = datetime.now(UTC)
    assert prune(app, now + timedelta(days=1)) == 0
    assert count(app, "Endpoint") == 1
    prune(app, now + LATER)
    prune(app, now + LATER)
    assert [count(app, name) for name in ("Endpoint", "EndpointHealth", "Delivery")] == [0] * 3
    # Who deleted it is still to be seen.
    assert count(app, "Activity") > 0


def test_limits_go_with_the_last_endpoint_that_has_them(app: Flask) -> None:
    access = system_access(state_of(app), "test")
    ids_of: dict[str, str] = {}
    for name, bucket in (("gone", None), ("kept", None), ("one", "bot"), ("other", "bot")):
        created = webhooks_of(app).create_endpoint("https://example.com/hook", rate_limit=1)
        ids_of[name] = created.endpoint.id
        update(app, "Endpoint", created.endpoint.id, bucket=bucket)
    created = webhooks_of(app).create_endpoint("https://example.com/hook")
    update(app, "Endpoint", created.endpoint.id, bucket="asked to wait")
    ids_of["waiting"] = created.endpoint.id
    now = datetime.now(UTC)
    bucket_ids = [ids_of["gone"], ids_of["kept"], "bot", "asked to wait", "of a URL before"]
    free_at = {"asked to wait": now + 2 * LATER}
    rows = [{"id": id_, "free_at": free_at.get(id_, now)} for id_ in bucket_ids]
    table = models_of(app).table("Bucket")
    with state_of(app).engine.begin() as connection:
        connection.execute(sa.insert(table), rows)

    def left() -> set[str]:
        with state_of(app).engine.connect() as connection:
            return set(connection.execute(sa.select(table.c.id)).scalars())

    for name in ("gone", "one", "waiting"):
        delete_endpoint(access, ids_of[name])
    prune(app, now)
    assert left() == set(bucket_ids)
    prune(app, now + LATER)
    assert left() == {ids_of["kept"], "bot", "asked to wait"}
    delete_endpoint(access, ids_of["other"])
    prune(app, now + 3 * LATER)
    assert left() == {ids_of["kept"]}


def test_a_batch_at_a_time(app: Flask, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    webhooks_of(app).create_endpoint(receiver.url(), ["license.*"])
    emit(app, 5)
    drain(app)
    later = datetime.now(UTC) + LATER
    assert [prune(app, later, budget=0.0) for _ in range(4)] == [2, 2, 1, 0]


def test_batch_after_batch_within_its_time(
    app: Flask, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    monkeypatch.setattr(retention, "WINDOW", 3)
    created = webhooks_of(app).create_endpoint(receiver.url(), ["license.*"])
    add_settled(app, created.endpoint.id, 15)
    # What is still owed lies among the rest, more of it than one look takes in.
    table = models_of(app).table("Delivery")
    owed = [row.id for row in deliveries(app)][3:9]
    with state_of(app).engine.begin() as connection:
        connection.execute(sa.update(table).where(table.c.id.in_(owed)).values(state="sending"))
    later = datetime.now(UTC) + LATER
    commits: list[int] = []
    listen = (state_of(app).engine, "commit", commits.append)
    sa.event.listen(*listen)
    assert prune(app, later) == 9
    sa.event.remove(*listen)
    assert len(commits) >= 5
    assert [row.id for row in deliveries(app)] == owed
    assert count(app, "Event") == 6
    assert prune(app, later) == 0


@pytest.mark.slow_on_postgresql
def test_it_keeps_up_with_500_events_a_second(app: Flask, receiver: Receiver) -> None:
    """What 5 seconds bring, between two sweeps."""
    created = webhooks_of(app).create_endpoint(receiver.url(), ["license.*"])
    add_settled(app, created.endpoint.id, 2500)
    began = time.monotonic()
    assert prune(app, datetime.now(UTC) + LATER) == 2500
    # On an idle machine a fraction of a second.
    assert time.monotonic() - began < 10


def test_nothing_to_remove_is_found_out_without_writing(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).create_endpoint(receiver.url(), ["license.*"])
    emit(app, 3)
    drain(app)
    with statements(app) as executed:
        assert prune(app, datetime.now(UTC)) == 0
    assert len(executed) <= 7
    assert all(statement.lstrip().startswith("SELECT") for statement in executed)


def test_delivery_that_is_resent_in_between_stays(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).create_endpoint(receiver.url(), ["license.*"])
    emit(app, 3)
    drain(app)
    wanted = deliveries(app)[1].id
    resent: list[str] = []

    def resend_now(connection: Any) -> None:
        if not resent:
            resent.append(resend(system_access(state_of(app), "test"), wanted).id)

    # The look for what is old is over when its transaction commits.
    with state_of(app).engine.connect() as connection:
        sa.event.listen(connection, "commit", resend_now)
        pruned = retention.prune(state_of(app), connection, datetime.now(UTC) + LATER)
    assert (resent, pruned) == ([wanted], 2)
    [left] = deliveries(app)
    assert (left.id, left.state) == (wanted, "pending")
    assert count(app, "Event") == count(app, "Attempt") == 1
    drain(app)
    assert states(app) == {"succeeded": 1}


def test_delivery_that_is_being_resent_is_not_waited_for(app: Flask, receiver: Receiver) -> None:
    if state_of(app).engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer: nothing is changed meanwhile")
    webhooks_of(app).create_endpoint(receiver.url(), ["license.*"])
    emit(app, 3)
    drain(app)
    table = models_of(app).table("Delivery")
    wanted = deliveries(app)[1].id
    with state_of(app).engine.connect() as person, person.begin():
        person.execute(sa.update(table).where(table.c.id == wanted).values(state="pending"))
        assert prune(app, datetime.now(UTC) + LATER) == 2
    assert [row.id for row in deliveries(app)] == [wanted]


def test_two_workers_prune_at_the_same_time(
    app: Flask, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 20)
    created = webhooks_of(app).create_endpoint(receiver.url(), ["license.*"])
    add_settled(app, created.endpoint.id, 300)
    later = datetime.now(UTC) + LATER
    removed = at_once(lambda: prune(app, later), lambda: prune(app, later))
    assert all(isinstance(number, int) for number in removed), removed
    prune(app, later)
    assert count(app, "Event") == count(app, "Delivery") == 0


def test_indexes_serve_the_looks(app: Flask, receiver: Receiver) -> None:
    """However long the history is, finding out that nothing is old reads none of it."""
    state = state_of(app)
    created = webhooks_of(app).create_endpoint(receiver.url(), ["license.*"])
    add_settled(app, created.endpoint.id, 500)
    pruning = retention.Pruning(state, datetime.now(UTC))
    statistic = models_of(app).table("Statistic")
    hours = [
        {"endpoint_id": created.endpoint.id, "hour": datetime.now(UTC) - timedelta(hours=number)}
        for number in range(500)
    ]
    postgresql = state.engine.dialect.name == "postgresql"
    with state.engine.begin() as connection:
        connection.execute(sa.insert(statistic), hours)
        if postgresql:
            # Tables of tests are so small that reading all of them is cheapest.
            connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
        plans = []
        with statements(app) as executed:
            pruning._oldest_hour(connection)
            connection.execute(pruning._window()).all()
            connection.execute(pruning._old_endpoints()).all()
        assert len(executed) == 3
        for query in (
            sa.select(statistic.c.hour).where(statistic.c.hour < pruning._cutoff).limit(1),
            pruning._window(),
            pruning._old_endpoints(),
        ):
            compiled = query.compile(state.engine, compile_kwargs={"literal_binds": True})
            explain = "EXPLAIN " if postgresql else "EXPLAIN QUERY PLAN "
            plans.append(
                " | ".join(
                    str(tuple(row)) for row in connection.execute(sa.text(explain + str(compiled)))
                )
            )
    for plan in plans:
        assert "SCAN webhooks" not in plan, plan
        assert "Seq Scan" not in plan, plan
    assert "ix_webhooks_statistic_hour" in plans[0]
    assert "ix_webhooks_endpoint_deleted" in plans[2]


def test_a_drain_prunes_by_the_way(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).create_endpoint(receiver.url(), ["license.*"])
    emit(app)
    drain(app)
    _age(app, timedelta(days=40))
    drain(app)
    assert count(app, "Event") == count(app, "Delivery") == count(app, "Attempt") == 0


@pytest.mark.slow
def test_a_drain_that_lasts_removes_batch_after_batch(
    app: Flask, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 5)
    created = webhooks_of(app).create_endpoint(receiver.url(), ["license.*"])
    add_settled(app, created.endpoint.id, 50, age=timedelta(days=40))
    emit(app)
    # The first look comes after a second.
    drain(app, linger=4.0)
    assert count(app, "Event") == count(app, "Delivery") == count(app, "Attempt") == 1


def add_settled(app: Flask, endpoint_id: str, number: int, age: timedelta = timedelta(0)) -> None:
    """A history of so many events, each with a delivery and an attempt."""
    now = datetime.now(UTC) - age
    common = {"endpoint_id": endpoint_id, "trigger": "event"}
    rows: dict[str, list[dict[str, Any]]] = {"Event": [], "Delivery": [], "Attempt": []}
    for position in range(number):
        # New ids are never older than those before.
        moment = now + timedelta(milliseconds=position)
        event_id, delivery_id = ids.lowest_id("evt", moment), ids.lowest_id("dlv", moment)
        kind = "license.created"
        rows["Event"].append({"id": event_id, "type": kind, "data": {}, "occurred_at": now})
        rows["Delivery"].append(
            {
                "id": delivery_id,
                "event_id": event_id,
                "event_type": kind,
                "state": "succeeded",
                **common,
            }
        )
        rows["Attempt"].append(
            {
                "delivery_id": delivery_id,
                "number": 1,
                "started_at": now,
                "outcome": "succeeded",
                "url": "https://example.com",
                **common,
            }
        )
    with state_of(app).engine.begin() as connection:
        for name, values in rows.items():
            connection.execute(sa.insert(models_of(app).table(name)), values)


def _age(app: Flask, by: timedelta) -> None:
    """Make the only event older."""
    models = models_of(app)
    event, delivery = models.table("Event"), models.table("Delivery")
    old = ids.lowest_id("evt", datetime.now(UTC) - by)
    with state_of(app).engine.begin() as connection:
        row = connection.execute(sa.select(event)).one()._mapping
        connection.execute(sa.insert(event).values({**row, "id": old}))
        connection.execute(sa.update(delivery).values(event_id=old))
        connection.execute(sa.delete(event).where(event.c.id != old))
