"""The bare loop: what aiohttp alone does with the same bytes, without a database and without checks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import aiohttp

from .counting import Receiver
from .workers import BenchmarkError


@dataclass(frozen=True)
class Sample:
    """A request as ours was made, to repeat with other ids."""

    headers: dict[str, str]
    body: bytes

    @property
    def webhook_id(self) -> str:
        return self.headers["webhook-id"]


def bare_rate(
    receiver: Receiver, sample: Sample, path: str, deliveries: int, endpoints: int, concurrency: int
) -> float:
    """Requests per second of one session on the same kind of loop as the worker's.

    :raises BenchmarkError: the receiver did not get each of them once.
    """
    receiver.reset()
    kind = path.split("/")[1]
    rate = _run(_send_all(receiver.url + path, sample, deliveries, endpoints, concurrency))
    seen = receiver.seen(kind)
    if (seen.requests, seen.distinct) != (deliveries, deliveries):
        raise BenchmarkError(f"The receiver counted {seen} of {deliveries} requests")
    return rate


async def _send_all(
    url: str, sample: Sample, deliveries: int, endpoints: int, concurrency: int
) -> float:
    numbers = iter(range(deliveries))
    urls = [f"{url}/{number}" for number in range(endpoints)]
    width = len(sample.webhook_id) - 4
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
    ) as session:

        async def send() -> None:
            for number in numbers:
                headers = {**sample.headers, "webhook-id": f"evt_{number:0{width}}"}
                address = urls[number % endpoints]
                async with session.post(address, data=sample.body, headers=headers) as answer:
                    await answer.read()

        began = time.perf_counter()
        await asyncio.gather(*(send() for _ in range(concurrency)))
        return deliveries / (time.perf_counter() - began)


def _run(main: Coroutine[Any, Any, float]) -> float:
    try:
        import uvloop
    except ImportError:
        factory = None
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)
