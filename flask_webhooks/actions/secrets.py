"""Replace the secret of an endpoint while the receiver still knows the old one."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from ..access import Access, find_endpoint
from ..app_state import AppState
from ..columns import utc_now
from ..db.transactions import database_time
from ..delivery.owner_notifications import end_overlaps, forget_overlaps, record_overlap_end
from ..errors import (
    Faults,
    InvalidEndpoint,
    InvalidInput,
    InvalidSecret,
    UnreadableSecret,
)
from ..models import Endpoint
from ..security.signing import live_secrets
from ..texts import Text
from . import checks
from .audit_log import locked, record
from .revision import stored_secret
from .switches import forget_failures

DAY = 86_400
#: The maximum time for which an old secret is still used for signing.
MAX_OVERLAP_SECONDS = 7 * DAY
MAX_LABEL_LENGTH = 60
#: Each active secret adds a signature to the header of every request.
MAX_LIVE_SECRETS = 5


@dataclass(frozen=True, slots=True)
class Rotated:
    """The new secret or public key for the receiver; the other one is ``None``."""

    #: Shown only once.
    secret: str | None = field(repr=False)
    #: The public key of a key pair, which is not secret.
    public_key: str | None = None


def rotate_secret(
    access: Access,
    endpoint_id: str,
    *,
    overlap_seconds: float = DAY,
    secret: str | None = None,
    key_pair: bool = False,
    label: str | None = None,
) -> str:
    """Rotate the secret; return the value for the receiver."""
    rotated = rotate(
        access,
        endpoint_id,
        overlap_seconds=overlap_seconds,
        secret=secret,
        key_pair=key_pair,
        label=label,
    )
    given = rotated.secret if rotated.public_key is None else rotated.public_key
    assert given is not None
    return given


def rotate(
    access: Access,
    endpoint_id: str,
    *,
    overlap_seconds: float = DAY,
    secret: str | None = None,
    key_pair: bool = False,
    label: str | None = None,
) -> Rotated:
    """Give an endpoint a new secret and return it, only this once.

    Formats with a single signature use the old secret until the overlap ends.

    :param overlap_seconds: how long the old secret is still used; 0 ends it now.
    :param secret: an existing secret; ``None`` generates one.
    :param key_pair: generate an ed25519 key pair.
    :param label: distinguishes it from others, for people.
    :raises InvalidInput: a subclass: the overlap, the secret or the label is invalid.
    :raises NotFound: there is no such endpoint in scope.
    :raises Forbidden: not allowed.
    """
    access.require("secret", find_endpoint(access, endpoint_id))
    state = access.state
    faults = Faults()
    overlap = faults.check(_check_overlap, overlap_seconds)
    named = faults.check(checks.one_line, label, "label", Text("label"), MAX_LABEL_LENGTH)
    with access.write() as session:
        endpoint = locked(session, access, endpoint_id)
        wire = state.formats[endpoint.format]
        new = faults.check(checks.secret, wire, secret or None, key_pair=key_pair)
        faults.finish()
        assert overlap is not None
        if new is None:
            raise InvalidEndpoint(
                "%(format)s does not sign, so there is no secret to rotate.", format=wire.label
            )
        now = database_time(session).timestamp()
        old = _live_secrets(state, endpoint, now)
        if old is None:
            # Workers hold an endpoint whose secrets they cannot decrypt.
            forget_failures(session, state, endpoint.id)
        elif any(item["secret"] == new for item in old):
            raise InvalidSecret("The endpoint already has this secret: enter a different one.")
        kept = _ending(old or [], now, overlap)
        told = _tell_of_end(session, state, endpoint.id, kept)
        endpoint.secrets_sealed = state.vault.encrypt([stored_secret(new, now, named), *kept])
        endpoint.version += 1
        endpoint.updated_at = utc_now()
        record(
            session,
            access,
            "endpoint.secret_rotated",
            endpoint,
            changes={"overlap_seconds": overlap},
        )
    if old is None or told:
        state.notifier.notify()
    public_key = wire.public_key(new)
    return Rotated(None, public_key) if public_key is not None else Rotated(new)


def end_overlap(access: Access, endpoint_id: str) -> int:
    """Sign with the newest secret only, once the receiver has it.

    :return: the number of older secrets that have ended.
    :raises UnreadableSecret: they cannot be decrypted.
    :raises NotFound: there is no such endpoint in scope.
    :raises Forbidden: not allowed.
    """
    access.require("secret", find_endpoint(access, endpoint_id))
    state = access.state
    with access.write() as session:
        endpoint = locked(session, access, endpoint_id)
        live = _live_secrets(state, endpoint, database_time(session).timestamp())
        if live is None:
            raise UnreadableSecret(
                "The secrets of this endpoint can no longer be decrypted: rotate to a new one."
            )
        ended = len(live) - 1
        if ended < 1:
            return 0
        endpoint.secrets_sealed = state.vault.encrypt(live[:1])
        told = _tell_of_end(session, state, endpoint.id, [])
        endpoint.version += 1
        endpoint.updated_at = utc_now()
        record(
            session, access, "endpoint.overlap_ended", endpoint, changes={"ended_secrets": ended}
        )
    if told:
        state.notifier.notify()
    return ended


def remove_secret(access: Access, endpoint_id: str) -> None:
    """Remove the secret: from now on, requests have no signature.

    :raises InvalidSecret: the format needs one.
    :raises NotFound: there is no such endpoint in scope.
    :raises Forbidden: not allowed.
    """
    access.require("secret", find_endpoint(access, endpoint_id))
    state = access.state
    with access.write() as session:
        endpoint = locked(session, access, endpoint_id)
        checks.secret(state.formats[endpoint.format], False)
        if endpoint.secrets_sealed is None:
            return
        # Workers hold an endpoint whose secrets they cannot decrypt.
        unreadable = _live_secrets(state, endpoint, database_time(session).timestamp()) is None
        if unreadable:
            forget_failures(session, state, endpoint.id)
        endpoint.secrets_sealed = None
        if state.hooks.notify is not None:
            forget_overlaps(state, session.connection(), endpoint.id)
        endpoint.version += 1
        endpoint.updated_at = utc_now()
        record(session, access, "endpoint.secret_removed", endpoint)
    if unreadable:
        state.notifier.notify()


def _tell_of_end(
    session: Session, state: AppState, endpoint_id: str, kept: list[dict[str, Any]]
) -> bool:
    """Schedule a notification for the end of the overlap; return whether the host sends notifications.

    :param kept: the secrets that are used until then.
    """
    if state.hooks.notify is None:
        return False
    connection = session.connection()
    if kept:
        # With several overlaps, the last end counts.
        forget_overlaps(state, connection, endpoint_id)
        ends_at = max(item["expires_at"] for item in kept)
        moment = datetime.fromtimestamp(ends_at, UTC)
        record_overlap_end(state, connection, endpoint_id, moment)
    else:
        end_overlaps(state, connection, endpoint_id, database_time(session))
    return True


def _check_overlap(seconds: float) -> float:
    # The chained comparison also refuses NaN.
    if not isinstance(seconds, int | float) or not 0 <= seconds <= MAX_OVERLAP_SECONDS:
        raise InvalidInput(
            "The overlap must be a number of seconds from 0 to %(most)s (7 days).",
            most=MAX_OVERLAP_SECONDS,
            field="overlap_seconds",
        )
    return seconds


def _live_secrets(state: AppState, endpoint: Endpoint, now: float) -> list[dict[str, Any]] | None:
    """Return the active secrets, newest first; ``None`` if they cannot be decrypted.

    :param now: Unix seconds of the database's clock, which workers use.
    """
    if endpoint.secrets_sealed is None:
        return []
    try:
        items = state.vault.decrypt(endpoint.secrets_sealed)
    except UnreadableSecret:
        return None
    return live_secrets(items, now)


def _ending(old: list[dict[str, Any]], now: float, overlap: float) -> list[dict[str, Any]]:
    if overlap == 0:
        return []
    if len(old) >= MAX_LIVE_SECRETS:
        raise InvalidInput(
            "%(count)s older secrets are still used to sign. Wait until one has expired, or rotate with an overlap "
            "of 0 to end them all.",
            count=len(old),
            field="overlap_seconds",
        )
    end = now + overlap
    return [{**item, "expires_at": min(end, item["expires_at"] or end)} for item in old]
