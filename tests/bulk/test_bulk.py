"""Bulk tasks: what they select, what they do, who may, and what is written of it. In this process."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_webhooks import actions, ids, queries
from flask_webhooks.access import Access
from flask_webhooks.app_state import state_of
from flask_webhooks.bulk import lease, runner
from flask_webhooks.bulk.lease import claim
from flask_webhooks.bulk.runner import run_next
from flask_webhooks.bulk.selection import Selection, TaskFilter, check_filter
from flask_webhooks.db.locks import take_write_lock
from flask_webhooks.errors import Forbidden, InvalidInput, InvalidTransition, NotFound
from flask_webhooks.models import AT_REST, DeliveryState, Endpoint, TaskKind
from tests.support.delivering import add_backlog, deliveries, emit, states, webhooks_of
from tests.support.helpers import (
    accessing,
    activity,
    add_delivery,
    add_endpoint,
    as_tenant,
    at_once,
    database_time,
    statements,
    update,
)
from tests.support.working import Worker

HOUR = timedelta(hours=1)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def access(app: Flask) -> Access:
    return accessing(app)


@pytest.fixture
def endpoint(app: Flask) -> Endpoint:
    return add_endpoint(app)


def work(app: Flask) -> None:
    """Work on tasks until none waits."""
    while run_next(state_of(app), lambda: False):
        pass


def do(app: Flask, kind: str, endpoint_id: str | None = None, **filter: Any) -> queries.TaskRow:
    """Start a task and work on it to its end."""
    access = accessing(app)
    task = actions.start_task(access, kind, endpoint_id, **filter)
    work(app)
    return queries.get_task(access, task.id)


def failed(app: Flask, endpoint: Endpoint, age: timedelta = HOUR, **values: Any) -> str:
    """A delivery that failed some time ago."""
    common: dict[str, Any] = {
        "attempt_count": 3,
        "failure_count": 3,
        "last_status": 500,
        "reason": "exhausted",
    }
    return add_delivery(
        app, endpoint, "failed", completed_at=database_time(app) - age, **(common | values)
    )


def by_id(app: Flask) -> dict[str, Any]:
    return {row.id: row for row in deliveries(app)}


def old_event(
    app: Flask, age: timedelta, event_type: str = "license.created", tenant: str | None = None
) -> str:
    """An event that was recorded some time ago, with no delivery."""
    state = state_of(app)
    at = datetime.now(UTC) - age
    # Not `new_id`: within a process that never goes back.
    event_id = ids.lowest_id("evt", at)[:-6] + ids.new_id("evt")[-6:]
    with state.engine.begin() as connection:
        connection.execute(
            sa.insert(state.table("Event")).values(
                id=event_id, type=event_type, tenant=tenant, data={}, occurred_at=at, created_at=at
            )
        )
    return event_id


# -- recover ------------------------------------------------------------------------------------------


def test_recover_sends_again_what_failed_since_a_time(app: Flask, endpoint: Endpoint) -> None:
    before, after = failed(app, endpoint, 3 * HOUR), failed(app, endpoint, HOUR)
    row = do(app, "recover", endpoint.id, since=database_time(app) - 2 * HOUR)
    assert (row.task.state, row.task.done, row.task.total, row.progress) == ("finished", 1, 1, 1.0)
    found = by_id(app)
    assert found[before].state == "failed"
    again = found[after]
    assert (again.state, again.trigger, again.actor) == ("pending", "replay", "tester")
    assert (again.attempt_count, again.failure_count, again.reason) == (3, 0, None)
    assert (again.last_status, again.completed_at) == (500, None)


def test_recover_until_a_time_leaves_what_failed_later(app: Flask, endpoint: Endpoint) -> None:
    first, second = failed(app, endpoint, 3 * HOUR), failed(app, endpoint, HOUR)
    now = database_time(app)
    do(app, "recover", endpoint.id, since=now - 4 * HOUR, until=now - 2 * HOUR)
    found = by_id(app)
    assert (found[first].state, found[second].state) == ("pending", "failed")


def test_recover_leaves_other_states_other_endpoints_and_tests_alone(
    app: Flask, endpoint: Endpoint
) -> None:
    failed(app, add_endpoint(app))
    failed(app, endpoint, trigger="test")
    for state in DeliveryState:
        if state != "failed":
            add_delivery(app, endpoint, state, completed_at=database_time(app))
    before = states(app)
    row = do(app, "recover", endpoint.id, since=LONG_AGO)
    assert (row.task.state, row.task.done, row.task.total) == ("finished", 0, 0)
    assert states(app) == before


def test_recovered_deliveries_wait_for_a_failing_endpoint(
    app: Flask, endpoint: Endpoint, worker: Worker
) -> None:
    """Hundreds at once must not storm an endpoint that is probed with one request at a time."""
    for _ in range(5):
        failed(app, endpoint)
    with state_of(app).engine.begin() as connection:
        connection.execute(
            sa.update(state_of(app).table("EndpointHealth")).values(
                probe_interval=60.0, hold_until=None
            )
        )
    do(app, "recover", endpoint.id, since=LONG_AGO)
    assert len(worker.take()) == 1


@pytest.mark.parametrize("endpoint_state", ["paused", "disabled"])
def test_what_is_recovered_of_an_endpoint_that_is_not_active_is_held_until_the_resume(
    app: Flask, access: Access, endpoint: Endpoint, endpoint_state: str
) -> None:
    failed(app, endpoint)
    update(app, "Endpoint", endpoint.id, state=endpoint_state)
    assert do(app, "recover", endpoint.id, since=LONG_AGO).task.done == 1
    [row] = deliveries(app)
    assert (row.state, row.due_at, row.trigger) == ("held", None, "replay")
    actions.resume_endpoint(access, endpoint.id)
    [row] = deliveries(app)
    assert row.state == "pending"


def test_recover_of_all_endpoints_passes_over_deleted_ones(app: Flask, access: Access) -> None:
    one, two, gone = add_endpoint(app), add_endpoint(app, tenant="app_1"), add_endpoint(app)
    for item in (one, two, gone):
        failed(app, item)
    actions.delete_endpoint(access, gone.id)
    assert queries.preview_task(access, "recover", since=LONG_AGO).count == 2
    row = do(app, "recover", since=LONG_AGO)
    assert (row.task.done, row.task.total, row.endpoint) == (2, 2, None)
    assert {item.endpoint_id: item.state for item in deliveries(app)} == {
        one.id: "pending",
        two.id: "pending",
        gone.id: "failed",
    }


def test_five_thousand_are_recovered_in_batches(app: Flask, endpoint: Endpoint) -> None:
    add_backlog(
        app,
        endpoint.id,
        5000,
        state="failed",
        due_at=None,
        reason="exhausted",
        completed_at=database_time(app),
    )
    # Their ids must be older than the task's.
    with state_of(app).engine.begin() as connection:
        table = state_of(app).table("Delivery")
        connection.execute(sa.update(table).values(id="dlv_00" + sa.func.substr(table.c.id, 5)))
    with statements(app) as executed:
        row = do(app, "recover", endpoint.id, since=LONG_AGO)
    assert (row.task.state, row.task.done, row.task.total) == ("finished", 5000, 5000)
    assert states(app) == {"pending": 5000}
    changes = [text for text in executed if text.startswith("UPDATE webhooks_delivery")]
    assert len(changes) == 5000 / runner.BATCH


# -- replay -------------------------------------------------------------------------------------------


def replayed(app: Flask, endpoint: Endpoint, **filter: Any) -> set[str]:
    """The events that a replay owes to an endpoint."""
    before = {row.id for row in deliveries(app)}
    row = do(app, "replay", endpoint.id, **{"since": LONG_AGO, **filter})
    assert row.task.state == "finished"
    new = [item for item in deliveries(app) if item.id not in before]
    assert len(new) == row.task.done == row.task.total
    assert {item.endpoint_id for item in new} <= {endpoint.id}
    return {item.event_id for item in new}


def test_replay_owes_what_was_emitted_before_the_subscription(app: Flask) -> None:
    add_endpoint(app)
    [event_id] = emit(app)
    late = add_endpoint(app)
    assert replayed(app, late) == {event_id}
    [row] = [item for item in deliveries(app) if item.endpoint_id == late.id]
    assert (row.event_id, row.event_type, row.tenant) == (event_id, "license.created", None)
    assert (row.state, row.trigger, row.actor, row.attempt_count) == (
        "pending",
        "replay",
        "tester",
        0,
    )
    assert row.due_at is not None
    assert replayed(app, late) == set(), "nothing is owed twice"


def test_replay_follows_the_subscription_as_it_is_now(app: Flask, access: Access) -> None:
    add_endpoint(app)
    wanted = emit(app, event_type="license.created") + emit(app, event_type="user.registered")
    emit(app, event_type="user.deleted")
    late = add_endpoint(app, events=["payment.*"])
    actions.update_endpoint(access, late.id, events=["license.*", "user.registered"])
    assert replayed(app, late) == set(wanted)


def test_replay_keeps_to_its_time_window_and_type(app: Flask, endpoint: Endpoint) -> None:
    now = datetime.now(UTC)
    old_event(app, 5 * HOUR)
    inside = old_event(app, 3 * HOUR)
    old_event(app, 3 * HOUR, "user.registered")
    old_event(app, HOUR)
    window = {"since": now - 4 * HOUR, "until": now - 2 * HOUR}
    assert replayed(app, endpoint, **window, event_type="license.created") == {inside}


@pytest.mark.parametrize(
    ("tenant", "expected"),
    [("app_1", {"app_1"}), ("app_2", {"app_2"}), (None, {"app_1", "app_2", None})],
)
def test_replay_gives_nobody_the_events_of_other_tenants(
    app: Flask, tenant: str | None, expected: set[str | None]
) -> None:
    events = {name: old_event(app, HOUR, tenant=name) for name in ("app_1", "app_2", None)}
    endpoint = add_endpoint(app, tenant=tenant)
    assert replayed(app, endpoint) == {events[name] for name in expected}


def test_replay_passes_over_what_was_sent_by_hand(app: Flask, access: Access) -> None:
    other = add_endpoint(app)
    actions.send_test(access, other.id)
    actions.send_test(access, other.id, "license.created")
    assert replayed(app, add_endpoint(app)) == set()


def test_replay_tells_no_endpoint_of_itself(app: Flask, access: Access) -> None:
    first, second = add_endpoint(app), add_endpoint(app)
    state = state_of(app)
    event_id = old_event(app, HOUR, "endpoint.disabled")
    with state.engine.begin() as connection:
        connection.execute(
            sa.update(state.table("Event"))
            .where(state.table("Event").c.id == event_id)
            .values(data={"endpoint_id": first.id})
        )
    assert replayed(app, first) == set()
    assert replayed(app, second) == {event_id}


def test_replay_to_a_paused_endpoint_is_held(app: Flask, endpoint: Endpoint) -> None:
    old_event(app, HOUR)
    update(app, "Endpoint", endpoint.id, state="paused")
    assert len(replayed(app, endpoint)) == 1
    assert states(app) == {"held": 1}


def test_events_that_come_after_the_start_are_not_meant(app: Flask, access: Access) -> None:
    endpoint = add_endpoint(app)
    old_event(app, HOUR)
    task = actions.start_task(access, "replay", endpoint.id, since=LONG_AGO)
    later = old_event(app, -HOUR)
    work(app)
    assert queries.get_task(access, task.id).task.done == 1
    assert later not in {row.event_id for row in deliveries(app)}


def test_a_replay_says_from_when_on_there_is_history(app: Flask, access: Access) -> None:
    endpoint = add_endpoint(app, tenant="app_1")
    assert queries.preview_task(access, "replay", endpoint.id, since=LONG_AGO).history_since is None
    old_event(app, 9 * HOUR, tenant="app_2")
    old_event(app, 5 * HOUR, tenant="app_1")
    seen = queries.preview_task(access, "replay", endpoint.id, since=LONG_AGO)
    assert seen.history_since is not None
    assert abs(seen.history_since - (datetime.now(UTC) - 5 * HOUR)) < HOUR
    with pytest.raises(InvalidInput, match="There are no events from before that time: the first"):
        actions.start_task(
            access, "replay", endpoint.id, since=LONG_AGO, until=LONG_AGO + 24 * HOUR
        )
    assert queries.list_tasks(access).items == []


# -- resend, cancel, release, discard -----------------------------------------------------------------


def one_of_each(app: Flask, endpoint: Endpoint) -> dict[str, str]:
    """A delivery in every state: its id by state."""
    return {
        str(state): add_delivery(app, endpoint, state, attempt_count=2) for state in DeliveryState
    }


def left(app: Flask, made: dict[str, str]) -> dict[str, str]:
    """Where those deliveries stand now that moved."""
    found = by_id(app)
    return {
        state: found[delivery_id].state
        for state, delivery_id in made.items()
        if found[delivery_id].state != state or found[delivery_id].actor == "tester"
    }


def test_resend_takes_everything_but_what_is_being_sent(app: Flask, endpoint: Endpoint) -> None:
    made = one_of_each(app, endpoint)
    seen = queries.preview_task(accessing(app), "resend", endpoint.id)
    assert seen.states == dict.fromkeys([*AT_REST, "pending"], 1)
    assert do(app, "resend", endpoint.id).task.done == 5
    assert left(app, made) == dict.fromkeys([*AT_REST, "pending"], "pending")
    assert {row.attempt_count for row in deliveries(app)} == {2}


def test_a_test_that_is_resent_stays_one(app: Flask, endpoint: Endpoint) -> None:
    delivery_id = failed(app, endpoint, trigger="test")
    update(app, "Endpoint", endpoint.id, state="paused")
    do(app, "resend", endpoint.id)
    row = by_id(app)[delivery_id]
    assert (row.state, row.trigger) == ("pending", "test")
    assert row.due_at is not None


def test_cancel_takes_what_waits(app: Flask, endpoint: Endpoint) -> None:
    made = one_of_each(app, endpoint)
    assert do(app, "cancel", endpoint.id).task.done == 2
    assert left(app, made) == {"pending": "cancelled", "held": "cancelled"}
    row = by_id(app)[made["pending"]]
    assert (row.reason, row.due_at) == ("cancelled", None)
    assert row.completed_at is not None


def test_what_a_worker_takes_after_it_was_selected_is_not_cancelled(
    app: Flask, endpoint: Endpoint, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch looks first and changes then: between the two a delivery may be on its way already."""
    for _ in range(3):
        add_delivery(app, endpoint)
    taken: list[str] = []
    look = runner.Runner._look
    looked: list[int] = []

    def look_and_note(self: runner.Runner, *arguments: Any) -> Any:
        rows = look(self, *arguments)
        looked.append(len(rows))
        return rows

    def let_another_go_first(*arguments: Any) -> None:
        if looked and not taken:
            taken.append(worker.take_one()[0].delivery_id)
        take_write_lock(*arguments)

    monkeypatch.setattr(runner.Runner, "_look", look_and_note)
    monkeypatch.setattr("flask_webhooks.bulk.runner.take_write_lock", let_another_go_first)
    assert do(app, "cancel", endpoint.id).task.done == 2
    assert looked[0] == 3
    assert by_id(app)[taken[0]].state == "sending"
    assert states(app) == {"sending": 1, "cancelled": 2}


