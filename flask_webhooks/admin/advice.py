"""The meaning of an attempt's outcome and what to do about it, in a sentence or two for the receiver's owner."""

from __future__ import annotations

from ..attempt_errors import NOT_ECHOED
from ..formats import Format
from ..formats.chat.base import ChatFormat
from ..models import Attempt
from .i18n import gettext as _


def advice_for(attempt: Attempt, style: Format | None) -> str:
    """Return advice about a stored attempt.

    :param style: the format of its endpoint, if it still exists.
    """
    return advice(
        attempt.outcome,
        attempt.status,
        chat=isinstance(style, ChatFormat),
        error=attempt.error,
        code=attempt.error_code,
    )


def advice(
    outcome: str,
    status: int | None = None,
    *,
    chat: bool = False,
    error: str | None = None,
    code: str | None = None,
) -> str:
    """Return advice for one attempt; empty if nothing has to be done.

    :param chat: the endpoint is a channel of a chat, whose service the reader cannot change.
    :param error: what was wrong, in words. :param code: the same as a code of `attempt_errors`.
    """
    if code == NOT_ECHOED.code:
        return _(
            "Have the receiver answer the challenge with its token, as the whole body or as the member challenge of a "
            "JSON object. Then send another challenge: only the newest counts."
        )
    if chat and (words := _for_chat(outcome, status, error or "")):
        return words
    match outcome:
        case "refused" if status is not None:
            return _for_status(status)
        case "redirected":
            return _(
                "The URL responds with a redirect, and webhooks never follow those. Enter the final "
                "address as the endpoint's URL: look for http instead of https, a missing www or a "
                "missing slash at the end."
            )
        case "timeout":
            return _(
                "There was no complete response in time. Respond with 200 as soon as the signature is verified, and do "
                "slow work in the background."
            )
        case "dns_failed":
            return _(
                "The host name does not resolve. Check it for a typo, and check that its DNS record exists."
            )
        case "connect_failed":
            return _(
                "Nothing responded at this address. Check that the server is running, listens on this port, and that "
                "its firewall allows connections from outside."
            )
        case "tls_failed":
            return _(
                "The server's certificate is not valid for this name, has expired, or its chain is incomplete. Renew "
                "it, and include the intermediate certificates."
            )
        case "blocked":
            return _(
                "The name resolves to a private or reserved address, and webhooks are only sent to public ones. Use a "
                "public address, or ask the operator to allow this network."
            )
        case "broken":
            return _(
                "The connection was closed early, or the response was not HTTP. Check the logs of the server, and of "
                "the proxy in front of it, for this time."
            )
        case "interrupted":
            return _(
                "Our worker was stopped before the response arrived; the request may have been received. It is sent "
                "again with the same webhook-id, so that you can recognise it."
            )
        case _:
            return ""


def _for_status(status: int) -> str:
    match status:
        case 400 | 422:
            return _(
                "The receiver did not accept the request. A common cause is verifying the signature over a body that "
                "was parsed and re-serialised: verify the raw bytes instead."
            )
        case 401 | 403:
            return _(
                "The receiver refused access. Check that it uses this endpoint's current secret, and that no login, "
                "firewall or bot protection blocks the URL."
            )
        case 404:
            return _("There is nothing at this path. Check the URL for a typo.")
        case 405:
            return _("The path exists but does not accept POST. Webhooks are always sent by POST.")
        case 408 | 504:
            return _(
                "The receiver, or the proxy in front of it, took too long. Respond with 200 at once and do slow work "
                "in the background."
            )
        case 410:
            return _(
                "410 Gone means that no more events are wanted. Unless it is the response to a test, it disables "
                "the webhook; resume it if that was a mistake."
            )
        case 413:
            return _("The receiver does not accept bodies of this size. Raise its limit.")
        case 415:
            return _(
                "The receiver does not accept this content type. Have it accept application/json."
            )
        case 429:
            return _(
                "The receiver is rate limiting requests. We wait for as long as its Retry-After header says, or for a "
                "minute if it has none."
            )
        case 502 | 503:
            return _(
                "The server, or the one behind its proxy, is down or overloaded. Check that it is running and has "
                "capacity for more requests."
            )
        case _ if status >= 500:
            return _(
                "The receiver failed with an internal error. Check its logs for this time, then resend."
            )
        case _:
            return _("The receiver did not respond with a 2xx status, so this counts as a failure.")


def _for_chat(outcome: str, status: int | None, error: str) -> str:
    """Return advice for the owner of a channel; empty if that for a receiver applies."""
    match outcome:
        case "timeout" | "connect_failed" | "tls_failed" | "dns_failed" | "broken":
            return _(
                "The chat's service could not be reached or did not respond. The message is retried automatically; if "
                "this continues, check the host of the URL and the status page of the service."
            )
        case "refused" if "upgraded to a supergroup" in error:
            return _(
                "The group became a supergroup, which has a new number. The webhook now uses the new number; the "
                "activity log shows the change."
            )
        case "refused" if status is not None and 200 <= status < 300:
            return _("The chat did not accept the message: its response is shown above.")
        case "refused" if status in (400, 422):
            return _(
                "The chat did not accept the message: its response is shown above. Check that the channel, thread or "
                "topic still exists and that the webhook or the bot may write there."
            )
        case "refused" if status in (401, 403, 404, 410):
            return _(
                "The chat accepts no messages at this URL: the webhook or the workflow was deleted or switched off, "
                "the channel was archived, or the bot was removed. Create a new one in the chat, enter its URL, and "
                "resume the webhook."
            )
        case "refused" if status == 413:
            return _("The chat did not accept a message of this size.")
        case "refused" if status == 429:
            return _(
                "The chat is rate limiting messages. We wait for as long as it asks, or for a minute if it does not "
                "say; you do not need to do anything."
            )
        case "refused" if status is not None and status >= 500:
            return _(
                "The chat's service failed or was overloaded. The message is retried automatically."
            )
        case _:
            return ""
