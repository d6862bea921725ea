"""Searches and lists take a bounded time, whatever the data, on each kind of database."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_webhooks import queries
from flask_webhooks.access import Access
from flask_webhooks.app_state import state_of
from flask_webhooks.db.time_limit import with_hint
from flask_webhooks.db.transactions import reading
from flask_webhooks.errors import InvalidInput, WebhooksError
from tests.support import mariadb
from tests.support.delivering import emit
from tests.support.helpers import accessing, add_endpoint, as_tenant, close, make_app

#: A statement that takes many seconds.
ENDLESS = {
    "sqlite": "SELECT count(*) FROM (WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c "
    "WHERE n < 1000000000) SELECT n FROM c)",
    "postgresql": "SELECT count(*) FROM generate_series(1, 1000000000)",
    "mysql": "SELECT max(sha2(seq, 512)) FROM seq_1_to_10000000000",
}
QUICK = {
    "sqlite": "SELECT count(*) FROM (WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c "
    "WHERE n < 2500000) SELECT n FROM c)",
    "postgresql": "SELECT pg_sleep(0.5)",
    "mysql": "SELECT SLEEP(0.5)",
}


@pytest.fixture(params=["sqlite", "postgresql", pytest.param("mariadb", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database on each kind of server that we support."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            yield f"sqlite:///{tmp_path / 'database.sqlite'}"
        elif request.param == "postgresql":
            server = request.getfixturevalue("postgres_server")
            server.start()
            stack.callback(server.drop_database, "searching")
            yield server.create_database("searching")
        elif mariadb.installed():
            yield stack.enter_context(mariadb.mariadb(tmp_path))
        else:
            pytest.skip("needs mariadbd and mariadb-install-db: apt-get install mariadb-server")


@pytest.fixture
def host(url: str, redis_url: str) -> Iterator[Flask]:
    app = make_app(url, redis_url)
    with app.app_context():
        yield app
        close(app)


def pages(access: Access, **filters: Any) -> tuple[list[str], list[int]]:
    """The event ids of all pages, and how much each page looked at."""
    found: list[str] = []
    searched: list[int] = []
    before: str | None = None
    for _ in range(100):
        page = queries.list_deliveries(access, before=before, **filters)
        found += [row.delivery.event_id for row in page.items]
        searched.append(page.searched or 0)
        before = page.next_before
        if before is None:
            return found, searched
    raise AssertionError("the pages do not end")


def test_a_long_text_is_found_quickly_in_large_events(host: Flask) -> None:
    access = accessing(host)
    add_endpoint(host)
    [wanted] = emit(host, data={"license_id": "a" * 499 + "b"})
    for _ in range(20):
        emit(host, data={"license_id": "a" * 255_000})
    began = time.monotonic()
    found, searched = pages(access, text="A" * 499 + "b")
    assert found == [wanted]
    # By LIKE, one page of them took more than ten seconds.
    assert time.monotonic() - began < 5 * len(searched)


def test_a_page_looks_through_a_bounded_amount_of_data(
    host: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = accessing(host)
    add_endpoint(host)
    events = [emit(host, data={"license_id": "needle" + "x" * 1000})[0] for _ in range(2)]
    emit(host, 12)
    events += [emit(host, data={"license_id": "needle" + "x" * 1000})[0] for _ in range(28)]
    everything, searched = pages(access, text="needle")
    assert (everything, len(searched)) == (events[::-1], 1)
    monkeypatch.setattr("flask_webhooks.queries.searching.SEARCHED_TEXT", 15_000)
    found, searched = pages(access, text="needle")
    assert found == events[::-1]
    assert len(searched) > 2
    assert max(searched) < 42
    assert sum(searched) == 42
    monkeypatch.setattr("flask_webhooks.queries.searching.SEARCH_TIME", 0)
    found, searched = pages(access, text="needle")
    assert (found, max(searched)) == (events[::-1], 5)


def test_text_of_any_case_and_with_any_sign_is_found(host: Flask) -> None:
    access = accessing(host)
    add_endpoint(host, name="100% of Acme_Desk", description="it's \\ here")
    [event] = emit(host, data={"license_id": "LIC_100%\\x'\"?:a"})
    for text in ("lic_100%", "C_1", "\\\\X'", "?:a"):
        assert pages(access, text=text)[0] == [event], text
    for text in ("lic%", "c-1", "\0", "%%"):
        assert pages(access, text=text)[0] == [], text
    for search in ("acme_d", "100%", "IT'S", "\\", "HOOKS.example"):
        assert len(queries.list_endpoints(access, search)) == 1, search
    for search in ("acme%", "_cme", "\0"):
        assert queries.list_endpoints(access, search) == [], search
    for actor, count in (("TEST", 1), ("t_st", 0), ("%", 0)):
        assert len(queries.list_activity(access, actor=actor).items) == count, actor
    assert queries.list_endpoints(as_tenant(host, "x"), "acme") == []


def test_a_text_that_is_too_long_is_refused(host: Flask) -> None:
    with pytest.raises(InvalidInput, match="at most 500 characters"):
        queries.list_deliveries(accessing(host), text="x" * 501)


@pytest.fixture
def hasty(url: str, redis_url: str) -> Iterator[Flask]:
    """A host that lets a statement of ours take a fifth of a second."""
    app = make_app(url, redis_url, WEBHOOKS_QUERY_TIMEOUT=0.2)
    with app.app_context():
        yield app
        close(app)


def test_a_statement_that_takes_too_long_is_given_up(hasty: Flask) -> None:
    state = state_of(hasty)
    name = state.engine.dialect.name
    began = time.monotonic()
    with pytest.raises(WebhooksError, match=r"within 0\.2 seconds"), reading(state) as session:
        session.execute(sa.text(ENDLESS[name]))
    assert time.monotonic() - began < 5
    if name in {"mysql", "mariadb"}:
        with pytest.raises(WebhooksError, match="within"), reading(state) as session:
            session.execute(sa.text(f"WITH clock AS (SELECT 1) {ENDLESS[name]}"))
        assert time.monotonic() - began < 10
    assert queries.list_deliveries(accessing(hasty)).items == []


@pytest.mark.parametrize(
    ("statement", "limited"),
    [
        ("SELECT 1", "SELECT /*+ MAX_EXECUTION_TIME(200) */ 1"),
        (" \nSELECT (SELECT 1)", " \nSELECT /*+ MAX_EXECUTION_TIME(200) */ (SELECT 1)"),
        (
            "WITH a AS (SELECT ')' AS `(`, '\\'(' AS b), c AS\n(SELECT 1) \nSELECT * FROM a UNION SELECT 1",
            "WITH a AS (SELECT ')' AS `(`, '\\'(' AS b), c AS\n(SELECT 1) \nSELECT"
            " /*+ MAX_EXECUTION_TIME(200) */ * FROM a UNION SELECT 1",
        ),
        ("WITH a AS (SELECT 1) DELETE FROM b", "WITH a AS (SELECT 1) DELETE FROM b"),
        ("INSERT INTO a SELECT 1", "INSERT INTO a SELECT 1"),
        ("SELECTED", "SELECTED"),
    ],
)
def test_mysql_is_given_its_limit_in_the_outermost_select(statement: str, limited: str) -> None:
    assert with_hint(statement, 0.2) == limited


def test_the_hosts_own_statements_are_not_bounded(hasty: Flask) -> None:
    state = state_of(hasty)
    name = state.engine.dialect.name
    # Over its own connection on SQLite, and over one that our reading has given back.
    state.db.session.execute(sa.text("SELECT 1"))
    queries.list_deliveries(accessing(hasty))
    began = time.monotonic()
    state.db.session.execute(sa.text(QUICK[name])).all()
    assert time.monotonic() - began > 0.2
    state.db.session.rollback()
    with state.engine.connect() as connection:
        connection.execute(sa.text(QUICK[name])).all()
