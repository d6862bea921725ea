"""The network policy: addresses, URLs, and real connections on loopback."""

# Full-width and other deceptive characters are what these tests are about.
# ruff: noqa: RUF001

from __future__ import annotations

import asyncio
import pickle
import random
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import trustme
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from flask_webhooks import addresses
from flask_webhooks.addresses import literal_address
from flask_webhooks.errors import BlockedAddress, ConfigurationError, InvalidURL
from flask_webhooks.guard import (
    AddressRefused,
    Exchange,
    GuardedConnector,
    NetworkPolicy,
    current_exchange,
)
from flask_webhooks.urls import check_url

DEFAULT = NetworkPolicy()
LOOPBACK = NetworkPolicy.from_config(["127.0.0.0/8", "::1"])

# --- Addresses -----------------------------------------------------------------------------------

BAD_ADDRESSES = {
    "0.0.0.0": "unspecified",
    "0.1.2.3": "this network",
    "10.0.0.7": "private",
    "100.64.0.1": "CGNAT",
    "100.100.100.200": "CGNAT",
    "100.127.255.255": "CGNAT",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "168.63.129.16": "metadata",
    "169.254.0.1": "link-local",
    "169.254.169.254": "metadata",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.0.0.1": "IETF",
    "192.0.0.9": "IETF",
    "192.0.0.192": "IETF",
    "192.0.2.1": "documentation",
    "192.31.196.1": "anycast",
    "192.52.193.1": "anycast",
    "192.88.99.1": "6to4",
    "192.168.1.1": "private",
    "192.175.48.1": "anycast",
    "198.18.0.1": "benchmarking",
    "198.19.255.255": "benchmarking",
    "198.51.100.1": "documentation",
    "203.0.113.1": "documentation",
    "224.0.0.1": "multicast",
    "239.255.255.250": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "broadcast",
    "::": "unspecified",
    "::1": "loopback",
    "::127.0.0.1": "IPv4-compatible",
    "::8.8.8.8": "IPv4-compatible",
    "::ffff:127.0.0.1": "loopback",
    "::ffff:a9fe:a9fe": "metadata",
    "::ffff:10.1.2.3": "private",
    "::ffff:0:127.0.0.1": "IPv4-translated",
    "::ffff:8.8.8.8%1": "zone",
    "64:ff9b::10.0.0.1": "NAT64",
    "64:ff9b::8.8.8.8": "NAT64",
    "64:ff9b:1::10.0.0.1": "NAT64",
    "64:ff9b:1:ffff::1": "NAT64",
    "100::1": "discard",
    "100:0:0:1::1": "not a global unicast",
    "200::1": "not a global unicast",
    "2001::1": "Teredo",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2": "Teredo",
    "2001:1::1": "IETF",
    "2001:2::1": "benchmarking",
    "2001:10::1": "ORCHID",
    "2001:20::1": "ORCHID",
    "2001:30::1": "IETF",
    "2001:1ff::1": "IETF",
    "2001:db8::1": "documentation",
    "2002:7f00:1::1": "6to4",
    "2002:808:808::1": "6to4",
    "2620:4f:8000::1": "anycast",
    "3ffe::1": "6bone",
    "3fff::1": "documentation",
    "4000::1": "not a global unicast",
    "5f00::1": "SRv6",
    "2600:1f18::5efe:10.0.0.1": "ISATAP",
    "2600:1f18::200:5efe:8.8.8.8": "ISATAP",
    "2606:4700:4700::1111%eth0": "zone",
    "fc00::1": "private",
    "fd00:ec2::254": "private",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "fe80::5efe:10.0.0.1": "link-local",
    "fec0::1": "site-local",
    "feff::1": "site-local",
    "ff02::1": "multicast",
    "ff0e::1": "multicast",
    "": "not an IP address",
    "localhost": "not an IP address",
    "127.1": "not an IP address",
    "2130706433": "not an IP address",
    "0x7f.0.0.1": "not an IP address",
    "127.0.0.01": "not an IP address",
    "8.8.8.8 ": "not an IP address",
    "[::1]": "not an IP address",
    "/run/docker.sock": "not an IP address",
}

GOOD_ADDRESSES = [
    "1.1.1.1",
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.1",
    "168.63.129.17",
    "172.15.255.255",
    "172.32.0.1",
    "192.0.1.1",
    "192.167.255.255",
    "198.17.255.255",
    "198.20.0.1",
    "223.255.255.254",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2003::1",
    "2606:4700:4700::1111",
    "2a00:1450:4001:81b::200e",
    "::ffff:8.8.8.8",
]


