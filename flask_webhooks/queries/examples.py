"""Examples of event types in formats."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..access import Access
from ..encoding import encode_data
from ..formats.examples import (
    EXAMPLE_TENANT,
    MAX_DATA_BYTES,
    Example,
    render_example,
    sample_data,
)


def example(
    access: Access,
    format: str,
    event_type: str | None = None,
    *,
    data: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    tenant: str | None = EXAMPLE_TENANT,
    data_version: str | None = None,
) -> Example:
    """Return an example request of a format; also the preview of a template.

    :param event_type: ``None`` is the test event of the format.
    :param data: ``None`` is the example of the type.
    :param options: of the format, ``{"template": …}`` of ``custom``; ``None`` are those of its own example.
    :param data_version: of the data, a date or ``initial``; ``None`` is the newest.
    :raises ConversionFailed: the application cannot convert the data to that version.
    :raises InvalidInput: the format or event type is unknown, or data or options are invalid.
    :raises Forbidden: not allowed to ``view``.
    """
    access.require("view")
    state = access.state
    style = state.formats[format]
    kind = state.catalog[style.test_event if event_type is None else event_type]
    versions, product_name = state.catalog.versions, state.settings.product_name
    if data_version is not None:
        version = versions.check(data_version)
        given = sample_data(kind, product_name) if data is None else data
        text = encode_data(given, MAX_DATA_BYTES)
        newest = versions.newest(kind.name)
        data = json.loads(versions.convert(kind.name, text, newest, version, MAX_DATA_BYTES))
    return render_example(
        style,
        kind,
        product_name=product_name,
        data=data,
        options=options,
        tenant=tenant,
    )
