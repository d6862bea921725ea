"""Decide which of an endpoint's due deliveries are sent, and which are coalesced.

The claim decides, because it holds the lock of the endpoint's health row: the host's transaction needs no reads or
locks for it, and no two workers decide about one key at the same time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ...app_state import AppState, prepared
from ...db.locks import among, ids_parameter, in_state
from ...db.upsert import insert_or_replace
from ...filters.coalescing import LONGEST, Rule, event_key, stored_rules
from ...models import DeliveryState, Trigger
from ..outcome import Reason

#: Due deliveries of an endpoint, oldest first, that one claim examines.
WINDOW = 200


@dataclass(slots=True)
class Passed:
    """When the last delivery of a key was sent, and how many were coalesced since then."""

    at: datetime
    skipped: int = 0


@dataclass(slots=True)
class KeyDecisions:
    """The decisions about the examined deliveries."""

    #: The number of coalesced others by the id of the delivery that is sent.
    sent: dict[str, int] = field(default_factory=dict)
    coalesced: list[str] = field(default_factory=list)


def decide_by_key(
    keys: Iterable[tuple[str, str, int]], passed: dict[str, Passed], now: datetime
) -> KeyDecisions:
    """Decide which deliveries are sent. Updates `passed`.

    :param keys: deliveries, oldest first, each with the digest of its key and the interval in seconds.
    :param passed: the state of these keys by digest.
    """
    decision = KeyDecisions()
    for delivery_id, digest, seconds in keys:
        last = passed.get(digest)
        if last is not None and now < last.at + timedelta(seconds=seconds):
            last.skipped += 1
            decision.coalesced.append(delivery_id)
        else:
            decision.sent[delivery_id] = 0 if last is None else last.skipped
            passed[digest] = Passed(now)
    return decision


def coalesce_due(
    state: AppState, connection: sa.Connection, now: datetime, endpoint_id: str, rules_text: str
) -> bool:
    """Decide about the oldest due deliveries of one endpoint, whose health row is locked.

    :param rules_text: its stored rules.
    :return: ``False`` if later deliveries may be next that were not examined yet.
    """
    rules = stored_rules(rules_text)
    statements = _statements(state)
    most = max(WINDOW, 2 * state.settings.endpoint_concurrency)
    values = {"b_endpoint": endpoint_id, "b_now": now, "b_most": most, "b_types": list(rules)}
    rows = connection.execute(statements.due, values).all()
    keys = _keys(rows, rules)
    if not keys:
        return True
    passed = _read_passed(state, connection, endpoint_id, {digest for _, digest, _ in keys})
    decision = decide_by_key(keys, passed, now)
    if decision.sent:
        connection.execute(
            statements.let_through,
            [{"b_id": id_, "b_others": others} for id_, others in sorted(decision.sent.items())],
        )
    if decision.coalesced:
        ours = {**ids_parameter(state, sorted(decision.coalesced)), "b_now": now}
        connection.execute(statements.coalesce, ours)
    connection.execute(
        statements.remember,
        [
            {
                "endpoint_id": endpoint_id,
                "digest": digest,
                "passed_at": last.at,
                "skipped": last.skipped,
            }
            for digest, last in sorted(passed.items())
        ],
    )
    left = len(rows) - len(decision.coalesced)
    return len(rows) < most or left >= state.settings.endpoint_concurrency


def old_keys(state: AppState, now: datetime, cutoff: datetime, most: int) -> sa.Select[Any]:
    """Return the query for keys whose interval has ended.

    :param cutoff: the retention time of events, for which counts that were not sent are kept.
    """
    key = state.table("CoalescingKey").c
    return (
        sa.select(key.endpoint_id, key.digest)
        .where(
            key.passed_at < now - timedelta(seconds=LONGEST),
            sa.or_(key.skipped == 0, key.passed_at < cutoff),
        )
        .order_by(key.passed_at)
        .limit(most)
    )


def remove_keys(state: AppState, connection: sa.Connection, old: sa.Select[Any]) -> None:
    """Remove keys that no claim has locked."""
    table = state.table("CoalescingKey")
    rows = connection.execute(old.with_for_update(skip_locked=True)).all()
    key = sa.tuple_(table.c.endpoint_id, table.c.digest)
    connection.execute(sa.delete(table).where(key.in_([tuple(row) for row in rows])))


def _keys(rows: Sequence[Any], rules: Mapping[str, Rule]) -> list[tuple[str, str, int]]:
    found: list[tuple[str, str, int]] = []
    for row in rows:
        if row.data is None:
            continue
        rule = rules[row.event_type]
        digest = event_key(row.event_type, rule, row.data)
        if digest is not None:
            found.append((row.id, digest, rule.seconds))
    return found


def _read_passed(
    state: AppState, connection: sa.Connection, endpoint_id: str, digests: Iterable[str]
) -> dict[str, Passed]:
    values = {"b_endpoint": endpoint_id, **ids_parameter(state, sorted(digests))}
    rows = connection.execute(_statements(state).passed, values)
    return {digest: Passed(at, skipped) for digest, at, skipped in rows}


# -- statements ---------------------------------------------------------------------------------------


class _Statements:
    def __init__(self, state: AppState) -> None:
        delivery, event = state.table("Delivery"), state.table("Event")
        key = state.table("CoalescingKey")
        pending = in_state(delivery, DeliveryState.PENDING)
        oldest = (
            sa.select(delivery)
            .where(
                pending,
                delivery.c.endpoint_id == sa.bindparam("b_endpoint"),
                delivery.c.due_at <= sa.bindparam("b_now", type_=delivery.c.due_at.type),
            )
            .order_by(delivery.c.due_at, delivery.c.id)
            .limit(sa.bindparam("b_most", type_=sa.Integer()))
            .subquery("oldest")
        )
        undecided = sa.and_(
            event.c.id == oldest.c.event_id,
            oldest.c.coalesced.is_(None),
            oldest.c.attempt_count == 0,
            oldest.c.trigger == str(Trigger.EVENT),
            oldest.c.event_type.in_(sa.bindparam("b_types", expanding=True)),
        )
        self.due = (
            sa.select(
                oldest.c.id,
                oldest.c.event_type,
                sa.type_coerce(event.c.data, sa.Text()).label("data"),
            )
            .select_from(oldest.outerjoin(event, undecided))
            .order_by(oldest.c.due_at, oldest.c.id)
        )
        self.passed = sa.select(key.c.digest, key.c.passed_at, key.c.skipped).where(
            key.c.endpoint_id == sa.bindparam("b_endpoint"), among(state, key.c.digest)
        )
        # A user may have requested one of them meanwhile.
        still = (pending, delivery.c.trigger == str(Trigger.EVENT), delivery.c.coalesced.is_(None))
        self.let_through = (
            sa.update(delivery)
            .where(delivery.c.id == sa.bindparam("b_id"), *still)
            .values(coalesced=sa.bindparam("b_others"))
        )
        self.coalesce = (
            sa.update(delivery)
            .where(among(state, delivery.c.id), *still)
            .values(
                state=DeliveryState.CANCELLED,
                reason=Reason.COALESCED,
                due_at=None,
                noticed=None,
                completed_at=sa.bindparam("b_now", type_=delivery.c.completed_at.type),
            )
        )
        columns = ["endpoint_id", "digest", "passed_at", "skipped"]
        self.remember = insert_or_replace(key, state.engine.dialect.name, columns[:2], columns[2:])


_statements = prepared(_Statements)
