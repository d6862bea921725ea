"""Texts and icons for states, triggers and outcomes.

Every status has a word *and* an icon; `tone` only chooses the colour. Long, since it has the texts of every state
and reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..access import MEANINGS
from ..filters.explaining import FailedCondition
from ..models import Delivery, Endpoint, EndpointHealth, Trigger
from ..notifications import Stage, stage_words
from ..queries import explanations
from ..queries.explanations import held_back as held_back
from ..queries.explanations import rate_limited as rate_limited
from ..state_reasons import stored_reason
from ..texts import Text
from .display import count, short
from .i18n import gettext as _
from .i18n import translated


@dataclass(frozen=True, slots=True)
class Status:
    """The display of a state. `tone` is ``ok``, ``bad``, ``warn``, ``wait`` or ``off``."""

    word: str
    tone: str
    icon: str


def delivery_status(state: str, attempts: int = 0, trigger: str = Trigger.RETRY) -> Status:
    """Return the status of a delivery. A requested one is *queued* until an attempt has ended.

    :param attempts: number of attempts.
    :param trigger: the reason for the next one.
    """
    match state:
        case "pending" if attempts and trigger == Trigger.RETRY:
            return Status(_("Retrying"), "wait", "clock")
        case "pending":
            return Status(_("Queued"), "wait", "clock")
        case "sending":
            return Status(_("Sending"), "wait", "arrow")
        case "succeeded":
            return Status(_("Succeeded"), "ok", "check")
        case "failed":
            return Status(_("Failed"), "bad", "cross")
        case "cancelled":
            return Status(_("Cancelled"), "off", "ban")
        case "held":
            return Status(_("Held"), "warn", "pause")
        case other:
            return Status(other, "off", "dot")


def state_words(state: str) -> str:
    """Return the labels of deliveries in a state, for filters."""
    return _("Queued or retrying") if state == "pending" else delivery_status(state).word


def endpoint_status(state: str, *, failing: bool = False) -> Status:
    """Return the status of an endpoint: its state, or *failing* for an active one."""
    match state:
        case "active" if failing:
            return Status(_("Failing"), "bad", "alert")
        case "active":
            return Status(_("Active"), "ok", "check")
        case "unverified":
            return Status(_("Unverified"), "warn", "clock")
        case "paused":
            return Status(_("Paused"), "off", "pause")
        case "disabled":
            return Status(_("Disabled"), "warn", "ban")
        case other:
            return Status(other, "off", "dot")


def token_status(condition: str) -> Status:
    """Return the status of an API token."""
    match condition:
        case "active":
            return Status(_("Active"), "ok", "check")
        case "expired":
            return Status(_("Expired"), "off", "clock")
        case _:
            return Status(_("Revoked"), "off", "ban")


def endpoint_states(states: Iterable[str]) -> list[tuple[str, str]]:
    """Return the states of endpoints with labels, for a filter."""
    return [(state, endpoint_status(state).word) for state in states]


def token_states(conditions: Iterable[str]) -> list[tuple[str, str]]:
    """Return the states of tokens with labels, for a filter."""
    return [(condition, token_status(condition).word) for condition in conditions]


def notification_status(state: str) -> Status:
    """Return the status of a notification."""
    match state:
        case "pending":
            return Status(_("Waiting"), "wait", "clock")
        case "sent":
            return Status(_("Sent"), "ok", "check")
        case "skipped":
            return Status(_("Not sent"), "off", "ban")
        case _:
            return Status(_("Given up"), "bad", "cross")


def stage_text(stage: Stage) -> str:
    """Return the subject of a notification."""
    return translated(stage_words()[stage])


def right_text(action: str) -> str:
    """Return what an action allows, for the end of a sentence."""
    return translated(MEANINGS[action])


def outcome_status(outcome: str) -> Status:
    """Return the status of an attempt."""
    match outcome:
        case "succeeded":
            return Status(_("Succeeded"), "ok", "check")
        case "refused":
            return Status(_("Refused"), "bad", "cross")
        case "redirected":
            return Status(_("Redirected"), "bad", "cross")
        case "timeout":
            return Status(_("Timed out"), "bad", "clock")
        case "dns_failed":
            return Status(_("Name not found"), "bad", "cross")
        case "connect_failed":
            return Status(_("No connection"), "bad", "cross")
        case "tls_failed":
            return Status(_("TLS failed"), "bad", "cross")
        case "blocked":
            return Status(_("Address not allowed"), "bad", "ban")
        case "broken":
            return Status(_("Connection broke"), "bad", "cross")
        case "interrupted":
            return Status(_("Interrupted"), "warn", "alert")
        case other:
            return Status(other, "off", "dot")


def state_reason(endpoint: Endpoint) -> str:
    """Return why an endpoint is not active: a text of ours, which is translated, or one of a person."""
    code, params = endpoint.state_reason_code, endpoint.state_reason_params
    return _state_reason(code, params, endpoint.state_reason or "")


def _state_reason(code: Any, params: Any, sentence: str) -> str:
    reason = stored_reason(code, params, sentence)
    return translated(reason) if isinstance(reason, Text) else reason


def error_text(error: str) -> str:
    """Return the error of a request in the language of the page.

    Sentences that were stored by a version without codes stay in English.
    """
    return translated(error) if isinstance(error, Text) else error


def trigger_text(trigger: str) -> str:
    """Return why an attempt was made."""
    words = {
        "event": _("First attempt"),
        "retry": _("Automatic retry"),
        "replay": _("Bulk resend"),
        "manual": _("Manual resend"),
        "test": _("Test event"),
    }
    return words.get(trigger, trigger)


def reason_text(reason: str | None, trigger: str = "") -> str:
    """Return why a delivery has ended without success; see `explanations`."""
    return translated(explanations.reason_text(reason, trigger))


def missing_text(missing: str) -> str:
    """Return why a body is missing."""
    return translated(explanations.missing_text(missing))


def hold_text(reason: str | None) -> str:
    """Return why nothing is sent to an endpoint for a while."""
    return translated(explanations.hold_text(reason))


def held_text(state: str) -> str:
    """Return why a delivery is held, and how to release it."""
    return translated(explanations.held_text(state))


def owed_text(delivery: Delivery, endpoint: Endpoint, health: EndpointHealth, now: datetime) -> str:
    """Return the state of a delivery, and what it is waiting for."""
    return " ".join(map(translated, explanations.owed_text(delivery, endpoint, health, now)))


def routing_text(why: str, event_type: str) -> str:
    """Return why an endpoint did not get an event, and what to do about it."""
    return translated(explanations.routing_text(why, event_type))


def failed_text(failed: FailedCondition) -> str:
    """Return a condition of a filter that an event did not meet."""
    return translated(explanations.failed_text(failed))


def limit_text(limit: str) -> str:
    """Return the limit that delays deliveries to an endpoint."""
    words = {
        "rate_limit": _("Its rate limit has been reached."),
        "shared_rate_limit": _(
            "The rate limit of another webhook with the same destination has been reached."
        ),
        "shared_pause": _(
            "The destination asked us to wait, which applies to all your webhooks that share it."
        ),
    }
    return words[limit]


def phase_text(phase: str) -> str:
    """Return the name of a phase of an attempt."""
    words = {
        "dns": _("Name lookup"),
        "connect": _("Connect"),
        "tls": _("TLS handshake"),
        "send": _("Send"),
        "wait": _("Wait for response"),
        "read": _("Read response"),
    }
    return words.get(phase, phase)


def action_text(action: str) -> str:
    """Return the text of an action in the audit log."""
    return action_texts().get(action, action)


def action_texts() -> dict[str, str]:
    """Return the texts of all actions by name."""
    return {
        "endpoint.created": _("added the webhook"),
        "endpoint.updated": _("changed the webhook"),
        "endpoint.deleted": _("deleted the webhook"),
        "endpoint.paused": _("paused the webhook"),
        "endpoint.resumed": _("resumed the webhook"),
        "endpoint.tested": _("sent a test event"),
        "endpoint.challenged": _("sent a challenge"),
        "endpoint.verified": _("verified the webhook by its answer"),
        "endpoint.secret_rotated": _("rotated the secret"),
        "endpoint.overlap_ended": _("switched to the new secret"),
        "endpoint.secret_removed": _("removed the secret"),
        "endpoint.disabled": _("disabled the webhook"),
        "delivery.resent": _("resent a delivery"),
        "endpoints.reencrypted": _("encrypted the secrets of webhooks with the newest key"),
        "event.replayed": _("sent a past event to the webhook"),
        "delivery.cancelled": _("cancelled a delivery"),
        "scheduled.cancelled": _("cancelled a scheduled event"),
        "task.started": _("started a task"),
        "task.stopped": _("stopped a task"),
        "task.finished": _("started a task, which has finished"),
        "task.failed": _("started a task, which has failed"),
        "token.created": _("created an API token"),
        "token.revoked": _("revoked an API token"),
        "portal_link.created": _("created a portal link"),
        "portal_link.revoked": _("revoked a portal link"),
    }


def changes(recorded: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return changes as name, value before (may be empty) and value after, without uninformative ones.

    :param recorded: of an `Activity`: ``{"name": ["old", "new"]}``, and single values.
    """
    found = []
    shown = dict(recorded)
    code, params = shown.pop("reason_code", None), shown.pop("reason_params", None)
    if "reason" in shown:
        shown["reason"] = _state_reason(code, params, shown["reason"])
    for name, change in shown.items():
        pair = isinstance(change, list) and len(change) == 2
        was, now = change if pair else (None, change)
        if name == "events":
            # Both have a meaning, except for a new endpoint.
            everything = _("all events")
            before = "" if was is None and "url" in recorded else _joined(was) or everything
            after = _joined(now) or everything
        else:
            before, after = _changed(name, was), _changed(name, now)
        if before or after:
            found.append((_change_text(name), before, after or "\N{EN DASH}"))
    return found


