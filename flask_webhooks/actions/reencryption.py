"""Re-encrypt stored values after a change of the key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ..access import Access
from ..errors import UnreadableSecret
from ..stored_secrets import (
    BODIES,
    EncryptedValues,
    encrypted_bodies,
    encrypted_values,
    old_body_keys,
)

#: Endpoints of one transaction, during which all other writers on SQLite wait.
BATCH = 100


@dataclass(slots=True)
class Reencryption:
    """The progress of a re-encryption."""

    #: Numbers of endpoints that were checked, and that were re-encrypted.
    seen: int = 0
    renewed: int = 0
    #: Ids of endpoints with values that no key decrypts, which were not changed.
    unreadable: list[str] = field(default_factory=list)
    #: Endpoints that were changed concurrently.
    missed: int = 0
    #: Numbers of attempts whose bodies were re-encrypted, and whose bodies cannot be decrypted.
    bodies: int = 0
    unreadable_bodies: int = 0


def reencrypt(access: Access) -> Iterator[Reencryption]:
    """Encrypt secrets, headers and URLs of all endpoints in scope with the newest key; with access to all tenants,
    also encrypted bodies of attempts.

    Each step is a separate transaction, so it can be interrupted and repeated. Workers and requests continue
    meanwhile, because the decrypted values do not change.

    :return: the progress after each step, in one object.
    :raises Forbidden: not allowed.
    """
    access.require("secret")
    progress = Reencryption()
    after = ""
    try:
        while True:
            with access.write() as session:
                batch = encrypted_values(session, access, after, BATCH)
                for item in batch:
                    _renew(session, access, item, progress)
            if not batch:
                break
            after = batch[-1].endpoint_id
            progress.seen += len(batch)
            yield progress
        yield from _renew_bodies(access, progress)
    finally:
        if progress.renewed or progress.bodies:
            _record(access, progress)


def _renew(session: Session, access: Access, item: EncryptedValues, progress: Reencryption) -> None:
    state = access.state
    renewed = {}
    outdated = item.outdated(state)
    for name, value in outdated.items():
        try:
            renewed[name] = state.vault.reencrypt(value)
        except UnreadableSecret:
            if item.endpoint_id not in progress.unreadable[-1:]:
                progress.unreadable.append(item.endpoint_id)
    if not renewed:
        return
    table = state.table("Endpoint")
    done = session.execute(
        sa.update(table)
        # Only unchanged values: a secret that was rotated meanwhile is kept.
        .where(table.c.id == item.endpoint_id)
        .where(*(table.c[name] == outdated[name] for name in renewed))
        .values(renewed)
    )
    if done.rowcount:  # type: ignore[attr-defined]
        progress.renewed += 1
    else:
        progress.missed += 1


def _renew_bodies(access: Access, progress: Reencryption) -> Iterator[Reencryption]:
    keys = access.state.vault.bodies
    with access.read() as session:
        old = old_body_keys(session, access)
    for key, number in old.items():
        if key not in keys:
            progress.unreadable_bodies += number
            continue
        after = ("", 0)
        while True:
            with access.write() as session:
                batch = encrypted_bodies(session, access, key, after, BATCH)
                _renew_batch(session, access, key, batch, progress)
            if not batch:
                break
            after = (batch[-1].delivery_id, batch[-1].number)
            yield progress


def _renew_batch(
    session: Session, access: Access, key: str, batch: Sequence[Any], progress: Reencryption
) -> None:
    keys, table = access.state.vault.bodies, access.state.table("Attempt")
    for row in batch:
        values: dict[str, str | None] = {"body_key": keys.newest}
        try:
            for name in BODIES:
                place = (row.delivery_id, row.number, name)
                stored = getattr(row, name)
                if stored is not None:
                    body = keys.decrypt(stored, key, *place)
                    values[name] = keys.encrypt(body, *place)
        except UnreadableSecret:
            progress.unreadable_bodies += 1
            continue
        changed = sa.update(table).where(
            table.c.delivery_id == row.delivery_id,
            table.c.number == row.number,
            # Values that were removed meanwhile stay removed.
            *(table.c[name].is_not(None) for name in values if name != "body_key"),
        )
        progress.bodies += session.connection().execute(changed.values(values)).rowcount


def _record(access: Access, progress: Reencryption) -> None:
    with access.write() as session:
        session.add(
            access.state.models.Activity(
                actor=access.actor,
                action="endpoints.reencrypted",
                changes={
                    "endpoints": progress.renewed,
                    **({"attempts": progress.bodies} if progress.bodies else {}),
                },
            )
        )
