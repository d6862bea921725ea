"""The public keys of an endpoint that signs by key pairs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from ..access import Access, find_endpoint
from ..db.transactions import database_time
from ..errors import UnreadableSecret
from ..models import Endpoint


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
        items = state.vault.open(endpoint.secrets_sealed)
    except UnreadableSecret:
        return ()
    if now is None and any(item["expires_at"] is not None for item in items):
        with access.read() as session:
            now = database_time(session)
    return tuple(
        PublicKey(text, None if end is None else datetime.fromtimestamp(end, UTC))
        for item in items
        if ((end := item["expires_at"]) is None or now is None or end > now.timestamp())
        and (text := style.public_key(item["secret"])) is not None
    )
