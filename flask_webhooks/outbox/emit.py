"""Check and store events of the host."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from flask import has_app_context
from flask.globals import app_ctx
from sqlalchemy.exc import StatementError
from sqlalchemy.orm import Session, scoped_session

from .. import ids
from ..app_state import AllTenants, AppState
from ..catalog.registry import EventType
from ..encoding import encode_data, with_zone
from ..errors import ConfigurationError, InvalidData, InvalidInput
from ..log import get_logger, hide_data
from ..models import Event
from ..security.hops import Hop, current_hop
from ..tracing import emitting
from .host_transaction import connection_of, is_conflict
from .idempotency import MAX_KEY_LENGTH, is_key, key_digest
from .scheduling import check_schedule, save_scheduled
from .session_events import (
    given_connection,
    savepoint,
    wake_after_commit,
    write_after_end,
)
from .store import NewEvent, find_by_key, load_event, store

_ABSENT = (
    "The data of %(type)s lacks members that every event of this type has: %(members)s. Ids assigned by the database "
    "are available after db.session.flush()."
)

#: The maximum number of logged errors in data, because there can be any number of paths.
_MOST_REPORTED = 1000

logger = get_logger("flask_webhooks.outbox")


def emit(
    state: AppState,
    session: Session,
    event_type: str,
    data: Any,
    *,
    tenant: Any = None,
    idempotency_key: str | None = None,
    occurred_at: datetime | None = None,
    transactional: bool | None = None,
    deliver_at: datetime | None = None,
    key: str | None = None,
    shielded: bool = False,
) -> tuple[NewEvent, str] | None:
    """Record an event for its subscribers, or schedule one. See `Webhooks.emit`.

    :param session: see `host_session`.
    :param shielded: a failing statement does not break the host's transaction.
    :return: the event, and its id or that of the first event with its idempotency key.
    """
    known = state.catalog[event_type]
    if known.operational or not known.subscribable:
        raise InvalidInput(
            f"{event_type!r} is sent by Flask-Webhooks itself; emit another event type.",
            field="event_type",
        )
    if tenant is not None:
        tenant = checked_tenant(tenant)
    if idempotency_key is not None:
        _check_key(idempotency_key)
    if deliver_at is not None or key is not None:
        deliver_at = check_schedule(known, deliver_at, key, idempotency_key, transactional)
        transactional = True
        occurred_at = deliver_at if occurred_at is None else occurred_at
    check = None if state.data_validation is None else partial(_check_data, state, known)
    hop = current_hop(state.vault, tenant)
    looped = hop is not None and hop.count >= state.settings.max_hops
    event = NewEvent(
        id=ids.new_id("evt" if deliver_at is None else "sch"),
        type=known.name,
        tenant=tenant,
        data=encode_data(data, state.settings.max_data_bytes, check),
        occurred_at=datetime.now(UTC) if occurred_at is None else _checked_time(occurred_at),
        idempotency_key=idempotency_key,
        idempotency_digest=idempotency_key and key_digest(tenant, idempotency_key),
        hops=0 if hop is None else hop.count,
        data_version=state.catalog.versions.newest(known.name),
        whole_server_only=looped,
        deliver_at=deliver_at,
        key=key,
    )
    if hop is not None and looped:
        _warn_of_loop(state, event, hop)
        if hop.tenant is None:
            return None
    if transactional is None:
        transactional = known.transactional
    waits_for: Session | None = session
    with emitting(event.type, event.id) as context:
        event = replace(event, trace_context=context) if context else event
        if not transactional:
            event_id, waits_for = write_after_end(state, session, event)
        else:
            connection = connection_of(session, state)
            guarded = shielded or idempotency_key is not None
            try:
                with savepoint(connection) if guarded else nullcontext():
                    write = store if deliver_at is None else save_scheduled
                    event_id, written = write(state, connection, event)
            except StatementError as error:
                hide_data(error)
                # Above READ COMMITTED, PostgreSQL cannot skip a conflicting row that is not in the host's snapshot.
                event_id = _find_elsewhere(state, event) if is_conflict(error) else None
                if event_id is None:
                    raise
                written = False
            if written:
                # The first event with the key belongs to another transaction, or was found before.
                wake_after_commit(state, session, connection, event.type)
    if event_id in (None, event.id):
        for observe in state.hooks.observers:
            observe(state, event, waits_for, transactional)
    return None if event_id is None else (event, event_id)


def _find_elsewhere(state: AppState, event: NewEvent) -> str | None:
    """Return the id of the event with the same key that another transaction has committed, if any."""
    if event.idempotency_digest is None:
        return None
    with state.own_engine.connect() as connection:
        return find_by_key(connection, state, event.idempotency_digest)


def load(state: AppState, session: Session, event_id: str) -> Event | None:
    """Return an event that `emit` has found, if it still exists.

    :param session: the session that was passed to `emit`, whose transaction may contain the event.
    """
    # On PostgreSQL, under SERIALIZABLE, reading rows of another transaction could abort the host's.
    if state.engine.dialect.name == "postgresql":
        return _load_beside(state, event_id) or _load_within(state, session, event_id)
    return _load_within(state, session, event_id) or _load_beside(state, event_id)


def _load_within(state: AppState, session: Session, event_id: str) -> Event | None:
    connection = given_connection(state, session)
    if session.in_transaction():
        connection = connection_of(session, state)
    return None if connection is None else load_event(state, connection, event_id)


def _load_beside(state: AppState, event_id: str) -> Event | None:
    with state.own_engine.connect() as connection:
        return load_event(state, connection, event_id)


def host_session(state: AppState, given: Session | scoped_session[Any] | None) -> Session:
    """Return the session for an event: the given one, or `db.session`.

    :raises InvalidInput: it is not a session of SQLAlchemy; the message says what to pass.
    :raises ConfigurationError: there is no `db.session` here.
    """
    if given is None:
        if not (has_app_context() and app_ctx.app is state.app):
            raise ConfigurationError(
                f"The database session of {state.app.name!r} only exists within its application context: send this "
                "within 'with app.app_context():', or pass a session to emit()."
            )
        given = state.db.session
    session = given() if isinstance(given, scoped_session) else given
    if not isinstance(session, Session):
        raise InvalidInput(
            f"The session is a {type(given).__name__}: pass an SQLAlchemy Session or scoped_session, such as "
            "db.session. For an AsyncSession, pass its sync_session within run_sync().",
            field="session",
        )
    return session


def _warn_of_loop(state: AppState, event: NewEvent, hop: Hop) -> None:
    endpoints = (
        "any endpoint"
        if hop.tenant is None
        else f"the endpoints of its tenant {hop.tenant!r}, only to those of the whole server"
    )
    logger.warning(
        "The event %s is not sent to %s: the request that emits it is itself a webhook, the %d. in a row "
        "(WEBHOOKS_MAX_HOPS). Check which endpoint has a URL that leads back to this application.",
        event.type,
        endpoints,
        hop.count,
    )


# -- checks -------------------------------------------------------------------------------------------


def _check_data(state: AppState, event_type: EventType, data: Mapping[str, Any]) -> None:
    """Check data against the schema of its type; raise or log errors, depending on ``WEBHOOKS_VALIDATE_DATA``."""
    if absent := event_type.absent(data):
        fault = InvalidData(_ABSENT, type=event_type.name, members=", ".join(absent))
    else:
        try:
            state.catalog.check_data(event_type.name, data)
        except InvalidData as error:
            fault = InvalidData(
                "The data of %(type)s does not fit its schema: %(problem)s",
                type=event_type.name,
                problem=error.text,
                path=error.path,
            )
        else:
            return
    if state.data_validation == "raise":
        raise fault
    _log_once(state, event_type, fault)


def _log_once(state: AppState, event_type: EventType, error: InvalidData) -> None:
    """Log an error in the data of a type, once for each kind."""
    fault = (event_type.name, str(error))
    if fault not in state.reported_data and len(state.reported_data) < _MOST_REPORTED:
        state.reported_data.add(fault)
        logger.warning("%s", error)


def checked_tenant(tenant: Any) -> str:
    """Return the tenant of an event as text.

    :raises InvalidInput: it is not an id.
    """
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


def _check_key(key: object) -> None:
    if not is_key(key):
        raise InvalidInput(
            f"The idempotency key must be a text of 1 to {MAX_KEY_LENGTH} printable characters.",
            field="idempotency_key",
        )


def _checked_time(moment: datetime) -> datetime:
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