def test_discard_takes_what_is_held(app: Flask, endpoint: Endpoint) -> None:
    made = one_of_each(app, endpoint)
    assert do(app, "discard", endpoint.id).task.done == 1
    assert left(app, made) == {"held": "cancelled"}
    assert by_id(app)[made["held"]].reason == "discarded"


def test_release_sends_what_was_kept_at_the_resume(
    app: Flask, access: Access, endpoint: Endpoint
) -> None:
    actions.pause_endpoint(access, endpoint.id)
    emit(app, 3)
    with pytest.raises(InvalidTransition, match="paused: resume it"):
        queries.preview_task(access, "release", endpoint.id)
    actions.resume_endpoint(access, endpoint.id, held="keep")
    assert states(app) == {"held": 3}
    assert do(app, "release", endpoint.id).task.done == 3
    assert {(row.state, row.trigger, row.reason) for row in deliveries(app)} == {
        ("pending", "event", None)
    }


def test_release_of_all_endpoints_leaves_paused_ones_alone(app: Flask) -> None:
    active, paused = add_endpoint(app), add_endpoint(app)
    for item in (active, paused):
        add_delivery(app, item, "held", reason="kept")
    update(app, "Endpoint", paused.id, state="paused")
    assert do(app, "release").task.total == 1
    assert {row.endpoint_id: row.state for row in deliveries(app)} == {
        active.id: "pending",
        paused.id: "held",
    }


