"""Owners of endpoints are told of incidents by the host's function: once for each stage, as reliably as events."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask, current_app

from flask_webhooks import actions, jobs, queries
from flask_webhooks.app_state import state_of
from flask_webhooks.delivery import owner_dispatch
from flask_webhooks.delivery.owner_call import RETRY_SCHEDULE
from flask_webhooks.delivery.retention import prune
from flask_webhooks.errors import ContactRefused
from flask_webhooks.models import Notification
from tests.support.delivering import close, drain, emit, make_app, models_of, webhooks_of
from tests.support.helpers import accessing, add_endpoint, as_tenant, database_time, statements
from tests.support.mailing import MailServer
from tests.support.processes import OURS, WorkerProcess, wait_until
from tests.support.receiver import Receiver
from tests.support.working import Worker, ended

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
OPS = "ops@customer.example"

Told = list[tuple[Any, Any, Any, Any]]


@pytest.fixture
def told(app: Flask) -> Told:
    """What the host's function was called with."""
    calls: Told = []

    @webhooks_of(app).notify
    def tell(*given: Any) -> None:
        assert current_app._get_current_object() is app  # type: ignore[attr-defined]
        calls.append(given)

    return calls


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


@pytest.fixture
def mailing(
    database_url: str, redis_url: str, mail_server: MailServer
) -> Iterator[tuple[Flask, MailServer]]:
    """A host that tells owners by mail, and the server that its mail goes to."""
    app = make_app(database_url, redis_url, MAIL_PORT=mail_server.port)
    with app.app_context():
        yield app, mail_server
        close(app)


def notifications(app: Flask) -> list[Notification]:
    """All of them, oldest first."""
    table = models_of(app).Notification
    with sa.orm.Session(state_of(app).engine) as session:
        return list(session.scalars(sa.select(table).order_by(table.id)))


def stages(app: Flask) -> list[str]:
    return [row.stage for row in notifications(app)]


def change_all(app: Flask, **values: Any) -> None:
    with state_of(app).engine.begin() as connection:
        connection.execute(sa.update(models_of(app).table("Notification")).values(values))


def make_due(app: Flask) -> None:
    """Let the time pass until every notification that waits is due."""
    table = models_of(app).table("Notification")
    before = database_time(app) - timedelta(seconds=1)
    with state_of(app).engine.begin() as connection:
        connection.execute(sa.update(table).where(table.c.state == "pending").values(due_at=before))


def fail(app: Flask, worker: Worker, times: int = 5) -> None:
    """Have so many requests fail, each of an event of its own."""
    emit(app, times, tenant="app_1")
    worker.settle(*(ended(flying, 500) for flying in worker.take()))


# -- what is recorded ----------------------------------------------------------------------------------


def test_each_stage_of_an_incident_is_recorded_once(app: Flask, told: Told) -> None:
    endpoint = add_endpoint(app, tenant="app_1", contact=OPS)
    with closing(Worker(app, retry_schedule=(1.0,) * 50)) as worker:
        fail(app, worker, 8)
        assert stages(app) == ["failing"]
        for days in (2.6, 2.0, 1.0):
            worker.wait(days * DAY)
            worker.answer(worker.take_one(), 500)
    assert stages(app) == ["failing", "half_time", "last_warning", "disabled"]
    assert {row.incident for row in notifications(app)} == {notifications(app)[0].incident}
    assert {row.endpoint_id for row in notifications(app)} == {endpoint.id}


def test_recovery_is_told_of_the_incident_that_it_ends(app: Flask, told: Told) -> None:
    add_endpoint(app, tenant="app_1")
    with closing(Worker(app, retry_schedule=(1.0,) * 9)) as worker:
        for _ in range(2):
            fail(app, worker, 6)
            worker.wait(10 * MINUTE)
            worker.answer(worker.take_one(), 200)
            worker.wait(10 * MINUTE)
            worker.answer_all()
    assert stages(app) == ["failing", "recovered", "failing", "recovered"]
    assert list(Counter(row.incident for row in notifications(app)).values()) == [2, 2]