@pytest.mark.parametrize(("address", "reason"), BAD_ADDRESSES.items(), ids=BAD_ADDRESSES)
def test_address_that_is_no_host_on_the_internet_is_refused(address: str, reason: str) -> None:
    refusal = DEFAULT.refusal(address)
    assert refusal is not None
    assert reason in refusal


@pytest.mark.parametrize("address", GOOD_ADDRESSES)
def test_global_unicast_passes(address: str) -> None:
    assert DEFAULT.refusal(address) is None
    assert DEFAULT.refusal(ip_address(address)) is None


def test_what_python_itself_does_not_call_global_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that a registration that is newer than our tables comes with a new Python."""
    monkeypatch.setattr(addresses, "_SPECIAL", {4: (), 6: ()})
    assert DEFAULT.refusal("10.0.0.1") == "not a global address"
    assert DEFAULT.refusal("2001:db8::1") == "not a global address"
    assert DEFAULT.refusal("8.8.8.8") is None


@pytest.mark.parametrize(
    ("allowed", "address", "passes"),
    [
        ("10.0.0.0/8", "10.255.0.1", True),
        ("10.0.0.0/8", "::ffff:10.255.0.1", True),
        ("::ffff:10.0.0.0/104", "10.255.0.1", True),
        ("::ffff:10.0.0.0/104", "11.0.0.1", True),
        ("10.0.0.0/8", "192.168.0.1", False),
        ("10.0.0.0/8", "::10.255.0.1", False),
        ("10.0.0.0/8", "64:ff9b::10.255.0.1", False),
        ("10.0.0.0/8", "2002:a00:1::1", False),
        ("169.254.169.254", "169.254.169.254", True),
        ("fd00::/8", "fd00::5", True),
        ("fd00::/8", "fd00::5%eth0", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("2002::/16", "2002:a00:1::1", True),
        ("::/0", "::1", True),
        ("::/0", "::ffff:127.0.0.1", False),
        ("0.0.0.0/0", "127.0.0.1", True),
        ("0.0.0.0/0", "::1", False),
        ("64:ff9b::/96", "64:ff9b::8.8.8.8", True),
        ("64:ff9b::/96", "64:ff9b::10.0.0.1", False),
        ("64:ff9b::/96", "64:ff9b::169.254.169.254", False),
        ("64:ff9b:1::/48", "64:ff9b:1::10.0.0.1", True),
    ],
)
def test_allowed_network_opens_itself_and_nothing_else(
    allowed: str, address: str, passes: bool
) -> None:
    policy = NetworkPolicy.from_config([allowed])
    assert (policy.refusal(address) is None) is passes


@pytest.mark.parametrize(
    ("cidr", "says"),
    [
        ("10.0.0.1/8", "Write 10.0.0.0/8."),
        ("localhost", "like 10.0.0.0/8"),
        ("10.0.0.0/33", "like 10.0.0.0/8"),
        ("", "like 10.0.0.0/8"),
        (None, "like 10.0.0.0/8"),
    ],
)
def test_bad_network_in_the_configuration_says_what_to_write(cidr: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        NetworkPolicy.from_config([cidr])


def test_networks_must_be_a_list() -> None:
    with pytest.raises(ConfigurationError, match=r'write \["10.0.0.0/8"\]'):
        NetworkPolicy.from_config("10.0.0.0/8")


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("0X7F000001", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("0177.0.0.01", "127.0.0.1"),
        ("0", "0.0.0.0"),
        ("134744072", "8.8.8.8"),
        ("[::1]", "::1"),
        ("::1", "::1"),
        ("example.com", None),
        ("1.example", None),
        ("0x7f.example", None),
        ("xn--80ak6aa92e.com", None),
    ],
)
def test_odd_literal_means_the_address_that_the_system_reads(
    host: str, address: str | None
) -> None:
    meant = literal_address(host)
    assert (meant and str(meant)) == address


@pytest.mark.parametrize(
    "host", ["1.2.3.4.5", "256.0.0.1", "08.8.8.8", "a.0x", "4294967296", "[a]"]
)
def test_number_that_is_no_address_is_not_taken_for_a_name(host: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        literal_address(host)


# --- URLs ----------------------------------------------------------------------------------------


def checked(url: str, policy: NetworkPolicy = DEFAULT) -> str:
    return check_url(url, policy=policy, require_https=False)


@pytest.mark.parametrize(
    ("typed", "normal"),
    [
        ("https://example.com/hook", "https://example.com/hook"),
        ("  https://example.com/hook\n", "https://example.com/hook"),
        ("HTTPS://Example.COM/Hook", "https://example.com/Hook"),
        ("https://example.com", "https://example.com/"),
        ("https://example.com?a=b", "https://example.com/?a=b"),
        ("https://example.com:443/", "https://example.com/"),
        ("http://example.com:80/", "http://example.com/"),
        ("https://example.com:08443/", "https://example.com:8443/"),
        ("https://example.com./", "https://example.com/"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://faß.de/", "https://xn--fa-hia.de/"),
        ("https://💩.la/", "https://xn--ls8h.la/"),
        ("https://example。com/", "https://example.com/"),
        ("https://a_b.example.com/", "https://a_b.example.com/"),
        ("https://8.8.8.8/", "https://8.8.8.8/"),
        ("https://0x08080808/", "https://8.8.8.8/"),
        ("https://134744072:8443/", "https://8.8.8.8:8443/"),
        ("https://[2606:4700:0:0::1111]:8443/x", "https://[2606:4700::1111]:8443/x"),
        ("https://[::ffff:8.8.8.8]/", "https://8.8.8.8/"),
        ("https://h.example/a/../b//c;d=1?e=%7e%2F&f[]=+", None),
        ("https://h.example/?next=http://user@x.example/&y=?", None),
        ("https://h.example/tür?ß=|%zz", "https://h.example/t%C3%BCr?%C3%9F=%7C%25zz"),
        ("https://h.example/{id}<>", "https://h.example/%7Bid%7D%3C%3E"),
    ],
)
def test_url_gets_its_normal_spelling(typed: str, normal: str | None) -> None:
    result = checked(typed)
    assert result == (normal or typed)
    assert checked(result) == result
    assert str(URL(result, encoded=True)) == result


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("", "like https://example.com/hook"),
        ("   ", "like https://example.com/hook"),
        ("example.com/hook", "Begin the URL with https:// or http://"),
        ("example.com:8443/hook", "Begin the URL with"),
        ("localhost:8000", "Begin the URL with"),
        ("//example.com/", "Begin the URL with"),
        ("/hook", "Begin the URL with"),
        ("javascript:alert(1)", "not with javascript:"),
        ("ftp://example.com/", "not with ftp:"),
        ("file:///etc/passwd", "not with file:"),
        ("ws://example.com/", "not with ws:"),
        ("tcp://example.com/", "not with tcp:"),
        ("https:example.com", "two slashes"),
        ("https:/example.com", "two slashes"),
        ("https://", "Write the host"),
        ("https:///hook", "Write the host"),
        ("https://?x", "Write the host"),
        ("https://:443/", "host and port"),
        ("https://.", "letters, digits"),
        ("https://exa mple.com/", "%20"),
        ("https://example.com/a\tb", "%20"),
        ("https://example.com/a\r\nHost: x", "%20"),
        ("https://example.com/a\u3000b", "%20"),
        ("https://example.com/a\u00a0b", "%20"),
        ("https://example.com/\x00", "U.0000"),
        ("https://example.com/\x7f", "U.007F"),
        ("https://example.com/\x85x", "U.0085"),
        ("https://exam\u200bple.com/", "U.200B"),
        ("https://example.com/\ufeff", "U.FEFF"),
        ("https://example.com/\u202ekooh", "U.202E"),
        ("https://example.com/\ud800", "U.D800"),
        ("https://example.com\\@evil.example/", "Write / instead"),
        ("https:\\\\example.com\\hook", "Write / instead"),
        ("https://user:pass@example.com/", "user name and password"),
        ("https://token@example.com/", "user name and password"),
        ("https://example.com@127.0.0.1/", "user name and password"),
        ("https://@example.com/", "user name and password"),
        ("https://example.com＠127.0.0.1/", "neither a name nor an address"),
        ("https://example.com:/", "port from 1 to 65535"),
        ("https://example.com:0/", "port from 1 to 65535"),
        ("https://example.com:65536/", "port from 1 to 65535"),
        ("https://example.com:-1/", "port from 1 to 65535"),
        ("https://example.com:+443/", "port from 1 to 65535"),
        ("https://example.com:443:80/", "port from 1 to 65535"),
        ("https://example.com:https/", "port from 1 to 65535"),
        ("https://example.com:８０/", "port from 1 to 65535"),
        ("https://example.com：80/", "neither a name nor an address"),
        ("https://example.com/#part", "%23"),
        ("https://example.com#", "%23"),
        ("https://exa%6dple.com/", "without % signs"),
        ("https://example.com%2f@x.example/", "user name and password"),
        ("https://example.com%2f.x.example/", "neither a name nor an address"),
        ("https://example.com%00.x.example/", "neither a name nor an address"),
        ("https://127.0.0.%2531/", "without % signs"),
        ("https://127.0.0.1%25x1/", "without % signs"),
        ("https://a..b/", "letters, digits"),
        ("https://.example.com/", "letters, digits"),
        ("https://example.com../", "letters, digits"),
        ("https://-a.example.com/", "letters, digits"),
        ("https://exam$ple.com/", "letters, digits"),
        ("https://" + "a" * 64 + ".com/", "letters, digits"),
        ("https://" + "a." * 127 + "com/", "letters, digits"),
        ("https://xn--a.com/", "without doubt"),
        ("https://bücher／.example/", "neither a name nor an address"),
        ("https://intranet/", "like intranet.example.com"),
        ("https://1.2.3.4.5/", "neither a name nor an address"),
        ("https://256.256.256.256/", "neither a name nor an address"),
        ("https://example.0x7f/", "neither a name nor an address"),
        ("https://0x/", "neither a name nor an address"),
        ("https://::1/", "IPv6 address stands in brackets"),
        ("https://[::1/", "IPv6 address stands in brackets"),
        ("https://::1]/", "IPv6 address stands in brackets"),
        ("https://[::1]evil.example/", "IPv6 address stands in brackets"),
        ("https://x[::1]/", "IPv6 address stands in brackets"),
        ("https://[]/", "neither a name nor an address"),
        ("https://[v1.x]/", "neither a name nor an address"),
        ("https://[127.0.0.1]/", "neither a name nor an address"),
        ("https://[example.com]/", "neither a name nor an address"),
        ("https://example.com/" + "a" * 2048, "at most 2048"),
        ("https://example.com/" + "ä" * 1000, "at most 2048"),
    ],
    ids=lambda text: ascii(text)[:40],
)
def test_unusable_url_is_refused_with_what_to_write(typed: str, says: str) -> None:
    with pytest.raises(InvalidURL, match=says) as caught:
        checked(typed)
    assert caught.value.field == "url"


def test_text_only() -> None:
    with pytest.raises(InvalidURL, match="must be text"):
        checked(None)  # type: ignore[arg-type]


def test_https_is_required_where_the_application_says_so() -> None:
    with pytest.raises(InvalidURL, match="Begin the URL with https://"):
        check_url("http://example.com/", policy=DEFAULT, require_https=True)
    assert check_url("https://example.com/", policy=DEFAULT, require_https=True)


@pytest.mark.parametrize(
    ("host", "address", "reason"),
    [
        ("127.0.0.1", "127.0.0.1", "loopback"),
        ("127.0.0.1:8080", "127.0.0.1", "loopback"),
        ("127.0.0.1.", "127.0.0.1", "loopback"),
        ("127.1", "127.0.0.1", "loopback"),
        ("0x7f.1", "127.0.0.1", "loopback"),
        ("0x7f.0x0.0x0.0x1", "127.0.0.1", "loopback"),
        ("2130706433", "127.0.0.1", "loopback"),
        ("017700000001", "127.0.0.1", "loopback"),
        ("0", "0.0.0.0", "unspecified"),
        ("127.0.0.%31", "127.0.0.1", "loopback"),
        ("%31%32%37%2e%30%2e%30%2e%31", "127.0.0.1", "loopback"),
        ("%5B::1%5D", "", ""),
        ("１２７.０.０.１", "127.0.0.1", "loopback"),
        ("127。0。0。1", "127.0.0.1", "loopback"),
        ("①②⑦.⓪.⓪.①", "127.0.0.1", "loopback"),
        ("０ｘ７ｆ．１", "127.0.0.1", "loopback"),
        ("169.254.169.254", "169.254.169.254", "metadata"),
        ("0xa9fea9fe", "169.254.169.254", "metadata"),
        ("[::1]", "::1", "loopback"),
        ("[::ffff:127.0.0.1]", "127.0.0.1", "loopback"),
        ("[::FFFF:7f00:1]", "127.0.0.1", "loopback"),
        ("[::127.0.0.1]", "::7f00:1", "IPv4-compatible"),
        ("[64:ff9b::a9fe:a9fe]", "64:ff9b::a9fe:a9fe", "NAT64"),
        ("[fe80::1%25eth0]", "fe80::1%eth0", "link-local"),
        ("[2606:4700::1111%25eth0]", "2606:4700::1111%eth0", "zone"),
        ("localhost", "", "the server itself"),
        ("LOCALHOST.:8000", "", "the server itself"),
        ("ⓛocalhost", "", "the server itself"),
        ("api.localhost", "", "the server itself"),
        ("printer.local", "", "private network"),
        ("metadata.google.internal", "", "private network"),
        ("nas.home.arpa", "", "private network"),
        ("printer。local", "", "private network"),
    ],
)
def test_url_that_leads_inside_is_refused_when_it_is_saved(
    host: str, address: str, reason: str
) -> None:
    expected = BlockedAddress if reason else InvalidURL
    with pytest.raises(expected) as caught:
        checked(f"https://{host}/hook")
    if isinstance(caught.value, BlockedAddress):
        assert caught.value.address == address
        assert reason in caught.value.reason
        assert "WEBHOOKS_ALLOWED_NETWORKS" in str(caught.value)


@pytest.mark.parametrize(
    ("allowed", "host", "passes"),
    [
        ("127.0.0.0/8", "localhost", True),
        ("127.0.0.1", "localhost", True),
        ("::1", "app.localhost", True),
        ("0.0.0.0/0", "localhost", True),
        ("10.0.0.0/8", "localhost", False),
        ("10.0.0.0/8", "db.internal", True),
        ("10.0.0.0/8", "receiver", True),
        ("127.0.0.0/8", "127.1", True),
        ("fd00::/8", "[fd00::1]", True),
        ("fd00::/8", "[fd01::1%25eth0]", False),
        ("fe80::/10", "[fe80::1%25eth0]", False),
    ],
)
def test_url_into_an_allowed_network_may_be_saved(allowed: str, host: str, passes: bool) -> None:
    policy = NetworkPolicy.from_config([allowed])
    if passes:
        assert checked(f"http://{host}:8000/hook", policy)
    else:
        with pytest.raises(InvalidURL):
            checked(f"http://{host}:8000/hook", policy)


def test_parsers_agree_on_the_host_of_whatever_is_accepted() -> None:
    """Pieces that parsers are known to differ on, put together at random."""
    syntax = ["http:", "https:", "//", "//", "/", "\\", "@", ":", ":80", ":443", "?", "#", "[", "]"]
    hosts = ["[::1]", "[2606::1]", "127.0.0.1", "8.8.8.8", "127.1", "0x7f.1", "localhost"]
    names = ["a.example", "b.example", ".", "user", "::", "-", "_", "xn--", "xn--a", "HTTPS:"]
    encoded = ["%2e", "%40", "%2f", "%5b", "%00", "。", "＠", "／", "１", "ß"]
    odd = ["\t", " ", "\u200b", ";", "&", "=", "{", "|"]
    pieces = syntax + hosts + names + encoded + odd
    chance = random.Random(2024)
    accepted = 0
    for _ in range(40_000):
        prefix = chance.choice(["", "http://", "https://"])
        typed = prefix + "".join(chance.choices(pieces, k=chance.randint(1, 7)))
        try:
            result = checked(typed)
        except InvalidURL:
            continue
        accepted += 1
        host = urlsplit(result).hostname
        assert host, typed
        for seen in (URL(result), URL(result, encoded=True)):
            assert seen.raw_host == host, typed
            assert seen.user is None
            assert seen.port == (urlsplit(result).port or {"http": 80, "https": 443}[seen.scheme])
        address = literal_address(host)
        assert address is None or DEFAULT.refusal(address) is None, typed
        assert checked(result) == result
    assert accepted > 500


# --- Connections ---------------------------------------------------------------------------------

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    if request.param == "uvloop":
        return pytest.importorskip("uvloop").run  # type: ignore[no-any-return]
    return asyncio.run


@dataclass
class Receiver:
    """A real server, and what reached it."""

    port: int = 0
    connections: int = 0
    hosts: list[str] = field(default_factory=list)


@asynccontextmanager
async def receiving(
    host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    receiver = Receiver()

    async def answer(request: web.BaseRequest) -> web.Response:
        await request.read()
        receiver.hosts.append(request.host)
        return web.Response(text="thank you")

    server = web.Server(answer)

    def accept() -> asyncio.BaseProtocol:
        receiver.connections += 1
        return server()

    listener = await asyncio.get_running_loop().create_server(accept, host, port, ssl=tls)
    receiver.port = listener.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        listener.close()
        await server.shutdown(1)


class Answers(AbstractResolver):
    """A resolver whose owner decides, lookup by lookup, what a name means."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = iter(answers)
        self.last: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.last = next(self.answers, self.last)
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in self.last
        ]

    async def close(self) -> None: ...