FILTERS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["a", "b", "c", "d"]),
    ({"state": "failed"}, ["a", "b"]),
    ({"event_type": "user.registered"}, ["b"]),
    ({"status": "503"}, ["a"]),
    ({"status": "5xx"}, ["a", "b"]),
    ({"status": "none"}, ["c"]),
    ({"status": "2xx", "state": "succeeded"}, ["d"]),
    ({"status": "4xx"}, []),
    ({"event_id": "evt_a"}, ["a"]),
]


@pytest.mark.parametrize(("given", "expected"), FILTERS)
def test_a_filter_selects(
    app: Flask, endpoint: Endpoint, given: TaskFilter, expected: list[str]
) -> None:
    made = {
        "a": failed(app, endpoint, last_status=503, event_id="evt_a"),
        "b": failed(app, endpoint, last_status=500, event_type="user.registered"),
        "c": add_delivery(app, endpoint, "cancelled"),
        "d": add_delivery(app, endpoint, "succeeded", last_status=204),
    }
    seen = queries.preview_task(accessing(app), "resend", endpoint.id, **given)
    assert (seen.count, seen.more) == (len(expected), False)
    assert do(app, "resend", endpoint.id, **given).task.done == len(expected)
    found = by_id(app)
    assert [name for name, key in made.items() if found[key].state == "pending"] == expected


