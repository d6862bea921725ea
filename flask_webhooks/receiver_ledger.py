"""What a receiver has received, held against the sender's ledger: `flask_webhooks.receiver.Ledger`.

Every webhook of an endpoint has a number in ``webhook-sequence``, which no signature covers. So a number counts as
received only once the sender's signed ledger says that it is that of the event which came with it.
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

#: Makes a ``GET`` request for a path of the sender's API; returns headers and body of the answer.
Get = Callable[[str], tuple["Headers", bytes]]

#: States of deliveries that are still to be sent.
_ON_THEIR_WAY = frozenset({"pending", "sending", "held"})
_REMOVED = "removed"


@dataclass(frozen=True)
class Entry:
    """A number of the endpoint, as the sender's ledger has it."""

    sequence: int
    #: ``succeeded``, ``failed``, ``cancelled``, ``pending``, ``sending``, ``held`` or ``removed``.
    state: str
    event_id: str | None
    event_type: str | None


@dataclass
class Findings:
    """What has not been received, by what can be done about it. All three are empty where nothing is missing."""

    #: The sender is done with these: they have to be fetched, or sent again.
    missing: list[Entry] = field(default_factory=list)
    #: The sender will still send these.
    pending: list[Entry] = field(default_factory=list)
    #: The sender does not have these any more: they are older than it keeps events.
    removed: list[Entry] = field(default_factory=list)


class Ledger:
    """The numbers and events that one endpoint has received.

    :param database: the path of an SQLite file, which is made where there is none; or a function that returns a
        DB-API connection to a database that has the table. What is done there is the caller's to commit.
    :param endpoint_id: the endpoint's id at the sender.
    :param secret: as for `verify`.
    :param first: the first number that counts: 1 for an endpoint whose webhooks were noted from the beginning.
    :param table: columns ``endpoint_id`` (text), ``sequence`` (64 bits), ``event_id`` (text).
    :param placeholder: of a value in the database's SQL: ``%s`` for most drivers of PostgreSQL and MySQL.
    :raises ConfigurationError: `first` is not a number from 1 on, or `table` not a name.
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
        """Note that a webhook was received; call it once `verify` has found it genuine, before it is answered.

        :return: its number; ``None`` where it has none, as tests and challenges.
        :raises VerificationError: the number is none, or there is no ``webhook-id``.
        """
        given = {name.lower(): value for name, value in headers.items()}
        text, event_id = given.get("webhook-sequence"), given.get("webhook-id", "")
        if text is None:
            return None
        # As many digits as 64 bits hold whatever they are.
        if not (text.isascii() and text.isdigit() and len(text) <= 18) or not event_id:
            raise VerificationError("webhook-sequence is not a number, or webhook-id is missing.")
        sequence = int(text)
        with self._cursor() as cursor:
            if event_id not in self._noted(cursor, sequence, sequence).get(sequence, ()):
                self._add(cursor, sequence, event_id)
        return sequence

    def gaps(self) -> list[tuple[int, int]]:
        """Return the numbers that are missing below the highest that was noted: first and last of each gap."""
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
        """Compare what was noted with the sender's ledger, and say what is missing.

        What is in order up to a number is not looked at again, and its notes are removed.

        :param get: makes a ``GET`` request for a path of the sender's API, such as ``/endpoints/…/ledger?from=1``.
        :raises VerificationError: the answer is not signed by the endpoint's secret, or is about something else.
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
            # Read after the ledger: a webhook that it calls delivered was noted before that.
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
        """As `check`, then fetch what is missing from ``GET /events/<id>``, have it handled, and note it.

        :param handle: called with each event: `id`, `type`, `timestamp`, `data`, `tenant`. What it raises ends this.
        :return: what is still missing: events whose data may not be seen.
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
        """Count a number as received: its event was had in another way, or is given up, since it was removed."""
        with self._cursor() as cursor:
            self._add(cursor, entry.sequence, entry.event_id or _REMOVED)

    def _fetch(self, get: Get, first: int) -> tuple[list[Entry], int | None]:
        """Get a page of the sender's ledger; returns it, and where the next one begins."""
        # It imports this module, whose class belongs to its names.
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
        # Not by `next_from`: the bounds of the request are not signed, and may not have arrived as they were sent.
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
        """The ids of the events that were noted, by their numbers."""
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
        """The number up to which all is in order. It stands in the table without an event."""
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
