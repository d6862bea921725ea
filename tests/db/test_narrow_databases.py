"""Databases that cannot hold all of Unicode: deliveries go on, and the operator hears of it."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pymysql
import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.exc import DBAPIError

from demo.services import PostgresServer
from flask_webhooks.app_state import state_of
from flask_webhooks.db.errors import told_as_messages
from flask_webhooks.delivery.outcome import Outcome
from flask_webhooks.doctor import Level, examine
from flask_webhooks.errors import InvalidInput
from tests.support.api_calls import PREFIX, Api
from tests.support.delivering import (
    attempts,
    close,
    drain,
    emit,
    endpoint,
    make_app,
    states,
    webhooks_of,
)
from tests.support.helpers import accessing
from tests.support.pages import Browser
from tests.support.processes import OURS, WorkerProcess, config_of
from tests.support.receiver import Receiver

#: Neither is in Latin-1.
CHECK = "\N{CHECK MARK}"
NARROW = ["latin1", "latin1, client in utf8", "mariadb, tables", "mariadb, client"]


@contextmanager
def host(request: pytest.FixtureRequest, redis_url: str, kind: str) -> Iterator[Flask]:
    """The host on a database of a kind."""
    if kind.startswith("mariadb"):
        url: str = request.getfixturevalue("mariadb_url")
        if "client" in kind:
            url = url.replace("utf8mb4", "latin1")
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        server.start()
        encoding = kind.partition(",")[0].upper()
        url = server.create_database(f"narrow_{uuid.uuid4().hex}", encoding=encoding)
        if "utf8" in kind:
            url += "?client_encoding=utf8"
    app = make_app(url, redis_url)
    with app.app_context():
        if kind == "mariadb, tables":
            narrow_tables(app)
        yield app
        state_of(app).models.metadata.drop_all(state_of(app).engine)
        close(app)


def narrow_tables(app: Flask) -> None:
    """Turn our tables into those that a Latin-1 database got before they named a character set."""
    engine = state_of(app).engine
    inspector = sa.inspect(engine)
    tables = list(state_of(app).models.metadata.tables)
    with engine.begin() as connection:
        for table in tables:
            for key in inspector.get_foreign_keys(table):
                connection.execute(sa.text(f"ALTER TABLE {table} DROP FOREIGN KEY {key['name']}"))
        for table in tables:
            connection.execute(sa.text(f"ALTER TABLE {table} CONVERT TO CHARACTER SET latin1"))


@pytest.fixture(params=NARROW)
def narrow(request: pytest.FixtureRequest, redis_url: str) -> Iterator[Flask]:
    with host(request, redis_url, request.param) as app:
        yield app


def test_answer_that_the_database_cannot_hold_costs_its_neighbours_nothing(
    narrow: Flask, receiver: Receiver
) -> None:
    webhooks = webhooks_of(narrow)
    said = webhooks.create_endpoint(receiver.url(f"/says/{quote(f'Merci {CHECK}')}")).endpoint.id
    for number in range(10):
        webhooks.create_endpoint(receiver.url(f"/ok/{number}"))
    emit(narrow)
    assert drain(narrow) == 11
    assert states(narrow) == {"succeeded": 11}
    assert len(receiver.requests) == 11
    by_endpoint = {item.endpoint_id: item for item in attempts(narrow)}
    assert len(by_endpoint) == 11
    kept = by_endpoint.pop(said)
    assert (kept.outcome, kept.status) == (Outcome.SUCCEEDED, 200)
    assert (kept.request_body, kept.response_body) == (None, None)
    assert kept.error == (
        "The database could not hold the bodies of this attempt, so it is recorded without them."
    )
    assert all(item.response_body and not item.error for item in by_endpoint.values())


def test_masks_and_replaced_bytes_fit(narrow: Flask, receiver: Receiver) -> None:
    webhooks = webhooks_of(narrow)
    webhooks.create_endpoint(receiver.url("/binary"), headers={"X-Key": "a secret"})
    emit(narrow)
    assert drain(narrow) == 1
    [attempt] = attempts(narrow)
    assert attempt.error is None
    assert ["X-Key", "****"] in (attempt.request_headers or [])
    assert attempt.response_body == '{"nul":"?","bad":"??"}'


def test_url_of_a_chat_is_masked_with_what_fits(narrow: Flask) -> None:
    made = webhooks_of(narrow).create_endpoint("https://discord.com/api/webhooks/1/" + "s" * 60)
    shown = endpoint(narrow, made.endpoint.id).url_shown
    assert shown == "https://discord.com/api/webhooks/1/****"


@pytest.mark.slow
def test_operators_hear_of_it(narrow: Flask, tmp_path: Path) -> None:
    result = narrow.test_cli_runner().invoke(args=["webhooks", "init-db"])
    assert "cannot hold every character" in result.stderr
    page = narrow.test_client().get("/webhooks/health").text
    assert "cannot hold every character" in page
    with WorkerProcess([*OURS, "--burst"], config_of(narrow), tmp_path / "worker.log") as process:
        process.wait(30)
    assert "cannot hold every character" in process.output()


UNUSUAL = f"Shop {CHECK}"


def test_name_that_the_database_cannot_hold_is_refused_with_a_message(narrow: Flask) -> None:
    url = "https://example.com/hook"
    narrow.register_blueprint(webhooks_of(narrow).api_blueprint(), url_prefix=PREFIX)
    browser = Browser(narrow)
    page = browser.send(
        browser.get("/endpoints/new"), "/endpoints/new", {"url": url, "name": UNUSUAL}, 422
    )
    assert page.one("input", id="wh-name").attributes["value"] == UNUSUAL
    assert "The database cannot store" in page.text
    answer = Api(narrow).post("/endpoints", {"url": url, "name": UNUSUAL}, 422)
    assert answer["code"] == "invalid_input"
    assert "The database cannot store" in answer["detail"]
    command = ["webhooks", "endpoints", "add", url, "--name", UNUSUAL]
    result = narrow.test_cli_runner().invoke(args=command)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "The database cannot store" in result.stderr
    with pytest.raises(InvalidInput, match="The database cannot store"):
        webhooks_of(narrow).create_endpoint(url, name=UNUSUAL)


def test_search_for_what_the_database_cannot_hold_is_no_fault(narrow: Flask) -> None:
    client = narrow.test_client()
    for path in ("/webhooks/", "/webhooks/deliveries", "/webhooks/events", "/webhooks/activity"):
        for name in ("q", "text", "search", "tenant", "actor"):
            page = client.get(path, query_string={name: CHECK})
            assert page.status_code in (200, 422), (path, name)


@pytest.mark.parametrize("code", [1366, 3854, 3988])
def test_mysql_says_in_several_ways_that_it_cannot_hold_a_character(code: int) -> None:
    """MySQL 9.7 answers 3854 to a comparison with a column in Latin-1, where MariaDB answers 1267."""
    refused = pymysql.err.OperationalError(code, "Cannot convert string")
    with (
        pytest.raises(InvalidInput, match="cannot store one of the characters"),
        told_as_messages(),
    ):
        raise DBAPIError("SELECT 1", {}, refused)


def test_other_database_keeps_everything(
    request: pytest.FixtureRequest, redis_url: str, receiver: Receiver
) -> None:
    with host(request, redis_url, "sql_ascii, client in utf8") as app:
        webhooks_of(app).create_endpoint(
            receiver.url(f"/says/{CHECK}"), headers={"X-Key": "a secret"}
        )
        emit(app)
        assert drain(app) == 1
        [attempt] = attempts(app)
        assert (attempt.response_body, attempt.error) == (CHECK, None)
        assert ["X-Key", "••••"] in (attempt.request_headers or [])


def test_doctor_says_that_the_database_is_narrow(narrow: Flask) -> None:
    [finding] = [item for item in examine(accessing(narrow)) if "character" in item.text]
    assert (finding.area, finding.level) == ("database", Level.WARNING)
    assert re.search("UTF8|utf8mb4", finding.advice)
