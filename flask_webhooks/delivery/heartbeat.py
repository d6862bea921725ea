"""Heartbeats in the database, on which the health page and the banners are based."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from ..app_state import AppState

#: Seconds after which a silent process is forgotten.
FORGET_AFTER = 3600
#: The kind of the last process that ended normally.
STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Sign:
    """The process of a heartbeat.

    :param kind: ``worker`` or ``drain``.
    """

    name: str
    kind: str
    host: str
    pid: int


def beat(
    state: AppState,
    connection: sa.Connection,
    sign: Sign,
    now: datetime,
    worker_name: str | None = None,
    skew: float | None = None,
) -> None:
    """Write a heartbeat, and remove processes that have been silent for long.

    :param worker_name: the worker of this job. It sends no heartbeat itself during the job; a plain worker is not
    in the list.
    :param skew: seconds by which the machine's clock is ahead of the database's.
    """
    table = state.table("Heartbeat")
    with connection.begin():
        if worker_name is not None:
            connection.execute(
                sa.update(table).where(table.c.name == worker_name).values(seen_at=now)
            )
        seen = connection.execute(
            sa.update(table)
            .where(table.c.name == sign.name, table.c.kind == sign.kind)
            .values(seen_at=now, clock_skew=skew)
        ).rowcount
        if not seen:
            # A process of the same name may have ended before.
            connection.execute(sa.delete(table).where(table.c.name == sign.name))
            connection.execute(
                sa.insert(table).values(
                    name=sign.name,
                    kind=sign.kind,
                    host=sign.host[:255],
                    pid=sign.pid,
                    started_at=now,
                    seen_at=now,
                    clock_skew=skew,
                )
            )
            connection.execute(
                sa.delete(table).where(table.c.seen_at < now - timedelta(seconds=FORGET_AFTER))
            )


def end(state: AppState, connection: sa.Connection, name: str) -> None:
    """Remove a process that ends normally from the list.

    The last one is kept as `STOPPED`, so that it is known when a worker was last seen.
    """
    table = state.table("Heartbeat")
    with connection.begin():
        ended = connection.execute(
            sa.update(table).where(table.c.name == name).values(kind=STOPPED)
        ).rowcount
        if not ended:
            return
        before = connection.scalars(
            sa.select(table.c.name).where(table.c.kind == STOPPED, table.c.name != name)
        ).all()
        if before:
            # By the key: on MySQL, a search would wait for rows of other processes that are ending.
            connection.execute(sa.delete(table).where(table.c.name.in_(before)))
