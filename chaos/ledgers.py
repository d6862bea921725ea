"""What receivers can prove: each keeps a ledger of what it received, loses some of it, and asks the sender."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing

from flask_webhooks.receiver import Ledger
from flask_webhooks.receiver_ledger import Get

from .rows import Received, Stored
from .verdict import AT_REST, Verdict

#: One number of so many is not noted, as if the receiver had lost it after its answer.
LOST = 13


def check_ledgers(
    verdict: Verdict,
    received: Received,
    stored: Stored,
    endpoint_ids: Mapping[int, str],
    secrets: Mapping[int, str],
    get: Get,
) -> int:
    """Compare what each receiver's ledger calls missing with what is; returns how many gaps there were.

    :param endpoint_ids: ids and, in `secrets`, secrets of endpoints by their numbers.
    """
    gaps = 0
    for number, endpoint_id in endpoint_ids.items():
        noted: set[int] = set()
        with closing(sqlite3.connect(":memory:")) as database:
            database.execute(
                "CREATE TABLE ledger (endpoint_id TEXT, sequence INTEGER, event_id TEXT)"
            )
            database.execute("CREATE INDEX noted ON ledger (endpoint_id, sequence)")
            ledger = Ledger(lambda: database, endpoint_id, secrets[number], table="ledger")
            for (endpoint, event_id), receipts in received.receipts.items():
                for receipt in receipts if endpoint == number else ():
                    if receipt.sequence is not None and receipt.sequence % LOST:
                        ledger.note(
                            {"webhook-id": event_id, "webhook-sequence": str(receipt.sequence)}
                        )
                        noted.add(receipt.sequence)
            found = ledger.check(get)
        rows = [row for key, row in stored.deliveries.items() if key[0] == number]
        lost = {
            row.sequence: row.state
            for row in rows
            if row.sequence is not None and row.sequence not in noted
        }
        wanted = {item for item, state in lost.items() if state in AT_REST - {"held"}}
        missing = {entry.sequence for entry in found.missing}
        pending = {entry.sequence for entry in found.pending}
        if missing != wanted or pending != lost.keys() - wanted or found.removed:
            wrong = (missing ^ wanted) | (pending ^ (lost.keys() - wanted))
            verdict.breaks("every gap is found, and nothing else", f"{number}: {sorted(wrong)[:5]}")
        gaps += len(missing)
    return gaps
