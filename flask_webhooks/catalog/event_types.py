"""The built-in event types: the events of a licensing server.

They are the union of what five commercial services document (each format translates the names and members that its
service knows), and some that their pages only mention. Members are in snake_case; the first of a member's
``examples`` is used in the example of the event type.

Ids may be text or numbers, as hosts have both. Optional members are left out when the host does not know them;
``null`` says that there is none, where the schema allows it. A type is high-volume if any client can cause it with
each request, including clients that guess keys or passwords.

Long, since it is a table, an entry for each event type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .registry import EventType

Schema = dict[str, Any]
#: Members of an object, in the order in which a receiver reads them.
Members = dict[str, Schema]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

LICENSES = "Licences"
USERS = "Users and sessions"
HARDWARE = "Hardware IDs"
FILES = "Files"
LISTS = "Blacklist and whitelist"
PAYMENTS = "Payments"
VERIFICATION = "Verification"
SECURITY = "Security"
AUDIT = "Audit"
WEBHOOKS = "Webhooks"
TEST = "Test"


# -- building schemas ------------------------------------------------------------------------------


def _member(type_: str | list[str], description: str, *examples: Any, **keywords: Any) -> Schema:
    return {"type": type_, "description": description, "examples": list(examples), **keywords}


def _text(description: str, *examples: str, **keywords: Any) -> Schema:
    return _member("string", description, *examples, **keywords)


def _id(description: str, example: str) -> Schema:
    return _member(["string", "integer"], description, example)


def _count(description: str, example: int, *, minimum: int = 0) -> Schema:
    return _member("integer", description, example, minimum=minimum)


def _time(description: str, example: str = "2026-03-02T09:30:00.000Z") -> Schema:
    return _text(description, example, format="date-time")


def _texts(description: str, *examples: list[str]) -> Schema:
    return _member("array", description, *examples, items={"type": "string"})


def _free(description: str, example: Mapping[str, Any]) -> Schema:
    """An object whose members the host chooses."""
    return _member("object", description, dict(example))


def _object(description: str, members: Members, *required: str) -> Schema:
    return {
        "type": "object",
        "description": description,
        "properties": members,
        **({"required": list(required)} if required else {}),
    }


def _nullable(schema: Schema, *, example: bool = False) -> Schema:
    """Allow ``null`` as well; with `example`, the example shows ``null``."""
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    examples = [None, *schema["examples"]] if example else [*schema["examples"], None]
    return {**schema, "type": [*types, "null"], "examples": examples}


def _example(schema: Schema) -> Any:
    if "properties" in schema:
        return {name: _example(member) for name, member in schema["properties"].items()}
    return schema["examples"][0]


def _type(
    name: str, group: str, description: str, members: Members, required: str, **flags: bool
) -> EventType:
    """An event type; `required` lists the members that are always there, apart by spaces."""
    schema = {
        "$schema": DIALECT,
        "title": name,
        "description": description,
        "type": "object",
        "properties": members,
        "required": required.split(),
    }
    return EventType(name, group, description, schema, _example(schema), **flags)


# -- members that several types share --------------------------------------------------------------

LICENSE_ID = _id("The licence.", "lic_8q2m4t")
LICENSE_KEY = _text("The licence key as its holder types it.", "K7QF-29XM-4TRD-PL3B")
LEVEL = _member(["integer", "string"], "Level or tier that the licence grants.", 2, "pro")
DURATION_TYPE = _text("How long the licence runs from its first use.", "30d", "1y", "lifetime")
EXPIRES_AT = _nullable(
    _time("When the licence ends; null for one that does not.", "2026-04-01T09:30:00.000Z")
)
USER_ID = _id("The user.", "usr_5k1n7c")
USERNAME = _text("The user's name at the time.", "mira")
EMAIL = _text("The user's address, where the host shares it.", "mira@example.com", format="email")
HWID = _text("Hardware id of the device, usually a hash.", "9f2c4e7ab1d05836")
IP = _text("IPv4 or IPv6 address that the request came from.", "203.0.113.24", "2001:db8::24")
USER_AGENT = _text("User-Agent header of the request.", "AcmeLoader/2.4 (Windows NT 10.0)")
SESSION_ID = _id("The session.", "ses_7d3f9a")
PAYMENT_ID = _id("The payment, as the host or its payment provider calls it.", "pay_77401")

USER: Members = {"user_id": USER_ID, "username": USERNAME}
DEVICE: Members = {"hwid": HWID, "ip": IP}
LICENSE_REF: Members = {"license_id": LICENSE_ID, "license_key": LICENSE_KEY}
TERM: Members = {"level": LEVEL, "duration_type": DURATION_TYPE, "expires_at": EXPIRES_AT}
HOLDER: Members = {"user_id": _nullable(USER_ID), "username": _nullable(USERNAME)}


def _license(status: str) -> Members:
    """The members of each event about a licence; `status` is what the example shows."""
    words = dict.fromkeys([status, "unused", "active", "suspended", "expired", "revoked"])
    return LICENSE_REF | {
        "status": _text("State of the licence after the event, in the host's terms.", *words)
    }


def _by(what: str, example: str = "staff_3") -> Schema:
    return _nullable(
        _id(f"Who {what}: a user, a staff member or a seller; null for the server itself.", example)
    )


def _why(example: str) -> Schema:
    return _text("The reason, as a text for people.", example)


def _code(example: str, *others: str) -> Schema:
    return _text("The reason, as a stable code for programs.", example, *others)


# -- licences --------------------------------------------------------------------------------------

_LICENSES = (
    _type(
        "license.created",
        LICENSES,
        "A licence key was generated manually, through an API or for an order.",
        _license("unused")
        | {"level": LEVEL, "duration_type": DURATION_TYPE}
        | {
            "expires_at": _nullable(
                _time("When the licence ends; null before its first use."),
                example=True,
            ),
            "email": EMAIL,
            "payment_id": PAYMENT_ID,
            "created_by": _by("generated it", "seller_12"),
        },
        "license_id license_key status",
    ),
    _type(
        "license.activated",
        LICENSES,
        "A licence key was used for the first time, which binds it to a user and starts its term.",
        _license("active")
        | TERM
        | {"activated_by": _id("The user who activated it.", "usr_5k1n7c"), "username": USERNAME}
        | DEVICE,
        "license_id license_key status",
    ),
    _type(
        "license.validated",
        LICENSES,
        "A licence key was checked and accepted, as client software does at each start.",
        _license("active")
        | USER
        | DEVICE
        | {
            "level": LEVEL,
            "expires_at": EXPIRES_AT,
            "file_id": _id("The file, script or build that made the request.", "file_31"),
            "version": _text("Version of the software that made the request.", "2.4.1"),
            "session_id": SESSION_ID,
        },
        "license_id license_key status",
        transactional=False,
        high_volume=True,
    ),
    _type(
        "license.rejected",
        LICENSES,
        "A licence key was refused because it is unknown or can no longer be used.",
        {
            "license_key": _text("The key as it was presented.", "K7QF-29XM-4TRD-PL3B"),
            "reason": _why("This licence was revoked"),
            "code": _code("license_revoked", "license_not_found", "license_expired"),
            "license_id": _nullable(_id("The licence; null for an unknown key.", "lic_8q2m4t")),
            "status": _nullable(_text("State of the licence; null for an unknown key.", "revoked")),
        }
        | DEVICE
        | {"user_agent": USER_AGENT},
        "license_key reason",
        transactional=False,
        high_volume=True,
    ),
    _type(
        "license.expiring",
        LICENSES,
        "A licence will expire soon and has not been renewed.",
        _license("active")
        | {
            "expires_at": _time("When its term ends."),
            "days_left": _count("Whole days until then.", 7),
        }
        | {"level": LEVEL, "duration_type": DURATION_TYPE}
        | HOLDER,
        "license_id license_key status expires_at",
    ),
    _type(
        "license.expired",
        LICENSES,
        "A licence expired; servers that only check this when the licence is next used "
        "send the event then.",
        _license("expired")
        | {"expires_at": _time("When its term ended.")}
        | {"level": LEVEL, "duration_type": DURATION_TYPE}
        | HOLDER,
        "license_id license_key status expires_at",
    ),
    _type(
        "license.renewed",
        LICENSES,
        "The term of a licence was extended.",
        _license("active")
        | {
            "expires_at": _nullable(
                _time("When it ends now; null for never.", "2026-05-01T09:30:00.000Z")
            ),
            "previous_expires_at": _nullable(
                _time("When it would have ended.", "2026-04-01T09:30:00.000Z")
            ),
            "duration_type": _text("What was added to the term.", "30d"),
            "payment_id": PAYMENT_ID,
            "renewed_by": _by("extended it", "usr_5k1n7c"),
        }
        | HOLDER,
        "license_id license_key status expires_at",
    ),
    _type(
        "license.checked_out",
        LICENSES,
        "A licence or one of its seats was checked out to a device for a limited time, for example for offline use.",
        _license("active")
        | {"checkout_id": _id("The checkout.", "chk_19")}
        | DEVICE
        | {
            "due_at": _nullable(_time("When it must be checked in; null for no set time.")),
            "checkout_count": _count("How many are checked out now.", 3),
            "checkout_limit": _nullable(
                _count("How many may be checked out; null for no limit.", 5)
            ),
        }
        | HOLDER,
        "license_id license_key status",
    ),
    _type(
        "license.check_in_overdue",
        LICENSES,
        "A licence was not checked in or validated again by the time it was due.",
        _license("active")
        | {
            "due_at": _time("When it was due."),
            "last_check_in_at": _nullable(
                _time("When it was last checked in; null for never.", "2026-02-23T09:30:00.000Z")
            ),
            "checkout_id": _nullable(_id("The checkout; null if there was none.", "chk_19")),
            "hwid": HWID,
        }
        | HOLDER,
        "license_id license_key status due_at",
    ),
    _type(
        "usage.threshold_reached",
        LICENSES,
        "The usage of a licence has reached a threshold of its limit.",
        LICENSE_REF
        | {
            "metric": _text("What is counted.", "api_calls", "seats"),
            "usage": _member("number", "How much was used.", 8000, minimum=0),
            "limit": _member("number", "How much is allowed.", 10_000, minimum=0),
            "threshold_percent": _member(
                "number", "The threshold that was reached, in percent of the limit.", 80, minimum=0
            ),
            "period_ends_at": _nullable(
                _time("When the count is reset; null for never.", "2026-04-01T00:00:00.000Z")
            ),
        }
        | HOLDER,
        "license_id license_key metric usage threshold_percent",
    ),
    _type(
        "license.updated",
        LICENSES,
        "A licence was changed in a way that no other event type covers.",
        _license("active")
        | {
            "changed": _texts("Names of what changed.", ["level", "note"]),
            "previous": _free("Values before, by name.", {"level": 1, "note": None}),
            "new": _free("Values after, by name.", {"level": 2, "note": "Upgraded by support"}),
            "changed_by": _by("changed it"),
        },
        "license_id license_key status changed",
    ),
    _type(
        "license.suspended",
        LICENSES,
        "A licence was suspended: it works again once the suspension is lifted or ends.",
        _license("suspended")
        | {
            "reason": _why("Payment is overdue"),
            "suspended_by": _by("suspended it"),
            "suspended_until": _nullable(
                _time("When the suspension ends automatically; null until it is lifted.")
            ),
        }
        | HOLDER,
        "license_id license_key status",
    ),
    _type(
        "license.revoked",
        LICENSES,
        "A licence was revoked and no longer works.",
        _license("revoked")
        | {"reason": _why("Chargeback on the order"), "revoked_by": _by("revoked it")}
        | HOLDER,
        "license_id license_key status",
    ),
    _type(
        "license.reinstated",
        LICENSES,
        "A revoked or suspended licence works again.",
        _license("active")
        | {
            "previous_status": _text("State of the licence before.", "revoked", "suspended"),
            "reason": _why("The chargeback was withdrawn"),
            "reinstated_by": _by("reinstated it"),
            "expires_at": EXPIRES_AT,
        }
        | HOLDER,
        "license_id license_key status",
    ),
    _type(
        "license.deleted",
        LICENSES,
        "A licence was permanently deleted.",
        _license("deleted") | {"reason": _why("Duplicate key"), "deleted_by": _by("deleted it")},
        "license_id license_key status",
    ),
)

# -- users and sessions ----------------------------------------------------------------------------

_LOGIN: Members = USER | DEVICE | {"user_agent": USER_AGENT, "session_id": SESSION_ID}

_USERS = (
    _type(
        "user.registered",
        USERS,
        "A user account was created, usually with a licence key.",
        USER | {"email": EMAIL} | LICENSE_REF | DEVICE,
        "user_id username",
    ),
    _type(
        "user.logged_in",
        USERS,
        "A user logged in, by password, licence key or both.",
        _LOGIN | LICENSE_REF,
        "user_id username",
        transactional=False,
        high_volume=True,
    ),
    _type(
        "user.login_failed",
        USERS,
        "A login was refused.",
        {
            "username": _nullable(_text("The name as it was typed.", "mira")),
            "reason": _why("Wrong password"),
            "code": _code("invalid_credentials", "user_not_found", "user_banned"),
            "user_id": _nullable(_id("The user, if one has this name.", "usr_5k1n7c")),
        }
        | DEVICE
        | {
            "user_agent": USER_AGENT,
            "failed_attempts": _count(
                "Consecutive failures from this source, including this one.", 3
            ),
        },
        "reason",
        transactional=False,
        high_volume=True,
    ),
    _type(
        "user.banned",
        USERS,
        "A user was banned.",
        USER
        | {
            "reason": _why("Shared the account"),
            "banned_by": _by("banned the user"),
            "banned_until": _nullable(_time("When the ban ends; null for never."), example=True),
        }
        | DEVICE,
        "user_id username",
    ),
    _type(
        "user.unbanned",
        USERS,
        "A user's ban was lifted or expired.",
        USER | {"reason": _why("Appeal granted"), "unbanned_by": _by("lifted the ban")},
        "user_id username",
    ),
    _type(
        "user.deleted",
        USERS,
        "A user account was deleted.",
        USER | {"reason": _why("Asked for by the user"), "deleted_by": _by("deleted it")},
        "user_id username",
    ),
    _type(
        "session.created",
        USERS,
        "A session began after a successful login.",
        {"session_id": SESSION_ID}
        | USER
        | DEVICE
        | {
            "user_agent": USER_AGENT,
            "license_id": LICENSE_ID,
            "expires_at": _nullable(_time("When the session ends automatically; null for never.")),
        },
        "session_id",
        transactional=False,
        high_volume=True,
    ),
    _type(
        "session.ended",
        USERS,
        "A session ended: the user logged out, it expired, or the server ended it.",
        {"session_id": SESSION_ID}
        | USER
        | DEVICE
        | {
            "license_id": LICENSE_ID,
            "code": _code("logged_out", "expired", "kicked"),
            "ended_by": _by("ended it", "usr_5k1n7c"),
            "started_at": _time("When it began.", "2026-03-02T08:10:00.000Z"),
            "duration_seconds": _count("How long it lasted, in seconds.", 4800),
        },
        "session_id",
        transactional=False,
        high_volume=True,
    ),
)

# -- hardware ids ----------------------------------------------------------------------------------

_SLOTS: Members = {
    "hwid_count": _count("Hardware ids that are bound to the licence now.", 1),
    "hwid_limit": _nullable(_count("How many may be bound; null for no limit.", 2)),
}
_OLD_HWID = "41b7d09c6e2f8a53"

_HARDWARE = (
    _type(
        "hwid.bound",
        HARDWARE,
        "A hardware id was bound to a free slot of a licence.",
        _license("active") | {"hwid": HWID} | _SLOTS | USER | {"ip": IP},
        "license_id license_key hwid",
    ),
    _type(
        "hwid.changed",
        HARDWARE,
        "The hardware id of a licence was replaced by another one.",
        _license("active")
        | {
            "hwid": _text("The hardware id that is bound now.", "9f2c4e7ab1d05836"),
            "previous_hwid": _nullable(_text("The one that was bound before.", _OLD_HWID)),
            "changed_by": _by("changed it", "usr_5k1n7c"),
        }
        | USER
        | {"ip": IP},
        "license_id license_key hwid",
    ),
    _type(
        "hwid.reset",
        HARDWARE,
        "Hardware ids were cleared from a licence, so that it can be bound again.",
        _license("active")
        | {
            "hwid": _nullable(
                _text("The one that was cleared; null for none or several.", _OLD_HWID)
            ),
            "previous_hwids": _texts("All that were cleared.", [_OLD_HWID]),
            "reset_by": _by("reset it"),
            "reason": _why("New computer"),
        }
        | USER,
        "license_id license_key",
    ),
    _type(
        "hwid.mismatched",
        HARDWARE,
        "A licence or account was used from a device that it is not bound to.",
        LICENSE_REF
        | {
            "hwid": _text("The hardware id that was presented.", "c05e71f3928ad64b"),
            "expected_hwid": _nullable(
                _text("The one that is bound; null for several.", "9f2c4e7ab1d05836")
            ),
            "reason": _why("The licence is bound to another device"),
        }
        | USER
        | {"ip": IP, "user_agent": USER_AGENT},
        "hwid",
        transactional=False,
    ),
    _type(
        "device.heartbeat_missed",
        HARDWARE,
        "A device has not reported within its interval.",
        LICENSE_REF
        | {
            "hwid": HWID,
            "last_seen_at": _nullable(_time("When it last reported; null for never.")),
            "interval_seconds": _count("How often it has to report, in seconds.", 300),
            "missed_count": _count("Consecutive missed reports, including this one.", 1),
        }
        | USER
        | {"ip": _text("IPv4 or IPv6 address that it last reported from.", "203.0.113.24")},
        "hwid",
    ),
)

# -- files -----------------------------------------------------------------------------------------

_FILE: Members = {
    "file_id": _id("The file or script.", "file_31"),
    "name": _text("Its name.", "loader.exe"),
    "version": _text("Its version.", "2.4.1"),
    "size": _count("Its size in bytes.", 4_194_304),
    "sha256": _text(
        "SHA-256 of its content, in hex.",
        "5f2b0c8e6f1a4d3792be41d07ac95e1f8830b6d25c7e94fa10d3628be7f4a91c",
        pattern="^[0-9a-f]{64}$",
    ),
}

_FILES = (
    _type(
        "file.uploaded",
        FILES,
        "A new file, script or build was uploaded.",
        _FILE
        | {
            "notes": _text("What is new, for its users.", "Faster start"),
            "uploaded_by": _by("uploaded it"),
        },
        "file_id name",
    ),
    _type(
        "file.updated",
        FILES,
        "A file, script or build was replaced by a newer one.",
        _FILE
        | {
            "previous_version": _nullable(_text("The version that it replaces.", "2.4.0")),
            "notes": _text("What is new, for its users.", "Faster start"),
            "updated_by": _by("updated it"),
        },
        "file_id name",
    ),
    _type(
        "file.downloaded",
        FILES,
        "An authenticated user downloaded a file.",
        _FILE | USER | LICENSE_REF | DEVICE,
        "file_id user_id",
        transactional=False,
        high_volume=True,
    ),
)

# -- blacklist and whitelist -----------------------------------------------------------------------


def _list_types(listed: str, example_kind: str, example_value: str, reason: str) -> list[EventType]:
    entry: Members = {
        "entry_id": _id(f"The entry of the {listed}.", "ent_204"),
        "kind": _text("The kind of value.", example_kind, "ip", "hwid", "user", "country"),
        "value": _text("The listed value.", example_value),
        "reason": _why(reason),
    }
    added = {
        "added_by": _by("added it"),
        "expires_at": _nullable(_time("When the entry ends automatically; null for never.")),
    }
    return [
        _type(
            f"{listed}.added",
            LISTS,
            f"An IP address, hardware id, user or other value was added to the {listed}.",
            entry | added,
            "kind value",
        ),
        _type(
            f"{listed}.removed",
            LISTS,
            f"An entry was removed from the {listed}, manually or because it expired.",
            entry | {"removed_by": _by("removed it")},
            "kind value",
        ),
    ]


_LISTS = (
    *_list_types("blacklist", "ip", "198.51.100.66", "Repeated failed logins"),
    *_list_types("whitelist", "hwid", "9f2c4e7ab1d05836", "Test device of the support team"),
)

# -- payments --------------------------------------------------------------------------------------


def _payment(status: str) -> Members:
    return {
        "payment_id": PAYMENT_ID,
        "amount": _text(
            "What was paid, in whole units of the currency, as decimal text.",
            "19.99",
            pattern=r"^-?[0-9]+(\.[0-9]+)?$",
        ),
        "currency": _text("ISO 4217 code.", "EUR", "USD", pattern="^[A-Z]{3}$"),
        "status": _text("State of the payment, in the host's terms.", status),
        "provider": _text("Payment service.", "stripe", "paypal"),
        "product": _text("What was bought.", "Pro, 30 days"),
        "email": EMAIL,
    } | USER


_PAYMENTS = (
    _type(
        "payment.succeeded",
        PAYMENTS,
        "A payment was received.",
        _payment("paid") | LICENSE_REF,
        "payment_id amount currency",
    ),
    _type(
        "payment.failed",
        PAYMENTS,
        "A payment was declined, cancelled or reversed.",
        _payment("declined")
        | {"reason": _why("The card was declined"), "code": _code("card_declined")},
        "payment_id amount currency reason",
        transactional=False,
    ),
)

# -- verification ----------------------------------------------------------------------------------

_PERSON_ID = _id("The user's id on the platform.", "284715093360148480")
_PERSON: Members = {
    "id": _PERSON_ID,
    "username": _text("The user's name there.", "mira"),
    "discriminator": _nullable(_text("The number after the name, where it has one.", "0420")),
}
_SUBJECT = _object("Who was verified.", _PERSON, "id")
_MAYBE_SUBJECT = _object(
    "The user who failed verification, if known; left out otherwise.",
    _PERSON | {"id": _nullable(_PERSON_ID)},
)
_VERIFICATION: Members = {
    "method": _text("How the user was verified.", "turnstile", "hcaptcha", "email"),
    "ip": IP,
    "location": _text("Country (ISO 3166-1 alpha-2) or place of the address.", "DE"),
    "user_agent": _text("User-Agent header of the request.", "Mozilla/5.0 (X11; Linux x86_64)"),
    "duration_ms": _count("How long it took, in milliseconds.", 1840),
}

_VERIFICATIONS = (
    _type(
        "verification.succeeded",
        VERIFICATION,
        "A user passed verification.",
        {
            "user": _SUBJECT,
            "verification": _object("Details of the verification.", _VERIFICATION, "method"),
        },
        "user verification",
    ),
    _type(
        "verification.failed",
        VERIFICATION,
        "A user failed verification or was blocked from it.",
        {
            "user": _MAYBE_SUBJECT,
            "verification": _object("Details of the verification.", _VERIFICATION),
            "failure": _object(
                "Why it failed.",
                {
                    "reason": _why("The address belongs to an anonymising proxy"),
                    "code": _code("proxy_detected", "challenge_failed", "account_too_new"),
                    "detection_method": _text("The check that failed.", "ip_reputation"),
                },
                "reason",
            ),
        },
        "failure",
        transactional=False,
    ),
)

# -- security --------------------------------------------------------------------------------------

_THREAT: Members = {
    "type": _text("Kind of threat.", "credential_stuffing", "raid", "key_sharing"),
    "severity": _text("How severe it is.", "high", "low", "medium", "critical"),
    "details": _free(
        "What was seen, with figures.", {"failed_logins": 412, "accounts": 96, "minutes": 10}
    ),
    "recommended_actions": _texts(
        "What to do, in words for people.", ["Block the address ranges", "Reset weak passwords"]
    ),
    "affected_ip_ranges": _texts("Address ranges in CIDR form.", ["198.51.100.0/24"]),
}

_SECURITY = (
    _type(
        "security.alert",
        SECURITY,
        "The server detected an attack or another high-risk pattern.",
        {"threat": _object("The detected threat.", _THREAT, "type", "severity")},
        "threat",
        transactional=False,
    ),
    _type(
        "signature.rejected",
        SECURITY,
        "A request carried an invalid signature: changed, replayed or badly signed.",
        {
            "reason": _why("The signature does not match the body"),
            "code": _code("signature_mismatch", "signature_expired", "signature_missing"),
            "path": _text("Path of the request.", "/api/v1/validate"),
            "license_key": _text("The licence key that it named.", "K7QF-29XM-4TRD-PL3B"),
        }
        | DEVICE
        | {"user_agent": USER_AGENT}
        | USER,
        "reason",
        transactional=False,
        high_volume=True,
    ),
    _type(
        "rate_limit.exceeded",
        SECURITY,
        "A client exceeded its rate limit.",
        {
            "limit": _count("How many requests are allowed.", 60),
            "window_seconds": _count(
                "The period to which the limit applies, in seconds.", 60, minimum=1
            ),
            "count": _count("How many requests were made.", 61),
            "subject": _text("What is counted.", "ip", "user", "license"),
            "path": _text("Path of the request.", "/api/v1/login"),
            "ip": IP,
            "user_agent": USER_AGENT,
            "blocked_until": _nullable(_time("When requests are accepted again.")),
        }
        | USER
        | {"license_id": LICENSE_ID},
        "limit window_seconds",
        transactional=False,
        high_volume=True,
    ),
)

# -- audit -----------------------------------------------------------------------------------------


def _acted(who: str, actor: str, name: str, action: str, details: Mapping[str, Any]) -> Members:
    return {
        "actor_id": _id(f"The {who}.", actor),
        "actor_name": _text(f"The name of the {who}.", name),
        "action": _text("What was done.", action),
        "target_type": _text("Type of the object that was acted on.", "license", "user", "file"),
        "target_id": _id("The object that was acted on.", "lic_8q2m4t"),
        "details": _free("Further details.", details),
        "reason": _why("Asked for by the customer"),
        "ip": IP,
    }


_AUDIT = (
    _type(
        "staff.acted",
        AUDIT,
        "A staff member performed an administrative action.",
        _acted("staff member", "staff_3", "jo", "license.extend", {"days": 7}),
        "actor_id action",
    ),
    _type(
        "seller.acted",
        AUDIT,
        "A seller or reseller performed an action, such as generating keys for a customer.",
        _acted("seller", "seller_12", "keyshop", "license.create", {"quantity": 5, "balance": 45}),
        "actor_id action",
    ),
    _type(
        "config.updated",
        AUDIT,
        "Settings of the application or server were changed.",
        {
            "change": _object(
                "What was changed.",
                {
                    "settings": _texts("Names of the settings.", ["require_hwid", "max_devices"]),
                    "previous": _free(
                        "Values before, by name.", {"require_hwid": False, "max_devices": 1}
                    ),
                    "new": _free(
                        "Values after, by name.", {"require_hwid": True, "max_devices": 2}
                    ),
                    "changed_by": _by("changed them"),
                    "changed_at": _time("When they were changed."),
                },
                "settings",
            )
        },
        "change",
    ),
)

# -- about the webhooks themselves -----------------------------------------------------------------

_ENDPOINT: Members = {
    "endpoint_id": _text("The endpoint.", "ep_06f9x2k8r4v1q7m3t5z0c6w9bd"),
    "endpoint_name": _text("Its name.", "Order system"),
    "url": _text("Its URL, masked where the URL is a secret.", "https://example.com/webhooks"),
}
_FAILING_SINCE = _time("The first failure since the last success.", "2026-02-27T21:10:00.000Z")
_LAST: Members = {
    "last_status": _nullable(_count("HTTP status of the last response; null for none.", 503)),
    "last_error": _nullable(_text("What went wrong last.", "The server responded with 503")),
}

_WEBHOOKS = (
    _type(
        "endpoint.failing",
        WEBHOOKS,
        "An endpoint keeps failing, or has failed for so long that it will soon be disabled.",
        _ENDPOINT
        | {
            "failing_since": _FAILING_SINCE,
            "consecutive_failures": _count("Failures in a row.", 5, minimum=1),
        }
        | _LAST
        | {
            "disable_progress": _member(
                "integer",
                "How much of the time until it is disabled has passed, in percent: 0 when it starts "
                "to fail, then 50 and 90 as warnings.",
                0,
                50,
                90,
                minimum=0,
                maximum=100,
            ),
            "disable_at": _nullable(
                _time(
                    "When it will be disabled if nothing changes; null for never.",
                    "2026-03-04T21:10:00.000Z",
                )
            ),
        },
        "endpoint_id url failing_since consecutive_failures",
        operational=True,
    ),
    _type(
        "endpoint.recovered",
        WEBHOOKS,
        "An endpoint that was failing accepts deliveries again.",
        _ENDPOINT | {"failing_since": _FAILING_SINCE},
        "endpoint_id url",
        operational=True,
    ),
    _type(
        "endpoint.disabled",
        WEBHOOKS,
        "An endpoint was disabled, because it failed for too long or responded that it is gone.",
        _ENDPOINT
        | {
            "reason": _text(
                "Why: failing (it failed for too long) or gone (it responded with 410 or refused for good).",
                "failing",
                "gone",
            ),
            "failing_since": _nullable(_FAILING_SINCE),
        }
        | _LAST,
        "endpoint_id url reason",
        operational=True,
    ),
    _type(
        "delivery.failed",
        WEBHOOKS,
        "A delivery failed permanently; it can be resent manually.",
        {
            "delivery_id": _text("The delivery.", "dlv_06f9x2m1c7t8v3k5q0r4w6z9bd"),
            "event_id": _text(
                "The event, as in its webhook-id header.", "evt_06f9x2kzr4v1q7m3t5c0w6b9yd"
            ),
            "event_type": _text("Its type.", "license.created"),
        }
        | _ENDPOINT
        | {
            "reason": _text(
                "Why: exhausted (no retry left), gone (410), blocked (forbidden address) or other.",
                "exhausted",
                "gone",
                "blocked",
                "interrupted",
            ),
            "attempt_count": _count("Attempts that were made.", 10),
        }
        | _LAST,
        "delivery_id event_id event_type endpoint_id reason",
        operational=True,
    ),
)

_TEST = _type(
    "test",
    TEST,
    "A test event was requested, to check whether the endpoint can be reached.",
    {
        "message": _text("A greeting.", "This is a test ping from Acme Licensing"),
        "endpoint_id": _text("The endpoint under test.", "ep_06f9x2k8r4v1q7m3t5z0c6w9bd"),
    },
    "message",
    transactional=False,
    subscribable=False,
)

_CHALLENGE = _type(
    "webhook.challenge",
    TEST,
    "Sent to a new URL, whose receiver must echo the token before it gets other events.",
    {
        "challenge": _text(
            "The token, which the receiver must echo.", "kLk9J2f0m3Qx7pTz5vWc1bNs8dRg4hYa"
        )
    },
    "challenge",
    transactional=False,
    subscribable=False,
)

#: Every built-in event type, group by group, in the order in which forms and docs list them.
BUILTIN_EVENT_TYPES: tuple[EventType, ...] = (
    *_LICENSES,
    *_USERS,
    *_HARDWARE,
    *_FILES,
    *_LISTS,
    *_PAYMENTS,
    *_VERIFICATIONS,
    *_SECURITY,
    *_AUDIT,
    *_WEBHOOKS,
    _TEST,
    _CHALLENGE,
)
