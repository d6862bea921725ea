"""Calls of the host's `@webhooks.notify`."""

from __future__ import annotations

import smtplib
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from flask import current_app

from ..app_state import AppState, name_of_tenant
from ..db.transactions import reading
from ..errors import ContactRefused
from ..log import get_logger, log_failure
from ..models import Endpoint, Notification, NotificationState
from ..notifications import RAISED, REFUSED, NotificationContext, incident_of, notification_text

logger = get_logger("flask_webhooks.delivery")

#: Seconds between attempts; after the last one, the notification has failed.
RETRY_SCHEDULE: Final = (60, 300, 1800, 7200, 18_000, 36_000, 72_000)


@dataclass(frozen=True, slots=True)
class Told:
    """The result of a call."""

    state: NotificationState
    contact: str | None = None
    error_code: str | None = None
    error_detail: str | None = None


def tell_owner(state: AppState, notification_id: str, attempt: int) -> Told:
    """Call the host's function with a notification.

    :param attempt: 1, 2, 3 …
    """
    models = state.models
    with reading(state) as session:
        found = session.execute(
            sa.select(models.Notification, models.Endpoint)
            .join(models.Endpoint, models.Endpoint.id == models.Notification.endpoint_id)
            .where(models.Notification.id == notification_id)
        ).one_or_none()
    if found is None:
        return Told(NotificationState.SKIPPED)
    row, endpoint = found
    if endpoint.deleted_at is not None:
        return Told(NotificationState.SKIPPED)
    try:
        with state.app.app_context():
            told = _call(state, row, endpoint, attempt)
    except Exception as error:
        return _after_error(row, endpoint, attempt, error)
    done = NotificationState.SKIPPED if told is False else NotificationState.SENT
    return Told(done, endpoint.contact)


def _call(state: AppState, row: Notification, endpoint: Endpoint, attempt: int) -> Any:
    hooks = state.hooks
    assert hooks.notify is not None
    tenant = endpoint.tenant
    context = NotificationContext(
        id=row.id,
        attempt=attempt,
        tenant_name=None if tenant is None else name_of_tenant(state, tenant),
        product_name=state.settings.product_name,
        locale=None if hooks.notify_locale is None else hooks.notify_locale(endpoint),
    )
    incident = incident_of(row)
    text = notification_text(incident, endpoint, context, state.translate)
    return current_app.ensure_sync(hooks.notify)(incident, endpoint, context, text)


def _after_error(row: Notification, endpoint: Endpoint, attempt: int, error: Exception) -> Told:
    refused = _refusal(error)
    if refused is not None:
        logger.warning(
            "The notification %s was given up: the contact of %s was refused (%s)",
            row.id,
            endpoint.id,
            refused or "by the application",
        )
        return Told(NotificationState.FAILED, endpoint.contact, REFUSED, refused or None)
    name = type(error).__name__[:100]
    if attempt > len(RETRY_SCHEDULE):
        log_failure(
            logger,
            "The notification %s was given up after %d attempts",
            row.id,
            attempt,
            error=error,
        )
        return Told(NotificationState.FAILED, endpoint.contact, RAISED, name)
    logger.warning(
        "The function given to @webhooks.notify raised %s for the notification %s; it will be retried",
        name,
        row.id,
    )
    return Told(NotificationState.PENDING, endpoint.contact, RAISED, name)


def _refusal(error: Exception) -> str | None:
    """Return the status with which an address was permanently refused; ``None`` for other errors."""
    if isinstance(error, ContactRefused):
        return ""
    if not isinstance(error, smtplib.SMTPRecipientsRefused):
        return None
    statuses = [status for status, _ in error.recipients.values()]
    # 4xx is temporary.
    return str(statuses[0]) if statuses and all(s >= 500 for s in statuses) else None
