"""Validation of the settings of endpoints. Every error names its field and says what to write instead.

Long, since it has the check of each field of an endpoint.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..access import Access, shown, tenant_is_known
from ..app_state import AllTenants, AppState
from ..catalog.registry import matches
from ..config import LEASE_RESERVE
from ..delivery.claim.rate_limit import bucket_id
from ..errors import (
    Forbidden,
    InvalidEndpoint,
    InvalidHeader,
    InvalidInput,
    InvalidSecret,
    UnreadableSecret,
)
from ..formats import Format
from ..ids import host_id
from ..models import Endpoint
from ..security.headers import check_headers
from ..security.urls import check_url
from ..security.vault import Sealed
from ..texts import Text

MAX_NAME_LENGTH = 200
MAX_DESCRIPTION_LENGTH = 2000
MAX_USER_AGENT_LENGTH = 256
MAX_CONTACT_LENGTH = 254
MAX_REASON_LENGTH = 500
MAX_TENANT_LENGTH = 255
#: The maximum number of tenants in an error.
_NAMED = 20
#: Common e-mail addresses: RFC 5321 also allows quotes and comments, which mail programs interpret differently.
_ADDRESS = re.compile(
    r"(?=.{1,64}@)[\w!#$%&'*+/=?^`{|}~-]+(\.[\w!#$%&'*+/=?^`{|}~-]+)*"
    r"@[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*",
    re.ASCII | re.IGNORECASE,
)
#: Seconds.
MIN_TIMEOUT = 0.1
#: Requests per second.
MIN_RATE_LIMIT = 0.001
MAX_RATE_LIMIT = 10_000.0


def one_line(value: Any, field: str, label: Text, longest: int) -> str:
    """Check printable text in one line, and strip it; ``None`` is the empty text."""
    if value is None:
        return ""
    if not isinstance(value, str) or not value.strip().isprintable():
        raise InvalidEndpoint(
            "Write the %(label)s as one line of text, without control characters.",
            label=label,
            field=field,
        )
    return _not_longer(value.strip(), field, label, longest)


def text(value: Any, field: str, label: Text, longest: int) -> str:
    """Check text that may have several lines; ``None`` is the empty text."""
    if value is None:
        return ""
    if (
        not isinstance(value, str)
        or not "".join(value.replace("\t", " ").splitlines()).isprintable()
    ):
        raise InvalidEndpoint(
            "Write the %(label)s as text, without control characters.", label=label, field=field
        )
    return _not_longer(value.strip(), field, label, longest)


def _not_longer(value: str, field: str, label: Text, longest: int) -> str:
    if len(value) > longest:
        raise InvalidEndpoint(
            "Shorten the %(label)s to %(most)s characters; it has %(length)s.",
            label=label,
            most=longest,
            length=len(value),
            field=field,
        )
    return value


def user_agent(value: Any) -> str | None:
    """Check a User-Agent; ``None`` (or an empty text) is the default."""
    line = one_line(value, "user_agent", Text("user agent"), MAX_USER_AGENT_LENGTH)
    if not line.isascii():
        raise InvalidEndpoint(
            "Write the user agent in ASCII letters, digits and signs.", field="user_agent"
        )
    return line or None


def contact(value: Any) -> str | None:
    """Check an e-mail address; ``None`` (or an empty text) is none."""
    line = one_line(value, "contact", Text("contact"), MAX_CONTACT_LENGTH)
    if line and not _ADDRESS.fullmatch(line):
        raise InvalidEndpoint(
            "Write one e-mail address, such as ops@example.com, without a name.", field="contact"
        )
    return line or None


def owner(given: Any, access: Access) -> str | None:
    """Return the tenant of a new object.

    :raises Forbidden: the tenant is not in scope.
    """
    everything = isinstance(access.tenant, AllTenants)
    if given is None:
        if everything:
            return None
        if len(access.tenants) == 1:
            return access.tenants[0]
        raise InvalidEndpoint(
            "Choose the tenant it belongs to: one of %(choices)s.",
            choices=", ".join(access.tenants[:_NAMED]),
            field="tenant",
        )
    if isinstance(given, AllTenants):
        raise InvalidEndpoint(
            "It belongs to one tenant: pass its id, or tenant=None for the whole server.",
            field="tenant",
        )
    tenant = host_id(given)
    if not everything:
        if tenant is None or not access.sees(tenant):
            raise Forbidden("You may only create this for your own tenants.")
        return tenant
    if tenant is None or not 0 < len(tenant) <= MAX_TENANT_LENGTH or not tenant.isprintable():
        raise InvalidEndpoint(
            "The tenant must be an id of 1 to %(most)s printable characters.",
            most=MAX_TENANT_LENGTH,
            field="tenant",
        )
    if tenant_is_known(access.state, tenant) is False:
        raise InvalidEndpoint(
            "There is no tenant %(tenant)s.", tenant=shown(tenant), field="tenant"
        )
    return tenant


def url(state: AppState, value: Any) -> str:
    """Check a URL, and return it in its normal form."""
    return check_url(value, policy=state.policy, require_https=state.settings.require_https)


def wire_format(state: AppState, name: Any, endpoint_url: str, kept: str | None = None) -> Format:
    """Return the named format, or the one that is detected from the URL.

    :param kept: the current format, which the endpoint may keep even if it is not offered.
    """
    if name is None or name == "":
        found = state.formats.detect(endpoint_url, state.settings.default_format)
        if found.name not in state.offered_formats:
            raise InvalidEndpoint(
                "URLs of %(format)s are not accepted here. Choose a URL for one of these formats: %(choices)s.",
                format=found.label,
                choices=", ".join(item.label for item in state.offered_formats),
                field="url",
            )
        return found
    if not isinstance(name, str):
        raise InvalidEndpoint(
            'Name the format by its text, such as "standard", or leave it out.', field="format"
        )
    return state.formats[name] if name == kept else state.offered_formats[name]


def sealed_url(state: AppState, wire: Format, endpoint_url: str) -> tuple[str, Sealed | None]:
    """Return the URL for display, and the encrypted complete URL if it contains a secret."""
    shown = wire.mask_url(endpoint_url)
    if shown == endpoint_url and not wire.secret_url:
        return endpoint_url, None
    return shown, state.vault.encrypt(endpoint_url)


def whole_url(state: AppState, endpoint: Endpoint) -> str:
    """Return the complete URL.

    :raises UnreadableSecret: it was encrypted with a key that no longer exists.
    """
    if endpoint.url_sealed is None:
        return endpoint.url_shown
    opened: str = state.vault.decrypt(endpoint.url_sealed)
    return opened


def secret(wire: Format, given: Any, *, key_pair: bool = False) -> str | None:
    """Return the secret of a new endpoint: the given one, or a new one; ``None`` for none.

    :param given: ``None`` generates one, ``False`` means none.
    :param key_pair: generate a private key.
    """
    if given is False:
        if wire.signed and not wire.secret_optional:
            raise InvalidSecret(
                "%(format)s needs a secret: leave it out to get a new one.", format=wire.label
            )
        if key_pair:
            raise InvalidSecret("Choose either no secret or a key pair, not both.")
        return None
    if key_pair:
        if given is not None and given != "":
            raise InvalidSecret("Leave the secret out: a new key pair is generated.")
        return wire.generate_key_pair()
    if given is None or given == "":
        return wire.generate_secret() if wire.signed else None
    if not wire.signed:
        raise InvalidSecret("Leave the secret out: %(format)s does not sign.", format=wire.label)
    if not isinstance(given, str):
        raise InvalidSecret("Write the secret as text, or leave it out to get a new one.")
    return wire.check_secret(given)


def events(
    state: AppState, given: Any, dialect: str | None, kept: Iterable[str] | None = ()
) -> list[str] | None:
    """Return the subscriptions in our names.

    :param kept: the current ones, which the endpoint may keep even if they are not offered.
    :param dialect: the format whose names are used; names that it does not have are read as ours.
    """
    offered, known = state.offered_types, frozenset(kept or ())
    if dialect is None or given is None or isinstance(given, str | Mapping):
        return offered.check_patterns(given, known)
    if not isinstance(given, Iterable):
        return offered.check_patterns(given, known)
    spoken = state.formats[dialect]
    names: list[Any] = []
    for name in given:
        names += (isinstance(name, str) and _translated(state, spoken, name.strip())) or [name]
    return offered.check_patterns(names, known)


def _translated(state: AppState, spoken: Format, name: str) -> list[str]:
    """Return our names for a name or an unknown prefix of the format; empty if the format does not have it."""
    if name.endswith(".*") and not any(matches([name], kind.name) for kind in state.catalog):
        return [ours for ours, theirs in spoken.event_names.items() if theirs.startswith(name[:-1])]
    return list(spoken.event_types(name))


def options(wire: Format, given: Any, endpoint_url: str) -> dict[str, Any] | None:
    """Check the options of the format; ``None`` is no options."""
    if given is not None and not (
        isinstance(given, Mapping) and all(isinstance(name, str) for name in given)
    ):
        raise InvalidEndpoint(
            'Write the options as names and values, such as {"template": "…"}.', field="options"
        )
    return wire.check_options(given or {}, endpoint_url) or None


def bucket(wire: Format, endpoint_url: str, tenant: str | None) -> str | None:
    """Return the id of the limit that the endpoint shares with others of its tenant at the same server."""
    shared = wire.bucket(endpoint_url)
    return bucket_id(tenant, wire.name, endpoint_url, shared) if shared else None


def timeout(state: AppState, value: Any) -> float | None:
    """Seconds for a whole request; ``None`` leaves it to the format and ``WEBHOOKS_TIMEOUT``."""
    longest = state.settings.lease - LEASE_RESERVE
    return _number(value, "timeout", Text("timeout"), Text("seconds"), MIN_TIMEOUT, longest)


def rate_limit(value: Any) -> float | None:
    """Requests a second; ``None`` is as many as it takes."""
    return _number(
        value,
        "rate_limit",
        Text("rate limit"),
        Text("requests a second"),
        MIN_RATE_LIMIT,
        MAX_RATE_LIMIT,
    )


def _number(
    value: Any, field: str, label: Text, unit: Text, least: float, most: float
) -> float | None:
    if value is None:
        return None
    # The chained comparison also refuses NaN.
    if isinstance(value, bool) or not (isinstance(value, int | float) and least <= value <= most):
        raise InvalidEndpoint(
            "Write the %(label)s as a number of %(unit)s from %(least)s to %(most)s, or leave it out.",
            label=label,
            unit=unit,
            least=f"{least:g}",
            most=f"{most:g}",
            field=field,
        )
    return float(value)


def ordered(value: Any) -> bool:
    """Check the flag for ordered delivery."""
    if not isinstance(value, bool):
        raise InvalidEndpoint(
            "Write true or false: whether deliveries go one after another.", field="ordered"
        )
    return value


def test_first(value: Any) -> bool:
    """Whether a new endpoint gets nothing but tests until one of them succeeds."""
    if not isinstance(value, bool):
        raise InvalidEndpoint(
            "Write true or false: whether a test must succeed before anything else is sent.",
            field="test_first",
        )
    return value


def headers(state: AppState, given: Any, stored: Sealed | None = None) -> dict[str, str]:
    """Check custom headers.

    :param given: names and values as a mapping or pairs; the value ``None`` keeps the stored one.
    :param stored: the current headers.
    """
    if given is None:
        return {}
    pairs = list(given.items()) if isinstance(given, Mapping) else given
    if isinstance(pairs, list) and any(
        isinstance(pair, tuple) and pair[1:] == (None,) for pair in pairs
    ):
        known = stored_headers(state, stored)
        if known is None:
            raise InvalidHeader(
                "Enter the values of all headers again: the stored ones can no longer be decrypted."
            )
        values = {name.lower(): value for name, value in known.items()}
        pairs = [
            (name, values.get(str(name).strip().lower(), "") if value is None else value)
            for name, value in pairs
        ]
    return check_headers(pairs)


def stored_headers(state: AppState, stored: Sealed | None) -> dict[str, str] | None:
    """Return the decrypted headers; ``None`` if no configured key can decrypt them."""
    if stored is None:
        return {}
    try:
        opened: dict[str, str] = state.vault.decrypt(stored)
    except UnreadableSecret:
        return None
    return opened


def check_choice(value: Any, field: str, choices: tuple[str, ...]) -> str:
    """Check that a value is one of the choices."""
    if value not in choices:
        raise InvalidInput("Choose one of %(choices)s.", choices=", ".join(choices), field=field)
    return str(value)
