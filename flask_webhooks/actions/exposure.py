"""Protection of stored secrets against users who may change an endpoint, but not read its secrets.

No page shows secrets and values of custom headers, but they are sent to the URL.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..app_state import AppState
from ..formats import Format
from ..formats.examples import EXAMPLE_SECRET, render_example


def shows_secret(state: AppState, wire: Format, options: Mapping[str, Any], url: str) -> bool:
    """Return whether requests of this format contain the secret itself."""
    if not wire.signed:
        return False
    # Determined by rendering an example, which also works for custom formats.
    example = render_example(
        wire,
        state.catalog[wire.test_event],
        product_name=state.settings.product_name,
        options=options,
        url=url,
    )
    sent = [*example.headers.values(), example.body.decode(errors="replace")]
    return bool(example.secret_headers) or any(EXAMPLE_SECRET in text for text in sent)


def kept_headers(given: Any, stored: Mapping[str, str]) -> list[str]:
    """Return the names of the stored headers whose values a change keeps.

    :param given: the unchecked headers of the change.
    """
    pairs = list(given.items()) if isinstance(given, Mapping) else given
    if not isinstance(pairs, list):
        return []
    kept = {
        str(pair[0]).strip().lower()
        for pair in pairs
        if isinstance(pair, tuple) and pair[1:] == (None,)
    }
    return [name for name in stored if name.lower() in kept]
