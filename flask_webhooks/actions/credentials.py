"""The common part of tokens and portal links: permissions, revocation and the audit log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ..access import Access, is_id
from ..audit import cut_values
from ..columns import utc_now
from ..errors import InvalidInput, NotFound
from ..models import PortalLink, Token
from ..token_access import GRANTABLE

Credential = TypeVar("Credential", Token, PortalLink)


def checked_actions(given: Any) -> list[str]:
    """Return actions in the order of `GRANTABLE`.

    :raises InvalidInput: an action is unknown or cannot be granted, or there is none.
    """
    if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
        raise InvalidInput(
            'Write the actions as a list, such as ["view", "manage"].', field="actions"
        )
    wanted = list(given)
    unknown = [action for action in wanted if action not in GRANTABLE]
    if unknown or not wanted:
        raise InvalidInput(
            "Choose one or more of these actions: %(choices)s.",
            choices=", ".join(GRANTABLE),
            field="actions",
        )
    return [action for action in GRANTABLE if action in wanted]


def revoke_credential(
    access: Access,
    table: type[Credential],
    credential_id: str,
    missing: Callable[[object], NotFound],
    record: Callable[[Session, Access, str, Credential], None],
    action: str,
) -> Credential:
    """Revoke a token or a portal link. Ended ones are not changed.

    :param missing: creates the error for a missing one.
    :param record: writes the entry of the audit log for the `action`.
    :raises NotFound: there is none in scope.
    :raises Forbidden: not allowed.
    """
    access.require("tokens")
    if not is_id(credential_id):
        raise missing(credential_id)
    with access.write() as session:
        found = session.scalars(
            sa.select(table)
            .where(table.id == credential_id, access.scope(table.tenant))
            .with_for_update()
        ).one_or_none()
        if found is None:
            raise missing(credential_id)
        if found.revoked_at is None:
            found.revoked_at = utc_now()
            found.revoked_by = access.actor
            record(session, access, action, found)
            session.flush()
            session.refresh(found)
    return found


def record_credential(
    session: Session,
    access: Access,
    action: str,
    credential: Token | PortalLink,
    named: Mapping[str, str],
) -> None:
    """Add an entry about a token or a portal link to the audit log.

    :param named: identifies it.
    """
    values: dict[str, Any] = {**named, "actions": credential.actions}
    if credential.expires_at is not None:
        values["expires_at"] = credential.expires_at.isoformat()
    session.add(
        access.state.models.Activity(
            actor=access.actor, action=action, tenant=credential.tenant, changes=cut_values(values)
        )
    )
