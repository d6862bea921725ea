"""Number committed events for pulls.

Ids are assigned when events are emitted, and a transaction may commit long after others that began later: a
program that remembers the last id would miss its events. Therefore committed events are put into numbered batches,
in consecutive transactions: later batches have higher numbers. A pull does this, so it costs nothing without
pulls. It never waits for transactions of the host, or delays them.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ..app_state import AppState, prepared
from ..db.locks import among, ids_parameter
from ..db.transactions import reading, writing
from ..db.upsert import insert_missing

#: The maximum number of events in a batch.
BATCH: Final = 1_000

_NAME: Final = "events"


def last_batch(state: AppState, session: Session) -> int:
    """Return the number of the last batch: no event will ever join it or one before it."""
    table = state.table("Numbering").c
    found = session.execute(sa.select(table.last).where(table.name == _NAME)).scalar()
    return int(found or 0)


def unnumbered(state: AppState) -> sa.Select[Any]:
    """Return the query for the ids of the oldest committed events without a batch."""
    event = state.table("Event").c
    return sa.select(event.id).where(event.batch.is_(None)).order_by(event.id).limit(BATCH)


def number(state: AppState, *, owns_request: bool = False) -> bool:
    """Put committed events of all tenants into a batch; return whether there were any.

    :param owns_request: see `transactions.writing`.
    """
    with reading(state) as session:
        if session.execute(unnumbered(state).limit(1)).first() is None:
            return False
    with writing(state, owns_request=owns_request) as session:
        connection = session.connection()
        batch = _next(state, connection)
        # Not locked by the search itself: on MySQL this would block inserts of new events.
        found = connection.execute(unnumbered(state)).scalars().all()
        # Locked events may be about to be removed; otherwise they are numbered next time.
        free = connection.execute(_statements(state).free, ids_parameter(state, found))
        numbered = free.scalars().all()
        if numbered:
            connection.execute(
                _statements(state).set_batch, {"in_batch": batch, **ids_parameter(state, numbered)}
            )
    return bool(numbered)


class _Statements:
    def __init__(self, state: AppState) -> None:
        event = state.table("Event")
        mine = among(state, event.c.id)
        self.free = (
            sa.select(event.c.id)
            .where(mine, event.c.batch.is_(None))
            .order_by(event.c.id)
            .with_for_update(skip_locked=True, key_share=True)
        )
        self.set_batch = sa.update(event).where(mine).values(batch=sa.bindparam("in_batch"))


_statements = prepared(_Statements)


def _next(state: AppState, connection: sa.Connection) -> int:
    """Return the next number, with a lock until the transaction ends."""
    table = state.table("Numbering")
    mine = table.c.name == _NAME
    more = sa.update(table).where(mine).values(last=table.c.last + 1)
    if not connection.execute(more).rowcount:
        missing = insert_missing(table, connection.dialect.name, ["name"])
        connection.execute(missing.values(name=_NAME, last=0))
        connection.execute(more)
    return int(connection.execute(sa.select(table.c.last).where(mine)).scalar_one())
