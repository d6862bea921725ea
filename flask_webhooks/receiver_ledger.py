"""Compare the received webhooks with the sender's ledger: `flask_webhooks.receiver.Ledger`.

Every webhook of an endpoint has a number in ``webhook-sequence``, which the signature does not cover. A number
therefore only counts as received if the sender's signed ledger has the same event for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .errors import ConfigurationError, VerificationError

if TYPE_CHECKING:
    from .receiver import Headers

#: Makes a ``GET`` request for a path of the sender's API; returns the headers and the body of the response.
Get = Callable[[str], tuple["Headers", bytes]]

#: States of deliveries that are still to be sent.
_ON_THEIR_WAY = frozenset({"pending", "sending", "held"})
_REMOVED = "removed"


@dataclass(frozen=True)
class Entry:
    """A number of the endpoint in the sender's ledger."""

    sequence: int
    #: ``succeeded``, ``failed``, ``cancelled``, ``pending``, ``sending``, ``held`` or ``removed``.
    state: str
    event_id: str | None
    event_type: str | None


@dataclass
class Findings:
    """Numbers that have not been received, by what can be done about them. All are empty if nothing is missing."""

    #: The sender has finished these: they must be fetched or resent.
    missing: list[Entry] = field(default_factory=list)
    #: The sender will still send these.
    pending: list[Entry] = field(default_factory=list)
    #: The sender no longer has these, because they are older than its retention time.
    removed: list[Entry] = field(default_factory=list)


