"""Encrypted columns of endpoints: their secrets, custom headers and secret URLs."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from .access import Access
from .app_state import AppState
from .security.vault import Sealed


@dataclass(frozen=True, slots=True)
class EncryptedValues:
    """The encrypted values of one endpoint, by the names of the columns."""

    endpoint_id: str
    values: dict[str, Sealed]

    def outdated(self, state: AppState) -> dict[str, Sealed]:
        """Those that the newest key does not decrypt."""
        return {
            name: value for name, value in self.values.items() if state.vault.needs_old_key(value)
        }


def encrypted_values(
    session: Session, access: Access, after: str, limit: int
) -> list[EncryptedValues]:
    """The encrypted values of the next endpoints in scope, in the order of their ids. One statement.

    :param after: the id of the last one before them; empty to begin with.
    """
    table = access.state.models.Endpoint
    columns = (table.url_sealed, table.secrets_sealed, table.headers_sealed)
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
