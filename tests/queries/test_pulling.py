"""Pulled events: in the order of their commits, each once, whatever commits late, on each kind of database."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_webhooks import actions, queries
from flask_webhooks.access import Access
from flask_webhooks.app_state import state_of
from flask_webhooks.errors import CursorExpired, Forbidden, InvalidCursor, InvalidInput, NotFound
from flask_webhooks.queries.cursors import START, Cursor, scope_digest
from flask_webhooks.sqlite import immediate
from tests.support.delivering import close, db_of, emit, make_app, webhooks_of
from tests.support.helpers import accessing, add_endpoint, as_tenant

DATA = {"license_id": "lic_1", "license_key": "AAAA-BBBB"}
CREATED = "license.created"


@pytest.fixture(params=["sqlite", "postgresql", pytest.param("mariadb", marks=pytest.mark.slow)])
def host(request: pytest.FixtureRequest, tmp_path: Any, redis_url: str) -> Iterator[Flask]:
    """A host that keeps all events, on each kind of server that we support."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'database.sqlite'}"
    elif request.param == "postgresql":
        server = request.getfixturevalue("postgres_server")
        server.start()
        url = server.create_database(f"pulling_{tmp_path.name}")
    else:
        url = request.getfixturevalue("mariadb_url")
    app = make_app(url, redis_url, WEBHOOKS_KEEP_UNMATCHED=True)
    with app.app_context():
        if request.param == "sqlite":
            immediate(db_of(app).engine)
            db_of(app).engine.dispose()
        yield app
        db_of(app).session.remove()
        if request.param == "mariadb":
            state_of(app).models.metadata.drop_all(state_of(app).engine)
        close(app)
        if request.param == "postgresql":
            server.drop_database(f"pulling_{tmp_path.name}")


def pulled(access: Access, after: str = START, **filters: Any) -> tuple[list[str], str]:
    """The ids of all events after a cursor, and the cursor of the last page."""
    found: list[str] = []
    for _ in range(100):
        page = queries.Pull(access, after, **filters).page()
        found += [item.id for item in page.items]
        after = page.next_after
        if not page.has_more:
            return found, after
    raise AssertionError("the pages do not end")


def test_pages_have_all_events_oldest_first_and_once(host: Flask) -> None:
    access = accessing(host)
    events = emit(host, 7)
    assert pulled(access, limit=3)[0] == events
    found, after = pulled(access, limit=7)
    assert (found, pulled(access, after)[0]) == (events, [])
    more = emit(host, 2)
    assert pulled(access, after)[0] == more
    assert pulled(access)[0] == events + more


def held_open(host: Flask) -> tuple[sa.orm.Session, str]:
    """A transaction that has emitted an event, and goes on; and that event."""
    session = sa.orm.Session(state_of(host).engine)
    event = webhooks_of(host).emit(CREATED, DATA, session=session)
    assert event is not None
    return session, event.id


def test_transaction_that_commits_late_is_never_skipped(host: Flask) -> None:
    access = accessing(host)
    emit(host)
    _, after = pulled(access)
    session, late = held_open(host)
    assert pulled(access, after)[0] == []
    session.commit()
    session.close()
    assert pulled(access, after)[0] == [late]


@pytest.mark.slow
def test_transactions_that_overlap_are_each_pulled_once(host: Flask) -> None:
    if state_of(host).engine.dialect.name == "sqlite":
        pytest.skip("writers go one after another")
    access = accessing(host)
    found: list[str] = []
    after, held = START, []
    for _ in range(3):
        held.append(held_open(host))
        soon = emit(host)
        ids, after = pulled(access, after)
        assert ids == soon
        found += ids
    for session, event_id in reversed(held):
        session.commit()
        session.close()
        ids, after = pulled(access, after)
        assert ids == [event_id]
        found += ids
    assert pulled(access)[0] == found
    assert sorted(found) == sorted({*found})


def test_what_is_rolled_back_is_not_pulled(host: Flask) -> None:
    access = accessing(host)
    session, _ = held_open(host)
    session.rollback()
    session.close()
    assert pulled(access)[0] == []


