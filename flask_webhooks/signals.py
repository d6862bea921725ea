"""Blinker signals: from the host to Flask-Webhooks, and from Flask-Webhooks to the host.

**Signals in.** There is one for each built-in event type except the operational ones and ``test``; its name has
underscores instead of dots. The host sends it where the event happens::

    license_activated.send(app, data={"license_id": "lic_1", ...}, tenant="app_1")

:param sender: the Flask application or ``current_app``; signals from one without Flask-Webhooks are ignored.
:param data: the event's data: a dict with the members that are listed at the signal, and any others.
:param tenant: the tenant whose endpoints get it, in addition to those of the whole server; by default only the
latter.
:param idempotency_key: a repetition with the same key and tenant does not create a second event.
:param occurred_at: a time, treated as UTC if it has no time zone; by default now.
:param session: a session of the host that records the event; by default ``db.session``.

Any other keyword is a mistake, because its value would be missing from the event. If ``WEBHOOKS_VALIDATE_DATA`` is
``"raise"``, as in debug and testing mode, it raises `InvalidInput`; otherwise it is logged as an error, once for
each signal and keyword, and the event is recorded without it. Internal errors and invalid data are logged and
never raised, because they would break the login or the payment that the signal reports. Errors that have ended the
host's transaction, such as a deadlock, are raised. Send a signal inside the transaction of the change, before its
commit. Events that describe a refusal (``transactional=False`` in the catalogue) are recorded even if the
transaction is rolled back.

**Signals out.** Flask-Webhooks sends these after the commit of what they report, in the process that made the
attempt: with the Flask application as sender, inside its application context, and with plain values as keywords
(text, numbers, aware UTC times, ``None``). Future versions may add keywords, so end a receiver's parameters with
``**extra``. Exceptions of a receiver are logged and have no other effect. Blinker holds receivers weakly: connect
a function of a module, or pass ``weak=False``.

Long, since it is a table of all signals with their members.
"""

from __future__ import annotations

import difflib

from blinker import NamedSignal, Namespace

from .catalog.registry import builtin_catalog
from .errors import InvalidInput

_namespace = Namespace()
_catalog = builtin_catalog()

#: The keywords of signals in.
KEYWORDS = ("data", "tenant", "idempotency_key", "occurred_at", "session")

#: The signals in, by the name of their event type.
SIGNALS: dict[str, NamedSignal] = {}


def _inbound(event_type: str) -> NamedSignal:
    """Return the signal of a built-in event type, with a docstring from the catalogue."""
    entry = _catalog[event_type]
    doc = f"{entry.description} ``data``: {', '.join(entry.schema['properties'])}."
    SIGNALS[event_type] = _namespace.signal(event_type, doc=doc)
    return SIGNALS[event_type]


def unknown_keyword(event_type: str, name: str) -> InvalidInput:
    """Return an error for an unknown keyword of a signal, which says what to write instead."""
    close = difflib.get_close_matches(name, KEYWORDS, n=1, cutoff=0.8)
    if close:
        instead = f"Did you mean {close[0]!r}?"
    elif name in _catalog[event_type].schema["properties"]:
        instead = f"Write data={{{name!r}: ...}}."
    elif name == "transactional":
        instead = "Call webhooks.emit() instead, which does."
    else:
        instead = f"It takes {', '.join(KEYWORDS)}. Put what your own receivers need into data."
    signal = event_type.replace(".", "_")
    return InvalidInput(f"The signal {signal} does not take {name!r}. {instead}", field=name)


# -- signals in ------------------------------------------------------------------------------------

#: When a licence key is generated. `data`: license_id, license_key, status; maybe level,
#: duration_type, expires_at, email, payment_id, created_by.
license_created = _inbound("license.created")

#: When a licence key is used for the first time. `data`: license_id, license_key, status; maybe
#: level, duration_type, expires_at, activated_by, username, hwid, ip.
license_activated = _inbound("license.activated")

