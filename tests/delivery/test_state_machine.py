"""Deliveries and leases, in a random order of what hosts, workers and people do; see `support.delivery_machine`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from flask_webhooks.app_state import state_of
from tests.support.delivering import close, db_of, make_app
from tests.support.delivery_machine import DeliveryMachine
from tests.support.lease_model import CONFIG

COMMON: dict[str, Any] = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}
SHORT = settings(max_examples=12, stateful_step_count=30, **COMMON)
LONG = settings(max_examples=30, stateful_step_count=40, **COMMON)


def explore(app: Flask, profile: settings) -> None:
    class Machine(DeliveryMachine):
        def __init__(self) -> None:
            super().__init__(app)

    run_state_machine_as_test(Machine, settings=profile)


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def each(request: pytest.FixtureRequest, redis_url: str, tmp_path: Path) -> Iterator[Flask]:
    """The host on each kind of database."""
    match request.param:
        case "sqlite":
            url = f"sqlite:///{tmp_path / 'database.sqlite'}"
        case "postgresql":
            server = request.getfixturevalue("postgres_server")
            server.start()
            url = server.create_database(f"machine_{tmp_path.name[-8:]}".replace("-", "_"))
        case _:
            url = request.getfixturevalue("mariadb_url")
    app = make_app(url, redis_url, **CONFIG)
    with app.app_context():
        yield app
        db_of(app).session.remove()
        state_of(app).models.metadata.drop_all(state_of(app).engine)
        close(app)


@pytest.mark.parametrize("each", ["sqlite"], indirect=True)
def test_rows_are_as_the_model_says(each: Flask) -> None:
    explore(each, SHORT)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_rows_are_as_the_model_says_for_longer(each: Flask) -> None:
    explore(each, LONG)
