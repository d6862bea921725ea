"""A worker without HTTP: its requests end as the test says, in a time that the test makes pass."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from flask import Flask

from flask_webhooks.app_state import state_of
from flask_webhooks.attempt_errors import REFUSED, told
from flask_webhooks.delivery.claim.claim import Claim, Claimer
from flask_webhooks.delivery.claim.plan import Capacity
from flask_webhooks.delivery.outcome import AttemptRecord, Claimed, Outcome, Released, Settled
from flask_webhooks.delivery.recovery import recover_expired, release_stragglers
from flask_webhooks.delivery.settle.write import Settler
from flask_webhooks.formats import Target
from tests.support.delivering import with_settings
from tests.support.helpers import database_time

Flying = tuple[Claimed, Target]


class Worker:
    """One drain as far as the database is concerned; close it."""

    def __init__(self, app: Flask, **settings: Any) -> None:
        self.app = app
        self.state = with_settings(state_of(app), **settings)
        self.claimer = Claimer(self.state)
        # Tests give little room, and count what they get. Those of the reserve set their own.
        self.claimer.reserve = self.claimer.slow_reserve = 0
        self.settler = Settler(self.state, random.Random(1))
        self.connection = self.state.engine.connect()
        self.now = database_time(app)

    def close(self) -> None:
        self.connection.close()

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)

    def catch_up(self) -> None:
        """What was emitted a moment ago must not lie in the future."""
        self.now = max(self.now, database_time(self.app))

    def claim(self, room: int = 256) -> Claim:
        self.catch_up()
        claim = self.claimer.claim(self.connection, self.now, Capacity(room))
        assert not self.connection.in_transaction()
        return claim

    def take(self, room: int = 256) -> list[Flying]:
        """What a claim brings."""
        return self.claim(room).claimed

    def take_one(self) -> Flying:
        [flying] = self.take(1)
        return flying

    def settle(self, *attempts: AttemptRecord, released: list[Released] | None = None) -> Settled:
        """Settle, and tell the signals."""
        settled = self.settler.settle(self.connection, self.now, attempts, released or [])
        assert not self.connection.in_transaction()
        self.settler.announcer.tell(settled)
        return settled

    def answer(self, flying: Flying, status: int | None = 200, **values: Any) -> Settled:
        return self.settle(ended(flying, status, **values))

    def answer_all(self, status: int | None = 200, **values: Any) -> int:
        """Claim and answer until nothing is due; returns how many."""
        count = 0
        while taken := self.take():
            self.settle(*(ended(flying, status, **values) for flying in taken))
            count += len(taken)
        return count

    def finish(self, claim: Claim) -> None:
        """Settle everything as success, the short way."""
        table = self.state.table("Delivery")
        ids = [claimed.delivery_id for claimed, _ in claim.claimed]
        values = {"state": "succeeded", "lease_token": None, "lease_until": None}
        with self.connection.begin():
            self.connection.execute(sa.update(table).where(table.c.id.in_(ids)).values(values))

    def recover(self, **options: Any) -> int:
        return recover_expired(self.state, self.connection, self.now, **options)

    def release_stragglers(self) -> None:
        release_stragglers(self.state, self.connection, self.now)

    def anything_due(self) -> bool:
        self.catch_up()
        with self.connection.begin():
            return self.claimer.anything_due(self.connection, self.now)

    def next_due(self) -> datetime | None:
        self.catch_up()
        with self.connection.begin():
            return self.claimer.next_due(self.connection, self.now)


def ended(flying: Flying, status: int | None = 200, **values: Any) -> AttemptRecord:
    """A request that was answered, or broke where there is no status."""
    claimed, target = flying
    outcome = Outcome.BROKEN
    if status is not None:
        outcome = Outcome.SUCCEEDED if 200 <= status < 300 else Outcome.REFUSED
    result: dict[str, Any] = {
        "outcome": outcome,
        "started_at": datetime.now(UTC),
        "duration_ms": 12.5,
        "status": status,
        "error": None if outcome == Outcome.SUCCEEDED else told(REFUSED, status=status),
        "request_body": "{}",
        **values,
    }
    return AttemptRecord(claimed=claimed, target=target, **result)
