"""One person's data is gone: from events, attempts and tasks, with what still waits; and says so everywhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_webhooks import actions, queries
from flask_webhooks.app_state import state_of
from flask_webhooks.bulk import erasing, runner
from flask_webhooks.bulk.background import anything_waiting
from flask_webhooks.bulk.runner import run_next
from flask_webhooks.errors import Forbidden, InvalidInput, InvalidTransition
from flask_webhooks.models import Event, Task
from flask_webhooks.outbox.session_events import Later
from flask_webhooks.outbox.store import NewEvent
from tests.cli.test_cli import refused, run
from tests.support.api_calls import Api
from tests.support.api_calls import make_app as make_api
from tests.support.delivering import (
    attempts,
    db_of,
    deliveries,
    drain,
    emit,
    events,
    make_due,
    models_of,
    states,
    webhooks_of,
)
from tests.support.helpers import (
    accessing,
    activity,
    add_endpoint,
    as_tenant,
    at_once,
    close,
    update,
)
from tests.support.pages import Browser, make_app
from tests.support.processes import COMMAND, WorkerProcess, config_of, wait_until
from tests.support.receiver import Receiver
from tests.support.working import Worker

ANN, BOB = {"user_id": 42, "email": "ann@example.com"}, {"user_id": 420, "email": "bob@example.com"}


@pytest.fixture
def app(database_url: str, redis_url: str) -> Iterator[Flask]:
    app = make_app(database_url, redis_url)
    webhooks_of(app).hooks.current_actor = lambda: "ops@example.com"
    with app.app_context():
        yield app
        close(app)


def work(app: Flask) -> None:
    while run_next(state_of(app), lambda: False):
        pass


def erase(app: Flask, where: Any = None, **values: Any) -> Task:
    """Erase, and do the task."""
    task = actions.erase(accessing(app), {"user_id": 42} if where is None else where, **values)
    work(app)
    return queries.get_task(accessing(app), task.id).task


def everything(app: Flask) -> str:
    """All that our tables hold."""
    found = []
    with state_of(app).engine.connect() as connection:
        for table in models_of(app).tables():
            found += [str(tuple(row)) for row in connection.execute(sa.select(table))]
            for column in table.c:
                if isinstance(column.type, sa.types.TypeDecorator):
                    raw = sa.select(sa.type_coerce(column, sa.Text()))
                    found += [str(value) for value in connection.scalars(raw)]
    return "\n".join(found)


def two_people(app: Flask, receiver: Receiver) -> tuple[str, str]:
    """An event of each, delivered to two receivers that repeat what they get; one of them refuses it."""
    for path in ("/ok", "/status/500"):
        webhooks_of(app).create_endpoint(receiver.url(path), ["license.*"])
    [ann] = emit(app, data={"license_id": "lic_1", "user": ANN}, idempotency_key="ann@example.com")
    [bob] = emit(app, data={"license_id": "lic_2", "user": BOB})
    drain(app)
    table = models_of(app).table("Attempt")
    with state_of(app).engine.begin() as connection:
        connection.execute(sa.update(table).values(response_body=table.c.request_body))
    return ann, bob


def test_data_is_gone_from_events_and_attempts(app: Flask, receiver: Receiver) -> None:
    ann, bob = two_people(app, receiver)
    assert "ann@example.com" in everything(app)
    task = erase(app)
    assert (task.state, task.total, task.done, task.changed) == ("finished", 2, 2, 1)
    assert "ann@example.com" not in everything(app)
    by_id = {event.id: event for event in events(app)}
    assert by_id[ann].data == {}
    assert by_id[ann].erased_at is not None
    assert by_id[bob].data["user"] == BOB
    assert by_id[bob].erased_at is None
    for attempt in attempts(app):
        kept = attempt.request_body is not None
        assert kept == (attempt.response_body is not None)
    assert sum(item.request_body is not None for item in attempts(app)) == 2
    # A second time there is nothing left.
    assert erase(app).changed == 0


def test_what_waits_is_cancelled_and_says_so(app: Flask, receiver: Receiver) -> None:
    ann, bob = two_people(app, receiver)
    held = webhooks_of(app).create_endpoint(receiver.url(), ["license.*"]).endpoint
    actions.pause_endpoint(accessing(app), held.id)
    emit(app, data={"user_id": 42})
    before = {row.id: row.state for row in deliveries(app)}
    erase(app)
    after = {row.id: row for row in deliveries(app)}
    waited = [row for row in after.values() if before[row.id] in ("pending", "held")]
    assert {row.state for row in waited if row.event_id != bob} == {"cancelled"}
    assert {row.reason for row in waited if row.event_id != bob} == {"erased"}
    assert {row.state for row in waited if row.event_id == bob} == {"pending"}
    make_due(app)
    sent = receiver.ids()[ann]
    drain(app)
    assert receiver.ids()[ann] == sent
    cancelled = next(row for row in waited if row.event_id == ann)
    page = Browser(app).get(f"/deliveries/{cancelled.id}").text
    assert "The data of the event was erased." in page


def test_request_under_way_leaves_nothing(app: Flask) -> None:
    webhooks_of(app).create_endpoint("https://example.com/in", ["license.*"])
    emit(app, data=ANN)
    worker = Worker(app)
    flying = worker.take_one()
    erase(app)
    settled = worker.answer(flying, 500, response_body="ann@example.com")
    worker.close()
    assert settled.stale == 1
    assert attempts(app) == []
    assert states(app) == {"cancelled": 1}
    assert "ann@example.com" not in everything(app)


def test_what_receivers_said_of_it_is_gone(app: Flask, receiver: Receiver) -> None:
    """Formats of chats put what was answered into the error."""
    two_people(app, receiver)
    table = models_of(app).table("Attempt")
    with state_of(app).engine.begin() as connection:
        connection.execute(
            sa.update(table)
            .where(table.c.status == 500)
            .values(
                error_code="refused_explained",
                error_params={"status": "500", "said": "unknown: ann@example.com"},
            )
        )
    erase(app)
    errors = {
        (item.request_body is None, str(item.error)) for item in attempts(app) if item.status == 500
    }
    assert errors == {
        (True, "The receiver responded with 500."),
        (False, "The receiver responded with 500: unknown: ann@example.com"),
    }


def test_task_and_audit_log_hold_digests_only(app: Flask, receiver: Receiver) -> None:
    emit_kept(app, {"user_id": "secret-person"})
    task = actions.erase(accessing(app), {"user_id": "secret-person"})
    vault = state_of(app).vault
    digest = task.filter["where"]["user_id"]
    assert vault.has_made(digest, "secret-person")
    # Encrypted for the worker, until it is over.
    assert vault.decrypt(task.input_sealed) == {"user_id": "secret-person"}  # type: ignore[arg-type]
    assert everything(app).count("secret-person") == 2
    work(app)
    assert "secret-person" not in everything(app)
    ended = queries.get_task(accessing(app), task.id).task
    assert ended.input_sealed is None
    started, finished = activity(app)[-2:]
    assert started.changes is not None
    assert finished.changes is not None
    assert started.changes["filter"] == {"where": {"user_id": digest}}
    assert (finished.action, finished.changes["done"], finished.changes["changed"]) == (
        "task.finished",
        1,
        1,
    )


def test_stopped_task_forgets_what_it_looked_for(app: Flask) -> None:
    task = actions.erase(accessing(app), {"user_id": 42})
    stopped = actions.stop_task(accessing(app), task.id)
    assert stopped.input_sealed is None


def test_task_whose_key_is_lost_says_so(app: Flask, database_url: str, redis_url: str) -> None:
    task = actions.erase(accessing(app), {"user_id": 42})
    other = make_app(database_url, redis_url, SECRET_KEY="another")
    with other.app_context():
        work(other)
    close(other)
    ended = queries.get_task(accessing(app), task.id).task
    assert ended.state == "failed"
    assert "start the task again" in (ended.error or "")


def test_test_events_are_erased_too(app: Flask, receiver: Receiver) -> None:
    endpoint = add_endpoint(app, receiver.url())
    actions.send_test(accessing(app), endpoint.id, "license.created", {"license_id": "x", **ANN})
    drain(app)
    assert erase(app).changed == 1
    assert "ann@example.com" not in everything(app)


def test_only_in_events_of_a_tenant(app: Flask) -> None:
    webhooks_of(app).create_endpoint("https://example.com/in", ["license.*"])
    emit(app, data=ANN, tenant="app_1")
    emit(app, data=ANN, tenant="app_2")
    assert queries.preview_task(accessing(app), "erase", where=ANN, tenant="app_1").count == 1
    task = erase(app, tenant="app_1")
    assert (task.done, task.changed, task.filter["tenant"]) == (1, 1, "app_1")
    assert [event.data != {} for event in events(app)] == [False, True]


def test_members_are_compared_exactly(app: Flask) -> None:
    for value in (42, "42", 420, "x42", [42, 1], {"id": 42}):
        emit_kept(app, {"user_id": value})
    emit_kept(app, {"other": 42})
    assert erase(app).changed == 3
    assert [event.data == {} for event in events(app)] == [
        True,
        True,
        False,
        False,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    "value",
    ['say "hi"', "back\\slash", "Zoë", "İstanbul", "emoji \N{GRINNING FACE}", "50%_", "a\tb"],
)
def test_any_text_is_found(app: Flask, value: str) -> None:
    emit_kept(app, {"name": value})
    emit_kept(app, {"name": value + "x"})
    assert erase(app, {"name": value}).changed == 1


def test_function_decides_in_this_process(app: Flask) -> None:
    emit_kept(app, ANN)
    emit_kept(app, BOB)
    seen: list[Event] = []

    def of_ann(event: Event) -> bool:
        seen.append(event)
        return bool(event.data["email"].startswith("ann@"))

    task = webhooks_of(app).erase(of_ann)
    assert (task.state, task.done, task.changed) == ("finished", 2, 1)
    assert [event.type for event in seen] == ["license.created"] * 2
    assert "of_ann" in task.filter["where"]
    assert "ann@example.com" not in everything(app)
    assert activity(app)[-1].action == "task.finished"


def test_function_that_raises_ends_the_task(app: Flask) -> None:
    emit_kept(app, ANN)
    with pytest.raises(KeyError):
        webhooks_of(app).erase(lambda event: event.data["nothing"])
    [row] = queries.list_tasks(accessing(app)).items
    assert row.task.state == "failed"
    assert "KeyError" in (row.task.error or "")


def test_task_of_a_process_that_died_is_not_taken_for_done(app: Flask) -> None:
    emit_kept(app, ANN)
    task = webhooks_of(app).erase(lambda event: False)
    update(app, "Task", task.id, state="waiting", lease_token=None, finished_at=None)
    work(app)
    assert queries.get_task(accessing(app), task.id).task.state == "failed"


def test_python_starts_a_task_by_members(app: Flask) -> None:
    emit_kept(app, ANN)
    task = webhooks_of(app).erase({"email": "ann@example.com"})
    assert task.state == "waiting"
    work(app)
    assert events(app)[0].data == {}


def test_unwritten_events_are_forgotten(app: Flask) -> None:
    state = state_of(app)
    kept = state.unwritten
    for number, (data, tenant) in enumerate([(ANN, None), (BOB, None), (ANN, "app_2")]):
        event = NewEvent(
            f"evt_{number}", "login.failed", tenant, json.dumps(data), datetime.now(UTC)
        )
        kept._events.append(Later(state, event, None))
    actions.erase(accessing(app), {"user_id": 42}, tenant="app_2")
    assert len(kept._events) == 2
    webhooks_of(app).erase(lambda event: event.data["user_id"] == 42)
    assert [event.event.id for event in kept._events] == ["evt_1"]  # type: ignore[attr-defined]
    kept._events.clear()


def test_erased_event_is_not_sent_any_more(app: Flask, receiver: Receiver) -> None:
    endpoint = webhooks_of(app).create_endpoint(receiver.url("/status/410"), ["license.*"]).endpoint
    [event_id] = emit(app, data=ANN)
    drain(app)
    late = webhooks_of(app).create_endpoint(receiver.url(), ["user.*"]).endpoint
    all_of_it = webhooks_of(app).create_endpoint(receiver.url()).endpoint
    erase(app)
    access = accessing(app)
    [delivery] = deliveries(app)
    refused_so = pytest.raises(InvalidTransition, match=r"was erased on .* can no longer be sent")
    with refused_so:
        actions.resend(access, delivery.id)
    with refused_so:
        actions.subscribe_and_replay(access, late.id, event_id)
    since = datetime(2020, 1, 1, tzinfo=UTC)
    for kind, endpoint_id, values in (
        ("recover", endpoint.id, {"since": since}),
        ("resend", None, {}),
        ("replay", all_of_it.id, {"since": since}),
    ):
        assert queries.preview_task(access, kind, endpoint_id, **values).count == 0  # type: ignore[arg-type]
        task = actions.start_task(access, kind, endpoint_id, **values)  # type: ignore[arg-type]
        work(app)
        assert queries.get_task(access, task.id).task.done == 0
    assert len(deliveries(app)) == 1
    browser = Browser(app)
    page = browser.get(f"/deliveries/{delivery.id}").text
    assert "Resend" not in browser.get(f"/deliveries/{delivery.id}").buttons()
    assert "The data was erased." in page
    assert page.count("Erased.") == 4
    assert "Erased" in browser.get("/events").text
    shown_event = browser.get(f"/events/{event_id}")
    assert "The data was erased." in shown_event.text
    assert "Send the event…" not in str(shown_event.links())
    assert "Subscribe it" not in str(shown_event.links())
    assert "Its data was erased." in run(app, "events", "show", event_id).output
    assert "(Erased.)" in run(app, "deliveries", "show", delivery.id, "--bodies").output
    shown = json.loads(run(app, "deliveries", "show", delivery.id, "--json").output)
    assert shown["event"]["erased_at"]
    assert shown["attempts"][0]["request_body_missing"] == "erased"


def test_repeat_of_a_key_finds_the_erased_event(app: Flask) -> None:
    [first] = emit_kept(app, ANN, idempotency_key="once")
    erase(app)
    assert emit_kept(app, ANN, idempotency_key="once") == [first]
    assert len(events(app)) == 1


def test_many_go_a_batch_at_a_time(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasing, "BATCH", 3)
    monkeypatch.setattr(erasing, "FIRST", 4)
    for number in range(20):
        emit_kept(app, ANN if number % 2 else BOB)
    began = runner.Runner.step
    seen: list[tuple[int, int]] = []

    def step(self: runner.Runner) -> bool:
        more = began(self)
        row = self._connection.execute(sa.select(self.state.table("Task"))).one()
        self._connection.rollback()
        seen.append((row.done, row.changed or 0))
        return more

    monkeypatch.setattr(runner.Runner, "step", step)
    task = erase(app)
    assert (task.total, task.done, task.changed) == (20, 20, 10)
    assert all(later[1] - earlier[1] <= 3 for earlier, later in pairwise(seen))
    assert len(seen) > 4


def test_statements_stay_short_however_large_the_data_is(app: Flask) -> None:
    search = erasing.EventSearch(state_of(app), lambda event: False, None)
    assert search._next_size(0.01) == 2 * erasing.FIRST
    assert search._next_size(1.0) == erasing.FIRST * erasing.GOAL
    search._size = 1
    assert search._next_size(5.0) == 1


@pytest.mark.slow
def test_workers_that_deliver_meanwhile_leave_nothing(app: Flask, receiver: Receiver) -> None:
    for path in ("/ok", "/status/500"):
        webhooks_of(app).create_endpoint(receiver.url(path), ["license.*"])
    emit(app, 60, data={"license_id": "lic_1", "user": ANN})
    results = at_once(lambda: drain(app), lambda: bool(erase(app).changed))
    assert not [item for item in results if isinstance(item, Exception)], results
    assert "ann@example.com" not in everything(app)
    assert all(event.erased_at is not None for event in events(app))
    assert not {"pending", "sending", "held"} & set(states(app))


def test_event_that_is_sent_to_another_meanwhile_is_waited_for(app: Flask) -> None:
    state = state_of(app)
    if state.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer: nothing is changed meanwhile")
    [event_id] = emit_kept(app, ANN)
    late = add_endpoint(app, "https://example.com/late", events=["user.*"])
    with state.engine.connect() as eraser, eraser.begin():
        erasing.erase_events(state, eraser, [event_id])
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(
                in_context, app, actions.subscribe_and_replay, accessing(app), late.id, event_id
            )
            with pytest.raises(TimeoutError):
                sending.result(0.5)
            eraser.commit()
            with pytest.raises(InvalidTransition, match="was erased on"):
                sending.result(20)
    assert states(app) == {"cancelled": 1}


def in_context(app: Flask, act: Callable[..., Any], *arguments: Any) -> Any:
    with app.app_context():
        return act(*arguments)


def test_task_of_a_later_version_is_left_to_it(app: Flask) -> None:
    task = actions.erase(accessing(app), {"user_id": 42})
    update(app, "Task", task.id, kind="transmogrify")
    work(app)
    with state_of(app).engine.connect() as connection:
        assert not anything_waiting(state_of(app), connection)
    assert queries.get_task(accessing(app), task.id).task.state == "waiting"
    assert "transmogrify" in Browser(app).get(f"/tasks/{task.id}").text


def test_preview_counts_exactly_and_changes_nothing(app: Flask) -> None:
    for data in (ANN, BOB, ANN):
        emit_kept(app, data)
    before = everything(app)
    seen = queries.preview_task(accessing(app), "erase", where={"user_id": 42})
    assert (seen.count, seen.more) == (2, False)
    assert seen.oldest is not None
    assert seen.newest is not None
    assert seen.oldest <= seen.newest
    assert everything(app) == before


def test_who_may_not_is_refused(app: Flask) -> None:
    with pytest.raises(Forbidden, match="Only users who can see every tenant"):
        actions.erase(as_tenant(app, "app_1"), {"user_id": 42})
    with pytest.raises(Forbidden, match="Only users who can see every tenant"):
        actions.erase(as_tenant(app, "app_1"), lambda event: True)
    for mistake in ({"since": datetime.now(UTC)}, {"event_type": "license.created"}):
        with pytest.raises(InvalidInput, match="everywhere it occurs"):
            actions.start_task(accessing(app), "erase", where=ANN, **mistake)
    with pytest.raises(InvalidInput, match="everywhere it occurs"):
        actions.start_task(accessing(app), "erase", add_endpoint(app).id, where=ANN)
    with pytest.raises(InvalidInput, match="Only an erasure"):
        actions.start_task(accessing(app), "resend", where=ANN)
    with pytest.raises(InvalidInput, match="Specify whose data"):
        webhooks_of(app).erase("user_id=42")  # type: ignore[arg-type]


def test_page_is_for_those_who_may_delete_everything(app: Flask) -> None:
    webhooks_of(app).hooks.authorize = lambda action, endpoint: action != "delete_all"
    browser = Browser(app)
    assert "erase data" in browser.get("/erase", 403).text
    browser.post("/erase", {"where": "user_id=42", "confirmed": "y"}, 403)
    assert "Erase the data of a person…" not in browser.get("/health").links()


def test_page_asks_first(app: Flask) -> None:
    emit_kept(app, ANN)
    emit_kept(app, BOB)
    browser = Browser(app)
    assert browser.get("/health").link("Erase the data of a person…").endswith("/erase")
    page = browser.get("/erase")
    page = browser.send(page, "/erase", {"where": "user_id"}, 422)
    assert "Write a member and its value" in page.text
    page = browser.send(page, "/erase", {"where": "user_id=42\nemail=ann@example.com"}, 200)
    assert "1 event" in page.text
    assert events(app)[0].data == ANN
    page = browser.send(page, "/erase")
    assert "Erase the data of a person" in page.text
    assert "user_id with the digest" in page.text
    assert "ann@example.com" not in page.text
    work(app)
    [row] = queries.list_tasks(accessing(app)).items
    shown = browser.get(f"/tasks/{row.task.id}").text
    assert "Looked at 2 of 2 events" in shown
    assert "1 event erased" in shown
    assert [event.data for event in events(app)] == [{}, BOB]


def test_command_erases(app: Flask) -> None:
    emit_kept(app, ANN)
    emit_kept(app, BOB)
    line, *more = run(app, "erase", "--where", "user_id=42", "--dry-run").output.splitlines()
    assert line.startswith("1 events, from ")
    assert more == []
    assert "Erase them? [y/N]" in run(app, "erase", "--where", "user_id=42").output
    assert "Started task_" in run(app, "erase", "--where", "user_id=42", "--yes").output
    work(app)
    assert [event.data for event in events(app)] == [{}, BOB]
    assert "such as user_id=42" in refused(run(app, "erase", "--where", "user_id"))
    assert run(app, "erase", "--where", "user_id=42", "--yes").output == "0 events.\n"


def test_api_erases(database_url: str, redis_url: str) -> None:
    app = make_api(database_url, redis_url)
    with app.app_context():
        _erase_by_api(app)
    close(app)


def _erase_by_api(app: Flask) -> None:
    emit_kept(app, ANN, tenant="app_1")
    api = Api(app)
    wish = {"kind": "erase", "where": {"user_id": 42}}
    assert api.post("/tasks/preview", wish)["count"] == 1
    assert "see all tenants" in api.post("/tasks", wish, 422)["detail"]
    assert "Specify whose data" in api.post("/tasks/preview", {"kind": "erase"}, 422)["detail"]
    for value in (True, None, 4.2, [42], {"id": 42}, ""):
        mistaken = {"kind": "erase", "where": {"user_id": value}, "all_tenants": True}
        assert "Write the value of user_id" in api.post("/tasks", mistaken, 422)["detail"]
    nonsense: tuple[Any, ...] = ("user_id=42", [], {}, 42)
    for where in nonsense:
        wrong = {"kind": "erase", "where": where, "all_tenants": True}
        assert "Specify whose data" in api.post("/tasks", wrong, 422)["detail"]
    assert api.post("/tasks/preview", {**wish, "tenant": "app_2"})["count"] == 0
    task = api.post("/tasks", {**wish, "tenant": "app_1"}, 202)
    assert task["filter"]["tenant"] == "app_1"
    assert "42" not in str(task["filter"]["where"].values())
    work(app)
    task = api.get(f"/tasks/{task['id']}")
    assert (task["state"], task["changed"], task["progress"]) == ("finished", 1, 1.0)
    assert events(app)[0].data == {}


@pytest.mark.slow
def test_a_worker_erases(app: Flask, receiver: Receiver, tmp_path: Path) -> None:
    ann, bob = two_people(app, receiver)
    with WorkerProcess(COMMAND, config_of(app), tmp_path / "worker.log") as worker:
        task = webhooks_of(app).erase({"user_id": 42})

        def over() -> bool:
            return queries.get_task(accessing(app), task.id).ended

        wait_until(over, 30, worker.output)
    assert "ann@example.com" not in everything(app)
    assert {event.id: bool(event.data) for event in events(app)} == {ann: False, bob: True}


def emit_kept(app: Flask, data: dict[str, Any], **options: Any) -> list[str]:
    """Emit an event that some endpoint gets."""
    if not queries.list_endpoints(accessing(app)):
        add_endpoint(app)
    return emit(app, data=data, **options)


def test_scheduled_event_is_cancelled(app: Flask) -> None:
    webhooks, session = webhooks_of(app), db_of(app).session
    for number in (41, 42):
        webhooks.emit(
            "user.registered",
            {"user_id": str(number), "username": "ann"},
            tenant="app_1",
            deliver_at=datetime.now(UTC) + timedelta(days=7),
            key=f"welcome:{number}",
        )
    session.commit()
    ended = erase(app, tenant="app_1")
    assert (ended.state, ended.changed) == ("finished", 1)
    assert [row.key for row in queries.list_scheduled(accessing(app)).items] == ["welcome:41"]
    task = webhooks.erase(lambda event: event.data.get("user_id") == "41")
    assert (task.state, task.changed) == ("finished", 1)
    assert queries.list_scheduled(accessing(app)).items == []
