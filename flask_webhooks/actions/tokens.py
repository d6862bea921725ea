"""Create and revoke API tokens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ..access import Access, no_token
from ..columns import utc_now
from ..errors import ConfigurationError, Faults, Forbidden, InvalidInput, TokenLimitReached
from ..models import Token
from ..texts import Text
from ..token_access import ENDING, TokenRow, digest_of, new_token
from . import checks
from .credentials import checked_actions, record_credential, revoke_credential

MAX_NAME_LENGTH: Final = 100
#: How long an ended token stays in the list.
_SHOWN_FOR: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class CreatedToken:
    """A new token, which is shown only once."""

    row: TokenRow
    secret: str = field(repr=False)

    @property
    def token(self) -> Token:
        return self.row.token


def create_token(
    access: Access,
    name: str,
    actions: Iterable[str],
    *,
    tenant: object = None,
    expires_at: datetime | None = None,
) -> CreatedToken:
    """Create a token with which a program uses the API.

    :param name: for people.
    :param actions: permissions, from `token_access.GRANTABLE`; the caller must have each of them.
    :param tenant: the tenant whose endpoints it sees; ``None`` is all tenants, or the only tenant in scope.
    :param expires_at: an aware time; ``None`` is never.
    :raises InvalidInput: a value is invalid; `errors` has all errors.
    :raises TokenLimitReached: the tenant already has ``WEBHOOKS_MAX_TOKENS``.
    :raises ConfigurationError: the application has no API that accepts tokens.
    :raises Forbidden: not allowed, not for this tenant, or more than the caller may do.
    """
    access.require("tokens")
    state = access.state
    if not state.hooks.tokens:
        raise ConfigurationError(
            "This application has no API that accepts tokens: mount one with webhooks.api_blueprint(tokens=True)."
        )
    faults = Faults()
    checked_name = faults.check(_name, name)
    owner = faults.check(checks.owner, tenant, access)
    allowed = faults.check(checked_actions, actions)
    expires = faults.check(_expiry, expires_at)
    faults.finish()
    assert allowed is not None
    for action in allowed:
        if not access.may(action, None):
            raise Forbidden(
                "A token cannot have more permissions than its creator, and you do not have %(action)s.",
                action=action,
            )
    secret = new_token()
    token = state.models.Token(
        name=checked_name,
        digest=digest_of(secret),
        ending=secret[-ENDING:],
        tenant=owner,
        actions=allowed,
        created_by=access.actor,
        expires_at=expires,
    )
    with access.write(alone=f"tokens of {owner}") as session:
        _forget_old(session, access, owner)
        _check_room(session, access, owner)
        session.add(token)
        session.flush()
        session.refresh(token)
        _record(session, access, "token.created", token)
    return CreatedToken(TokenRow(token, token.created_at), secret)


def revoke_token(access: Access, token_id: str) -> Token:
    """Revoke a token: the next request with it is refused. Ended ones are not changed.

    :raises NotFound: there is no such token in scope.
    :raises Forbidden: not allowed.
    """
    table = access.state.models.Token
    return revoke_credential(access, table, token_id, no_token, _record, "token.revoked")


def _name(value: Any) -> str:
    name = checks.one_line(value, "name", Text("name"), MAX_NAME_LENGTH)
    if not name:
        raise InvalidInput("Give the token a name that says what it is for.", field="name")
    return name


def _expiry(value: Any) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise InvalidInput("Pass a time with a time zone, such as one in UTC.", field="expires_at")
    if value <= datetime.now(UTC):
        raise InvalidInput(
            "Choose a time in the future, or none for a token that does not expire.",
            field="expires_at",
        )
    return value.astimezone(UTC)


def _forget_old(session: Session, access: Access, tenant: str | None) -> None:
    """Remove tokens that ended long ago; the audit log keeps their entries for longer."""
    table = access.state.models.Token
    before = datetime.now(UTC) - _SHOWN_FOR
    session.execute(
        sa.delete(table).where(
            table.tenant.is_(None) if tenant is None else table.tenant == tenant,
            sa.or_(table.revoked_at < before, table.expires_at < before),
        )
    )


def _check_room(session: Session, access: Access, tenant: str | None) -> None:
    most = access.state.settings.max_tokens
    if most is None:
        return
    table = access.state.models.Token
    used = session.scalar(
        sa.select(sa.func.count())
        .select_from(table)
        .where(
            table.tenant.is_(None) if tenant is None else table.tenant == tenant,
            table.revoked_at.is_(None),
            sa.or_(table.expires_at.is_(None), table.expires_at > utc_now()),
        )
    )
    if (used or 0) >= most:
        raise TokenLimitReached(
            "%(used)s of %(most)s API tokens are in use. Revoke one that is no longer needed.",
            used=used,
            most=most,
            limit=most,
        )


def _record(session: Session, access: Access, action: str, token: Token) -> None:
    named = {"token": token.id, "name": token.name}
    record_credential(session, access, action, token, named)
