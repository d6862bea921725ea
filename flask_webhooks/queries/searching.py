"""Deliveries and events by what no index finds: a bounded stretch at a time, so that no search takes long."""

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

#: Deliveries or events that one page looks through.
SEARCHED = 5_000
#: Characters of events' data that one page looks through for a text.
SEARCHED_TEXT = 16 * 1024 * 1024
#: Seconds after which a page looks no further.
SEARCH_TIME = 1.0
#: Characters of a text that is looked for.
MOST_TEXT = 500
#: Deliveries that the first statement of a search for a text looks at. Those after it go by what it met.
_FIRST = 5


@dataclass(frozen=True, slots=True)
class Found:
    """What a search has come to."""

    #: Of those that fit, newest first.
    ids: list[str]
    #: How many were looked at.
    searched: int
    #: The last of those, if there may be more; ``None`` at the end of the history.
    reached: str | None


def check_text(text: str) -> None:
    """:raises InvalidInput: the text is longer than a search takes."""
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
    """Look for deliveries by their last answer. Two statements.

    :param most: at most so many.
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
    """Look for events that an endpoint has a delivery of. Two statements.

    :param most: at most so many.
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
    """Look for deliveries whose event's data holds a text, in a few statements, each of bounded work.

    :param status: the last answer, too.
    :param most: at most so many.
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
        # Its sign says whether the text is there. One look for each: a join might read every event there is.
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
        # As many as are expected to fit into the rest of the bounds.
        rest = max(SEARCHED_TEXT - characters, 0) * searched // max(characters, 1)
        size = min(SEARCHED - searched, searched * 4, rest)
        if size <= 0 or time.monotonic() > end:
            return Found(ids, searched, last)
