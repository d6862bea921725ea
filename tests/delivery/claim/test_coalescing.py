"""Coalescing: of a flood of one key the first is sent, and the next one after the interval counts the others."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_webhooks import actions, queries
from flask_webhooks.app_state import state_of
from flask_webhooks.delivery.claim import coalescing
from flask_webhooks.delivery.claim.coalescing import Passed, decide_by_key
from flask_webhooks.delivery.retention import prune
from tests.support.delivering import (
    deliveries,
    drain,
    emit,
    models_of,
    states,
    webhooks_of,
)
from tests.support.helpers import (
    accessing,
    add_endpoint,
    at_once,
    database_time,
    statements,
    update,
)
from tests.support.processes import OURS, WorkerProcess, config_of, wait_until
from tests.support.receiver import Receiver

VALIDATED = "license.validated"
BY_KEY = {VALIDATED: {"by": "data.license_key", "seconds": 60}}


def validate(app: Flask, *keys: str | None, **more: Any) -> list[str]:
    """Emit one validation for each licence key; ``None`` for one without such a member in use."""
    found = []
    for key in keys:
        data = {"license_id": "lic_1", "license_key": key, "status": "active", **more}
        found += emit(app, event_type=VALIDATED, data=data)
    return found


def pass_interval(app: Flask, seconds: float = 60) -> None:
    """Have all keys been let through so much earlier."""
    key = models_of(app).CoalescingKey
    with state_of(app).engine.begin() as connection:
        for row in connection.execute(sa.select(key)).all():
            connection.execute(
                sa.update(key)
                .where(key.endpoint_id == row.endpoint_id, key.digest == row.digest)
                .values(passed_at=row.passed_at - timedelta(seconds=seconds))
            )


def forget(app: Flask) -> None:
    now = database_time(app)
    with state_of(app).engine.connect() as connection:
        prune(state_of(app), connection, now)


def counts(receiver: Receiver) -> list[tuple[str, str | None]]:
    """The events that arrived, each with the count of the others."""
    return [(item.id, item.headers.get("webhook-coalesced")) for item in receiver.requests]


def keys_of(app: Flask) -> list[tuple[str, int]]:
    key = models_of(app).CoalescingKey
    with state_of(app).engine.connect() as connection:
        query = sa.select(key.endpoint_id, key.skipped).order_by(key.digest)
        return [(row.endpoint_id, row.skipped) for row in connection.execute(query)]


@pytest.mark.slow
def test_worker_sends_the_first_of_each_key(app: Flask, receiver: Receiver, tmp_path: Path) -> None:
    """The whole way, with a worker's process."""
    webhooks = webhooks_of(app)
    webhooks.create_endpoint(receiver.url("/few"), coalesce=BY_KEY)
    webhooks.create_endpoint(receiver.url("/all"))
    with WorkerProcess(OURS, config_of(app), tmp_path / "worker.log") as worker:
        first, _second, other, _third = validate(app, "A", "A", "B", "A")
        receiver.wait_for(6, 30)
        wait_until(lambda: states(app) == {"succeeded": 6, "cancelled": 2}, 30, worker.output)
    few = sorted(item.id for item in receiver.requests if item.path == "/few")
    assert few == sorted([first, other])
    assert all(count is None for _id, count in counts(receiver))


@pytest.mark.slow
def test_next_one_after_the_interval_counts_the_others(app: Flask, receiver: Receiver) -> None:
    add_endpoint(app, receiver.url(), coalesce=BY_KEY)
    [first, *_others] = validate(app, "A", "A", "A")
    drain(app)
    validate(app, "A")
    drain(app)
    assert counts(receiver) == [(first, None)]
    pass_interval(app)
    [later, *_others] = validate(app, "A", "A")
    drain(app)
    assert counts(receiver) == [(first, None), (later, "3")]
    assert keys_of(app)[0][1] == 1
    assert [row.coalesced for row in deliveries(app)] == [0, None, None, None, 3, None]


