"""What client software does with a licence key: activate it, and validate it at each start.

Each function is one transaction, as in `selling`. A refusal rolls it back. Its signal, such as
`license_rejected`, is sent all the same: such an event does not depend on a commit.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from flask_webhooks import signals

from . import terms
from .events import Client, about_client, about_license, about_term, schedule_notice, send
from .models import Device, License, LicenseStatus, User, transaction, utc_now
from .problems import Refused
from .selling import expire, find_license


def activate(application_id: str, key: str, client: Client) -> License:
    """Use a key for the first time, without an account.

    :raises Refused: the key is unknown, cannot be used, or was used before.
    """
    with transaction() as session:
        license = find_usable(session, application_id, key, client)
        start_term(license, client)
    return license


def validate(application_id: str, key: str, client: Client) -> License:
    """Check a key. A new device is bound if the limit allows it.

    :raises Refused: the key is unknown or cannot be used, or is bound to other devices.
    """
    with transaction() as session:
        license = find_usable(session, application_id, key, client)
        check_activated(license, client)
        check_device(license, client)
        data = about_license(license) | about_client(client)
        data |= {"level": license.level, "expires_at": license.expires_at}
        send(signals.license_validated, application_id, data)
    return license


# -- steps within a transaction of the caller ------------------------------------------------------


def find_usable(session: Session, application_id: str, key: str, client: Client) -> License:
    """Return the licence with a key that a client uses.

    :raises Refused: there is none, or it is expired, suspended or revoked.
    """
    try:
        license = find_license(session, application_id, key)
    except Refused as error:
        data = {"license_key": key[:64], "reason": error.detail, "code": error.code}
        send(signals.license_rejected, application_id, data | about_client(client))
        raise
    if license.status == LicenseStatus.ACTIVE and terms.has_ended(license.expires_at, utc_now()):
        expire(license)
        # The refusal below rolls back, but the licence stays expired.
        session.commit()
    if license.status not in (LicenseStatus.CREATED, LicenseStatus.ACTIVE):
        code = f"license_{license.status}"
        raise _rejected(license, client, code, f"This licence is {license.status}.")
    return license


def start_term(license: License, client: Client, user: User | None = None) -> None:
    """Begin the term of a licence, and bind the user and the device.

    :raises Refused: the key was used before.
    """
    if license.status != LicenseStatus.CREATED:
        raise _rejected(license, client, "license_in_use", "This licence was activated before.")
    now = utc_now()
    license.status = LicenseStatus.ACTIVE
    license.activated_at = now
    license.expires_at = terms.ends_at(license.duration, now)
    license.user = user
    data = about_license(license) | about_term(license) | about_client(client)
    if user is not None:
        data["activated_by"] = user.id
    send(signals.license_activated, license.application_id, data)
    schedule_notice(license, now)
    check_device(license, client)


def check_activated(license: License, client: Client) -> None:
    """:raises Refused: the licence was not activated yet."""
    if license.status != LicenseStatus.ACTIVE:
        raise _rejected(license, client, "license_unused", "This licence is not activated yet.")


def check_device(license: License, client: Client) -> None:
    """Accept a bound device, and bind a new one if the limit allows it.

    :raises Refused: the limit is reached.
    """
    bound = [device.hwid for device in license.devices]
    if client.hwid in bound:
        return
    if len(bound) >= license.device_limit:
        reason = "The licence is bound to another device."
        data = about_license(license) | about_client(client) | {"reason": reason}
        data["expected_hwid"] = bound[0] if len(bound) == 1 else None
        send(signals.hwid_mismatched, license.application_id, data)
        raise Refused("hwid_mismatch", reason)
    license.devices.append(Device(hwid=client.hwid))
    data = about_license(license) | about_client(client)
    data |= {"hwid_count": len(license.devices), "hwid_limit": license.device_limit}
    send(signals.hwid_bound, license.application_id, data)


def _rejected(license: License, client: Client, code: str, reason: str) -> Refused:
    """Send `license_rejected`, and return the error to raise."""
    data = about_license(license) | about_client(client) | {"code": code, "reason": reason}
    send(signals.license_rejected, license.application_id, data)
    return Refused(code, reason)