def test_since_and_until_are_about_when_deliveries_were_made(app: Flask, access: Access) -> None:
    endpoint = add_endpoint(app)
    first = add_delivery(app, endpoint, "succeeded")
    middle = datetime.now(UTC) + timedelta(milliseconds=2)
    while datetime.now(UTC) < middle + timedelta(milliseconds=2):
        pass
    second = add_delivery(app, endpoint, "succeeded")
    # Whichever is selected is selected alone.
    for filter, chosen in (({"until": middle}, first), ({"since": middle}, second)):
        assert queries.preview_task(access, "resend", endpoint.id, **filter).count == 1  # type: ignore[arg-type]
        do(app, "resend", endpoint.id, **filter)
        assert by_id(app)[chosen].state == "pending"


# -- checks -------------------------------------------------------------------------------------------

BAD: list[tuple[str, dict[str, Any], str, str]] = [
    ("explode", {}, "kind", "recover, replay"),
    ("recover", {}, "since", "start time"),
    ("recover", {"since": datetime(2026, 1, 1)}, "since", "time zone"),  # noqa: DTZ001
    ("recover", {"since": "yesterday"}, "since", "time zone"),
    ("recover", {"since": LONG_AGO, "until": LONG_AGO}, "until", "later"),
    ("recover", {"since": LONG_AGO, "state": "pending"}, "state", "failed"),
    ("resend", {"state": "sending"}, "state", "succeeded"),
    ("cancel", {"state": "failed"}, "state", "held, pending"),
    ("replay", {"since": LONG_AGO, "state": "failed"}, "state", "this state"),
    ("replay", {"since": LONG_AGO, "status": "500"}, "status", "leave this out"),
    ("resend", {"status": "6xx"}, "status", "5xx"),
    ("resend", {"status": 500}, "status", "5xx"),
    ("resend", {"event_type": "x\0"}, "event_type", "printable"),
    ("resend", {"event_id": "e" * 33}, "event_id", "32"),
]