def test_nothing_is_sent_when_the_interval_just_ends(app: Flask, receiver: Receiver) -> None:
    """There is no last one of a flood: what was coalesced is only counted."""
    add_endpoint(app, receiver.url(), coalesce=BY_KEY)
    validate(app, "A", "A")
    drain(app)
    pass_interval(app)
    assert drain(app) == 0


def test_coalesced_delivery_is_at_rest_and_says_why(app: Flask, receiver: Receiver) -> None:
    wanted = add_endpoint(app, receiver.url(), coalesce=BY_KEY)
    [_first, second] = validate(app, "A", "A")
    drain(app)
    row = deliveries(app)[1]
    assert (row.state, row.reason, row.attempt_count) == ("cancelled", "coalesced", 0)
    assert (row.due_at, row.completed_at is None) == (None, False)
    access = accessing(app)
    [routing] = queries.explain_routing(access, queries.get_event(access, second), wanted.id)
    assert routing.why == "owed"
    assert routing.delivery is not None
    assert routing.delivery.reason == "coalesced"


@pytest.mark.slow
def test_other_types_and_events_without_the_member_are_sent(app: Flask, receiver: Receiver) -> None:
    rules = {VALIDATED: {"by": "data.user.email", "seconds": 60}}
    add_endpoint(app, receiver.url(), coalesce=rules)
    emit(app, 3)
    validate(app, "A", "A")
    validate(app, "A", "A", user=None)
    validate(app, "A", "A", user={"email": None})
    validate(app, "A", "A", user="x")
    assert drain(app) == 11
    validate(app, "A", "A", user={"email": "a@example.com"})
    assert drain(app) == 1


def test_emit_reads_and_writes_as_much_as_without(app: Flask) -> None:
    """It is decided by workers: the host's transaction has no statement for it."""
    add_endpoint(app)
    with statements(app) as without:
        validate(app, "A")
    add_endpoint(app, "https://hooks.example.com/few", coalesce=BY_KEY)
    with statements(app) as executed:
        validate(app, "A")
    assert [text.split()[0] for text in executed] == [text.split()[0] for text in without]
    assert not any("webhooks_coalescing" in text for text in executed)


def test_claim_without_rules_has_no_statement_more(app: Flask, receiver: Receiver) -> None:
    add_endpoint(app, receiver.url())
    validate(app, "A", "A")
    with statements(app) as executed:
        drain(app)
    inserts_or_reads = [text for text in executed if "webhooks_coalescing" in text]
    assert [text for text in inserts_or_reads if "passed_at <" not in text] == []


def test_retry_carries_the_count_and_is_not_decided_again(app: Flask, receiver: Receiver) -> None:
    add_endpoint(app, receiver.url("/flaky/1"), coalesce=BY_KEY)
    [first, _second] = validate(app, "A", "A")
    drain(app)
    pass_interval(app)
    [later] = validate(app, "A")
    drain(app)
    for row in deliveries(app):
        if row.state == "pending":
            update(app, "Delivery", row.id, due_at=database_time(app))
    drain(app)
    assert Counter(counts(receiver)) == {(first, None): 2, (later, "1"): 2}
    assert states(app) == {"succeeded": 2, "cancelled": 1}


def test_coalesced_one_is_resent_by_hand(app: Flask, receiver: Receiver) -> None:
    add_endpoint(app, receiver.url(), coalesce=BY_KEY)
    [_first, second] = validate(app, "A", "A")
    drain(app)
    actions.resend(accessing(app), deliveries(app)[1].id)
    drain(app)
    assert counts(receiver)[-1] == (second, None)
    assert states(app) == {"succeeded": 2}


def test_backlog_of_a_pause_is_coalesced_when_released(app: Flask, receiver: Receiver) -> None:
    wanted = add_endpoint(app, receiver.url(), coalesce=BY_KEY)
    access = accessing(app)
    actions.pause_endpoint(access, wanted.id)
    [first, *_others] = validate(app, *["A"] * 5)
    assert states(app) == {"held": 5}
    assert drain(app) == 0
    actions.resume_endpoint(access, wanted.id)
    drain(app)
    assert counts(receiver) == [(first, None)]


