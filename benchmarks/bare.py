"""The bare loops: what aiohttp and libcurl alone do with the same bytes, without a database."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp

from flask_webhooks.delivery.http.client import Client
from flask_webhooks.delivery.http.exchange import Request
from flask_webhooks.security.addresses import NetworkPolicy

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
    """Requests per second of one session of aiohttp on the same kind of loop as the worker's.

    :raises BenchmarkError: the receiver did not get each of them once.
    """
    with _counted(receiver, path, deliveries):
        return _run(_send_all(receiver.url + path, sample, deliveries, endpoints, concurrency))


def libcurl_rate(
    receiver: Receiver, sample: Sample, path: str, deliveries: int, endpoints: int, concurrency: int
) -> float:
    """Requests per second of a client on libcurl, which vets addresses and bounds answers.

    :raises BenchmarkError: the receiver did not get each of them once.
    """
    urls = [f"{receiver.url}{path}/{number}" for number in range(endpoints)]
    width = len(sample.webhook_id) - 4
    requests = (
        Request(
            url=urls[number % endpoints],
            headers=[*(sample.headers | {"webhook-id": f"evt_{number:0{width}}"}).items()],
            body=sample.body,
            timeout=60.0,
        )
        for number in range(deliveries)
    )
    client = Client(NetworkPolicy.from_config(["127.0.0.0/8"]), 16 * 1024)
    with _counted(receiver, path, deliveries), contextlib.closing(client):
        began = time.perf_counter()
        for request in itertools.islice(requests, concurrency):
            client.start(request)
        while len(client):
            client.run(60.0)
            for _ in client.take_ended():
                for request in itertools.islice(requests, 1):
                    client.start(request)
        return deliveries / (time.perf_counter() - began)


@contextlib.contextmanager
def _counted(receiver: Receiver, path: str, deliveries: int) -> Iterator[None]:
    """A block in which the receiver gets so many requests, each once."""
    receiver.reset()
    yield
    seen = receiver.seen(path.split("/")[1])
    if (seen.requests, seen.distinct) != (deliveries, deliveries):
        raise BenchmarkError(f"The receiver counted {seen} of {deliveries} requests")


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
