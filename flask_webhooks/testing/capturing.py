"""Capture what an application emits, without Redis and without a worker."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from flask import Flask
from sqlalchemy import event as sa_event
from sqlalchemy.orm import Session, SessionTransaction

from ..app_state import AppState, Hooks, state_of
from ..outbox.session_events import given_connection
from ..outbox.store import NewEvent
from .events import CapturedEvent
from .expectation import ANY_TENANT, Expectation

if TYPE_CHECKING:
    from ..catalog.registry import Catalog
    from ..extension import Webhooks

#: The number of events in a message.
_MOST_SHOWN = 20


class Capture:
    """The events since the start of `capture`, which follows their transactions until it ends."""

    def __init__(self, hooks: Hooks, catalog: Catalog) -> None:
        self._hooks = hooks
        self._catalog = catalog
        self._events: list[CapturedEvent] = []
        self._rolled_back: list[CapturedEvent] = []
        #: Outcomes of transactions that are ending.
        self._outcomes: dict[SessionTransaction, str] = {}

    @property
    def events(self) -> list[CapturedEvent]:
        """The events, oldest first; those of an open transaction are not `committed`."""
        return [event for event in self._events if event.deliver_at is None]

    @property
    def scheduled(self) -> list[CapturedEvent]:
        """The scheduled events, oldest first, including replaced and cancelled ones."""
        return [event for event in self._events if event.deliver_at is not None]

    @property
    def rolled_back(self) -> list[CapturedEvent]:
        """The events that do not exist: their transaction or savepoint ended without a commit."""
        return list(self._rolled_back)

    def assert_emitted(
        self,
        event_type: str,
        data: Any = None,
        *,
        tenant: Any = ANY_TENANT,
        to: str | None = None,
        committed: bool | None = None,
        times: int | None = None,
    ) -> CapturedEvent:
        """Check that an event was emitted; return the first match.

        :param event_type: a name, or a pattern such as ``license.*``.
        :param data: members that the event's data must have; it may have more.
        :param tenant: the tenant of the event; ``None`` for the whole server.
        :param to: the id or the URL of an endpoint that must get it.
        :param committed: ``True`` excludes events of open transactions, ``False`` selects only those.
        :param times: the number of such events; by default at least one.
        :raises AssertionError: there is none; the message lists what was emitted instead.
        :raises InvalidSubscription: there is no such event type.
        """
        __tracebackhide__ = True
        expected = self._expect(event_type, data, tenant, to, committed)
        return self._find(event_type, expected, self.events, "emitted", times)

    def assert_scheduled(
        self,
        event_type: str,
        data: Any = None,
        *,
        key: str | None = None,
        deliver_at: datetime | None = None,
        tenant: Any = ANY_TENANT,
        times: int | None = None,
    ) -> CapturedEvent:
        """Check that an event was scheduled; return the first match.

        :param key: that it must have.
        :param deliver_at: the time that it must be for.
        :raises AssertionError: there is none; the message lists what was scheduled instead.
        :raises InvalidSubscription: there is no such event type.
        """
        __tracebackhide__ = True
        patterns = self._catalog.check_patterns([event_type])
        expected = Expectation(patterns, data, tenant, key=key, deliver_at=deliver_at)
        return self._find(event_type, expected, self.scheduled, "scheduled", times)

    def assert_not_emitted(
        self, event_type: str, data: Any = None, *, tenant: Any = ANY_TENANT, to: str | None = None
    ) -> None:
        """Check that no such event was emitted. The parameters are those of `assert_emitted`.

        :raises AssertionError: there is one.
        """
        __tracebackhide__ = True
        if found := _fitting(self._expect(event_type, data, tenant, to), self.events):
            raise AssertionError("\n".join([f"{event_type} was emitted:", *_lines(found)]))

    def clear(self) -> None:
        """Remove the captured events."""
        self._events.clear()
        self._rolled_back.clear()

    def _expect(
        self,
        event_type: str,
        data: Any,
        tenant: Any,
        to: str | None,
        committed: bool | None = None,
    ) -> Expectation:
        return Expectation(self._catalog.check_patterns([event_type]), data, tenant, to, committed)

    def _find(
        self,
        event_type: str,
        expected: Expectation,
        events: Sequence[CapturedEvent],
        done: str,
        times: int | None,
    ) -> CapturedEvent:
        __tracebackhide__ = True
        found = _fitting(expected, events)
        if not found or times not in (None, len(found)):
            raise AssertionError(
                self._complaint(event_type, expected, events, done, times, len(found))
            )
        return found[0]

    def _complaint(
        self,
        event_type: str,
        expected: Expectation,
        events: Sequence[CapturedEvent],
        done: str,
        times: int | None,
        count: int,
    ) -> str:
        what = f"{event_type} as described" if expected.says_more_than_the_type else event_type
        if count:
            lines = [f"{what} was {done} {count} times instead of {times}."]
        else:
            lines = [f"{what} was not {done}."]
            misfits = [
                list(expected.misfits(event)) for event in events if expected.is_about(event)
            ]
            if misfits:
                lines.append("The closest differs:")
                lines.extend(f"  {line}" for line in min(misfits, key=len))
        lines.append(f"{done.capitalize()}:" if events else f"No event was {done}.")
        lines.extend(_lines(events))
        if others := [event for event in self._events if event not in events]:
            lines.append("Scheduled for later:" if done == "emitted" else "Emitted:")
            lines.extend(_lines(others))
        if self._rolled_back:
            lines.append("Emitted, then undone because the transaction ended without a commit:")
            lines.extend(_lines(self._rolled_back))
        return "\n".join(lines)

    # -- what happens meanwhile --

    def _observe(
        self, state: AppState, event: NewEvent, session: Session | None, transactional: bool
    ) -> None:
        transaction = None if session is None else _current(session)
        self._events.append(
            CapturedEvent(
                id=event.id,
                type=event.type,
                tenant=event.tenant,
                data=json.loads(event.data),
                occurred_at=event.occurred_at,
                transactional=transactional,
                committed=transaction is None,
                deliver_at=event.deliver_at,
                key=event.key,
                _state=state,
                _event=event,
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
    """Capture events within the block, by signals and by `emit`.

    Events are written as usual, so the tables must exist; but no worker is woken.

    :param webhooks: the extension object, or an application that has one.
    :raises ConfigurationError: `init_app` was not called for the application.
    """
    source: Any = state_of(webhooks) if isinstance(webhooks, Flask) else webhooks
    captured = Capture(source.hooks, source.catalog)
    with captured._running():
        yield captured


def _fitting(expected: Expectation, events: Sequence[CapturedEvent]) -> list[CapturedEvent]:
    return [
        event for event in events if expected.is_about(event) and not any(expected.misfits(event))
    ]


def _lines(events: Sequence[CapturedEvent]) -> list[str]:
    lines = [f"  {event.line}" for event in events[:_MOST_SHOWN]]
    if len(events) > _MOST_SHOWN:
        lines.append(f"  … and {len(events) - _MOST_SHOWN} more")
    return lines


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
    """Return whether the session was joined to a connection whose transaction continues."""
    connection = given_connection(event._state, session)
    return connection is not None and not connection.closed and connection.in_transaction()