@pytest.mark.parametrize(("kind", "filter", "field", "words"), BAD)
def test_bad_wishes_name_their_field_and_write_nothing(
    app: Flask,
    access: Access,
    endpoint: Endpoint,
    kind: str,
    filter: dict[str, Any],
    field: str,
    words: str,
) -> None:
    for function in (queries.preview_task, actions.start_task):
        with pytest.raises(InvalidInput) as caught:
            function(access, kind, endpoint.id, **filter)
        assert caught.value.field == field
        assert words in caught.value.message
    assert queries.list_tasks(access).items == []
    assert [row.action for row in activity(app)] == ["endpoint.created"]


def test_a_replay_needs_an_endpoint(access: Access) -> None:
    with pytest.raises(InvalidInput, match="Name the endpoint") as caught:
        actions.start_task(access, "replay", since=LONG_AGO)
    assert caught.value.field == "endpoint_id"


def test_an_unknown_filter_is_a_mistake_of_the_caller(access: Access) -> None:
    with pytest.raises(TypeError, match="filtered by colour"):
        actions.start_task(access, "resend", colour="red")  # type: ignore[call-arg]


def test_a_selection_survives_the_database() -> None:
    given: TaskFilter = {"since": LONG_AGO, "until": LONG_AGO + HOUR, "status": "5xx"}
    selection = check_filter(TaskKind.RESEND, given)
    assert Selection.from_json(selection.as_json()) == selection


def test_times_beyond_all_ids_are_the_first_and_the_last(app: Flask, endpoint: Endpoint) -> None:
    failed(app, endpoint)
    east, west = timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))
    first, last = datetime.min.replace(tzinfo=east), datetime.max.replace(tzinfo=west)
    assert do(app, "resend", endpoint.id, since=first, until=last).task.done == 1


# -- previews -----------------------------------------------------------------------------------------


