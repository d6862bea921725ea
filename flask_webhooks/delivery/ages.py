"""How old events may become, by the settings: the one rule for all that removes them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from .. import ids
from ..app_state import AppState
from ..config import Settings
from ..models import AT_REST, DeliveryState

#: What makes an event a failed one, if one of its deliveries is in such a state.
FAILED = frozenset({DeliveryState.FAILED, DeliveryState.HELD})


@dataclass(frozen=True, slots=True)
class Ages:
    """Events from before these times are removed, but for those that are still owed."""

    #: Of events without a delivery that has failed or is held.
    succeeded: datetime
    #: Of the others.
    failed: datetime

    @property
    def newest(self) -> datetime:
        """The later one: what is newer is kept, whatever became of it."""
        return max(self.succeeded, self.failed)

    @property
    def oldest(self) -> datetime:
        """The earlier one: what is older is removed, whatever became of it."""
        return min(self.succeeded, self.failed)

    @property
    def differ(self) -> bool:
        return self.succeeded != self.failed

    def removable(self, state: AppState, event_id: Any) -> sa.ColumnElement[bool]:
        """The condition for the event of a row that is old enough, with no delivery still owed."""
        delivery = state.table("Delivery").c
        # 0, 1 or 2: settled, with a failure, still owed. Databases may answer EXISTS out of all deliveries there are.
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
        """Whether an event with no delivery still owed is old enough.

        :param failed: one of its deliveries is in a state of `FAILED`.
        """
        return event_id < self._bound(failed=failed)

    def _bound(self, *, failed: bool) -> str:
        return ids.lowest_id("evt", self.failed if failed else self.succeeded)


def ages_at(settings: Settings, now: datetime) -> Ages:
    """What is old now."""
    succeeded, failed = kept_days(settings)
    return Ages(now - timedelta(days=succeeded), now - timedelta(days=failed))


def ages_until(settings: Settings, newest: datetime) -> Ages:
    """What was old at the time when nothing newer than this was."""
    return ages_at(settings, newest + timedelta(days=min(kept_days(settings))))


def kept_days(settings: Settings) -> tuple[int, int]:
    """For how many days events are kept that have succeeded, and those that have failed."""
    days = settings.retention_days
    return settings.retention_succeeded_days or days, settings.retention_failed_days or days


def longest_kept(settings: Settings) -> timedelta:
    """For how long events are kept that are kept longest."""
    return timedelta(days=max(kept_days(settings)))