def test_given_up_deliveries_are_counted_by_the_hour(app: Flask, told: Told) -> None:
    add_endpoint(app, tenant="app_1")
    with closing(Worker(app, retry_schedule=(), failing_after=1000)) as worker:
        worker.now = worker.now.replace(minute=10) + timedelta(hours=1)
        for count in (3, 4):
            fail(app, worker, count)
            worker.wait(MINUTE)
        worker.wait(HOUR)
        fail(app, worker, 2)
        first, second = notifications(app)
        assert [(row.stage, row.count) for row in (first, second)] == [
            ("given_up", 7),
            ("given_up", 2),
        ]
        assert first.due_at is not None
        assert first.due_at.minute == 1
        assert first.due_at > datetime.fromisoformat(first.incident) + timedelta(hours=1)


def test_nothing_is_recorded_without_a_function_of_the_host(app: Flask) -> None:
    add_endpoint(app, tenant="app_1", contact=OPS)
    with closing(Worker(app, retry_schedule=())) as worker, statements(app) as ran:
        fail(app, worker, 6)
        worker.next_due()
    assert notifications(app) == []
    assert [statement for statement in ran if "webhooks_notification" in statement] == []


def test_incident_that_is_rolled_back_is_not_told(
    app: Flask, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_endpoint(app, tenant="app_1")
    with closing(Worker(app)) as worker:
        monkeypatch.setattr(
            "flask_webhooks.delivery.settle.write.count_in_metrics", lambda *given: 1 / 0
        )
        with pytest.raises(ZeroDivisionError):
            fail(app, worker, 6)
    assert notifications(app) == []


def test_test_events_are_told_to_nobody(app: Flask, told: Told) -> None:
    endpoint = add_endpoint(app)
    with closing(Worker(app)) as worker:
        actions.send_test(accessing(app), endpoint.id)
        worker.answer_all(500)
    assert notifications(app) == []


# -- how it is told ------------------------------------------------------------------------------------


def test_function_gets_facts_and_ready_text(app: Flask, told: Told, receiver: Receiver) -> None:
    webhooks_of(app).tenant_name(lambda tenant: "Mira's Shop")
    endpoint = add_endpoint(
        app, receiver.url("/status/500"), tenant="app_1", name="Shop <b>", contact=OPS
    )
    emit(app, 6, tenant="app_1")
    drain(app)
    [(incident, given, context, text)] = told
    assert (incident.stage, incident.count, incident.last_status) == ("failing", 5, 500)
    assert incident.last_error == "The receiver responded with 500."
    assert incident.since <= incident.recorded_at
    assert incident.disable_at == incident.since + timedelta(days=5)
    assert (given.id, given.contact) == (endpoint.id, OPS)
    assert (context.attempt, context.tenant_name, context.locale) == (1, "Mira's Shop", None)
    [row] = notifications(app)
    assert (row.state, row.id, row.attempts, row.contact) == ("sent", context.id, 1, OPS)
    assert text.subject == "Flask-Webhooks: the webhook “Shop <b>” is failing"
    assert "The last error: The receiver responded with 500." in text.text
    assert receiver.url("/status/500") in text.text
    assert "<b>" not in text.html


def test_hostile_names_cannot_break_out_of_a_header(
    app: Flask, told: Told, receiver: Receiver
) -> None:
    endpoint = add_endpoint(app, receiver.url("/status/500"), contact=OPS)
    evil = "x\r\nBcc: victim@example.com\u2028<script>alert(1)</script>" + "y" * 130
    with state_of(app).engine.begin() as connection:
        table = models_of(app).table("Endpoint")
        connection.execute(sa.update(table).where(table.c.id == endpoint.id).values(name=evil))
    emit(app, 6)
    drain(app)
    [(_, _, _, text)] = told
    assert text.subject.isprintable()
    assert len(text.subject) <= 200
    assert "<script" not in text.html


def test_function_that_raises_is_called_again_later(
    app: Flask, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []

    @webhooks_of(app).notify
    def tell(incident: Any, endpoint: Any, context: Any, text: Any) -> None:
        calls.append(context.attempt)
        raise ConnectionRefusedError("SMTP is down")

    add_endpoint(app, receiver.url("/status/500"))
    emit(app, 6)
    drain(app)
    drain(app)
    assert calls == [1]
    [row] = notifications(app)
    assert (row.state, row.error_code, row.error_detail) == (
        "pending",
        "raised",
        "ConnectionRefusedError",
    )
    assert row.due_at is not None
    assert timedelta(seconds=30) < row.due_at - database_time(app) <= timedelta(seconds=60)
    for _ in RETRY_SCHEDULE:
        make_due(app)
        drain(app)
    assert calls == list(range(1, 9))
    [row] = notifications(app)
    assert (row.state, row.due_at) == ("failed", None)
    assert any("given up after 8 attempts" in message for message in caplog.messages)
    make_due(app)
    drain(app)
    assert len(calls) == 8


def test_function_can_refuse_a_contact_for_good(app: Flask, receiver: Receiver) -> None:
    @webhooks_of(app).notify
    def tell(*given: Any) -> None:
        raise ContactRefused

    endpoint = add_endpoint(app, receiver.url("/status/500"), contact=OPS)
    emit(app, 6)
    drain(app)
    [row] = queries.list_notifications(accessing(app), endpoint.id).items
    assert (row.notification.state, row.error) == (
        "failed",
        "The address was refused. Correct the contact.",
    )


def test_function_that_returns_false_has_told_nobody(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).notify(lambda *given: False)
    add_endpoint(app, receiver.url("/status/500"))
    emit(app, 6)
    drain(app)
    assert [row.state for row in notifications(app)] == ["skipped"]


def test_owner_of_a_deleted_endpoint_is_not_told(
    app: Flask, told: Told, receiver: Receiver
) -> None:
    endpoint = add_endpoint(app, receiver.url("/status/500"))
    with closing(Worker(app)) as worker:
        emit(app, 6)
        worker.settle(*(ended(flying, 500) for flying in worker.take()))
    actions.delete_endpoint(accessing(app), endpoint.id)
    drain(app)
    assert told == []
    assert [row.state for row in notifications(app)] == ["skipped"]


def test_two_workers_tell_each_incident_once(app: Flask, told: Told) -> None:
    for number in range(12):
        add_endpoint(app, f"https://hooks.example.com/{number}")
    with closing(Worker(app)) as worker:
        emit(app, 5)
        worker.settle(*(ended(flying, 500) for flying in worker.take()))
    assert len(notifications(app)) == 12
    workers = [owner_dispatch.OwnerDispatch(state_of(app), threading.Event().set) for _ in range(3)]
    for each in workers:
        each.start()
    wait_until(lambda: not any(each.busy for each in workers), 20)
    for each in workers:
        each.close()
    assert sorted(given[2].id for given in told) == [row.id for row in notifications(app)]


def test_lost_worker_leaves_a_lease_after_which_it_is_told_again(app: Flask, told: Told) -> None:
    add_endpoint(app)
    with closing(Worker(app)) as worker:
        emit(app, 6)
        worker.settle(*(ended(flying, 500) for flying in worker.take()))
    now = database_time(app)
    # As a worker leaves it that is killed while it tells.
    change_all(app, lease_token="gone", attempts=1, due_at=now + timedelta(seconds=1))
    drain(app)
    assert told == []
    make_due(app)
    drain(app)
    [(_, _, context, _)] = told
    assert context.attempt == 2
    # One whose workers are lost again and again is given up.
    change_all(app, state="pending", attempts=8, due_at=now, ended_at=None)
    drain(app)
    assert len(told) == 1
    [row] = notifications(app)
    assert (row.state, row.error_code) == ("failed", "lost")


def test_sweep_finds_what_no_worker_was_woken_for(app: Flask, told: Told) -> None:
    add_endpoint(app)
    with closing(Worker(app, retry_schedule=(DAY,))) as worker:
        emit(app, 6)
        worker.settle(*(ended(flying, 500) for flying in worker.take()))
    assert jobs.sweep(state_of(app))
    drain(app)
    assert len(told) == 1
    assert not jobs.sweep(state_of(app))


# -- overlaps of secrets -------------------------------------------------------------------------------


def test_end_of_an_overlap_is_told_then(app: Flask, told: Told) -> None:
    endpoint = add_endpoint(app, contact=OPS)
    access = accessing(app)
    actions.rotate_secret(access, endpoint.id, overlap_seconds=HOUR)
    actions.rotate_secret(access, endpoint.id, overlap_seconds=2 * HOUR)
    [row] = notifications(app)
    assert row.due_at is not None
    left = row.due_at - database_time(app)
    assert timedelta(minutes=119) < left <= timedelta(hours=2)
    drain(app)
    assert told == []
    make_due(app)
    drain(app)
    [(incident, _, _, text)] = told
    assert incident.stage == "overlap_ended"
    assert "the new secret only" in text.subject


def test_overlap_that_is_ended_by_hand_is_told_at_once(app: Flask, told: Told) -> None:
    endpoint = add_endpoint(app)
    actions.rotate_secret(accessing(app), endpoint.id, overlap_seconds=HOUR)
    actions.end_overlap(accessing(app), endpoint.id)
    drain(app)
    assert [given[0].stage for given in told] == ["overlap_ended"]


# -- history -------------------------------------------------------------------------------------------


def test_history_is_shown_for_one_tenant_and_removed_with_age(app: Flask, told: Told) -> None:
    endpoint = add_endpoint(app, tenant="app_1")
    with closing(Worker(app)) as worker:
        fail(app, worker, 6)
    drain(app)
    [row] = queries.list_notifications(as_tenant(app, "app_1"), endpoint.id).items
    assert row.notification.state == "sent"
    with pytest.raises(Exception, match="There is no endpoint"):
        queries.list_notifications(as_tenant(app, "app_2"), endpoint.id)
    with state_of(app).engine.connect() as connection:
        prune(state_of(app), connection, database_time(app))
        assert len(notifications(app)) == 1
        prune(state_of(app), connection, database_time(app) + timedelta(days=400))
    assert notifications(app) == []


# -- by mail -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_owner_gets_a_mail_from_a_real_worker(
    mailing: tuple[Flask, MailServer], receiver: Receiver, tmp_path: Path
) -> None:
    app, mail_server = mailing
    add_endpoint(app, receiver.url("/status/500"), name="Shop", contact=OPS)
    emit(app, 6)
    config = {
        key: value
        for key, value in app.config.items()
        if key.startswith(("WEBHOOKS_", "SQLALCHEMY_DATABASE", "MAIL_", "SECRET_KEY"))
        and (value is None or isinstance(value, str | int | float | list))
    }
    with WorkerProcess(OURS, config, tmp_path / "worker.log") as worker:
        [mail] = mail_server.wait_for(1)
        wait_until(lambda: [row.state for row in notifications(app)] == ["sent"], 20, worker.output)
    assert (mail["To"], mail["Subject"].strip()) == (
        OPS,
        "Flask-Webhooks: the webhook “Shop” is failing",
    )
    plain, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert plain is not None
    assert "have failed since" in plain.get_content()
    assert html is not None
    assert "<p>" in html.get_content()


def test_address_that_bounces_is_not_tried_again(
    mailing: tuple[Flask, MailServer], receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    app, mail_server = mailing
    mail_server.answers = ["550 No such user <secret>"]
    endpoint = add_endpoint(app, receiver.url("/status/500"), contact=OPS)
    emit(app, 6)
    drain(app)
    [row] = queries.list_notifications(accessing(app), endpoint.id).items
    assert (row.notification.state, row.notification.due_at) == ("failed", None)
    assert row.error == "The mail server refused the address (550). Correct the contact."
    assert mail_server.mails == []
    [record] = [item for item in caplog.records if "was refused (550)" in item.message]
    assert (record.levelno, OPS in record.message) == (logging.WARNING, False)


def test_greylisted_address_is_tried_again(
    mailing: tuple[Flask, MailServer], receiver: Receiver
) -> None:
    app, mail_server = mailing
    mail_server.answers = ["451 Come again"]
    add_endpoint(app, receiver.url("/status/500"), contact=OPS)
    emit(app, 6)
    drain(app)
    [row] = notifications(app)
    assert (row.state, row.error_detail) == ("pending", "SMTPRecipientsRefused")
    make_due(app)
    drain(app)
    assert len(mail_server.mails) == 1


def test_mail_waits_for_a_server_that_is_down(
    database_url: str, redis_url: str, receiver: Receiver
) -> None:
    with MailServer() as down:
        port = down.port
    app = make_app(database_url, redis_url, MAIL_PORT=port)
    with app.app_context():
        add_endpoint(app, receiver.url("/status/500"), contact=OPS)
        add_endpoint(app, receiver.url("/status/500"), events=["user.*"])
        emit(app, 6)
        drain(app)
        assert [row.state for row in notifications(app)] == ["pending"]
        with MailServer(port) as up:
            make_due(app)
            drain(app)
            assert len(up.mails) == 1
        assert [row.state for row in notifications(app)] == ["sent"]
        close(app)


def test_times_are_told_in_utc(app: Flask, told: Told, receiver: Receiver) -> None:
    add_endpoint(app, receiver.url("/status/410"))
    emit(app)
    drain(app)
    [(incident, _, _, text)] = told
    assert incident.stage == "disabled"
    assert incident.since.tzinfo == UTC
    assert "The receiver responded with 410 Gone." in text.text
