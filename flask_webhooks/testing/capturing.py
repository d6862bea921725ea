"""Capture what an application emits, without Redis and without a worker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from flask import Flask
from sqlalchemy import event as sa_event
from sqlalchemy.orm import Session, SessionTransaction

from .. import ids
from ..catalog import matches
from ..models import EndpointState
from ..records import Draft, subscribers
from ..sessions import given_connection
from ..state import Hooks, State, state_of
from ..transactions import reading
from .matching import differences

if TYPE_CHECKING:
    from ..catalog import Catalog
    from ..extension import Webhooks

#: Events that a message shows, and characters of the data of each.
_MOST_SHOWN, _MOST_CHARACTERS = 20, 500


class _Any:
    """The type of what stands for every tenant."""

    def __repr__(self) -> str:
        return "ANY"


_ANY = _Any()


@dataclass(frozen=True, slots=True)
class PlannedDelivery:
    """An endpoint that an event is owed to."""

    endpoint_id: str
    #: As it may be shown: a URL that is a secret itself is masked.
    url: str
    format: str
    #: The endpoint's; ``None`` for the whole server.
    tenant: str | None
    #: The endpoint is paused or disabled: the event waits until it is resumed.
    held: bool


@dataclass(eq=False)
class CapturedEvent:
    """An event that was emitted."""

    #: Sent as ``webhook-id``.
    id: str
    type: str
    tenant: str | None
    #: As it is sent: plain JSON values.
    data: dict[str, Any]
    occurred_at: datetime
    #: Whether it stands and falls with the application's transaction.
    transactional: bool
    #: Whether that transaction has ended, so that workers would see the event. ``False``: it is still open.
    committed: bool
    _state: State = field(repr=False)
    _draft: Draft = field(repr=False)
    _transaction: SessionTransaction | None = field(default=None, repr=False)
    _deliveries: tuple[PlannedDelivery, ...] | None = field(default=None, repr=False)

    @property
    def deliveries(self) -> tuple[PlannedDelivery, ...]:
        """The endpoints that it would be delivered to, by those that exist when this is first asked for.

        :raises DatabaseError: the database has no tables of Flask-Webhooks.
        """
        if self._deliveries is None:
            model = self._state.models.Endpoint
            with reading(self._state) as session:
                found = subscribers(self._state, session.connection(), self._draft)
                rows = session.scalars(
                    sa.select(model)
                    .where(model.id.in_([endpoint_id for endpoint_id, _, _ in found]))
                    .order_by(model.id)
                ).all()
            self._deliveries = tuple(
                PlannedDelivery(
                    row.id,
                    row.url_shown,
                    row.format,
                    row.tenant,
                    row.state != EndpointState.ACTIVE,
                )
                for row in rows
            )
        return self._deliveries


class Capture:
    """What was emitted since `capture` began; the states of transactions are followed until it ends."""

    def __init__(self, hooks: Hooks, catalog: Catalog) -> None:
        self._hooks = hooks
        self._catalog = catalog
        self._events: list[CapturedEvent] = []
        self._rolled_back: list[CapturedEvent] = []
        #: How transactions that are about to end do so.
        self._outcomes: dict[SessionTransaction, str] = {}

    @property
    def events(self) -> list[CapturedEvent]:
        """The events, oldest first; those of a transaction that is still open are not `committed`."""
        return list(self._events)

    @property
    def rolled_back(self) -> list[CapturedEvent]:
        """The events that do not exist: their transaction or savepoint ended without a commit."""
        return list(self._rolled_back)

    def assert_emitted(
        self,
        event_type: str,
        data: Any = None,
        *,
        tenant: Any = _ANY,
        to: str | None = None,
        committed: bool | None = None,
        times: int | None = None,
    ) -> CapturedEvent:
        """Check that an event was emitted; returns the first that fits.

        :param event_type: a name, or a pattern such as ``license.*``.
        :param data: members that the event's data must have; it may have more.
        :param tenant: whose event it must be; ``None`` for the whole server's.
        :param to: the id or the URL of an endpoint that it must be owed to.
        :param committed: ``True`` for none whose transaction is still open, ``False`` for none but those.
        :param times: how many such events there must be; by default at least one.
        :raises AssertionError: there is none; says what was emitted instead.
        :raises InvalidSubscription: there is no such event type.
        """
        __tracebackhide__ = True
        found = self._fitting(event_type, data, tenant, to, committed)
        if not found or times not in (None, len(found)):
            raise AssertionError(
                self._complaint(event_type, data, tenant, to, committed, times, len(found))
            )
        return found[0]

    def assert_not_emitted(
        self, event_type: str, data: Any = None, *, tenant: Any = _ANY, to: str | None = None
    ) -> None:
        """Check that no such event was emitted. The parameters are those of `assert_emitted`.

        :raises AssertionError: there is one.
        """
        __tracebackhide__ = True
        if found := self._fitting(event_type, data, tenant, to, None):
            lines = [f"{event_type} was emitted:", *map(_line, found[:_MOST_SHOWN])]
            raise AssertionError("\n".join(lines))

    def clear(self) -> None:
        """Forget what was captured so far."""
        self._events.clear()
        self._rolled_back.clear()

    def _fitting(
        self, event_type: str, data: Any, tenant: Any, to: str | None, committed: bool | None
    ) -> list[CapturedEvent]:
        patterns = self._catalog.check_patterns([event_type])
        return [
            event
            for event in self._events
            if matches(patterns, event.type)
            and not any(_misfits(event, data, tenant, to, committed))
        ]

    def _complaint(
        self,
        event_type: str,
        data: Any,
        tenant: Any,
        to: str | None,
        committed: bool | None,
        times: int | None,
        count: int,
    ) -> str:
        restricted = tenant is not _ANY or to is not None or not (data is committed is None)
        what = f"{event_type} as described" if restricted else event_type
        if count:
            lines = [f"{what} was emitted {count} times instead of {times}."]
        else:
            lines = [f"{what} was not emitted."]
            patterns = self._catalog.check_patterns([event_type])
            misfits = [
                list(_misfits(event, data, tenant, to, committed))
                for event in self._events
                if matches(patterns, event.type)
            ]
            if misfits:
                lines.append("The closest differs:")
                lines.extend(f"  {line}" for line in min(misfits, key=len))
        lines.append("Emitted:" if self._events else "No event was emitted.")
        lines.extend(map(_line, self._events[:_MOST_SHOWN]))
        if len(self._events) > _MOST_SHOWN:
            lines.append(f"  … and {len(self._events) - _MOST_SHOWN} more")
        if self._rolled_back:
            lines.append("Emitted, and undone since the transaction ended without a commit:")
            lines.extend(map(_line, self._rolled_back[:_MOST_SHOWN]))
        return "\n".join(lines)

    # -- what happens meanwhile --

    def _observe(
        self, state: State, draft: Draft, session: Session | None, transactional: bool
    ) -> None:
        transaction = None if session is None else _current(session)
        self._events.append(
            CapturedEvent(
                id=draft.id,
                type=draft.type,
                tenant=draft.tenant,
                data=json.loads(draft.data),
                occurred_at=draft.occurred_at,
                transactional=transactional,
                committed=transaction is None,
                _state=state,
                _draft=draft,
                _transaction=transaction,
            )
        )

    def _after_commit(self, session: Session) -> None:
        self._note(session, "commit")

    def _after_rollback(self, session: Session) -> None:
        self._note(session, "rollback")

    def _note(self, session: Session, outcome: str) -> None:
        if (transaction := _current(session)) is not None:
            self._outcomes[transaction] = outcome

    def _after_transaction_end(self, session: Session, transaction: SessionTransaction) -> None:
        outcome = self._outcomes.pop(transaction, None)
        for event in [event for event in self._events if event._transaction is transaction]:
            if outcome is None and transaction.parent is None and _goes_on(event, session):
                event._transaction = None
            elif event.transactional and outcome != "commit":
                event._transaction = None
                self._events.remove(event)
                self._rolled_back.append(event)
            elif transaction.parent is None:
                event.committed, event._transaction = True, None
            else:
                event._transaction = _enclosing(transaction)

    @contextmanager
    def _running(self) -> Iterator[None]:
        listeners = (
            ("after_commit", self._after_commit),
            ("after_rollback", self._after_rollback),
            ("after_transaction_end", self._after_transaction_end),
        )
        for name, listener in listeners:
            sa_event.listen(Session, name, listener)
        self._hooks.observers.append(self._observe)
        try:
            yield
        finally:
            self._hooks.observers.remove(self._observe)
            for name, listener in listeners:
                sa_event.remove(Session, name, listener)
            self._outcomes.clear()


@contextmanager
def capture(webhooks: Webhooks | Flask) -> Iterator[Capture]:
    """Capture what is emitted within the block, by signals and by `emit`.

    Events are written as always, so the tables must exist; but no worker is woken.

    :param webhooks: the extension object, or an application that has one.
    :raises ConfigurationError: `init_app` was not called for the application.
    """
    source: Any = state_of(webhooks) if isinstance(webhooks, Flask) else webhooks
    captured = Capture(source.hooks, source.catalog)
    with captured._running():
        yield captured


def _misfits(
    event: CapturedEvent, data: Any, tenant: Any, to: str | None, committed: bool | None
) -> Iterator[str]:
    """Yield how an event differs from what is expected of it."""
    if data is not None:
        yield from differences(data, event.data)
    if tenant is not _ANY:
        wanted = None if tenant is None else ids.host_id(tenant)
        if event.tenant != wanted:
            yield f"tenant: expected {wanted!r}, found {event.tenant!r}"
    if committed is not None and event.committed != committed:
        yield f"committed: expected {committed}, found {event.committed}"
    if to is not None and not any(to in (item.endpoint_id, item.url) for item in event.deliveries):
        found = ", ".join(item.url for item in event.deliveries) or "no endpoint"
        yield f"to: expected {to}, found {found}"


def _line(event: CapturedEvent) -> str:
    data = json.dumps(event.data, ensure_ascii=False)
    if len(data) > _MOST_CHARACTERS:
        data = data[:_MOST_CHARACTERS] + "…"
    tenant = "" if event.tenant is None else f" of tenant {event.tenant!r}"
    still_open = (
        "" if event.committed or event._transaction is None else " (transaction still open)"
    )
    return f"  {event.type}{tenant}{still_open}: {data}"


def _current(session: Session) -> SessionTransaction | None:
    """Return the innermost savepoint of a session, or else its transaction."""
    return session.get_nested_transaction() or session.get_transaction()


def _enclosing(transaction: SessionTransaction) -> SessionTransaction | None:
    """Return the savepoint around a savepoint, or else the transaction."""
    parent = transaction.parent
    while parent is not None and parent.parent is not None and not parent.nested:
        parent = parent.parent
    return parent


def _goes_on(event: CapturedEvent, session: Session) -> bool:
    """Tell whether the session was joined to a connection whose transaction, the application's own, goes on."""
    connection = given_connection(event._state, session)
    return connection is not None and not connection.closed and connection.in_transaction()
