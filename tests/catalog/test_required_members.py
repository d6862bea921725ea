"""Events that lack what their type always has, and times without a zone."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_webhooks.errors import InvalidData
from flask_webhooks.signals import license_created, license_expired
from tests.support.delivering import close, events, make_app, webhooks_of

#: As from a host that sends the event before the database has given the row its id.
UNFLUSHED = {"license_id": None, "license_key": "K7QF", "status": "unused"}
WHOLE = UNFLUSHED | {"license_id": 1}


def lacking(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "lacks" in record.getMessage()]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'database.sqlite'}"


@pytest.fixture
def developing(url: str, redis_url: str) -> Iterator[Flask]:
    app = make_app(url, redis_url, WEBHOOKS_VALIDATE_DATA="raise")
    with app.app_context():
        yield app
        close(app)


@pytest.fixture
def production(url: str, redis_url: str) -> Iterator[Flask]:
    app = make_app(url, redis_url, WEBHOOKS_VALIDATE_DATA="log", WEBHOOKS_KEEP_UNMATCHED=True)
    with app.app_context():
        yield app
        close(app)


@pytest.mark.parametrize("data", [UNFLUSHED, {"license_key": "K7QF", "status": "unused"}])
def test_missing_member_raises_in_development(developing: Flask, data: dict[str, Any]) -> None:
    with pytest.raises(InvalidData, match=r"license\.created lacks .*: license_id\. .*flush"):
        webhooks_of(developing).emit("license.created", data)
    with pytest.raises(InvalidData, match="license_id"):
        license_created.send(developing, data=data)


def test_missing_member_is_logged_once_in_production(
    production: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    for _ in range(3):
        license_created.send(production, data=UNFLUSHED)
        webhooks_of(production).emit("license.created", WHOLE)
    webhooks_of(production).db.session.commit()
    assert len(events(production)) == 6
    (line,) = lacking(caplog)
    assert "license.created" in line
    assert "license_id" in line
    assert "K7QF" not in line


def test_null_is_a_value_where_the_schema_allows_it(developing: Flask) -> None:
    data = WHOLE | {"status": "expired", "expires_at": None}
    license_expired.send(developing, data=data | {"expires_at": "2026-01-01T00:00:00Z"})
    webhooks_of(developing).emit("license.renewed", data)
    with pytest.raises(InvalidData, match="expires_at"):
        webhooks_of(developing).emit("license.renewed", WHOLE)


def test_types_of_the_host_are_checked_by_their_own_schema(developing: Flask) -> None:
    webhooks = webhooks_of(developing)
    webhooks.add_event_type(
        "build.done",
        description="When a build is done.",
        schema={"required": ["id"]},
        example={"id": 1},
    )
    webhooks.emit("build.done", {"id": None})  # of any type, so null too
    with pytest.raises(InvalidData, match="id"):
        webhooks.emit("build.done", {})


def test_nothing_is_checked_where_the_host_wants_it_so(
    url: str, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(url, redis_url, WEBHOOKS_VALIDATE_DATA=None)
    with app.app_context():
        webhooks_of(app).emit("license.created", {})
        close(app)
    assert lacking(caplog) == []


def test_time_without_a_zone_is_utc_in_data_and_beside_it(production: Flask) -> None:
    naive = datetime(2026, 4, 1, 9, 30)  # noqa: DTZ001
    data = WHOLE | {"expires_at": naive}
    webhooks_of(production).emit("license.created", data, occurred_at=naive)
    webhooks_of(production).db.session.commit()
    (event,) = events(production)
    assert event.occurred_at == naive.replace(tzinfo=UTC)
    assert event.data["expires_at"] == "2026-04-01T09:30:00+00:00"
