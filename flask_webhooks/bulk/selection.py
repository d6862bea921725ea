"""The selection of a task: deliveries, or events to replay or remove, as conditions of a statement.

Long, since all kinds of selections become one condition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, TypedDict

import sqlalchemy as sa

from .. import ids
from ..app_state import AppState
from ..catalog.registry import EVERYTHING
from ..catalog.type_filter import of_type
from ..db.conditions import LAST, answered, bounded, check_status, created_between
from ..delivery.ages import ages_until
from ..errors import InvalidInput
from ..models import DeliveryState, EndpointState, TaskKind, Trigger
from ..texts import Text, word
from .whose import Whose, check_members

#: The states of deliveries that each kind selects; `sending` ends by itself.
TAKEN_FROM: dict[TaskKind, frozenset[DeliveryState]] = {
    TaskKind.RECOVER: frozenset({DeliveryState.FAILED}),
    TaskKind.RESEND: frozenset(DeliveryState) - {DeliveryState.SENDING},
    TaskKind.CANCEL: frozenset({DeliveryState.PENDING, DeliveryState.HELD}),
    TaskKind.RELEASE: frozenset({DeliveryState.HELD}),
    TaskKind.DISCARD: frozenset({DeliveryState.HELD}),
}

#: Kinds that select events, not deliveries.
OF_EVENTS = frozenset({TaskKind.REPLAY, TaskKind.PRUNE, TaskKind.ERASE})

#: States without a partial index.
_NOT_INDEXED = (DeliveryState.SUCCEEDED, DeliveryState.CANCELLED)


class TaskFilter(TypedDict, total=False):
    """The criteria that select deliveries, all of which must match."""

    #: Recover: failed at this time or later. Otherwise: created at this time or later (events for a replay).
    since: datetime | None
    #: Only earlier ones.
    until: datetime | None
    #: State of the delivery. Only for resend and cancel.
    state: str | None
    #: A name, or a prefix such as ``license.*``.
    event_type: str | None
    #: Status of the last response: a number (``503``), a class (``5xx``) or ``none`` for no response.
    status: str | None
    #: The event (the ``webhook-id``) that was sent.
    event_id: str | None
    #: Erase: members of the data and their values; see `bulk.whose`. It takes no other criteria.
    where: Mapping[str, Any] | None
    #: Only deliveries of this tenant; events for an erasure. Callers that see several tenants must name one,
    #: unless they name an endpoint.
    tenant: str | None


@dataclass(frozen=True, slots=True)
class Selection:
    """A checked filter."""

    since: datetime | None = None
    until: datetime | None = None
    state: str | None = None
    event_type: str | None = None
    status: str | None = None
    event_id: str | None = None
    tenant: str | None = None
    #: The values of an erasure, which are neither stored nor written to the audit log.
    where: Whose | None = field(default=None, repr=False)

    def as_json(self) -> dict[str, Any]:
        """Return the set criteria, for a row or the audit log."""
        values = {
            item.name: value
            for item in fields(self)
            if item.name != "where" and (value := getattr(self, item.name)) is not None
        }
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in values.items()
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Selection:
        times: dict[str, Any] = {
            name: datetime.fromisoformat(stored[name])
            for name in ("since", "until")
            if name in stored
        }
        given = {name: value for name, value in stored.items() if name != "where"}
        return cls(**{**given, **times})


def check_kind(kind: Any) -> TaskKind:
    """Check the kind of a task.

    :raises InvalidInput: there is no such kind.
    """
    try:
        return TaskKind(kind)
    except ValueError:
        raise InvalidInput(
            "Choose one of %(choices)s.", choices=", ".join(TaskKind), field="kind"
        ) from None


def check_filter(kind: TaskKind, given: TaskFilter) -> Selection:
    """Check the criteria.

    :raises InvalidInput: one is invalid; `field` names it.
    :raises TypeError: one is unknown.
    """
    unknown = given.keys() - {field.name for field in fields(Selection)}
    if unknown:
        raise TypeError(f"a task cannot be filtered by {', '.join(sorted(unknown))}")
    if kind == TaskKind.ERASE:
        return _erasure(given)
    for name in ("where", "tenant"):
        if given.get(name) is not None:
            raise InvalidInput("Only an erasure uses this: leave it out.", field=name)
    selection = Selection(
        since=_time(given.get("since"), "since"),
        until=_time(given.get("until"), "until"),
        state=_state(kind, given.get("state")),
        event_type=_text(given.get("event_type"), "event_type", 100),
        status=_status(given.get("status")),
        event_id=_text(given.get("event_id"), "event_id", ids.MAX_LENGTH),
    )
    if kind == TaskKind.PRUNE:
        for name in selection.as_json():
            raise InvalidInput(
                "WEBHOOKS_RETENTION_DAYS decides which events are old: leave this out.",
                field=name,
            )
    if kind in (TaskKind.RECOVER, TaskKind.REPLAY) and selection.since is None:
        raise InvalidInput("Enter a start time.", field="since")
    if selection.since and selection.until and selection.until <= selection.since:
        raise InvalidInput("The end must be later than the start.", field="until")
    if kind == TaskKind.REPLAY:
        for name in ("status", "event_id"):
            if getattr(selection, name) is not None:
                raise InvalidInput(
                    "A replay only covers events that were not delivered: leave this out.",
                    field=name,
                )
    return selection


def _erasure(given: TaskFilter) -> Selection:
    for name in given.keys() - {"where", "tenant"}:
        if given[name] is not None:  # type: ignore[literal-required]
            raise InvalidInput("Data is erased everywhere it occurs: leave this out.", field=name)
    where = Whose(check_members(given.get("where")))
    return Selection(where=where, tenant=_text(given.get("tenant"), "tenant", 255))


def _time(value: Any, name: str) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise InvalidInput("Pass a time with a time zone, such as one in UTC.", field=name)
    return bounded(value).astimezone(UTC)


def _text(value: Any, name: str, longest: int) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not value.isprintable() or len(value) > longest:
        raise InvalidInput("Write at most %(most)s printable characters.", most=longest, field=name)
    return value


def _state(kind: TaskKind, value: Any) -> str | None:
    if value is None or value == "":
        return None
    choices = TAKEN_FROM.get(kind, frozenset())
    if value not in choices:
        hint = Text("nothing here")
        if choices:
            hint = Text("one of %(choices)s", choices=", ".join(sorted(choices)))
        raise InvalidInput(
            "A %(kind)s does not accept this state: write %(hint)s.",
            kind=word(kind),
            hint=hint,
            field="state",
        )
    return str(value)


def _status(value: Any) -> str | None:
    return None if value is None or value == "" else check_status(value)


@dataclass(frozen=True, slots=True)
class Conditions:
    """A selection in SQL, over one table."""

    table: sa.Table
    #: Conditions that an index answers, or that match few rows.
    cheap: list[sa.ColumnElement[bool]]
    #: Conditions that require reading each row.
    dear: list[sa.ColumnElement[bool]]
    #: Alternatives, one of which must match; each uses a separate index, which one statement with both would not.
    either: list[sa.ColumnElement[bool]] = field(default_factory=list)

    @property
    def all(self) -> list[sa.ColumnElement[bool]]:
        return [*self.cheap, *self.dear, *([sa.or_(*self.either)] if self.either else [])]

    def window(
        self, columns: Sequence[Any], limit: int, *more: Any, newest: bool = False
    ) -> sa.Select[Any]:
        """Return the first rows by id that are cheap to find, with ``fits``: whether the other conditions match,
        too.

        :param columns: columns in addition to the id.
        :param more: further conditions.
        :param newest: start at the end.
        """
        key = self.table.c.id
        fits = sa.and_(sa.true(), *self.dear).label("fits")
        query = sa.select(key, *columns, fits).where(*more, *self.cheap).limit(limit)
        query = query.order_by(key.desc() if newest else key)
        if not self.either:
            return query
        # The first rows in total are among the first of each.
        parts = [sa.select(query.where(one).subquery()) for one in self.either]
        merged = sa.union_all(*parts).subquery()
        order = merged.c.id.desc() if newest else merged.c.id
        return sa.select(merged).order_by(order).limit(limit)


def conditions(
    state: AppState,
    kind: TaskKind,
    selection: Selection,
    *,
    endpoint: Any | None,
    tenant: str | None,
) -> Conditions:
    """Return the conditions for the rows of a task.

    :param endpoint: the current row; ``None``: all endpoints in scope.
    :param tenant: the scope without an endpoint; ``None`` is all tenants.
    """
    if kind == TaskKind.REPLAY:
        assert endpoint is not None
        return _missed_events(state, selection, endpoint)
    if kind == TaskKind.PRUNE:
        return _old_events(state, selection)
    table = state.table("Delivery")
    delivery = table.c
    cheap: list[sa.ColumnElement[bool]] = []
    dear: list[sa.ColumnElement[bool]] = []
    names = [selection.state] if selection.state else sorted(TAKEN_FROM[kind])
    # As literals, because partial indexes of one state are only used with them.
    states = [sa.literal_column(f"'{DeliveryState(name)}'", sa.String()) for name in names]
    # Each of them uses a partial index, but not both in one statement.
    apart = kind == TaskKind.CANCEL and len(states) > 1
    either = [delivery.state == one for one in states] if apart else []
    if not apart:
        wanted = delivery.state == states[0] if len(states) == 1 else delivery.state.in_(states)
        (dear if selection.state in _NOT_INDEXED else cheap).append(wanted)
    if endpoint is not None:
        cheap.append(delivery.endpoint_id == endpoint.id)
        if names == [DeliveryState.FAILED]:
            # Redundant, but with it PostgreSQL uses the index of failed deliveries by endpoint, and not that of
            # all failed deliveries, which it would read completely.
            last = sa.tuple_(sa.literal(endpoint.id), sa.literal(ids.lowest_id("dlv", LAST)))
            cheap.append(sa.tuple_(delivery.endpoint_id, delivery.id) < last)
    else:
        if tenant is not None:
            cheap.append(delivery.tenant == tenant)
        cheap.append(delivery.endpoint_id.in_(_takers(state, kind)))
    if kind == TaskKind.RECOVER:
        # Failed tests do not need to be sent again.
        dear.append(delivery.trigger != Trigger.TEST)
        if selection.since is not None:
            dear.append(delivery.completed_at >= selection.since)
        if selection.until is not None:
            dear.append(delivery.completed_at < selection.until)
    else:
        cheap += created_between(delivery.id, "dlv", selection.since, selection.until)
    if kind in (TaskKind.RECOVER, TaskKind.RESEND):
        dear.append(not_erased(state, delivery.event_id))
    if selection.event_type is not None:
        dear.append(of_type(delivery.event_type, selection.event_type))
    if selection.event_id is not None:
        cheap.append(delivery.event_id == selection.event_id)
    if selection.status is not None:
        dear.append(answered(delivery.last_status, selection.status))
    return Conditions(table, cheap, dear, either)


def _takers(state: AppState, kind: TaskKind) -> sa.Select[Any]:
    """Return the endpoints whose deliveries can be selected."""
    endpoint = state.table("Endpoint").c
    query = sa.select(endpoint.id).where(endpoint.deleted_at.is_(None))
    if kind == TaskKind.RELEASE:
        query = query.where(endpoint.state == EndpointState.ACTIVE)
    return query


def _missed_events(state: AppState, selection: Selection, endpoint: Any) -> Conditions:
    table = state.table("Event")
    event = table.c
    cheap = created_between(event.id, "evt", selection.since, selection.until)
    dear: list[sa.ColumnElement[bool]] = [event.erased_at.is_(None)]
    if endpoint.tenant is not None:
        # Endpoints of the whole server get events of all tenants, see `outbox.store`.
        cheap.append(event.tenant == endpoint.tenant)
    dear += _subscribed(event.type, endpoint.events)
    if selection.event_type is not None:
        dear.append(of_type(event.type, selection.event_type))
    dear += [
        unsent(state, event.id, endpoint.id),
        event.type.not_in(_not_subscribable(state)),
    ]
    # An endpoint gets no events about itself, see `delivery.announce`.
    dear.append(
        sa.or_(
            event.type.not_in(_operational(state)),
            ~sa.type_coerce(event.data, sa.Text()).contains(f'"{endpoint.id}"', autoescape=True),
        )
    )
    return Conditions(table, cheap, dear)


def _old_events(state: AppState, selection: Selection) -> Conditions:
    """Return the condition for events before a time without undelivered deliveries."""
    assert selection.until is not None
    table = state.table("Event")
    removable = ages_until(state.settings, selection.until).removable(state, table.c.id)
    return Conditions(table, created_between(table.c.id, "evt", None, selection.until), [removable])


def not_erased(state: AppState, event_id: Any) -> sa.ColumnElement[bool]:
    """Return the condition that the event of a delivery still has its data."""
    event = state.table("Event").c
    erased: sa.ScalarSelect[Any] = (
        sa.select(event.erased_at).where(event.id == event_id).scalar_subquery()
    )
    return erased.is_(None)


def unsent(state: AppState, event_id: Any, endpoint_id: str) -> sa.ColumnElement[bool]:
    """Return the condition that an endpoint has no delivery of the event, and that the event was not sent manually
    to one endpoint only.
    """
    delivery = state.table("Delivery").c
    in_the_way = sa.or_(delivery.endpoint_id == endpoint_id, delivery.trigger == Trigger.TEST)
    # Counted, because databases may evaluate EXISTS by reading all deliveries, or all of the endpoint. An event
    # has few.
    count: sa.ScalarSelect[int] = (
        sa.select(sa.func.count(delivery.id))
        .where(delivery.event_id == event_id, in_the_way)
        .scalar_subquery()
    )
    return count == 0


def _subscribed(column: Any, patterns: list[str] | None) -> list[sa.ColumnElement[bool]]:
    """Return the condition of `catalog.matches` in SQL."""
    if patterns is None or EVERYTHING in patterns:
        return []
    return [
        sa.or_(
            column.in_([name for name in patterns if not name.endswith(".*")]),
            *(
                column.startswith(name[:-1], autoescape=True)
                for name in patterns
                if name.endswith(".*")
            ),
        )
    ]


def _not_subscribable(state: AppState) -> list[str]:
    return [item.name for item in state.catalog if not item.subscribable]


def _operational(state: AppState) -> list[str]:
    return [item.name for item in state.catalog if item.operational]