def test_each_tenant_pulls_its_own(host: Flask) -> None:
    mine, others = emit(host, 2, tenant="app_1"), emit(host, tenant="app_2")
    nobodys = emit(host)
    customer = as_tenant(host, "app_1")
    found, after = pulled(customer)
    assert found == mine
    assert pulled(accessing(host), tenant="app_2")[0] == others
    assert sorted(pulled(accessing(host))[0]) == sorted(mine + others + nobodys)
    assert pulled(customer, after)[0] == []
    more = emit(host, tenant="app_1")
    assert pulled(customer, after)[0] == more


def test_endpoint_is_given_what_it_is_owed(host: Flask) -> None:
    access = accessing(host)
    endpoint = add_endpoint(host, events=["license.*"], tenant="app_1")
    emit(host, tenant="app_2")
    [mine] = emit(host, tenant="app_1")
    emit(host, event_type="user.registered", data={"user_id": 1}, tenant="app_1")
    assert pulled(access, endpoint_id=endpoint.id)[0] == [mine]
    actions.pause_endpoint(access, endpoint.id)
    [held] = emit(host, tenant="app_1")
    assert pulled(access, endpoint_id=endpoint.id)[0] == [mine, held]


def test_types_may_be_narrowed(host: Flask) -> None:
    emit(host, event_type="user.registered", data={"user_id": 1})
    [event] = emit(host)
    assert pulled(accessing(host), event_type=CREATED)[0] == [event]


def test_tests_are_not_pulled(host: Flask) -> None:
    access = accessing(host)
    endpoint = add_endpoint(host)
    actions.send_test(access, endpoint.id, CREATED)
    [event] = emit(host)
    assert pulled(access)[0] == [event]
    assert pulled(access, endpoint_id=endpoint.id)[0] == [event]


