"""The ledger of an endpoint: the event and the state of each number."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from .. import ids
from ..access import Access, find_endpoint
from ..db.transactions import database_time
from ..errors import InvalidInput
from ..formats.standard import StandardSigned
from ..security.signing import live_secrets, sign_by_secrets

#: The maximum number of entries of a page.
MAX_NUMBERS: Final = 1_000
#: The largest integer in databases.
_LARGEST: Final = 2**63 - 1
#: The state of a number whose delivery was removed by retention, or with its event.
REMOVED: Final = "removed"


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A number with its delivery. If this was removed, everything except the number and the state is ``None``."""

    sequence: int
    #: A `DeliveryState`, or `REMOVED`.
    state: str
    reason: str | None = None
    event_id: str | None = None
    event_type: str | None = None
    delivery_id: str | None = None
    attempt_count: int | None = None
    last_attempt_at: datetime | None = None
    completed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class LedgerPage:
    """Consecutive numbers of an endpoint in ascending order."""

    endpoint_id: str
    #: The highest assigned number.
    last_sequence: int
    items: list[LedgerEntry]
    #: The next number; ``None`` if all requested numbers are included.
    next_from: int | None


def get_ledger(
    access: Access, endpoint_id: str, first: int = 1, last: int | None = None
) -> LedgerPage:
    """Return the entries of the numbers from `first` to `last`, at most `MAX_NUMBERS`.

    :param last: by default, and at most, the highest assigned number.
    :raises NotFound: there is no such endpoint in scope.
    :raises InvalidInput: a number is invalid; `field` names it.
    :raises Forbidden: not allowed to ``view`` it.
    """
    _check_number(first, "from")
    if last is not None:
        _check_number(last, "to")
        if last < first:
            raise InvalidInput("to must not be less than from.", field="to")
    access.require("view", find_endpoint(access, endpoint_id))
    health = access.state.models.EndpointHealth
    with access.read() as session:
        # Read first: the deliveries of all numbers up to it were committed before, or with it.
        given_out = session.scalar(
            sa.select(health.last_sequence).where(health.endpoint_id == endpoint_id)
        )
        highest = given_out or 0
        wanted = highest if last is None else min(last, highest)
        end = min(wanted, first + MAX_NUMBERS - 1)
        known = _deliveries(session, access, endpoint_id, first, end)
    items = [
        known.get(sequence, LedgerEntry(sequence, REMOVED)) for sequence in range(first, end + 1)
    ]
    return LedgerPage(endpoint_id, highest, items, end + 1 if end < wanted else None)


def ledger_signature(access: Access, endpoint_id: str, body: bytes) -> dict[str, str]:
    """Return the headers that sign a response like webhooks of the endpoint; empty if these are not signed.

    :raises NotFound: there is no such endpoint in scope.
    :raises Forbidden: not allowed to ``view`` it.
    :raises UnreadableSecret: no configured key decrypts its secrets.
    """
    endpoint = find_endpoint(access, endpoint_id)
    access.require("view", endpoint)
    formats = access.state.formats
    if endpoint.secrets_sealed is None or endpoint.format not in formats:
        return {}
    if not isinstance(formats[endpoint.format], StandardSigned):
        return {}
    with access.read() as session:
        now = database_time(session).timestamp()
    stored = access.state.vault.decrypt(endpoint.secrets_sealed)
    secrets = [item["secret"] for item in live_secrets(stored, now)]
    message_id = ids.new_id("ledger")
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now)),
        "webhook-signature": sign_by_secrets(message_id, int(now), body, secrets),
    }


def no_ledger_number(field: str) -> InvalidInput:
    """Return the error for a value that is not the number of a delivery."""
    return InvalidInput(
        "%(name)s must be the number of a delivery: a whole number from 1 on.",
        name=field,
        field=field,
    )


def _check_number(number: Any, field: str) -> None:
    if type(number) is not int or not 1 <= number <= _LARGEST:
        raise no_ledger_number(field)


def _deliveries(
    session: Session, access: Access, endpoint_id: str, first: int, last: int
) -> dict[int, LedgerEntry]:
    delivery = access.state.models.Delivery
    rows: Iterable[Any] = session.execute(
        sa.select(
            delivery.sequence,
            delivery.state,
            delivery.reason,
            delivery.event_id,
            delivery.event_type,
            delivery.id,
            delivery.attempt_count,
            delivery.last_attempt_at,
            delivery.completed_at,
        ).where(delivery.endpoint_id == endpoint_id, delivery.sequence.between(first, last))
    )
    entries = (LedgerEntry(*row) for row in rows)
    return {entry.sequence: entry for entry in entries}
