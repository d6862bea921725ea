"""Make one request: render, sign, check, POST, read a bounded answer; never raises for a bad receiver."""

from __future__ import annotations

import asyncio
import functools
import io
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import TracebackType

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from .. import attempt_errors, hops
from ..attempt_errors import told
from ..config import LEASE_RESERVE, Settings
from ..errors import InvalidEndpoint
from ..formats import Answer, Format, Rendered, Target
from ..guard import Exchange, GuardedConnector, current_exchange
from ..headers import product_token
from ..health import Hold
from ..logs import log_without_locals
from ..redaction import MASK, Redactor, secrets_of
from ..state import State
from .diagnosis import MAX_ERROR_LENGTH, Failure, clean, diagnose
from .outcome import Claimed, Outcome, Released, Sent
from .resolver import ThreadResolver, Trouble

logger = logging.getLogger("flask_webhooks.delivery")

#: How much of all response headers together is kept.
MAX_RESPONSE_HEADERS = 16 * 1024
#: Bytes above which a body is written piece by piece.
LARGE_BODY = 512 * 1024
#: Seconds after which a delivery is tried again when the trouble is ours.
OWN_TROUBLE_DELAY = 60.0


class Sender:
    """An HTTP session for one drain. Use it as an async context manager."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._settings = state.settings
        self._default_agent = default_user_agent(state.settings.product_name)

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
            force_close=force_close,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            # One deadline over everything is set around the request.
            timeout=aiohttp.ClientTimeout(),
            # A small compressed body could become gigabytes.
            auto_decompress=False,
            trust_env=False,
        )

    def deadline(self, target: Target) -> float:
        """Seconds that a whole request to an endpoint may take."""
        formats = self._state.formats
        usual = formats[target.format].timeout if target.format in formats else None
        wanted = target.timeout or usual or self._settings.timeout
        return min(wanted, self._settings.lease - LEASE_RESERVE)

    async def send(self, claimed: Claimed, target: Target) -> Sent | Released:
        """Make the attempt. Trouble of ours gives the delivery back without spending an attempt."""
        started_at = datetime.now(UTC)
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
        except Exception as error:
            log_without_locals(
                logger,
                "Delivery %s could not be rendered",
                claimed.delivery_id,
                error=error,
                redact=target.redactor.text,
            )
            return Released(claimed, OWN_TROUBLE_DELAY)
        redactor = _redactor(target, rendered)
        deadline = self.deadline(target)
        exchange = Exchange()
        token = current_exchange.set(exchange)
        began = time.perf_counter()
        answer = _Answer()
        failure: Failure | None = None
        try:
            async with asyncio.timeout(deadline):
                await self._post(url, rendered.body, headers, exchange, answer)
        except Exception as error:
            failure = diagnose(
                error,
                exchange,
                host=url.host or "",
                answered=answer.status is not None,
                timeout=deadline,
            )
            if failure.ours:
                log_without_locals(
                    logger,
                    "Delivery %s could not be sent",
                    claimed.delivery_id,
                    error=error,
                    redact=redactor.text,
                )
        finally:
            current_exchange.reset(token)
        duration = (time.perf_counter() - began) * 1000
        if failure is not None and failure.unanswered_lookup:
            trouble = await self._resolver.trouble(url.raw_host or "")
            if trouble is not None:
                reason = Hold.NO_DNS if trouble == Trouble.NO_DNS else None
                return Released(claimed, OWN_TROUBLE_DELAY, reason)
        if failure is not None and failure.ours:
            return Released(claimed, OWN_TROUBLE_DELAY)
        verdict = _judge(style, answer, failure, started_at, self._settings, redactor)
        return Sent(
            claimed=claimed,
            target=target,
            outcome=verdict.outcome,
            started_at=started_at,
            duration_ms=round(duration, 3),
            status=answer.status,
            error=None if verdict.error is None else _error_text(verdict.error, redactor),
            address=exchange.peer or exchange.tried_address or exchange.refused_address,
            request_headers=redactor.pairs(_shown_headers(headers, target, rendered)),
            request_body=_text(rendered.body),
            response_headers=answer.shown_headers(redactor),
            response_body=None
            if answer.status is None
            else redactor.text(_text(bytes(answer.body)), cut=answer.cut),
            response_cut=answer.cut,
            timings=_timings(exchange, answer, began, duration),
            retry_after=verdict.retry_after,
        )

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

    async def _post(
        self, url: URL, body: bytes, headers: CIMultiDict[str], exchange: Exchange, answer: _Answer
    ) -> None:
        try:
            try:
                await self._request(self._session, url, body, headers, answer)
            except aiohttp.ClientConnectionError:
                # The receiver closed an idle connection just as we wrote to it. aiohttp does not try
                # again by itself, since a POST is not idempotent; ours are, by their webhook-id.
                if not exchange.reused or answer.status is not None:
                    raise
                await self._request(self._fresh, url, body, headers, answer)
        except BaseException:
            exchange.abort()
            raise
        if answer.cut:
            exchange.abort()

    async def _request(
        self,
        session: aiohttp.ClientSession,
        url: URL,
        body: bytes,
        headers: CIMultiDict[str],
        answer: _Answer,
    ) -> None:
        # aiohttp warns of large bytes, which it would write in one go.
        data = body if len(body) <= LARGE_BODY else io.BytesIO(body)
        async with session.post(url, data=data, headers=headers, allow_redirects=False) as response:
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


@dataclass(slots=True)
class _Answer:
    """What has come back so far."""

    status: int | None = None
    headers: list[tuple[str, str]] | None = field(default=None, repr=False)
    body: bytearray = field(default_factory=bytearray, repr=False)
    cut: bool = False
    #: When its head was complete, by `time.perf_counter`.
    at: float | None = None

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
    try:
        retry_after = style.retry_after(seen, now, settings.max_retry_after)
        succeeded = style.succeeded(seen)
        if not succeeded:
            # Masked first, as the explanation may be cut in the middle of a secret.
            explanation = style.explanation(replace(seen, body=redactor.body(seen.body)))
    except Exception as fault:
        # A format of the host's own. The request was made, so it must not be made again for this.
        log_without_locals(
            logger,
            "The format %s could not judge an answer",
            style.name,
            error=fault,
            redact=redactor.text,
        )
        retry_after = Format.retry_after(style, seen, now, settings.max_retry_after)
        succeeded = Format.succeeded(style, seen)
    if failure is not None:
        return _Verdict(failure.outcome, failure.error, retry_after)
    if succeeded:
        return _Verdict(Outcome.SUCCEEDED, retry_after=retry_after)
    if 300 <= seen.status < 400:
        error = told(attempt_errors.REDIRECTED, status=seen.status)
        return _Verdict(Outcome.REDIRECTED, error, retry_after)
    return _Verdict(Outcome.REFUSED, _refusal(seen.status, explanation), retry_after)


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
