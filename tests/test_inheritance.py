"""A worker's connection to PostgreSQL goes on in the process that it forks, and in no other."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_webhooks.state import state_of

from .delivering import emit, states, webhooks_of
from .processes import OURS, WorkerProcess, children, config_of, wait_until
from .receiver import Receiver

on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


def backends(app: Flask) -> set[int]:
    """The server's processes for connections to this database, but for the one that asks."""
    query = sa.text(
        "SELECT pid FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with state_of(app).engine.connect() as connection:
        return set(connection.scalars(query))


def children_but_scheduler(worker: WorkerProcess) -> list[int]:
    """The work-horse, if there is one: RQ's scheduler is the worker's first child."""
    return sorted(children(worker.process.pid))[1:]


@on_postgresql
def test_drain_goes_on_with_the_connection_of_its_worker(
    app: Flask, receiver: Receiver, tmp_path: Path
) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/slow/0.5"))
    # Whatever connections this process needs it has from now on.
    emit(app)
    assert states(app) == {"pending": 1}
    config = {**config_of(app), "WEBHOOKS_SWEEP_INTERVAL": 60.0}
    with WorkerProcess(OURS, config, tmp_path / "worker.log") as worker:

        def next_ready(used: set[int]) -> set[int]:
            """Wait until the worker has another one for the next drain."""
            wait_until(lambda: len(backends(app) - used) == 1, 20, what=worker.output)
            return backends(app) - used

        receiver.wait_for(1, 20)
        for count in range(2, 6):
            ready = next_ready(backends(app))
            emit(app)
            receiver.wait_for(count, 20)
            assert backends(app) & ready, worker.output()
        worker.terminate()
        assert worker.wait(20) < 10
    assert "rror" not in worker.output(), worker.output()


@on_postgresql
def test_drain_finds_another_connection_where_that_of_its_worker_was_ended(
    app: Flask, receiver: Receiver, tmp_path: Path
) -> None:
    webhooks_of(app).create_endpoint(receiver.url())
    config = {**config_of(app), "WEBHOOKS_SWEEP_INTERVAL": 60.0}
    emit(app)
    with WorkerProcess(OURS, config, tmp_path / "worker.log") as worker:
        wait_until(lambda: states(app) == {"succeeded": 1}, 20, what=worker.output)
        # The drain's own goes with it; the worker then opens the next.
        wait_until(lambda: not children_but_scheduler(worker), 20, what=worker.output)
        wait_until(lambda: len(backends(app)) == 1, 20, what=worker.output)
        [pid] = backends(app)
        with state_of(app).engine.connect() as connection:
            connection.execute(sa.select(sa.func.pg_terminate_backend(pid)))
        wait_until(lambda: not backends(app))
        emit(app)
        wait_until(lambda: states(app) == {"succeeded": 2}, 20, what=worker.output)
