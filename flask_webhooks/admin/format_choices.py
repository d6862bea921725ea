"""The choices of formats in a form, with descriptions and options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..formats import Format, Formats
from ..formats.chat.base import ChatFormat
from ..formats.chat.telegram import Telegram
from ..formats.cloudevents import CloudEvents
from ..formats.custom import Custom
from ..models import Endpoint
from .i18n import gettext as _

CUSTOM = Custom.name
#: Options of chats, whose format may be detected from the URL.
_CHAT_OPTIONS = ("chat_id", "message_thread_id", "show_keys")
#: All options that the form can set.
OPTIONS = ("template", "source", *_CHAT_OPTIONS)


@dataclass(frozen=True, slots=True)
class FormatChoice:
    """One option of the select."""

    #: Empty: detected from the URL.
    name: str
    label: str
    #: A description; empty for a custom format of the host.
    note: str
    #: The fields of the form that apply to it: names of options, ``secret``, ``key_pair`` and ``none``.
    parts: tuple[str, ...]


def option_names(item: Format) -> tuple[str, ...]:
    """Return the options of a format that the form can set."""
    match item:
        case Custom():
            return ("template",)
        case CloudEvents():
            return ("source",)
        case Telegram():
            return _CHAT_OPTIONS
        case ChatFormat():
            return ("show_keys",)
        case _:
            return ()


def sent_options(formats: Formats, name: str, default: str) -> tuple[str, ...]:
    """Return the options that apply to the chosen format; an empty name means detection from the URL."""
    if name:
        return option_names(formats[name]) if name in formats else ()
    return (*option_names(formats[default]), *_CHAT_OPTIONS)


def has_key_pairs(item: Format) -> bool:
    """Return whether it can sign with a key pair."""
    return type(item).generate_key_pair is not Format.generate_key_pair


def format_choices(
    formats: Formats, offered: Formats, default: str, endpoint: Endpoint | None
) -> list[FormatChoice]:
    """Return the offered formats, and that of the endpoint.

    For a new endpoint, detection from the URL comes first if a chat is offered.
    """
    notes = _notes()
    choices = [
        FormatChoice(item.name, item.label, notes.get(item.name, ""), _parts(item))
        for item in formats
        if item.name in offered or (endpoint is not None and item.name == endpoint.format)
    ]
    chats = [item for item in offered if isinstance(item, ChatFormat)]
    if endpoint is None and chats:
        note = _(
            "The URL of a channel gets the format of its chat (%(chats)s); all other URLs get %(format)s.",
            chats=", ".join(item.label for item in chats),
            format=formats[default].label,
        )
        choices.insert(
            0, FormatChoice("", _("Detect from the URL"), note, _parts(formats[default]))
        )
    elif endpoint is not None and endpoint.format not in formats:
        note = _("The application no longer has this format, so nothing can be sent.")
        choices.append(FormatChoice(endpoint.format, endpoint.format, note, ()))
    return choices


def shown_options(endpoint: Endpoint) -> list[tuple[str, str]]:
    """Return labels and values of an endpoint's format options, without a template."""
    options: Mapping[str, Any] = endpoint.options or {}
    labels = {
        "source": _("Source"),
        "chat_id": _("Chat"),
        "message_thread_id": _("Topic"),
        "show_keys": _("Licence keys and hardware ids"),
    }
    return [
        (labels.get(name, name), _("shown in full") if name == "show_keys" else str(value))
        for name, value in options.items()
        if name != "template"
    ]


def _parts(item: Format) -> tuple[str, ...]:
    signing = (
        ("secret", item.signed),
        ("key_pair", item.signed and has_key_pairs(item)),
        ("none", item.signed and item.secret_optional),
    )
    return (*(name for name, applies in signing if applies), *option_names(item))


def _notes() -> dict[str, str]:
    chat = _(
        "A message in a channel. There is no secret: anyone who knows the URL can write there, so the URL is stored "
        "encrypted and shown masked."
    )
    existing = _("For an existing receiver that was written for this service.")
    own_words = {
        "aureva": _("Without a secret, requests carry no signature."),
        "authon": _(
            "It signs nothing: each request carries the secret itself in the header X-Webhook-Secret, so anyone who "
            "can read one request can forge others. Use HTTPS, and do not use the secret anywhere else."
        ),
        "authvaultix": _("Signed by HMAC in the header X-Webhook-Signature."),
        "akuworks": _(
            "Signed by HMAC in the body and in a header; its receivers must respond within 5 seconds."
        ),
        "authforge": _("Signed by HMAC in the header X-AuthForge-Signature."),
    }
    return {
        "standard": _(
            "For new receivers. Signed as Standard Webhooks, which has libraries for most languages."
        ),
        "cloudevents": _("CloudEvents 1.0 in structured mode, signed as Standard Webhooks."),
        "custom": _("Your own JSON, built from a template and signed as Standard Webhooks."),
        **dict.fromkeys(("discord", "slack", "telegram", "teams"), chat),
        **{name: f"{existing} {words}" for name, words in own_words.items()},
    }
