"""How fast drivers emit: as fast as leaves a backlog, which keeps requests in flight, and no faster."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from flask_webhooks.sqlite import READ_ONLY

from .board import Board

#: Deliveries that wait at the endpoint with the most: less is too few, more is too many.
FEW, MANY = 30, 100
#: Seconds between two requests of one driver.
FIRST, SHORTEST, LONGEST = 0.03, 0.004, 2.0
STEP = 1.3


class Pacer:
    """Sets the drivers' pause on the board.

    :param reachable: endpoints whose backlog goes down by itself.
    """

    def __init__(
        self, engine: sa.Engine, delivery: Any, board: Board, reachable: Sequence[str]
    ) -> None:
        self._engine = engine
        self._board = board
        waiting = sa.func.count()
        self._query = (
            sa.select(waiting)
            .where(
                delivery.state == sa.literal_column("'pending'"),
                delivery.endpoint_id.in_(reachable),
            )
            .group_by(delivery.endpoint_id)
            .order_by(waiting.desc())
            .limit(1)
        )
        board["pause"] = FIRST

    def run(self, done: threading.Event) -> None:
        """Adapt the pause every second."""
        while not done.wait(1.0):
            # The database may be away.
            with contextlib.suppress(sa.exc.SQLAlchemyError):
                self._adapt()

    def _adapt(self) -> None:
        with self._engine.connect().execution_options(**{READ_ONLY: True}) as connection:
            most = connection.execute(self._query).scalar() or 0
        pause = self._board["pause"]
        if most > MANY:
            pause *= STEP
        elif most < FEW:
            pause /= STEP
        self._board["pause"] = min(max(pause, SHORTEST), LONGEST)
