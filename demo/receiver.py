"""The receiving side of the demo: verifies webhooks, and counts them.

The receiver that acts on what it gets, and that people copy, is `example_app.receiver`. Each hook
``/hooks/<name>`` here has a secret of its own, given on the command line or later to ``POST /secrets``.

    python -m demo.receiver --port 8081 --secret desk=whsec_... --log received.jsonl

It fails on purpose, to show retries: for about one in `fail_every` events the first request is answered
with 500 or 503. The event's id decides which ones, so that two runs do the same.
"""

from __future__ import annotations

import argparse
import hashlib
import ipaddress
import json
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import waitress
from flask import Flask, Response, jsonify, request

from example_app.receiver import BadSignature, verify

#: Events that are remembered; the oldest are forgotten first.
MEMORY = 200_000
#: Recent latencies that the statistics look at.
RECENT = 1_000
PAGE = 5_000
THREADS = 16


@dataclass(slots=True)
class Received:
    """What a hook knows of one event. Times are Unix seconds by our clock."""

    hook: str
    id: str
    type: str
    #: When the sender says that it happened.
    occurred_at: float
    #: When its first request came, whatever we answered.
    arrived_at: float
    #: How many requests came for it, all with a good signature.
    requests: int = 0
    #: When we took it in; ``None`` until then.
    verified_at: float | None = None


class Inbox:
    """What came, in memory, and each event that was taken in as a line of a file.

    The file is read again at the start, so that a restart forgets no id and takes in nothing twice.
    """

    def __init__(self, log: Path | None = None, fail_every: int = 0) -> None:
        self._lock = threading.Lock()
        self._events: OrderedDict[tuple[str, str], Received] = OrderedDict()
        self._forgotten = 0
        self._latencies: deque[float] = deque(maxlen=RECENT)
        self._fail_every = fail_every
        self.counts: Counter[str] = Counter()
        if log is not None and log.exists():
            for line in log.read_text().splitlines():
                self._remember(Received(**json.loads(line)))
        self._log = None if log is None else log.open("a", buffering=1)

    def count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    def take_in(self, hook: str, message_id: str, message: Mapping[str, Any], now: float) -> int:
        """Take in an event whose signature is good; returns the status to answer with."""
        with self._lock:
            event = self._events.get((hook, message_id))
            if event is None:
                occurred_at = datetime.fromisoformat(message["timestamp"]).timestamp()
                event = Received(hook, message_id, message["type"], occurred_at, now)
                self._remember(event)
                self._latencies.append(now - occurred_at)
            event.requests += 1
            if event.verified_at is not None:
                self.counts["duplicates"] += 1
                return 204
            if event.requests == 1 and (status := failure(message_id, self._fail_every)):
                self.counts["failed_on_purpose"] += 1
                return status
            event.verified_at = now
            self.counts["verified"] += 1
            if self._log is not None:
                self._log.write(json.dumps(asdict(event)) + "\n")
            return 204

    def page(self, after: int, limit: int) -> tuple[list[Received], int]:
        """Events in the order of their arrival, and where the next page starts."""
        with self._lock:
            start = max(after - self._forgotten, 0)
            # Copies, because other threads change the originals while these are serialised.
            found = [
                Received(**asdict(event)) for event in [*self._events.values()][start:][:limit]
            ]
            return found, self._forgotten + start + len(found)

    def statistics(self) -> dict[str, Any]:
        with self._lock:
            latencies = sorted(self._latencies)
            names = ("received", "verified", "rejected", "duplicates", "failed_on_purpose")
            return {name: self.counts[name] for name in names} | {
                "ids": len({message_id for _, message_id in self._events}),
                # The sender's event time to the first arrival, in ms, of the latest events.
                "latency_ms": {
                    "p50": _percentile(latencies, 50),
                    "p95": _percentile(latencies, 95),
                },
            }

    def close(self) -> None:
        if self._log is not None:
            self._log.close()

    def _remember(self, event: Received) -> None:
        self._events[event.hook, event.id] = event
        if len(self._events) > MEMORY:
            self._events.popitem(last=False)
            self._forgotten += 1


def failure(message_id: str, fail_every: int) -> int | None:
    """The status with which the first request for an event fails on purpose, if it is to fail."""
    number = int.from_bytes(hashlib.sha256(message_id.encode()).digest()[:8])
    if not fail_every or number % fail_every:
        return None
    return 500 if number // fail_every % 2 else 503


def create_receiver(
    secrets: Mapping[str, str] | None = None, *, log: Path | None = None, fail_every: int = 0
) -> Flask:
    """Make the receiver.

    :param secrets: secrets by the name of their hook.
    :param log: file that gets a line of JSON for each event that is taken in.
    :param fail_every: fail the first request for about one event in this many; 0 for none.
    """
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = 1024 * 1024
    inbox = Inbox(log, fail_every)
    known = dict(secrets or {})
    app.extensions["inbox"] = inbox

    @app.post("/hooks/<name>")
    def hook(name: str) -> tuple[str, int]:
        inbox.count("received")
        # The bytes as they came: a signature covers them, not what they mean.
        body = request.get_data()
        secret = known.get(name)
        if secret is None:
            return "There is no such hook.", 404
        now = time.time()
        try:
            verify(secret, request.headers, body, now)
        except BadSignature as error:
            inbox.count("rejected")
            return str(error), 401
        status = inbox.take_in(name, request.headers["webhook-id"], json.loads(body), now)
        return "" if status == 204 else "Failing on purpose, to see a retry.", status

    @app.post("/try")
    @app.post("/try/<int:status>")
    def attempt(status: int = 200) -> tuple[str, int]:
        """Answer with the status in the path, for webhooks that are added by hand."""
        if not 200 <= status <= 599:
            return "Write a status from 200 to 599.", 404
        return f"The path asks for {status}.", status

    @app.post("/secrets")
    def add_secret() -> tuple[str, int]:
        if not ipaddress.ip_address(request.remote_addr or "0.0.0.0").is_loopback:
            return "Only from this machine.", 403
        given = request.get_json()
        known[str(given["hook"])] = str(given["secret"])
        return "", 204

    @app.get("/stats")
    def stats() -> Response:
        return jsonify(inbox.statistics())

    @app.get("/events")
    def events() -> Response:
        after = request.args.get("after", 0, type=int)
        limit = min(request.args.get("limit", PAGE, type=int), PAGE)
        found, following = inbox.page(after, limit)
        return jsonify(events=[asdict(event) for event in found], next=following)

    return app


def _percentile(ordered: Sequence[float], percent: int) -> float | None:
    """Nearest rank, from seconds to milliseconds."""
    if not ordered:
        return None
    return round(ordered[-(-len(ordered) * percent // 100) - 1] * 1000, 1)


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(description="Receive webhooks on this machine.")
    parser.add_argument("--port", type=int, default=8081)
    parser.add_argument("--secret", action="append", default=[], metavar="HOOK=SECRET")
    parser.add_argument("--log", type=Path, help="append each event to this file")
    parser.add_argument("--fail-every", type=int, default=0, metavar="N")
    options = parser.parse_args()
    secrets = dict(pair.split("=", 1) for pair in options.secret)
    app = create_receiver(secrets, log=options.log, fail_every=options.fail_every)
    waitress.serve(app, host="127.0.0.1", port=options.port, threads=THREADS)


if __name__ == "__main__":
    main()
