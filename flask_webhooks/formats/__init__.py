"""Formats of requests: subclasses of `Format`, one short module each."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator

from ..errors import ConfigurationError, InvalidEndpoint
from ..texts import Text, quoted
from .base import (
    Answer,
    ExportedEndpoint,
    Format,
    Move,
    OutgoingEvent,
    Refusal,
    Rendered,
    Target,
)
from .chat.discord import Discord
from .chat.slack import Slack
from .chat.teams import Teams
from .chat.telegram import Telegram
from .cloudevents import CloudEvents
from .custom import Custom
from .secrets import HexSigned
from .standard import Standard, StandardSigned
from .vendors.akuworks import AkuWorks
from .vendors.aureva import Aureva
from .vendors.authforge import AuthForge
from .vendors.authon import Authon
from .vendors.authvaultix import AuthVaultix

__all__ = [
    "Answer",
    "ExportedEndpoint",
    "Format",
    "Formats",
    "HexSigned",
    "Move",
    "OutgoingEvent",
    "Refusal",
    "Rendered",
    "StandardSigned",
    "Target",
    "builtin_formats",
]


class Formats:
    """The formats of one extension, by name."""

    def __init__(self, formats: tuple[Format, ...] = ()) -> None:
        self._formats: dict[str, Format] = {}
        for item in formats:
            self.add(item)

    def add(self, item: Format) -> Format:
        """Add a custom format of the host.

        :raises ConfigurationError: the name is taken.
        """
        if item.name in self._formats:
            raise ConfigurationError(
                f"There is already a format named {item.name!r}; choose another name for yours."
            )
        self._formats[item.name] = item
        return item

    def only(self, names: Collection[str] | None) -> Formats:
        """Return the formats with these names."""
        return (
            self if names is None else Formats(tuple(item for item in self if item.name in names))
        )

    def __getitem__(self, name: str) -> Format:
        try:
            return self._formats[name]
        except KeyError:
            close = self.close_to(name)
            hint = "" if close is None else Text(" Did you mean %(names)s?", names=repr(close))
            raise InvalidEndpoint(
                "There is no format %(name)s.%(hint)s Choose one of: %(choices)s.",
                name=quoted(name),
                hint=hint,
                choices=", ".join(self._formats),
                field="format",
            ) from None

    def close_to(self, name: str) -> str | None:
        """Return the most similar name."""
        return next(
            iter(difflib.get_close_matches(name[:100].lower(), self._formats, n=1, cutoff=0.7)),
            None,
        )

    def __contains__(self, name: object) -> bool:
        return name in self._formats

    def __iter__(self) -> Iterator[Format]:
        return iter(self._formats.values())

    def detect(self, url: str, default: str) -> Format:
        """Return the format for the host and path of a URL, else the default."""
        return next((item for item in self if item.matches(url)), None) or self[default]


def builtin_formats() -> Formats:
    """Return new instances of all built-in formats."""
    return Formats(
        (
            Standard(),
            CloudEvents(),
            Custom(),
            Discord(),
            Slack(),
            Telegram(),
            Teams(),
            Aureva(),
            Authon(),
            AuthVaultix(),
            AkuWorks(),
            AuthForge(),
        )
    )
