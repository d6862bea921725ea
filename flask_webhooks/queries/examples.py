"""What a format makes of an event type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..access import Access
from ..formats.examples import EXAMPLE_TENANT, Example, render_example


def example(
    access: Access,
    format: str,
    event_type: str | None = None,
    *,
    data: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    tenant: str | None = EXAMPLE_TENANT,
) -> Example:
    """A request as an endpoint of a format would get it; also the preview of a template.

    :param event_type: ``None`` is what the format is tested with.
    :param data: ``None`` is the example of the type.
    :param options: of the format, ``{"template": …}`` of ``custom``; ``None`` are those of its own example.
    :raises InvalidInput: the format or event type is unknown, or data or options cannot be used; says why.
    :raises Forbidden: not allowed to ``view``.
    """
    access.require("view")
    state = access.state
    style = state.formats[format]
    return render_example(
        style,
        state.catalog[style.test_event if event_type is None else event_type],
        product_name=state.settings.product_name,
        data=data,
        options=options,
        tenant=tenant,
    )
