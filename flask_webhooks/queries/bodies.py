"""Bodies of attempts that are not there, and why."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from ..app_state import AppState
from ..delivery.body_ages import body_days
from ..models import Attempt, Event


class Missing(enum.StrEnum):
    """Why a body that was sent or received cannot be shown."""

    #: It was not recorded.
    NOT_KEPT = "not_kept"
    #: It was removed when it was old.
    EXPIRED = "expired"
    #: The data of its event was erased.
    ERASED = "erased"


def explain_missing(state: AppState, event: Event, attempts: Iterable[Attempt]) -> None:
    """Say of each body that is not there why; see `Attempt.missing`."""
    now = datetime.now(UTC)
    days = body_days(state.settings)
    for attempt in attempts:
        for name, limit in days.items():
            if getattr(attempt, name) is not None:
                continue
            if event.erased_at is not None:
                attempt.missing[name] = Missing.ERASED
            elif _existed(attempt, name):
                old = limit is not None and attempt.started_at < now - timedelta(days=limit)
                attempt.missing[name] = Missing.EXPIRED if old else Missing.NOT_KEPT


def _existed(attempt: Attempt, name: str) -> bool:
    if name == "response_body":
        return attempt.status is not None
    # Of a request whose worker went silent nothing is known.
    return attempt.request_headers is not None
