"""SQL conditions of filters, for lists of deliveries and events and for tasks."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from .. import ids
from ..columns import position
from ..errors import InvalidInput

#: The range of times that ids and Python can represent.
EPOCH, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)

_STATUS = re.compile("([1-5])(xx|[0-9]{2})")


def created_between(
    column: Any, prefix: str, since: datetime | None, until: datetime | None
) -> list[sa.ColumnElement[bool]]:
    """Return the condition for ids that were created in a period, because ids sort by time."""
    conditions = []
    if since is not None:
        conditions.append(column >= ids.lowest_id(prefix, bounded(since)))
    if until is not None:
        conditions.append(column < ids.lowest_id(prefix, bounded(until)))
    return conditions


def of_tenant(column: Any, tenant: str) -> sa.ColumnElement[bool]:
    """Return the condition for a column with a tenant."""
    # PostgreSQL refuses text with NUL; no tenant contains it.
    return column == tenant if tenant.isprintable() else sa.false()


def holds(column: Any, text: str) -> sa.ColumnElement[bool]:
    """Return the condition for a column that contains a text, case-insensitively."""
    # PostgreSQL refuses text with NUL; no column contains it.
    wanted = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return position(column, sa.literal(wanted, sa.Text())) > 0


def check_status(value: Any) -> str:
    """Check a filter by the last response: a number (``503``), a class (``5xx``) or ``none`` for no response.
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
    """Return the condition of a filter by status, for a column with the last status."""
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
    """Return the time, or the nearest one that an id can represent."""
    return min(max(moment, EPOCH), LAST)
