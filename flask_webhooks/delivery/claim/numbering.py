"""Number the deliveries of an endpoint: 1, 2, 3 … in the order in which they are first claimed, without a gap.

A claim holds the lock of the endpoint's health row, which has the last number, and writes numbers, leases and that
row in one transaction: no two workers assign the same number, a rollback assigns none, and no transaction of the
host has to wait. Tests and challenges have no number, because they are not events that a receiver could miss.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from ...app_state import AppState, prepared
from ...columns import compact_json
from ...db.locks import among, ids_parameter
from .plan import ClaimPlan
from .snapshot import HealthSnapshot

#: The name of a parameter.
_NUMBERS = "b_numbers"


def plan_numbers(plan: ClaimPlan, health: Mapping[str, HealthSnapshot]) -> dict[str, int]:
    """Return the numbers of deliveries by id, provided that all of them can be leased."""
    chosen = [item for item in plan.chosen if item in plan.unnumbered]
    return _counted(chosen, plan.unnumbered, health)


def save_numbers(
    state: AppState,
    connection: sa.Connection,
    planned: Mapping[str, int],
    rows: Sequence[Any],
    health: Mapping[str, HealthSnapshot],
) -> dict[str, int]:
    """Store the last numbers of endpoints; return the numbers of the leased deliveries.

    :param planned: the result of `plan_numbers`, which `lease_rows` has written.
    :param rows: the leased rows. A user may have cancelled some meanwhile: later ones then move up.
    """
    taken = {row.id: row.endpoint_id for row in rows}
    numbers = _counted([item for item in planned if item in taken], taken, health)
    moved = {item: number for item, number in numbers.items() if number != planned[item]}
    if moved:
        values = {**ids_parameter(state, sorted(moved)), **numbers_parameter(moved)}
        connection.execute(_statements(state).move, values)
    last: dict[str, int] = {}
    for item, number in numbers.items():
        last[taken[item]] = number
    if last:
        save_last(state, connection, last)
    return {row.id: row.sequence for row in rows if row.sequence is not None} | numbers


def save_last(state: AppState, connection: sa.Connection, last: Mapping[str, int]) -> None:
    """Store the last numbers of endpoints by id."""
    values = {**ids_parameter(state, sorted(last)), **numbers_parameter(last)}
    connection.execute(_statements(state).count, values)


def number_of(state: AppState, column: sa.Column[Any]) -> sa.ColumnElement[int]:
    """Return the number of an id in the parameter of `numbers_parameter`, or NULL. It is one JSON object, so that
    the statement is the same for any number of rows.
    """
    given = sa.bindparam(_NUMBERS, type_=sa.String())
    if state.engine.dialect.name == "postgresql":
        # In a subquery, which is read once and not for each row.
        read = sa.select(sa.cast(given, postgresql.JSONB())).scalar_subquery()
        found: sa.ColumnElement[Any] = read.op("->>")(column)
    else:
        found = sa.func.json_extract(given, sa.literal('$."') + column + sa.literal('"'))
    return sa.cast(found, sa.BigInteger())


def numbers_parameter(numbers: Mapping[str, int]) -> dict[str, str]:
    """Return the parameter of `number_of`."""
    return {_NUMBERS: compact_json(dict(numbers))}


def _counted(
    deliveries: Iterable[str], endpoints: Mapping[str, str], health: Mapping[str, HealthSnapshot]
) -> dict[str, int]:
    """Continue counting from the last number of each delivery's endpoint."""
    last: dict[str, int] = {}
    numbers: dict[str, int] = {}
    for delivery_id in deliveries:
        endpoint_id = endpoints[delivery_id]
        before = last.get(endpoint_id, health[endpoint_id].last_sequence)
        numbers[delivery_id] = last[endpoint_id] = before + 1
    return numbers


# -- statements ---------------------------------------------------------------------------------------


class _Statements:
    def __init__(self, state: AppState) -> None:
        delivery, health = state.table("Delivery"), state.table("EndpointHealth")
        self.move = (
            sa.update(delivery)
            .where(among(state, delivery.c.id))
            .values(sequence=number_of(state, delivery.c.id))
        )
        self.count = (
            sa.update(health)
            .where(among(state, health.c.endpoint_id))
            .values(last_sequence=number_of(state, health.c.endpoint_id))
        )


_statements = prepared(_Statements)
