"""Explanations of the states of deliveries, and of why an endpoint has an event or not.

They are English texts with templates and values: pages translate them, commands print them.
"""

from __future__ import annotations

from datetime import datetime

from ..filters.explaining import FailedCondition
from ..models import ON_DEMAND, Delivery, Endpoint, EndpointHealth, Trigger
from ..texts import Text, word


def reason_text(reason: str | None, trigger: str = "") -> Text:
    """Return why a delivery has ended without success; empty if there is no explanation.

    :param trigger: why its last attempt was made.
    """
    if reason == "exhausted" and trigger == "test":
        return Text("A test is only attempted once. You can resend it at any time.")
    words = {
        "exhausted": Text("Every attempt of the retry schedule has failed."),
        "gone": Text(
            "The receiver wants no more events: it responded with 410 Gone, or refuses permanently."
        ),
        "blocked": Text("Webhooks may not be sent to the endpoint's address."),
        "interrupted": Text("Our worker was stopped during the request too many times."),
        "endpoint_deleted": Text("The endpoint was deleted."),
        "coalesced": Text(
            "It was coalesced: another event with the same key had been sent shortly before. The next one counts it."
        ),
        "cancelled": Text("It was cancelled manually."),
        "erased": Text("The data of the event was erased."),
        "discarded": Text("It was discarded when the endpoint was resumed."),
    }
    return words.get(reason or "") or word(reason or "")


def missing_text(missing: str) -> Text:
    """Return the text of a `Missing`."""
    words = {
        "not_kept": Text("Not kept."),
        "expired": Text("No longer kept."),
        "erased": Text("Erased."),
        "unreadable": Text("It cannot be decrypted: the key is missing, or it was changed."),
    }
    return words.get(missing) or word(missing)


def hold_text(reason: str | None) -> Text:
    """Return why nothing is sent to an endpoint for a while."""
    words = {
        "retry_after": Text("The receiver asked us to wait (429 or Retry-After)."),
        "failing": Text("It keeps failing, so it is only tried occasionally."),
        "unreadable_secret": Text("Its secret, a header or its URL cannot be decrypted."),
        "unknown_format": Text("The application no longer has its format."),
        "version_failed": Text(
            "A function of the application cannot turn data into the version that the webhook gets."
        ),
        "no_dns": Text("Our name server does not respond, so everything waits."),
        "no_certificates": Text("We have no CA certificates, so everything waits."),
        "no_descriptors": Text("Our worker can open no more connections, so everything waits."),
        "no_route": Text("Our worker has no network, so everything waits."),
        "no_proxy": Text("Our proxy does not open connections, so everything waits."),
    }
    return words.get(reason or "") or word(reason or "")


def held_text(state: str) -> Text:
    """Return why a delivery is held, and how to release it.

    :param state: the state of the endpoint.
    """
    match state:
        case "unverified":
            return Text(
                "It is held, because the webhook is not verified yet. It is sent as soon as the receiver has answered "
                "a challenge, or a test."
            )
        case "paused":
            return Text("It is held, because the webhook is paused. Resume the webhook to send it.")
        case "disabled":
            return Text(
                "It is held, because the webhook is disabled. Resume the webhook to send it."
            )
        case _:
            return Text("It stayed on hold when the webhook was resumed. Resend it manually.")


def held_back(delivery: Delivery, health: EndpointHealth, now: datetime) -> bool:
    """Return ``True`` if it waits for its endpoint, which only gets manual requests for a while."""
    until = health.hold_until
    return until is not None and until > now and delivery.trigger not in ON_DEMAND


def rate_limited(health: EndpointHealth, now: datetime) -> bool:
    """Return ``True`` if an endpoint waits for a limit."""
    return health.wait_until is not None and health.wait_until > now


