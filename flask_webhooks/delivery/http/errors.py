"""Diagnosis of failed exchanges, with messages for the receiver's owner.

Messages of libcurl are not used if they could contain the URL, which is secret for chats.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import pycurl

from ... import attempt_errors as errors
from ...attempt_errors import AttemptError, told
from ...log import without_stop
from ..outcome import Outcome
from .exchange import Exchange
from .machine import is_unreachable
from .resolver import Resolver

_SPACE = re.compile(r"\s+")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
#: The prefix of libcurl before OpenSSL's reason.
_REASON: Final = re.compile(r"(?:OpenSSL|TLS)[^:]*: (?:error:[0-9A-Fa-f]+:[^:]*:[^:]*:)?(.+)")
#: The text of libcurl around OpenSSL's reason for refusing a certificate.
_VERIFIED: Final = re.compile(
    r"SSL certificate (?:problem|OpenSSL verify result): (.+?)(?: \(\d+\))?"
)
_WRONG_HOST: Final = "no alternative certificate subject name"

#: OpenSSL's errors for an issuer that is unknown or not trusted.
_ISSUER: Final = frozenset({2, 18, 19, 20, 21})
#: Errors of this machine: it has run out of a resource.
_OUR_ERRORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_NO_CONNECTION: Final = frozenset({pycurl.E_COULDNT_CONNECT, pycurl.E_INTERFACE_FAILED})
_TLS: Final = frozenset(
    {
        pycurl.E_SSL_CONNECT_ERROR,
        pycurl.E_SSL_CIPHER,
        pycurl.E_SSL_CERTPROBLEM,
        pycurl.E_SSL_ISSUER_ERROR,
    }
)
#: The response headers exceed the limit of libcurl (``CURLE_TOO_LARGE``, for which pycurl has no name).
_TOO_LARGE: Final = 100
_NO_HTTP: Final = {
    pycurl.E_UNSUPPORTED_PROTOCOL: "no status line",
    pycurl.E_FTP_WEIRD_SERVER_REPLY: "",
    pycurl.E_HTTP2: "",
}
_IMPOSSIBLE: Final = frozenset({pycurl.E_URL_MALFORMAT, pycurl.E_BAD_FUNCTION_ARGUMENT})


@dataclass(frozen=True, slots=True)
class Failure:
    """The reason for an incomplete response."""

    outcome: Outcome
    error: AttemptError
    #: The lookup got no response: the cause depends on whether other lookups succeed.
    unanswered_lookup: bool = False
    #: The lookup found no such name; a machine without a network reports this for all names.
    unknown_name: bool = False
    #: The issuer of the certificate is not trusted.
    untrusted_issuer: bool = False
    #: There is no route to the address.
    unreachable: bool = False
    #: The cause is on this side, and says nothing about the receiver.
    ours: bool = False
    #: The proxy opened no connection.
    no_proxy: bool = False


def diagnose(exchange: Exchange, *, host: str) -> Failure | None:
    """Return the failure; ``None`` if the response is complete.

    :param host: the host of the URL, for the message.
    """
    if exchange.refused is not None:
        return Failure(Outcome.BLOCKED, told(errors.BLOCKED, reason=exchange.refused))
    if exchange.proxy_trouble is not None:
        error = told(errors.NO_CONNECTION, why=f"our proxy {exchange.proxy_trouble}")
        return Failure(Outcome.CONNECT_FAILED, error, ours=True, no_proxy=True)
    if exchange.proxy_status is not None:
        return _unreachable_by_proxy(exchange, exchange.proxy_status)
    if exchange.timed_out:
        return _timed_out(exchange, host)
    if exchange.lookup_error is not None:
        return _unresolved(exchange.lookup_error, host)
    if exchange.own_error is not None and not exchange.connected:
        return _no_socket(exchange, exchange.own_error.errno or 0)
    if exchange.too_much == "head":
        return Failure(Outcome.BROKEN, _head_too_long(exchange))
    if exchange.too_much is not None:
        return Failure(Outcome.BROKEN, told(errors.NO_HTTP, why=_TOO_MUCH[exchange.too_much]))
    return _by_number(exchange, host)


def _by_number(exchange: Exchange, host: str) -> Failure | None:
    match exchange.error:
        case 0:
            return None
        case number if number in _NO_CONNECTION:
            return _no_connection(exchange, exchange.errno)
        case pycurl.E_PEER_FAILED_VERIFICATION | pycurl.E_SSL_CACERT_BADFILE:
            return Failure(
                Outcome.TLS_FAILED,
                told(errors.CERTIFICATE, why=_certificate(exchange, host)),
                untrusted_issuer=exchange.verify_result in _ISSUER
                or exchange.error == pycurl.E_SSL_CACERT_BADFILE,
            )
        case number if number in _TLS or not exchange.connected:
            return Failure(Outcome.TLS_FAILED, told(errors.TLS, why=_tls(exchange)))
        case pycurl.E_RECV_ERROR | pycurl.E_SEND_ERROR if _is_alert(exchange):
            return Failure(Outcome.TLS_FAILED, told(errors.TLS, why=_tls(exchange)))
        case pycurl.E_GOT_NOTHING if not exchange.errno:
            return Failure(Outcome.BROKEN, errors.CLOSED)
        case number if number == _TOO_LARGE:
            return Failure(Outcome.BROKEN, _head_too_long(exchange))
        case number if number in _NO_HTTP and exchange.status is None:
            why = _NO_HTTP[number] or clean(exchange.error_text)
            return Failure(Outcome.BROKEN, told(errors.NO_HTTP, why=without_stop(why)))
        case number if number in _IMPOSSIBLE:
            return Failure(Outcome.BROKEN, errors.IMPOSSIBLE)
        case _ if exchange.status is not None:
            return Failure(Outcome.BROKEN, errors.BROKEN_BODY)
        case _:
            return Failure(Outcome.BROKEN, told(errors.BROKEN, why=_broken(exchange)))


_TOO_MUCH: Final = {
    "interim": "too many interim responses",
    "status": "its status is not three digits",
    "framing": "the chunks of its body have too long extensions",
}


def _head_too_long(exchange: Exchange) -> AttemptError:
    """Return an error with the name of the header, if known: libcurl does not provide a line that is too long for
    it.
    """
    header = exchange.last_header
    if header is not None:
        seen = exchange.too_much == "head"
        return told(errors.HEAD_TOO_LONG if seen else errors.HEAD_TOO_LONG_AFTER, header=header)
    if exchange.status is not None:
        return errors.FIRST_HEADER_TOO_LONG
    return told(errors.NO_HTTP, why="its head is too long")


def _no_socket(exchange: Exchange, number: int) -> Failure:
    if number in _OUR_ERRORS:
        why = os.strerror(number)
        return Failure(Outcome.CONNECT_FAILED, told(errors.NO_CONNECTION, why=why), ours=True)
    return _no_connection(exchange, number)


def _no_connection(exchange: Exchange, number: int) -> Failure:
    why = without_stop(os.strerror(number)) if number else "no response"
    error = told(errors.NO_CONNECTION, why=why)
    if exchange.address is not None:
        error = told(errors.NO_CONNECTION_TO, address=without_port(exchange.address), why=why)
    return Failure(Outcome.CONNECT_FAILED, error, unreachable=is_unreachable(number))


def _unreachable_by_proxy(exchange: Exchange, status: int) -> Failure:
    address = without_port(exchange.address or "")
    return Failure(
        Outcome.CONNECT_FAILED,
        told(errors.NO_CONNECTION_BY_PROXY, address=address, status=status),
    )


def _certificate(exchange: Exchange, host: str) -> str:
    if exchange.error == pycurl.E_SSL_CACERT_BADFILE:
        return "unable to get local issuer certificate"
    text = clean(exchange.error_text)
    if _WRONG_HOST in text:
        return f"hostname mismatch, certificate is not valid for '{host}'"
    found = _VERIFIED.fullmatch(text)
    return without_stop(found[1] if found else text)


def _is_alert(exchange: Exchange) -> bool:
    """Return whether the receiver refused the handshake after its end, as TLS 1.3 does for a wrong client
    certificate.
    """
    return exchange.status is None and " alert " in exchange.error_text


def _tls(exchange: Exchange) -> str:
    found = _REASON.fullmatch(clean(exchange.error_text))
    if found is None or "SSL_ERROR_SYSCALL" in exchange.error_text:
        return "the connection was broken off"
    return without_stop(found[1].replace("_", " ").lower())


def _broken(exchange: Exchange) -> str:
    return without_stop(os.strerror(exchange.errno or errno.ECONNRESET))


def _timed_out(exchange: Exchange, host: str) -> Failure:
    seconds = f"{exchange.request.timeout:g}"
    if exchange.status is not None:
        return Failure(Outcome.TIMEOUT, told(errors.INCOMPLETE_IN_TIME, seconds=seconds))
    if exchange.connected:
        return Failure(Outcome.TIMEOUT, told(errors.NO_ANSWER_IN_TIME, seconds=seconds))
    if exchange.address is not None:
        address = without_port(exchange.hanging_address or exchange.address)
        return Failure(
            Outcome.TIMEOUT, told(errors.NO_CONNECTION_IN_TIME, address=address, seconds=seconds)
        )
    return Failure(
        Outcome.DNS_FAILED,
        told(errors.UNRESOLVED_IN_TIME, host=host, seconds=seconds),
        unanswered_lookup=True,
    )


def _unresolved(error: OSError, host: str) -> Failure:
    unanswered = Resolver.is_unanswered(error)
    said = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
    return Failure(
        Outcome.DNS_FAILED,
        told(errors.UNRESOLVED, host=host, why=without_stop(clean(said or "no response"))),
        unanswered_lookup=unanswered,
        unknown_name=not unanswered,
    )


def without_port(address: str) -> str:
    """Return the address of ``ip:port`` or ``[ip]:port``."""
    return address.rpartition(":")[0].strip("[]")


def clean(text: str) -> str:
    """Return a text that every database accepts, in one line: no NUL, no half surrogates, no line breaks."""
    if text.isprintable() and "  " not in text and text == text.strip():
        return text  # nearly always true
    return _SPACE.sub(" ", _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)).strip()


def clean_pairs(pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Apply `clean` to names and values of headers. Checking all together takes a tenth of the time."""
    found = [[name, value] for name, value in pairs]
    text = "|".join([part for pair in found for part in pair])
    usual = text.isprintable() and "  " not in text and " |" not in text and "| " not in text
    if usual and text == text.strip():
        return found
    return [[clean(name), clean(value)] for name, value in found]
