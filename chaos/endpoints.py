"""The fifty endpoints: how each of them behaves, and what a run may expect of it. Pure."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field

TENANTS = tuple(f"app_{number}" for number in range(4))
#: Event types that drivers emit. All endpoints get the rare one, most the first one, and the quick ones all.
TYPES = ("license.created", "license.renewed", "license.rejected")
RARE = "license.revoked"
#: Seconds that a slow receiver takes.
SLOW = 3.5


@dataclass(frozen=True)
class Kind:
    """One way in which a receiver behaves."""

    name: str
    count: int
    #: It answers with success sooner or later, once faults are over: what it is owed must reach it.
    reachable: bool = True
    #: Takes so long that it gets the rare event type only.
    rare: bool = False
    #: Takes many at once, so that it gets every event type.
    quick: bool = False
    ordered: bool = False
    rate_limit: float | None = None
    #: The server that it is at: ``plain``, ``tls`` (an untrusted certificate), ``resets``, ``deaf``, ``http2``.
    server: str = "plain"
    scheme: str = "http"
    host: str = "127.0.0.1"


KINDS = (
    Kind("fast", 10, quick=True),
    Kind("slow", 11, quick=True),
    Kind("ordered", 2, ordered=True),
    Kind("ordered-flaky", 1, ordered=True),
    Kind("limited", 2, rate_limit=20.0),
    Kind("flaky", 2),
    Kind("down-for-a-while", 2),
    Kind("too-many", 2),
    Kind("huge", 2, quick=True),
    Kind("wrong-length", 1),
    Kind("hangs-in-body", 1, rare=True),
    Kind("drips", 1, rare=True),
    Kind("hangs-at-accept", 1, reachable=False, rare=True, server="deaf"),
    Kind("hangs-after-request", 1, reachable=False, rare=True),
    Kind("hangs-in-head", 1, rare=True),
    Kind("hangs-in-dns", 1, reachable=False, rare=True, host="x.hangs.test"),
    Kind("resets-at-accept", 1, reachable=False, server="resets"),
    Kind("resets-after-request", 1, reachable=False),
    Kind("garbage", 1, reachable=False),
    Kind("always-500", 1, reachable=False),
    Kind("gone", 1, reachable=False),
    Kind("bad-tls", 1, reachable=False, server="tls", scheme="https"),
    Kind("no-tls", 1, reachable=False, scheme="https"),
    Kind("http2", 2, reachable=False, server="http2"),
)


@dataclass(frozen=True)
class EndpointSpec:
    """One endpoint of a run."""

    number: int
    kind: Kind
    tenant: str
    secret: str = field(repr=False)

    @property
    def types(self) -> tuple[str, ...]:
        """The event types that it subscribes to."""
        if self.kind.rare:
            return (RARE,)
        return (*(TYPES if self.kind.quick else TYPES[:1]), RARE)

    def url(self, ports: dict[str, int]) -> str:
        """Its URL, given the ports of the servers."""
        kind = self.kind
        return f"{kind.scheme}://{kind.host}:{ports[kind.server]}/{self.number}/{kind.name}"


def endpoints(seed: int) -> list[EndpointSpec]:
    """Make the endpoints of a run."""
    kinds = [kind for kind in KINDS for _ in range(kind.count)]
    return [
        EndpointSpec(number, kind, TENANTS[number % len(TENANTS)], _secret(seed, number))
        for number, kind in enumerate(kinds)
    ]


def _secret(seed: int, number: int) -> str:
    digest = hashlib.sha256(f"chaos {seed} {number}".encode()).digest()
    return f"whsec_{base64.b64encode(digest).decode()}"
