"""Keys: the public ones of an endpoint that signs by key pairs, and those that encrypt at rest."""

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
    """What a receiver verifies by. It is no secret."""

    #: ``whpk_`` and base 64.
    text: str
    #: Until when it signs; ``None`` is until it is rotated.
    expires_at: datetime | None


def public_keys(
    access: Access, endpoint: Endpoint | str, *, now: datetime | None = None
) -> tuple[PublicKey, ...]:
    """The live public keys of an endpoint, newest first; none where it signs by shared secrets only.

    :param endpoint: its id, or itself as it was found in scope.
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
    """With which keys the secrets, headers and URLs of endpoints are encrypted. Endpoints, by their ids."""

    #: How many have something that is encrypted.
    endpoints: int
    #: Something of theirs needs an older key.
    older: tuple[str, ...]
    #: Something of theirs cannot be decrypted by any key.
    unreadable: tuple[str, ...]
    #: Attempts whose bodies need an older key, and those for whose there is none.
    older_bodies: int = 0
    unreadable_bodies: int = 0


def key_use(access: Access) -> KeyUse:
    """Find out which endpoints need which keys; decrypts all that they have.

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
