"""Our column types in the host's migrations.

Alembic writes ``flask_webhooks.columns.UtcDateTime()`` into a generated migration, but not the import that
it needs. This adds it, without a line in the host's ``env.py`` or ``script.py.mako``.
"""

from __future__ import annotations

import sys
from typing import Any

from . import columns

_registered = False


def register() -> None:
    """Tell Alembic, if the process has loaded it: nothing else generates migrations."""
    global _registered
    if _registered or "alembic" not in sys.modules:
        return
    from alembic.autogenerate import comparators

    comparators.dispatch_for("schema")(_before_rendering)
    _registered = True


def _before_rendering(context: Any, *_: Any) -> None:
    """Alembic calls this while it compares, with its `AutogenContext`."""
    render_of_host = context.opts.get("render_item")
    if getattr(render_of_host, "__module__", None) == __name__:
        return

    def render_item(kind: str, item: Any, context: Any) -> Any:
        if kind == "type" and type(item).__module__ == columns.__name__:
            context.imports.add(f"import {columns.__name__}")
        return render_of_host(kind, item, context) if render_of_host else False

    context.opts["render_item"] = render_item
