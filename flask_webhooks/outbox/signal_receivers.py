"""Turn signals of the host into events.

An internal error, or invalid data, must not break the login that the signal reports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from flask import Flask, has_app_context
from flask.globals import app_ctx
from sqlalchemy.orm import Session, scoped_session

from .. import signals
from ..app_state import EXTENSION, AppState, Hooks, state_of
from ..errors import InvalidData
from ..log import get_logger, log_without_locals
from .emit import emit, host_session
from .host_transaction import ends_transaction

logger = get_logger("flask_webhooks")

_UNRECORDED = "The event %s could not be recorded"


def connect_builtin() -> None:
    """Turn the signal of each built-in event type into an event."""
    for event_type, signal in signals.SIGNALS.items():
        signal.connect(_builtin_receiver(event_type), weak=False)


def _builtin_receiver(event_type: str) -> Callable[..., None]:
    def receive(
        sender: Any,
        *,
        data: Mapping[str, Any] | None = None,
        tenant: str | None = None,
        idempotency_key: str | None = None,
        occurred_at: datetime | None = None,
        session: Session | scoped_session[Any] | None = None,
        **others: Any,
    ) -> None:
        try:
            state = _state_for(sender)
        except Exception as error:
            # There is no application.
            _raise_or_log(_UNRECORDED, event_type, error, None)
            return
        if state is None:
            return
        if others:
            _report_keywords(state, event_type, others)
        try:
            emit(
                state,
                host_session(state, session),
                event_type,
                {} if data is None else data,
                tenant=tenant,
                idempotency_key=idempotency_key,
                occurred_at=occurred_at,
                shielded=True,
            )
        except Exception as error:
            _raise_or_log(_UNRECORDED, event_type, error, state)

    return receive


def receiver_of(
    hooks: Hooks,
    event_type: str,
    build: Callable[..., Mapping[str, Any] | tuple[Any, ...] | None],
) -> Callable[..., None]:
    """Return a receiver that turns a signal into events. See `Webhooks.connect`."""

    def receive(sender: Any, **values: Any) -> None:
        state = None
        try:
            state = _state_for(sender)
            if state is None or state.hooks is not hooks:
                return
            built = build(sender, **values)
            if built is None:
                return
            parts = built if isinstance(built, tuple) else (built,)
            data, tenant, session = parts + (None,) * (3 - len(parts))
            given = host_session(state, session)
            emit(state, given, event_type, data, tenant=tenant, shielded=True)
        except Exception as error:
            _raise_or_log(
                "The event %s could not be created from a signal", event_type, error, state
            )

    return receive


def _state_for(sender: Any) -> AppState | None:
    """Return the state of the application of a signal: its sender, else the current one.

    :return: ``None`` if it does not use Flask-Webhooks.
    :raises ConfigurationError: the sender is not an application, and there is no current one.
    """
    # A `current_app` proxy is an instance of `Flask` if there is a current application.
    if isinstance(sender, Flask):
        app = sender
    elif has_app_context():
        app = app_ctx.app
    else:
        return state_of()
    state: AppState | None = app.extensions.get(EXTENSION)
    return state


def _report_keywords(state: AppState, event_type: str, unknown: Iterable[str]) -> None:
    """Raise for unknown keywords of a signal in development, else log each of them once.

    A successful login must not break in production because of its signal.
    """
    for name in sorted(unknown):
        error = signals.unknown_keyword(event_type, name)
        if state.data_validation == "raise":
            raise error
        if (event_type, name) not in state.reported_keywords:
            state.reported_keywords.add((event_type, name))
            logger.error("%s The event is recorded without it.", error)


def _raise_or_log(message: str, event_type: str, error: Exception, state: AppState | None) -> None:
    """Log why a signal was not recorded.

    An error that has ended the host's transaction is raised, because the host has to repeat it.
    """
    if state is not None and ends_transaction(error, state.own_engine):
        raise error
    if state is not None and state.data_validation == "raise" and isinstance(error, InvalidData):
        raise error
    log_without_locals(logger, message, event_type, error=error)
