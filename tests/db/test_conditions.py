"""Filters that lists and tasks have in common, as SQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from flask_webhooks import ids
from flask_webhooks.db.conditions import EPOCH, answered, check_status, created_between
from flask_webhooks.errors import InvalidInput


def found(condition: sa.ColumnElement[bool]) -> list[int | None]:
    """Which answers a condition lets through."""
    engine = sa.create_engine("sqlite://")
    table = sa.Table("answer", sa.MetaData(), sa.Column("status", sa.Integer))
    statuses = [None, 199, 200, 204, 299, 300, 404, 500, 503, 599]
    with engine.begin() as connection:
        table.create(connection)
        connection.execute(sa.insert(table), [{"status": status} for status in statuses])
        rows = connection.execute(sa.select(table.c.status).where(condition)).scalars().all()
    engine.dispose()
    return list(rows)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("none", [None]),
        ("503", [503]),
        ("2xx", [200, 204, 299]),
        ("1xx", [199]),
        ("5xx", [500, 503, 599]),
        ("418", []),
    ],
)
def test_answers_by_number_class_or_none(status: str, expected: list[int | None]) -> None:
    column = sa.column("status", sa.Integer)
    assert found(answered(column, check_status(status))) == expected


@pytest.mark.parametrize("status", ["6xx", "0", "50", "5XX", "2xx ", "5031", "", "None", 503, None])
def test_other_answers_are_refused_with_what_to_write(status: object) -> None:
    with pytest.raises(InvalidInput, match="a class such as 5xx") as caught:
        check_status(status)
    assert caught.value.field == "status"


def test_time_beyond_what_ids_hold_is_the_first_or_the_last() -> None:
    column: sa.ColumnElement[str] = sa.column("id", sa.String)
    long_ago, never = datetime(1, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    condition = sa.and_(*created_between(column, "evt", long_ago, never))
    low, high = condition.compile().params.values()
    assert low == ids.lowest_id("evt", EPOCH)
    now = ids.lowest_id("evt", datetime.now(UTC) + timedelta(days=1))
    assert low < now < high
    assert created_between(column, "evt", None, None) == []
