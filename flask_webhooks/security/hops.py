"""Count how many webhooks in a row have led to a request, so that a loop through the host comes to an end.

Each request of ours carries ``webhook-hop``: the count, the time and a signature. The signature covers the tenant of
the endpoint, which is not in the header: a receiver that repeats the header elsewhere can stop its own tenant's
webhooks with it, and no one else's.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from flask import has_request_context, request

from .vault import Vault

HEADER = "webhook-hop"
#: Seconds for which a header counts: as long as a request may take, and clocks may differ.
VALID_FOR = 600.0
_MAX_LENGTH = 100


@dataclass(frozen=True, slots=True)
class Hop:
    """What the header of a request says."""

    #: Webhooks in a row, this one included.
    count: int
    #: The tenant of the endpoint whose webhook this is; ``None`` is the whole server.
    tenant: str | None


def header_value(vault: Vault, count: int, tenant: str | None, now: float) -> str:
    """The header of a request to an endpoint of a tenant.

    :param count: webhooks in a row, this one included.
    :param now: Unix time.
    """
    said = f"{count}.{int(now)}"
    return f"{said}.{vault.mac(_signed(said, tenant))}"


def read_value(vault: Vault, value: str, tenant: str | None, now: float) -> Hop | None:
    """Read a header, if it is of a webhook to an endpoint that can lead to an event of this tenant.

    :return: ``None`` when it is too old, or signed for another tenant, or by another installation.
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
    """What the current Flask request says, for an event of a tenant; ``None`` where it is no webhook of ours."""
    if not has_request_context():
        return None
    value = request.headers.get(HEADER)
    return None if value is None else read_value(vault, value, tenant, time.time())


def _signed(said: str, tenant: str | None) -> str:
    return f"hop\0{said}\0" + ("" if tenant is None else f"={tenant}")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()