def test_what_is_far_apart_is_found_over_several_pages(
    host: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_webhooks.queries.pulling._WINDOW", 3)
    monkeypatch.setattr("flask_webhooks.queries.pulling._ROUNDS", 2)
    emit(host, 10)
    [event] = emit(host, event_type="user.registered", data={"user_id": 1})
    emit(host, 2)
    page = queries.Pull(accessing(host), event_type="user.registered").page()
    assert (page.items, page.has_more) == ([], True)
    assert pulled(accessing(host), event_type="user.registered")[0] == [event]


def test_many_events_are_numbered_in_several_batches(
    host: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_webhooks.outbox.numbering.BATCH", 3)
    events = emit(host, 10)
    assert pulled(accessing(host))[0] == events


def test_erased_events_say_so(host: Flask) -> None:
    emit(host, data={"license_id": "lic_1", "license_key": "AAAA"})
    table = state_of(host).table("Event")
    with state_of(host).engine.begin() as connection:
        connection.execute(sa.update(table).values(data={}, erased_at=sa.func.now()))
    [item] = queries.Pull(accessing(host)).page().items
    assert item.data == {}
    assert item.erased_at is not None


def test_events_that_were_removed_are_passed_over(host: Flask) -> None:
    access = accessing(host)
    events = emit(host, 4)
    page = queries.Pull(access, limit=1).page()
    table = state_of(host).table("Event")
    with state_of(host).engine.begin() as connection:
        connection.execute(sa.delete(table).where(table.c.id.in_(events[:3])))
    assert pulled(access, page.next_after)[0] == events[3:]


def test_numbers_are_not_given_out_again_after_all_was_removed(host: Flask) -> None:
    access = accessing(host)
    emit(host, 2)
    _, after = pulled(access)
    with state_of(host).engine.begin() as connection:
        connection.execute(sa.delete(state_of(host).table("Event")))
    events = emit(host, 2)
    assert pulled(access, after)[0] == events


def cursor(host: Flask, **values: Any) -> str:
    now = int(time.time())
    given = {"batch": 1, "event_id": "", "complete_to": now, "scope": scope_digest(None, None)}
    return Cursor(**{**given, **values}).text()


def test_cursor_older_than_events_are_kept_is_refused(host: Flask) -> None:
    access = accessing(host)
    days = state_of(host).settings.retention_days
    now = time.time()
    queries.Pull(access, cursor(host, complete_to=int(now - (days - 1) * 86400))).page()
    with pytest.raises(CursorExpired, match="after=start"):
        queries.Pull(access, cursor(host, complete_to=int(now - (days + 1) * 86400))).page()


def test_cursor_of_the_start_does_not_expire_at_old_events(host: Flask) -> None:
    """Else the oldest page would end in a cursor that is too old as soon as it is used."""
    access = accessing(host)
    events = emit(host, 2)
    days = state_of(host).settings.retention_days
    old = [f"evt_{'0' * 26}", f"evt_{'0' * 25}1"]
    table = state_of(host).table("Event")
    with state_of(host).engine.begin() as connection:
        for before, after in zip(events, old, strict=True):
            connection.execute(sa.update(table).where(table.c.id == before).values(id=after))
    assert days > 0
    assert pulled(access, limit=1)[0] == old


@pytest.mark.parametrize(
    "text",
    [
        "", "end", "cur_", "cur_!", "cur_AAAA", "cur_\xe9", "evt_06f9zq0000000000000000000a",
        "cur_" + base64.urlsafe_b64encode(b"1.-1..5.x").decode().rstrip("="),
        "cur_" + base64.urlsafe_b64encode(b"1.1.\0.5.x").decode().rstrip("="),
        "cur_" + base64.urlsafe_b64encode(b"1.1..99999999999999999.x").decode().rstrip("="),
        "cur_" + base64.urlsafe_b64encode(b"2.1..5.x").decode().rstrip("="),
        "cur_" + "A" * 400,
    ],
)  # fmt: skip
def test_malformed_cursor_is_refused(app: Flask, text: str) -> None:
    with pytest.raises(InvalidCursor, match="Write start") as refusal:
        queries.Pull(accessing(app), text).page()
    assert refusal.value.field == "after"


def test_cursor_of_another_tenant_or_endpoint_is_refused(app: Flask) -> None:
    endpoint = add_endpoint(app, tenant="app_1")
    of_tenant = queries.Pull(as_tenant(app, "app_1")).page().next_after
    of_endpoint = queries.Pull(as_tenant(app, "app_1"), endpoint_id=endpoint.id).page().next_after
    cases: list[tuple[Access, str, dict[str, Any]]] = [
        (as_tenant(app, "app_2"), of_tenant, {}),
        (accessing(app), of_tenant, {}),
        (as_tenant(app, "app_1"), of_endpoint, {}),
        (as_tenant(app, "app_1"), of_tenant, {"endpoint_id": endpoint.id}),
    ]
    for access, after, filters in cases:
        with pytest.raises(InvalidCursor, match="another tenant or endpoint"):
            queries.Pull(access, after, **filters).page()


def test_who_sees_several_tenants_names_one(app: Flask) -> None:
    access = Access(state_of(app), "me", frozenset({"app_1", "app_2"}), lambda *_: True)
    with pytest.raises(InvalidInput, match="name the one") as refusal:
        queries.Pull(access).page()
    assert refusal.value.field == "tenant"
    assert queries.Pull(access, tenant="app_1").page().items == []


def test_others_are_not_let_in(app: Flask) -> None:
    endpoint = add_endpoint(app, tenant="app_1")
    with pytest.raises(NotFound):
        queries.Pull(as_tenant(app, "app_2"), endpoint_id=endpoint.id).page()
    with pytest.raises(NotFound):
        queries.Pull(as_tenant(app, "app_2"), tenant="app_1").page()
    for missing in ("view", "view_payload"):
        access = Access(state_of(app), "me", "app_1", lambda action, _: action != missing)  # noqa: B023
        with pytest.raises(Forbidden):
            queries.Pull(access).page()


@pytest.mark.parametrize("limit", [0, 1001, True, "5"])
def test_limit_is_checked(app: Flask, limit: Any) -> None:
    with pytest.raises(InvalidInput, match="1 to 1000"):
        queries.Pull(accessing(app), limit=limit).page()


# -- by Python and by command ---------------------------------------------------------------------------


def test_hosts_pull_by_python(host: Flask) -> None:
    [event] = emit(host, data=DATA, tenant="app_1")
    webhooks = webhooks_of(host)
    page = webhooks.pull(tenant="app_1")
    assert [(item.id, item.data) for item in page.items] == [(event, DATA)]
    assert webhooks.pull(page.next_after, tenant="app_1").items == []
