"""Ids of endpoints in the form of services: ``wh_…`` instead of ``ep_…``."""

from __future__ import annotations

import re
from typing import Final

from ...ids import ALPHABET, LENGTH

_OURS: Final = "ep_"
_THEIRS: Final = "wh_"
_REST: Final = f"[{ALPHABET}]{{{LENGTH}}}"


def webhook_id(endpoint_id: str) -> str:
    """Return the id of an endpoint in the form of a service; other ids are not changed."""
    is_ours = re.fullmatch(_OURS + _REST, endpoint_id) is not None
    return _THEIRS + endpoint_id.removeprefix(_OURS) if is_ours else endpoint_id


def endpoint_id(webhook_id: str) -> str | None:
    """Return the id of an endpoint from the form of a service; ``None`` if it is not such an id."""
    known = re.fullmatch(_THEIRS + _REST, webhook_id)
    return None if known is None else _OURS + webhook_id.removeprefix(_THEIRS)


def with_webhook_ids(text: str) -> str:
    """Replace the ids of endpoints in a sentence by the form of a service."""
    return re.sub(rf"\b{_OURS}(?={_REST}\b)", _THEIRS, text)
