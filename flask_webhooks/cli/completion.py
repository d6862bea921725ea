"""Completion by the shell: ids of endpoints, event types and formats."""

from __future__ import annotations

from collections.abc import Callable

import click
from click.shell_completion import CompletionItem
from flask.cli import ScriptInfo

from .. import queries
from ..access import system_access
from ..app_state import AppState, state_of

#: Endpoints that are offered.
_OFFERED = 50


def endpoint_ids(
    context: click.Context, parameter: click.Parameter, begun: str
) -> list[CompletionItem]:
    """Complete the id of an endpoint; the newest ones are offered, with their names."""
    return _offer(context, begun, _endpoint_ids)


def event_types(
    context: click.Context, parameter: click.Parameter, begun: str
) -> list[CompletionItem]:
    """Complete the name of an event type."""
    return _offer(context, begun, lambda state: [(item.name, None) for item in state.offered_types])


def formats(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete the name of a format."""
    return _offer(
        context, begun, lambda state: [(item.name, item.label) for item in state.offered_formats]
    )


def _endpoint_ids(state: AppState) -> list[tuple[str, str | None]]:
    found = queries.find_endpoints(system_access(state, "completion"), limit=_OFFERED)
    return [(item.id, item.name or item.url_shown) for item in found]


def _offer(
    context: click.Context, begun: str, find: Callable[[AppState], list[tuple[str, str | None]]]
) -> list[CompletionItem]:
    info = context.find_object(ScriptInfo)
    if info is None:
        return []
    try:
        app = info.load_app()
        with app.app_context():
            found = find(state_of())
    except Exception:
        # It would be printed into the line that is being typed.
        return []
    return [CompletionItem(value, help=help) for value, help in found if value.startswith(begun)]
