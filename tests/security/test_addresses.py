"""The network policy: addresses, URLs, and real connections on loopback."""

# Full-width and other deceptive characters are what these tests are about.
# ruff: noqa: RUF001

from __future__ import annotations

import random
import socket
import threading
import time
from contextlib import closing
from dataclasses import replace
from functools import cache
from ipaddress import IPv4Network, ip_address
from typing import Any
from urllib.parse import urlsplit

import pytest
from yarl import URL

from flask_webhooks.delivery.http import resolver, transfer
from flask_webhooks.delivery.http.client import Client
from flask_webhooks.delivery.http.exchange import Exchange
from flask_webhooks.delivery.http.transfer import MAX_ADDRESSES
from flask_webhooks.errors import BlockedAddress, ConfigurationError, InvalidURL
from flask_webhooks.security import addresses
from flask_webhooks.security.addresses import NetworkPolicy, literal_address
from flask_webhooks.security.urls import check_url
from tests.delivery.http.test_client import MAX_BODY, OK, Names, perform, post, request, stand_in
from tests.support.raw_server import RawServer

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
        ("https://xn--a.com/", "ambiguous"),
        ("https://bücher／.example/", "neither a name nor an address"),
        ("https://intranet/", "like intranet.example.com"),
        ("https://1.2.3.4.5/", "neither a name nor an address"),
        ("https://256.256.256.256/", "neither a name nor an address"),
        ("https://example.0x7f/", "neither a name nor an address"),
        ("https://0x/", "neither a name nor an address"),
        ("https://::1/", "put an IPv6 address in brackets"),
        ("https://[::1/", "put an IPv6 address in brackets"),
        ("https://::1]/", "put an IPv6 address in brackets"),
        ("https://[::1]evil.example/", "put an IPv6 address in brackets"),
        ("https://x[::1]/", "put an IPv6 address in brackets"),
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


@cache
def accepted_urls() -> list[tuple[str, str]]:
    """What was typed, and what became of it: pieces that parsers are known to differ on, put together at random."""
    syntax = ["http:", "https:", "//", "//", "/", "\\", "@", ":", ":80", ":443", "?", "#", "[", "]"]
    hosts = ["[::1]", "[2606::1]", "127.0.0.1", "8.8.8.8", "127.1", "0x7f.1", "localhost"]
    names = ["a.example", "b.example", ".", "user", "::", "-", "_", "xn--", "xn--a", "HTTPS:"]
    encoded = ["%2e", "%40", "%2f", "%5b", "%00", "。", "＠", "／", "１", "ß"]
    odd = ["\t", " ", "\u200b", ";", "&", "=", "{", "|"]
    pieces = syntax + hosts + names + encoded + odd
    chance = random.Random(2024)
    accepted = []
    for _ in range(40_000):
        prefix = chance.choice(["", "http://", "https://"])
        typed = prefix + "".join(chance.choices(pieces, k=chance.randint(1, 7)))
        try:
            accepted.append((typed, checked(typed)))
        except InvalidURL:
            continue
    return accepted


def test_parsers_agree_on_the_host_of_whatever_is_accepted() -> None:
    for typed, result in accepted_urls():
        host = urlsplit(result).hostname
        assert host, typed
        for seen in (URL(result), URL(result, encoded=True)):
            assert seen.raw_host == host, typed
            assert seen.user is None
            assert seen.port == (urlsplit(result).port or {"http": 80, "https": 443}[seen.scheme])
        address = literal_address(host)
        assert address is None or DEFAULT.refusal(address) is None, typed
        assert checked(result) == result
    assert len(accepted_urls()) > 500


def test_libcurl_connects_to_what_was_read_out_of_the_url(names: Names) -> None:
    """Names lead to an address where nothing listens, and all others are refused."""
    others = IPv4Network("0.0.0.0/0").address_exclude(IPv4Network("127.0.0.9/32"))
    policy = NetworkPolicy.from_config(["127.0.0.9"], ["::/0", *map(str, others)])
    urls = sorted({result for _, result in accepted_urls()})
    hosts = [urlsplit(url).hostname or "" for url in urls]
    assert len(set(hosts)) > 20
    for host in hosts:
        names[host] = ["127.0.0.9"]
    client = Client(policy, MAX_BODY)
    with closing(client):
        for url, host in zip(urls, hosts, strict=True):
            exchange = post(client, url)
            literal = literal_address(host)
            port = urlsplit(url).port or {"http": 80, "https": 443}[urlsplit(url).scheme]
            expected = f"127.0.0.9:{port}" if literal is None else None
            refused = None if literal is None else str(literal)
            assert (exchange.address, exchange.refused_address) == (expected, refused), url


# --- Connections ---------------------------------------------------------------------------------


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    return stand_in(monkeypatch)


def sent(policy: NetworkPolicy, *urls: str, timeout: float = 5.0) -> list[Exchange]:
    """The exchanges of requests that one client makes one after another."""
    client = Client(policy, MAX_BODY)
    with closing(client):
        return [post(client, url, timeout=timeout) for url in urls]


