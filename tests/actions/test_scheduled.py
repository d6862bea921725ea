"""What is scheduled is listed and cancelled on pages, by the API and by commands, by those who may."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask

from flask_webhooks import actions, queries
from flask_webhooks.errors import Forbidden, InvalidInput, NotFound
from flask_webhooks.models import Endpoint
from tests.cli.test_cli import refused, run
from tests.support.api_calls import Api
from tests.support.api_calls import make_app as make_api
from tests.support.delivering import close, db_of, webhooks_of
from tests.support.helpers import accessing, activity, as_tenant
from tests.support.pages import Browser, make_app

DATA = {"license_id": "lic_1", "license_key": "AAAA-BBBB"}
KEY = "expiring:lic_1"
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def app(database_url: str, redis_url: str) -> Iterator[Flask]:
    app = make_app(database_url, redis_url)
    with app.app_context():
        yield app
        close(app)


@pytest.fixture
def api(database_url: str, redis_url: str) -> Iterator[Api]:
    app = make_api(database_url, redis_url)
    with app.app_context():
        yield Api(app)
        close(app)


def schedule(app: Flask, days: float = 7, **options: Any) -> str:
    moment = datetime.now(UTC) + timedelta(days=days)
    made = webhooks_of(app).emit("license.created", DATA, deliver_at=moment, **options)
    db_of(app).session.commit()
    assert made is not None
    return made.id


def listed(app: Flask, **filters: Any) -> list[str]:
    return [event.id for event in queries.list_scheduled(accessing(app), **filters).items]


def test_list_is_filtered_and_goes_on(app: Flask) -> None:
    near = schedule(app, 1, tenant="app_1", key=KEY)
    far = schedule(app, 100, tenant="app_2", key=KEY)
    plain = schedule(app, 10)
    assert listed(app) == [plain, far, near]
    assert listed(app, tenant="app_1") == listed(app, before=far) == [near]
    assert listed(app, key=KEY) == [far, near]
    moment = datetime.now(UTC) + timedelta(days=50)
    assert listed(app, until=moment) == [plain, near]
    assert listed(app, since=moment) == [far]
    assert listed(app, event_type="user.banned") == listed(app, key="a\0b") == []
    page = queries.list_scheduled(accessing(app), limit=2)
    assert page.next_before == far
    with pytest.raises(InvalidInput, match="limit"):
        listed(app, limit=0)


def test_cancelling_is_recorded(app: Flask) -> None:
    scheduled_id = schedule(app, tenant="app_1", key=KEY)
    actions.cancel_scheduled(accessing(app, "ann"), scheduled_id)
    assert listed(app) == []
    entry = activity(app)[-1]
    assert (entry.actor, entry.action, entry.tenant) == ("ann", "scheduled.cancelled", "app_1")
    assert entry.changes is not None
    assert (entry.changes["scheduled"], entry.changes["key"]) == (scheduled_id, KEY)
    for gone in (scheduled_id, "sch_none", "a\0b"):
        with pytest.raises(NotFound, match="moves to the list of events"):
            actions.cancel_scheduled(accessing(app), gone)
    assert len(activity(app)) == 1


def test_other_tenants_do_not_see_it(app: Flask) -> None:
    theirs, of_nobody = schedule(app, tenant="app_2", key=KEY), schedule(app)
    access = as_tenant(app, "app_1")
    assert queries.list_scheduled(access).items == []
    for scheduled_id in (theirs, of_nobody):
        with pytest.raises(NotFound):
            queries.get_scheduled(access, scheduled_id)
        with pytest.raises(NotFound):
            actions.cancel_scheduled(access, scheduled_id)
    assert listed(app) == [of_nobody, theirs]


def test_api_lists_shows_and_cancels(api: Api) -> None:
    scheduled_id = schedule(api.app, tenant="app_1", key=KEY)
    [row] = api.get("/scheduled", key=KEY)["items"]
    assert (row["id"], row["key"], row["type"]) == (scheduled_id, KEY, "license.created")
    assert "data" not in row
    assert api.get(f"/scheduled/{scheduled_id}")["data"] == DATA
    api.delete(f"/scheduled/{scheduled_id}")
    assert api.get("/scheduled")["items"] == []
    assert api.delete(f"/scheduled/{scheduled_id}", 404)["status"] == 404


def test_data_is_for_those_who_may_see_it(api: Api) -> None:
    scheduled_id = schedule(api.app)

    @webhooks_of(api.app).authorize
    def authorize(action: str, endpoint: Endpoint | None) -> bool:
        return action == "view"

    shown = api.get(f"/scheduled/{scheduled_id}")
    assert (shown["payload_visible"], shown["data"]) == (False, None)
    api.delete(f"/scheduled/{scheduled_id}", 403)
    assert listed(api.app) == [scheduled_id]


def test_pages_list_show_and_cancel(app: Flask) -> None:
    scheduled_id = schedule(app, key=f"expiring:{HOSTILE}")
    browser = Browser(app)
    page = browser.get("/scheduled")
    assert "license.created" in page.text
    assert HOSTILE not in page.response.text
    page = browser.get(f"/scheduled/{scheduled_id}")
    assert "lic_1" in page.text
    page = browser.get(f"/scheduled/{scheduled_id}/cancel")
    page = browser.send(page, f"/scheduled/{scheduled_id}/cancel")
    assert "The event is cancelled" in page.text
    assert listed(app) == []
    assert "cancelled a scheduled event" in browser.get("/activity").text
    browser.get(f"/scheduled/{scheduled_id}", 404)
    browser.post(f"/scheduled/{scheduled_id}/cancel", status=404)


def test_commands_list_and_cancel(app: Flask) -> None:
    scheduled_id = schedule(app, key=KEY)
    [row] = json.loads(run(app, "events", "scheduled", "--json").stdout)
    assert (row["id"], row["key"]) == (scheduled_id, KEY)
    assert KEY in run(app, "events", "scheduled", "--type", "license.created").stdout
    result = run(app, "events", "cancel", scheduled_id)
    assert (result.exit_code, scheduled_id in result.stdout) == (0, True)
    assert "moves to the list of events" in refused(run(app, "events", "cancel", scheduled_id))
    assert run(app, "events", "scheduled").stdout == "No scheduled events match.\n"


def test_cancelling_needs_the_action_send(app: Flask) -> None:
    scheduled_id = schedule(app)
    access = accessing(app)
    limited = type(access)(
        state=access.state,
        actor="ann",
        tenant=access.tenant,
        may=lambda action, endpoint: action != "send",
    )
    with pytest.raises(Forbidden, match="send or cancel"):
        actions.cancel_scheduled(limited, scheduled_id)
    assert listed(app) == [scheduled_id]
