"""What our own workers write into the audit log."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from .. import ids
from ..app_state import AppState
from ..audit import cut_values

#: The actor of what Flask-Webhooks does by itself, as shown in the audit log and beside states.
ACTOR = "Flask-Webhooks"


def add_entry(
    state: AppState, connection: sa.Connection, action: str, *, actor: str = ACTOR, **values: Any
) -> None:
    """Add an entry, within the transaction of what it tells.

    :param values: further columns.
    """
    if "changes" in values:
        values["changes"] = cut_values(values["changes"])
    connection.execute(
        sa.insert(state.table("Activity")).values(
            id=ids.new_id("act"), actor=actor, action=action, **values
        )
    )
