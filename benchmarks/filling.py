"""Many rows at once, by one statement for each table and chunk."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from .host import Host
from .hostapp import event_data

#: Deliveries written by one transaction.
CHUNK = 200_000
#: Scheduled events written by one transaction.
SCHEDULED_CHUNK = 20_000
#: So many of the oldest deliveries of a history have failed: a list of these must not search all of it.
FAILED = 100
#: What is kept of a request and its answer, at its shortest.
_HEADERS = '[["Content-Type","application/json"],["webhook-id","evt_"]]'


def fill(
    host: Host, endpoint_ids: Sequence[str], deliveries: int, tenant: str, *, settled: bool
) -> None:
    """Write events with a delivery to each endpoint: due now, or settled long ago with an attempt each.

    All of them lie before whatever is emitted from now on. For each set of endpoints only once.
    """
    # The time in an id of the application's own: what follows it is a number.
    stamp = endpoint_ids[0].partition("_")[2][:10]
    events = -(-deliveries // len(endpoint_ids))
    step = max(CHUNK // len(endpoint_ids), 1)
    with host.engine.connect() as connection, _quick(host, connection, anew=deliveries >= CHUNK):
        for first in range(0, events, step):
            last = min(first + step, events)
            with connection.begin():
                _write(host, connection, stamp, endpoint_ids, first, last, tenant, settled)


def schedule(host: Host, count: int, tenant: str) -> None:
    """Write events that are scheduled for the coming year, some minutes apart."""
    table = host.models.table("ScheduledEvent")
    now = datetime.now(UTC)
    data = event_data(0)
    first = now + timedelta(days=1)
    with host.engine.connect() as connection:
        for start in range(0, count, SCHEDULED_CHUNK):
            rows = [
                {
                    "id": f"sch_{number:026d}",
                    "type": "license.created",
                    "tenant": tenant,
                    "data": data,
                    "deliver_at": first + timedelta(minutes=2 * number),
                    "occurred_at": now,
                    "created_at": now,
                    "key": f"expiring:{number}",
                    "key_digest": f"{number:064d}",
                }
                for number in range(start, min(start + SCHEDULED_CHUNK, count))
            ]
            with connection.begin():
                connection.execute(sa.insert(table), rows)
        if connection.dialect.name == "postgresql":
            with connection.begin():
                connection.execute(sa.text("ANALYZE"))


@contextlib.contextmanager
def _quick(host: Host, connection: sa.Connection, anew: bool) -> Iterator[None]:
    """Leave out what only makes sure of rows that come from nowhere; then gather statistics.

    :param anew: build the indexes when all rows are there.
    """
    postgresql = connection.dialect.name == "postgresql"
    tables = [host.models.table(name) for name in ("Event", "Delivery", "Attempt")]
    indexes = [index for table in tables for index in table.indexes] if anew else []
    with connection.begin():
        for index in indexes:
            index.drop(connection)
        if postgresql:
            connection.execute(sa.text("SET session_replication_role = replica"))  # no foreign keys
            connection.execute(sa.text("SET maintenance_work_mem = '512MB'"))
    yield
    with connection.begin():
        for index in indexes:
            index.create(connection)
        if postgresql:
            connection.execute(sa.text("RESET ALL"))
            connection.execute(
                sa.text("ANALYZE")
            )  # as it does by itself after a while; SQLite never does


def _write(
    host: Host,
    connection: sa.Connection,
    stamp: str,
    endpoint_ids: Sequence[str],
    first: int,
    last: int,
    tenant: str,
    settled: bool,
) -> None:
    models = host.models
    event, delivery, attempt = (models.table(name) for name in ("Event", "Delivery", "Attempt"))
    endpoint = models.table("Endpoint")
    now = datetime.now(UTC)
    numbers = _numbers(connection, first, last)
    event_number = numbers.c.number
    event_id = _id(connection, f"evt_{stamp}", event_number)
    place = sa.func.row_number().over(order_by=endpoint.c.id).label("place")
    places = (
        sa.select(endpoint.c.id, place).where(endpoint.c.id.in_(endpoint_ids)).subquery("places")
    )
    number = event_number * len(endpoint_ids) + places.c.place
    delivery_id = _id(connection, f"dlv_{stamp}", number)
    _insert(
        connection,
        event,
        {
            "id": event_id,
            "type": "license.created",
            "tenant": tenant,
            "data": json.dumps(event_data(0), separators=(",", ":")),
            "occurred_at": now,
            "created_at": now,
        },
        numbers,
    )
    pairs = numbers.join(places, sa.true())
    state: Any = "pending"
    if settled:
        state = sa.case((number <= FAILED, "failed"), else_="succeeded")
    values = {
        "id": delivery_id,
        "event_id": event_id,
        "endpoint_id": places.c.id,
        "tenant": tenant,
        "event_type": "license.created",
        "state": state,
        "trigger": "event",
        "due_at": None if settled else now,
        "attempt_count": int(settled),
        "failure_count": 0,
        "interruption_count": 0,
        "last_status": 200 if settled else None,
        "created_at": now,
        "completed_at": now if settled else None,
    }
    _insert(connection, delivery, values, pairs)
    if settled:
        values = {
            "delivery_id": delivery_id,
            "number": 1,
            "endpoint_id": places.c.id,
            "trigger": "event",
            "started_at": now,
            "duration_ms": 12.5,
            "outcome": sa.case((number <= FAILED, "refused"), else_="succeeded"),
            "status": 200,
            "url": "https://shop.example/webhooks",
            "request_headers": _HEADERS,
            "request_body": "{}",
            "response_cut": False,
        }
        _insert(connection, attempt, values, pairs)


def _insert(
    connection: sa.Connection, table: sa.Table, values: dict[str, Any], source: sa.FromClause
) -> None:
    columns = []
    for name, value in values.items():
        kind = table.c[name].type
        if isinstance(value, sa.ColumnElement):
            columns.append(value)
        elif isinstance(value, str):
            # As it stands: JSON is written already.
            columns.append(sa.cast(sa.literal(value, sa.String()), sa.Text()))
        elif connection.dialect.name == "sqlite":
            columns.append(sa.literal(value, kind))  # it has no types to cast to
        else:
            columns.append(sa.cast(sa.literal(value, kind), kind))
    query = sa.select(*columns).select_from(source)
    connection.execute(sa.insert(table).from_select(list(values), query, include_defaults=False))


def _numbers(connection: sa.Connection, first: int, last: int) -> sa.FromClause:
    """The numbers from `first` up to but not `last`, as a column ``number``."""
    if connection.dialect.name == "postgresql":
        series = sa.func.generate_series(first, last - 1)
        return series.table_valued("number", name="numbers").render_derived()
    start = sa.select(sa.literal(first).label("number")).cte("numbers", recursive=True)
    return start.union_all(sa.select(start.c.number + 1).where(start.c.number < last - 1))


def _id(connection: sa.Connection, prefix: str, number: Any) -> sa.ColumnElement[str]:
    """The prefix and sixteen digits."""
    if connection.dialect.name == "postgresql":
        digits = sa.func.lpad(sa.cast(number, sa.Text()), 16, "0")
    else:
        digits = sa.func.printf("%016d", number)
    return sa.literal(prefix, sa.Text()) + digits
