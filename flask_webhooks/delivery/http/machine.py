"""Checks of this machine, which distinguish local problems from those of a receiver."""

from __future__ import annotations

import errno
import os
import resource
import socket
import threading
import time

from ...security.egress import EgressProxy
from ..settle.health import Hold
from .certificates import PUBLIC_AUTHORITIES, trusted_certificates
from .resolver import CONTROL_NAME, Resolver
from .tunnel import TARGET_UNREACHABLE, NoTunnel, open_tunnel

#: Descriptors that a worker needs in addition to one for each request.
SPARE_DESCRIPTORS = 100
#: Timeouts in seconds for connecting to a proxy, and for its response, when a worker starts.
PROXY_PATIENCE = 2.0
#: Addresses in public networks. A UDP socket that is connected to them sends nothing, but needs a route.
_FAR_AWAY = (
    (socket.AF_INET, "198.41.0.4"),
    (socket.AF_INET6, "2001:503:ba3e::2:30"),
)
_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL})

_CHECK_PROXY = "Check the proxy, its address in that setting, its user name and its password."

#: The message of each kind of problem for operators.
ADVICE = {
    Hold.NO_DNS: "No name can be resolved. Check the name servers of this machine (/etc/resolv.conf).",
    Hold.NO_CERTIFICATES: (
        "No certificate can be verified. Install the certificates of the public authorities (ca-certificates), "
        "or name them in SSL_CERT_FILE, and start the worker again."
    ),
    Hold.NO_DESCRIPTORS: "No file descriptors are left. Raise the limit (ulimit -n).",
    Hold.NO_ROUTE: "This machine has no route to any network. Check its network settings.",
    Hold.NO_PROXY: f"The proxy of WEBHOOKS_EGRESS_PROXY does not open connections. {_CHECK_PROXY}",
}


#: Warnings about possible problems, which are normal in a private network.
NO_NAMES_OF_THE_INTERNET = (
    f"No name of the internet can be resolved (tried: {CONTROL_NAME.rstrip('.')}). Check the name servers of this "
    "machine (/etc/resolv.conf), unless all receivers are in a network of your own."
)
NO_PUBLIC_AUTHORITY = (
    "None of the well-known public authorities is among the trusted certificates. Install the certificates of the "
    "public authorities (ca-certificates), or name them in SSL_CERT_FILE, unless all receivers have certificates of "
    "your own authority."
)


def trust_store_is_empty() -> bool:
    """Return whether no certificate can be verified, because there are no CA certificates."""
    try:
        return not trusted_certificates()
    except OSError:
        return False


def knows_public_authorities() -> bool:
    """Return whether certificates of receivers on the internet can be verified."""
    try:
        return not PUBLIC_AUTHORITIES.isdisjoint(trusted_certificates())
    except OSError:
        return True


def resolves_names() -> bool:
    """Return whether a public name can be resolved; takes two seconds at most."""
    answered = threading.Event()
    resolver = Resolver(answered.set)
    while (works := resolver.works(found=True)) is None:
        answered.wait(max(resolver.due - time.monotonic(), 0.0))
        answered.clear()
        resolver.take_ended()
    return works


def out_of_descriptors() -> bool:
    """Return whether this process or the machine has run out of file descriptors."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno in (errno.EMFILE, errno.ENFILE)
    return False


def has_route() -> bool:
    """Return whether there is a route to any public network."""
    for family, address in _FAR_AWAY:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((address, 53))
        except OSError as error:
            if error.errno not in _NO_ROUTE and error.errno != errno.EAFNOSUPPORT:
                return True
        else:
            return True
    return False


def troubles(concurrency: int, proxy: EgressProxy | None = None) -> list[str]:
    """Return the problems of this machine that prevent deliveries, for the log of a starting worker.

    :param proxy: the proxy for all requests; with it, no other route is needed.
    """
    found = []
    if trust_store_is_empty():
        found.append(ADVICE[Hold.NO_CERTIFICATES])
    if proxy is not None:
        refused = _refused_by(proxy)
        if refused is not None:
            found.append(
                f"The proxy of WEBHOOKS_EGRESS_PROXY ({proxy.location}) {refused}. {_CHECK_PROXY}"
            )
    elif not has_route():
        found.append(ADVICE[Hold.NO_ROUTE])
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and limit < concurrency + SPARE_DESCRIPTORS:
        found.append(
            f"Only {limit} file descriptors are allowed, fewer than {concurrency} requests at once need. Raise the "
            f"limit (ulimit -n {concurrency + SPARE_DESCRIPTORS}), or lower WEBHOOKS_CONCURRENCY."
        )
    return found


def _refused_by(proxy: EgressProxy) -> str | None:
    """Return why a proxy opens no connection, after a test connection without data."""
    try:
        open_tunnel(proxy, _FAR_AWAY[0][1], 443, PROXY_PATIENCE).close()
    except TimeoutError:
        return None  # it took our user name and password
    except NoTunnel as error:
        return None if error.status in TARGET_UNREACHABLE else str(error)
    return None


def doubts(proxy: EgressProxy | None = None) -> list[str]:
    """Return the possible problems of this machine with the internet, for the log of a starting worker."""
    found = []
    if not trust_store_is_empty() and not knows_public_authorities():
        found.append(NO_PUBLIC_AUTHORITY)
    if (proxy is not None or has_route()) and not resolves_names():
        found.append(NO_NAMES_OF_THE_INTERNET)
    return found


def is_unreachable(number: int) -> bool:
    """Return whether an error number means that there is no route."""
    return number in _NO_ROUTE
