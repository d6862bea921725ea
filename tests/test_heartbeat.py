"""Signs of life in the database."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

from flask_webhooks.delivery.heartbeat import FORGET_AFTER, Sign, beat, end
from flask_webhooks.models import Heartbeat
from flask_webhooks.signals import attempt_recorded
from flask_webhooks.state import state_of

from .delivering import drain, emit, models_of, webhooks_of
from .helpers import database_time
from .receiver import Receiver

SIGN = Sign("worker-1", "worker", "host.example.com", 123)


def signs(app: Flask) -> list[Heartbeat]:
    model = models_of(app).Heartbeat
    with Session(state_of(app).engine) as session:
        return list(session.scalars(sa.select(model).order_by(model.name)))


def test_first_sign_and_later_ones(app: Flask) -> None:
    state = state_of(app)
    now = database_time(app)
    later = now + timedelta(seconds=30)
    with state.engine.connect() as connection:
        beat(state, connection, SIGN, now)
        beat(state, connection, SIGN, later)
        assert not connection.in_transaction()
    [found] = signs(app)
    assert (found.name, found.kind, found.host, found.pid) == (
        "worker-1",
        "worker",
        "host.example.com",
        123,
    )
    assert (found.started_at, found.seen_at) == (now, later)


def test_silent_processes_are_forgotten_when_another_one_comes(app: Flask) -> None:
    state = state_of(app)
    now = database_time(app)
    other = replace(SIGN, name="worker-2", host="x" * 300)
    with state.engine.connect() as connection:
        beat(state, connection, SIGN, now)
        beat(state, connection, other, now + timedelta(seconds=FORGET_AFTER - 1))
        assert [found.name for found in signs(app)] == ["worker-1", "worker-2"]
        third = replace(SIGN, name="worker-3")
        beat(state, connection, third, now + timedelta(seconds=FORGET_AFTER + 1))
    assert [found.name for found in signs(app)] == ["worker-2", "worker-3"]


def test_process_that_ends_takes_itself_off_the_list(app: Flask) -> None:
    state = state_of(app)
    with state.engine.connect() as connection:
        beat(state, connection, SIGN, database_time(app))
        end(state, connection, "somebody else")
        assert len(signs(app)) == 1
        end(state, connection, SIGN.name)
    assert signs(app) == []


def test_drain_is_on_the_list_while_it_runs(app: Flask, receiver: Receiver) -> None:
    seen: list[Heartbeat] = []
    webhooks_of(app).create_endpoint(receiver.url())
    emit(app)

    def look(sender: Flask, **values: object) -> None:
        seen.extend(signs(app))

    with attempt_recorded.connected_to(look):
        drain(app)
    [found] = seen
    assert (found.kind, found.pid) == ("drain", os.getpid())
    assert signs(app) == []
