"""Encrypted columns: secrets, custom headers and secret URLs of endpoints; bodies of attempts.

`Task.input_sealed` is another one, which is only set for a short time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from .access import Access
from .app_state import AllTenants, AppState
from .security.vault import Sealed


@dataclass(frozen=True, slots=True)
class EncryptedValues:
    """The encrypted values of one endpoint, by the names of the columns."""

    endpoint_id: str
    values: dict[str, Sealed]

    def outdated(self, state: AppState) -> dict[str, Sealed]:
        """Values that the newest key does not decrypt."""
        return {
            name: value for name, value in self.values.items() if state.vault.needs_old_key(value)
        }


def encrypted_values(
    session: Session, access: Access, after: str, limit: int
) -> list[EncryptedValues]:
    """Return the encrypted values of the next endpoints in scope, in the order of ids. One statement.

    :param after: the id of the previous one; empty at the start.
    """
    table = access.state.models.Endpoint
    columns = (
        table.url_sealed,
        table.secrets_sealed,
        table.headers_sealed,
        table.certificate_sealed,
    )
    query = (
        sa.select(table.id, *columns)
        .where(
            table.id > after,
            access.scope(table.tenant),
            sa.or_(*(column.is_not(None) for column in columns)),
        )
        .order_by(table.id)
        .limit(limit)
    )
    return [
        EncryptedValues(
            endpoint_id,
            {
                column.key: value
                for column, value in zip(columns, values, strict=True)
                if value is not None
            },
        )
        for endpoint_id, *values in session.execute(query)
    ]


#: The encrypted columns of an attempt.
BODIES = ("request_body", "response_body")


def old_body_keys(session: Session, access: Access) -> dict[str, int]:
    """Return the numbers of attempts by the fingerprints of older keys of their bodies.

    Attempts belong to all tenants, so the result is empty without access to all of them.
    """
    if not isinstance(access.tenant, AllTenants):
        return {}
    key = access.state.table("Attempt").c.body_key
    found: dict[str, int] = {}
    last = ""
    # A skip scan of the index: there are few keys.
    while True:
        next_one = sa.select(key).where(key > last).order_by(key).limit(1)
        last = session.scalar(next_one) or ""
        if not last:
            return found
        if last != access.state.vault.bodies.newest:
            found[last] = session.scalar(sa.select(sa.func.count()).where(key == last)) or 0


def encrypted_bodies(
    session: Session, access: Access, key: str, after: tuple[str, int], limit: int
) -> list[Any]:
    """Return the next attempts whose bodies are encrypted with a key: their keys and `BODIES`. One statement.
    :param after: the delivery and the number of the previous one.
    """
    attempt = access.state.table("Attempt").c
    query = (
        sa.select(attempt.delivery_id, attempt.number, *(attempt[name] for name in BODIES))
        .where(
            attempt.body_key == key,
            attempt.delivery_id >= after[0],
            sa.or_(attempt.delivery_id > after[0], attempt.number > after[1]),
        )
        .order_by(attempt.delivery_id, attempt.number)
        .limit(limit)
    )
    return list(session.execute(query))
