"""API tokens and their access.

Only a digest is stored. A token has 256 random bits, so one round of SHA-256 is sufficient, and it is looked up by
the digest.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, get_args

import sqlalchemy as sa

from .access import ACTIONS, Access
from .app_state import ALL_TENANTS, AllTenants, AppState
from .columns import utc_now
from .db.time_limit import time_limited
from .db.transactions import reading, writing
from .errors import InvalidToken, WebhooksError
from .log import get_logger
from .models import Endpoint, PortalLink, Token

#: The prefix of every token, so that people and secret scanners recognise it.
PREFIX: Final = "whtok_"
#: Its last characters, which pages show.
ENDING: Final = 4
#: Permissions that can be granted: all except managing tokens.
GRANTABLE: Final = tuple(action for action in ACTIONS if action != "tokens")
#: The conditions of a token.
Condition = Literal["active", "expired", "revoked"]
CONDITIONS: Final[tuple[Condition, ...]] = get_args(Condition)
#: How old `Token.last_used_at` gets before it is updated.
USED_EVERY: Final = timedelta(minutes=1)
#: Seconds that a request may wait for the update.
NOTED_WITHIN: Final = 0.25

_TOKEN: Final = re.compile(re.escape(PREFIX) + r"[\w-]{43}", re.ASCII)
logger = get_logger("flask_webhooks")


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token with its current condition."""

    token: Token
    now: datetime

    @property
    def condition(self) -> Condition:
        """Its current condition."""
        return condition_of(self.token, self.now)


def condition_of(credential: Token | PortalLink, now: datetime) -> Condition:
    """Return the condition of a token or a portal link at a time."""
    if credential.revoked_at is not None:
        return "revoked"
    expires_at = credential.expires_at
    return "expired" if expires_at is not None and expires_at <= now else "active"


def granted_access(
    state: AppState, actions: Iterable[str], actor: str, tenant: str | AllTenants
) -> Access:
    """Return an access with these permissions, for one tenant or all."""
    allowed = frozenset(actions) & frozenset(GRANTABLE)

    def may(action: str, endpoint: Endpoint | None) -> bool:
        return action in allowed

    return Access(state=state, actor=actor, tenant=tenant, may=may, owns_request=True)


def in_condition(table: type[Token], condition: str) -> sa.ColumnElement[bool]:
    """Return the SQL condition for tokens in a condition."""
    if condition == "revoked":
        return table.revoked_at.is_not(None)
    over = table.expires_at <= utc_now()
    running = sa.or_(table.expires_at.is_(None), ~over)
    return sa.and_(table.revoked_at.is_(None), over if condition == "expired" else running)


def new_token() -> str:
    """Return a new token."""
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(token: str) -> str:
    """Return the stored digest of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def token_access(state: AppState, token: str) -> Access:
    """Return the access of a token, and record its use.

    :raises InvalidToken: it gives no access.
    """
    if not _TOKEN.fullmatch(token):
        raise InvalidToken(
            "This token is incomplete: a token is %(prefix)s followed by 43 letters, digits, - and _. Copy it again.",
            prefix=PREFIX,
        )
    table = state.models.Token
    with reading(state) as session:
        found, now = session.execute(
            sa.select(table, utc_now())
            .select_from(sa.select(sa.literal(1)).subquery())
            .outerjoin(table, table.digest == digest_of(token))
        ).one()
    if found is None:
        raise InvalidToken(
            "There is no such token. Copy it again, or create a new one on the page API tokens."
        )
    row = TokenRow(found, now)
    if row.condition == "revoked":
        raise InvalidToken("This token was revoked. Create a new one on the page API tokens.")
    if row.condition == "expired":
        raise InvalidToken(
            "This token expired on %(day)s. Create a new one on the page API tokens.",
            day=f"{found.expires_at:%Y-%m-%d}",
        )
    if found.last_used_at is None or found.last_used_at <= now - USED_EVERY:
        _note_use(state, found, now)
    return _access(state, found)


def _access(state: AppState, token: Token) -> Access:
    tenant = ALL_TENANTS if token.tenant is None else token.tenant
    return granted_access(state, token.actions, f"token:{token.name} ({token.id})", tenant)


def _note_use(state: AppState, token: Token, now: datetime) -> None:
    table = state.models.Token
    unused = sa.or_(table.last_used_at.is_(None), table.last_used_at < now)
    free = sa.select(table.id).where(table.id == token.id, unused).with_for_update(skip_locked=True)
    change = sa.update(table).where(table.id == token.id, unused).values(last_used_at=now)
    try:
        with (
            writing(state, owns_request=True) as session,
            time_limited(session.connection(), NOTED_WITHIN),
        ):
            if session.execute(free).first() is not None:
                session.execute(change)
    except WebhooksError as error:
        # The database is read-only or busy: the request itself may not need to write.
        logger.info("The use of the API token %s could not be recorded: %s", token.id, error)
