"""What one tenant may have sent on demand, and how much of it stays in the database."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_webhooks import ALL_TENANTS, actions, ids
from flask_webhooks.access import Access, system_access
from flask_webhooks.app_state import state_of
from flask_webhooks.audit import MAX_EVENT_TYPES, MAX_MEMBERS, MAX_TEXT, cut_values
from flask_webhooks.bulk.runner import run_next
from flask_webhooks.delivery.retention import Pruning
from flask_webhooks.errors import SendLimitReached
from tests.support.api_calls import PREFIX, Api
from tests.support.delivering import (
    close,
    deliveries,
    drain,
    emit,
    make_app,
    models_of,
    webhooks_of,
)
from tests.support.pages import Browser
from tests.support.receiver import Receiver

TENANT = "app_1"


@pytest.fixture
def limited(database_url: str, redis_url: str) -> Iterator[Flask]:
    app = make_app(
        database_url,
        redis_url,
        WEBHOOKS_MAX_SENDS_PER_HOUR=3,
        WEBHOOKS_MAX_SEND_BYTES_PER_DAY=20_000,
    )
    with app.app_context():
        yield app
    close(app)


def of_tenant(app: Flask, tenant: str = TENANT) -> Access:
    return replace(system_access(state_of(app), "customer"), tenant=tenant)


def add(app: Flask, tenant: str | None = TENANT) -> str:
    created = webhooks_of(app).create_endpoint("http://127.0.0.1:1025/", tenant=tenant)
    return created.endpoint.id


def age(app: Flask, by: timedelta) -> None:
    """Let all that is in the audit log have happened earlier."""
    table = state_of(app).table("Activity")
    with state_of(app).engine.begin() as connection:
        for row in connection.execute(sa.select(table.c.id, table.c.at)).all():
            before = row.at - by
            connection.execute(
                sa.update(table)
                .where(table.c.id == row.id)
                # The first ten characters after the prefix are the time.
                .values(at=before, id=ids.lowest_id("act", before)[:14] + row.id[14:])
            )


def test_tests_and_resends_of_a_tenant_are_limited_over_all_its_endpoints(limited: Flask) -> None:
    access = of_tenant(limited)
    first, second = add(limited), add(limited)
    sent = actions.send_test(access, first)
    actions.send_test(access, second)
    drain(limited)
    actions.resend(access, sent.id)
    for act in (
        lambda: actions.send_test(access, second),
        lambda: actions.resend(access, sent.id),
        lambda: actions.start_task(
            access, "resend", first, since=datetime.now(UTC) - timedelta(days=1)
        ),
    ):
        with pytest.raises(SendLimitReached, match=r"At most 3 .* in 60 min") as caught:
            act()
        assert caught.value.limit == 3
        assert 3500 < (caught.value.retry_after or 0) <= 3600
    assert len(deliveries(limited)) == 2
    # Another tenant has its own, and operators have none.
    other = add(limited, "app_2")
    actions.send_test(of_tenant(limited, "app_2"), other)
    operator = replace(access, tenant=ALL_TENANTS)
    actions.send_test(operator, first)
    age(limited, timedelta(minutes=61))
    actions.send_test(access, first)


def test_data_of_tests_and_resends_is_limited_in_a_day(limited: Flask) -> None:
    access = of_tenant(limited)
    endpoint_id = add(limited)
    large = {"padding": "x" * 9_000}
    sent = actions.send_test(access, endpoint_id, "license.created", large)
    drain(limited)
    age(limited, timedelta(hours=2))
    actions.resend(access, sent.id)
    with pytest.raises(SendLimitReached, match="19 KB") as caught:
        actions.send_test(access, endpoint_id, "license.created", large)
    # When the first one is a day old.
    assert 21 * 3600 < (caught.value.retry_after or 0) <= 22 * 3600
    drain(limited)
    with pytest.raises(SendLimitReached):
        actions.resend(access, sent.id)
    # A small one still fits.
    actions.send_test(access, endpoint_id)
    age(limited, timedelta(hours=22))
    actions.send_test(access, endpoint_id, "license.created", large)


def test_a_template_that_repeats_its_data_counts_for_what_it_sends(limited: Flask) -> None:
    """The attempt keeps the body, which may be a hundred times as long as the data."""
    access = of_tenant(limited)
    created = webhooks_of(limited).create_endpoint(
        "http://127.0.0.1:1025/",
        tenant=TENANT,
        format="custom",
        options={"template": {str(number): "{{ data.padding }}" for number in range(100)}},
    )
    data = {"padding": "x" * 150}
    sent = actions.send_test(access, created.endpoint.id, "license.created", data)
    drain(limited)
    with pytest.raises(SendLimitReached, match="19 KB"):
        actions.resend(access, sent.id)
    with pytest.raises(SendLimitReached, match="19 KB"):
        actions.send_test(access, created.endpoint.id, "license.created", data)
    actions.send_test(access, add(limited), "license.created", data)


def test_an_event_of_the_past_is_a_send_like_any_other(limited: Flask) -> None:
    """Deleting the webhook and adding it again would else send every event without end."""
    access = of_tenant(limited)
    first = add(limited)
    [event_id] = emit(limited, tenant=TENANT, data={"padding": "x" * 6_000})
    for _ in range(3):
        actions.delete_endpoint(access, first)
        first = add(limited)
        actions.subscribe_and_replay(access, first, event_id)
    again = add(limited)
    with pytest.raises(SendLimitReached, match="in an hour"):
        actions.subscribe_and_replay(access, again, event_id)
    age(limited, timedelta(hours=2))
    with pytest.raises(SendLimitReached, match="19 KB"):
        actions.subscribe_and_replay(access, again, event_id)


def test_what_bulk_tasks_send_again_is_limited_in_a_day(database_url: str, redis_url: str) -> None:
    app = make_app(database_url, redis_url, WEBHOOKS_MAX_BULK_SENDS_PER_DAY=5)
    with app.app_context():
        access, endpoint_id = of_tenant(app), add(app)
        emit(app, 3, tenant=TENANT)
        since = datetime.now(UTC) - timedelta(days=2)
        for _ in range(2):
            actions.start_task(access, "resend", endpoint_id, since=since)
            assert run_next(state_of(app), lambda: False)
        with pytest.raises(
            SendLimitReached, match=r"resent 6 .* limit is 5\. .* 1440 min"
        ) as caught:
            actions.start_task(access, "resend", endpoint_id, since=since)
        assert caught.value.limit == 5
        # What sends nothing may go on, and so may those who see every tenant.
        actions.start_task(access, "cancel", endpoint_id)
        operator = replace(access, tenant=ALL_TENANTS)
        actions.start_task(operator, "resend", endpoint_id, since=since)
    close(app)


def test_a_task_that_sends_nothing_is_no_send(limited: Flask) -> None:
    access, endpoint_id = of_tenant(limited), add(limited)
    for _ in range(3):
        actions.stop_task(access, actions.start_task(access, "cancel", endpoint_id).id)
    for _ in range(3):
        actions.send_test(access, endpoint_id)
    actions.start_task(access, "cancel", endpoint_id)


def test_limit_holds_for_requests_at_the_same_time(limited: Flask) -> None:
    access, endpoint_id = of_tenant(limited), add(limited)
    outcomes: list[str] = []

    def send() -> None:
        with limited.app_context():
            try:
                actions.send_test(access, endpoint_id)
                outcomes.append("sent")
            except SendLimitReached:
                outcomes.append("refused")

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused"] * 5 + ["sent"] * 3


def test_api_answers_429_with_retry_after(limited: Flask) -> None:
    webhooks = webhooks_of(limited)
    webhooks.authorize(lambda action, endpoint: True)
    webhooks.current_tenant(lambda: TENANT)
    limited.register_blueprint(webhooks.api_blueprint(), url_prefix=PREFIX)
    api = Api(limited)
    endpoint_id = add(limited)
    for _ in range(3):
        api.post(f"/endpoints/{endpoint_id}/test", status=202)
    answer = api.send("POST", f"/endpoints/{endpoint_id}/test", json={})
    assert answer.status_code == 429
    said = answer.get_json(force=True)
    assert (said["code"], said["limit"]) == ("send_limit_reached", 3)
    assert said["retry_after"] == int(answer.headers["Retry-After"]) > 3500
    assert "Try again in 60 min" in said["detail"]


def test_form_says_so_and_keeps_what_was_typed(limited: Flask) -> None:
    webhooks = webhooks_of(limited)
    webhooks.authorize(lambda action, endpoint: True)
    webhooks.current_tenant(lambda: TENANT)
    endpoint_id = add(limited)
    browser = Browser(limited)
    for _ in range(3):
        actions.send_test(of_tenant(limited), endpoint_id)
    page = browser.get(f"/endpoints/{endpoint_id}/test?event_type=license.created")
    action = f"/webhooks/endpoints/{endpoint_id}/test"
    answer = browser.send(page, action, {"sample": '{"typed": 1}'}, status=429)
    assert "Try again in 60 min" in answer.text
    assert '"typed"' in answer.text


# -- the audit log --------------------------------------------------------------------------------------


def actions_logged(app: Flask) -> list[str]:
    model = models_of(app).Activity
    with state_of(app).engine.connect() as connection:
        return list(connection.scalars(sa.select(model.action).order_by(model.id)))


def test_audit_log_is_pruned_when_it_is_old(app: Flask, receiver: Receiver) -> None:
    endpoint_id = add(app)
    age(app, timedelta(days=366))
    actions.send_test(of_tenant(app), endpoint_id)
    assert actions_logged(app) == ["endpoint.created", "endpoint.tested"]
    with state_of(app).engine.connect() as connection:
        pruning = Pruning(state_of(app), datetime.now(UTC))
        while pruning.step(connection):
            pass
    assert actions_logged(app) == ["endpoint.tested"]


def test_values_in_the_audit_log_are_cut(app: Flask) -> None:
    access = of_tenant(app)
    endpoint_id = add(app)
    template = {"padding": "x" * 10_000}
    actions.update_endpoint(
        access,
        endpoint_id,
        format="custom",
        options={"template": template},
        description="y" * 1_500,
    )
    model = models_of(app).Activity
    with state_of(app).engine.connect() as connection:
        query = sa.select(model.changes).where(model.action == "endpoint.updated")
        changes: dict[str, Any] = connection.execute(query).scalar_one()
    assert len(str(changes)) < 3_000
    assert changes["description"][1] == "y" * (MAX_TEXT - 1) + "…"
    assert changes["options"][1]["template"].endswith("…")


def test_nothing_that_is_given_makes_a_large_row() -> None:
    nested: Any = "deep"
    for _ in range(100):
        nested = [nested]
    given = {
        "events": [None, [f"type.{number}" for number in range(1000)]],
        "options": [None, {str(number): "z" * 1000 for number in range(1000)}],
        "deep": nested,
        "number": 7,
    }
    changes = cut_values(given)
    assert changes is not None
    assert changes["number"] == 7
    assert len(changes["events"][1]) == MAX_EVENT_TYPES + 1
    assert len(changes["options"][1]) == MAX_MEMBERS + 1
    assert str(changes["deep"]).count("[") < 10
    assert cut_values({"name": ["old", "new"]}) == {"name": ["old", "new"]}
    assert cut_values(None) is None


def test_events_of_the_host_are_not_limited(limited: Flask) -> None:
    add(limited)
    assert len(emit(limited, 10, tenant=TENANT)) == 10
