"""The log of a drain: attempts, what became of deliveries, the state of endpoints, overdue work.

Lines hold ids, statuses and times. No URL, no payload, no header, and nothing that a receiver said.
"""

from __future__ import annotations

import contextlib
import logging
import time
from typing import Any

from ..log_limit import LimitedLog
from ..models import DeliveryState
from .outcome import Ended, Outcome, Reason, Settled, as_ended
from .settle.health import Change

logger = logging.getLogger("flask_webhooks.delivery")

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
            if logger.isEnabledFor(logging.DEBUG):
                for ended in settled.ended():
                    _write_attempt(_fields(ended))
            others = [item for item in settled.attempts if item[1] is not DeliveryState.SUCCEEDED]
            self._attempts += len(settled.attempts)
            self._succeeded += len(settled.attempts) - len(others)
            for ended in (*(as_ended(*item) for item in others), *settled.lost):
                if ended.state == DeliveryState.FAILED:
                    self._write_given_up(_fields(ended), ended.reason)
            for endpoint_id, change, _ in settled.changes:
                self._write_change(endpoint_id, change, settled)
            self._limited.write_due()

    def write_overdue(self, seconds: float) -> None:
        """Log for how long the oldest delivery is overdue."""
        with contextlib.suppress(Exception):
            self._limited.write(
                "overdue",
                logging.WARNING,
                "Deliveries are overdue, the oldest by %d s: the workers do not keep up. Run more of them, or "
                "see: flask webhooks doctor",
                seconds,
            )

    def write_due(self) -> None:
        """Log what was held back for a minute."""
        with contextlib.suppress(Exception):
            self._limited.write_due()

    def close(self) -> None:
        """Log what was held back, and what the drain has done."""
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

    def _write_given_up(self, fields: dict[str, Any], reason: Reason | None) -> None:
        self._limited.write(
            ("given up", fields["endpoint_id"]),
            logging.INFO,
            "Delivery %s of %s to endpoint %s is given up after attempt %d (%s)",
            fields["delivery_id"],
            fields["event_type"],
            fields["endpoint_id"],
            fields["attempt"],
            reason,
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
    """How an attempt ended: ``refused with 503``."""
    outcome, status = str(fields["outcome"]), fields["status"]
    return outcome if status is None else f"{outcome} with {status}"


def _fields(ended: Ended) -> dict[str, Any]:
    """The attributes of the log record of an attempt."""
    return {
        "event_id": ended.event_id,
        "delivery_id": ended.delivery_id,
        "endpoint_id": ended.endpoint_id,
        "tenant": ended.tenant,
        "event_type": ended.event_type,
        "attempt": ended.number,
        "status": ended.status,
        "outcome": str(ended.outcome),
        "duration_ms": ended.duration_ms,
    }


def _last_of(settled: Settled, endpoint_id: str, change: Change) -> dict[str, Any]:
    """The attempt that changed an endpoint's state, if it is one of this batch."""
    for sent, state, reason in reversed(settled.attempts):
        succeeded = sent.outcome == Outcome.SUCCEEDED
        if sent.claimed.endpoint_id == endpoint_id and succeeded == (change == Change.RECOVERED):
            return _fields(as_ended(sent, state, reason))
    return {}
