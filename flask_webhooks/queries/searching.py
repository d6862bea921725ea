"""Searches of deliveries and events without an index, in bounded ranges, so that no search takes long."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ..db.conditions import answered, holds
from ..errors import InvalidInput
from ..models import Models

#: Deliveries or events that one page searches.
SEARCHED = 5_000
#: Characters of data that one page searches for a text.
SEARCHED_TEXT = 16 * 1024 * 1024
#: Seconds after which a page stops searching.
SEARCH_TIME = 1.0
#: The maximum length of a searched text.
MOST_TEXT = 500
#: Deliveries that the first statement of a text search examines. Later ones adapt to its result.
_FIRST = 5


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a search."""

    #: Matching ids, newest first.
    ids: list[str]
    #: The number of examined rows.
    searched: int
    #: The last examined id, if there may be more; ``None`` at the end of the history.
    reached: str | None


def check_text(text: str) -> None:
    """Check a text.

    :raises InvalidInput: it is too long.
    """
    if len(text) > MOST_TEXT:
        raise InvalidInput(
            "Search for at most %(most)s characters; this has %(count)s.",
            most=MOST_TEXT,
            count=len(text),
            field="text",
        )


def answered_so(
    session: Session,
    models: Models,
    conditions: Sequence[sa.ColumnElement[bool]],
    status: str,
    most: int,
) -> Found:
    """Search deliveries by their last response. Two statements.

    :param most: the maximum number.
    """
    table = models.Delivery
    newest = (
        sa.select(table.id, table.last_status)
        .where(*conditions)
        .order_by(table.id.desc())
        .limit(SEARCHED)
        .subquery()
    )
    hits = sa.select(newest.c.id).where(answered(newest.c.last_status, status))
    return _found(session, newest, hits, most)


def owed_to(
    session: Session,
    models: Models,
    conditions: Sequence[sa.ColumnElement[bool]],
    endpoint_id: str,
    most: int,
) -> Found:
    """Search events with a delivery to an endpoint. Two statements.

    :param most: the maximum number.
    """
    table, delivery = models.Event, models.Delivery
    newest = (
        sa.select(table.id).where(*conditions).order_by(table.id.desc()).limit(SEARCHED).subquery()
    )
    hits = (
        sa.select(newest.c.id)
        .join(delivery, delivery.event_id == newest.c.id)
        .where(delivery.endpoint_id == endpoint_id)
    )
    return _found(session, newest, hits, most)


def _found(session: Session, newest: sa.Subquery, hits: sa.Select[Any], most: int) -> Found:
    """Read what fits, of what was looked at.

    :param hits: the query for the ids in `newest` that fit.
    """
    ids = list(session.scalars(hits.order_by(newest.c.id.desc()).limit(most)))
    looked_at = sa.select(sa.func.count(), sa.func.min(newest.c.id)).select_from(newest)
    searched, last = session.execute(looked_at).one()
    return Found(ids, searched, last if searched == SEARCHED else None)


def holding(
    session: Session,
    models: Models,
    conditions: Sequence[sa.ColumnElement[bool]],
    text: str,
    status: str | None,
    most: int,
) -> Found:
    """Search deliveries whose event's data contains a text, in a few bounded statements.

    :param status: the last response, too.
    :param most: the maximum number.
    """
    table, event = models.Delivery, models.Event
    ids: list[str] = []
    searched = characters = 0
    last: str | None = None
    size = min(_FIRST, SEARCHED)
    end = time.monotonic() + SEARCH_TIME
    while True:
        newest = (
            sa.select(table.id, table.event_id, table.last_status)
            .where(*conditions, *([] if last is None else [table.id < last]))
            .order_by(table.id.desc())
            .limit(size)
            .subquery()
        )
        data = sa.type_coerce(event.data, sa.Text)
        length = sa.func.length(data)
        # Its sign tells whether the text exists. One lookup for each, because a join might read all events.
        looked: sa.ScalarSelect[int] = (
            sa.select(sa.case((holds(data, text), length), else_=-length))
            .where(event.id == newest.c.event_id)
            .scalar_subquery()
        )
        wanted = sa.true() if status is None else answered(newest.c.last_status, status)
        query = sa.select(newest.c.id, sa.case((wanted, looked), else_=0))
        rows = session.execute(query.order_by(newest.c.id.desc())).all()
        for id_, found in rows:
            searched += 1
            characters += abs(found or 0)
            last = id_
            if (found or 0) > 0:
                ids.append(id_)
            if len(ids) == most:
                return Found(ids, searched, last)
        if len(rows) < size:
            return Found(ids, searched, None)
        # As many as are expected to fit into the remaining bounds.
        rest = max(SEARCHED_TEXT - characters, 0) * searched // max(characters, 1)
        size = min(SEARCHED - searched, searched * 4, rest)
        if size <= 0 or time.monotonic() > end:
            return Found(ids, searched, last)
