"""Banners above every page: nobody delivers, or deliveries are late. From the database, not from Redis."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from ..access import Access
from ..errors import Forbidden
from ..queries import HealthReport, health
from ..state import AllTenants
from .display import duration
from .i18n import gettext as _
from .i18n import ngettext

#: Seconds without a sign of life after which a worker is taken for dead; our Worker gives one each sweep.
SILENCE = 30.0
#: Seconds that a delivery may be late before anybody needs to know, without and with a live worker.
LATE_WITHOUT_WORKER = 5.0
LATE = 60.0


@dataclass(frozen=True, slots=True)
class Banner:
    """One message. `tone` and `icon` are as in `wording.Status`."""

    tone: str
    icon: str
    title: str
    text: str = ""


def current(access: Access) -> list[Banner]:
    """The banners for this person; none for those who may not see everything in their scope."""
    try:
        report = health(access)
    except Forbidden:
        return []
    operator = isinstance(access.tenant, AllTenants)
    silence = max(SILENCE, 3 * access.state.settings.sweep_interval)
    return from_report(report, operator=operator, silence=silence)


def from_report(report: HealthReport, *, operator: bool, silence: float = SILENCE) -> list[Banner]:
    """Decide from what is known. Pure.

    :param operator: may know of workers, and can do something about them.
    """
    seen, now = report.last_seen_at, report.now
    alive = seen is not None and now - seen <= timedelta(seconds=silence)
    late = 0.0
    if report.oldest_due_at is not None:
        late = (now - report.oldest_due_at).total_seconds()
    if not operator:
        return [_delayed(report.due, late)] if late > LATE else []
    if alive:
        return [_overdue(report.due, late)] if late > LATE else []
    if late > LATE_WITHOUT_WORKER:
        return [_nobody_delivers(report.due, late)]
    return [_no_worker()]


def _delayed(due: int, late: float) -> Banner:
    return Banner("warn", "clock", _("Deliveries are delayed."), _waiting(due, late))


def _overdue(due: int, late: float) -> Banner:
    advice = _("If this goes on, start more workers.")
    return Banner("warn", "clock", _("Deliveries are late."), f"{_waiting(due, late)} {advice}")


def _nobody_delivers(due: int, late: float) -> Banner:
    advice = _("Start one with: flask webhooks worker")
    return Banner("bad", "alert", _("No worker is running."), f"{_waiting(due, late)} {advice}")


def _no_worker() -> Banner:
    return Banner(
        "wait",
        "info",
        _("No worker shows a sign of life."),
        _(
            "Nothing is due, so a plain rq worker may be idle. Otherwise start one with: flask webhooks worker"
        ),
    )


def _waiting(due: int, late: float) -> str:
    return ngettext(
        "%(num)s delivery is waiting, for %(time)s.",
        "%(num)s deliveries are waiting, the oldest for %(time)s.",
        due,
        time=duration(late),
    )
