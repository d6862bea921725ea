"""Entries of workers in the audit log."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from .. import ids
from ..app_state import AppState
from ..audit import cut_values

#: The actor of automatic actions, as shown in the audit log and next to states.
ACTOR = "Flask-Webhooks"


def add_entry(
    state: AppState, connection: sa.Connection, action: str, *, actor: str = ACTOR, **values: Any
) -> None:
    """Add an entry within the transaction of the change.

    :param values: further columns.
    """
    if "changes" in values:
        values["changes"] = cut_values(values["changes"])
    connection.execute(
        sa.insert(state.table("Activity")).values(
            id=ids.new_id("act"), actor=actor, action=action, **values
        )
    )