def _changed(name: str, value: Any) -> str:
    match name, value:
        case "state", str():
            return endpoint_status(value).word
        case "filter" | "coalesce", dict():
            return short(json.dumps(value, ensure_ascii=False, separators=(",", ":")), 300)
        case "held", str():
            words = {
                "send": _("Send them now"),
                "discard": _("Discard them"),
                "keep": _("Keep holding them"),
            }
            return words.get(value, value)
        case _:
            return _joined(value)


def _joined(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return _("Yes") if value else _("No")
        case int():
            return count(value)
        case list():
            return ", ".join(map(str, value))
        case dict():
            return ", ".join(f"{name}: {part}" for name, part in value.items())
        case _:
            return str(value)


def _change_text(name: str) -> str:
    """Return the text of a change in the audit log."""
    words = {
        "url": _("URL"),
        "name": _("Name"),
        "description": _("Description"),
        "format": _("Format"),
        "options": _("Options of the format"),
        "events": _("Events"),
        "filter": _("Filter"),
        "coalesce": _("Coalescing"),
        "data_version": _("Version of the data"),
        "headers": _("Custom headers"),
        "user_agent": _("User Agent"),
        "contact": _("Contact"),
        "client_certificate": _("Client certificate"),
        "timeout": _("Timeout"),
        "rate_limit": _("Rate limit"),
        "ordered": _("In order"),
        "state": _("State"),
        "reason": _("Reason"),
        "secret": _("Secret"),
        "held": _("Held deliveries"),
        "deliveries": _("Deliveries"),
        "overlap_seconds": _("Overlap in seconds"),
        "ended_secrets": _("Older secrets"),
        "event_type": _("Event type"),
        "scheduled": _("Scheduled event"),
        "deliver_at": _("Due"),
        "key": _("Key"),
        "bytes": _("Bytes of data"),
        "chat_id": _("Chat"),
        "token": _("Token"),
        "portal_link": _("Portal link"),
        "actor": _("User"),
        "actions": _("Permissions"),
        "expires_at": _("Expires"),
    }
    return words.get(name, name.replace("_", " "))


def routing_status(why: str) -> Status:
    """Return the status of an event for an endpoint."""
    match why:
        case "owed":
            return Status(_("Delivered"), "ok", "check")
        case "test":
            return Status(_("Test for another"), "off", "dot")
        case "other_tenant" | "without_tenant":
            return Status(_("Other tenant"), "off", "ban")
        case "added_later":
            return Status(_("Added later"), "warn", "clock")
        case "deleted":
            return Status(_("Already deleted"), "off", "ban")
        case "not_subscribed":
            return Status(_("Not subscribed"), "warn", "cross")
        case "subscribed_later":
            return Status(_("Subscribed later"), "warn", "clock")
        case "filtered":
            return Status(_("Filtered out"), "off", "dot")
        case _:
            return Status(_("Removed"), "off", "dot")
