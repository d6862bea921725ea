"""Decrypted bodies of attempts, and reasons for missing ones."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from sqlalchemy.orm.attributes import set_committed_value

from ..app_state import AppState
from ..delivery.body_ages import body_days
from ..errors import UnreadableSecret
from ..models import Attempt, Event


class Missing(enum.StrEnum):
    """Why a body that was sent or received cannot be shown."""

    #: It was not recorded.
    NOT_KEPT = "not_kept"
    #: It was removed by retention.
    EXPIRED = "expired"
    #: The data of its event was erased.
    ERASED = "erased"
    #: No key decrypts it, or it was changed.
    UNREADABLE = "unreadable"


def readable(
    state: AppState, body: str | None, key: str | None, delivery_id: str, number: int, name: str
) -> str | None:
    """Return a body as it was sent or received.

    :param key: the attempt's `body_key`.
    :param name: of the column.
    :raises UnreadableSecret: it cannot be decrypted.
    """
    if body is None or key is None:
        return body
    return state.vault.bodies.decrypt(body, key, delivery_id, number, name)


def decrypt_bodies(state: AppState, attempts: Iterable[Attempt]) -> None:
    """Decrypt the bodies of attempts; `Attempt.missing` marks those that cannot be decrypted."""
    for attempt in attempts:
        for name in body_days(state.settings):
            body = getattr(attempt, name)
            place = (attempt.delivery_id, attempt.number, name)
            try:
                body = readable(state, body, attempt.body_key, *place)
            except UnreadableSecret:
                body = None
                attempt.missing[name] = Missing.UNREADABLE
            set_committed_value(attempt, name, body)


def explain_missing(state: AppState, event: Event, attempts: Iterable[Attempt]) -> None:
    """Set the reasons of missing bodies; see `Attempt.missing`."""
    now = datetime.now(UTC)
    days = body_days(state.settings)
    for attempt in attempts:
        for name, limit in days.items():
            if getattr(attempt, name) is not None or name in attempt.missing:
                continue
            if event.erased_at is not None:
                attempt.missing[name] = Missing.ERASED
            elif _existed(attempt, name):
                old = limit is not None and attempt.started_at < now - timedelta(days=limit)
                attempt.missing[name] = Missing.EXPIRED if old else Missing.NOT_KEPT


def _existed(attempt: Attempt, name: str) -> bool:
    if name == "response_body":
        return attempt.status is not None
    # Nothing is known about a request whose worker was lost.
    return attempt.request_headers is not None
