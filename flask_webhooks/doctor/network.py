"""This machine, and its connections to receivers."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from .. import queries
from ..access import Access
from ..config import Settings
from ..delivery.http import machine
from ..delivery.http.certificates import authorities
from ..delivery.http.tunnel import NoTunnel, open_tunnel, tunnel_target
from ..models import EndpointState
from ..security.addresses import NetworkPolicy
from ..security.egress import EgressProxy
from .findings import Area, Finding

_MACHINE = Area("machine")
_RECEIVERS = Area("receivers")
#: Endpoints that are searched for destinations, and destinations that are tried.
_LOOKED_AT, _TRIED = 200, 10
#: Timeout of a connection with its TLS handshake, and of all of them, in seconds.
_TIMEOUT, _PATIENCE = 5.0, 12.0


@dataclass(slots=True)
class _Try:
    """A destination, and the reason why it cannot be reached, or ``None``."""

    host: str
    port: int
    encrypted: bool
    error: str | None = "no response in time"


def examine_machine(settings: Settings) -> Iterator[Finding]:
    """Check certificates, the proxy or routes, name servers and file descriptors, as a worker does when it starts."""
    proxy = settings.proxy()
    troubles, doubts = machine.troubles(settings.concurrency, proxy), machine.doubts(proxy)
    for trouble in troubles:
        text, _, advice = trouble.partition(". ")
        yield _MACHINE.problem(
            f"{text}.",
            "A worker on this machine delivers nothing, or only some deliveries.",
            advice,
        )
    for doubt in doubts:
        text, _, advice = doubt.partition(". ")
        yield _MACHINE.warning(f"{text}.", "Deliveries to the internet are delayed.", advice)
    if not troubles and not doubts:
        way = "a route" if proxy is None else f"the proxy {proxy.location}"
        yield _MACHINE.ok(
            f"Certificates of authorities, {way}, name servers and file descriptors are available."
        )


def examine_receivers(access: Access) -> Iterator[Finding]:
    """Connect to the servers of the newest active endpoints, without sending anything."""
    tries = _destinations(access)
    if not tries:
        yield _RECEIVERS.ok("There is no active endpoint whose server could be checked.")
        return
    policy = access.state.policy
    proxy = access.state.settings.proxy()
    threads = [
        threading.Thread(target=_try, args=(item, policy, proxy), daemon=True) for item in tries
    ]
    for thread in threads:
        thread.start()
    # Do not wait for a resolver that hangs.
    end = time.monotonic() + _PATIENCE
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    failed = [item for item in tries if item.error is not None]
    if len(failed) < len(tries):
        reached = len(tries) - len(failed)
        yield _RECEIVERS.ok(f"{reached} of {len(tries)} servers of endpoints can be reached.")
        for item in failed:
            yield _RECEIVERS.warning(
                f"{item.host}:{item.port} cannot be reached: {item.error}.",
                "Deliveries to it fail and are retried.",
                "The problem may be on the customer's side: flask webhooks endpoints list --health failing",
            )
        return
    named = ", ".join(f"{item.host}:{item.port} ({item.error})" for item in failed)
    yield _RECEIVERS.problem(
        f"None of {len(tries)} servers of endpoints can be reached from this machine: {named}.",
        "A worker that runs on this machine delivers nothing.",
        "Check the name servers, firewall and routes of this machine; webhooks use no proxy."
        if proxy is None
        else f"Check the name servers of this machine, and the proxy {proxy.location}.",
    )


def _destinations(access: Access) -> list[_Try]:
    found: dict[tuple[str, int], _Try] = {}
    for endpoint in queries.find_endpoints(access, limit=_LOOKED_AT):
        if endpoint.state != EndpointState.ACTIVE or len(found) == _TRIED:
            continue
        try:
            url = urlsplit(endpoint.url_shown)
            port = url.port or (443 if url.scheme == "https" else 80)
        except ValueError:
            continue
        if url.hostname:
            found.setdefault((url.hostname, port), _Try(url.hostname, port, url.scheme == "https"))
    return list(found.values())


def _try(item: _Try, policy: NetworkPolicy, proxy: EgressProxy | None) -> None:
    try:
        item.error = _connect(item, policy, proxy)
    except NoTunnel as error:
        item.error = f"the proxy {error}"
    except ssl.SSLCertVerificationError as error:
        item.error = f"its certificate is not valid ({error.verify_message})"
    except socket.gaierror as error:
        item.error = f"the name does not resolve ({error.strerror})"
    except TimeoutError:
        item.error = f"no response within {_TIMEOUT:g} s"
    except (OSError, UnicodeError) as error:
        item.error = getattr(error, "strerror", None) or type(error).__name__


def _connect(item: _Try, policy: NetworkPolicy, proxy: EgressProxy | None) -> str | None:
    """Connect to the first allowed address; return the error, if any."""
    refused = policy.port_refusal(item.port)
    if refused is not None:
        return refused
    found = socket.getaddrinfo(item.host, item.port, type=socket.SOCK_STREAM)
    addresses = [str(target[0]) for *_, target in found]
    allowed = []
    for address in addresses:
        refused = policy.refusal(address)
        if refused is None:
            allowed.append(address)
    if allowed:
        with _opened(allowed, item.port, proxy) as connection:
            if item.encrypted:
                # The certificates that workers trust.
                file, directory = authorities()
                context = ssl.create_default_context(cafile=file, capath=directory)
                context.wrap_socket(connection, server_hostname=item.host).close()
        return None
    return f"webhooks are not sent to its address: {refused}"


def _opened(addresses: list[str], port: int, proxy: EgressProxy | None) -> socket.socket:
    if proxy is not None:
        return open_tunnel(proxy, tunnel_target(addresses), port, _TIMEOUT)
    return socket.create_connection((addresses[0], port), _TIMEOUT)