def sending(
    policy: NetworkPolicy, *, trust: ssl.SSLContext | bool = True, **options: Any
) -> aiohttp.ClientSession:
    connector = GuardedConnector(policy=policy, ssl=trust, **options)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


async def post(
    session: aiohttp.ClientSession, url: str | URL, **options: Any
) -> tuple[Exchange, int | Exception]:
    exchange = Exchange()
    token = current_exchange.set(exchange)
    try:
        async with session.post(url, data=b"{}", allow_redirects=False, **options) as response:
            await response.read()
            return exchange, response.status
    except aiohttp.ClientError as error:
        return exchange, error
    finally:
        current_exchange.reset(token)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "127.1",
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "017700000001",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "１２７.０.０.１",
        "0.0.0.0",
        "0",
    ],
)
def test_loopback_cannot_be_reached_however_it_is_written(run: Run, host: str) -> None:
    async def scenario() -> None:
        async with receiving() as receiver, sending(DEFAULT) as session:
            url = URL(f"http://{host}:{receiver.port}/")
            exchange, error = await post(session, url)
            assert isinstance(error, aiohttp.ClientError)
            # aiohttp 3.12 hands 127.1 on unread, later versions refuse it themselves.
            reasons = ("loopback address", "unspecified address", "not an IP address")
            assert exchange.refused in reasons
            assert exchange.refused_address is not None
            assert (exchange.peer, exchange.tried_address, exchange.reused) == (None, None, False)
            assert receiver.connections == 0

    run(scenario())


