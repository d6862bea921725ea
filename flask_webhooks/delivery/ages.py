"""The retention times of events: the common rule for all code that removes them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from .. import ids
from ..app_state import AppState
from ..config import Settings
from ..models import AT_REST, DeliveryState

#: An event counts as failed if one of its deliveries is in one of these states.
FAILED = frozenset({DeliveryState.FAILED, DeliveryState.HELD})


@dataclass(frozen=True, slots=True)
class Ages:
    """Events from before these times are removed, except those with undelivered deliveries."""

    #: For events without failed or held deliveries.
    succeeded: datetime
    #: For other events.
    failed: datetime

    @property
    def newest(self) -> datetime:
        """The later time: all newer events are kept."""
        return max(self.succeeded, self.failed)

    @property
    def oldest(self) -> datetime:
        """The earlier time: all older events without undelivered deliveries are removed."""
        return min(self.succeeded, self.failed)

    @property
    def differ(self) -> bool:
        return self.succeeded != self.failed

    def removable(self, state: AppState, event_id: Any) -> sa.ColumnElement[bool]:
        """Return the condition for an old enough event without undelivered deliveries."""
        delivery = state.table("Delivery").c
        # 0, 1 or 2: settled, with a failure, undelivered. Databases may evaluate EXISTS by reading all deliveries.
        rank = sa.case(
            (delivery.state.in_(sorted(FAILED)), 1),
            (delivery.state.in_(sorted(AT_REST)), 0),
            else_=2,
        )
        worst: sa.ScalarSelect[int] = (
            sa.select(sa.func.coalesce(sa.func.max(rank), 0))
            .where(delivery.event_id == event_id)
            .scalar_subquery()
        )
        bounds = {0: self._bound(failed=False), 1: self._bound(failed=True)}
        condition: sa.ColumnElement[bool] = event_id < sa.case(bounds, value=worst, else_="")
        return condition

    def passed(self, event_id: str, *, failed: bool) -> bool:
        """Return whether an event without undelivered deliveries is old enough.

        :param failed: one of its deliveries is in a state of `FAILED`.
        """
        return event_id < self._bound(failed=failed)

    def _bound(self, *, failed: bool) -> str:
        return ids.lowest_id("evt", self.failed if failed else self.succeeded)


def ages_at(settings: Settings, now: datetime) -> Ages:
    """Return the current ages."""
    succeeded, failed = kept_days(settings)
    return Ages(now - timedelta(days=succeeded), now - timedelta(days=failed))


def ages_until(settings: Settings, newest: datetime) -> Ages:
    """Return the ages of the time at which nothing newer than this was old."""
    return ages_at(settings, newest + timedelta(days=min(kept_days(settings))))


def kept_days(settings: Settings) -> tuple[int, int]:
    """Return the retention times of successful and of failed events in days."""
    days = settings.retention_days
    return settings.retention_succeeded_days or days, settings.retention_failed_days or days


def longest_kept(settings: Settings) -> timedelta:
    """Return the longer of the two retention times."""
    return timedelta(days=max(kept_days(settings)))
