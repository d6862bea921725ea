"""Banners above every page: no worker delivers, deliveries are late, or Redis is in trouble."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from ..access import Access
from ..app_state import AllTenants
from ..delivery.settle.health import Hold
from ..errors import Forbidden
from ..queries import (
    MOST_COUNTED,
    Backlog,
    EngineReport,
    backlog,
    engine,
    silent_workers,
)
from ..queries.system import SILENCE as SILENCE
from ..queries.system import silence as silence
from ..wakeup.redis_trouble import RedisTrouble
from .display import count, duration
from .i18n import gettext as _
from .i18n import ngettext, translated
from .wording import hold_text

#: Seconds that a delivery may be late before a banner appears, without and with a live worker.
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
    """Return the banners for this person; none without access to everything in scope."""
    try:
        report = backlog(access)
    except Forbidden:
        return []
    limit = silence(access.state.settings.sweep_interval)
    return from_report(
        report,
        operator=isinstance(access.tenant, AllTenants),
        silence=limit,
        engine=_without_the_dead(access, report, limit),
    )


def _without_the_dead(access: Access, report: Backlog, limit: float) -> EngineReport | None:
    """Remove our own silent workers from the data of RQ, which lists a killed worker for minutes."""
    known = engine_of(access)
    if known is None or not known.names or _seen(report, limit):
        return known
    dead = silent_workers(access, known.names, report.now - timedelta(seconds=limit))
    return replace(known, workers=len(known.names - dead))


def engine_of(access: Access) -> EngineReport | None:
    """Return the data of RQ, for operators."""
    return engine(access) if isinstance(access.tenant, AllTenants) else None


def from_report(
    report: Backlog,
    *,
    operator: bool,
    silence: float = SILENCE,
    engine: EngineReport | None = None,
) -> list[Banner]:
    """Choose the banners."""
    banners = _of_workers(report, operator, silence, engine)
    if operator and report.trouble is not None:
        banners.append(_trouble(report.trouble))
    if engine is None:
        return banners
    if engine.trouble is not None:
        banners.append(_of_redis(engine.trouble))
    if engine.suspended:
        banners.append(_suspended(engine.queue))
    # Our worker looks for due retries itself, and starts a scheduler as soon as RQ allows it.
    if engine.workers and not engine.scheduler and not _seen(report, silence):
        banners.append(_no_scheduler())
    return banners


def _seen(report: Backlog, silence: float) -> bool:
    """Return whether a worker has sent a heartbeat recently."""
    seen = report.alive_at
    return seen is not None and report.now - seen <= timedelta(seconds=silence)


def _refused(engine: EngineReport | None) -> bool:
    return engine is not None and engine.trouble is not None and engine.trouble.answered


def _of_workers(
    report: Backlog, operator: bool, silence: float, engine: EngineReport | None
) -> list[Banner]:
    # A plain rq worker sends heartbeats only while it delivers, but RQ lists it.
    alive = _seen(report, silence) or (engine is not None and engine.workers > 0)
    if operator and not alive and _refused(engine):
        # Another worker would be refused, too.
        return []
    late = 0.0
    if report.oldest_due_at is not None:
        late = (report.now - report.oldest_due_at).total_seconds()
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
    advice = _("If this continues, start more workers.")
    return Banner("warn", "clock", _("Deliveries are late."), f"{_waiting(due, late)} {advice}")


def _nobody_delivers(due: int, late: float) -> Banner:
    advice = _("Start one with: flask webhooks worker")
    return Banner("bad", "alert", _("No worker is running."), f"{_waiting(due, late)} {advice}")


def _no_worker() -> Banner:
    return Banner(
        "wait",
        "info",
        _("No worker has sent a heartbeat."),
        _(
            "Nothing is due, so a plain rq worker may simply be idle. Otherwise start one with: flask webhooks worker"
        ),
    )


def _trouble(trouble: str) -> Banner:
    advice = {
        Hold.NO_DNS: _("Check the name servers of the worker's machine."),
        Hold.NO_CERTIFICATES: _(
            "Install the certificates of the public authorities (ca-certificates) on the worker's machine, or name "
            "them in SSL_CERT_FILE, and start the worker again."
        ),
        Hold.NO_DESCRIPTORS: _("Raise the worker's limit of open files (ulimit -n)."),
        Hold.NO_ROUTE: _("Check the network of the worker's machine."),
        Hold.NO_PROXY: _(
            "Check the proxy of WEBHOOKS_EGRESS_PROXY, and its user name and password: flask webhooks doctor"
        ),
        Hold.VERSION_FAILED: _(
            "Correct the function given to @webhooks.version, and start the workers again; their log says which one it "
            "is."
        ),
    }
    meanwhile = _("No attempts are used up meanwhile.")
    return Banner("bad", "alert", hold_text(trouble), f"{advice[Hold(trouble)]} {meanwhile}")


def _of_redis(trouble: RedisTrouble) -> Banner:
    kind = trouble.kind
    if not trouble.answered:
        return Banner("warn", "alert", translated(kind.title), translated(kind.advice))
    cause = _("It says: %(cause)s.", cause=trouble.cause)
    return Banner("bad", "alert", translated(kind.title), f"{cause} {translated(kind.advice)}")


def _suspended(queue: str) -> Banner:
    return Banner(
        "warn",
        "pause",
        _("The queue is suspended."),
        _(
            "Workers take no jobs from the queue “%(queue)s” or any other. Resume with: rq resume",
            queue=queue,
        ),
    )


def _no_scheduler() -> Banner:
    return Banner(
        "warn",
        "clock",
        _("No scheduler is running."),
        _(
            "Retries wait until something else is sent. Start a worker with: flask webhooks worker, or start yours "
            "with --with-scheduler."
        ),
    )


def _waiting(due: int, late: float) -> str:
    if due >= MOST_COUNTED:
        return _(
            "At least %(count)s deliveries are waiting, the oldest for %(time)s.",
            count=count(due),
            time=duration(late),
        )
    return ngettext(
        "%(num)s delivery is waiting, for %(time)s.",
        "%(num)s deliveries are waiting, the oldest for %(time)s.",
        due,
        time=duration(late),
    )