#: Each time that a licence key is checked and accepted. `data`: license_id, license_key, status;
#: maybe user_id, username, hwid, ip, level, expires_at, file_id, version, session_id.
license_validated = _inbound("license.validated")

#: When a licence key is refused. `data`: license_key, reason; maybe code, license_id, status, hwid,
#: ip, user_agent.
license_rejected = _inbound("license.rejected")

#: When a licence will expire soon. `data`: license_id, license_key, status, expires_at; maybe
#: days_left, level, duration_type, user_id, username.
license_expiring = _inbound("license.expiring")

#: When a licence is found to be expired; once for each expiry. `data`: license_id, license_key, status,
#: expires_at; maybe level, duration_type, user_id, username.
license_expired = _inbound("license.expired")

#: When the term of a licence is extended. `data`: license_id, license_key, status, expires_at;
#: maybe previous_expires_at, duration_type, payment_id, renewed_by, user_id, username.
license_renewed = _inbound("license.renewed")

#: When a licence, or one of its seats, is checked out to a device. `data`: license_id, license_key, status;
#: maybe checkout_id, hwid, ip, due_at, checkout_count, checkout_limit, user_id, username.
license_checked_out = _inbound("license.checked_out")

#: When a check-in is found to be late; once for each. `data`: license_id, license_key, status,
#: due_at; maybe last_check_in_at, checkout_id, hwid, user_id, username.
license_check_in_overdue = _inbound("license.check_in_overdue")

#: When the use of a licence reaches a threshold; once for each threshold and period. `data`:
#: license_id, license_key, metric, usage, threshold_percent; maybe limit, period_ends_at, user_id,
#: username.
usage_threshold_reached = _inbound("usage.threshold_reached")

#: When anything else about a licence is changed. `data`: license_id, license_key, status, changed;
#: maybe previous, new, changed_by.
license_updated = _inbound("license.updated")

#: When a licence is suspended. `data`: license_id, license_key, status; maybe reason,
#: suspended_by, suspended_until, user_id, username.
license_suspended = _inbound("license.suspended")

#: When a licence is revoked. `data`: license_id, license_key, status; maybe reason, revoked_by,
#: user_id, username.
license_revoked = _inbound("license.revoked")

#: When a revoked or suspended licence works again. `data`: license_id, license_key, status; maybe
#: previous_status, reason, reinstated_by, expires_at, user_id, username.
license_reinstated = _inbound("license.reinstated")

#: When a licence is deleted for good. `data`: license_id, license_key, status; maybe reason,
#: deleted_by.
license_deleted = _inbound("license.deleted")

#: When an account is created. `data`: user_id, username; maybe email, license_id, license_key,
#: hwid, ip.
user_registered = _inbound("user.registered")

#: When a user logs in. `data`: user_id, username; maybe hwid, ip, user_agent, session_id,
#: license_id, license_key.
user_logged_in = _inbound("user.logged_in")

#: When a login is refused, before the error is returned. `data`: reason; maybe username, code,
#: user_id, hwid, ip, user_agent, failed_attempts.
user_login_failed = _inbound("user.login_failed")

#: When a user is banned. `data`: user_id, username; maybe reason, banned_by, banned_until, hwid,
#: ip.
user_banned = _inbound("user.banned")

#: When a ban is lifted or expires. `data`: user_id, username; maybe reason, unbanned_by.
user_unbanned = _inbound("user.unbanned")

#: When an account is deleted. `data`: user_id, username; maybe reason, deleted_by.
user_deleted = _inbound("user.deleted")

#: When a session begins, after `user_logged_in`. `data`: session_id; maybe user_id, username, hwid,
#: ip, user_agent, license_id, expires_at.
session_created = _inbound("session.created")

#: When a session ends, in whatever way. `data`: session_id; maybe user_id, username, hwid, ip,
#: license_id, code, ended_by, started_at, duration_seconds.
session_ended = _inbound("session.ended")

