"""Count consecutive webhooks that have led to a request, to break loops through the host.

Each request has a header ``webhook-hop`` with the count, the time and a signature. The signature covers the tenant
of the endpoint, which is not in the header: a receiver that repeats the header elsewhere can only stop webhooks of
its own tenant.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from flask import has_request_context, request

from .vault import Vault

HEADER = "webhook-hop"
#: Seconds for which a header is valid, which allows for long requests and different clocks.
VALID_FOR = 600.0
_MAX_LENGTH = 100


@dataclass(frozen=True, slots=True)
class Hop:
    """The content of the header."""

    #: The number of consecutive webhooks, including this one.
    count: int
    #: The tenant of the endpoint whose webhook this is; ``None`` is the whole server.
    tenant: str | None


def header_value(vault: Vault, count: int, tenant: str | None, now: float) -> str:
    """Return the header of a request to an endpoint of a tenant.

    :param count: consecutive webhooks, including this one.
    :param now: Unix time.
    """
    said = f"{count}.{int(now)}"
    return f"{said}.{vault.mac(_signed(said, tenant))}"


def read_value(vault: Vault, value: str, tenant: str | None, now: float) -> Hop | None:
    """Parse a header of a webhook that can lead to an event of this tenant.

    :return: ``None`` if it is too old, or signed for another tenant, or by another installation.
    """
    said, _, mac = value.rpartition(".")
    count, _, moment = said.partition(".")
    if len(value) > _MAX_LENGTH or not (_is_number(count) and _is_number(moment)):
        return None
    if abs(now - int(moment)) > VALID_FOR:
        return None
    for owner in dict.fromkeys((None, tenant)):
        if vault.has_made(mac, _signed(said, owner)):
            return Hop(int(count), owner)
    return None


def current_hop(vault: Vault, tenant: str | None) -> Hop | None:
    """Return the content of the header of the current Flask request, for an event of a tenant; ``None`` if it is
    not our webhook.
    """
    if not has_request_context():
        return None
    value = request.headers.get(HEADER)
    return None if value is None else read_value(vault, value, tenant, time.time())


def _signed(said: str, tenant: str | None) -> str:
    return f"hop\0{said}\0" + ("" if tenant is None else f"={tenant}")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()