class Ledger:
    """The numbers and events that one endpoint has received.

    :param database: the path of an SQLite file, which is created if it does not exist; or a function that returns
    a DB-API connection to a database with the table. The caller has to commit changes there.
    :param endpoint_id: the endpoint's id at the sender.
    :param secret: as for `verify`.
    :param first: the first number that counts: 1 for an endpoint whose webhooks were recorded from the beginning.
    :param table: columns ``endpoint_id`` (text), ``sequence`` (64 bits), ``event_id`` (text).
    :param placeholder: the placeholder of a value in SQL: ``%s`` for most drivers of PostgreSQL and MySQL.
    :raises ConfigurationError: `first` or `table` is invalid.
    """

    def __init__(
        self,
        database: str | PathLike[str] | Callable[[], Any],
        endpoint_id: str,
        secret: str | Sequence[str],
        *,
        first: int = 1,
        table: str = "webhook_ledger",
        placeholder: str = "?",
    ) -> None:
        if type(first) is not int or first < 1:
            raise ConfigurationError(f"first must be a whole number from 1 on, not {first!r}.")
        if not all(part.isidentifier() for part in table.split(".")):
            raise ConfigurationError(f"table must be the name of a table, not {table!r}.")
        self._database = database
        self._endpoint_id = endpoint_id
        self._secret = secret
        self._first = first
        self._table = table
        self._placeholder = placeholder

    def note(self, headers: Headers) -> int | None:
        """Record a received webhook; call it after `verify`, before responding.

        :return: its number; ``None`` for tests and challenges, which have none.
        :raises VerificationError: the number is invalid, or there is no ``webhook-id``.
        """
        given = {name.lower(): value for name, value in headers.items()}
        text, event_id = given.get("webhook-sequence"), given.get("webhook-id", "")
        if text is None:
            return None
        # The number of digits that always fits into 64 bits.
        if not (text.isascii() and text.isdigit() and len(text) <= 18) or not event_id:
            raise VerificationError("webhook-sequence is not a number, or webhook-id is missing.")
        sequence = int(text)
        with self._cursor() as cursor:
            if event_id not in self._noted(cursor, sequence, sequence).get(sequence, ()):
                self._add(cursor, sequence, event_id)
        return sequence

    def gaps(self) -> list[tuple[int, int]]:
        """Return the gaps below the highest recorded number: the first and last number of each."""
        with self._cursor() as cursor:
            next_one = self._settled(cursor) + 1
            noted = sorted(self._noted(cursor, next_one, None))
        found = []
        for sequence in noted:
            if sequence > next_one:
                found.append((next_one, sequence - 1))
            next_one = sequence + 1
        return found

    def check(self, get: Get) -> Findings:
        """Compare the recorded numbers with the sender's ledger, and return what is missing.

        Complete ranges are not compared again, and their records are removed.

        :param get: makes a ``GET`` request for a path of the sender's API, such as ``/endpoints/…/ledger?from=1``.
        :raises VerificationError: the response is not signed with the endpoint's secret, or is about something
            else.
        """
        findings = Findings()
        with self._cursor() as cursor:
            settled = self._settled(cursor)
        start: int | None = settled + 1
        in_order = True
        while start is not None:
            entries, start = self._fetch(get, start)
            if not entries:
                break
            # Read after the ledger: webhooks that it calls delivered were recorded before.
            with self._cursor() as cursor:
                noted = self._noted(cursor, entries[0].sequence, entries[-1].sequence)
                for entry in entries:
                    received = noted.get(entry.sequence, set())
                    if entry.event_id in received or (entry.event_id is None and received):
                        settled = entry.sequence if in_order else settled
                        continue
                    in_order = False
                    _place(findings, entry)
                self._settle(cursor, settled)
        return findings

    def pull(self, get: Get, handle: Callable[[dict[str, Any]], None]) -> Findings:
        """Do the same as `check`, then fetch missing events from ``GET /events/<id>``, handle and record them.

        :param handle: called with each event: `id`, `type`, `timestamp`, `data`, `tenant`. An exception ends the
            pull.
        :return: what is still missing: events whose data is not accessible.
        """
        findings = self.check(get)
        left = []
        for entry in findings.missing:
            _, body = get(f"/events/{quote(entry.event_id or '')}")
            event = json.loads(body)
            if event.get("id") != entry.event_id or event.get("data") is None:
                left.append(entry)
                continue
            handle(
                {
                    "id": event["id"],
                    "type": event["type"],
                    "timestamp": event["occurred_at"],
                    "data": event["data"],
                    "tenant": event["tenant"],
                }
            )
            self.accept(entry)
        findings.missing = left
        return findings

    def accept(self, entry: Entry) -> None:
        """Record a number as received, because its event was obtained in another way, or was removed."""
        with self._cursor() as cursor:
            self._add(cursor, entry.sequence, entry.event_id or _REMOVED)

    def _fetch(self, get: Get, first: int) -> tuple[list[Entry], int | None]:
        """Fetch a page of the sender's ledger; return it, and the start of the next one."""
        # It imports this module, because the class is one of its names.
        from .receiver import verify

        headers, body = get(f"/endpoints/{quote(self._endpoint_id)}/ledger?from={first}")
        page = verify(headers, body, self._secret)
        if (
            not isinstance(page, dict)
            or page.get("type") != "webhook.ledger"
            or page.get("endpoint_id") != self._endpoint_id
        ):
            raise VerificationError(
                "The response is signed, but is not the ledger of this endpoint."
            )
        entries = [
            Entry(item["sequence"], item["state"], item["event_id"], item["event_type"])
            for item in page["items"]
        ]
        after = first + len(entries)
        in_order = [entry.sequence for entry in entries] == list(range(first, after))
        # Not `next_from`: the bounds of the request are not signed, and may have been changed on the way.
        more = after <= page["last_sequence"]
        if not in_order or (more and not entries):
            raise VerificationError("The ledger does not begin with the number that was asked for.")
        return entries, after if more else None

    # -- the table ---------------------------------------------------------------------------------

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        if callable(self._database):
            with closing(self._database().cursor()) as cursor:
                yield cursor
            return
        import sqlite3

        with closing(sqlite3.connect(self._database, timeout=30)) as connection, connection:
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {self._table} (endpoint_id TEXT NOT NULL, "
                "sequence INTEGER NOT NULL, event_id TEXT NOT NULL)"
            )
            connection.execute(
                f"CREATE INDEX IF NOT EXISTS {self._table}_sequence "
                f"ON {self._table} (endpoint_id, sequence)"
            )
            yield connection.cursor()

    def _run(self, cursor: Any, sql: str, *values: object) -> Any:
        cursor.execute(sql.replace("{table}", self._table).replace("?", self._placeholder), values)
        return cursor

    def _noted(self, cursor: Any, first: int, last: int | None) -> Mapping[int, set[str]]:
        """Return the ids of the recorded events by number."""
        sql = "SELECT sequence, event_id FROM {table} WHERE endpoint_id = ? AND sequence >= ?"
        bounds = [first] if last is None else [first, last]
        sql += "" if last is None else " AND sequence <= ?"
        found: dict[int, set[str]] = {}
        for sequence, event_id in self._run(cursor, sql, self._endpoint_id, *bounds).fetchall():
            found.setdefault(sequence, set()).add(event_id)
        return found

    def _add(self, cursor: Any, sequence: int, event_id: str) -> None:
        self._run(
            cursor,
            "INSERT INTO {table} (endpoint_id, sequence, event_id) VALUES (?, ?, ?)",
            *(self._endpoint_id, sequence, event_id),
        )

    def _settled(self, cursor: Any) -> int:
        """Return the number up to which everything is complete. Its row in the table has no event."""
        sql = "SELECT MAX(sequence) FROM {table} WHERE endpoint_id = ? AND event_id = ''"
        [found] = self._run(cursor, sql, self._endpoint_id).fetchone()
        return max(found or 0, self._first - 1)

    def _settle(self, cursor: Any, sequence: int) -> None:
        if sequence > self._settled(cursor):
            sql = "DELETE FROM {table} WHERE endpoint_id = ? AND sequence <= ?"
            self._run(cursor, sql, self._endpoint_id, sequence)
            self._add(cursor, sequence, "")


def _place(findings: Findings, entry: Entry) -> None:
    if entry.state == _REMOVED:
        findings.removed.append(entry)
    elif entry.state in _ON_THEIR_WAY:
        findings.pending.append(entry)
    else:
        findings.missing.append(entry)
