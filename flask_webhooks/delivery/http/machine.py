"""Control checks of this machine, which tell its own trouble from a receiver's."""

from __future__ import annotations

import errno
import os
import resource
import socket

from ..settle.health import Hold
from .certificates import authorities

#: Descriptors that a worker needs beside one for each request.
SPARE_DESCRIPTORS = 100
#: Addresses in public networks. A UDP socket that is connected to them sends nothing, but needs a route.
_FAR_AWAY = (
    (socket.AF_INET, "198.41.0.4"),
    (socket.AF_INET6, "2001:503:ba3e::2:30"),
)
_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL})


#: What operators are told of each kind of trouble.
ADVICE = {
    Hold.NO_DNS: "No name can be resolved. Check the name servers of this machine (/etc/resolv.conf).",
    Hold.NO_CERTIFICATES: (
        "No certificate can be verified. Install the certificates of the public authorities (ca-certificates), "
        "or name them in SSL_CERT_FILE, and start the worker again."
    ),
    Hold.NO_DESCRIPTORS: "No file descriptor is left. Raise the limit (ulimit -n).",
    Hold.NO_ROUTE: "This machine has no route to any network. Check its network settings.",
}


def trust_store_is_empty() -> bool:
    """Return whether no certificate at all can be verified: there are no authorities to verify by."""
    return authorities() == (None, None)


def out_of_descriptors() -> bool:
    """Return whether this process, or the whole machine, can open no file."""
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


def troubles(concurrency: int) -> list[str]:
    """Return what keeps this machine from delivering, for the log of a worker that starts."""
    found = []
    if trust_store_is_empty():
        found.append(ADVICE[Hold.NO_CERTIFICATES])
    if not has_route():
        found.append(ADVICE[Hold.NO_ROUTE])
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and limit < concurrency + SPARE_DESCRIPTORS:
        found.append(
            f"Only {limit} file descriptors are allowed, fewer than {concurrency} requests at once need. Raise the "
            f"limit (ulimit -n {concurrency + SPARE_DESCRIPTORS}), or lower WEBHOOKS_CONCURRENCY."
        )
    return found


def is_unreachable(number: int) -> bool:
    """Return whether the system knew no way to an address, by its error number."""
    return number in _NO_ROUTE
