"""After the last fault: no one intervenes, and all must be well again in time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from flask_webhooks import queries
from flask_webhooks.app_state import state_of
from flask_webhooks.sqlite import READ_ONLY

from .hostapp import LEASE, MAX_PROBE_INTERVAL

#: Seconds that the backlog may take: a lease, the longest pauses, and what lies there.
DRAINS_WITHIN = LEASE + 2 * MAX_PROBE_INTERVAL + 180.0
#: Seconds until the health check must say that all is well.
GREEN_WITHIN = 20.0


def seconds_to_drain(engine: sa.Engine, delivery: Any, reachable: Sequence[str]) -> float | None:
    """Wait until all that can be reached has been.

    :param delivery: the model. :param reachable: the ids of endpoints.
    :return: the seconds it took, ``None`` where it was not within `DRAINS_WITHIN`.
    """
    began = time.monotonic()
    waiting = sa.select(delivery.id).where(
        delivery.state.in_(("pending", "sending")), delivery.endpoint_id.in_(reachable)
    )
    while time.monotonic() < began + DRAINS_WITHIN:
        with (
            contextlib.suppress(sa.exc.SQLAlchemyError),
            engine.connect().execution_options(**{READ_ONLY: True}) as connection,
        ):
            if connection.execute(waiting.limit(1)).first() is None:
                return time.monotonic() - began
        time.sleep(0.2)
    return None


def trouble_that_stays() -> str | None:
    """Wait until the health check says that all is well; returns what it says else."""
    deadline = time.monotonic() + GREEN_WITHIN
    while True:
        found = queries.readiness(state_of())
        if found.ready:
            return None
        if time.monotonic() > deadline:
            return str(found)
        time.sleep(0.5)
