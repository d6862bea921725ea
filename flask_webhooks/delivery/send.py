"""Make one request: render, sign, check, POST, read a bounded answer; never raises for a bad receiver."""

from __future__ import annotations

import asyncio
import functools
import io
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import TracebackType

import aiohttp
from aiohttp.helpers import is_ip_address
from multidict import CIMultiDict
from yarl import URL

from .. import attempt_errors, hops
from ..answer_bounds import MAX_HEAD, MAX_HEADERS
from ..attempt_errors import told
from ..config import LEASE_RESERVE, Settings
from ..db.clock import DatabaseClock
from ..errors import InvalidEndpoint
from ..formats import Answer, Format, Refusal, Rendered, Target
from ..guard import Exchange, GuardedConnector, current_exchange
from ..headers import product_token
from ..health import Hold
from ..logs import log_without_locals
from ..redaction import MASK, Redactor, secrets_of
from ..retry import usable_wait
from ..state import State
from . import machine
from .diagnosis import MAX_ERROR_LENGTH, Failure, clean, diagnose
from .outcome import Claimed, Outcome, Released, Sent
from .resolver import ThreadResolver, Trouble, zone_of

logger = logging.getLogger("flask_webhooks.delivery")

#: How much of all response headers together is kept.
MAX_RESPONSE_HEADERS = 16 * 1024
#: Bytes above which a body is written piece by piece.
LARGE_BODY = 512 * 1024
#: What it takes to be believed is a fresh connection to where the name leads now: it disables an endpoint.
GONE = 410
#: Zones with certificates of unknown issuers from which on, without a single known one, the trouble is ours.
UNTRUSTED_ZONES = 3
#: Seconds after which a delivery is tried again when the trouble is ours.
OWN_TROUBLE_DELAY = 60.0