def test_ipv6_literals_are_vetted_too(run: Run) -> None:
    async def scenario() -> None:
        try:
            async with receiving("::1") as receiver, sending(DEFAULT) as session:
                for host in ("[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[::1%25lo]"):
                    url = URL(f"http://{host}:{receiver.port}/", encoded=True)
                    exchange, error = await post(session, url)
                    assert isinstance(error, aiohttp.ClientError), host
                    assert exchange.refused is not None, host
                assert receiver.connections == 0
            async with receiving("::1") as receiver, sending(LOOPBACK) as session:
                exchange, status = await post(session, f"http://[::1]:{receiver.port}/")
                assert (status, exchange.peer) == (200, f"[::1]:{receiver.port}")
        except OSError as error:
            pytest.skip(f"no IPv6 on this machine: {error}")

    run(scenario())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f.1", "[::ffff:127.0.0.1]"])
def test_allowed_network_can_be_reached(run: Run, host: str) -> None:
    policy = NetworkPolicy.from_config(["127.0.0.0/8"])

    async def scenario() -> None:
        async with receiving() as receiver, sending(policy) as session:
            exchange, status = await post(session, f"http://{host}:{receiver.port}/")
            assert status == 200
            assert exchange.refused is None
            assert exchange.peer is not None
            assert exchange.peer.endswith(f":{receiver.port}")
            assert exchange.connect_ms is not None
            assert exchange.connect_ms > 0

    run(scenario())


