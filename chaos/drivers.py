"""A host process that emits a steady stream: ``python -m chaos.drivers FOLDER NUMBER SEED``.

Each request writes a row of the host's own first, as hosts do, and then emits. A third of the transactions is rolled
back. The journal says what each of them did.
"""

from __future__ import annotations

import random
import secrets
import sys
import time
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from flask_webhooks.app_state import state_of

from .board import Board
from .endpoints import RARE, TENANTS, TYPES
from .hostapp import License, create_app, db, webhooks
from .journal import Journal, digest_of

#: What a request does, and how many in a hundred do that.
SHARES = {"commit": 34, "rollback": 26, "savepoints": 16, "twice": 12, "refusal": 12}
#: One event in so many is of the rare type.
RARELY = 12
#: Seconds that a request may wait for us: for Redis, and for the database that refuses an event of its own.
WAKE, WRITE = 0.25, 0.25
#: Seconds that are not ours, on a machine that does a hundred things at once.
MACHINE = 0.75
#: Seconds that the last refusals may take to be written.
PATIENCE = 30.0


class Driver:
    """One host process."""

    def __init__(self, folder: Path, number: int, seed: int) -> None:
        self._random = random.Random(f"{seed} {number}")
        self._name = f"driver-{number}"
        self._journal = Journal(folder / f"{self._name}.journal")
        self._board = Board(folder / "board")
        self._app = create_app()
        self._app.config["PROPAGATE_EXCEPTIONS"] = True
        self._app.add_url_rule("/work/<kind>", view_func=self._work, methods=["POST"])
        self._client = self._app.test_client()
        self._requests = 0
        self._serial = 0
        #: Events of the transaction that is open.
        self._open: list[dict[str, str]] = []
        self._parts = 0

    def run(self) -> None:
        """Send requests until the board says to stop."""
        kinds, weights = zip(*SHARES.items(), strict=True)
        while not self._board["stop"]:
            [kind] = self._random.choices(kinds, weights)
            self._request(kind)
            time.sleep(self._board["pause"] * self._random.uniform(0.5, 1.5))
        self._end()

    def _request(self, kind: str) -> None:
        self._requests += 1
        starved, began = _starved(), time.monotonic()
        error: BaseException | None = None
        try:
            self._client.post(f"/work/{kind}")
        except Exception as caught:
            error = caught
        ended = time.monotonic()
        self._roll_back(self._open)
        self._journal.write(
            "request",
            began=began,
            ended=ended,
            starved=_starved() - starved,
            bound=MACHINE + WRITE + WAKE * (2 if kind == "twice" else 1),
            error=None if error is None else type(error).__name__,
            from_database=isinstance(error, SQLAlchemyError),
        )

    def _work(self, kind: str) -> str:
        """The view of the host."""
        self._insert()
        getattr(self, f"_{kind}")()
        return ""

    def _commit(self) -> None:
        self._emit()
        self._finish()

    def _rollback(self) -> None:
        self._emit()
        if self._random.random() < 0.05:
            return  # the end of the request closes the session, and nothing else does
        db.session.rollback()

    def _savepoints(self) -> None:
        with db.session.begin_nested():
            self._insert()
            self._emit()
        savepoint = db.session.begin_nested()
        taken_back = [self._emit()]
        savepoint.rollback()
        self._roll_back(taken_back)
        if self._random.random() < 0.5:
            self._finish()
        else:
            db.session.rollback()

    def _twice(self) -> None:
        self._emit()
        self._finish()
        self._insert()
        self._emit()
        if self._random.random() < 0.7:
            self._finish()
        else:
            db.session.rollback()

    def _refusal(self) -> None:
        event = self._emit(transactional=False)
        self._open.remove(event)
        # From here on the library has it, whatever becomes of the transaction.
        self._journal.write("refusal", part=event["serial"], events=[event])
        if self._random.random() < 0.7:
            db.session.rollback()
        else:
            db.session.commit()

    def _insert(self) -> None:
        db.session.add(License(key=secrets.token_hex(8)))
        db.session.flush()

    def _emit(self, *, transactional: bool = True) -> dict[str, str]:
        """Emit an event of a serial number that no other has; returns what the journal says of it."""
        self._serial += 1
        serial = f"{self._name}-{self._serial:07}"
        tenant = self._random.choice(TENANTS)
        rare = not self._random.randrange(RARELY)
        event_type = RARE if rare else self._random.choice(TYPES)
        data: dict[str, Any] = {
            "serial": serial,
            "license_key": secrets.token_hex(8),
            "note": "x" * self._random.choice((0, 20, 200, 4000)) + "é✓",
        }
        event = webhooks.emit(event_type, data, tenant=tenant, transactional=transactional)
        assert event is not None
        told = {
            "serial": serial,
            "event_id": event.id,
            "tenant": tenant,
            "type": event_type,
            "digest": digest_of(data),
        }
        self._open.append(told)
        return told

    def _finish(self) -> None:
        """Commit, and say so before and after."""
        self._parts += 1
        part = f"{self._name}-{self._parts}"
        events, self._open = self._open, []
        self._journal.write("commit", part=part, events=events)
        db.session.commit()
        self._journal.write("committed", part=part)

    def _roll_back(self, events: list[dict[str, str]]) -> None:
        if events:
            self._journal.write("rolled back", part="", events=events)
            self._open = [event for event in self._open if event not in events]

    def _end(self) -> None:
        """Wait until the last refusals are written, as a server that is shut down does."""
        with self._app.app_context():
            unwritten = state_of().unwritten
        deadline = time.monotonic() + PATIENCE
        while unwritten.waiting and time.monotonic() < deadline:
            time.sleep(0.05)
        left = len(unwritten._events)
        self._journal.write("end", given_up=unwritten.lost + left)


def _starved() -> float:
    """Seconds that this thread has waited for a processor so far; 0 where the system does not say."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


if __name__ == "__main__":
    Driver(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])).run()
