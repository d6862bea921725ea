"""The data of the signature debugger: secrets and recorded attempts."""

from __future__ import annotations

import contextlib
from datetime import datetime

import sqlalchemy as sa

from ..access import Access, find_endpoint, is_id
from ..db.transactions import database_time
from ..errors import UnreadableSecret
from ..models import Attempt
from ..security.signature_check import Sent, Verdict, check, parse_headers
from .bodies import readable

#: Attempts of one delivery that a request is compared with; the latest ones.
COMPARED = 20
#: The headers that identify the event.
_ID_HEADERS = ("webhook-id", "svix-id")


def check_signature(
    access: Access, endpoint_id: str, headers: str, body: str, *, now: datetime | None = None
) -> Verdict:
    """Return whether the signature of a request matches an endpoint's secrets, and if not, why. Changes nothing.
    :param headers: the pasted headers, one per line.
    :param body: its body.
    :raises UnreadableSecret: no configured key decrypts the secrets.
    :raises NotFound: there is no such endpoint in scope.
    :raises Forbidden: not allowed to work with its ``secret``.
    """
    endpoint = find_endpoint(access, endpoint_id)
    access.require("secret", endpoint)
    if now is None:
        # Workers sign by this clock.
        with access.read() as session:
            now = database_time(session)
    given = parse_headers(headers)
    secrets: list[str] = []
    if endpoint.secrets_sealed is not None:
        stored = access.state.vault.decrypt(endpoint.secrets_sealed)
        secrets = [item["secret"] for item in stored]
    event_id = next((given[name] for name in _ID_HEADERS if name in given), "")
    sent = _sent(access, endpoint_id, event_id) if is_id(event_id) and event_id else []
    return check(given, body, secrets, sent, now)


def _sent(access: Access, endpoint_id: str, event_id: str) -> list[Sent]:
    models = access.state.models
    attempt: type[Attempt] = models.Attempt
    delivery = models.Delivery
    query = (
        sa.select(
            *(delivery.id, attempt.number, attempt.started_at),
            *(attempt.request_body, attempt.body_key),
        )
        .join_from(delivery, attempt, attempt.delivery_id == delivery.id)
        .where(delivery.event_id == event_id, delivery.endpoint_id == endpoint_id)
        .order_by(attempt.number.desc())
        .limit(COMPARED)
    )
    with access.read() as session:
        found = session.execute(query).all()
    sent = []
    for delivery_id, number, started_at, stored, key in found:
        # Unreadable attempts are not compared.
        with contextlib.suppress(UnreadableSecret):
            body = readable(access.state, stored, key, delivery_id, number, "request_body")
            if body is not None:
                sent.append(Sent(number, started_at, body))
    return sent