class Sender:
    """An HTTP session for one drain. Use it as an async context manager.

    :param clock: by which requests are signed and attempts recorded; by default the machine's.
    """

    def __init__(self, state: State, clock: DatabaseClock | None = None) -> None:
        self._state = state
        self._settings = state.settings
        self._clock = clock or DatabaseClock()
        self._default_agent = default_user_agent(state.settings.product_name)
        #: Trouble of ours that the log tells of already.
        self._told: set[Hold] = set()
        #: A certificate was fine; and zones with certificates of issuers that we do not trust.
        self._verified = False
        self._untrusted: set[str] = set()

    async def __aenter__(self) -> Sender:
        self._resolver = ThreadResolver()
        self._session = self._open(force_close=False)
        self._fresh = self._open(force_close=True)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._session.close()
        await self._fresh.close()
        await self._resolver.close()

    def _open(self, *, force_close: bool) -> aiohttp.ClientSession:
        connector = GuardedConnector(
            policy=self._state.policy,
            resolver=self._resolver,
            limit=0,
            limit_per_host=0,
            max_body=self._settings.max_response_bytes,
            force_close=force_close,
            # A fresh connection is for what an earlier one cannot be believed in.
            use_dns_cache=not force_close,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            # One deadline over everything is set around the request.
            timeout=aiohttp.ClientTimeout(),
            # A small compressed body could become gigabytes.
            auto_decompress=False,
            trust_env=False,
            max_field_size=MAX_HEAD,
            max_headers=MAX_HEADERS,
        )

    def deadline(self, target: Target) -> float:
        """Seconds that a whole request to an endpoint may take."""
        formats = self._state.formats
        usual = formats[target.format].timeout if target.format in formats else None
        wanted = target.timeout or usual or self._settings.timeout
        return min(wanted, self._settings.lease - LEASE_RESERVE)

    async def send(self, claimed: Claimed, target: Target) -> Sent | Released:
        """Make the attempt. Trouble of ours gives the delivery back without spending an attempt."""
        started_at = self._clock.now()
        try:
            style = self._state.formats[target.format]
        except InvalidEndpoint as error:
            logger.error("Endpoint %s cannot be served: %s", target.id, error)
            return Released(claimed, OWN_TROUBLE_DELAY, Hold.UNKNOWN_FORMAT)
        try:
            rendered = style.render(claimed.event, target, started_at)
            url = _parsed(rendered.url)
            headers = self._headers(url, target, rendered)
            headers[hops.HEADER] = hops.header_value(
                self._state.vault, claimed.event.hops + 1, target.tenant, started_at.timestamp()
            )
            redactor = _redactor(target, rendered)
            request = _Request(
                url=url,
                headers=headers,
                body=rendered.body,
                shown_headers=redactor.pairs(_shown_headers(headers, target, rendered)),
                shown_body=_text(rendered.body),
            )
        except Exception as error:
            log_without_locals(
                logger,
                "Delivery %s could not be rendered",
                claimed.delivery_id,
                error=error,
                redact=target.redactor.text,
            )
            return Released(claimed, OWN_TROUBLE_DELAY)
        deadline = self.deadline(target)
        exchange = Exchange()
        token = current_exchange.set(exchange)
        began = time.perf_counter()
        answer = _Answer()
        failure: Failure | None = None
        try:
            async with asyncio.timeout(deadline):
                await self._post(request, exchange, answer)
        except Exception as error:
            answer.keep_status(exchange.status)
            failure = _explained(error, exchange, url, answer, deadline, redactor)
            if failure.ours or failure.error == attempt_errors.UNEXPECTED:
                log_without_locals(
                    logger,
                    "Delivery %s could not be sent",
                    claimed.delivery_id,
                    error=error,
                    redact=redactor.text,
                )
        finally:
            current_exchange.reset(token)
        duration = round((time.perf_counter() - began) * 1000, 3)
        if failure is not None and answer.status is None:
            released = await self._released(claimed, url, failure)
            if released is not None:
                return released
        elif url.scheme == "https":
            self._verified = True
        # From here on the request counts as made: whatever happens, an attempt is recorded.
        attempt = Sent(
            claimed=claimed,
            target=target,
            outcome=_plain_outcome(answer, failure),
            started_at=started_at,
            duration_ms=duration,
            status=answer.status,
            request_headers=request.shown_headers,
            request_body=request.shown_body,
        )
        try:
            verdict = _judge(style, answer, failure, started_at, self._settings, redactor)
            return replace(
                attempt,
                outcome=verdict.outcome,
                error=None if verdict.error is None else _error_text(verdict.error, redactor),
                address=exchange.peer or exchange.tried_address or exchange.refused_address,
                response_headers=answer.shown_headers(redactor),
                response_body=None
                if answer.status is None
                else redactor.text(_text(bytes(answer.body)), cut=answer.cut),
                response_cut=answer.cut,
                timings=_timings(exchange, answer, began, duration),
                retry_after=verdict.retry_after,
                refusal=verdict.refusal,
            )
        except Exception as error:
            log_without_locals(
                logger,
                "The answer to delivery %s could not be read",
                claimed.delivery_id,
                error=error,
                redact=redactor.text,
            )
            succeeded = attempt.outcome == Outcome.SUCCEEDED
            return replace(attempt, error=None if succeeded else attempt_errors.UNEXPECTED)

    async def _released(self, claimed: Claimed, url: URL, failure: Failure) -> Released | None:
        """Give a delivery back whose request failed through trouble of ours; ``None``: it is the receiver's."""
        host = url.raw_host or ""
        reason: Hold | None = None
        if failure.ours or failure.unanswered_lookup or failure.unknown_name:
            reason = Hold.NO_DESCRIPTORS if machine.out_of_descriptors() else None
        if reason is None and failure.unanswered_lookup:
            trouble = await self._resolver.trouble(host)
            if trouble == Trouble.NO_ROOM:
                return Released(claimed, OWN_TROUBLE_DELAY)
            reason = Hold.NO_DNS if trouble == Trouble.NO_DNS else None
        elif reason is None and failure.unknown_name:
            reason = None if await self._resolver.finds_names() else Hold.NO_DNS
        elif failure.untrusted_issuer:
            self._untrusted.add(zone_of(host))
            alone = not self._verified and len(self._untrusted) >= UNTRUSTED_ZONES
            reason = Hold.NO_CERTIFICATES if alone or machine.trust_store_is_empty() else None
        elif failure.unreachable:
            reason = None if machine.has_route() else Hold.NO_ROUTE
        if reason is None:
            return Released(claimed, OWN_TROUBLE_DELAY) if failure.ours else None
        if reason not in self._told:
            self._told.add(reason)
            logger.error("Deliveries wait, and spend no attempt. %s", machine.ADVICE[reason])
        return Released(claimed, OWN_TROUBLE_DELAY, reason)

    def _headers(self, url: URL, target: Target, rendered: Rendered) -> CIMultiDict[str]:
        """All that are sent but for ``Connection``: the format's own win over the customer's."""
        headers = CIMultiDict(
            {
                "Host": url.host_port_subcomponent or "",
                "Content-Type": "application/json",
                "Content-Length": str(len(rendered.body)),
                "User-Agent": target.user_agent or self._default_agent,
                "Accept": "*/*",
                "Accept-Encoding": "identity",
            }
        )
        for more in (target.headers, rendered.headers):
            for name, value in more.items():
                headers[name] = value
        return headers

    async def _post(self, request: _Request, exchange: Exchange, answer: _Answer) -> None:
        try:
            failed: aiohttp.ClientError | None = None
            try:
                await self._request(self._session, request, answer)
            except aiohttp.ClientError as error:
                failed = error
                answer.keep_status(exchange.status)
            # The receiver closed an idle connection just as we wrote to it, or the end of an earlier answer
            # came late. aiohttp does not try again by itself, since a POST is not idempotent; ours are, by
            # their webhook-id.
            stale = exchange.reused and failed is not None and answer.status is None
            if stale or (answer.status == GONE and _may_be_elsewhere(exchange, request.url)):
                answer.clear()
                await self._request(self._fresh, request, answer)
            elif failed is not None:
                raise failed
        except BaseException:
            exchange.abort()
            raise
        if answer.cut:
            exchange.abort()

    async def _request(
        self, session: aiohttp.ClientSession, request: _Request, answer: _Answer
    ) -> None:
        body = request.body
        # aiohttp warns of large bytes, which it would write in one go.
        data = body if len(body) <= LARGE_BODY else io.BytesIO(body)
        async with session.post(
            request.url, data=data, headers=request.headers, allow_redirects=False
        ) as response:
            answer.at = time.perf_counter()
            answer.status = response.status
            answer.headers = list(response.headers.items())
            most = self._settings.max_response_bytes
            async for chunk in response.content.iter_any():
                answer.body += chunk[: most - len(answer.body) + 1]
                if len(answer.body) > most:
                    # The rest may be endless; the connection goes with it.
                    del answer.body[most:]
                    answer.cut = True
                    response.close()
                    break