def test_a_preview_tells_count_and_times(app: Flask, access: Access, endpoint: Endpoint) -> None:
    empty = queries.preview_task(access, "recover", endpoint.id, since=LONG_AGO)
    assert (empty.count, empty.text, empty.oldest, empty.newest) == (0, "0", None, None)
    now = database_time(app)
    for hours in (5, 3, 1):
        failed(app, endpoint, created_at=now - hours * HOUR)
    with statements(app) as executed:
        seen = queries.preview_task(access, "recover", endpoint.id, since=LONG_AGO)
    assert len(executed) <= 3
    assert (seen.count, seen.text, seen.states) == (3, "3", {"failed": 3})
    assert (seen.oldest, seen.newest) == (now - 5 * HOUR, now - HOUR)
    assert seen.endpoint is not None
    assert seen.endpoint.id == endpoint.id
    assert states(app) == {"failed": 3}


def test_a_preview_of_very_many_says_so_and_the_worker_counts_them(
    app: Flask, access: Access, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_webhooks.bulk.looking.LOOKED_AT", 3)
    for _ in range(5):
        failed(app, endpoint)
    seen = queries.preview_task(access, "recover", endpoint.id, since=LONG_AGO)
    assert (seen.count, seen.more, seen.text) == (3, True, "3+")
    task = actions.start_task(access, "recover", endpoint.id, since=LONG_AGO)
    row = queries.get_task(access, task.id)
    assert (row.task.total, row.progress) == (None, None)
    work(app)
    row = queries.get_task(access, task.id)
    assert (row.task.total, row.task.done, row.progress) == (5, 5, 1.0)


# -- one at a time ------------------------------------------------------------------------------------


def test_one_task_of_a_kind_for_an_endpoint(app: Flask, access: Access, endpoint: Endpoint) -> None:
    first = actions.start_task(access, "cancel", endpoint.id)
    with pytest.raises(InvalidTransition, match=f"cancel of this endpoint .*{first.id}") as caught:
        actions.start_task(access, "cancel", endpoint.id)
    assert caught.value.state == "waiting"
    actions.start_task(access, "discard", endpoint.id)
    actions.start_task(access, "cancel", add_endpoint(app).id)
    actions.start_task(access, "cancel")
    with pytest.raises(InvalidTransition, match="of all endpoints"):
        actions.start_task(access, "cancel")
    work(app)
    actions.start_task(access, "cancel", endpoint.id)


def test_of_two_that_start_at_once_one_is_refused(app: Flask, endpoint: Endpoint) -> None:
    def start() -> str:
        with app.app_context():
            return actions.start_task(accessing(app), "cancel", endpoint.id).id

    results = at_once(start, start, start, start)
    assert sum(isinstance(item, str) for item in results) == 1, results
    assert sum(isinstance(item, InvalidTransition) for item in results) == 3, results


def test_tasks_take_turns(app: Flask, access: Access) -> None:
    endpoints = [add_endpoint(app) for _ in range(3)]
    started = [actions.start_task(access, "cancel", item.id).id for item in endpoints]
    for item in endpoints:
        for _ in range(2):
            add_delivery(app, item)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "BATCH", 1)
        tasks = []
        for _ in range(3):
            with state_of(app).engine.connect() as connection:
                held = claim(state_of(app), connection)
                assert held is not None
                tasks.append(held.id)
                runner.Runner(state_of(app), connection, held).give_back()
    assert sorted(tasks) == sorted(started)


# -- stopping, and what happens meanwhile -------------------------------------------------------------


def test_a_stop_takes_effect_at_the_next_batch(
    app: Flask, access: Access, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "BATCH", 2)
    for _ in range(6):
        failed(app, endpoint)
    task = actions.start_task(access, "recover", endpoint.id, since=LONG_AGO)
    calls = []

    def enough() -> bool:
        calls.append(1)
        if len(calls) == 2:
            stopped = actions.stop_task(access, task.id)
            assert (stopped.state, stopped.done) == ("stopped", 4)
        return False

    assert run_next(state_of(app), enough) is True
    assert states(app) == {"pending": 4, "failed": 2}
    row = queries.get_task(access, task.id)
    assert (row.task.state, row.task.done, row.ended) == ("stopped", 4, True)
    assert row.task.finished_at is not None
    work(app)
    assert states(app) == {"pending": 4, "failed": 2}
    with pytest.raises(InvalidTransition, match="already stopped"):
        actions.stop_task(access, task.id)


