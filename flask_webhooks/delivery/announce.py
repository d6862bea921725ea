"""Announce results of deliveries: operational events to endpoints, blinker signals to the host."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import blinker
import sqlalchemy as sa

from .. import ids, signals
from ..app_state import AppState
from ..formats.standard import iso_milliseconds
from ..log import get_logger, log_failure
from ..models import DeliveryState
from ..outbox import store
from .outcome import AttemptRecord, Decision, Outcome, Reason, Settled
from .owner_notifications import record_incidents
from .settle.health import Change, Health

logger = get_logger("flask_webhooks.delivery")

#: A signal and its keywords.
SignalMessage = tuple[blinker.NamedSignal, dict[str, Any]]

#: Event type and signal of each change.
_CHANGES = {
    Change.FAILING: ("endpoint.failing", signals.endpoint_failing),
    Change.WARNED: ("endpoint.failing", signals.endpoint_failing),
    Change.RECOVERED: ("endpoint.recovered", signals.endpoint_recovered),
    Change.DISABLED: ("endpoint.disabled", signals.endpoint_disabled),
}


@dataclass(frozen=True, slots=True)
class _Endpoint:
    id: str
    name: str
    url: str
    tenant: str | None

    @property
    def data(self) -> dict[str, Any]:
        """The common members of operational events."""
        return {"endpoint_id": self.id, "endpoint_name": self.name, "url": self.url}


@dataclass(frozen=True, slots=True)
class _Notice:
    """An operational event to be written."""

    event_type: str
    about: _Endpoint
    data: dict[str, Any] = field(repr=False)


class Announcer:
    """Collects announcements while a batch is settled, and sends them after the commit."""

    def __init__(self, state: AppState) -> None:
        self.state = state

    def record(self, connection: sa.Connection, settled: Settled, now: datetime) -> bool:
        """Write operational events, inside the settling transaction.

        :return: whether there are new deliveries.
        """
        failed = [item for item in settled.decisions if item.state == DeliveryState.FAILED]
        if not settled.changes and not failed:
            return False
        failed = [item for item in failed if not self._operational(item.attempt.claimed.event.type)]
        endpoints = self._endpoints(
            connection,
            {endpoint_id for endpoint_id, _, _ in settled.changes}
            | {item.attempt.endpoint_id for item in failed},
        )
        if self.state.hooks.notify is not None:
            told = [
                (*change, _last_failure(settled.decisions, change[0])) for change in settled.changes
            ]
            settled.notified = record_incidents(self.state, connection, told, failed, now)
        notices: list[_Notice] = []
        for endpoint_id, change, health in settled.changes:
            name, signal = _CHANGES[change]
            endpoint = endpoints[endpoint_id]
            last = _last_failure(settled.decisions, endpoint_id)
            facts = self._facts(change, health, last)
            settled.messages.append(
                (
                    signal,
                    {
                        "endpoint_id": endpoint.id,
                        "tenant": endpoint.tenant,
                        "url": endpoint.url,
                        **facts,
                    },
                )
            )
            data = {**endpoint.data, **facts}
            if change != Change.RECOVERED:
                data |= _last(last)
            notices.append(_Notice(name, endpoint, data))
        for item in failed:
            claimed = item.attempt.claimed
            endpoint = endpoints[claimed.endpoint_id]
            data = {
                "delivery_id": claimed.delivery_id,
                "event_id": claimed.event.id,
                "event_type": claimed.event.type,
                **endpoint.data,
                "reason": str(item.reason),
                "attempt_count": claimed.number,
                **_last(item),
            }
            notices.append(_Notice("delivery.failed", endpoint, data))
        return self._emit(connection, notices, now)

    def tell(self, settled: Settled) -> None:
        """Send the signals at once."""
        if messages := self.messages(settled):
            self.send(messages)

    def messages(self, settled: Settled) -> list[SignalMessage]:
        """Return the signals that have receivers."""
        return [(signal, values) for signal, values in self._messages(settled) if signal.receivers]

    def send(self, messages: Iterable[SignalMessage]) -> None:
        """Send signals. Exceptions of a receiver are logged, and do not affect others."""
        app = self.state.app
        with app.app_context():
            for signal, values in messages:
                try:
                    signal.send(app, **values)
                except Exception as error:
                    log_failure(
                        logger, "A receiver of %s raised an exception", signal.name, error=error
                    )

    def _messages(self, settled: Settled) -> Iterable[SignalMessage]:
        if (
            signals.attempt_recorded.receivers
            or signals.delivery_succeeded.receivers
            or signals.delivery_failed.receivers
        ):
            for item in settled.decisions:
                yield from _messages_of(item)
        yield from settled.messages

    def _facts(self, change: Change, health: Health, last: Decision | None) -> dict[str, Any]:
        """Return the keywords of a signal about an endpoint."""
        match change:
            case Change.RECOVERED:
                return {"failing_since": health.failing_since}
            case Change.DISABLED:
                gone = last is not None and last.reason == Reason.GONE
                return {
                    "reason": str(Reason.GONE) if gone else "failing",
                    "failing_since": health.failing_since,
                }
        assert health.failing_since is not None
        return {
            "failing_since": health.failing_since,
            "consecutive_failures": health.consecutive_failures,
            "disable_progress": health.warned if change == Change.WARNED else 0,
            "disable_at": health.failing_since
            + timedelta(seconds=self.state.settings.disable_after),
        }

    def _endpoints(self, connection: sa.Connection, endpoint_ids: set[str]) -> dict[str, _Endpoint]:
        if not endpoint_ids:
            return {}
        table = self.state.table("Endpoint").c
        rows = connection.execute(
            sa.select(table.id, table.name, table.url_shown, table.tenant).where(
                table.id.in_(endpoint_ids)
            )
        )
        return {row.id: _Endpoint(*row) for row in rows}

    def _operational(self, event_type: str) -> bool:
        """Return whether an event is operational or a test, which are not announced."""
        if event_type not in self.state.catalog:
            return False
        known = self.state.catalog[event_type]
        return known.operational or not known.subscribable

    def _emit(self, connection: sa.Connection, notices: Sequence[_Notice], now: datetime) -> bool:
        """Write the events, each to its subscribers except the endpoint that it is about."""
        if not notices:
            return False
        tenants = {item.about.tenant for item in notices} - {None}
        subscriptions = store.list_subscriptions(self.state, connection, tenants)
        written = False
        for item in notices:
            data = json.dumps(
                item.data, ensure_ascii=False, separators=(",", ":"), default=iso_milliseconds
            )
            lets_through = store.FilterCheck(item.event_type, data)
            targets = [
                (endpoint_id, tenant, endpoint_state)
                for endpoint_id, tenant, endpoint_state, events, filter in subscriptions
                # An endpoint that fails cannot receive this; and if its failure was not announced, its recovery
                # need not be.
                if endpoint_id != item.about.id
                and tenant in (None, item.about.tenant)
                and store.covers(events, item.event_type)
                and (filter is None or lets_through(filter))
            ]
            if not targets and not self.state.settings.keep_unmatched:
                continue
            event = store.NewEvent(
                id=ids.new_id("evt"),
                type=item.event_type,
                tenant=item.about.tenant,
                data=data,
                occurred_at=now,
            )
            store.insert_event(self.state, connection, event, targets)
            written |= bool(targets)
        return written


def _messages_of(decision: Decision) -> Iterable[SignalMessage]:
    attempt = decision.attempt
    claimed = attempt.claimed
    common = {
        "endpoint_id": claimed.endpoint_id,
        "delivery_id": claimed.delivery_id,
        "event_id": claimed.event.id,
        "event_type": claimed.event.type,
        "tenant": attempt.target.tenant,
        "status": attempt.status,
    }
    yield (
        signals.attempt_recorded,
        {
            **common,
            "number": claimed.number,
            "trigger": str(claimed.trigger),
            "outcome": str(attempt.outcome),
            "error": _error(attempt),
            "duration_ms": attempt.duration_ms,
        },
    )
    if decision.state == DeliveryState.SUCCEEDED:
        yield (
            signals.delivery_succeeded,
            {**common, "attempt_count": claimed.number, "duration_ms": attempt.duration_ms},
        )
    elif decision.state == DeliveryState.FAILED:
        yield (
            signals.delivery_failed,
            {
                **common,
                "attempt_count": claimed.number,
                "reason": str(decision.reason),
                "error": _error(attempt),
            },
        )


def _error(attempt: AttemptRecord) -> str | None:
    return None if attempt.error is None else str(attempt.error)


def _last_failure(decisions: Sequence[Decision], endpoint_id: str) -> Decision | None:
    for item in reversed(decisions):
        if item.attempt.endpoint_id == endpoint_id and item.attempt.outcome != Outcome.SUCCEEDED:
            return item
    return None


def _last(item: Decision | None) -> dict[str, Any]:
    return {
        "last_status": None if item is None else item.attempt.status,
        "last_error": None if item is None else _error(item.attempt),
    }