def has_no_connection(exchange: Exchange) -> bool:
    """Whether there was no connection, and nothing tells of one."""
    return (
        (exchange.status, exchange.address, exchange.body) == (None, None, b"")
        and not (exchange.connected or exchange.reused or exchange.timed_out)
        and not exchange.headers
    )


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
        "0.0.0.0",
        "0",
    ],
)
def test_loopback_cannot_be_reached_however_it_is_written(host: str) -> None:
    with RawServer(OK) as server:
        [exchange] = sent(DEFAULT, f"http://{host}:{server.port}/")
        assert exchange.refused in ("loopback address", "unspecified address")
        assert exchange.refused_address is not None
        assert exchange.error
        assert has_no_connection(exchange)
        assert server.connections == 0


@pytest.mark.parametrize("host", ["0x7f.1", "127.1", "2130706433", "0"])
def test_odd_literal_is_vetted_also_where_it_is_taken_for_an_address(host: str) -> None:
    with RawServer(OK) as server, closing(Client(DEFAULT, MAX_BODY)) as client:
        plain = request(f"http://127.0.0.1:{server.port}/")
        odd = replace(request(f"http://{host}:{server.port}/"), name=None)
        exchanges = perform(client, plain, odd)
        assert all(item.refused and has_no_connection(item) for item in exchanges)
        assert server.connections == 0


def test_ipv6_literals_are_vetted_too() -> None:
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError as error:
        pytest.skip(f"no IPv6 on this machine: {error}")
    port = listener.getsockname()[1]

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(OK)

    with listener:
        for host in ("[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[::1%25lo]"):
            [exchange] = sent(DEFAULT, f"http://{host}:{port}/")
            assert exchange.refused is not None, host
            assert has_no_connection(exchange), host
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
        listener.setblocking(True)
        threading.Thread(target=answer, daemon=True).start()
        [exchange] = sent(LOOPBACK, f"http://[::1]:{port}/")
        assert (exchange.status, exchange.address) == (200, f"[::1]:{port}")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f.1", "[::ffff:127.0.0.1]"])
def test_allowed_network_can_be_reached(host: str) -> None:
    policy = NetworkPolicy.from_config(["127.0.0.0/8"])
    with RawServer(OK) as server:
        [exchange] = sent(policy, f"http://{host}:{server.port}/")
        assert (exchange.status, exchange.refused) == (200, None)
        assert exchange.address is not None
        assert exchange.address.endswith(f":{server.port}")
        assert exchange.timings["connect"] > 0


def test_public_name_that_resolves_to_loopback_is_refused(names: Names) -> None:
    names["hooks.example.com"] = ["127.0.0.1", "::1", "10.0.0.1"]
    with RawServer(OK) as server:
        [exchange] = sent(DEFAULT, server.url(host="hooks.example.com"))
        assert exchange.refused == "loopback address"
        assert exchange.refused_address == "127.0.0.1"
        assert exchange.timings["dns"] > 0
        assert has_no_connection(exchange)
        assert server.connections == 0


@pytest.mark.parametrize("close", [True, False], ids=["new connection", "kept connection"])
def test_name_that_is_rebound_between_two_requests_is_refused(names: Names, close: bool) -> None:
    """127.0.0.1 plays the public address here, 127.0.0.2 the internal one."""
    policy = NetworkPolicy.from_config(["127.0.0.1/32"])
    with (
        RawServer(OK, close=close) as public,
        RawServer(OK, address="127.0.0.2", port=public.port) as internal,
        closing(Client(policy, MAX_BODY)) as client,
    ):
        url = public.url(host="hooks.example.com")
        names["hooks.example.com"] = ["127.0.0.1"]
        first = post(client, url)
        assert (first.status, first.address) == (200, f"127.0.0.1:{public.port}")
        names["hooks.example.com"] = ["127.0.0.2"]
        second = post(client, url)
        assert (second.refused, second.refused_address) == ("loopback address", "127.0.0.2")
        assert has_no_connection(second)
        assert internal.connections == 0
        assert len(public.requests) == 1


@pytest.mark.parametrize("answer", ["localhost", "127.1", "", "fe80::1%lo"])
def test_answer_that_is_no_address_is_refused(names: Names, answer: str) -> None:
    """libcurl reads none of these as the address of a name, and would fail with no word of why."""
    names["hooks.example.com"] = [answer]
    policy = NetworkPolicy.from_config(["127.0.0.0/8", "::1", "fe80::/10"])
    with RawServer(OK) as server:
        url = server.url(host="hooks.example.com")
        [exchange] = sent(policy, url)
        assert exchange.refused in ("not an IP address", "address with a zone")
        assert exchange.refused_address == answer
        assert server.connections == 0
        names["hooks.example.com"] = [answer, "127.0.0.1"]
        [exchange] = sent(policy, url)
        assert (exchange.status, exchange.refused) == (200, None)