def test_a_stop_of_one_that_waits(app: Flask, access: Access, endpoint: Endpoint) -> None:
    failed(app, endpoint)
    task = actions.start_task(access, "recover", endpoint.id, since=LONG_AGO)
    actions.stop_task(access, task.id)
    work(app)
    assert states(app) == {"failed": 1}


def test_a_worker_that_was_taken_for_dead_changes_nothing_more(
    app: Flask, access: Access, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "BATCH", 1)
    for _ in range(3):
        failed(app, endpoint)
    task = actions.start_task(access, "recover", endpoint.id, since=LONG_AGO)
    state = state_of(app)
    with state.engine.connect() as one, state.engine.connect() as two:
        held = claim(state, one)
        assert held is not None
        assert claim(state, two) is None, "its lease has not run out"
        silent = runner.Runner(state, one, held)
        assert silent.step() is True
        update(app, "Task", task.id, lease_until=database_time(app) - HOUR)
        again = claim(state, two)
        assert again is not None
        with pytest.raises(lease.Lost):
            silent.step()
        one.rollback()
        silent.give_back()
        successor = runner.Runner(state, two, again)
        while successor.step():
            pass
    row = queries.get_task(access, task.id)
    assert (row.task.state, row.task.done) == ("finished", 3)


def test_the_endpoint_is_deleted_meanwhile(
    app: Flask, access: Access, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "BATCH", 1)
    for kind, count in (("recover", 2), ("replay", 2)):
        for _ in range(count):
            failed(app, endpoint) if kind == "recover" else old_event(app, HOUR)
    tasks = [
        actions.start_task(access, kind, endpoint.id, since=LONG_AGO)
        for kind in ("recover", "replay")
    ]
    actions.delete_endpoint(access, endpoint.id)
    work(app)
    for task in tasks:
        row = queries.get_task(access, task.id)
        assert (row.task.state, row.task.error) == ("failed", "The endpoint was deleted.")
    assert states(app) == {"failed": 2}


