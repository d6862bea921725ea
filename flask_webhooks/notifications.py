"""Notifications to owners of endpoints: the facts, and complete texts.

The host registers a function with ``@webhooks.notify``. Workers record notifications and call it; see
`delivery.owner_notifications`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from markupsafe import escape

from .attempt_errors import stored_error
from .state_reasons import stored_reason
from .texts import Text

if TYPE_CHECKING:
    from .models import Endpoint, Notification

#: Characters of an endpoint's name or URL in a text.
_MOST_OF_NAME: Final = 100


class Stage(enum.StrEnum):
    """How far an incident has come."""

    FAILING = "failing"
    #: It has failed for half of the time after which it is disabled.
    HALF_TIME = "half_time"
    #: The same at 90 %.
    LAST_WARNING = "last_warning"
    DISABLED = "disabled"
    RECOVERED = "recovered"
    #: Deliveries that failed in one hour.
    GIVEN_UP = "given_up"
    #: An older secret is no longer used.
    OVERLAP_ENDED = "overlap_ended"


@dataclass(frozen=True, slots=True)
class Incident:
    """An incident of an endpoint."""

    #: The same for each stage of one incident.
    id: str
    stage: Stage
    #: The first failure since the last success, the hour that a digest is of, or the end of an overlap.
    since: datetime
    #: When it was recorded.
    recorded_at: datetime
    #: Consecutive failures, or failed deliveries.
    count: int = 0
    #: When it is disabled, unless a delivery succeeds.
    disable_at: datetime | None = None
    #: The status of the last response, and the error in English.
    last_status: int | None = None
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class NotificationContext:
    """Additional information for the host's function."""

    #: The same for all attempts of this notification, so that a mail service can ignore repetitions.
    id: str
    #: 1, 2, 3 …
    attempt: int
    #: The display name of the tenant; ``None`` is the whole server.
    tenant_name: str | None
    product_name: str
    #: The language of the texts, from the host's function ``locale``.
    locale: str | None


@dataclass(frozen=True, slots=True)
class NotificationText:
    """The texts of a notification, without secrets."""

    #: One line.
    subject: str
    text: str
    #: A complete document; texts of customers are escaped.
    html: str = field(repr=False)


#: Returns texts in a language, or in that of the application for ``None``.
Translate = Callable[[Sequence[Text], str | None], list[str]]


def incident_of(row: Notification) -> Incident:
    """Return the incident of a stored notification."""
    facts = row.facts
    error = stored_error(facts.get("error_code"), facts.get("error_params"), None)
    disable_at = facts.get("disable_at")
    return Incident(
        id=row.incident,
        stage=Stage(row.stage),
        since=datetime.fromisoformat(row.incident),
        recorded_at=row.created_at,
        count=row.count,
        disable_at=None if disable_at is None else datetime.fromisoformat(disable_at),
        last_status=facts.get("last_status"),
        last_error=error,
    )


def incident_key(moment: datetime) -> str:
    """Return the key of an incident, based on its time."""
    return moment.astimezone(UTC).isoformat()


def notification_text(
    incident: Incident, endpoint: Endpoint, context: NotificationContext, translate: Translate
) -> NotificationText:
    """Write the text of a notification."""
    name = _one_line(endpoint.name or endpoint.url_shown)
    paragraphs = _paragraphs(incident, endpoint)
    subject, *body = translate(
        [_subject(incident.stage, name, context.product_name), *paragraphs], context.locale
    )
    signature = " · ".join(part for part in (context.product_name, context.tenant_name) if part)
    parts = [*body, _one_line(signature)]
    html = "".join(f"<p>{escape(part)}</p>\n" for part in parts)
    return NotificationText(
        subject=_one_line(subject, 200),
        text="\n\n".join(parts) + "\n",
        html=f"<!doctype html>\n<html><body>\n{html}</body></html>\n",
    )