@functools.lru_cache(maxsize=1024)
def _parsed(url: str) -> URL:
    """Endpoints are few and requests many."""
    return URL(url, encoded=True)


@dataclass(frozen=True, slots=True)
class _Request:
    """A request that is ready to be made, and what is recorded of it."""

    url: URL = field(repr=False)
    headers: CIMultiDict[str] = field(repr=False)
    body: bytes = field(repr=False)
    shown_headers: list[list[str]] = field(repr=False)
    shown_body: str = field(repr=False)


@dataclass(slots=True)
class _Answer:
    """What has come back so far."""

    status: int | None = None
    headers: list[tuple[str, str]] | None = field(default=None, repr=False)
    body: bytearray = field(default_factory=bytearray, repr=False)
    cut: bool = False
    #: When its head was complete, by `time.perf_counter`.
    at: float | None = None

    def clear(self) -> None:
        """Forget an answer that is not believed."""
        self.status = self.headers = self.at = None
        self.body.clear()
        self.cut = False

    def keep_status(self, status: int | None) -> None:
        """Take the status of an answer that could not be read to its end."""
        if self.status is None and status is not None:
            self.status, self.headers = status, []
        self.cut = self.status is not None

    def shown_headers(self, redactor: Redactor) -> list[list[str]] | None:
        """As much as is kept, without secrets that the receiver repeats."""
        if self.headers is None:
            return None
        shown: list[list[str]] = []
        room = MAX_RESPONSE_HEADERS
        for name, value in self.headers:
            room -= len(name) + len(value)
            if room < 0:
                break
            shown.append([clean(name), clean(value)])
        return redactor.pairs(shown)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What an attempt came to."""

    outcome: Outcome
    error: str | None = None
    retry_after: float | None = None
    refusal: Refusal = field(default_factory=Refusal)


def _judge(
    style: Format,
    answer: _Answer,
    failure: Failure | None,
    now: datetime,
    settings: Settings,
    redactor: Redactor,
) -> _Verdict:
    if answer.status is None:
        assert failure is not None
        return _Verdict(failure.outcome, failure.error)
    seen = Answer(
        status=answer.status,
        headers={name.lower(): value for name, value in answer.headers or ()},
        body=bytes(answer.body),
    )
    explanation = None
    refusal = Refusal()
    try:
        wait = style.retry_after(seen, now, settings.max_retry_after)
        succeeded = style.succeeded(seen)
        if not succeeded:
            # Masked first, as the explanation may be cut in the middle of a secret.
            masked = replace(seen, body=redactor.body(seen.body))
            explanation = _one_text(style.explanation(masked))
            refusal = style.refusal(seen)
    except Exception as fault:
        # A format of the host's own. The request was made, so it must not be made again for this.
        log_without_locals(
            logger,
            "The format %s could not judge an answer",
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
    if succeeded:
        return _Verdict(Outcome.SUCCEEDED, retry_after=retry_after)
    if 300 <= seen.status < 400:
        error = told(attempt_errors.REDIRECTED, status=seen.status)
        return _Verdict(Outcome.REDIRECTED, error, retry_after)
    refused = _refusal(seen.status, explanation)
    return _Verdict(Outcome.REFUSED, refused, retry_after, refusal)


def _explained(
    error: Exception,
    exchange: Exchange,
    url: URL,
    answer: _Answer,
    timeout: float,
    redactor: Redactor,
) -> Failure:
    """The cause of a failed request; also where the diagnosis itself fails, for an attempt has to be recorded."""
    answered = answer.status is not None
    try:
        return diagnose(error, exchange, host=url.host or "", answered=answered, timeout=timeout)
    except Exception as fault:
        log_without_locals(
            logger, "A failed request could not be explained", error=fault, redact=redactor.text
        )
        made = answered or exchange.peer is not None
        return Failure(Outcome.BROKEN, attempt_errors.UNEXPECTED, ours=not made)


def _may_be_elsewhere(exchange: Exchange, url: URL) -> bool:
    """Whether an answer may be another server's than the one that the name leads to now."""
    looked_up = exchange.dns_ms is not None or is_ip_address(url.raw_host)
    return exchange.reused or not looked_up


