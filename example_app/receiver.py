"""A customer's server, which verifies webhooks and acts on them.

It is complete in itself: a customer writes it from the Standard Webhooks specification, and needs
nothing of Flask-Webhooks. It keeps its state in SQLite:

* five failed logins within ten minutes block an address for an hour,
* a payment starts a subscription of 30 days,
* a revoked licence goes onto the list that offline software downloads.

    WEBHOOK_SECRET=whsec_... flask --app example_app.receiver run --port 8001

Webhooks arrive at least once and in any order. Therefore the id of each event is stored in the same
transaction as its effect, and times are those at which the events occurred.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import datetime
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.datastructures import Headers

#: Seconds that the time of a request may differ from ours. An older one may be a recorded one.
TOLERANCE = 300
#: So many failed logins of an address within so many seconds block it for so long.
FAILED_LOGINS, WINDOW, BLOCK = 5, 600, 3600
SUBSCRIPTION = 30 * 24 * 3600

SCHEMA = """
CREATE TABLE IF NOT EXISTS events (id TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS failed_logins (ip TEXT, at REAL);
CREATE TABLE IF NOT EXISTS blocked (ip TEXT PRIMARY KEY, until REAL);
CREATE TABLE IF NOT EXISTS subscriptions (payment_id TEXT PRIMARY KEY, username TEXT, ends_at REAL);
CREATE TABLE IF NOT EXISTS licenses (key TEXT PRIMARY KEY, revoked INTEGER, changed_at REAL);
"""

Data = Mapping[str, Any]


def create_app(secret: str | None = None, database: str | None = None) -> Flask:
    """Make the receiver.

    :param secret: the endpoint's secret; by default the environment's ``WEBHOOK_SECRET``.
    :param database: path of the SQLite file; by default ``RECEIVER_DATABASE`` or ``receiver.sqlite``.
    """
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = 1024 * 1024
    key = secret or os.environ["WEBHOOK_SECRET"]
    path = database or os.environ.get("RECEIVER_DATABASE", "receiver.sqlite")
    with closing(sqlite3.connect(path)) as setup:
        setup.executescript(SCHEMA)

    @app.post("/webhooks")
    def receive() -> tuple[str, int]:
        # The signature covers the bytes as they came, so it is checked before anything is parsed.
        try:
            verify(key, request.headers, request.get_data(), time.time())
        except BadSignature as error:
            return str(error), 401
        message = request.get_json()
        with transaction(path) as db:
            if is_new(db, request.headers["webhook-id"]):
                act(db, message)
        # An unexpected error above is answered with 500, and the sender tries again later.
        return "", 204

    @app.get("/state")
    def state() -> Response:
        """What the customer's own software asks for."""
        with transaction(path) as db:
            return jsonify(
                blocked=column(db, "SELECT ip FROM blocked WHERE until > ?", time.time()),
                subscribers=column(
                    db,
                    "SELECT DISTINCT username FROM subscriptions WHERE ends_at > ?",
                    time.time(),
                ),
                revoked=column(db, "SELECT key FROM licenses WHERE revoked"),
            )

    return app


# -- verifying -------------------------------------------------------------------------------------


class BadSignature(Exception):
    """The request does not come from the sender, was changed, or is too old."""


def verify(secret: str, headers: Headers, body: bytes, now: float) -> None:
    """Check the signature of a request by the rules of Standard Webhooks.

    :raises BadSignature: the request must not be trusted.
    """
    try:
        message_id = headers["webhook-id"]
        timestamp = headers["webhook-timestamp"]
        signatures = headers["webhook-signature"]
        age = now - int(timestamp)
    except (KeyError, ValueError):
        raise BadSignature("A webhook header is missing or malformed.") from None
    if abs(age) > TOLERANCE:
        raise BadSignature(f"The request is {age:.0f} s old.")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = message_id.encode() + b"." + timestamp.encode() + b"." + body
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    expected = b"v1," + base64.b64encode(digest)
    # While the sender rotates its secret, there is a signature for each secret.
    if not any(hmac.compare_digest(expected, given.encode()) for given in signatures.split()):
        raise BadSignature("No signature matches.")


# -- acting ----------------------------------------------------------------------------------------


def act(db: sqlite3.Connection, message: Data) -> None:
    """Do what the type of an event asks for. Other types are accepted and ignored."""
    action = ACTIONS.get(message["type"])
    if action is not None:
        action(db, message["data"], datetime.fromisoformat(message["timestamp"]).timestamp())


def count_failed_login(db: sqlite3.Connection, data: Data, at: float) -> None:
    """Block an address after repeated failed logins."""
    ip = data.get("ip")
    if ip is None:
        return
    now = time.time()
    db.execute("INSERT INTO failed_logins VALUES (?, ?)", (ip, at))
    db.execute("DELETE FROM failed_logins WHERE at < ?", (now - WINDOW,))
    [count] = column(db, "SELECT count(*) FROM failed_logins WHERE ip = ?", ip)
    if count >= FAILED_LOGINS:
        db.execute("REPLACE INTO blocked VALUES (?, ?)", (ip, now + BLOCK))


def start_subscription(db: sqlite3.Connection, data: Data, at: float) -> None:
    """Start the subscription that a payment is for."""
    row = (data["payment_id"], data.get("username"), at + SUBSCRIPTION)
    db.execute("INSERT OR IGNORE INTO subscriptions VALUES (?, ?, ?)", row)


def revoke_offline(db: sqlite3.Connection, data: Data, at: float) -> None:
    """Put a licence on the list that offline software downloads."""
    set_revoked(db, data["license_key"], True, at)


def allow_offline(db: sqlite3.Connection, data: Data, at: float) -> None:
    """Take a reinstated licence off that list."""
    set_revoked(db, data["license_key"], False, at)


def set_revoked(db: sqlite3.Connection, key: str, revoked: bool, at: float) -> None:
    """Store the state of a licence, unless a later change of it has arrived before."""
    db.execute(
        "INSERT INTO licenses VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE"
        " SET revoked = excluded.revoked, changed_at = excluded.changed_at"
        " WHERE excluded.changed_at > licenses.changed_at",
        (key, revoked, at),
    )


ACTIONS: dict[str, Callable[[sqlite3.Connection, Data, float], None]] = {
    "user.login_failed": count_failed_login,
    "payment.succeeded": start_subscription,
    "license.revoked": revoke_offline,
    "license.reinstated": allow_offline,
}


# -- the database ----------------------------------------------------------------------------------


@contextmanager
def transaction(path: str) -> Iterator[sqlite3.Connection]:
    """Open a connection, and commit at the end of the block. Closing it without a commit rolls back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        # Locks at once, so that two requests for one event do not both take it for new.
        db.execute("BEGIN IMMEDIATE")
        yield db
        db.execute("COMMIT")


def is_new(db: sqlite3.Connection, message_id: str) -> bool:
    """Store the id of an event, and tell whether it was unknown."""
    return db.execute("INSERT OR IGNORE INTO events VALUES (?)", (message_id,)).rowcount == 1


def column(db: sqlite3.Connection, query: str, *parameters: object) -> list[Any]:
    """The values of a query with one column."""
    return [row[0] for row in db.execute(query, parameters)]