#: When a hardware id takes a free slot of a licence. `data`: license_id, license_key, hwid; maybe
#: status, hwid_count, hwid_limit, user_id, username, ip.
hwid_bound = _inbound("hwid.bound")

#: When another hardware id takes the place of the one that was bound. `data`: license_id,
#: license_key, hwid; maybe status, previous_hwid, changed_by, user_id, username, ip.
hwid_changed = _inbound("hwid.changed")

#: When hardware ids are cleared from a licence. `data`: license_id, license_key; maybe status,
#: hwid, previous_hwids, reset_by, reason, user_id, username.
hwid_reset = _inbound("hwid.reset")

#: When a licence or account is refused because the device is not the bound one. `data`: hwid; maybe
#: license_id, license_key, expected_hwid, reason, user_id, username, ip, user_agent.
hwid_mismatched = _inbound("hwid.mismatched")

#: When a device is found silent for too long; once for each silence. `data`: hwid; maybe license_id,
#: license_key, last_seen_at, interval_seconds, missed_count, user_id, username, ip.
device_heartbeat_missed = _inbound("device.heartbeat_missed")

#: When a new file, script or build is uploaded. `data`: file_id, name; maybe version,
#: size, sha256, notes, uploaded_by.
file_uploaded = _inbound("file.uploaded")

#: When a file, script or build is replaced by a newer one. `data`: file_id, name; maybe version,
#: size, sha256, previous_version, notes, updated_by.
file_updated = _inbound("file.updated")

#: When an authenticated user downloads a file. `data`: file_id, user_id; maybe name, version, size,
#: sha256, username, license_id, license_key, hwid, ip.
file_downloaded = _inbound("file.downloaded")

#: When a value is added to the blacklist. `data`: kind, value; maybe entry_id, reason, added_by,
#: expires_at.
blacklist_added = _inbound("blacklist.added")

#: When an entry is removed from the blacklist. `data`: kind, value; maybe entry_id, reason, removed_by.
blacklist_removed = _inbound("blacklist.removed")

#: When a value is added to the whitelist. `data`: kind, value; maybe entry_id, reason, added_by,
#: expires_at.
whitelist_added = _inbound("whitelist.added")

#: When an entry is removed from the whitelist. `data`: kind, value; maybe entry_id, reason, removed_by.
whitelist_removed = _inbound("whitelist.removed")

#: When the payment provider confirms a payment. `data`: payment_id, amount, currency; maybe status,
#: provider, product, email, user_id, username, license_id, license_key.
payment_succeeded = _inbound("payment.succeeded")

#: When a payment is declined, cancelled or reversed. `data`: payment_id, amount, currency,
#: reason; maybe status, provider, product, email, user_id, username, code.
payment_failed = _inbound("payment.failed")

#: When a user passes verification. `data`: user, verification.
verification_succeeded = _inbound("verification.succeeded")

#: When a user fails verification or is blocked from it. `data`: failure; maybe user, verification.
verification_failed = _inbound("verification.failed")

#: When the host notices an attack; once for each, not for each request. `data`: threat.
security_alert = _inbound("security.alert")

#: When a request is refused because its signature does not fit. `data`: reason; maybe code, path,
#: license_key, hwid, ip, user_agent, user_id, username.
signature_rejected = _inbound("signature.rejected")

#: When a client is refused for making too many requests. `data`: limit, window_seconds; maybe
#: count, subject, path, ip, user_agent, blocked_until, user_id, username, license_id.
rate_limit_exceeded = _inbound("rate_limit.exceeded")

#: When a staff member performs an administrative action. `data`: actor_id, action; maybe
#: actor_name, target_type, target_id, details, reason, ip.
staff_acted = _inbound("staff.acted")

#: When a seller or reseller performs an action. `data`: actor_id, action; maybe actor_name,
#: target_type, target_id, details, reason, ip.
seller_acted = _inbound("seller.acted")

#: When settings of the application or server are changed. `data`: change.
config_updated = _inbound("config.updated")