def _one_text(explanation: object) -> str | None:
    """The text of a format's explanation, which may be one of the host's own."""
    return None if explanation is None else str(explanation)


def _plain_outcome(answer: _Answer, failure: Failure | None) -> Outcome:
    """The outcome where the answer cannot be judged in any other way than by its status."""
    if failure is not None and answer.status is None:
        return failure.outcome
    taken = answer.status is not None and 200 <= answer.status < 300
    return Outcome.SUCCEEDED if taken else Outcome.REFUSED


def _refusal(status: int, explanation: str | None) -> str:
    taken = 200 <= status < 300
    if not explanation:
        plain = attempt_errors.NOT_TAKEN if taken else attempt_errors.REFUSED
        return told(plain, status=status)
    explained = attempt_errors.NOT_TAKEN_WITH if taken else attempt_errors.REFUSED_WITH
    return told(explained, status=status, said=explanation)


def _error_text(error: str, redactor: Redactor) -> str:
    """As much of it as is kept. Masked before it is cut, or the start of a secret could be left."""
    return redactor.text(clean(error))[:MAX_ERROR_LENGTH]


def _redactor(target: Target, rendered: Rendered) -> Redactor:
    """What masks the secrets that a request carried."""
    known = {*target.secrets, *target.headers.values()}
    more = {
        name: value
        for name, value in rendered.headers.items()
        if name.lower() in rendered.secret_headers and value not in known
    }
    if not more:
        return target.redactor
    headers = {**target.headers, **more}
    return Redactor(secrets_of(target.secrets, headers, target.url, target.url_shown))


def default_user_agent(product_name: str) -> str:
    """``Acme-Licensing-Webhook/1.0``: the product's name as an RFC 9110 token."""
    if product_name == Settings().product_name:
        return f"{product_name}/1.0"
    token = product_token(product_name)
    return f"{token}-Webhook/1.0" if token else "Webhook/1.0"


def _shown_headers(
    headers: CIMultiDict[str], target: Target, rendered: Rendered
) -> list[list[str]]:
    """Headers as they may be shown: values that the customer gave as secrets are masked."""
    masked = rendered.secret_headers
    if target.headers:
        masked |= _lower(target.headers) - _lower(rendered.headers)
    shown = [[clean(name), clean(value)] for name, value in headers.items()]
    if masked:
        for pair in shown:
            if pair[0].lower() in masked:
                pair[1] = MASK
    return shown


def _lower(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.lower() for name in names)


def _text(raw: bytes) -> str:
    # PostgreSQL text cannot hold NUL.
    return raw.decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


def _timings(
    exchange: Exchange, answer: _Answer, began: float, duration: float
) -> dict[str, float]:
    timings: dict[str, float] = {}
    if exchange.dns_ms is not None:
        timings["dns"] = round(exchange.dns_ms, 3)
    if exchange.connect_ms is not None:
        timings["connect"] = round(exchange.connect_ms, 3)
    if answer.at is not None:
        answered = (answer.at - began) * 1000
        timings["wait"] = round(max(answered - (exchange.connect_ms or 0.0), 0.0), 3)
        timings["read"] = round(max(duration - answered, 0.0), 3)
    return timings
