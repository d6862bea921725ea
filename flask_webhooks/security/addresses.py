"""The IP addresses to which webhooks may be sent.

Endpoints' URLs come from customers, who must not be able to make the server talk to itself, to its neighbours or
to a cloud's metadata service (server-side request forgery). :class:`NetworkPolicy` checks concrete addresses;
`delivery.http.transfer` uses it before every connection.

Long, since it holds the registries of special addresses.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from ..errors import ConfigurationError
from ..texts import Text

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: Unicast that is no host on the internet: IANA's IPv4 Special-Purpose Address Registry, also where
#: it says "globally reachable" (shared anycast services; no receiver lives there), and two services
#: of clouds. The most specific comes first.
_SPECIAL_IPV4 = (
    ("169.254.169.254/32", "cloud metadata service"),
    ("168.63.129.16/32", "cloud metadata service"),  # Azure's WireServer, a public address
    ("255.255.255.255/32", "broadcast address"),
    ("0.0.0.0/32", "unspecified address"),
    ("0.0.0.0/8", "this network"),
    ("10.0.0.0/8", "private network"),
    ("100.64.0.0/10", "shared address space of a provider (CGNAT)"),
    ("127.0.0.0/8", "loopback address"),
    ("169.254.0.0/16", "link-local address"),
    ("172.16.0.0/12", "private network"),
    ("192.0.0.0/24", "IETF protocol assignment"),
    ("192.0.2.0/24", "documentation address"),
    ("192.31.196.0/24", "anycast service"),
    ("192.52.193.0/24", "anycast service"),
    ("192.88.99.0/24", "6to4 relay"),
    ("192.168.0.0/16", "private network"),
    ("192.175.48.0/24", "anycast service"),
    ("198.18.0.0/15", "benchmarking network"),
    ("198.51.100.0/24", "documentation address"),
    ("203.0.113.0/24", "documentation address"),
    ("224.0.0.0/4", "multicast address"),
    ("240.0.0.0/4", "reserved address"),
)

#: IANA's IPv6 Special-Purpose Address Registry and IPv6 Address Space. NAT64, 6to4 and Teredo are
#: refused whatever IPv4 address is inside: a gateway that we do not know decides where they lead,
#: and a receiver that has a public IPv4 address can be reached by it.
_SPECIAL_IPV6 = (
    ("::/128", "unspecified address"),
    ("::1/128", "loopback address"),
    ("::/96", "IPv4-compatible address"),
    ("::ffff:0:0:0/96", "IPv4-translated address"),
    ("64:ff9b::/96", "NAT64 address, stands for an IPv4 address"),
    ("64:ff9b:1::/48", "NAT64 address, stands for an IPv4 address"),
    ("100::/64", "discard-only address"),
    ("2001::/32", "Teredo address, stands for an IPv4 address"),
    ("2001:2::/48", "benchmarking network"),
    ("2001:10::/28", "ORCHID, not a network address"),
    ("2001:20::/28", "ORCHID, not a network address"),
    ("2001::/23", "IETF protocol assignment"),
    ("2001:db8::/32", "documentation address"),
    ("2002::/16", "6to4 address, stands for an IPv4 address"),
    ("2620:4f:8000::/48", "anycast service"),
    ("3ffe::/16", "6bone address, no longer in use"),
    ("3fff::/20", "documentation address"),
    ("5f00::/16", "segment identifier (SRv6)"),
    ("fc00::/7", "private network"),
    ("fe80::/10", "link-local address"),
    ("fec0::/10", "site-local address"),
    ("ff00::/8", "multicast address"),
)

#: Ports from 1024 up where services listen that are no web servers: databases, caches, queues, remote control.
#: Some of them do what a line of text says, whatever the protocol.
SERVICE_PORTS = frozenset(
    {
        *(
            1080,
            1099,
            1433,
            1434,
            1521,
            1723,
            1883,
            2049,
            2181,
            2375,
            2376,
            2379,
            2380,
            3128,
            3268,
            3269,
        ),
        *(
            3306,
            3389,
            3690,
            4369,
            4444,
            4505,
            4506,
            5060,
            5061,
            5432,
            5433,
            5601,
            5671,
            5672,
            5900,
            5901,
        ),
        *(
            5902,
            5903,
            5984,
            5985,
            5986,
            6000,
            6001,
            6379,
            6380,
            6432,
            6443,
            6660,
            6661,
            6662,
            6663,
            6664,
        ),
        *(
            6665,
            6666,
            6667,
            6668,
            6669,
            6697,
            7199,
            7474,
            7687,
            8086,
            8125,
            8200,
            8300,
            8301,
            8302,
            8500,
        ),
        *(
            8600,
            9042,
            9092,
            9100,
            9160,
            9200,
            9300,
            10250,
            10255,
            10256,
            11211,
            15672,
            16379,
            25672,
            26257,
        ),
        *(26379, 27017, 27018, 27019, 28015, 28017, 29015, 33060),
    }
)
_WEB_PORTS = frozenset({80, 443})

_NAT64 = IPv6Network("64:ff9b::/96")
#: An address of a documentation block, which no machine on the internet has.
_UNASSIGNED = "203.0.113.1"
_MAPPED = IPv6Network("::ffff:0:0/96")
LOOPBACK: tuple[Network, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))


def _compiled(table: Iterable[tuple[str, str]]) -> tuple[tuple[int, int, str], ...]:
    networks = ((ipaddress.ip_network(cidr), reason) for cidr, reason in table)
    return tuple((int(net.netmask), int(net.network_address), reason) for net, reason in networks)


_SPECIAL = {4: _compiled(_SPECIAL_IPV4), 6: _compiled(_SPECIAL_IPV6)}


def is_own(address: Address) -> bool:
    """Return whether an address belongs to an interface of this machine, by binding a socket to it."""
    family = socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
        if not _binds_anything():
            return True
        # Nothing is sent. The machine uses the same source address for itself.
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), 9))
            return str(probe.getsockname()[0]) == str(address)
    except OSError:
        return False


def _binds_anything() -> bool:
    """Return whether the system can bind foreign addresses (``ip_nonlocal_bind``)."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((_UNASSIGNED, 0))
    except OSError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class NetworkPolicy:
    """The allowed addresses and ports: global unicast, web servers, and what the operator allows."""

    #: Allowed private networks.
    allowed_networks: tuple[Network, ...] = ()
    #: Networks that are always refused.
    denied_networks: tuple[Network, ...] = ()
    #: Allowed ports in addition to those of web servers.
    allowed_ports: frozenset[int] = frozenset()
    #: Whether an address is one of this machine's.
    is_own: Callable[[Address], bool] = field(default=is_own, compare=False, repr=False)

    @classmethod
    def from_config(
        cls,
        networks: Iterable[str],
        denied_networks: Iterable[str] = (),
        allowed_ports: Iterable[int] = (),
    ) -> NetworkPolicy:
        """Create the policy for ``WEBHOOKS_ALLOWED_NETWORKS``, ``WEBHOOKS_DENIED_NETWORKS`` and
        ``WEBHOOKS_ALLOWED_PORTS``.

        :raises ConfigurationError: one of the networks is not a CIDR.
        """
        return cls(
            _networks("WEBHOOKS_ALLOWED_NETWORKS", networks),
            _networks("WEBHOOKS_DENIED_NETWORKS", denied_networks),
            frozenset(allowed_ports),
        )

    def refusal(self, address: str | Address) -> str | None:
        """Return why this address is refused, or ``None`` if it is allowed.

        An IPv4-mapped address (RFC 4291, 2.5.5.2) is judged as the IPv4 address that the system
        would connect to, against the allowed networks too. An operator whose network is IPv6 only
        allows ``64:ff9b::/96``; the IPv4 address inside is then judged as such.

        An address of the machine's own interfaces is refused unless it is allowed by itself: services that
        listen on all interfaces would answer there, behind the back of the firewall.
        """
        if isinstance(address, str):
            try:
                address = ipaddress.ip_address(address)
            except ValueError:
                return Text("not an IP address")
        if isinstance(address, IPv6Address):
            if address.scope_id is not None and not address.is_link_local:
                return Text("address with a zone")
            address = address.ipv4_mapped or address
        if any(address in network for network in self.denied_networks):
            return Text("network that the operator denies")
        if any(address in network for network in self.allowed_networks):
            if address in _NAT64:
                return self.refusal(IPv4Address(int(address) & 0xFFFFFFFF))
        elif (reason := _special_purpose(address)) is not None:
            return reason
        alone = any(
            address in network and network.num_addresses == 1 for network in self.allowed_networks
        )
        if not alone and not address.is_loopback and self.is_own(address):
            return Text("address of this server")
        return None

    def port_refusal(self, port: int) -> str | None:
        """Return why this port is refused, or ``None`` if it is allowed."""
        if port in _WEB_PORTS or port in self.allowed_ports:
            return None
        if port < 1024:
            return Text("port of a system service")
        return Text("port of a well-known service") if port in SERVICE_PORTS else None


