"""Events into the database, in the host's own transaction, and a wake-up once that has committed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, scoped_session

from . import ids
from .catalog import EventType
from .encoding import encode_data, with_zone
from .errors import ConfigurationError, InvalidData, InvalidInput
from .hops import Hop, current_hop
from .host_transaction import connection_of, is_conflict
from .logs import hidden_data
from .models import Event
from .records import Draft, as_event, insert, insert_deliveries, insert_event, repeated_event
from .sessions import (
    Later,
    given_connection,
    in_the_way,
    is_current,
    keep_back,
    pending_of,
    savepoint,
    wake,
    wake_at_checkin,
    write,
)
from .state import AllTenants, State

_ABSENT = (
    "The data of %(type)s lacks what every event of this type has: %(members)s. An id that the database gives is there "
    "after db.session.flush()."
)

#: Faults in data that the log is told of, of which paths could make any number.
_MOST_REPORTED = 1000

logger = logging.getLogger("flask_webhooks.outbox")

__all__ = ["Draft", "emit", "insert", "insert_deliveries", "insert_event"]


def emit(
    state: State,
    event_type: str,
    data: Any,
    *,
    tenant: Any = None,
    idempotency_key: str | None = None,
    occurred_at: datetime | None = None,
    transactional: bool | None = None,
    session: Session | scoped_session[Any] | None = None,
    shielded: bool = False,
) -> Event | None:
    """Record an event for everyone who subscribes to it. See `Webhooks.emit`.

    :param shielded: a failing statement of ours leaves the host's transaction usable.
    """
    known = state.catalog[event_type]
    if known.operational or not known.subscribable:
        raise InvalidInput(
            f"{event_type!r} is sent by Flask-Webhooks itself; emit another event type.",
            field="event_type",
        )
    owner = _check_tenant(tenant)
    hop = current_hop(state.vault, owner)
    looped = hop is not None and hop.count >= state.settings.max_hops
    draft = Draft(
        id=ids.new_id("evt"),
        type=known.name,
        tenant=owner,
        data=_encode(state, known, data),
        occurred_at=_check_time(occurred_at),
        idempotency_key=_check_key(idempotency_key),
        hops=0 if hop is None else hop.count,
        whole_server_only=looped,
    )
    if hop is not None and looped:
        _warn_of_loop(state, draft, hop)
        if hop.tenant is None:
            return None
    own = _session(state, session)
    if transactional is None:
        transactional = known.transactional
    waits_for: Session | None = own
    if transactional:
        event = _emit_now(state, draft, own, shielded)
    else:
        event, waits_for = _emit_later(state, draft, own)
    if event is None or event.id == draft.id:
        for observe in state.hooks.observers:
            observe(state, draft, waits_for, transactional)
    return event


def _warn_of_loop(state: State, draft: Draft, hop: Hop) -> None:
    endpoints = (
        "any endpoint"
        if hop.tenant is None
        else f"the endpoints of its tenant {hop.tenant!r}, only to those of the whole server"
    )
    logger.warning(
        "The event %s is not sent to %s: the request that emits it is itself a webhook, the %d. in a row "
        "(WEBHOOKS_MAX_HOPS). See which endpoint has a URL that leads back to this application.",
        draft.type,
        endpoints,
        hop.count,
    )


def _emit_now(state: State, draft: Draft, session: Session, shielded: bool) -> Event | None:
    connection = connection_of(session, sa.inspect(state.models.Event))
    with hidden_data():
        try:
            with savepoint(connection, wanted=shielded or draft.idempotency_key is not None):
                event = insert(state, connection, draft)
        except DBAPIError as error:
            # Above READ COMMITTED, PostgreSQL refuses to pass over a row that the host's snapshot does not show.
            first = repeated_event(state, draft) if is_conflict(error) else None
            if first is None:
                raise
            event = first
    if event is not None and event.id == draft.id:
        # The first event of a repeated key stands and falls with another transaction, or was noted before.
        pending_of(session).add(state, connection, draft.type)
        if given_connection(state, session) is not None:
            # Such a session may be dropped without an end, and the host commits the connection's transaction.
            wake_at_checkin(state, connection)
    return event


def _emit_later(
    state: State, draft: Draft, session: Session
) -> tuple[Event | None, Session | None]:
    """Write an event once the host's transaction is over.

    :return: the event, and the session whose transaction it waits for, if it does.
    """
    later = Later(state, draft, given_connection(state, session))
    busy = session if session.in_transaction() else in_the_way(state)
    if busy is not None:
        keep_back(state, busy, later)
        return as_event(state, draft), busy
    event, written = write(later)
    if written:
        wake([(state, later.connection)])
    return event, None


def _session(state: State, given: Session | scoped_session[Any] | None) -> Session:
    if given is None:
        if not is_current(state):
            raise ConfigurationError(
                f"The database session of {state.app.name!r} is there within its application context only: "
                "send this within 'with app.app_context():', or pass a session to emit()."
            )
        given = state.db.session
    session = given() if isinstance(given, scoped_session) else given
    if not isinstance(session, Session):
        raise InvalidInput(
            f"The session is a {type(given).__name__}: pass an SQLAlchemy Session or scoped_session, such as "
            "db.session. Of an AsyncSession pass its sync_session, within run_sync().",
            field="session",
        )
    return session


# -- checks -------------------------------------------------------------------------------------------


def _encode(state: State, event_type: EventType, data: Any) -> str:
    """Return the data as JSON text, checked against the type as ``WEBHOOKS_VALIDATE_DATA`` says."""
    if state.settings.validate_data is None:
        return encode_data(data, state.settings.max_data_bytes)

    def check(plain: Mapping[str, Any]) -> None:
        try:
            _check_data(state, event_type, plain)
        except InvalidData as error:
            if state.settings.validate_data == "raise":
                raise
            _log_once(state, event_type, error)

    return encode_data(data, state.settings.max_data_bytes, check)


def _check_data(state: State, event_type: EventType, data: Mapping[str, Any]) -> None:
    if absent := event_type.absent(data):
        raise InvalidData(_ABSENT, type=event_type.name, members=", ".join(absent))
    try:
        state.catalog.check_data(event_type.name, data)
    except InvalidData as error:
        raise InvalidData(
            "The data of %(type)s does not fit its schema: %(problem)s",
            type=event_type.name,
            problem=error.text,
            path=error.path,
        ) from None


def _log_once(state: State, event_type: EventType, error: InvalidData) -> None:
    """Log what is wrong with the data of a type, once for each fault."""
    fault = (event_type.name, str(error))
    if fault not in state.reported_data and len(state.reported_data) < _MOST_REPORTED:
        state.reported_data.add(fault)
        logger.warning("%s", error)


def _check_tenant(tenant: Any) -> str | None:
    if tenant is None:
        return None
    if isinstance(tenant, AllTenants):
        raise InvalidInput(
            "An event belongs to one tenant, or to none: pass its id, or tenant=None.",
            field="tenant",
        )
    text = ids.host_id(tenant)
    if text is None:
        raise InvalidInput(
            f"The tenant is a {type(tenant).__name__}: pass its id, such as application.id.",
            field="tenant",
        )
    if not 0 < len(text) <= 255 or not text.isprintable():
        raise InvalidInput(
            "The tenant must be an id of 1 to 255 printable characters.", field="tenant"
        )
    return text


def _check_key(key: str | None) -> str | None:
    if key is None:
        return None
    if not isinstance(key, str) or not 0 < len(key) <= 255 or not key.isprintable():
        raise InvalidInput(
            "The idempotency key must be a text of 1 to 255 printable characters.",
            field="idempotency_key",
        )
    return key


def _check_time(moment: datetime | None) -> datetime:
    if moment is None:
        return datetime.now(UTC)
    if not isinstance(moment, datetime):
        raise InvalidInput(
            "occurred_at must be a datetime, such as datetime.now(timezone.utc).",
            field="occurred_at",
        )
    try:
        return with_zone(moment).astimezone(UTC)
    except OverflowError:
        raise InvalidInput(
            "occurred_at is not between the years 1 and 9999 in UTC.", field="occurred_at"
        ) from None
