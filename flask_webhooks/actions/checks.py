"""What people may write into an endpoint. Every refusal names its field and says what to write instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import (
    Forbidden,
    InvalidEndpoint,
    InvalidHeader,
    InvalidInput,
    InvalidSecret,
    UnreadableSecret,
)
from ..formats import Format
from ..headers import check_headers
from ..models import Endpoint
from ..state import AllTenants, State
from ..urls import check_url
from ..vault import Sealed

MAX_NAME_LENGTH = 200
MAX_DESCRIPTION_LENGTH = 2000
MAX_USER_AGENT_LENGTH = 256
MAX_REASON_LENGTH = 500
MAX_TENANT_LENGTH = 255


def one_line(value: Any, field: str, label: str, longest: int) -> str:
    """Printable text in one line, without outer spaces; ``None`` is the empty text."""
    if value is None:
        return ""
    if not isinstance(value, str) or not value.strip().isprintable():
        raise InvalidEndpoint(
            f"Write the {label} as one line of text, without control characters.", field=field
        )
    return _not_longer(value.strip(), field, label, longest)


def text(value: Any, field: str, label: str, longest: int) -> str:
    """Text that may have several lines; ``None`` is the empty text."""
    if value is None:
        return ""
    if (
        not isinstance(value, str)
        or not "".join(value.replace("\t", " ").splitlines()).isprintable()
    ):
        raise InvalidEndpoint(
            f"Write the {label} as text, without control characters.", field=field
        )
    return _not_longer(value.strip(), field, label, longest)


def _not_longer(value: str, field: str, label: str, longest: int) -> str:
    if len(value) > longest:
        raise InvalidEndpoint(
            f"Shorten the {label} to {longest} characters; it has {len(value)}.", field=field
        )
    return value


def user_agent(value: Any) -> str | None:
    """``None`` (or an empty text) is our own."""
    line = one_line(value, "user_agent", "user agent", MAX_USER_AGENT_LENGTH)
    if not line.isascii():
        raise InvalidEndpoint(
            "Write the user agent in ASCII letters, digits and signs.", field="user_agent"
        )
    return line or None


def owner(given: Any, scope: str | AllTenants) -> str | None:
    """The tenant of a new endpoint.

    :raises Forbidden: it is not the one tenant that is in scope.
    """
    if not isinstance(scope, AllTenants):
        if given is not None and str(given) != scope:
            raise Forbidden("You may create endpoints for your own tenant only.")
        return scope
    if given is None:
        return None
    if isinstance(given, AllTenants):
        raise InvalidEndpoint(
            "An endpoint belongs to one tenant: pass its id, or tenant=None for the whole server.",
            field="tenant",
        )
    tenant = str(given)
    if not 0 < len(tenant) <= MAX_TENANT_LENGTH or not tenant.isprintable():
        raise InvalidEndpoint(
            f"The tenant must be an id of 1 to {MAX_TENANT_LENGTH} printable characters.",
            field="tenant",
        )
    return tenant


def url(state: State, value: Any) -> str:
    """One that this application may send webhooks to, in its normal spelling."""
    return check_url(value, policy=state.policy, require_https=state.settings.require_https)


def wire_format(state: State, name: Any, endpoint_url: str) -> Format:
    """The named format, or the one that the URL asks for."""
    if name is None or name == "":
        return state.formats.detect(endpoint_url, state.settings.default_format)
    if not isinstance(name, str):
        raise InvalidEndpoint(
            'Name the format by its text, such as "standard", or leave it out.', field="format"
        )
    return state.formats[name]


def sealed_url(state: State, wire: Format, endpoint_url: str) -> tuple[str, Sealed | None]:
    """The URL as it may be shown, and the whole one encrypted where that is a secret."""
    if not wire.secret_url:
        return endpoint_url, None
    return wire.mask_url(endpoint_url), state.vault.seal(endpoint_url)


def whole_url(state: State, endpoint: Endpoint) -> str:
    """The URL that requests go to.

    :raises UnreadableSecret: it is encrypted with a key that is gone.
    """
    if endpoint.url_sealed is None:
        return endpoint.url_shown
    opened: str = state.vault.open(endpoint.url_sealed)
    return opened


def secret(wire: Format, given: Any) -> str | None:
    """The secret of a new endpoint: the given one, or a fresh one; ``None`` for unsigned formats."""
    if given is None or given == "":
        return wire.generate_secret() if wire.signed else None
    if not wire.signed:
        raise InvalidSecret(f"Leave the secret out: {wire.label} does not sign.")
    if not isinstance(given, str):
        raise InvalidSecret("Write the secret as text, or leave it out to get a new one.")
    return wire.check_secret(given)


def headers(state: State, given: Any, stored: Sealed | None = None) -> dict[str, str]:
    """Checked custom headers.

    :param given: name to value; the value ``None`` keeps the one that is stored under that name.
    :param stored: the headers as they are.
    """
    if given is None:
        return {}
    if isinstance(given, Mapping) and None in given.values():
        known = stored_headers(state, stored)
        if known is None:
            raise InvalidHeader(
                "Write the values of all headers again: the stored ones cannot be decrypted any more."
            )
        values = {name.lower(): value for name, value in known.items()}
        given = {
            name: values.get(str(name).lower(), "") if value is None else value
            for name, value in given.items()
        }
    return check_headers(given)


def stored_headers(state: State, stored: Sealed | None) -> dict[str, str] | None:
    """Decrypted headers; ``None`` if no configured key fits."""
    if stored is None:
        return {}
    try:
        opened: dict[str, str] = state.vault.open(stored)
    except UnreadableSecret:
        return None
    return opened


def one_of(value: Any, field: str, choices: tuple[str, ...]) -> str:
    """One word of a few."""
    if value not in choices:
        raise InvalidInput(f"Choose one of {', '.join(choices)}.", field=field)
    return str(value)