def _networks(key: str, networks: Iterable[str]) -> tuple[Network, ...]:
    if isinstance(networks, str):
        raise ConfigurationError(f'{key} must be a list: write ["{networks}"].')
    return tuple(_network(key, cidr) for cidr in networks)


def _network(key: str, cidr: str) -> Network:
    try:
        network = ipaddress.ip_network(cidr)
    except (ValueError, TypeError):
        raise ConfigurationError(f"{key}: {cidr!r} is not a network. {_suggestion(cidr)}") from None
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        start = IPv4Address(int(network.network_address) & 0xFFFFFFFF)
        return IPv4Network((start, network.prefixlen - _MAPPED.prefixlen))
    return network


def _suggestion(cidr: object) -> str:
    try:
        return f"Write {ipaddress.ip_network(str(cidr), strict=False)}."
    except ValueError:
        return "Write it like 10.0.0.0/8 or fd00::/8."


def _special_purpose(address: Address) -> str | None:
    value = int(address)
    for mask, start, reason in _SPECIAL[address.version]:
        if value & mask == start:
            return reason
    if isinstance(address, IPv6Address):
        # RFC 5214, 6.1: ISATAP's interface identifier, under any prefix.
        if (value >> 32) & 0xFDFFFFFF == 0x5EFE:
            return Text("ISATAP address, stands for an IPv4 address")
        # RFC 4291, 2.4 and IANA: the only block that global unicast is assigned from.
        if value >> 125 != 0b001:
            return Text("not a global unicast address")
    # A later Python may have registrations that are not in the tables above.
    return None if address.is_global else Text("not a global address")


def literal_address(host: str) -> Address | None:
    """Return the address in a URL's host, or ``None`` for a name.

    Accepts every spelling that a system's resolver accepts (``0x7f.1``, ``2130706433``, ``127.1``), by asking
    ``inet_aton`` itself. What counts as a number rather than a name is the URL Standard's "ends in a number
    checker".

    :raises ValueError: it is neither; ``1.2.3.4.5``, ``[::g]``.
    """
    if host.startswith("[") or ":" in host:
        return IPv6Address(host.removeprefix("[").removesuffix("]"))
    host = host.removesuffix(".")
    if not re.fullmatch(r"[0-9]+|0[xX][0-9a-fA-F]*", host.rpartition(".")[2]):
        return None
    try:
        return IPv4Address(socket.inet_aton(host))
    except OSError:
        raise ValueError(f"{host!r} is not an IP address") from None
