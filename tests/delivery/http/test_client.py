"""The HTTP client on libcurl, against servers that answer in every way a receiver can."""

from __future__ import annotations

import dataclasses
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pycurl
import pytest
import trustme

from flask_webhooks.delivery.http import certificates, resolver
from flask_webhooks.delivery.http.certificates import certificate_options
from flask_webhooks.delivery.http.client import Client
from flask_webhooks.delivery.http.errors import diagnose
from flask_webhooks.delivery.http.exchange import Exchange, Request
from flask_webhooks.delivery.http.head import MAX_INTERIM_RESPONSES
from flask_webhooks.security.addresses import NetworkPolicy
from tests.support.helpers import trust
from tests.support.raw_server import RawServer

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
MAX_BODY = 16 * 1024
LOOPBACK = ["127.0.0.0/8", "::1/128"]


def make_client(networks: list[str] | None = None) -> Client:
    return Client(NetworkPolicy.from_config(LOOPBACK if networks is None else networks), MAX_BODY)


@pytest.fixture
def client() -> Iterator[Client]:
    client = make_client()
    yield client
    client.close()


class Names(dict[str, list[str]]):
    """Stands in for DNS: the addresses that names lead to."""

    def __init__(self) -> None:
        super().__init__({resolver.CONTROL_NAME: ["198.41.0.4"]})
        self.asked: list[str] = []

    def lookup(self, host: str, port: int, family: int) -> list[Any]:
        self.asked.append(host)
        if host not in self:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(family, socket.SOCK_STREAM, 6, "", (address, port)) for address in self[host]]