def test_public_name_that_resolves_to_loopback_is_refused(run: Run) -> None:
    async def scenario() -> None:
        resolver = Answers(["127.0.0.1", "::1", "10.0.0.1"])
        async with receiving() as receiver, sending(DEFAULT, resolver=resolver) as session:
            exchange, error = await post(session, f"http://hooks.example.com:{receiver.port}/")
            assert isinstance(error, aiohttp.ClientConnectorError)
            assert isinstance(error.os_error, OSError)
            assert exchange.refused == "loopback address"
            assert exchange.refused_address == "127.0.0.1"
            assert exchange.dns_ms is not None
            assert receiver.connections == 0

    run(scenario())


def test_name_that_is_rebound_between_two_requests_is_refused(run: Run) -> None:
    """127.0.0.1 plays the public address here, 127.0.0.2 the internal one."""
    policy = NetworkPolicy.from_config(["127.0.0.1/32"])

    async def scenario() -> None:
        resolver = Answers(["127.0.0.1"], ["127.0.0.2"])
        async with (
            receiving("127.0.0.1") as public,
            receiving("127.0.0.2", public.port) as internal,
            sending(policy, resolver=resolver, use_dns_cache=False, force_close=True) as session,
        ):
            url = f"http://hooks.example.com:{public.port}/"
            first, status = await post(session, url)
            assert (status, first.peer) == (200, f"127.0.0.1:{public.port}")
            second, error = await post(session, url)
            assert isinstance(error, aiohttp.ClientConnectorError)
            assert (second.refused, second.refused_address) == ("loopback address", "127.0.0.2")
            assert second.peer is None
            assert internal.connections == 0

    run(scenario())


