"""Record how attempts ended: attempts, delivery states, endpoint health and statistics in one transaction.

Locks are taken in the order of the claim: health rows, then deliveries. A response whose lease was taken over
meanwhile changes nothing: the row has another token.

Long, since a settlement is one transaction, step by step.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ... import state_reasons
from ...app_state import AppState
from ...db.locks import ids_parameter, take_write_lock
from ...models import DeliveryState, EndpointState
from .. import audit_log
from ..announce import Announcer
from ..claim.rate_limit import hold_buckets
from ..echo import verify_endpoints
from ..holding import divert, hold_pending
from ..outcome import AttemptRecord, Claimed, Decision, Outcome, Reason, Released, Settled
from . import health as health_rules
from . import statements as settling
from .attempts import attempt_rows
from .decide import Policy, Settlement, decide, failures_after, transition
from .health import Change, Health
from .metrics import count_in_metrics
from .statistics import count_attempts

#: A healthy endpoint's last success is written at most this often, in seconds.
SUCCESS_STEP = 1.0


class Settler:
    """Settles for one drain."""

    def __init__(self, state: AppState, chance: random.Random | None = None) -> None:
        self.state = state
        self.announcer = Announcer(state)
        self._attempts = attempt_rows(state)
        self._chance = chance or random.Random()
        self._policy = Policy.from_settings(state.settings)

    def settle(
        self,
        connection: sa.Connection,
        now: datetime,
        attempts: Sequence[AttemptRecord],
        released: Sequence[Released] = (),
    ) -> Settled:
        """Write a batch in one transaction, which has ended when this returns.

        :param now: the database's time.
        """
        settled = Settled()
        with connection.begin():
            take_write_lock(self.state, connection)
            claims = [item.claimed for item in attempts] + [item.claimed for item in released]
            health = self._lock_health(connection, {claim.endpoint_id for claim in claims})
            tokens = self._tokens(connection, claims)

            def ours(claimed: Claimed) -> bool:
                return tokens.get(claimed.delivery_id) == claimed.token

            valid = [item for item in attempts if ours(item.claimed)]
            given_back = [item for item in released if ours(item.claimed)]
            settled.stale = len(attempts) - len(valid)
            settlement = decide(valid, health, self._policy, now, self._chance.random)
            settled.decisions = settlement.decisions
            after = _with_holds(settlement.health, given_back, now)
            self._release(connection, given_back, now)
            self._attempts.insert(connection, valid)
            self._update_deliveries(connection, settled, now)
            self._update_health(connection, health, after)
            hold_buckets(self.state, connection, settled.decisions, now)
            self._follow(connection, valid, now)
            verify_endpoints(self.state, connection, valid, now)
            count_attempts(self.state, connection, valid)
            settled.changes = self._apply_changes(connection, settlement, now)
            divert(self.state, connection, _pending_again(settled, given_back))
            settled.emitted = self.announcer.record(connection, settled, now)
            count_in_metrics(self.state, connection, valid)
        return settled

    def _lock_health(self, connection: sa.Connection, endpoint_ids: set[str]) -> dict[str, Health]:
        rows = connection.execute(
            settling.select_health(self.state), {"endpoint_ids": sorted(endpoint_ids)}
        )
        return {row.endpoint_id: Health(*row[1:]) for row in rows}

    def _tokens(
        self, connection: sa.Connection, claims: Iterable[Claimed]
    ) -> dict[str, str | None]:
        """Return the current tokens of the rows.

        Other changes of a row that is being sent wait for its locked health row.
        """
        ids = ids_parameter(self.state, [claim.delivery_id for claim in claims])
        rows = connection.execute(settling.read_tokens(self.state), ids)
        return {row.id: row.lease_token for row in rows}

    def _release(
        self, connection: sa.Connection, released: Sequence[Released], now: datetime
    ) -> None:
        """Release deliveries that were not sent; their attempts do not count."""
        if released:
            connection.execute(
                settling.give_back(self.state),
                [
                    {
                        "b_id": item.claimed.delivery_id,
                        "b_due": now + timedelta(seconds=item.delay),
                    }
                    for item in released
                ],
            )

    def _update_deliveries(
        self, connection: sa.Connection, settled: Settled, now: datetime
    ) -> None:
        succeeded: dict[int | None, list[str]] = defaultdict(list)
        others: list[dict[str, Any]] = []
        for decision in settled.decisions:
            if decision.state == DeliveryState.SUCCEEDED:
                succeeded[decision.attempt.status].append(decision.attempt.claimed.delivery_id)
            else:
                others.append(_without_success(decision, now))
        for status, ids in succeeded.items():
            connection.execute(
                settling.complete(self.state),
                {**ids_parameter(self.state, ids), "b_status": status, "b_now": now},
            )
        if others:
            connection.execute(settling.record_failure(self.state), others)

    def _update_health(
        self, connection: sa.Connection, before: Mapping[str, Health], after: Mapping[str, Health]
    ) -> None:
        changed = [
            {
                "b_endpoint": endpoint_id,
                **{f"b_{name}": getattr(health, name) for name in settling.HEALTH},
            }
            for endpoint_id, health in sorted(after.items())
            if _worth_writing(before.get(endpoint_id), health)
        ]
        if changed:
            connection.execute(settling.write_health(self.state), changed)

    def _follow(
        self, connection: sa.Connection, attempts: Sequence[AttemptRecord], now: datetime
    ) -> None:
        """Update the URLs of receivers that have moved, unless the endpoint was changed meanwhile."""
        table = self.state.table("Endpoint")
        for item in {item.endpoint_id: item for item in attempts}.values():
            target, moved_to = item.target, item.refusal.moved_to
            if moved_to is None:
                continue
            style = self.state.formats[target.format]
            move = style.moved(target.url, target.options, moved_to)
            if move is None:
                continue
            values: dict[str, Any] = {"options": dict(move.options) or None}
            if move.url != target.url:
                values["url_shown"] = style.mask_url(move.url)
                values["url_sealed"] = self.state.vault.encrypt(move.url)
            followed = connection.execute(
                sa.update(table)
                .where(
                    table.c.id == target.id,
                    table.c.version == target.version,
                    table.c.deleted_at.is_(None),
                )
                .values(version=table.c.version + 1, updated_at=now, **values)
            )
            if followed.rowcount:
                audit_log.add_entry(
                    self.state,
                    connection,
                    "endpoint.updated",
                    tenant=target.tenant,
                    endpoint_id=target.id,
                    changes=dict(move.changes),
                )

    def _apply_changes(
        self, connection: sa.Connection, settlement: Settlement, now: datetime
    ) -> list[tuple[str, Change, Health]]:
        """Disable endpoints; return the changes to announce.

        Changes of paused or already disabled endpoints are not announced: requests in flight may still fail, and a
        successful test does not release held deliveries.
        """
        if not settlement.changes:
            return []
        table = self.state.table("Endpoint").c
        rows = connection.execute(
            sa.select(table.id).where(
                table.id.in_({endpoint_id for endpoint_id, _, _ in settlement.changes}),
                table.state == EndpointState.ACTIVE,
                table.deleted_at.is_(None),
            )
        )
        active = {row.id for row in rows}
        told: list[tuple[str, Change, Health]] = []
        for endpoint_id, change, health in settlement.changes:
            if endpoint_id not in active:
                continue
            if change == Change.DISABLED:
                active.remove(endpoint_id)
                self._disable(connection, endpoint_id, settlement, now)
            told.append((endpoint_id, change, health))
        return told

    def _disable(
        self, connection: sa.Connection, endpoint_id: str, settlement: Settlement, now: datetime
    ) -> None:
        """Disable an endpoint, hold its deliveries, and add an entry to the audit log."""
        code, params = _why_disabled(endpoint_id, settlement, self.state.settings.disable_after)
        why = state_reasons.state_reason_text(code, params)[: state_reasons.MAX_LENGTH]
        table = self.state.table("Endpoint")
        connection.execute(
            sa.update(table)
            .where(table.c.id == endpoint_id)
            .values(
                state=EndpointState.DISABLED,
                state_reason=why,
                state_reason_code=code,
                state_reason_params=params,
                state_actor=audit_log.ACTOR,
                state_since=now,
                version=table.c.version + 1,
                updated_at=now,
            )
        )
        held = hold_pending(self.state, connection, [endpoint_id])
        whose = sa.select(table.c.tenant).where(table.c.id == endpoint_id).scalar_subquery()
        changes = {
            "state": [EndpointState.ACTIVE, EndpointState.DISABLED],
            "held": held,
            "reason": why,
            "reason_code": code,
            "reason_params": params,
        }
        audit_log.add_entry(
            self.state,
            connection,
            "endpoint.disabled",
            tenant=whose,
            endpoint_id=endpoint_id,
            changes=changes,
        )


def _without_success(decision: Decision, now: datetime) -> dict[str, Any]:
    """Return the parameters of `statements.record_failure`."""
    attempt = decision.attempt
    return {
        **transition(decision, now),
        "b_failures": failures_after(attempt),
        # A request that the worker aborted does not count as an interruption.
        "b_ended": attempt.outcome != Outcome.INTERRUPTED,
        "b_status": attempt.status,
    }


def _why_disabled(
    endpoint_id: str, settlement: Settlement, disable_after: float
) -> tuple[str, dict[str, str] | None]:
    """Return a code of `state_reasons` and its parameters.

    :param disable_after: seconds of failures.
    """
    for decision in reversed(settlement.decisions):
        attempt = decision.attempt
        if decision.reason == Reason.GONE and attempt.endpoint_id == endpoint_id:
            if attempt.refusal.permanent and attempt.error is not None:
                why = state_reasons.refused_for_good(attempt.error)
                return state_reasons.REFUSED_FOR_GOOD, why
            return state_reasons.GONE, None
    return state_reasons.FAILED_FOR_DAYS, {"days": f"{disable_after / 86_400:g}"}


def _with_holds(
    health: dict[str, Health], released: Sequence[Released], now: datetime
) -> dict[str, Health]:
    held = dict(health)
    for item in released:
        endpoint_id = item.claimed.endpoint_id
        if item.hold_reason and endpoint_id in held:
            until = now + timedelta(seconds=item.delay)
            held[endpoint_id] = health_rules.hold(held[endpoint_id], until, item.hold_reason)
    return held


def _pending_again(settled: Settled, released: Sequence[Released]) -> set[str]:
    """Return endpoints with deliveries that are pending again, which may have become inactive."""
    retried = {
        decision.attempt.endpoint_id
        for decision in settled.decisions
        if decision.state == DeliveryState.PENDING
    }
    return retried | {item.claimed.endpoint_id for item in released}


def _worth_writing(before: Health | None, after: Health) -> bool:
    if before is None:
        return False
    if replace(after, last_success_at=before.last_success_at) != before:
        return True
    if before.last_success_at is None or after.last_success_at is None:
        return before.last_success_at != after.last_success_at
    return (after.last_success_at - before.last_success_at).total_seconds() >= SUCCESS_STEP
