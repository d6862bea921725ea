"""Where requests connect to, as the kernel sees it: nowhere but to what is allowed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path

import pytest

from flask_webhooks.security import addresses
from tests.support.helpers import missing
from tests.support.processes import ROOT
from tests.support.raw_server import RawServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

#: Where the receiver listens: the only address that is allowed.
HERE = "127.0.0.7"
NAME = "hooks.example.com"

#: A URL, the name in it, and what it leads to, request by request.
Case = tuple[str, str | None, list[list[str]]]

_CONNECT = re.compile(
    r"connect\(\d+, \{sa_family=AF_INET6?, .*?sin6?_port=htons\((\d+)\).*?"
    r'(?:inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)")'
)


def special() -> list[str]:
    """The first, the last and a middle address of every network of the registries, and each IPv4 one in IPv6."""
    found: list[str] = []
    for cidr, _ in (*addresses._SPECIAL_IPV4, *addresses._SPECIAL_IPV6):
        network = ip_network(cidr)
        middle = network[network.num_addresses // 3]
        for address in dict.fromkeys((network[0], middle, network[-1])):
            found.append(str(address))
            if isinstance(address, IPv4Address):
                found += [
                    str(IPv6Address(prefix | int(address) << shift)) for prefix, shift in INSIDE
                ]
    return found


#: Prefixes of IPv6 addresses that stand for one of IPv4, and where in them that is.
INSIDE = [
    (int(IPv6Address(prefix)), shift)
    for prefix, shift in {
        "::ffff:0:0": 0,  # mapped
        "::": 0,  # compatible
        "::ffff:0:0:0": 0,  # translated
        "64:ff9b::": 0,  # NAT64
        "64:ff9b:1::": 0,
        "2002::": 80,  # 6to4
        "2001::": 0,  # Teredo
    }.items()
]

ODD = [
    "0x7f.1",
    "127.1",
    "2130706433",
    "017700000001",
    "0",
    "0x0a000001",
    "[::1%25lo]",
    "[fe80::1%25eth0]",
    "\u2460\u2461\u2466.\u24ea.\u24ea.\u2460",
    "localhost",
    "127.0.0.1.",
    "[::ffff:127.0.0.1]",
]


def cases(port: int, inside: int) -> list[Case]:
    found: list[Case] = [(f"http://{HERE}:{port}/", None, [])]
    for address in special():
        host = f"[{address}]" if ":" in address else address
        for target in (port, inside):
            found.append((f"http://{host}:{target}/", None, []))
        found.append(
            (f"http://{NAME}:{port}/", NAME, [[address], [HERE, address], [HERE], [address]])
        )
    for host in ODD:
        found.append((f"http://{host}:{inside}/", None, []))
    return found


def watched(tmp_path: Path, asked: dict[str, object]) -> tuple[list[str | int], set[str]]:
    """Send requests under strace; returns what became of them, and every address that was connected to."""
    if shutil.which("strace") is None:
        missing("strace is not installed", "REQUIRE_STRACE")
    log = tmp_path / "connects"
    command = ["strace", "-f", "-qq", "-e", "trace=connect", "-o", str(log)]
    done = subprocess.run(
        [*command, sys.executable, "-m", "tests.support.reaching"],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "http_proxy": "http://127.0.0.1:9"},
        check=False,
    )
    if "ptrace" in done.stderr:
        pytest.skip("this machine lets no process watch another: strace cannot trace")
    assert done.returncode == 0, done.stderr
    reached = {f"{ipv4 or ipv6}:{port}" for port, ipv4, ipv6 in _CONNECT.findall(log.read_text())}
    return json.loads(done.stdout), reached


def test_kernel_sees_connections_to_what_is_allowed_only(tmp_path: Path) -> None:
    """The registries' networks, IPv4 inside IPv6, odd literals, names that change their mind, redirects."""
    moved = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n"
    with RawServer(moved, address=HERE) as server, RawServer(moved) as inside:
        asked = cases(server.port, inside.port)
        results, reached = watched(tmp_path, {"allowed": [f"{HERE}/32"], "cases": asked})
        assert inside.connections == 0
    assert len(asked) > 500
    assert results[0] == 302
    assert results.count(302) == 1 + 2 * len(special())
    assert reached == {f"{HERE}:{server.port}"}


def test_whatever_is_connected_to_is_seen(tmp_path: Path) -> None:
    """Or the test above could not fail."""
    asked: list[Case] = [(f"http://{host}:40009/", None, []) for host in ("127.0.0.1", "[::1]")]
    _, reached = watched(tmp_path, {"allowed": ["127.0.0.0/8", "::1"], "cases": asked})
    assert reached == {"127.0.0.1:40009", "::1:40009"}