def test_resolver_that_answers_with_another_name_is_refused(run: Run) -> None:
    """asyncio itself would resolve what is no address, behind the guard's back."""

    async def scenario() -> None:
        resolver = Answers(["localhost"])
        async with receiving() as receiver, sending(LOOPBACK, resolver=resolver) as session:
            exchange, error = await post(session, f"http://hooks.example.com:{receiver.port}/")
            assert isinstance(error, aiohttp.ClientConnectorError)
            assert exchange.refused == "not an IP address"
            assert receiver.connections == 0

    run(scenario())


@pytest.mark.parametrize("order", [["10.0.0.1", "127.0.0.1"], ["127.0.0.1", "10.0.0.1"]])
def test_fine_address_is_used_beside_refused_ones(run: Run, order: list[str]) -> None:
    async def scenario() -> None:
        resolver = Answers([*order, "fd00::1"])
        async with (
            receiving() as receiver,
            # What one address is given before the next one is tried.
            sending(LOOPBACK, resolver=resolver, happy_eyeballs_delay=60.0) as session,
        ):
            started = time.monotonic()
            exchange, status = await post(session, f"http://hooks.example.com:{receiver.port}/")
            assert (status, exchange.refused) == (200, None)
            assert exchange.peer == f"127.0.0.1:{receiver.port}"
            assert time.monotonic() - started < 30

    run(scenario())