# -- signals out -----------------------------------------------------------------------------------

#: Sent after each attempt, whatever its outcome.
attempt_recorded = _namespace.signal(
    "attempt-recorded",
    """An attempt was recorded.

    :param endpoint_id: the endpoint.
    :param delivery_id: the delivery.
    :param event_id: the event, sent as ``webhook-id``.
    :param event_type: its type, ``license.created``.
    :param tenant: the endpoint's tenant; ``None`` for the whole server.
    :param number: 1, 2, 3 … over all replays of the delivery.
    :param trigger: why it was made: ``event``, ``retry``, ``manual`` or ``test``.
    :param outcome: the outcome, as in the attempt's row.
    :param status: the HTTP status of the response, or ``None`` without one.
    :param error: what went wrong, for people; ``None`` after a success.
    :param duration_ms: how long it took, or ``None`` where that is unknown (``interrupted``).
    """,
)

#: Sent when the receiver of a delivery has accepted it.
delivery_succeeded = _namespace.signal(
    "delivery-succeeded",
    """The receiver has the event.

    :param endpoint_id: the endpoint.
    :param delivery_id: the delivery.
    :param event_id: the event, sent as ``webhook-id``.
    :param event_type: its type, ``license.created``.
    :param tenant: the endpoint's tenant; ``None`` for the whole server.
    :param attempt_count: attempts that were made, this one included.
    :param status: the HTTP status of the response.
    :param duration_ms: how long the last attempt took.
    """,
)

#: Sent when a delivery has failed: no retry left, a blocked address, an endpoint that is gone.
delivery_failed = _namespace.signal(
    "delivery-failed",
    """A delivery has failed; it is not sent again unless a person resends it.

    :param endpoint_id: the endpoint.
    :param delivery_id: the delivery.
    :param event_id: the event, sent as ``webhook-id``.
    :param event_type: its type, ``license.created``.
    :param tenant: the endpoint's tenant; ``None`` for the whole server.
    :param reason: ``exhausted``, ``gone``, ``blocked``, ``interrupted`` …
    :param attempt_count: attempts that were made.
    :param status: the HTTP status of the last response, or ``None`` without one.
    :param error: what went wrong last, for people, or ``None``.
    """,
)

#: Sent when an endpoint begins to fail, and twice more as a warning before it is disabled.
endpoint_failing = _namespace.signal(
    "endpoint-failing",
    """An endpoint keeps failing. Sent up to three times in each incident.

    :param endpoint_id: the endpoint.
    :param tenant: its tenant; ``None`` for the whole server.
    :param url: its URL, masked where the URL is a secret.
    :param failing_since: time of the first failure since the last success.
    :param consecutive_failures: failures in a row.
    :param disable_progress: how much of the time until it is disabled has passed, in percent: 0 when it
        begins to fail, then 50 and 90 as warnings.
    :param disable_at: when it will be disabled if nothing changes, or ``None`` for never.
    """,
)

#: Sent at the first success of an endpoint that was failing.
endpoint_recovered = _namespace.signal(
    "endpoint-recovered",
    """An endpoint that was failing accepts deliveries again; waiting deliveries are sent.

    :param endpoint_id: the endpoint.
    :param tenant: its tenant; ``None`` for the whole server.
    :param url: its URL, masked where the URL is a secret.
    :param failing_since: time of the first failure of the incident that has ended.
    """,
)

#: Sent when an endpoint is disabled by its failures; not when a person pauses it.
endpoint_disabled = _namespace.signal(
    "endpoint-disabled",
    """An endpoint was disabled because of its responses; deliveries to it are held.

    :param endpoint_id: the endpoint.
    :param tenant: its tenant; ``None`` for the whole server.
    :param url: its URL, masked where the URL is a secret.
    :param reason: ``failing`` (it failed for too long) or ``gone`` (it responded with 410 or refused for good).
    :param failing_since: time of the first failure since the last success, or ``None``.
    """,
)
