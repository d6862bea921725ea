"""What this server does with licence keys and the devices bound to them.

Each function is one transaction. It sends the signals of what it changes before the commit, so that an
event exists if and only if its change does. A refusal changes nothing: its signal is sent and the
transaction rolled back, and the event is recorded all the same.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session, selectinload

from flask_webhooks import signals

from . import terms
from .events import (
    Client,
    about_client,
    about_license,
    about_request,
    about_term,
    about_user,
    schedule_notice,
    send,
)
from .models import Application, Device, License, LicenseStatus, User, transaction, utc_now
from .problems import Conflict, Malformed, NotFound, Refused

#: Licences that `expire_due` handles in one transaction.
EXPIRY_BATCH = 200
#: Everything that an answer or an event tells of a licence, so that nothing is loaded later.
_WHOLE = (selectinload(License.devices), selectinload(License.user))
_RESTORABLE = (LicenseStatus.SUSPENDED, LicenseStatus.REVOKED)


# -- applications ----------------------------------------------------------------------------------


def create_application(name: str) -> tuple[str, str]:
    """Register a product.

    :return: its id and its API key, which is shown only here.
    :raises Conflict: the name is taken.
    """
    api_key = f"key_{secrets.token_urlsafe(32)}"
    with transaction() as session:
        if session.scalar(sa.select(Application.id).where(Application.name == name)):
            raise Conflict("application_exists", f"There is an application named {name!r} already.")
        application = Application(name=name, api_key_hash=_digest(api_key))
        session.add(application)
        session.flush()
        return application.id, api_key


def authenticate(api_key: str) -> str | None:
    """The id of the application that holds this API key."""
    with transaction() as session:
        return session.scalar(
            sa.select(Application.id).where(Application.api_key_hash == _digest(api_key))
        )


def _digest(api_key: str) -> str:
    return hashlib.sha256(api_key.encode()).hexdigest()


# -- for sellers -----------------------------------------------------------------------------------


def create_licenses(
    application_id: str,
    *,
    level: int = 1,
    duration: str = "30d",
    device_limit: int = 1,
    count: int = 1,
    created_by: str | None = None,
) -> list[License]:
    """Generate licence keys. Their term starts with their first use."""
    _check_duration(duration)
    with transaction() as session:
        made = [
            License(
                application_id=application_id,
                key=terms.new_license_key(),
                level=level,
                duration=duration,
                device_limit=device_limit,
            )
            for _ in range(count)
        ]
        session.add_all(made)
        session.flush()
        for license in made:
            data = about_license(license) | about_term(license) | {"created_by": created_by}
            send(signals.license_created, application_id, data)
    return made


def list_licenses(
    application_id: str, *, status: str | None = None, after: str = "", limit: int = 50
) -> list[License]:
    """Licences in the order of their ids, from behind the id `after`."""
    chosen = sa.select(License).where(License.application_id == application_id, License.id > after)
    if status is not None:
        chosen = chosen.where(License.status == status)
    with transaction() as session:
        return list(session.scalars(chosen.order_by(License.id).limit(limit).options(*_WHOLE)))


def get_license(application_id: str, key: str) -> License:
    """:raises NotFound: the application has no such licence."""
    with transaction() as session:
        return _find(session, application_id, key)


def revoke(application_id: str, key: str, *, reason: str, revoked_by: str | None) -> License:
    """Take a licence away."""
    with transaction() as session:
        license = _find(session, application_id, key)
        if license.status == LicenseStatus.REVOKED:
            raise Conflict("license_revoked", "This licence is revoked already.")
        license.status = LicenseStatus.REVOKED
        data = about_license(license) | about_user(license.user)
        data |= {"reason": reason, "revoked_by": revoked_by}
        send(signals.license_revoked, application_id, data)
        schedule_notice(license, utc_now())
    return license


def suspend(application_id: str, key: str, *, reason: str, suspended_by: str | None) -> License:
    """Put a licence on hold until it is reinstated. Its term runs on."""
    with transaction() as session:
        license = _find(session, application_id, key)
        if license.status not in (LicenseStatus.CREATED, LicenseStatus.ACTIVE):
            raise Conflict(f"license_{license.status}", f"This licence is {license.status}.")
        license.status = LicenseStatus.SUSPENDED
        data = about_license(license) | about_user(license.user)
        data |= {"reason": reason, "suspended_by": suspended_by, "suspended_until": None}
        send(signals.license_suspended, application_id, data)
        schedule_notice(license, utc_now())
    return license


def reinstate(application_id: str, key: str, *, reason: str, reinstated_by: str | None) -> License:
    """Let a revoked or suspended licence work again."""
    with transaction() as session:
        license = _find(session, application_id, key)
        previous = license.status
        if previous not in _RESTORABLE:
            raise Conflict("license_usable", "Only a revoked or suspended licence is reinstated.")
        used = license.activated_at is not None
        license.status = LicenseStatus.ACTIVE if used else LicenseStatus.CREATED
        data = about_license(license) | about_user(license.user)
        data |= {"previous_status": str(previous), "reason": reason}
        data |= {"reinstated_by": reinstated_by, "expires_at": license.expires_at}
        send(signals.license_reinstated, application_id, data)
        schedule_notice(license, utc_now())
    return license


def renew(application_id: str, key: str, *, duration: str, renewed_by: str | None) -> License:
    """Add to the term of a licence that was used; an expired one starts again from now."""
    added = _check_duration(duration)
    with transaction() as session:
        license = _find(session, application_id, key)
        if license.status not in (LicenseStatus.ACTIVE, LicenseStatus.EXPIRED):
            raise Conflict("license_not_running", f"This licence is {license.status}.")
        previous = license.expires_at
        start = max(previous or utc_now(), utc_now())
        license.expires_at = None if added is None else terms.ends_at(duration, start)
        license.status = LicenseStatus.ACTIVE
        data = about_license(license) | about_user(license.user) | {"duration_type": duration}
        data |= {"expires_at": license.expires_at, "previous_expires_at": previous}
        send(signals.license_renewed, application_id, data | {"renewed_by": renewed_by})
        schedule_notice(license, utc_now())
    return license


def reset_hwid(application_id: str, key: str, *, reason: str, reset_by: str | None) -> License:
    """Unbind every device, so that the licence can move to another one."""
    with transaction() as session:
        license = _find(session, application_id, key)
        cleared = [device.hwid for device in license.devices]
        license.devices.clear()
        data = about_license(license) | about_user(license.user)
        data |= {"hwid": cleared[0] if len(cleared) == 1 else None, "previous_hwids": cleared}
        data |= {"reset_by": reset_by, "reason": reason}
        send(signals.hwid_reset, application_id, data)
    return license


def change_hwid(
    application_id: str, key: str, *, previous: str, client: Client, changed_by: str | None
) -> License:
    """Bind another device in the place of one that is bound."""
    with transaction() as session:
        license = _find(session, application_id, key)
        device = next((bound for bound in license.devices if bound.hwid == previous), None)
        if device is None:
            raise Conflict("hwid_not_bound", "The licence is not bound to that device.")
        if any(bound.hwid == client.hwid for bound in license.devices):
            raise Conflict("hwid_bound", "The licence is bound to the new device already.")
        license.devices.remove(device)
        license.devices.append(Device(hwid=client.hwid))
        data = about_license(license) | about_user(license.user) | about_client(client)
        data |= {"previous_hwid": previous, "changed_by": changed_by}
        send(signals.hwid_changed, application_id, data)
    return license


def expire_due(now: datetime, application_id: str | None = None) -> int:
    """Mark licences whose term is over; run it from time to time. Returns how many there were."""
    total = 0
    due = sa.select(License).where(
        License.status == LicenseStatus.ACTIVE, License.expires_at <= now
    )
    if application_id is not None:
        due = due.where(License.application_id == application_id)
    due = due.order_by(License.expires_at).limit(EXPIRY_BATCH).options(selectinload(License.user))
    while True:
        with transaction() as session:
            batch = session.scalars(due.with_for_update(skip_locked=True)).all()
            for license in batch:
                _expire(license)
        total += len(batch)
        if len(batch) < EXPIRY_BATCH:
            return total


# -- for client software ---------------------------------------------------------------------------


def activate(application_id: str, key: str, client: Client) -> License:
    """Use a key for the first time, without an account.

    :raises Refused: the key is unknown, was used already or cannot be used.
    """
    with transaction() as session:
        license = present(session, application_id, key, client)
        start_term(session, license, client)
    return license


def validate(application_id: str, key: str, client: Client) -> License:
    """Check a key, as client software does when it starts. Binds the device if there is room.

    :raises Refused: the key is unknown or cannot be used, or it is bound to other devices.
    """
    with transaction() as session:
        license = present(session, application_id, key, client)
        check_usable(license, client)
        check_device(license, client)
        data = about_license(license) | about_user(license.user) | about_client(client)
        data |= {"level": license.level, "expires_at": license.expires_at}
        send(signals.license_validated, application_id, data)
    return license


# -- steps that these and `accounts` share, within a transaction of theirs ---------------------------


def present(session: Session, application_id: str, key: str, client: Client) -> License:
    """The licence behind a key that a client shows.

    :raises Refused: there is none, or it is expired, suspended or revoked.
    """
    try:
        license = _find(session, application_id, key)
    except NotFound as error:
        data = {"license_key": key[:64], "reason": error.detail, "code": error.code}
        data |= {"license_id": None, "status": None} | about_request(client)
        send(signals.license_rejected, application_id, data)
        raise
    if license.status == LicenseStatus.ACTIVE and terms.has_ended(license.expires_at, utc_now()):
        _expire(license)
        # The end of the term stands, whatever becomes of this request.
        session.commit()
    if license.status not in (LicenseStatus.CREATED, LicenseStatus.ACTIVE):
        raise rejected(license, client, f"This licence is {license.status}")
    return license


def start_term(
    session: Session, license: License, client: Client, user: User | None = None
) -> None:
    """First use: the term begins, the user and the device are bound.

    :raises Refused: the key was used before.
    """
    if license.status != LicenseStatus.CREATED:
        raise rejected(license, client, "This licence was activated before", "license_in_use")
    license.status = LicenseStatus.ACTIVE
    license.activated_at = utc_now()
    license.expires_at = terms.ends_at(license.duration, license.activated_at)
    license.user = user
    session.flush()
    data = about_license(license) | about_term(license) | about_client(client)
    if user is not None:
        data |= {"activated_by": user.id, "username": user.username}
    send(signals.license_activated, license.application_id, data)
    schedule_notice(license, license.activated_at)
    check_device(license, client)


def check_usable(license: License, client: Client) -> None:
    """:raises Refused: the licence was not activated yet."""
    if license.status != LicenseStatus.ACTIVE:
        raise rejected(license, client, "This licence is not activated yet", "license_unused")


def check_device(license: License, client: Client) -> None:
    """Let a device that is bound pass, and bind a new one to a free slot.

    :raises Refused: it is another device, and there is no slot.
    """
    bound = [device.hwid for device in license.devices]
    if client.hwid in bound:
        return
    if len(bound) >= license.device_limit:
        reason = "The licence is bound to another device"
        data = about_license(license) | about_user(license.user) | about_request(client)
        data |= {"expected_hwid": bound[0] if len(bound) == 1 else None, "reason": reason}
        del data["status"]
        send(signals.hwid_mismatched, license.application_id, data)
        raise Refused("hwid_mismatch", reason + ".")
    license.devices.append(Device(hwid=client.hwid))
    data = about_license(license) | about_user(license.user) | about_client(client)
    data |= {"hwid_count": len(license.devices), "hwid_limit": license.device_limit}
    send(signals.hwid_bound, license.application_id, data)


def rejected(license: License, client: Client, reason: str, code: str | None = None) -> Refused:
    """The error for a key that cannot be used, after its signal."""
    code = code or f"license_{license.status}"
    data = about_license(license) | about_request(client) | {"reason": reason, "code": code}
    send(signals.license_rejected, license.application_id, data)
    return Refused(code, reason + ".")


def _find(session: Session, application_id: str, key: str) -> License:
    """The licence, locked until the transaction ends where the database locks rows."""
    license = session.scalar(
        sa.select(License)
        .where(License.application_id == application_id, License.key == terms.tidy_license_key(key))
        .options(*_WHOLE)
        .with_for_update()
    )
    if license is None:
        raise NotFound("license_not_found", "There is no licence with this key.")
    return license


def _expire(license: License) -> None:
    license.status = LicenseStatus.EXPIRED
    data = about_license(license) | about_term(license) | about_user(license.user)
    send(signals.license_expired, license.application_id, data)


def _check_duration(duration: str) -> datetime | None:
    try:
        return terms.ends_at(duration, utc_now())
    except ValueError as error:
        raise Malformed("invalid_member", str(error), member="duration") from error
