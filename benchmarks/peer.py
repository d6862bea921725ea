"""What many applications do by hand: one RQ job per delivery, with ``requests`` and a row for the record.

``rq worker -w benchmarks.peer.Preloaded``: everything is imported before the fork, and the engine is made,
so that a job pays for its fork, its connections and its request only.
"""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime

import requests
import rq
import sqlalchemy as sa

from . import orphans

#: The URL of the database.
VARIABLE = "BENCHMARK_PEER_DATABASE"
QUEUE = "peer"

metadata = sa.MetaData()
#: The record of a request: what ours keeps, too.
requests_made = sa.Table(
    "peer_request",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("url", sa.Text),
    sa.Column("started_at", sa.DateTime(timezone=True)),
    sa.Column("duration_ms", sa.Float),
    sa.Column("status", sa.Integer),
    sa.Column("request_headers", sa.Text),
    sa.Column("request_body", sa.Text),
    sa.Column("response_headers", sa.Text),
    sa.Column("response_body", sa.Text),
)

_engine = sa.create_engine(os.environ[VARIABLE]) if VARIABLE in os.environ else None


class Preloaded(rq.Worker):
    """RQ's own worker; naming it on the command line is what loads this module before the fork."""

    def work(self, *args: object, **kwargs: object) -> bool:
        orphans.end_with_owner()
        if _engine is not None:
            # As ours does: the dialect is set up before the fork, and no connection goes through it.
            with _engine.connect():
                pass
            _engine.dispose()
        return super().work(*args, **kwargs)  # type: ignore[arg-type]


def deliver(url: str, headers: dict[str, str], body: bytes) -> None:
    """The job."""
    assert _engine is not None
    started_at = datetime.now(UTC)
    began = time.perf_counter()
    answer = requests.post(url, data=body, headers=headers, timeout=10, allow_redirects=False)
    row = {
        "url": url,
        "started_at": started_at,
        "duration_ms": (time.perf_counter() - began) * 1000,
        "status": answer.status_code,
        "request_headers": json.dumps(headers),
        "request_body": body.decode(),
        "response_headers": json.dumps(dict(answer.headers)),
        "response_body": answer.text,
    }
    with _engine.begin() as connection:
        connection.execute(sa.insert(requests_made), row)
