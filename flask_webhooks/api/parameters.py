"""The types of queries, which `request_reader` and the OpenAPI document use."""

from __future__ import annotations

from typing import Annotated

from typing_extensions import TypedDict

from ..models import DeliveryState, EndpointState, TaskKind, TaskState
from ..queries import DEFAULT_PULLED, HEALTH, MAX_LIMIT, MAX_NUMBERS, MAX_PULLED, PERIODS
from ..serializers import Member, one_of
from ..token_access import CONDITIONS
from .long_polls import MAX_WAIT
from .scalars import Boolean, FormatName, Moment, SequenceNumber, Whole

OfEndpoint = Annotated[str, Member("Only of this endpoint.")]
OfType = Annotated[str, Member("Only of this event type: a name, or a prefix such as `license.*`.")]
Since = Annotated[Moment, Member("Created at this time or later.")]
Until = Annotated[Moment, Member("Created before it.")]
Id = Annotated[str, Member("Id of the object; for a delivery, also that of its event.")]
Search = Annotated[str, Member("Part of the name, description or URL, or an id.")]


class NoQuery(TypedDict, total=False):
    pass


class TenantQuery(TypedDict, total=False):
    tenant: Annotated[str, Member("Only this tenant's.")]


class PageQuery(TypedDict, total=False):
    before: Annotated[str, Member("Only what is older than this id; see `next_before`.")]
    limit: Annotated[Whole, Member("50 by default.", minimum=1, maximum=MAX_LIMIT)]


class NotificationListQuery(PageQuery, total=False):
    pass


# A call, because `from` cannot be a name in a class.
LedgerQuery = TypedDict(
    "LedgerQuery",
    {
        "from": Annotated[SequenceNumber, Member("The first number, 1 by default.", minimum=1)],
        "to": Annotated[
            SequenceNumber,
            Member(
                "The last number; by default, and at most, the highest assigned one. "
                f"{MAX_NUMBERS:,} numbers are in one response; see `next_from`.",
                minimum=1,
            ),
        ],
    },
    total=False,
)


class ListQuery(TenantQuery, PageQuery, total=False):
    pass


class PortalLinkListQuery(ListQuery, total=False):
    pass


class TokenListQuery(ListQuery, total=False):
    state: Annotated[str, one_of(CONDITIONS)]
    since: Since
    until: Until


class EndpointListQuery(ListQuery, total=False):
    search: Search
    state: Annotated[str, one_of(EndpointState)]
    health: Annotated[
        str,
        one_of(HEALTH, "`failing` while it is active, or `healthy`: active, and not failing."),
    ]
    event_type: Annotated[
        str,
        Member("Only those that are subscribed to it: a name, or a prefix such as `license.*`."),
    ]
    since: Since
    until: Until


class DeliveryListQuery(ListQuery, total=False):
    endpoint_id: OfEndpoint
    state: Annotated[str, one_of(DeliveryState)]
    event_type: OfType
    status: Annotated[
        str,
        Member(
            "Status of the last response: a number (`503`), a class (`5xx`) or `none`.",
            pattern="^([1-5]([0-9][0-9]|xx)|none)$",
        ),
    ]
    since: Since
    until: Until
    id: Id
    text: Annotated[
        str,
        Member("Part of the event's data as JSON text; needs the action `view_payload`."),
    ]


class EventListQuery(ListQuery, total=False):
    after: Annotated[
        str,
        Member(
            "Pull events in the order in which they were committed, after this cursor: `start` for the oldest ones, "
            "then the `next_after` of the previous response. Not with `before`, `since`, `until` and `id`."
        ),
    ]
    endpoint_id: Annotated[str, Member("Only those with a delivery to this endpoint.")]
    wait: Annotated[
        Whole,
        Member(
            "With `after`: seconds to wait for events if there are none yet.",
            minimum=0,
            maximum=MAX_WAIT,
        ),
    ]
    limit: Annotated[
        Whole,
        Member(
            f"50 by default, at most {MAX_LIMIT}; with `after` {DEFAULT_PULLED} and {MAX_PULLED}.",
            minimum=1,
            maximum=MAX_PULLED,
        ),
    ]
    event_type: OfType
    since: Since
    until: Until
    id: Id


class ScheduledListQuery(ListQuery, total=False):
    event_type: str
    key: Annotated[str, Member("Only the one with this key.")]
    since: Annotated[Moment, Member("Due at this time or later.")]
    until: Annotated[Moment, Member("Due before it.")]


class TaskListQuery(ListQuery, total=False):
    endpoint_id: OfEndpoint
    kind: Annotated[str, one_of(TaskKind)]
    state: Annotated[str, one_of(TaskState)]
    since: Since
    until: Until
    unfinished: Annotated[Boolean, Member("Only those that have not ended.")]


class ActivityListQuery(ListQuery, total=False):
    endpoint_id: OfEndpoint
    actor: Annotated[str, Member("Part of the name of the actor.")]
    action: Annotated[str, Member("What was done, such as `endpoint.paused`.")]
    since: Since
    until: Until


class RoutingQuery(TypedDict, total=False):
    search: Search


class StatisticsQuery(TenantQuery, total=False):
    endpoint_id: OfEndpoint
    period: Annotated[str, one_of(PERIODS, "`24h` by default.")]


class ExampleQuery(TypedDict, total=False):
    format: Annotated[FormatName, Member("The default format if left out.")]
    data_version: Annotated[
        str, Member("A date of a version of the data, or `initial`; left out, it is the newest.")
    ]