def test_a_fault_of_ours_ends_the_task_and_is_told_without_data(
    app: Flask,
    access: Access,
    endpoint: Endpoint,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    failed(app, endpoint)

    def fail(*arguments: Any) -> int:
        raise KeyError("AAAA-BBBB")

    monkeypatch.setattr(runner, "change_deliveries", fail)
    row = do(app, "recover", endpoint.id, since=LONG_AGO)
    assert row.task.state == "failed"
    assert row.task.error is not None
    assert "KeyError" in row.task.error
    assert "AAAA-BBBB" not in row.task.error
    assert "failed" in caplog.text
    assert states(app) == {"failed": 1}


def test_old_tasks_are_forgotten(app: Flask, access: Access, endpoint: Endpoint) -> None:
    old, recent = do(app, "cancel", endpoint.id), do(app, "discard", endpoint.id)
    update(app, "Task", old.task.id, finished_at=database_time(app) - timedelta(days=31))
    latest = do(app, "resend", endpoint.id)
    assert [row.task.id for row in queries.list_tasks(access).items] == [
        latest.task.id,
        recent.task.id,
    ]


# -- who may ------------------------------------------------------------------------------------------


def test_other_tenants_see_and_touch_nothing(app: Flask, access: Access) -> None:
    mine, theirs = add_endpoint(app, tenant="app_1"), add_endpoint(app, tenant="app_2")
    whole = add_endpoint(app)
    for item in (mine, theirs, whole):
        failed(app, item)
    tenant = as_tenant(app, "app_1")
    for item in (theirs, whole):
        for function in (queries.preview_task, actions.start_task):
            with pytest.raises(NotFound):
                function(tenant, "recover", item.id, since=LONG_AGO)
    foreign = [
        actions.start_task(access, "recover", theirs.id, since=LONG_AGO),
        actions.start_task(access, "recover", since=LONG_AGO),
    ]
    for task in foreign:
        with pytest.raises(NotFound):
            queries.get_task(tenant, task.id)
        with pytest.raises(NotFound):
            actions.stop_task(tenant, task.id)
        actions.stop_task(access, task.id)
    for bad in ("", "x\0", "task_" + "0" * 26, None, 7):
        with pytest.raises(NotFound):
            queries.get_task(tenant, bad)  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        queries.list_tasks(tenant, theirs.id)
    assert queries.list_tasks(tenant).items == []
    own = actions.start_task(tenant, "recover", since=LONG_AGO)
    work(app)
    assert queries.get_task(tenant, own.id).task.done == 1
    assert [row.task.id for row in queries.list_tasks(tenant).items] == [own.id]
    assert {row.endpoint_id: row.state for row in deliveries(app)} == {
        mine.id: "pending",
        theirs.id: "failed",
        whole.id: "failed",
    }


def test_what_the_operator_does_to_a_tenants_endpoint_the_tenant_sees(
    app: Flask, access: Access
) -> None:
    endpoint = add_endpoint(app, tenant="app_1")
    task = actions.start_task(access, "cancel", endpoint.id)
    tenant = as_tenant(app, "app_1")
    [row] = queries.list_tasks(tenant, endpoint.id).items
    assert row.task.id == task.id
    assert row.endpoint is not None
    assert row.endpoint.id == endpoint.id
    assert [row.task.id for row in queries.list_tasks(tenant, unfinished=True).items] == [task.id]
    work(app)
    assert queries.list_tasks(tenant, unfinished=True).items == []


def test_each_right_is_asked_for(app: Flask, access: Access, endpoint: Endpoint) -> None:
    asked: list[tuple[str, str | None]] = []

    def may(action: str, about: Endpoint | None) -> bool:
        asked.append((action, None if about is None else about.id))
        return action == "view"

    reader = Access(access.state, "reader", access.tenant, may)
    task = actions.start_task(access, "cancel", endpoint.id)
    queries.preview_task(reader, "recover", endpoint.id, since=LONG_AGO)
    queries.get_task(reader, task.id)
    queries.list_tasks(reader)
    assert asked == [("view", endpoint.id), ("view", endpoint.id), ("view", None)]
    asked.clear()
    with pytest.raises(Forbidden, match="send or cancel"):
        actions.start_task(reader, "recover", endpoint.id, since=LONG_AGO)
    with pytest.raises(Forbidden):
        actions.start_task(reader, "recover", since=LONG_AGO)
    with pytest.raises(Forbidden):
        actions.stop_task(reader, task.id)
    assert asked == [("send", endpoint.id), ("send", None), ("send", endpoint.id)]


def test_the_audit_trail_tells_who_did_what_to_how_many(
    app: Flask, access: Access, endpoint: Endpoint
) -> None:
    failed(app, endpoint)
    task = do(app, "recover", endpoint.id, since=LONG_AGO).task
    other = actions.start_task(accessing(app, "somebody"), "cancel", endpoint.id)
    actions.stop_task(accessing(app, "else"), other.id)
    rows = [row for row in activity(app) if row.action.startswith("task.")]
    assert [(row.actor, row.action, row.endpoint_id, row.changes) for row in rows] == [
        (
            "tester",
            "task.started",
            endpoint.id,
            {
                "task": task.id,
                "kind": "recover",
                "filter": {"since": LONG_AGO.isoformat()},
                "count": "1",
            },
        ),
        (
            "tester",
            "task.finished",
            endpoint.id,
            {"task": task.id, "kind": "recover", "done": 1},
        ),
        (
            "somebody",
            "task.started",
            endpoint.id,
            {"task": other.id, "kind": "cancel", "filter": {}, "count": "1"},
        ),
        ("else", "task.stopped", endpoint.id, {"task": other.id, "kind": "cancel", "done": 0}),
    ]


def test_lists_of_tasks_are_paged(app: Flask, access: Access) -> None:
    made = [actions.start_task(access, "cancel", add_endpoint(app).id).id for _ in range(5)]
    page = queries.list_tasks(access, limit=3)
    rest = queries.list_tasks(access, before=page.next_before, limit=3)
    assert [row.task.id for row in page.items + rest.items] == made[::-1]
    assert rest.next_before is None
    with statements(app) as executed:
        queries.list_tasks(access)
    assert len(executed) == 1


# -- beside deliveries --------------------------------------------------------------------------------


def test_a_large_replay_leaves_other_endpoints_their_turn(app: Flask, worker: Worker) -> None:
    quiet, busy = add_endpoint(app), add_endpoint(app)
    for _ in range(300):
        failed(app, busy)
    do(app, "recover", busy.id, since=LONG_AGO)
    add_delivery(app, quiet)
    taken = Counter(claimed.endpoint_id for claimed, _ in worker.take(64))
    assert taken[quiet.id] == 1


def test_webhooks_of_the_host_can_be_asked_in_its_own_code(app: Flask) -> None:
    assert webhooks_of(app).models.Task is state_of(app).models.Task
