"""Deliver in the process of a test, to receivers on this machine only."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ..app_state import AppState, is_current
from ..columns import utc_now
from ..db.clock import DatabaseClock
from ..db.locks import read_only
from ..db.transactions import make_way, reading
from ..delivery.drain import Drain
from ..delivery.scheduled import record_due
from ..errors import WebhooksError
from ..models import Attempt, DeliveryState
from ..outbox.session_events import given_connection, open_events
from .local import find_state, local, without_warnings_of_redis

if TYPE_CHECKING:
    from flask import Flask

    from ..extension import Webhooks


def deliver_now(webhooks: Webhooks | Flask, *, until: datetime | None = None) -> Sequence[Attempt]:
    """Make due attempts in this process; return them in order.

    Retries wait for their time, as in a worker. Redis is not used.

    :param webhooks: the extension object, in the context of its application; or an application.
    :param until: an aware time; events that are scheduled until then are also due.
    :raises WebhooksError: events wait for a commit, or would be sent to another machine.
    """
    state = find_state(webhooks)
    _end_transaction(state)
    record_scheduled(state, until)
    _refuse_remote(state)
    attempt = state.models.Attempt
    with reading(state) as session:
        before = {(row[0], row[1]) for row in session.execute(_keys(attempt))}
    with without_warnings_of_redis():
        Drain(local(state)).run()
    with reading(state) as session:
        made = [(row[0], row[1]) for row in session.execute(_keys(attempt))]
        new = [key for key in made if key not in before]
        found = {
            (row.delivery_id, row.number): row
            for row in session.scalars(
                sa.select(attempt).where(attempt.delivery_id.in_([item for item, _ in new]))
            )
        }
    return [found[key] for key in new]


def record_scheduled(state: AppState, until: datetime | None) -> None:
    """Record events that are scheduled until a time; by default until now."""
    if until is not None and until.utcoffset() is None:
        raise WebhooksError(
            "until must be a time with a time zone, such as the event's deliver_at."
        )
    with state.own_engine.connect() as connection:
        with read_only(connection):
            now = DatabaseClock().read(connection)
        moment = now if until is None else max(until, now)
        while record_due(state, connection, moment):
            pass


def _keys(attempt: type[Attempt]) -> sa.Select[str, int]:
    return sa.select(attempt.delivery_id, attempt.number).order_by(
        attempt.started_at, attempt.delivery_id, attempt.number
    )


def _end_transaction(state: AppState) -> None:
    """End a transaction of the test's session that has nothing to commit, and refuse one that has events."""
    if not is_current(state):
        return
    session: Session = state.db.session()
    connection = given_connection(state, session)
    if connection is not None and connection.in_transaction():
        raise WebhooksError(
            "The session is joined to a connection whose transaction is not committed, so no worker could see its "
            "events. Use capture() in such a test; let a test of deliveries commit, and empty the tables after it."
        )
    if types := open_events(session):
        raise WebhooksError(
            f"Events wait for the end of a transaction that is still open ({', '.join(types)}): call "
            "db.session.commit() before deliver_now()."
        )
    make_way(state)


def _refuse_remote(state: AppState) -> None:
    endpoint, delivery = state.models.Endpoint, state.models.Delivery
    with reading(state) as session:
        due = session.scalars(
            sa.select(endpoint.url_shown)
            .join(delivery, delivery.endpoint_id == endpoint.id)
            .where(delivery.state == DeliveryState.PENDING, delivery.due_at <= utc_now())
            .distinct()
        ).all()
    remote = sorted(url for url in due if not _is_here(url))
    if remote:
        raise WebhooksError(
            f"deliver_now() sends to this machine only, and events are due for {', '.join(remote[:5])}. Give the "
            "endpoints of the test the URL of a Receiver, or make them with receiver.subscribe(webhooks)."
        )


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
