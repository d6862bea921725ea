"""The network policy: the machine's own addresses, denied networks, and ports."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest
from flask import Flask

from flask_webhooks import actions
from flask_webhooks.app_state import state_of
from flask_webhooks.config import Settings
from flask_webhooks.errors import BlockedAddress, ConfigurationError
from flask_webhooks.security.addresses import LOOPBACK, SERVICE_PORTS, NetworkPolicy, is_own
from flask_webhooks.security.urls import check_url
from tests.support.delivering import attempts, drain, emit
from tests.support.helpers import accessing, add_endpoint
from tests.support.receiver import Receiver

PUBLIC = "8.8.8.8"


def own_address() -> str:
    """The address that this machine speaks from; only loopback where it has no network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((PUBLIC, 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def hosted_at(*addresses: str, **fields: Any) -> NetworkPolicy:
    """The policy of a machine with these addresses."""
    own = {ip_address(address) for address in addresses}
    return NetworkPolicy(is_own=own.__contains__, **fields)


def test_an_interface_of_this_machine_is_recognised() -> None:
    assert is_own(ip_address(own_address()))
    assert is_own(IPv4Address("127.0.0.1"))
    assert not is_own(IPv4Address(PUBLIC))
    assert not is_own(IPv6Address("2001:4860:4860::8888"))


def test_an_interface_of_this_machine_is_recognised_where_sockets_bind_anywhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flask_webhooks.security.addresses._binds_anything", lambda: True)
    assert is_own(ip_address(own_address()))
    assert not is_own(IPv4Address(PUBLIC))


def test_the_machines_own_public_address_is_refused() -> None:
    policy = hosted_at(PUBLIC, "2001:4860:4860::8888")
    assert policy.refusal(PUBLIC) == "address of this server"
    assert policy.refusal(f"::ffff:{PUBLIC}") == "address of this server"
    assert policy.refusal("2001:4860:4860::8888") == "address of this server"
    assert policy.refusal("8.8.4.4") is None
    with pytest.raises(BlockedAddress, match="address of this server"):
        check_url(f"https://{PUBLIC}/", policy=policy, require_https=True)


def test_the_machines_own_private_address_is_allowed_by_itself_only() -> None:
    wide = NetworkPolicy.from_config(["10.0.0.0/8", "64:ff9b::/96"])
    policy = hosted_at("10.0.0.5", PUBLIC, allowed_networks=wide.allowed_networks)
    assert policy.refusal("10.0.0.5") == "address of this server"
    assert policy.refusal("10.0.0.6") is None
    assert policy.refusal(f"64:ff9b::{PUBLIC}") == "address of this server"
    alone = NetworkPolicy.from_config(["10.0.0.0/8", "10.0.0.5/32"])
    assert (
        hosted_at("10.0.0.5", allowed_networks=alone.allowed_networks).refusal("10.0.0.5") is None
    )
    assert hosted_at("127.0.0.1", allowed_networks=LOOPBACK).refusal("127.0.0.1") is None


def test_denied_networks_are_refused_whatever_is_allowed() -> None:
    policy = NetworkPolicy.from_config(
        ["10.0.0.0/8", "64:ff9b::/96"], ["10.1.0.0/16", "8.8.8.0/24", "2001:4860::/32"]
    )
    for address in (
        "10.1.2.3",
        PUBLIC,
        f"::ffff:{PUBLIC}",
        f"64:ff9b::{PUBLIC}",
        "2001:4860:4860::8888",
    ):
        assert policy.refusal(address) == "network that the operator denies", address
    assert policy.refusal("10.2.0.1") is None
    assert policy.refusal("1.1.1.1") is None


@pytest.mark.parametrize(
    ("port", "passes"),
    [
        *(
            (port, True)
            for port in (80, 443, 1024, 3000, 5000, 8000, 8080, 8443, 9000, 40000, 65535)
        ),
        *((port, False) for port in (1, 22, 25, 53, 81, 442, 1023)),
        *((port, False) for port in (2375, 3306, 5432, 6379, 9200, 11211, 27017)),
    ],
)
def test_ports_of_web_servers_are_reached(port: int, passes: bool) -> None:
    policy = NetworkPolicy()
    assert (policy.port_refusal(port) is None) is passes
    assert NetworkPolicy(allowed_ports=frozenset({port})).port_refusal(port) is None
    url = f"https://example.com:{port}/"
    if passes:
        assert check_url(url, policy=policy, require_https=True)
    else:
        with pytest.raises(BlockedAddress, match=rf"port {port} .*WEBHOOKS_ALLOWED_PORTS"):
            check_url(url, policy=policy, require_https=True)


def test_no_service_port_is_one_that_systems_hand_out() -> None:
    # Linux hands out ports from 32768 up; receivers of tests and demos listen there.
    assert all(port < 32768 or port == 33060 for port in SERVICE_PORTS)


def test_settings_make_the_policy() -> None:
    policy = Settings.from_config(
        {
            "WEBHOOKS_ALLOWED_NETWORKS": ["10.0.0.0/8"],
            "WEBHOOKS_DENIED_NETWORKS": ["10.0.0.0/16"],
            "WEBHOOKS_ALLOWED_PORTS": [6379],
        }
    ).network_policy()
    assert policy.refusal("10.0.0.1") is not None
    assert policy.refusal("10.1.0.1") is None
    assert policy.port_refusal(6379) is None


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("DENIED_NETWORKS", "10.0.0.0/8", "WEBHOOKS_DENIED_NETWORKS must be a list"),
        ("DENIED_NETWORKS", ["10.0.0.1/8"], "WEBHOOKS_DENIED_NETWORKS.*Write 10.0.0.0/8"),
        ("ALLOWED_PORTS", 6379, "must be a list of ports"),
        ("ALLOWED_PORTS", "6379", "must be a list of ports"),
        ("ALLOWED_PORTS", [0], "from 1 to 65535"),
        ("ALLOWED_PORTS", ["6379"], "from 1 to 65535"),
    ],
)
def test_a_bad_setting_says_what_to_write(key: str, value: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        Settings.from_config({f"WEBHOOKS_{key}": value})


def test_ports_and_own_addresses_are_refused_at_the_socket(app: Flask, receiver: Receiver) -> None:
    """Whatever stands in the database: it was saved under other settings, or a name leads there."""
    state = state_of(app)
    endpoint = add_endpoint(app, receiver.url("/status/204"))
    state.policy = hosted_at(allowed_networks=LOOPBACK, allowed_ports=frozenset({6379}))
    refused_port = add_endpoint(app, "http://127.0.0.1:6379/")
    own = add_endpoint(app, f"http://{PUBLIC}:8080/")
    state.policy = hosted_at(PUBLIC, allowed_networks=LOOPBACK)
    emit(app)
    drain(app)
    errors = {attempt.endpoint_id: (attempt.outcome, attempt.error) for attempt in attempts(app)}
    assert errors[endpoint.id] == ("succeeded", None)
    assert errors[refused_port.id] == (
        "blocked",
        "The address is not allowed: port of a well-known service.",
    )
    assert errors[own.id] == ("blocked", "The address is not allowed: address of this server.")


def test_a_port_that_is_refused_cannot_be_saved(app: Flask) -> None:
    with pytest.raises(BlockedAddress, match="port 6379"):
        actions.create_endpoint(accessing(app), "http://127.0.0.1:6379/")
