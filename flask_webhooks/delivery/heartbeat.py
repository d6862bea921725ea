"""Signs of life in the database, which the health page and the banners believe."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from ..app_state import AppState

#: Seconds after which a silent process is forgotten.
FORGET_AFTER = 3600
#: The kind of the process that was the last one to end in good order.
STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Sign:
    """Who gives it.

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
    """Give a sign of life, and forget those who have been silent for long.

    :param worker_name: of the worker whose job this is. It gives no sign itself while it waits for us; where it
        is none of ours it is not on the list.
    :param skew: seconds by which the clock of the machine is ahead of the database's.
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
            # It may have ended before, under the same name.
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
    """Take a process off the list of those that live, as it ends in good order.

    The last one that did so stays as `STOPPED`, so that it is known when a worker was seen last.
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
            # By the key: on MySQL, a search would wait for the rows of others that end now.
            connection.execute(sa.delete(table).where(table.c.name.in_(before)))