def stand_in(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Names that are looked up for each request."""
    names = Names()
    monkeypatch.setattr(resolver, "_lookup", names.lookup)
    monkeypatch.setattr(resolver, "FRESH", 0.0)
    return names


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    return stand_in(monkeypatch)


def request(url: str, *, timeout: float = 5.0, body: bytes = b"{}") -> Request:
    headers = [("Host", url.split("/")[2]), ("Content-Length", str(len(body)))]
    host = urlsplit(url).hostname or ""
    return Request(url, headers, body, timeout, None if is_address(host) else host)


def is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def perform(client: Client, *requests: Request) -> list[Exchange]:
    """The exchanges of requests that are made at the same time, in their order."""
    started = [client.start(item) for item in requests]
    ended: list[Exchange] = []
    deadline = time.monotonic() + 20
    while len(ended) < len(started):
        assert time.monotonic() < deadline
        client.run(1.0)
        ended += client.take_ended()
    assert {id(item) for item in ended} == {id(item) for item in started}
    assert len(client) == 0
    return started


def post(client: Client, url: str, *, timeout: float = 5.0) -> Exchange:
    (exchange,) = perform(client, request(url, timeout=timeout))
    return exchange


# -- answers ------------------------------------------------------------------------------------------


def test_answer_is_told_with_the_time_that_each_part_took(client: Client) -> None:
    with RawServer(lambda _: [0.25, OK[:-2], 0.25, b"ok"]) as server:
        exchange = post(client, server.url("/hook"))
        assert (exchange.status, exchange.body, exchange.error) == (200, b"ok", 0)
        assert exchange.headers == [("Content-Length", "2")]
        assert exchange.address == f"127.0.0.1:{server.port}"
        assert exchange.timings["wait"] >= 40
        assert exchange.timings["read"] >= 40
        assert exchange.duration_ms == pytest.approx(sum(exchange.timings.values()), abs=1)
    assert server.requests[0].startswith("POST /hook HTTP/1.1\r\n")


def test_request_goes_out_with_the_headers_that_it_has_and_no_others(client: Client) -> None:
    with RawServer(OK) as server:
        url = server.url("/a/../b?x=%2F")
        long = b"x" * 2_000_000
        headers = [("Host", "h"), ("Content-Length", str(len(long))), ("X-Empty", "")]
        perform(client, Request(url, [*headers, ("X-Umlaut", "ü")], long, 5.0))
    assert server.requests == [
        "POST /a/../b?x=%2F HTTP/1.1\r\n"
        f"Host: h\r\nContent-Length: 2000000\r\nX-Empty:\r\nX-Umlaut: {'ü'.encode().decode('latin-1')}\r\n"
    ]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 30_000 + b"\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n" + b"Set-Cookie: a=b\r\n" * 150 + b"Content-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX-Odd: a\x01b\x7f\xff\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX-Folded: a\r\n  b\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;ext=1\r\nok\r\n0\r\nTrailer: x\r\n\r\n",
    ],
)
def test_unusual_answer_is_taken_and_its_connection_kept(client: Client, answer: bytes) -> None:
    with RawServer(answer) as server:
        for reused in (False, True):
            exchange = post(client, server.url())
            assert (exchange.status, exchange.body, exchange.error) == (200, b"ok", 0)
            assert exchange.reused is reused
            assert ("Link", "</a>") not in exchange.headers
            assert ("Trailer", "x") not in exchange.headers


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 403 No\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 403 No\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 403 No\r\nno colon\r\n\r\n",
        b"HTTP/1.1 403 No\r\n" + b"A: b\r\n" * 6000,
        b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 403 No\r\nContent-Le",
    ],
)
def test_status_is_kept_whatever_follows_it(client: Client, answer: bytes) -> None:
    with RawServer(answer, close=True) as server:
        assert post(client, server.url()).status == 403


@pytest.mark.parametrize("answer", [b"", b"hello", b"\x16\x03\x01\x02", b"HTTP/1.1 abc OK\r\n\r\n"])
def test_what_is_no_answer_has_no_status(client: Client, answer: bytes) -> None:
    with RawServer(answer, close=True) as server:
        exchange = post(client, server.url())
    assert exchange.status is None
    assert exchange.error


# -- bounds -------------------------------------------------------------------------------------------


def test_long_body_is_cut(client: Client) -> None:
    with RawServer(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_000_000, close=True) as server:
        exchange = post(client, server.url())
    assert (exchange.status, exchange.error, exchange.cut) == (200, 0, True)
    assert exchange.body == b"x" * MAX_BODY


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
HINT = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
LONG_LINE = b"X-Long: " + b"a" * 60_000 + b"\r\n"


@pytest.mark.parametrize(
    ("begin", "go_on", "too_much"),
    [
        (HINT, HINT, "interim"),
        (b"HTTP/1.1 200 OK\r\n", LONG_LINE, "head"),
        (CHUNKED, b"T: t\r\n" * 900, "head"),
    ],
)
def test_endless_head_ends(client: Client, begin: bytes, go_on: bytes, too_much: str) -> None:
    with RawServer(lambda _: [begin, *[go_on] * 200]) as server:
        exchange = post(client, server.url())
    assert exchange.error
    # libcurl itself ends a head of more than 5,000 lines.
    assert exchange.too_much == too_much or "5000 is max" in exchange.error_text
    assert exchange.duration_ms < 4000
    assert MAX_INTERIM_RESPONSES < 200


CHUNK = b"00000001;" + b"e" * 60_000 + b"\r\nx\r\n"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say what has come")
@pytest.mark.skipif(
    pycurl.version_info()[2] < 0x081600, reason="libcurl before 8.22 does not say which socket"
)
@pytest.mark.parametrize(
    ("begin", "go_on"), [(CHUNKED[:-3] + b"1;", b"e" * 60_000), (CHUNKED[:-3], CHUNK)]
)
@pytest.mark.parametrize("kept", [False, True])
def test_extensions_of_chunks_without_end_are_not_read_until_the_deadline(
    client: Client, begin: bytes, go_on: bytes, kept: bool
) -> None:
    def script(number: int) -> Iterator[bytes | float]:
        if kept and number == 1:
            yield OK
            return
        yield begin
        while True:
            yield go_on

    with RawServer(script) as server:
        if kept:
            assert post(client, server.url()).status == 200
        exchange = post(client, server.url(), timeout=10.0)
    assert (exchange.status, exchange.too_much, exchange.reused) == (200, "framing", kept)
    assert exchange.duration_ms < 3000
    failure = diagnose(exchange, host="127.0.0.1")
    assert failure is not None
    assert "extensions" in str(failure.error)


@pytest.mark.slow
def test_body_in_chunks_of_one_byte_is_taken_however_slowly_it_comes(client: Client) -> None:
    pieces: list[bytes | float] = [b"1;a=b\r\nx\r\n" * 500, 0.1] * 20
    with RawServer(lambda _: [CHUNKED[:-3], *pieces, b"0\r\n\r\n"]) as server:
        exchange = post(client, server.url())
    assert (exchange.status, exchange.error, exchange.body) == (200, 0, b"x" * 10_000)


@pytest.mark.parametrize(
    "script",
    [
        [60.0],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", *[b"x", 0.3] * 8],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", *[b"x" * 100, 0.02] * 200],
        [b"HTTP/1.1 103 Hint\r\n\r\n", 0.4] * 8,
    ],
)
def test_deadline_holds_whatever_arrives(client: Client, script: list[bytes | float]) -> None:
    with RawServer(lambda _: script) as server:
        began = time.monotonic()
        exchange = post(client, server.url(), timeout=0.5)
        assert exchange.timed_out
        assert exchange.error
        assert 0.4 < time.monotonic() - began < 1.5


@pytest.mark.slow
@pytest.mark.parametrize("until_it_arrives", [False, True], ids=["connecting", "waiting"])
def test_time_that_the_process_lost_is_not_taken_from_requests(
    client: Client, until_it_arrives: bool
) -> None:
    with RawServer(lambda _: [2.0, OK]) as server:
        client.run(0.0)
        client.start(request(server.url(), timeout=2.5))
        while until_it_arrives and not server.requests:
            client.run(0.1)
        time.sleep(0.6 if until_it_arrives else 3.0)
        ended: list[Exchange] = []
        while not ended:
            client.run(0.1)
            ended = client.take_ended()
        assert [(item.status, item.timed_out) for item in ended] == [(200, False)]
        assert len(server.requests) == 1


@pytest.mark.slow
def test_time_that_was_lost_before_a_request_is_not_given_to_it(client: Client) -> None:
    with RawServer(lambda _: [60.0]) as server:
        client.run(0.0)
        time.sleep(1.5)
        began = time.monotonic()
        assert post(client, server.url(), timeout=0.5).timed_out
        assert 0.4 < time.monotonic() - began < 1.2


# -- connections --------------------------------------------------------------------------------------


def test_connection_that_the_receiver_closed_meanwhile_costs_no_failure(client: Client) -> None:
    with RawServer(OK, close=True) as server:
        for _ in range(3):
            assert post(client, server.url()).status == 200
            time.sleep(0.05)


def test_every_address_is_vetted_before_its_socket_exists(client: Client, names: Names) -> None:
    names["shop.example"] = ["10.0.0.1", "127.0.0.1"]
    names["other.example"] = ["10.0.0.1", "192.168.0.1"]
    with RawServer(OK) as server:
        exchange = post(client, server.url(host="shop.example"))
        assert (exchange.status, exchange.refused) == (200, None)
        exchange = post(client, server.url(host="other.example"))
        assert exchange.status is None
        assert (exchange.refused, exchange.refused_address) == ("private network", "10.0.0.1")
    exchange = post(client, "http://127.0.0.1:25/")
    assert (exchange.status, exchange.connected) == (None, False)
    assert "port" in (exchange.refused or "")
    strict = make_client([])
    with RawServer(OK) as server:
        for host in ("127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"):
            exchange = post(strict, f"http://{host}:{server.port}/")
            assert exchange.refused == "loopback address"
            assert server.connections == 0
    strict.close()


@pytest.mark.parametrize("host", ["localhost", "shop.example"])
def test_name_is_looked_up_by_the_resolver_and_never_by_libcurl(
    client: Client, names: Names, host: str
) -> None:
    with RawServer(OK) as own, RawServer(OK, address="127.0.0.2", port=own.port) as server:
        exchange = post(client, server.url(host=host))
        assert isinstance(exchange.lookup_error, socket.gaierror)
        assert (exchange.status, exchange.address, exchange.no_names) == (None, None, False)
        names[host] = ["127.0.0.2"]
        exchange = post(client, server.url(host=host))
        assert (exchange.status, exchange.address) == (200, f"127.0.0.2:{server.port}")
        assert exchange.timings["dns"] > 0
        assert names.asked.count(host) == 2
        assert own.connections == 0


@pytest.mark.parametrize("host", ["0x7f.1", "2130706433", "127.1"])
def test_address_that_libcurl_reads_out_of_a_name_is_no_way_around_the_resolver(
    client: Client, names: Names, host: str
) -> None:
    with RawServer(OK) as server:
        exchange = post(client, server.url(host=host))
        assert exchange.lookup_error is not None
        names[host] = ["127.0.0.2"]
        exchange = post(client, server.url(host=host), timeout=1.0)
        assert exchange.status is None
        assert not exchange.timed_out
        assert server.connections <= 2
        assert server.requests == []


def test_kept_connection_ends_when_its_name_leads_elsewhere(client: Client, names: Names) -> None:
    with (
        RawServer(OK) as old,
        RawServer(OK, address="127.0.0.2", port=old.port) as new,
    ):
        url = old.url(host="shop.example")
        names["shop.example"] = ["127.0.0.1"]
        assert post(client, url).address == f"127.0.0.1:{old.port}"
        assert post(client, url).reused
        names["shop.example"] = ["127.0.0.2"]
        exchange = post(client, url)
        assert exchange.address == f"127.0.0.2:{old.port}"
        assert (exchange.status, exchange.reused) == (200, False)
        assert post(client, url).reused
    assert (len(old.requests), len(new.requests)) == (2, 2)


def test_request_that_is_made_again_goes_where_its_name_leads_now(
    client: Client, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "FRESH", 60.0)
    names["shop.example"] = ["127.0.0.1"]
    with RawServer(lambda number: [OK if number == 1 else b"junk\r\n"]) as server:
        assert post(client, server.url(host="shop.example")).status == 200
        names["shop.example"] = ["10.0.0.1"]
        exchange = post(client, server.url(host="shop.example"))
        assert (exchange.status, exchange.refused) == (None, "private network")
        assert (exchange.refused_address, exchange.address) == ("10.0.0.1", None)


def test_answer_to_confirm_is_not_confirmed_by_where_the_name_led_before(
    client: Client, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the threads for lookups are full, an earlier answer stands in; a 410 from there disables nothing."""
    gone = b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"
    names["shop.example"] = ["127.0.0.1"]
    with RawServer(lambda number: [OK if number == 1 else gone]) as server:
        url = server.url(host="shop.example")
        assert post(client, url).status == 200
        monkeypatch.setattr(resolver, "FRESH", 0.0)
        monkeypatch.setattr(resolver, "THREADS", 0)
        doubted = dataclasses.replace(request(url), confirm=frozenset({410}))
        (exchange,) = perform(client, doubted)
        assert (exchange.status, exchange.no_lookup_thread) == (None, True)
        # What needs no confirmation goes where the name led.
        assert post(client, url).status == 410


def test_second_address_is_tried_where_the_first_does_not_answer(
    client: Client, names: Names
) -> None:
    names["shop.example"] = ["127.0.0.9", "127.0.0.1"]
    with RawServer(OK) as server:
        exchange = post(client, server.url(host="shop.example"))
    assert (exchange.status, exchange.address) == (200, f"127.0.0.1:{server.port}")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a full backlog makes no connection slow")
@pytest.mark.skipif(
    pycurl.version_info()[2] < 0x081700,
    reason="libcurl before 8.23 does not say before the end of TLS which address it is",
)
@pytest.mark.parametrize("answers", [True, False])
def test_error_after_the_connection_is_about_the_address_that_it_was_made_to(
    client: Client, names: Names, answers: bool
) -> None:
    """Both are slow to connect, so that the second one is tried last."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as first,
        socket.create_server(("127.0.0.2", first.getsockname()[1]), backlog=0) as second,
        socket.create_connection(first.getsockname()),
        socket.create_connection(second.getsockname()),
    ):
        port = first.getsockname()[1]
        names["shop.example"] = ["127.0.0.1", "127.0.0.2"]

        def serve() -> None:
            first.accept()[0].close()
            connection, _ = first.accept()
            with connection:
                connection.recv(4096)
                if answers:
                    connection.sendall(b"HTTP/1.1 400 This is no TLS\r\n\r\n")
                else:
                    connection.recv(4096)

        timer = threading.Timer(0.3, serve)
        timer.start()
        exchange = post(client, f"https://shop.example:{port}/", timeout=5.0)
        assert (exchange.status, exchange.address) == (None, f"127.0.0.1:{port}")
        failure = diagnose(exchange, host="shop.example")
        assert failure is not None
        if answers:
            assert str(failure.error) == "TLS failed: wrong version number."
        else:
            assert str(failure.error) == "No connection to 127.0.0.1 within 5 s."
        timer.join(10)


def test_neither_environment_nor_netrc_nor_redirect_changes_where_it_goes(
    client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("default login ann password hush\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    with RawServer(OK) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url())
        away = f"HTTP/1.1 307 Go\r\nLocation: {proxy.url()}\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
        with RawServer(away.encode()) as server:
            assert [post(client, server.url()).status for _ in range(2)] == [307, 307]
        assert proxy.connections == 0
    assert not any("cookie" in head.lower() or "hush" in head for head in server.requests)
    assert not any("authorization" in head.lower() for head in server.requests)


def test_hundreds_of_requests_at_once(client: Client) -> None:
    with RawServer(lambda _: [0.2, OK]) as server:
        began = time.monotonic()
        exchanges = perform(client, *[request(server.url()) for _ in range(300)])
        assert {item.status for item in exchanges} == {200}
        assert time.monotonic() - began < 10


def test_line_break_in_a_header_is_refused(client: Client) -> None:
    for value in ("a\r\nX-Other: b", "a\nb", "a\0b"):
        with pytest.raises(ValueError, match="line break"):
            client.start(Request("http://127.0.0.1:1025/", [("X", value)], b"", 1.0))
    assert len(client) == 0


@pytest.mark.parametrize(
    "url",
    [
        "http://shop.example/tür",
        "http://shop.example/\0",
        "http://shop.example/\ud800",
        "http://bücher.example/",
        "http://\uff11\uff12\uff17.0.0.1/",
        "http://shop.example:99999/",
        "ftp://shop.example/",
    ],
    ids=ascii,
)
def test_url_that_cannot_be_sent_is_refused_before_its_name_is_looked_up(
    client: Client, names: Names, url: str
) -> None:
    """Afterwards it would be all requests that fail with it."""
    for _ in range(2):
        with pytest.raises(ValueError, match=r"URL|[Pp]ort"):
            client.start(request(url))
    assert names.asked == []
    assert len(client) == 0


def test_requests_that_are_broken_off_tell_how_far_they_came(client: Client) -> None:
    with RawServer(lambda _: [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", 30.0]) as server:
        client.start(request(server.url()))
        while not server.requests:
            client.run(0.1)
        client.run(0.3)
        (exchange,) = client.abort()
        assert (exchange.status, exchange.body) == (200, b"ab")
        assert exchange.error
        assert len(client) == 0
        client.run(0.0)
        assert client.take_ended() == []


def test_another_thread_ends_the_wait(client: Client) -> None:
    threading.Timer(0.1, client.wake).start()
    began = time.monotonic()
    client.run(10.0)
    assert client.take_ended() == []
    assert 0.05 < time.monotonic() - began < 5


def test_idle_client_waits_without_turning(client: Client) -> None:
    with RawServer(OK) as server:
        post(client, server.url())
        spent = time.process_time()
        client.run(0.5)
        assert time.process_time() - spent < 0.1


# -- TLS ----------------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """The only one that clients trust which are made from now on."""
    authority = trustme.CA()
    trust(monkeypatch, tmp_path, authority)
    return authority


def tls(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


def test_certificate_has_to_be_of_the_host(authority: trustme.CA, names: Names) -> None:
    names["shop.example"] = names["other.example"] = ["127.0.0.1"]
    client = make_client()
    with RawServer(OK, tls=tls(authority, "shop.example")) as server:
        exchange = post(client, server.url(host="shop.example"))
        assert (exchange.status, exchange.error) == (200, 0)
        assert exchange.timings["tls"] > 0
        assert post(client, server.url(host="shop.example")).reused
        exchange = post(client, server.url(host="other.example"))
        assert (exchange.status, exchange.error) == (None, pycurl.E_PEER_FAILED_VERIFICATION)
        assert (exchange.refused, exchange.address) == (None, f"127.0.0.1:{server.port}")
    assert len(server.requests) == 2
    client.close()


def test_unknown_authority_is_refused(authority: trustme.CA, names: Names) -> None:
    names["shop.example"] = ["127.0.0.1"]
    client = make_client()
    with RawServer(OK, tls=tls(trustme.CA(), "shop.example")) as server:
        exchange = post(client, server.url(host="shop.example"))
    assert (exchange.status, exchange.error) == (None, pycurl.E_PEER_FAILED_VERIFICATION)
    assert server.requests == []
    client.close()


@pytest.mark.parametrize("told", [True, False], ids=["told where", "not told where"])
def test_machine_without_certificates_trusts_no_receiver(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, names: Names, told: bool
) -> None:
    (tmp_path / "empty.pem").touch()
    nowhere = ssl.DefaultVerifyPaths("", "", "", "", "", "")
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nowhere)
    monkeypatch.setattr(certificates, "_FILES", (str(tmp_path / "empty.pem"),))
    monkeypatch.setitem(sys.modules, "certifi", None)
    for name, path in (("SSL_CERT_FILE", "empty.pem"), ("SSL_CERT_DIR", ".")):
        if told:
            monkeypatch.setenv(name, str(tmp_path / path))
        else:
            monkeypatch.delenv(name, raising=False)
    assert certificate_options() == []
    names["shop.example"] = ["127.0.0.1"]
    client = make_client()
    with RawServer(OK, tls=tls(trustme.CA(), "shop.example")) as server:
        exchange = post(client, server.url(host="shop.example"))
        assert exchange.status is None
        assert exchange.error in (pycurl.E_PEER_FAILED_VERIFICATION, pycurl.E_SSL_CACERT_BADFILE)
        assert server.requests == []
    with RawServer(OK) as server:
        assert post(client, server.url(host="shop.example")).status == 200
    client.close()
