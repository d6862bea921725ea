"""What sellers do with licences: create, revoke, suspend, reinstate, renew.

Each function is one transaction. It sends the signals of its changes before the commit, so that an event
exists if and only if its change does.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session, selectinload

from flask_webhooks import signals

from . import terms
from .events import about_license, about_term, schedule_notice, send
from .models import License, LicenseStatus, transaction, utc_now
from .problems import Refused

#: The licences that `expire_due` changes in one transaction.
EXPIRY_BATCH = 200
#: Loads the user and the devices together with a licence.
WHOLE = (selectinload(License.devices), selectinload(License.user))


def create_licenses(
    application_id: str,
    *,
    level: int = 1,
    duration: str = "30d",
    device_limit: int = 1,
    count: int = 1,
    actor: str | None = None,
) -> list[License]:
    """Make licence keys. Their term begins at their first use."""
    _check_duration(duration)
    licenses = [
        License(
            application_id=application_id,
            key=terms.new_license_key(),
            level=level,
            duration=duration,
            device_limit=device_limit,
        )
        for _ in range(count)
    ]
    with transaction() as session:
        session.add_all(licenses)
        session.flush()  # gives them their ids
        for license in licenses:
            data = about_license(license) | about_term(license) | {"created_by": actor}
            send(signals.license_created, application_id, data)
    return licenses


def get_license(application_id: str, key: str) -> License:
    """:raises Refused: the application has no such licence."""
    with transaction() as session:
        return find_license(session, application_id, key)


def revoke(application_id: str, key: str, reason: str, actor: str | None) -> License:
    """Take a licence away."""
    with transaction() as session:
        license = find_license(session, application_id, key)
        if license.status == LicenseStatus.REVOKED:
            raise Refused("license_revoked", "This licence is revoked already.", 409)
        license.status = LicenseStatus.REVOKED
        data = about_license(license) | {"reason": reason, "revoked_by": actor}
        send(signals.license_revoked, application_id, data)
        schedule_notice(license, utc_now())
    return license


def suspend(application_id: str, key: str, reason: str, actor: str | None) -> License:
    """Disable a licence until it is reinstated. Its term continues."""
    with transaction() as session:
        license = find_license(session, application_id, key)
        if license.status not in (LicenseStatus.CREATED, LicenseStatus.ACTIVE):
            raise Refused(f"license_{license.status}", f"This licence is {license.status}.", 409)
        license.status = LicenseStatus.SUSPENDED
        data = about_license(license) | {"reason": reason, "suspended_by": actor}
        send(signals.license_suspended, application_id, data)
        schedule_notice(license, utc_now())
    return license


def reinstate(application_id: str, key: str, reason: str, actor: str | None) -> License:
    """Enable a revoked or suspended licence again."""
    with transaction() as session:
        license = find_license(session, application_id, key)
        previous = license.status
        if previous not in (LicenseStatus.SUSPENDED, LicenseStatus.REVOKED):
            raise Refused(
                "license_usable", "Only a revoked or suspended licence is reinstated.", 409
            )
        used = license.activated_at is not None
        license.status = LicenseStatus.ACTIVE if used else LicenseStatus.CREATED
        data = about_license(license) | {
            "previous_status": str(previous),
            "reason": reason,
            "reinstated_by": actor,
            "expires_at": license.expires_at,
        }
        send(signals.license_reinstated, application_id, data)
        schedule_notice(license, utc_now())
    return license


def renew(application_id: str, key: str, duration: str, actor: str | None) -> License:
    """Extend the term of a licence in use. The new term of an expired one begins now."""
    added = _check_duration(duration)
    with transaction() as session:
        license = find_license(session, application_id, key)
        if license.status not in (LicenseStatus.ACTIVE, LicenseStatus.EXPIRED):
            raise Refused("license_not_running", f"This licence is {license.status}.", 409)
        now, previous = utc_now(), license.expires_at
        license.expires_at = None if added is None else max(previous or now, now) + added
        license.status = LicenseStatus.ACTIVE
        data = about_license(license) | {
            "duration_type": duration,
            "expires_at": license.expires_at,
            "previous_expires_at": previous,
            "renewed_by": actor,
        }
        send(signals.license_renewed, application_id, data)
        schedule_notice(license, now)
    return license


def reset_hwid(application_id: str, key: str, reason: str, actor: str | None) -> License:
    """Unbind all devices, so that the licence can be used on another one."""
    with transaction() as session:
        license = find_license(session, application_id, key)
        previous = [device.hwid for device in license.devices]
        license.devices.clear()
        data = about_license(license) | {
            "hwid": previous[0] if len(previous) == 1 else None,
            "previous_hwids": previous,
            "reset_by": actor,
            "reason": reason,
        }
        send(signals.hwid_reset, application_id, data)
    return license


def expire_due(now: datetime) -> int:
    """Mark licences whose term is over, and return their number. Run it every few minutes."""
    total = 0
    due = sa.select(License).where(
        License.status == LicenseStatus.ACTIVE, License.expires_at <= now
    )
    batch = due.order_by(License.expires_at).limit(EXPIRY_BATCH).options(*WHOLE)
    while True:
        with transaction() as session:
            licenses = session.scalars(batch.with_for_update(skip_locked=True)).all()
            for license in licenses:
                expire(license)
        total += len(licenses)
        if len(licenses) < EXPIRY_BATCH:
            return total


# -- steps within a transaction of the caller ------------------------------------------------------


def find_license(session: Session, application_id: str, key: str) -> License:
    """Return a licence, locked until the transaction ends.

    :raises Refused: the application has no such licence.
    """
    query = sa.select(License).where(
        License.application_id == application_id, License.key == terms.tidy_license_key(key)
    )
    license: License | None = session.scalar(query.options(*WHOLE).with_for_update())
    if license is None:
        raise Refused("license_not_found", "There is no licence with this key.", 404)
    return license


def expire(license: License) -> None:
    """Mark a licence as expired."""
    license.status = LicenseStatus.EXPIRED
    send(
        signals.license_expired,
        license.application_id,
        about_license(license) | about_term(license),
    )


def _check_duration(duration: str) -> timedelta | None:
    try:
        return terms.parse_duration(duration)
    except ValueError as error:
        raise Refused("invalid_member", str(error), 400, member="duration") from error
