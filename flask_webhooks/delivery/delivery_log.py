"""The log of a drain: attempts, results of deliveries, states of endpoints, overdue work.

Lines contain ids, statuses and times, but no URLs, payloads, headers or texts of receivers.
"""

from __future__ import annotations

import contextlib
import logging
import time
from typing import Any

from ..log import get_logger
from ..log_limit import LimitedLog
from ..models import DeliveryState
from .outcome import AttemptRecord, Decision, Outcome, Settled
from .settle.health import Change

logger = get_logger("flask_webhooks.delivery")

_ENDPOINT = {
    Change.FAILING: "Endpoint %s is failing%s: it gets one probe at a time",
    Change.WARNED: "Endpoint %s is still failing%s, and will be disabled",
    Change.RECOVERED: "Endpoint %s has recovered%s",
    Change.DISABLED: "Endpoint %s is disabled%s",
}


class DeliveryLog:
    """The log of one drain."""

    def __init__(self) -> None:
        self._limited = LimitedLog(logger)
        self._began = time.monotonic()
        self._attempts = 0
        self._succeeded = 0

    def write(self, settled: Settled) -> None:
        """Log a committed batch. Never raises."""
        if not logger.isEnabledFor(logging.INFO):
            return
        with contextlib.suppress(Exception):
            attempts = [decision.attempt for decision in settled.decisions]
            if logger.isEnabledFor(logging.DEBUG):
                for attempt in attempts:
                    _write_attempt(_fields(attempt))
            made = [attempt for attempt in attempts if not attempt.lost]
            self._attempts += len(made)
            self._succeeded += sum(item.outcome is Outcome.SUCCEEDED for item in made)
            for decision in settled.decisions:
                if decision.state is DeliveryState.FAILED:
                    self._write_given_up(decision)
            for endpoint_id, change, _ in settled.changes:
                self._write_change(endpoint_id, change, settled)
            self._limited.write_due()

    def write_overdue(self, seconds: float) -> None:
        """Log how long the oldest delivery has been overdue."""
        with contextlib.suppress(Exception):
            self._limited.write(
                "overdue",
                logging.WARNING,
                "Deliveries are overdue, the oldest by %d s: the workers cannot keep up. Run more of them, or see: "
                "flask webhooks doctor",
                seconds,
            )

    def write_due(self) -> None:
        """Log lines that were collected for a minute."""
        with contextlib.suppress(Exception):
            self._limited.write_due()

    def close(self) -> None:
        """Log collected lines, and a summary of the drain."""
        with contextlib.suppress(Exception):
            self._limited.close()
            if logger.isEnabledFor(logging.INFO) and self._attempts:
                logger.info(
                    "Drained: %d attempts, %d succeeded, in %.1f s",
                    self._attempts,
                    self._succeeded,
                    time.monotonic() - self._began,
                    extra={"attempts": self._attempts, "succeeded": self._succeeded},
                )

    def _write_given_up(self, decision: Decision) -> None:
        fields = _fields(decision.attempt)
        self._limited.write(
            ("given up", fields["endpoint_id"]),
            logging.INFO,
            "Delivery %s of %s to endpoint %s is given up after attempt %d (%s)",
            fields["delivery_id"],
            fields["event_type"],
            fields["endpoint_id"],
            fields["attempt"],
            decision.reason,
            fields=fields,
        )

    def _write_change(self, endpoint_id: str, change: Change, settled: Settled) -> None:
        fields = {"endpoint_id": endpoint_id, **_last_of(settled, endpoint_id, change)}
        why = f" ({_said(fields)})" if "outcome" in fields else ""
        message = _ENDPOINT[change]
        self._limited.write(
            (change, endpoint_id), logging.INFO, message, endpoint_id, why, fields=fields
        )


def _write_attempt(fields: dict[str, Any]) -> None:
    took = fields["duration_ms"]
    logger.debug(
        "Attempt %d of delivery %s, %s to endpoint %s: %s%s",
        fields["attempt"],
        fields["delivery_id"],
        fields["event_type"],
        fields["endpoint_id"],
        _said(fields),
        "" if took is None else f" in {took:.0f} ms",
        extra=fields,
    )


def _said(fields: dict[str, Any]) -> str:
    """Return the outcome of an attempt: ``refused with 503``."""
    outcome, status = str(fields["outcome"]), fields["status"]
    return outcome if status is None else f"{outcome} with {status}"


def _fields(attempt: AttemptRecord) -> dict[str, Any]:
    """Return the attributes of the log record of an attempt."""
    claimed = attempt.claimed
    return {
        "event_id": claimed.event.id,
        "delivery_id": claimed.delivery_id,
        "endpoint_id": claimed.endpoint_id,
        "tenant": attempt.target.tenant,
        "event_type": claimed.event.type,
        "attempt": claimed.number,
        "status": attempt.status,
        "outcome": str(attempt.outcome),
        "duration_ms": attempt.duration_ms,
    }


def _last_of(settled: Settled, endpoint_id: str, change: Change) -> dict[str, Any]:
    """Return the attempt that changed an endpoint's state, if it is in this batch."""
    for decision in reversed(settled.decisions):
        attempt = decision.attempt
        succeeded = attempt.outcome == Outcome.SUCCEEDED
        if attempt.endpoint_id == endpoint_id and succeeded == (change == Change.RECOVERED):
            return _fields(attempt)
    return {}
