"""An event now and then to HTTPS receivers far away: they should find their connections kept."""

from __future__ import annotations

import contextlib
import http.client
import ssl
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import trustme

from ..bench import Bench, Scale
from ..counting import Receiver
from ..distance import Distance
from ..host import Host
from ..results import Account, Result, at_least, at_most, percentile
from ..workers import LIMIT

#: Milliseconds there and back.
ROUND_TRIP = 30
#: Milliseconds beside a round trip, from the commit on.
OVERHEAD = 10
#: Each has a name and so connections of its own.
NAMES = [f"shop{number}.answers.test" for number in range(5)]
HOST = "127.0.0.1"
TENANT = "app_1"


@dataclass(frozen=True)
class Size:
    events: int
    #: Seconds between two.
    pause: float


SIZES: dict[Scale, Size] = {"full": Size(60, 3.0), "quick": Size(12, 3.0), "smoke": Size(2, 0.2)}


def run(bench: Bench, database: str) -> Iterator[Result]:
    size = SIZES[bench.scale]
    account = Account()
    with (
        TemporaryDirectory() as folder,
        Receiver(_certificate(Path(folder))) as receiver,
        Distance(receiver.tls_port or 0, ROUND_TRIP) as distance,
        bench.host(database) as host,
    ):
        host.environment["SSL_CERT_FILE"] = str(Path(folder) / "authority.pem")
        for number, name in enumerate(NAMES):
            host.add_endpoint(f"https://{name}:{distance.port}/ok/{number}", TENANT)
        with host.workers(), _connected(distance, Path(folder)) as connection:
            _deliver(host, receiver, account)
            _round_trip(connection)
            before = distance.connections()
            took: list[float] = []
            round_trips: list[float] = []
            for _ in range(size.events):
                time.sleep(size.pause)
                took += _deliver(host, receiver, account)
                round_trips.append(_round_trip(connection))
            fresh = distance.connections() - before
    requests = size.events * len(NAMES)
    counted = account.lost, account.duplicates
    yield Result(
        "sporadic TLS: requests on a kept connection",
        database,
        requests - fresh,
        requests,
        "requests",
        at_least(0.9),
        *counted,
    )
    for label, percent, goal in (("p50", 50, at_most(1)), ("p99", 99, None)):
        yield Result(
            f"sporadic TLS, {label}: a round trip + {OVERHEAD} ms",
            database,
            percentile(took, percent),
            statistics.median(round_trips) + OVERHEAD,
            "ms",
            goal,
            *counted,
        )


def _deliver(host: Host, receiver: Receiver, account: Account) -> list[float]:
    """Emit one event; returns the milliseconds from its commit to the answer of each receiver, back at the worker."""
    receiver.reset()
    event_id, at = host.emit_one(TENANT)
    seen = receiver.wait("ok", len(NAMES), LIMIT)
    host.wait_until_settled()
    account.add(len(NAMES), seen.distinct, seen.requests)
    arrivals = receiver.deliveries("ok")
    paths = [f"/ok/{number}" for number in range(len(NAMES))]
    return [
        (arrivals.get((path, event_id), at + LIMIT) - at) * 1000 + ROUND_TRIP / 2 for path in paths
    ]


@contextlib.contextmanager
def _connected(distance: Distance, folder: Path) -> Iterator[http.client.HTTPSConnection]:
    """A connection that is kept, for what the way there and back takes by itself."""
    context = ssl.create_default_context(cafile=str(folder / "authority.pem"))
    made = http.client.HTTPSConnection(HOST, distance.port, timeout=LIMIT, context=context)
    with contextlib.closing(made) as connection:
        yield connection


def _round_trip(connection: http.client.HTTPSConnection) -> float:
    """Milliseconds of one request by itself."""
    began = time.monotonic()
    connection.request("POST", "/after/0", b"{}")
    connection.getresponse().read()
    return (time.monotonic() - began) * 1000


def _certificate(folder: Path) -> Path:
    """A certificate with its key, for all of the names; its authority beside it, for the workers."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    path = folder / "receiver.pem"
    authority.issue_cert(HOST, *NAMES).private_key_and_cert_chain_pem.write_to_path(str(path))
    return path
