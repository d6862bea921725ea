"""Build the request of an attempt: render the event, sign it, and set the headers."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from urllib.parse import SplitResult, urlsplit

from ..app_state import AppState
from ..config import LEASE_RESERVE, Settings
from ..errors import ConversionFailed, InvalidEndpoint
from ..formats import Format, OutgoingEvent, Rendered, Target
from ..formats.chat.base import ChatFormat
from ..log import get_logger, log_without_locals
from ..security import hops
from ..security.headers import product_token
from ..security.redaction import MASK, Redactor, secrets_of
from .echo import CHALLENGE_HEADER, token_of
from .http.errors import clean_pairs
from .http.exchange import Request
from .outcome import Claimed, Released
from .settle.health import Hold

logger = get_logger("flask_webhooks.delivery")

#: The header with the number of the attempt: 1, 2, 3 … across all retries and replays of the delivery.
ATTEMPT_HEADER = "webhook-attempt"
#: The header with the number of the delivery: 1, 2, 3 … without a gap for each endpoint; not sent with tests.
SEQUENCE_HEADER = "webhook-sequence"
#: The header with the number of coalesced others with its key; only sent if there were any.
COALESCED_HEADER = "webhook-coalesced"
#: Seconds after which a delivery is retried if the problem is on this side.
OWN_TROUBLE_DELAY = 60.0
#: It disables an endpoint, so it is only accepted on a new connection to the current address of the name.
_CONFIRMED = frozenset({410})


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request that is ready to be sent, and the values that are recorded."""

    claimed: Claimed
    target: Target
    style: Format
    started_at: datetime
    request: Request = field(repr=False)
    host: str
    shown_headers: list[list[str]] = field(repr=False)
    shown_body: str = field(repr=False)
    redactor: Redactor = field(repr=False)


def prepare(
    state: AppState, claimed: Claimed, target: Target, started_at: datetime, timeout: float
) -> Outgoing | Released:
    """Render and sign a delivery.

    If a problem on this side prevents this, it is released without using up an attempt.

    :param timeout: see `deadline`.
    """
    try:
        style = state.formats[target.format]
    except InvalidEndpoint as error:
        logger.error("Endpoint %s cannot be served: %s", target.id, error)
        return Released(claimed, OWN_TROUBLE_DELAY, Hold.UNKNOWN_FORMAT)
    try:
        rendered = style.render(_in_version(state, claimed, target), target, started_at)
        url, name = _parsed(rendered.url)
        hop = hops.header_value(
            state.vault, claimed.event.hops + 1, target.tenant, started_at.timestamp()
        )
        ours = {hops.HEADER: hop}
        # Chats do not need them, and they should not be disclosed to third parties.
        if not isinstance(style, ChatFormat):
            ours[ATTEMPT_HEADER] = str(claimed.number)
            if claimed.sequence is not None:
                ours[SEQUENCE_HEADER] = str(claimed.sequence)
            if claimed.coalesced:
                ours[COALESCED_HEADER] = str(claimed.coalesced)
        if state.settings.send_traceparent and claimed.event.trace_context is not None:
            ours["traceparent"] = claimed.event.trace_context
        if token := token_of(claimed.event):
            ours[CHALLENGE_HEADER] = token
        headers = _headers(state, url, target, rendered, ours)
        redactor = _redactor(target, rendered)
        return Outgoing(
            claimed=claimed,
            target=target,
            style=style,
            started_at=started_at,
            request=Request(
                url=rendered.url,
                headers=headers,
                body=rendered.body,
                timeout=timeout,
                name=name,
                confirm=_CONFIRMED,
                client_certificate=target.client_certificate,
            ),
            host=url.hostname or "",
            shown_headers=redactor.pairs(_shown_headers(headers, target, rendered)),
            shown_body=text_of(rendered.body),
            redactor=redactor,
        )
    except ConversionFailed as error:
        logger.warning("Endpoint %s gets nothing for now: %s", target.id, error)
        return Released(claimed, OWN_TROUBLE_DELAY, Hold.VERSION_FAILED)
    except Exception as error:
        log_without_locals(
            logger,
            "Delivery %s could not be rendered",
            claimed.delivery_id,
            error=error,
            redact=target.redactor.text,
        )
        return Released(claimed, OWN_TROUBLE_DELAY)


def _in_version(state: AppState, claimed: Claimed, target: Target) -> OutgoingEvent:
    """Return the event with its data in the version of the endpoint, or the one that was chosen for a test.

    :raises ConversionFailed: the host's function fails.
    """
    event = claimed.event
    wanted = claimed.data_version or target.data_version
    data = state.catalog.versions.convert(
        event.type, event.data_json, event.data_version, wanted, state.settings.max_data_bytes
    )
    return event if data is event.data_json else replace(event, data_json=data)


def deadline(state: AppState, target: Target) -> float:
    """Return the timeout of a whole request to an endpoint in seconds."""
    formats = state.formats
    usual = formats[target.format].timeout if target.format in formats else None
    wanted = target.timeout or usual or state.settings.timeout
    return min(wanted, state.settings.lease - LEASE_RESERVE)


def text_of(raw: bytes) -> str:
    """Return a body for recording: text in PostgreSQL cannot contain NUL."""
    return raw.decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


@functools.lru_cache(maxsize=64)
def default_user_agent(product_name: str) -> str:
    """Return the default User-Agent, ``Acme-Licensing-Webhook/1.0``, with the product's name as an RFC 9110 token."""
    if product_name == Settings().product_name:
        return f"{product_name}/1.0"
    token = product_token(product_name)
    return f"{token}-Webhook/1.0" if token else "Webhook/1.0"


@functools.lru_cache(maxsize=1024)
def _parsed(url: str) -> tuple[SplitResult, str | None]:
    """Return a parsed URL and its name to resolve. Cached, because there are few endpoints and many requests."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return parts, host
    return parts, None


def _headers(
    state: AppState, url: SplitResult, target: Target, rendered: Rendered, ours: dict[str, str]
) -> list[tuple[str, str]]:
    """Return all headers: those of the format take precedence over custom ones."""
    agent = target.user_agent or default_user_agent(state.settings.product_name)
    headers = {
        "host": ("Host", url.netloc.rpartition("@")[2]),
        "content-type": ("Content-Type", "application/json"),
        "content-length": ("Content-Length", str(len(rendered.body))),
        "user-agent": ("User-Agent", agent),
        "accept": ("Accept", "*/*"),
        "accept-encoding": ("Accept-Encoding", "identity"),
    }
    for more in (target.headers, rendered.headers, ours):
        for name, value in more.items():
            headers[name.lower()] = (name, value)
    return list(headers.values())


def _redactor(target: Target, rendered: Rendered) -> Redactor:
    """Return the function that masks the secrets of a request."""
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


def _shown_headers(
    headers: Iterable[tuple[str, str]], target: Target, rendered: Rendered
) -> list[list[str]]:
    """Return headers for display, with masked values of custom headers."""
    masked = rendered.secret_headers
    if target.headers:
        masked |= _lower(target.headers) - _lower(rendered.headers)
    shown = clean_pairs(headers)
    if masked:
        for pair in shown:
            if pair[0].lower() in masked:
                pair[1] = MASK
    return shown


def _lower(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.lower() for name in names)
