"""A worker that numbers deliveries, and one whose claims do not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from flask_webhooks.delivery.claim import claim, due_query, lease

#: The first is measured, and the second is what it is compared with.
MODES = ("numbered", "unnumbered")

#: Where the claim calls what numbers.
_claim: Any = claim
_lease: Any = lease
_due_query: Any = due_query


def install(mode: str) -> None:
    """Set the mode of this process."""
    if mode == "unnumbered":
        _claim.plan_numbers = _none
        _claim.save_numbers = _none
        _lease.number_of = lambda state, column: sa.cast(sa.null(), sa.BigInteger())
        _lease.numbers_parameter = _none
        _due_query._UNNUMBERED = "0 AS unnumbered"


def _none(*arguments: object) -> Mapping[str, Any]:
    return {}
