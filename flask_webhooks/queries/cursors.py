"""The cursor of a pull: the position of a program, as an opaque text."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from ..access import is_id
from ..errors import CursorExpired, InvalidCursor

#: The cursor of a program that has not pulled anything yet.
START: Final = "start"

_PREFIX: Final = "cur_"
_VERSION: Final = "1"
_MOST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position among the events of one tenant or endpoint, in the order of batches."""

    #: The batch and the id of the last examined event; without an id, the end of the previous batch.
    batch: int
    event_id: str
    #: Unix seconds: no event from before this time will follow, except those that existed at the start.
    complete_to: int
    #: Digest of the scope.
    scope: str

    def text(self) -> str:
        parts = (_VERSION, str(self.batch), self.event_id, str(self.complete_to), self.scope)
        encoded = base64.urlsafe_b64encode(".".join(parts).encode()).decode()
        return _PREFIX + encoded.rstrip("=")


def scope_digest(tenant: str | None, endpoint_id: str | None) -> str:
    """Return the digest of the scope of a cursor.

    :param tenant: ``None`` for all tenants.
    :param endpoint_id: of those with a delivery to one endpoint.
    """
    named = ("endpoint", endpoint_id) if endpoint_id is not None else ("tenant", tenant)
    return hashlib.sha256(repr(named).encode()).hexdigest()[:16]


def read_cursor(text: str, scope: str) -> Cursor:
    """Parse a cursor that was issued for the same events.

    :raises InvalidCursor: it is malformed, or for other events.
    """
    cursor = _parsed(text)
    if cursor is None:
        raise InvalidCursor(
            "after is not a valid cursor. Write start for the oldest events, then the next_after of the previous "
            "response."
        )
    if cursor.scope != scope:
        raise InvalidCursor(
            "This cursor is for another tenant or endpoint. Use it with those that it was issued for, or start again "
            "with after=start."
        )
    return cursor


def check_age(cursor: Cursor, kept_since: datetime) -> None:
    """Refuse a cursor after which events may have been removed.

    :raises CursorExpired: it is too old.
    """
    given = datetime.fromtimestamp(cursor.complete_to, UTC)
    if given < kept_since:
        raise CursorExpired(
            "This cursor is from %(day)s. Events from before %(kept)s have been removed, including some after the "
            "cursor. Start again with after=start, and compare with what you have.",
            day=f"{given:%Y-%m-%d}",
            kept=f"{kept_since:%Y-%m-%d}",
        )


def _parsed(text: object) -> Cursor | None:
    if not isinstance(text, str) or not text.startswith(_PREFIX) or not text.isascii():
        return None
    encoded = text.removeprefix(_PREFIX)
    try:
        decoded = base64.b64decode(encoded + "=" * (-len(encoded) % 4), b"-_", validate=True)
        version, batch, event_id, complete_to, scope = decoded.decode("ascii").split(".")
        cursor = Cursor(_whole(batch), event_id, _whole(complete_to), scope)
        datetime.fromtimestamp(cursor.complete_to, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return cursor if version == _VERSION and is_id(event_id) and cursor.text() == text else None


def _whole(text: str) -> int:
    number = int(text) if text.isdigit() and len(text) < 20 else -1
    if not 0 <= number <= _MOST:
        raise ValueError(text)
    return number