def owed_text(
    delivery: Delivery, endpoint: Endpoint, health: EndpointHealth, now: datetime
) -> list[Text]:
    """Return the state of a delivery, and what it waits for, in a sentence or two."""
    match delivery.state:
        case "succeeded":
            return [Text("It was delivered.")]
        case "sending":
            return [Text("It is being sent right now.")]
        case "held":
            return [held_text(endpoint.state)]
        case "pending" if held_back(delivery, health, now):
            return [Text("It waits for the webhook."), hold_text(health.hold_reason)]
        case "pending" if rate_limited(health, now):
            return [
                Text(
                    "It is waiting: a limit of the webhook or of its destination has been reached."
                )
            ]
        case "pending" if delivery.attempt_count and delivery.trigger == Trigger.RETRY:
            return [Text("An attempt failed; it is retried automatically.")]
        case "pending" if endpoint.ordered:
            return [Text("It is waiting: the webhook receives one delivery at a time.")]
        case "pending" if endpoint.rate_limit is not None:
            return [Text("It is waiting: the webhook has a rate limit.")]
        case "pending":
            return [Text("It is queued, and is sent as soon as a worker is free.")]
        case _:
            return [reason_text(delivery.reason, delivery.trigger)]


def routing_text(why: str, event_type: str) -> Text:
    """Return why an endpoint did not get an event, and what to do about it."""
    words = {
        "owed": Text("There is a delivery to it."),
        "test": Text("It was a test event, sent manually to one webhook only."),
        "other_tenant": Text("The event and the webhook belong to different tenants."),
        "without_tenant": Text(
            "The event was sent without a tenant, so only webhooks of the whole server get it."
        ),
        "added_later": Text("The webhook did not exist yet when the event was recorded."),
        "deleted": Text("The webhook had been deleted before."),
        "not_subscribed": Text(
            "The webhook was not subscribed to %(type)s. Add it to the webhook's events to get it in future.",
            type=event_type,
        ),
        "subscribed_later": Text(
            "The webhook was only subscribed to %(type)s afterwards.", type=event_type
        ),
        "filtered": Text("The filter of the webhook did not let the event through."),
        "removed": Text("The webhook was subscribed, but its delivery is no longer kept."),
    }
    return words.get(why) or word(why)


def failed_text(failed: FailedCondition) -> Text:
    """Return a condition of a filter that an event did not meet: ``data.amount is 5, and must be at least 100.``"""
    expected = failed.expected
    wanted = {
        "=": Text("must be %(expected)s", expected=expected),
        "$eq": Text("must be %(expected)s", expected=expected),
        "$neq": Text("must not be %(expected)s", expected=expected),
        "$gt": Text("must be greater than %(expected)s", expected=expected),
        "$gte": Text("must be at least %(expected)s", expected=expected),
        "$lt": Text("must be less than %(expected)s", expected=expected),
        "$lte": Text("must be at most %(expected)s", expected=expected),
        "$in": Text("must be one of %(expected)s", expected=expected)
        if expected.startswith("[")
        else Text("must contain %(expected)s", expected=expected),
        "$nin": Text("must be none of %(expected)s", expected=expected)
        if expected.startswith("[")
        else Text("must not contain %(expected)s", expected=expected),
        "$startsWith": Text("must start with %(expected)s", expected=expected),
        "$endsWith": Text("must end with %(expected)s", expected=expected),
        "$exist": Text("must exist") if expected == "true" else Text("must not exist"),
        "$not": Text("must not meet: %(expected)s", expected=expected),
    }.get(failed.operator) or Text(
        "must be %(operator)s %(expected)s", operator=failed.operator, expected=expected
    )
    path = failed.path or "event"
    if failed.missing:
        return Text("%(path)s is missing, and %(wanted)s.", path=path, wanted=wanted)
    if failed.found is None:
        return Text("%(path)s %(wanted)s.", path=path, wanted=wanted)
    return Text(
        "%(path)s is %(found)s, and %(wanted)s.", path=path, found=failed.found, wanted=wanted
    )
