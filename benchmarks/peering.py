"""The rate of `benchmarks.peer`, measured as ours is."""

from __future__ import annotations

import rq
import sqlalchemy as sa

from . import peer
from .bare import Sample
from .counting import Receiver
from .host import Host
from .workers import LIMIT, BenchmarkError, Workers, wait_for


def peer_rate(
    receiver: Receiver, host: Host, workers: Workers, sample: Sample, path: str, jobs: int
) -> float:
    """Deliveries per second of one RQ job each: from the first request until the last row is written.

    :raises BenchmarkError: the receiver did not get each of them once.
    """
    count = sa.select(sa.func.count(peer.requests_made.c.id))
    receiver.reset()
    with host.reading() as connection:
        before = connection.execute(count).scalar_one()
    queue = rq.Queue(peer.QUEUE, connection=workers.redis)
    width = len(sample.webhook_id) - 4
    for number in range(jobs):
        headers = {**sample.headers, "webhook-id": f"evt_{number:0{width}}"}
        queue.enqueue(peer.deliver, f"{receiver.url}{path}/{number}", headers, sample.body)

    def written() -> bool:
        with host.reading() as connection:
            return connection.execute(count).scalar_one() - before >= jobs

    kind = path.split("/")[1]
    receiver.wait(kind, jobs, LIMIT)
    end = wait_for(written, LIMIT, "the rows of the jobs")
    seen = receiver.seen(kind)
    if (seen.requests, seen.distinct) != (jobs, jobs) or seen.first is None:
        raise BenchmarkError(f"The receiver counted {seen} of {jobs} requests")
    return jobs / (end - seen.first)
