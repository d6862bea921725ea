"""Portal links: their form, and the access that they give.

A link contains the id of its row and is signed with the application's secret key, so the link itself is not
stored. The row has its expiry and permissions, and is read in every request: revoking a link also ends its
sessions.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from itsdangerous import BadSignature, Signer

from .access import Access, is_id, shown
from .app_state import AppState
from .columns import utc_now
from .db.transactions import reading
from .errors import ConfigurationError, Forbidden, NotFound
from .models import PortalLink
from .token_access import Condition, condition_of, granted_access

_SALT: Final = "flask_webhooks portal link"


@dataclass(frozen=True, slots=True)
class PortalLinkRow:
    """A portal link with its current condition."""

    link: PortalLink
    now: datetime

    @property
    def condition(self) -> Condition:
        """Its current condition."""
        return condition_of(self.link, self.now)


def require_portal(state: AppState) -> str:
    """Return the prefix of the portal.

    :raises ConfigurationError: the application has none.
    """
    prefix = state.settings.portal_prefix
    if prefix is None:
        raise ConfigurationError(
            "This application has no portal: set WEBHOOKS_PORTAL_PREFIX to its path, such as '/portal/webhooks'."
        )
    if not state.app.secret_key:
        raise ConfigurationError("Portal links are signed: set SECRET_KEY.")
    return prefix


def signed_link(state: AppState, link_id: str) -> str:
    """Return the signed text in the URL of a link."""
    return _signer(state).sign(link_id).decode()


def read_link(state: AppState, value: str) -> str:
    """Return the id in the signed text of a link.

    :raises Forbidden: it was changed or is incomplete.
    """
    try:
        return _signer(state).unsign(value).decode()
    except (BadSignature, UnicodeError):
        raise Forbidden(
            "This link is incomplete or was changed. Open it again from where you got it, without changing it."
        ) from None


def portal_access(state: AppState, link_id: object) -> tuple[Access, PortalLink]:
    """Return the access that a link gives, and its row.

    :param link_id: ``None`` if no link was opened.
    :raises Forbidden: it gives no access.
    """
    if link_id is None:
        raise Forbidden(
            "These pages are opened with a link. Open yours again, or ask its sender for a new one."
        )
    found = _find(state, link_id)
    condition = None if found is None else PortalLinkRow(*found).condition
    if condition == "expired":
        raise Forbidden("This link has expired. Ask its sender for a new one.")
    if found is None or condition == "revoked":
        raise Forbidden("This link was revoked. Ask its sender for a new one.")
    link: PortalLink = found[0]
    return granted_access(state, link.actions, f"{link.actor} ({link.id})", link.tenant), link


def no_portal_link(link_id: object) -> NotFound:
    """Return the error for a portal link that does not exist or is not in scope."""
    return NotFound("There is no portal link %(id)s.", id=shown(link_id))


def _find(state: AppState, link_id: object) -> Any:
    if not is_id(link_id):
        return None
    table = state.models.PortalLink
    with reading(state) as session:
        return session.execute(sa.select(table, utc_now()).where(table.id == link_id)).one_or_none()


def _signer(state: AppState) -> Signer:
    require_portal(state)
    return Signer(portal_keys(state), salt=_SALT, digest_method=hashlib.sha256)


def portal_keys(state: AppState) -> list[bytes]:
    """Return the application's secret keys, the newest last."""
    config = state.app.config
    keys = [*(config.get("SECRET_KEY_FALLBACKS") or ()), config["SECRET_KEY"]]
    return [key if isinstance(key, bytes) else str(key).encode() for key in keys]