@pytest.mark.parametrize("order", [["10.0.0.1", "127.0.0.1"], ["127.0.0.1", "10.0.0.1"]])
def test_fine_address_is_used_beside_refused_ones(names: Names, order: list[str]) -> None:
    names["hooks.example.com"] = [*order, "fd00::1"]
    with RawServer(OK) as server:
        started = time.monotonic()
        # Half of the time would be what one address is given before the next one is tried.
        [exchange] = sent(LOOPBACK, server.url(host="hooks.example.com"), timeout=60.0)
        assert (exchange.status, exchange.refused) == (200, None)
        assert exchange.address == f"127.0.0.1:{server.port}"
        assert time.monotonic() - started < 10


def test_failure_of_a_fine_address_is_no_refusal(names: Names) -> None:
    with RawServer(OK) as server:
        url = server.url(host="hooks.example.com")
    names["hooks.example.com"] = ["10.0.0.1", "127.0.0.1", "10.0.0.2"]
    [exchange] = sent(LOOPBACK, url)
    assert exchange.error
    assert (exchange.refused, exchange.refused_address) == (None, None)
    assert exchange.address == f"127.0.0.1:{server.port}"
    assert (exchange.status, exchange.connected) == (None, False)


def test_flood_of_addresses_does_not_keep_the_others_waiting(names: Names) -> None:
    flood = [f"10.{number >> 8}.{number & 255}.1" for number in range(4000)]
    names["hooks.example.com"] = flood
    started = time.monotonic()
    [exchange] = sent(DEFAULT, "http://hooks.example.com/")
    assert exchange.refused == "private network"
    assert time.monotonic() - started < 1


def test_flood_of_addresses_that_are_fine_is_tried_within_bounds(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    names["hooks.example.com"] = [f"127.1.{number >> 8}.{number & 255}" for number in range(4000)]
    opened: list[str] = []
    real = transfer.open_socket

    def open_socket(address: Any) -> socket.socket:
        opened.append(address.addr[0])
        return real(address)

    monkeypatch.setattr(transfer, "open_socket", open_socket)
    with RawServer(OK) as server:
        url = server.url(host="hooks.example.com")
    started = time.monotonic()
    [exchange] = sent(LOOPBACK, url)
    assert exchange.error
    assert opened == names["hooks.example.com"][:MAX_ADDRESSES]
    assert time.monotonic() - started < 2


def test_dns_without_an_answer_is_an_ordinary_failure(names: Names) -> None:
    names["empty.example.com"] = []
    names["closed.example.com"] = ["127.0.0.1"]
    with RawServer(OK) as server:
        port = server.port
    urls = [f"http://{name}.example.com:{port}/" for name in ("empty", "unknown", "closed")]
    empty, unknown, closed = sent(LOOPBACK, *urls)
    for exchange in (empty, unknown):
        assert isinstance(exchange.lookup_error, socket.gaierror)
        assert exchange.no_names is False
        assert has_no_connection(exchange)
    assert closed.lookup_error is None
    assert closed.error
    assert [item.refused for item in (empty, unknown, closed)] == [None, None, None]


def test_kept_alive_connection_is_reused_and_its_peer_recorded(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "FRESH", 60.0)
    names["hooks.example.com"] = ["127.0.0.1"]
    with RawServer(OK) as server, closing(Client(LOOPBACK, MAX_BODY)) as client:
        url = server.url(host="hooks.example.com")
        first = post(client, url)
        names["hooks.example.com"] = ["10.0.0.1"]
        second = post(client, url)
        assert second.status == 200
        assert (first.reused, second.reused) == (False, True)
        assert first.address == second.address == f"127.0.0.1:{server.port}"
        assert (first.looked_up, second.looked_up) == (True, False)
        assert {"dns", "connect"} <= first.timings.keys()
        assert not {"dns", "connect"} & second.timings.keys()
        assert server.connections == 1


def test_handle_that_is_used_again_tells_of_the_last_request_only() -> None:
    with RawServer(OK) as server:
        first, second, third = sent(LOOPBACK, server.url(), "http://10.0.0.1/", server.url())
        assert (first.status, first.body) == (200, b"ok")
        assert (second.refused, second.refused_address) == ("private network", "10.0.0.1")
        assert has_no_connection(second)
        assert (third.status, third.body, third.refused, third.error) == (200, b"ok", None, 0)


def test_requests_at_the_same_time_keep_their_own_records(names: Names) -> None:
    names["inside.example.com"] = ["172.16.0.1"]
    led = {"127.0.0.1": None, "10.0.0.1": "10.0.0.1", "inside.example.com": "172.16.0.1"}
    hosts = [*led] * 10
    with RawServer(OK) as server, closing(Client(LOOPBACK, MAX_BODY)) as client:
        exchanges = perform(client, *(request(server.url(host=host)) for host in hosts))
        for host, exchange in zip(hosts, exchanges, strict=True):
            assert exchange.refused_address == led[host]
            assert (exchange.address is None) is (led[host] is not None)
        assert len(server.requests) == 10
