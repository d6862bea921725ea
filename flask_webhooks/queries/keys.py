"""The public keys of endpoints with key pairs, and the use of encryption keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ..access import Access, find_endpoint
from ..db.transactions import database_time
from ..errors import UnreadableSecret
from ..models import Endpoint
from ..security.signing import live_secrets
from ..stored_secrets import EncryptedValues, encrypted_values, old_body_keys


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key for a receiver, which is not secret."""

    #: ``whpk_`` and base 64.
    text: str
    #: When it expires; ``None`` is until it is rotated.
    expires_at: datetime | None


def public_keys(
    access: Access, endpoint: Endpoint | str, *, now: datetime | None = None
) -> tuple[PublicKey, ...]:
    """Return the active public keys of an endpoint, newest first; empty if it only has shared secrets.

    :param endpoint: its id, or the endpoint in scope.
    :raises NotFound: there is no such endpoint in scope.
    :raises Forbidden: not allowed to ``view`` it.
    """
    if isinstance(endpoint, str):
        endpoint = find_endpoint(access, endpoint)
    access.require("view", endpoint)
    state = access.state
    if endpoint.secrets_sealed is None or endpoint.format not in state.formats:
        return ()
    style = state.formats[endpoint.format]
    if not style.signed:
        return ()
    try:
        items = state.vault.decrypt(endpoint.secrets_sealed)
    except UnreadableSecret:
        return ()
    if now is None and any(item["expires_at"] is not None for item in items):
        with access.read() as session:
            now = database_time(session)
    live = items if now is None else live_secrets(items, now.timestamp())
    return tuple(
        PublicKey(text, None if end is None else datetime.fromtimestamp(end, UTC))
        for item, end in ((item, item["expires_at"]) for item in live)
        if (text := style.public_key(item["secret"])) is not None
    )


#: Endpoints that one statement reads.
BATCH = 500


@dataclass(frozen=True, slots=True)
class KeyUse:
    """The keys with which the secrets, headers and URLs of endpoints are encrypted, as ids of endpoints."""

    #: The number of endpoints with encrypted values.
    endpoints: int
    #: Endpoints with values that need an older key.
    older: tuple[str, ...]
    #: Endpoints with values that no key decrypts.
    unreadable: tuple[str, ...]
    #: Numbers of attempts whose bodies need an older key, and whose bodies no key decrypts.
    older_bodies: int = 0
    unreadable_bodies: int = 0


def key_use(access: Access) -> KeyUse:
    """Find out which endpoints need which keys, by decrypting all values.

    :raises Forbidden: not allowed to ``view``.
    """
    access.require("view")
    state = access.state
    count = 0
    older: list[str] = []
    unreadable: list[str] = []
    for batch in _batches(access):
        for item in batch:
            count += 1
            outdated = item.outdated(state)
            if not outdated:
                continue
            try:
                for value in outdated.values():
                    state.vault.decrypt(value)
            except UnreadableSecret:
                unreadable.append(item.endpoint_id)
            else:
                older.append(item.endpoint_id)
    with access.read() as session:
        bodies = old_body_keys(session, access)
    known = sum(number for key, number in bodies.items() if key in state.vault.bodies)
    lost = sum(bodies.values()) - known
    return KeyUse(count, tuple(older), tuple(unreadable), known, lost)


def _batches(access: Access) -> Iterator[Sequence[EncryptedValues]]:
    after = ""
    while True:
        with access.read() as session:
            batch = encrypted_values(session, access, after, BATCH)
        if not batch:
            return
        yield batch
        after = batch[-1].endpoint_id
