"""What filters mean in SQL, for lists of deliveries and events and for tasks over many of them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from .. import ids
from ..columns import position
from ..errors import InvalidInput

#: Ids have no room for times before or long after; and Python has none beyond its own ends.
EPOCH, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)

_STATUS = re.compile("([1-5])(xx|[0-9]{2})")


def created_between(
    column: Any, prefix: str, since: datetime | None, until: datetime | None
) -> list[sa.ColumnElement[bool]]:
    """The condition for ids that were made from one time until before another: ids sort by time."""
    conditions = []
    if since is not None:
        conditions.append(column >= ids.lowest_id(prefix, bounded(since)))
    if until is not None:
        conditions.append(column < ids.lowest_id(prefix, bounded(until)))
    return conditions


def of_tenant(column: Any, tenant: str) -> sa.ColumnElement[bool]:
    """The condition for a column with a tenant."""
    # PostgreSQL refuses text that holds NUL; no tenant does.
    return column == tenant if tenant.isprintable() else sa.false()


def holds(column: Any, text: str) -> sa.ColumnElement[bool]:
    """The condition for a column that holds a text, whatever the case."""
    # PostgreSQL refuses text that holds NUL; no column does.
    wanted = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return position(column, sa.literal(wanted, sa.Text())) > 0


def check_status(value: Any) -> str:
    """A filter by the last answer: a number (``503``), a class (``5xx``) or ``none`` for no answer.

    :raises InvalidInput: it is none of these.
    """
    if value != "none" and not (isinstance(value, str) and _STATUS.fullmatch(value)):
        raise InvalidInput(
            "There is no status %(status)s. Write a number such as 503, a class such as 5xx, or none.",
            status=ascii(value)[:50],
            field="status",
        )
    return str(value)


def answered(column: Any, status: str) -> sa.ColumnElement[bool]:
    """The condition that `check_status` allows, for a column with the last status."""
    found: sa.ColumnElement[bool]
    if status == "none":
        found = column.is_(None)
    elif status.endswith("xx"):
        first = int(status[0]) * 100
        found = column.between(first, first + 99)
    else:
        found = column == int(status)
    return found


def bounded(moment: datetime) -> datetime:
    """The time, or the nearest one that an id has room for."""
    return min(max(moment, EPOCH), LAST)
