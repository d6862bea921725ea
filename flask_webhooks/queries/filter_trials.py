"""Test a filter with the example of an event type, a recorded event, or given data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..access import Access
from ..encoding import encode_data
from ..errors import InvalidInput
from ..filters.explaining import FailedCondition, failed_conditions
from ..filters.matching import event_view
from ..filters.notation import parse_filter
from ..formats.examples import sample_data
from .events import get_event


@dataclass(frozen=True, slots=True)
class FilterTrial:
    """The result of a filter for an event."""

    event_type: str
    #: ``None`` if it was tested with an example, or given data.
    event_id: str | None
    #: It matches the event.
    matches: bool
    #: The conditions that the event does not meet, at most ten.
    failed: tuple[FailedCondition, ...]


def try_filter(
    access: Access,
    filter: Any,
    *,
    event_type: str | None = None,
    data: Mapping[str, Any] | None = None,
    event_id: str | None = None,
) -> FilterTrial:
    """Return whether a filter matches an event, and if not, the conditions that the event does not meet.

    :param filter: a filter as on an endpoint; ``None`` matches everything.
    :param event_type: of the example; ``license.created`` if neither this nor an event is named.
    :param data: instead of that of the example.
    :param event_id: of a recorded event to try it against instead.
    :raises InvalidInput: the filter is malformed, there is no such event type, or the event's data was erased.
    :raises NotFound: there is no such event in scope.
    :raises Forbidden: not allowed to ``view``, or to ``view_payload`` of a recorded event.
    """
    access.require("view")
    clause = parse_filter(filter)
    if event_id is not None:
        if event_type is not None or data is not None:
            raise InvalidInput(
                "Give either an event or an event type, not both: an event has its own data.",
                field="event_id",
            )
        # With many filters, the data could be guessed.
        access.require("view_payload")
        event = get_event(access, event_id).event
        if event.erased_at is not None:
            raise InvalidInput("The data of this event was erased.", field="event_id")
        name, plain = event.type, event.data
    else:
        state = access.state
        kind = state.catalog["license.created" if event_type is None else event_type]
        name = kind.name
        plain = sample_data(kind, state.settings.product_name) if data is None else data
        # As it would be stored.
        plain = json.loads(encode_data(plain, state.settings.max_data_bytes))
    failed = () if clause is None else failed_conditions(clause, event_view(name, plain))
    return FilterTrial(name, event_id, not failed, failed)