def test_failure_of_a_fine_address_is_no_refusal(run: Run) -> None:
    async def scenario() -> None:
        async with receiving() as receiver:
            closed_port = receiver.port
        resolver = Answers(["10.0.0.1", "127.0.0.1", "10.0.0.2"])
        async with sending(LOOPBACK, resolver=resolver) as session:
            exchange, error = await post(session, f"http://hooks.example.com:{closed_port}/")
            assert isinstance(error, aiohttp.ClientConnectorError)
            assert exchange.refused is None
            assert exchange.tried_address == "127.0.0.1"
            assert exchange.peer is None
            assert exchange.connect_ms is not None

    run(scenario())


def test_flood_of_addresses_does_not_keep_the_loop_busy(run: Run) -> None:
    async def scenario() -> None:
        resolver = Answers([f"10.{number >> 8}.{number & 255}.1" for number in range(4000)])
        async with sending(DEFAULT, resolver=resolver) as session:
            started = time.monotonic()
            exchange, _ = await post(session, "http://hooks.example.com/")
            assert exchange.refused == "private network"
            assert time.monotonic() - started < 1

    run(scenario())


@pytest.mark.parametrize("answer", [[], ["127.0.0.1"]], ids=["no address", "closed port"])
def test_dns_without_an_answer_is_an_ordinary_failure(run: Run, answer: list[str]) -> None:
    async def scenario() -> None:
        async with sending(LOOPBACK, resolver=Answers(answer)) as session:
            exchange, error = await post(session, "http://hooks.example.com:1025/")
            assert isinstance(error, aiohttp.ClientConnectorError)
            assert isinstance(error, aiohttp.ClientConnectorDNSError) is (not answer)
            assert exchange.refused is None

    run(scenario())


def test_kept_alive_connection_is_reused_and_its_peer_recorded(run: Run) -> None:
    async def scenario() -> None:
        resolver = Answers(["127.0.0.1"], ["10.0.0.1"])
        async with receiving() as receiver, sending(LOOPBACK, resolver=resolver) as session:
            url = f"http://hooks.example.com:{receiver.port}/"
            first, _ = await post(session, url)
            second, status = await post(session, url)
            assert status == 200
            assert (first.reused, second.reused) == (False, True)
            assert first.peer == second.peer == f"127.0.0.1:{receiver.port}"
            assert first.dns_ms is not None
            assert second.dns_ms is None
            assert first.connect_ms is not None
            assert second.connect_ms is None
            assert receiver.connections == 1

    run(scenario())


