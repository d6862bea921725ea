"""Where an answer ends, and what becomes of the connection where that is not clear."""

from __future__ import annotations

from collections.abc import Iterator

import pycurl
import pytest

from flask_webhooks.delivery.http import head
from flask_webhooks.delivery.http.client import Client
from tests.delivery.http.test_client import OK, make_client, post
from tests.support.raw_server import RawServer


@pytest.fixture
def client() -> Iterator[Client]:
    client = make_client()
    yield client
    client.close()


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\nsurprise", 204),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 8\r\n\r\nsurprise", 204),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 410 Gone\r\n\r\n", 200),
    ],
)
def test_bytes_after_an_answer_spoil_no_other(client: Client, answer: bytes, status: int) -> None:
    with RawServer(answer) as server:
        for _ in range(3):
            exchange = post(client, server.url())
            assert (exchange.status, exchange.error) == (status, 0)
        assert server.connections == 3


BOTH_LENGTHS = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("length", [0, 1, 2, 12, 5000])
def test_chunks_count_whatever_length_stands_beside_them(client: Client, length: int) -> None:
    with RawServer(BOTH_LENGTHS % length + b"2\r\nok\r\n0\r\n\r\n") as server:
        for reused in (False, True):
            exchange = post(client, server.url())
            assert (exchange.status, exchange.body, exchange.error) == (200, b"ok", 0)
            assert exchange.reused is reused
    with RawServer(BOTH_LENGTHS % length + b"ok") as server:
        for _ in range(2):
            exchange = post(client, server.url())
            assert (exchange.status, exchange.body, exchange.reused) == (200, b"", False)
            assert exchange.error


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 2\r\nContent-Length: 3",
        b"Content-Length: 2, 3",
        b"Content-Length: 0x2",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: chunked, gzip",
    ],
)
def test_body_whose_end_is_not_clear_is_not_read(client: Client, headers: bytes) -> None:
    with RawServer(b"HTTP/1.1 200 OK\r\n" + headers + b"\r\n\r\nok") as server:
        for _ in range(2):
            exchange = post(client, server.url())
            assert (exchange.status, exchange.body, exchange.reused) == (200, b"", False)
            assert exchange.error


def test_error_of_ours_in_an_answer_is_logged_without_it(
    client: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pycurl would print it, and error trackers would send the variables."""

    calls: list[object] = []

    def fail_once(status: object) -> bool:
        calls.append(status)
        if len(calls) == 1:
            raise RuntimeError("a bug of ours")
        return False

    monkeypatch.setattr(head, "_is_interim", fail_once)
    with RawServer(OK) as server:
        exchange = post(client, server.url())
    assert exchange.error == pycurl.E_WRITE_ERROR
    [record] = caplog.records
    assert record.exc_info is None
    assert "a bug of ours" in record.getMessage()
