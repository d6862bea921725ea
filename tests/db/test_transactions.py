"""Our transactions beside the host's own session, which matters most on SQLite."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy.orm import Session

from flask_webhooks import actions, queries
from flask_webhooks.access import request_access
from flask_webhooks.app_state import AppState, state_of
from flask_webhooks.columns import utc_now
from flask_webhooks.db.transactions import writing
from flask_webhooks.errors import WebhooksError
from tests.support.delivering import deliveries, webhooks_of
from tests.support.helpers import URL, accessing, add_endpoint, at_once, close, make_app


@pytest.fixture(params=["plain", "immediate", "memory"])
def sqlite_app(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str) -> Iterator[Flask]:
    """SQLite as it comes, as we recommend it, and with a single connection."""
    url = "sqlite://" if request.param == "memory" else f"sqlite:///{tmp_path / 'db.sqlite'}"
    app = make_app(url, redis_url, SQLITE_IMMEDIATE=request.param == "immediate")
    yield app
    close(app)


def add_event(state: AppState) -> None:
    """The host has something that is not committed."""
    state.db.session.add(state.models.Event(type="license.created", data={}, occurred_at=utc_now()))


def test_a_host_that_has_read_can_go_on(sqlite_app: Flask) -> None:
    state = state_of(sqlite_app)
    with sqlite_app.app_context():
        state.db.session.query(state.models.Event).count()
        endpoint = webhooks_of(sqlite_app).create_endpoint(URL).endpoint
        state.db.session.query(state.models.Event).count()
        actions.send_test(accessing(sqlite_app), endpoint.id)
        assert len(queries.list_deliveries(accessing(sqlite_app)).items) == 1
        add_event(state)
        state.db.session.commit()
    assert len(deliveries(sqlite_app)) == 1


def test_changes_of_the_host_are_not_committed_behind_its_back(sqlite_app: Flask) -> None:
    state = state_of(sqlite_app)
    with sqlite_app.app_context():
        add_event(state)
        state.db.session.flush()
        began = time.monotonic()
        with pytest.raises(WebhooksError, match=r"Call db\.session\.commit\(\) first"):
            webhooks_of(sqlite_app).create_endpoint(URL)
        # SQLite would wait for its writer for 5 seconds.
        assert time.monotonic() - began < 4.5
        state.db.session.rollback()
        assert state.db.session.query(state.models.Event).count() == 0
        state.db.session.rollback()
        webhooks_of(sqlite_app).create_endpoint(URL)


def test_reading_leaves_changes_of_the_host_as_they_are(sqlite_app: Flask) -> None:
    state = state_of(sqlite_app)
    access = accessing(sqlite_app)
    with sqlite_app.app_context():
        add_event(state)
        state.db.session.flush()
        assert queries.list_endpoints(access) == []
        assert len(queries.list_events(access).items) == 1
        state.db.session.rollback()
        assert queries.list_events(access).items == []


def test_what_the_host_has_only_prepared_stays_prepared(sqlite_app: Flask) -> None:
    state = state_of(sqlite_app)
    with sqlite_app.app_context():
        add_event(state)
        webhooks_of(sqlite_app).create_endpoint(URL)
        assert len(state.db.session.new) == 1
        state.db.session.rollback()
    assert queries.list_events(accessing(sqlite_app)).items == []


def test_a_block_of_the_hosts_own_is_not_ended(sqlite_app: Flask) -> None:
    state = state_of(sqlite_app)
    with sqlite_app.app_context(), state.db.session.begin():
        add_event(state)
        state.db.session.flush()
        with pytest.raises(WebhooksError, match="first"):
            webhooks_of(sqlite_app).create_endpoint(URL)
    assert len(queries.list_events(accessing(sqlite_app)).items) == 1


def test_a_savepoint_of_the_hosts_is_not_ended(sqlite_app: Flask) -> None:
    state = state_of(sqlite_app)
    with sqlite_app.app_context():
        with state.db.session.begin_nested():
            add_event(state)
            state.db.session.flush()
            with pytest.raises(WebhooksError, match="first"):
                webhooks_of(sqlite_app).create_endpoint(URL)
        state.db.session.commit()
    assert len(queries.list_events(accessing(sqlite_app)).items) == 1


def test_on_our_own_pages_the_hosts_transaction_is_committed_first(sqlite_app: Flask) -> None:
    """Such as a last-seen time that a before_request function has set."""
    state = state_of(sqlite_app)
    with sqlite_app.test_request_context():
        add_event(state)
        state.db.session.flush()
        actions.create_endpoint(request_access(state), URL)
        state.db.session.rollback()
    assert len(queries.list_events(accessing(sqlite_app)).items) == 1


def test_on_postgresql_the_hosts_transaction_does_not_matter(
    postgres_server: object, request: pytest.FixtureRequest, redis_url: str
) -> None:
    server = request.getfixturevalue("postgres_server")
    app = make_app(server.create_database("test_transactions"), redis_url)
    state = state_of(app)
    with app.app_context():
        add_event(state)
        state.db.session.flush()
        webhooks_of(app).create_endpoint(URL)
        state.db.session.rollback()
    access = accessing(app)
    assert queries.list_events(access).items == []
    assert len(queries.list_endpoints(access)) == 1
    close(app)
    server.drop_database("test_transactions")


def test_a_locked_sqlite_database_is_said_in_words(tmp_path: Path, redis_url: str) -> None:
    app = make_app(
        f"sqlite:///{tmp_path / 'db.sqlite'}",
        redis_url,
        SQLALCHEMY_ENGINE_OPTIONS={"connect_args": {"timeout": 0.1}},
    )
    with Session(state_of(app).engine) as other:
        other.add(
            state_of(app).models.Event(type="license.created", data={}, occurred_at=utc_now())
        )
        other.flush()
        with pytest.raises(WebhooksError, match="locked"):
            add_endpoint(app)
    close(app)


def test_an_error_undoes_the_whole_transaction(app: Flask) -> None:
    state = state_of(app)

    def fail() -> None:
        with writing(state) as session:
            session.add(state.models.Event(type="license.created", data={}, occurred_at=utc_now()))
            session.flush()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert queries.list_events(accessing(app)).items == []


def test_transactions_of_one_name_follow_each_other(app: Flask) -> None:
    state = state_of(app)
    running = 0
    most = 0

    def run() -> None:
        nonlocal running, most
        with writing(state, alone="same"):
            running += 1
            most = max(most, running)
            time.sleep(0.05)
            running -= 1

    assert at_once(*[run] * 4) == [None] * 4
    assert most == 1
