"""Remove bodies of old attempts that are themselves kept longer: ``WEBHOOKS_RETENTION_REQUEST_BODY_DAYS``."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial

import sqlalchemy as sa

from .. import ids
from ..app_state import AppState
from ..config import Settings
from .walks import Walk

#: Deliveries whose bodies are removed in one transaction.
WINDOW = 300


def body_days(settings: Settings) -> dict[str, int | None]:
    """Return the retention times of bodies in days, by column; ``None``: as long as the attempt."""
    return {
        "request_body": settings.retention_request_body_days,
        "response_body": settings.retention_response_body_days,
    }


class BodyAges:
    """One pass over old bodies."""

    def __init__(self, state: AppState, now: datetime) -> None:
        self._state = state
        self._walks: dict[str, tuple[Walk, datetime]] = {}
        for name, days in body_days(state.settings).items():
            if days is not None:
                cutoff = now - timedelta(days=days)
                ceiling = ids.lowest_id("dlv", cutoff)
                column = state.table("Delivery").c.id
                self._walks[name] = (Walk(state, name, column, "", ceiling, now), cutoff)
        self._rounds = dict(self._walks)

    def step(self, connection: sa.Connection) -> bool:
        """Remove the bodies of some deliveries in separate transactions; return whether there may be more."""
        more = False
        for name, (walk, cutoff) in self._walks.items():
            more |= walk.forward(connection, partial(self._clear, connection, name, cutoff))
        while self._rounds:
            name, (walk, cutoff) = self._rounds.popitem()
            walk.round(connection, partial(self._clear, connection, name, cutoff))
        return more

    def _clear(
        self, connection: sa.Connection, name: str, cutoff: datetime, after: str, up_to: str
    ) -> str | None:
        delivery, table = self._state.table("Delivery").c, self._state.table("Attempt")
        window = (
            sa.select(delivery.id)
            .where(delivery.id > after, delivery.id <= up_to)
            .order_by(delivery.id)
            .limit(WINDOW)
            .subquery()
        )
        end: str | None = connection.scalar(sa.select(sa.func.max(window.c.id)))
        if end is not None:
            body = table.c[name]
            connection.execute(
                sa.update(table)
                .where(
                    table.c.delivery_id > after,
                    table.c.delivery_id <= end,
                    # A delivery may have been resent since then.
                    table.c.started_at < cutoff,
                    body.is_not(None),
                )
                .values({name: None, "body_key": self._key_of_other(table, name)})
            )
        return end

    def _key_of_other(self, table: sa.Table, name: str) -> sa.ColumnElement[str | None]:
        """Return the key if the other body still needs it."""
        [other] = set(body_days(self._state.settings)) - {name}
        return sa.case((table.c[other].is_not(None), table.c.body_key))
