"""Texts and icons for tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from ..bulk.selection import OF_EVENTS
from ..bulk.whose import Whose
from ..models import TaskKind
from .display import count
from .i18n import gettext as _
from .i18n import ngettext
from .wording import Status, state_words


def task_status(state: str) -> Status:
    """Return the status of a task."""
    match state:
        case "waiting":
            return Status(_("Waiting"), "wait", "clock")
        case "running":
            return Status(_("Running"), "wait", "arrow")
        case "finished":
            return Status(_("Finished"), "ok", "check")
        case "stopped":
            return Status(_("Stopped"), "off", "ban")
        case "failed":
            return Status(_("Failed"), "bad", "cross")
        case other:
            return Status(other, "off", "dot")


def task_states(states: Iterable[str]) -> list[tuple[str, str]]:
    """Return the states of tasks with labels, for a filter."""
    return [(state, task_status(state).word) for state in states]


def task_kinds(kinds: Iterable[str]) -> list[tuple[str, str]]:
    """Return the kinds of tasks with labels, for a filter."""
    return [(kind, task_title(kind)) for kind in kinds]


def task_title(kind: str) -> str:
    """Return the heading of a task."""
    words = {
        "recover": _("Recover failed deliveries"),
        "replay": _("Replay missed events"),
        "resend": _("Resend deliveries"),
        "cancel": _("Cancel deliveries"),
        "release": _("Send held deliveries"),
        "discard": _("Discard held deliveries"),
        "prune": _("Remove old events"),
        "erase": _("Erase the data of a person"),
    }
    return words.get(kind, kind)


def task_question(kind: str) -> str:
    """Return what a task will do to the matches."""
    words = {
        "recover": _(
            "They are sent again with the same webhook-id. They keep their attempts, and the retry schedule starts "
            "again."
        ),
        "replay": _(
            "A delivery is created for each of them, and they are sent like any other event. None of them has a "
            "delivery to this webhook yet."
        ),
        "resend": _(
            "They are sent again with the same webhook-id, whether or not they succeeded. Receivers that do not "
            "compare ids process them twice."
        ),
        "cancel": _(
            "They are cancelled. Deliveries that are being sent right now are not affected. You can resend them as "
            "long as they are kept."
        ),
        "prune": _(
            "They are permanently removed, with their deliveries and attempts. Events with undelivered deliveries "
            "stay. Workers also do this automatically."
        ),
        "erase": _(
            "Their data is permanently erased, with the bodies and headers that were sent. Waiting deliveries are "
            "cancelled. The events stay in the list without their data and can no longer be sent."
        ),
    }
    return words.get(kind, "")


def task_outcome(kind: str) -> str:
    """Return what a finished task has done."""
    if kind in ("cancel", "discard"):
        return _("They are cancelled, and stay in the list.")
    if kind == TaskKind.ERASE:
        return _(
            "The data was erased, including from the attempts. Waiting deliveries were cancelled."
        )
    if kind == TaskKind.PRUNE:
        return _("They were removed, with their deliveries and attempts.")
    return _(
        "They are queued, and sent as fast as the webhook accepts them; deliveries to a paused webhook are held."
    )


def task_counted(kind: str, number: int, text: str | None = None) -> str:
    """Return a number of deliveries or events with its noun.

    :param text: the formatted number at the counting limit: ``10,000+``.
    """
    shown = count(number) if text is None else text
    if kind in OF_EVENTS:
        return ngettext("%(number)s event", "%(number)s events", number, number=shown)
    return ngettext("%(number)s delivery", "%(number)s deliveries", number, number=shown)


def task_progress(kind: str, done: int, total: int | None) -> str:
    """Return the progress of a task in numbers."""
    if total is None:
        return _("%(done)s so far", done=count(done))
    everything = task_counted(kind, total)
    if kind == TaskKind.ERASE:
        return _("Looked at %(done)s of %(all)s", done=count(done), all=everything)
    return _("%(done)s of %(all)s", done=count(done), all=everything)


def task_changed(changed: int) -> str:
    """Return how many events an erasure has erased so far."""
    return ngettext(
        "%(number)s event erased", "%(number)s events erased", changed, number=count(changed)
    )


def task_stopped(kind: str) -> str:
    """Return what stopping a task means for the rest."""
    if kind == TaskKind.ERASE:
        return _("Some of the data was erased. The rest is still there: start the task again.")
    if kind == TaskKind.PRUNE:
        return _(
            "Some events were removed. No more are removed for a day, unless you start the task again."
        )
    return _(
        "What it has done is not undone. To continue, start the task again: it handles what is left."
    )


def task_scope(kind: str, filter: Mapping[str, Any]) -> list[tuple[str, str | datetime]]:
    """Return the selection of a task as labels and values. Times may be ISO 8601 texts."""
    match kind:
        case "recover":
            since, until = _("Failed since"), _("Failed before")
        case "replay":
            since, until = _("Recorded since"), _("Recorded before")
        case "prune" | "erase":
            since, until = _("Recorded since"), _("Older than")
        case _:
            since, until = _("Created since"), _("Created before")
    labels = {
        "since": since,
        "until": until,
        "state": _("Status"),
        "event_type": _("Event type"),
        "status": _("Response"),
        "event_id": _("Event"),
        "tenant": _("Tenant"),
    }
    found: list[tuple[str, str | datetime]] = []
    for name, label in labels.items():
        value = filter.get(name)
        if value is None:
            continue
        if name in ("since", "until"):
            value = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        elif name == "state":
            value = state_words(value)
        elif value == "none":
            value = _("No response")
        found.append((label, value))
    found += _whose(filter.get("where"))
    return found


def _whose(where: object) -> list[tuple[str, str | datetime]]:
    """Return the members of an erasure, whose values are only stored as digests."""
    match where:
        case Mapping():
            names = ", ".join(
                _("%(member)s with the digest %(digest)s", member=name, digest=str(digest)[:12])
                for name, digest in where.items()
            )
            return [(_("Members of the data"), names)]
        case str():
            return [(_("Found by"), where)]
        case Whose():
            return [(f"{name}", value) for name, value in where.members.items()]
        case _:
            return []
