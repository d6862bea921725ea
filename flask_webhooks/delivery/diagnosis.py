"""What an exception of the HTTP client says about the receiver, in words for its owner.

aiohttp's own messages are not used where they could hold the URL, which is a secret for chat services.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

import aiohttp

from .. import attempt_errors as errors
from ..attempt_errors import AttemptError, told
from ..guard import Exchange
from ..logs import without_stop
from .machine import is_unreachable
from .outcome import Outcome
from .resolver import is_temporary

_SPACE = re.compile(r"\s+")
_ERRNO = re.compile(r"\[Errno (\d+)\]")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")

#: What OpenSSL calls an issuer that it cannot find, or does not trust.
_ISSUER = frozenset({2, 18, 19, 20, 21})
#: Errors of this machine: it has run out of something.
_OUR_ERRORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no complete answer."""

    outcome: Outcome
    error: AttemptError
    #: The lookup of the name got no answer: whose fault it is depends on whether others get one.
    unanswered_lookup: bool = False
    #: The answer to the lookup was that there is no such name; a machine without a network says so of all.
    unknown_name: bool = False
    #: The certificate's issuer is none that we trust.
    untrusted_issuer: bool = False
    #: There is no way to the address.
    unreachable: bool = False
    #: It is our own trouble, and says nothing about the receiver.
    ours: bool = False


def diagnose(
    error: Exception, exchange: Exchange, *, host: str, answered: bool, timeout: float
) -> Failure:
    """Tell what went wrong.

    :param host: the host of the URL, for the message.
    :param answered: whether the head of an answer came.
    :param timeout: the deadline in seconds; a `TimeoutError` means that it passed.
    """
    causes = list(_causes(error))
    if exchange.refused is not None:
        return Failure(Outcome.BLOCKED, told(errors.BLOCKED, reason=exchange.refused))
    connected = exchange.peer is not None
    if not connected and any(
        isinstance(cause, OSError) and cause.errno in _OUR_ERRORS for cause in causes
    ):
        return Failure(
            Outcome.CONNECT_FAILED, told(errors.NO_CONNECTION, why=_text(error)), ours=True
        )
    # The innermost first: aiohttp's exceptions derive from those of `ssl` too, without their reasons.
    for cause in reversed(causes):
        if isinstance(cause, ssl.SSLError):
            code = getattr(cause, "verify_code", None)
            return Failure(Outcome.TLS_FAILED, _tls(cause), untrusted_issuer=code in _ISSUER)
        if isinstance(cause, socket.gaierror):
            return Failure(
                Outcome.DNS_FAILED,
                told(errors.UNRESOLVED, host=host, why=_text(cause)),
                unanswered_lookup=is_temporary(cause),
                unknown_name=not is_temporary(cause),
            )
    match error:
        case TimeoutError():
            return _timed_out(exchange, host, answered, timeout)
        case aiohttp.ClientConnectorDNSError():
            return Failure(Outcome.DNS_FAILED, told(errors.UNRESOLVED, host=host, why=_text(error)))
        case aiohttp.ClientConnectorError():
            return Failure(
                Outcome.CONNECT_FAILED,
                _no_connection(exchange, _text(error)),
                unreachable=any(is_unreachable(cause) for cause in causes),
            )
        case aiohttp.ClientResponseError():
            # The parser's message, which quotes what came.
            said = clean(error.message).rstrip(".^ ")
            return Failure(Outcome.BROKEN, told(errors.NO_HTTP, why=said))
        case aiohttp.ClientPayloadError():
            return Failure(Outcome.BROKEN, errors.BROKEN_BODY)
        case aiohttp.ServerDisconnectedError():
            return Failure(Outcome.BROKEN, errors.CLOSED)
        case aiohttp.InvalidURL() | ValueError():
            return Failure(Outcome.BROKEN, errors.IMPOSSIBLE)
        case aiohttp.ClientError() | OSError():
            return Failure(Outcome.BROKEN, told(errors.BROKEN, why=_text(error)))
        case _:
            # Once there is a connection, sending again and again could only repeat the request.
            return Failure(Outcome.BROKEN, errors.UNEXPECTED, ours=not (connected or answered))


def _no_connection(exchange: Exchange, why: str) -> AttemptError:
    if exchange.tried_address is None:
        return told(errors.NO_CONNECTION, why=why)
    return told(errors.NO_CONNECTION_TO, address=exchange.tried_address, why=why)


def _tls(error: ssl.SSLError) -> AttemptError:
    said = getattr(error, "verify_message", None)
    if said:
        return told(errors.CERTIFICATE, why=clean(said).rstrip("."))
    reason = getattr(error, "reason", None) or "the connection was broken off"
    return told(errors.TLS, why=clean(reason).replace("_", " ").lower())


def _timed_out(exchange: Exchange, host: str, answered: bool, timeout: float) -> Failure:
    seconds = f"{timeout:g}"
    if answered:
        return Failure(Outcome.TIMEOUT, told(errors.INCOMPLETE_IN_TIME, seconds=seconds))
    if exchange.peer is not None:
        return Failure(Outcome.TIMEOUT, told(errors.NO_ANSWER_IN_TIME, seconds=seconds))
    if exchange.hanging_address is not None:
        return Failure(
            Outcome.TIMEOUT,
            told(errors.NO_CONNECTION_IN_TIME, address=exchange.hanging_address, seconds=seconds),
        )
    return Failure(
        Outcome.DNS_FAILED,
        told(errors.UNRESOLVED_IN_TIME, host=host, seconds=seconds),
        unanswered_lookup=True,
    )


def clean(text: str) -> str:
    """Text as every database takes it, in one line: no NUL, no half surrogates, no line breaks."""
    if text.isprintable() and "  " not in text and text == text.strip():
        return text  # as nearly all of it is
    return _SPACE.sub(" ", _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)).strip()


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and what is behind it; aiohttp wraps most errors of the system."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = getattr(error, "os_error", None) or error.__cause__


def _text(error: BaseException) -> str:
    """The system's own words for an error, which hold nothing of the URL."""
    for cause in reversed(list(_causes(error))):
        if isinstance(cause, socket.gaierror):
            return without_stop(clean(cause.strerror or "no answer"))
        if isinstance(cause, OSError) and cause.errno is not None and cause.errno > 0:
            return without_stop(os.strerror(cause.errno))
        if isinstance(cause, OSError) and (numbers := _ERRNO.findall(str(cause))):
            # One for each address that was tried; the message names the last.
            return without_stop(os.strerror(int(numbers[-1])))
    return type(error).__name__