def test_record_that_is_used_twice_tells_of_the_last_request_only(run: Run) -> None:
    async def scenario() -> None:
        resolver = Answers(["127.0.0.1"])
        async with receiving() as receiver, sending(LOOPBACK, resolver=resolver) as session:
            exchange = Exchange()
            current_exchange.set(exchange)
            async with session.post(f"http://127.0.0.1:{receiver.port}/") as response:
                await response.read()
            assert exchange.peer
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.post("http://10.0.0.1/")
            assert exchange == Exchange(
                refused="private network",
                refused_address="10.0.0.1",
                connect_ms=exchange.connect_ms,
            )

    run(scenario())


def test_requests_at_the_same_time_keep_their_own_records(run: Run) -> None:
    async def scenario() -> None:
        async with receiving() as receiver, sending(LOOPBACK) as session:
            hosts = ["127.0.0.1", "10.0.0.1", "192.168.0.1"] * 10
            results = await asyncio.gather(
                *(post(session, f"http://{host}:{receiver.port}/") for host in hosts)
            )
            for host, (exchange, _) in zip(hosts, results, strict=True):
                refused = None if host == "127.0.0.1" else host
                assert exchange.refused_address == refused
                assert (exchange.peer is None) is (refused is not None)

    run(scenario())


def test_guard_holds_without_a_record(run: Run) -> None:
    async def scenario() -> None:
        async with receiving() as receiver:
            url = f"http://127.0.0.1:{receiver.port}/"
            async with sending(DEFAULT) as session:
                with pytest.raises(aiohttp.ClientConnectorError) as caught:
                    await session.post(url)
                assert isinstance(caught.value.os_error, AddressRefused)
                assert caught.value.os_error.reason == "loopback address"
                assert receiver.connections == 0
            async with sending(LOOPBACK) as session, session.post(url) as response:
                assert response.status == 200

    run(scenario())


def test_proxy_is_refused(run: Run) -> None:
    async def scenario() -> None:
        async with receiving() as receiver, sending(LOOPBACK) as session:
            proxy = f"http://127.0.0.1:{receiver.port}"
            _, error = await post(session, "http://10.0.0.1/", proxy=proxy)
            assert isinstance(error, aiohttp.ClientOSError)
            assert "proxies are not used" in str(error)
            assert receiver.connections == 0

    run(scenario())


def test_socket_factory_cannot_be_replaced() -> None:
    async def scenario() -> None:
        with pytest.raises(TypeError, match="socket_factory"):
            GuardedConnector(policy=DEFAULT, socket_factory=lambda info: socket.socket())

    asyncio.run(scenario())


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("hooks.example.com").configure_cert(context)
    return context


@pytest.fixture
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def test_tls_is_verified_for_the_name_and_kept_alive(
    run: Run, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    async def scenario() -> None:
        async with (
            receiving(tls=server_tls) as receiver,
            sending(LOOPBACK, trust=client_tls, resolver=Answers(["127.0.0.1"])) as session,
        ):
            url = f"https://hooks.example.com:{receiver.port}/"
            first, status = await post(session, url)
            assert (status, first.peer) == (200, f"127.0.0.1:{receiver.port}")
            second, status = await post(session, url)
            assert (status, second.peer, second.reused) == (200, first.peer, True)
            assert receiver.hosts == [f"hooks.example.com:{receiver.port}"] * 2
            other, error = await post(session, f"https://other.example.com:{receiver.port}/")
            assert isinstance(error, aiohttp.ClientConnectorCertificateError)
            assert (other.refused, other.tried_address) == (None, "127.0.0.1")

    run(scenario())


def test_unknown_certificate_authority_is_not_trusted(run: Run, server_tls: ssl.SSLContext) -> None:
    async def scenario() -> None:
        resolver = Answers(["127.0.0.1"])
        async with (
            receiving(tls=server_tls) as receiver,
            sending(LOOPBACK, resolver=resolver) as session,
        ):
            _, error = await post(session, f"https://hooks.example.com:{receiver.port}/")
            assert isinstance(error, aiohttp.ClientConnectorCertificateError)

    run(scenario())


def test_refusal_survives_pickling() -> None:
    refusal = pickle.loads(pickle.dumps(AddressRefused("10.0.0.1", "private network")))
    assert (refusal.address, refusal.reason) == ("10.0.0.1", "private network")
    assert str(refusal) == "[Errno 13] 10.0.0.1 is refused: private network"
