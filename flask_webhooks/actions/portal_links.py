"""Create and revoke portal links."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from flask import url_for
from sqlalchemy.orm import Session

from ..access import Access
from ..db.transactions import database_time
from ..errors import ConfigurationError, Faults, Forbidden, InvalidInput
from ..models import PortalLink
from ..portal_access import PortalLinkRow, no_portal_link, require_portal, signed_link
from ..texts import Text
from . import checks
from .credentials import checked_actions, record_credential, revoke_credential

MAX_ACTOR_LENGTH: Final = 200
SHORTEST: Final = timedelta(minutes=1)
LONGEST: Final = timedelta(days=30)
#: How long an ended link stays in the list.
_SHOWN_FOR: Final = timedelta(days=7)
#: The blueprint of the portal.
PORTAL: Final = "flask_webhooks_portal"


@dataclass(frozen=True, slots=True)
class CreatedPortalLink:
    """A new portal link, whose URL is shown only once."""

    row: PortalLinkRow
    url: str = field(repr=False)

    @property
    def link(self) -> PortalLink:
        return self.row.link


def create_portal_link(
    access: Access,
    tenant: object,
    *,
    actor: str,
    expires_in: timedelta | float = 3600,
    actions: Iterable[str] = ("view",),
) -> CreatedPortalLink:
    """Create a link that opens the pages for one tenant without a login of the host.

    :param actor: the user who opens it, for the audit log.
    :param expires_in: a `timedelta`, or seconds, after which the link and its session expire.
    :param actions: permissions, from `token_access.GRANTABLE`; the caller must have each of them.
    :raises InvalidInput: a value is invalid; `errors` has all errors.
    :raises ConfigurationError: the application has no portal, or its URL is unknown outside of a request.
    :raises Forbidden: not allowed, not for this tenant, or more than the caller may do.
    """
    access.require("tokens")
    require_portal(access.state)
    faults = Faults()
    owner = faults.check(_tenant, tenant, access)
    checked_actor = faults.check(_actor, actor)
    seconds = faults.check(_expiry, expires_in)
    allowed = faults.check(checked_actions, actions)
    faults.finish()
    assert allowed is not None
    assert seconds is not None
    for action in allowed:
        if not access.may(action, None):
            raise Forbidden(
                "A portal link cannot have more permissions than its creator, and you do not have %(action)s.",
                action=action,
            )
    _url("")
    with access.write() as session:
        now = database_time(session)
        _forget_old(session, access, now)
        link = access.state.models.PortalLink(
            tenant=owner,
            actor=checked_actor,
            actions=allowed,
            created_by=access.actor,
            expires_at=now + seconds,
        )
        session.add(link)
        session.flush()
        session.refresh(link)
        _record(session, access, "portal_link.created", link)
    return CreatedPortalLink(PortalLinkRow(link, now), _url(signed_link(access.state, link.id)))


def revoke_portal_link(access: Access, link_id: str) -> PortalLink:
    """Revoke a portal link and the session that it opened. Ended ones are not changed.

    :raises NotFound: there is no such link in scope.
    :raises Forbidden: not allowed.
    """
    table = access.state.models.PortalLink
    return revoke_credential(access, table, link_id, no_portal_link, _record, "portal_link.revoked")


def _tenant(value: object, access: Access) -> str:
    owner = checks.owner(value, access)
    if owner is None:
        raise InvalidInput("Name the tenant whose webhooks the link opens.", field="tenant")
    return owner


def _actor(value: Any) -> str:
    actor = checks.one_line(value, "actor", Text("actor"), MAX_ACTOR_LENGTH)
    if not actor:
        raise InvalidInput(
            "Name the person who will use the link: the audit log records them.", field="actor"
        )
    return actor


def _expiry(value: Any) -> timedelta:
    given = value
    if isinstance(given, int | float) and not isinstance(given, bool):
        # The chained comparison also refuses NaN.
        given = timedelta(seconds=given) if 0 <= given <= LONGEST.total_seconds() else None
    if not isinstance(given, timedelta) or not SHORTEST <= given <= LONGEST:
        raise InvalidInput(
            "Choose an expiry from %(least)s to %(most)s seconds.",
            least=int(SHORTEST.total_seconds()),
            most=int(LONGEST.total_seconds()),
            field="expires_in",
        )
    return given


def _url(link: str) -> str:
    try:
        return url_for(f"{PORTAL}.portal_open", link=link, _external=True)
    except RuntimeError:
        raise ConfigurationError(
            "Outside of a request the address of the portal is not known: set SERVER_NAME, and PREFERRED_URL_SCHEME to "
            "https."
        ) from None


def _forget_old(session: Session, access: Access, now: datetime) -> None:
    """Remove links that ended a while ago; the audit log keeps their entries for longer."""
    table = access.state.models.PortalLink
    session.execute(sa.delete(table).where(table.expires_at < now.astimezone(UTC) - _SHOWN_FOR))


def _record(session: Session, access: Access, action: str, link: PortalLink) -> None:
    named = {"portal_link": link.id, "actor": link.actor}
    record_credential(session, access, action, link, named)
