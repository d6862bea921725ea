"""Interpretation of responses: an attempt to record, or a local problem that uses up no attempt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ... import attempt_errors
from ...app_state import AppState
from ...attempt_errors import AttemptError, told
from ...config import Settings
from ...formats import Answer, Format, Refusal
from ...formats.retry_after import usable_wait
from ...log import get_logger, log_without_locals
from ...security.redaction import Redactor
from ..echo import echoes, token_of
from ..http import machine
from ..http.errors import Failure, clean, clean_pairs, diagnose, without_port
from ..http.exchange import Exchange
from ..http.resolver import zone_of
from ..outcome import AttemptRecord, Outcome, Released
from ..render import OWN_TROUBLE_DELAY, Outgoing, text_of
from .health import Hold

logger = get_logger("flask_webhooks.delivery")

#: Maximum total size of stored response headers.
MAX_RESPONSE_HEADERS = 16 * 1024
#: The number of zones with untrusted issuers, and none trusted, from which on the problem is local.
UNTRUSTED_ZONES = 3


class Answers:
    """Interprets responses, and keeps the state of this machine that a single response does not show."""

    def __init__(self, state: AppState) -> None:
        self._settings = state.settings
        #: Local problems that have been logged.
        self._logged: set[Hold] = set()
        #: Whether a certificate was accepted, and zones with untrusted issuers.
        self._verified = False
        self._untrusted: set[str] = set()

    def read(self, outgoing: Outgoing, exchange: Exchange) -> AttemptRecord | Released:
        """Return the attempt; a local problem releases the delivery without using up an attempt."""
        redactor = outgoing.redactor
        failure = _explained(outgoing, exchange)
        if failure is not None and exchange.status is None:
            released = self._released(outgoing, exchange, failure)
            if released is not None:
                return released
        elif exchange.request.url.startswith("https:"):
            self._verified = True
        # From here on, an attempt is recorded in any case.
        made: dict[str, Any] = {
            "claimed": outgoing.claimed,
            "target": outgoing.target,
            "started_at": outgoing.started_at,
            "duration_ms": exchange.duration_ms,
            "status": exchange.status,
            "request_headers": outgoing.shown_headers,
            "request_body": outgoing.shown_body,
        }
        try:
            verdict = _judge(outgoing, exchange, failure, self._settings)
            cut = _is_cut(exchange, failure)
            return AttemptRecord(
                **made,
                outcome=verdict.outcome,
                error=None if verdict.error is None else _shown_error(verdict.error, redactor),
                address=_address(exchange),
                response_headers=_shown_headers(exchange, redactor),
                response_body=None
                if exchange.status is None
                else redactor.text(text_of(exchange.body), cut=cut),
                response_cut=cut,
                timings={name: round(value, 3) for name, value in exchange.timings.items()},
                retry_after=verdict.retry_after,
                refusal=verdict.refusal,
            )
        except Exception as error:
            log_without_locals(
                logger,
                "The response to delivery %s could not be read",
                outgoing.claimed.delivery_id,
                error=error,
                redact=redactor.text,
            )
            outcome = _plain_outcome(exchange.status, failure)
            succeeded = outcome == Outcome.SUCCEEDED
            error_shown = None if succeeded else attempt_errors.UNEXPECTED
            return AttemptRecord(**made, outcome=outcome, error=error_shown)

    def _released(
        self, outgoing: Outgoing, exchange: Exchange, failure: Failure
    ) -> Released | None:
        """Release a delivery whose request failed because of a local problem; return ``None`` if the cause is the
        receiver.
        """
        claimed = outgoing.claimed
        reason: Hold | None = None
        lost = failure.unanswered_lookup or failure.unknown_name
        if failure.ours or lost or failure.untrusted_issuer:
            reason = Hold.NO_DESCRIPTORS if machine.out_of_descriptors() else None
        if reason is None and lost:
            if exchange.no_lookup_thread:
                return Released(claimed, OWN_TROUBLE_DELAY)
            reason = Hold.NO_DNS if exchange.no_names else None
        elif reason is None and failure.untrusted_issuer:
            ours = self._trusts_nobody(zone_of(outgoing.host))
            reason = Hold.NO_CERTIFICATES if ours else None
        elif reason is None and failure.no_proxy:
            reason = Hold.NO_PROXY
        elif reason is None and failure.unreachable:
            reason = None if machine.has_route() else Hold.NO_ROUTE
        if reason is None:
            if failure.ours:
                logger.error(
                    "Delivery %s could not be sent: %s", claimed.delivery_id, failure.error
                )
            return Released(claimed, OWN_TROUBLE_DELAY) if failure.ours else None
        if reason not in self._logged:
            self._logged.add(reason)
            advice = machine.ADVICE[reason]
            if reason == Hold.NO_PROXY:
                advice = f"{advice} It {exchange.proxy_trouble}."
            logger.error("Deliveries wait, and use up no attempts. %s", advice)
        return Released(claimed, OWN_TROUBLE_DELAY, reason)

    def _trusts_nobody(self, zone: str) -> bool:
        """Return whether our trust store is the reason for untrusted certificates.

        One accepted certificate shows that it works. Until then, a store without public authorities is suspected,
        and any other store from several zones on.
        """
        self._untrusted.add(zone)
        if machine.trust_store_is_empty():
            return True
        if self._verified:
            return False
        return len(self._untrusted) >= UNTRUSTED_ZONES or not machine.knows_public_authorities()


@dataclass(frozen=True, slots=True)
class _Verdict:
    """The result of an attempt."""

    outcome: Outcome
    error: AttemptError | None = None
    retry_after: float | None = None
    refusal: Refusal = field(default_factory=Refusal)


def _judge(
    outgoing: Outgoing, exchange: Exchange, failure: Failure | None, settings: Settings
) -> _Verdict:
    if exchange.status is None:
        assert failure is not None
        return _Verdict(failure.outcome, failure.error)
    style, now, redactor = outgoing.style, outgoing.started_at, outgoing.redactor
    seen = Answer(
        status=exchange.status,
        headers={name.lower(): value for name, value in exchange.headers},
        body=exchange.body,
    )
    explanation = None
    refusal = Refusal()
    try:
        wait = style.retry_after(seen, now, settings.max_retry_after)
        succeeded = style.succeeded(seen)
        if not succeeded:
            # Mask first, because the explanation may be cut in the middle of a secret.
            masked = replace(seen, body=redactor.body(seen.body))
            explanation = _one_text(style.explanation(masked))
            refusal = style.refusal(seen)
    except Exception as fault:
        # A custom format failed. The request was sent, and must not be repeated because of this.
        log_without_locals(
            logger,
            "The format %s could not judge a response",
            style.name,
            error=fault,
            redact=redactor.text,
        )
        wait = Format.retry_after(style, seen, now, settings.max_retry_after)
        succeeded = Format.succeeded(style, seen)
    retry_after = usable_wait(wait, settings.max_retry_after)
    taken = 200 <= seen.status < 300
    if failure is not None and taken and (not succeeded or settings.require_whole_answer):
        return _Verdict(failure.outcome, failure.error, retry_after)
    token = token_of(outgoing.claimed.event)
    if token is not None and taken and not echoes(exchange.body, token):
        error = told(attempt_errors.NOT_ECHOED, status=seen.status)
        return _Verdict(Outcome.REFUSED, error, retry_after)
    if succeeded or (token is not None and taken):
        return _Verdict(Outcome.SUCCEEDED, retry_after=retry_after)
    if 300 <= seen.status < 400:
        error = told(attempt_errors.REDIRECTED, status=seen.status)
        return _Verdict(Outcome.REDIRECTED, error, retry_after)
    refused = _refusal(seen.status, explanation)
    return _Verdict(Outcome.REFUSED, refused, retry_after, refusal)


def _explained(outgoing: Outgoing, exchange: Exchange) -> Failure | None:
    """Return the cause of a failed request. Never raises, because the attempt has to be recorded."""
    try:
        return diagnose(exchange, host=outgoing.host)
    except Exception as fault:
        log_without_locals(
            logger,
            "A failed request could not be explained",
            error=fault,
            redact=outgoing.redactor.text,
        )
        made = exchange.status is not None or exchange.connected
        return Failure(Outcome.BROKEN, attempt_errors.UNEXPECTED, ours=not made)


def _is_cut(exchange: Exchange, failure: Failure | None) -> bool:
    return exchange.cut or (failure is not None and exchange.status is not None)


def _address(exchange: Exchange) -> str | None:
    if exchange.connected or exchange.address is None:
        return exchange.address or exchange.refused_address
    return without_port(exchange.address)


def _shown_headers(exchange: Exchange, redactor: Redactor) -> list[list[str]] | None:
    """Return the stored part, without secrets that the receiver repeats."""
    if exchange.status is None:
        return None
    return redactor.pairs(_bounded(exchange.headers))


def _bounded(headers: Sequence[tuple[str, str]]) -> list[list[str]]:
    room = MAX_RESPONSE_HEADERS
    kept = []
    for pair in headers:
        room -= len(pair[0]) + len(pair[1])
        if room < 0:
            break
        kept.append(pair)
    return clean_pairs(kept)


def _one_text(explanation: object) -> str | None:
    """Return the text of a format's explanation, which may be from a custom format."""
    return None if explanation is None else str(explanation)


def _plain_outcome(status: int | None, failure: Failure | None) -> Outcome:
    """Return the outcome based on the status only."""
    if failure is not None and status is None:
        return failure.outcome
    taken = status is not None and 200 <= status < 300
    return Outcome.SUCCEEDED if taken else Outcome.REFUSED


def _refusal(status: int, explanation: str | None) -> AttemptError:
    taken = 200 <= status < 300
    if not explanation:
        plain = attempt_errors.NOT_TAKEN if taken else attempt_errors.REFUSED
        return told(plain, status=status)
    explained = attempt_errors.NOT_TAKEN_WITH if taken else attempt_errors.REFUSED_WITH
    return told(explained, status=status, said=explanation)


def _shown_error(error: AttemptError, redactor: Redactor) -> AttemptError:
    """Return the stored error: in one line, without secrets that the receiver repeats."""
    return error.changed(lambda text: redactor.text(clean(text)))