def _subject(stage: Stage, name: str, product: str) -> Text:
    match stage:
        case Stage.FAILING:
            return Text(
                "%(product)s: the webhook “%(name)s” is failing", product=product, name=name
            )
        case Stage.HALF_TIME | Stage.LAST_WARNING:
            return Text(
                "%(product)s: the webhook “%(name)s” will be disabled", product=product, name=name
            )
        case Stage.DISABLED:
            return Text(
                "%(product)s: the webhook “%(name)s” was disabled", product=product, name=name
            )
        case Stage.RECOVERED:
            return Text(
                "%(product)s: the webhook “%(name)s” works again", product=product, name=name
            )
        case Stage.GIVEN_UP:
            return Text(
                "%(product)s: deliveries to the webhook “%(name)s” were given up",
                product=product,
                name=name,
            )
        case Stage.OVERLAP_ENDED:
            return Text(
                "%(product)s: the webhook “%(name)s” is now signed with the new secret only",
                product=product,
                name=name,
            )


def _paragraphs(incident: Incident, endpoint: Endpoint) -> list[Text]:
    url, since = _one_line(endpoint.url_shown), _time(incident.since)
    match incident.stage:
        case Stage.FAILING:
            return [
                Text("Requests to %(url)s have failed since %(since)s.", url=url, since=since),
                *_last_error(incident),
                Text(
                    "Events that occur meanwhile are kept and sent once the receiver responds again."
                ),
                *_end(incident),
            ]
        case Stage.HALF_TIME | Stage.LAST_WARNING:
            return [
                Text("Requests to %(url)s still fail, since %(since)s.", url=url, since=since),
                *_last_error(incident),
                *_end(incident),
            ]
        case Stage.DISABLED:
            why = stored_reason(
                endpoint.state_reason_code,
                endpoint.state_reason_params,
                endpoint.state_reason or "",
            )
            return [
                Text("Nothing is sent to %(url)s any more.", url=url),
                *([why] if isinstance(why, Text) else []),
                Text(
                    "Repair the receiver, then resume the webhook: events that occur meanwhile are held for it."
                ),
            ]
        case Stage.RECOVERED:
            return [
                Text(
                    "A request to %(url)s has succeeded again; requests had failed since %(since)s.",
                    url=url,
                    since=since,
                ),
                Text("Waiting deliveries are now being sent."),
            ]
        case Stage.GIVEN_UP:
            return [
                Text(
                    "Deliveries to %(url)s that were given up in the hour from %(since)s: %(count)s.",
                    url=url,
                    since=since,
                    count=incident.count,
                ),
                *_last_error(incident),
                Text("They can be sent again from the page of the webhook."),
            ]
        case Stage.OVERLAP_ENDED:
            return [
                Text("Requests to %(url)s are signed with the newest secret only.", url=url),
                Text(
                    "If the receiver now refuses signatures, it still uses an older secret: replace it there."
                ),
            ]


def _last_error(incident: Incident) -> list[Text]:
    if isinstance(incident.last_error, Text):
        return [Text("The last error: %(error)s", error=incident.last_error)]
    return []


def _end(incident: Incident) -> list[Text]:
    if incident.disable_at is None:
        return []
    return [
        Text(
            "Unless a request succeeds before then, the webhook will be disabled at about %(time)s.",
            time=_time(incident.disable_at),
        )
    ]


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _one_line(text: str, most: int = _MOST_OF_NAME) -> str:
    """Return a text for a mail header: short, without control characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= most else line[: most - 1] + "…"


# -- why one could not be sent -----------------------------------------------------------------------------

#: The mail server refuses the address permanently; the detail is its status.
REFUSED: Final = "refused"
#: The host's function raised; the detail is the name of the exception.
RAISED: Final = "raised"
#: The worker was lost.
LOST: Final = "lost"


def error_sentence(code: str | None, detail: str | None) -> Text | None:
    """Return why the last attempt failed, for people."""
    match code:
        case None:
            return None
        case "refused":
            if detail is None:
                return Text("The address was refused. Correct the contact.")
            return Text(
                "The mail server refused the address (%(status)s). Correct the contact.",
                status=detail,
            )
        case "lost":
            return Text("The worker stopped while sending it.")
        case _:
            return Text("It could not be sent (%(why)s).", why=detail or code)


def stage_words() -> dict[str, Any]:
    """Return the name of a stage, for lists."""
    return {
        Stage.FAILING: Text("Failing"),
        Stage.HALF_TIME: Text("Half of the time has passed"),
        Stage.LAST_WARNING: Text("Last warning"),
        Stage.DISABLED: Text("Disabled"),
        Stage.RECOVERED: Text("Works again"),
        Stage.GIVEN_UP: Text("Deliveries given up"),
        Stage.OVERLAP_ENDED: Text("Secret overlap ended"),
    }
