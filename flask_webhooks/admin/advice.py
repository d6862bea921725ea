"""What an attempt's outcome means and what to do about it, in a sentence or two for the receiver's owner."""

from __future__ import annotations

from .i18n import gettext as _


def advice(
    outcome: str, status: int | None = None, *, chat: bool = False, error: str | None = None
) -> str:
    """Plain-language advice for one attempt; empty where nothing has to be done.

    :param chat: the endpoint is a channel of a chat, whose service the reader cannot change.
    """
    if chat and (words := _for_chat(outcome, status, error or "")):
        return words
    match outcome:
        case "refused" if status is not None:
            return _for_status(status)
        case "redirected":
            return _(
                "The URL answers with a redirect, and webhooks never follow those. Enter the final "
                "address as the endpoint's URL: look for http instead of https, a missing www or a "
                "missing slash at the end."
            )
        case "timeout":
            return _(
                "There was no complete answer in time. Answer with 200 as soon as the signature is "
                "verified, and do slow work afterwards in the background."
            )
        case "dns_failed":
            return _(
                "The host name does not resolve. Check it for a typing error, and that its DNS record exists."
            )
        case "connect_failed":
            return _(
                "Nothing answered at this address. Check that the server runs, listens on this port and "
                "lets connections from outside through its firewall."
            )
        case "tls_failed":
            return _(
                "The server's certificate is not valid for this name, has expired, or its chain is not "
                "complete. Renew it, and send the intermediate certificates along."
            )
        case "blocked":
            return _(
                "The name leads to a private or reserved address, and webhooks are only sent to public "
                "ones. Use a public address, or ask the operator to allow this network."
            )
        case "broken":
            return _(
                "The connection was closed in the middle, or what came back was not HTTP. Look into the "
                "logs of the server, and of the proxy in front of it, at this time."
            )
        case "interrupted":
            return _(
                "Our worker was stopped before the answer came; the request may have arrived. It is sent "
                "again with the same webhook-id, so that you can recognise it."
            )
        case _:
            return ""


def _for_status(status: int) -> str:
    match status:
        case 400 | 422:
            return _(
                "The receiver did not accept the request. Often it checks the signature over a body that "
                "was parsed and written anew: verify the raw bytes instead."
            )
        case 401 | 403:
            return _(
                "The receiver refused access. Check that it uses this endpoint's current secret, and that "
                "neither a login nor a firewall or bot protection stands before the URL."
            )
        case 404:
            return _("There is nothing at this path. Check the URL for a typing error.")
        case 405:
            return _("The path exists but does not take POST. Webhooks are always sent by POST.")
        case 408 | 504:
            return _(
                "The receiver, or the proxy in front of it, took too long. Answer with 200 at once and do "
                "slow work afterwards in the background."
            )
        case 410:
            return _(
                "410 Gone says that no more events are wanted. In answer to anything but a test it disables "
                "the webhook; resume it if that was a mistake."
            )
        case 413:
            return _("The receiver does not take bodies of this size. Raise its limit.")
        case 415:
            return _("The receiver does not take this content type: accept application/json.")
        case 429:
            return _(
                "The receiver asks for fewer requests. We wait for as long as its Retry-After header says, or for a "
                "minute where it names no time."
            )
        case 502 | 503:
            return _(
                "The server, or the one behind its proxy, is down or overloaded. Check that it runs and has "
                "room for more requests."
            )
        case _ if status >= 500:
            return _(
                "The receiver failed with an error of its own. Look into its logs at this time; then resend."
            )
        case _:
            return _("The receiver did not answer with a 2xx status, so this counts as a failure.")


def _for_chat(outcome: str, status: int | None, error: str) -> str:
    """Advice for the owner of a channel; empty where that for a receiver holds as well."""
    match outcome:
        case "timeout" | "connect_failed" | "tls_failed" | "dns_failed" | "broken":
            return _(
                "The chat's service could not be reached or did not answer. The message is sent again by itself; "
                "if that goes on, check the host of the URL and the status page of the service."
            )
        case "refused" if "upgraded to a supergroup" in error:
            return _(
                "The group became a supergroup, which has another number. The webhook goes to the new number "
                "from then on; its entry in the activity says so."
            )
        case "refused" if status is not None and 200 <= status < 300:
            return _("The chat did not take the message: what it says stands above.")
        case "refused" if status in (400, 422):
            return _(
                "The chat did not take the message: what it says stands above. Check that channel, thread or "
                "topic still exist and that the webhook or the bot may write there."
            )
        case "refused" if status in (401, 403, 404, 410):
            return _(
                "The chat takes no messages at this URL: the webhook or the workflow was deleted or switched off, "
                "the channel was archived, or the bot was removed. Make a new one in the chat, enter its URL, "
                "and resume the webhook."
            )
        case "refused" if status == 413:
            return _("The chat did not take a message of this size.")
        case "refused" if status == 429:
            return _(
                "The chat asks for fewer messages. We wait for as long as it says, or for a minute where it "
                "names no time; nothing has to be done."
            )
        case "refused" if status is not None and status >= 500:
            return _(
                "The chat's service failed or was overloaded. The message is sent again by itself."
            )
        case _:
            return ""
