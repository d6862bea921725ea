"""Completion by the shell: ids, tenants, event types and formats."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click
from click.shell_completion import CompletionItem
from flask.cli import ScriptInfo

from .. import queries
from ..access import Access, system_access
from ..app_state import AppState, state_of
from .output import plain, shortened

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
#: Characters of the help next to an id.
_LONGEST_HELP = 60


def event_types(
    context: click.Context, parameter: click.Parameter, begun: str
) -> list[CompletionItem]:
    """Complete the name of an event type."""
    return _offer(context, begun, lambda state: [(item.name, "") for item in state.offered_types])


def formats(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete the name of a format."""
    return _offer(
        context, begun, lambda state: [(item.name, item.label) for item in state.offered_formats]
    )


def data_versions(
    context: click.Context, parameter: click.Parameter, begun: str
) -> list[CompletionItem]:
    """Complete a version of event data."""
    return _offer(
        context, begun, lambda state: [(name, "") for name in state.catalog.versions.names]
    )


def _stored(find: Callable[[Access, str], Sequence[tuple[str, str]]]) -> Complete:
    """Complete values from the database."""

    def complete(
        context: click.Context, parameter: click.Parameter, begun: str
    ) -> list[CompletionItem]:
        return _offer(context, begun, lambda state: find(system_access(state, "completion"), begun))

    return complete


endpoint_ids = _stored(queries.begun_endpoints)
delivery_ids = _stored(queries.begun_deliveries)
event_ids = _stored(queries.begun_events)
task_ids = _stored(queries.begun_tasks)
scheduled_ids = _stored(queries.begun_scheduled)
token_ids = _stored(queries.begun_tokens)
portal_link_ids = _stored(queries.begun_portal_links)
tenants = _stored(queries.begun_tenants)


def _offer(
    context: click.Context, begun: str, find: Callable[[AppState], Sequence[tuple[str, str]]]
) -> list[CompletionItem]:
    info = context.find_object(ScriptInfo)
    if info is None:
        return []
    try:
        app = info.load_app()
        with app.app_context():
            found = find(state_of())
    except Exception:
        # A message would be printed into the line that the user is typing.
        return []
    return [
        CompletionItem(value, help=shortened(help, _LONGEST_HELP) or None)
        for value, help in found
        if value.startswith(begun) and value == plain(value)
    ]