def test_flood_of_more_than_a_window_is_coalesced_to_one(
    app: Flask, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coalescing, "WINDOW", 8)
    wanted = add_endpoint(app, receiver.url(), coalesce=BY_KEY)
    [first, *_others] = validate(app, *["A"] * 70)
    [revoked] = emit(app)
    drain(app, endpoint_concurrency=4)
    assert sorted(item.id for item in receiver.requests) == sorted([first, revoked])
    assert keys_of(app) == [(wanted.id, 69)]


def test_flood_takes_no_share_of_a_rate_limit(app: Flask, receiver: Receiver) -> None:
    add_endpoint(app, receiver.url(), coalesce=BY_KEY, rate_limit=2)
    [first, *_others] = validate(app, *["A"] * 30)
    [revoked] = emit(app)
    drain(app)
    assert sorted(item.id for item in receiver.requests) == sorted([first, revoked])


def test_ordered_endpoint_keeps_its_order(app: Flask, receiver: Receiver) -> None:
    add_endpoint(app, receiver.url(), coalesce=BY_KEY, ordered=True)
    [first, *_others] = validate(app, "A", "A", "A")
    [middle] = emit(app)
    [other, _again] = validate(app, "B", "B")
    drain(app)
    assert [item.id for item in receiver.requests] == [first, middle, other]


@pytest.mark.slow
def test_workers_side_by_side_let_one_of_each_key_through(app: Flask, receiver: Receiver) -> None:
    add_endpoint(app, receiver.url("/slow/0.01"), coalesce=BY_KEY)
    validate(app, *["A", "B", "C", "D"] * 30)

    def work() -> int:
        with app.app_context():
            return drain(app)

    results = at_once(work, work, work)
    assert sum(result for result in results if isinstance(result, int)) == 4, results
    assert sorted(skipped for _id, skipped in keys_of(app)) == [29] * 4
    assert len({item.id for item in receiver.requests}) == len(receiver.requests) == 4


def test_old_keys_are_forgotten(app: Flask, receiver: Receiver) -> None:
    wanted = add_endpoint(app, receiver.url(), coalesce=BY_KEY)
    validate(app, "A", "B", "B")
    drain(app)
    pass_interval(app, 90_000)
    forget(app)
    assert keys_of(app) == [(wanted.id, 1)]
    pass_interval(app, 400 * 86_400)
    forget(app)
    assert keys_of(app) == []


def test_changed_interval_holds_at_once(app: Flask, receiver: Receiver) -> None:
    wanted = add_endpoint(app, receiver.url(), coalesce=BY_KEY)
    validate(app, "A")
    drain(app)
    pass_interval(app, 30)
    shorter = {VALIDATED: {"by": "data.license_key", "seconds": 20}}
    actions.update_endpoint(accessing(app), wanted.id, coalesce=shorter)
    validate(app, "A")
    assert drain(app) == 1
    actions.update_endpoint(accessing(app), wanted.id, coalesce=None)
    validate(app, "A", "A")
    assert drain(app) == 2


def test_decision_counts_by_key() -> None:
    now = datetime(2026, 11, 29, 12, tzinfo=UTC)
    passed = {
        "a": Passed(now - timedelta(seconds=59), 4),
        "b": Passed(now - timedelta(seconds=60), 7),
    }
    keys = [("1", "a", 60), ("2", "b", 60), ("3", "b", 60), ("4", "c", 60), ("5", "c", 60)]
    decision = decide_by_key(keys, passed, now)
    assert decision.sent == {"2": 7, "4": 0}
    assert decision.coalesced == ["1", "3", "5"]
    assert {key: last.skipped for key, last in passed.items()} == {"a": 5, "b": 1, "c": 1}
