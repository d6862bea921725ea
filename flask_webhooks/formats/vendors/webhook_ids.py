"""Ids of endpoints as services write those of webhooks: ``wh_…`` for our ``ep_…``, and the rest is the same."""

from __future__ import annotations

import re
from typing import Final

from ...ids import ALPHABET, LENGTH

_OURS: Final = "ep_"
_THEIRS: Final = "wh_"
_REST: Final = f"[{ALPHABET}]{{{LENGTH}}}"


def webhook_id(endpoint_id: str) -> str:
    """The id of an endpoint in a service's words; what is no id of ours stays as it is, such as one of the host's."""
    is_ours = re.fullmatch(_OURS + _REST, endpoint_id) is not None
    return _THEIRS + endpoint_id.removeprefix(_OURS) if is_ours else endpoint_id


def endpoint_id(webhook_id: str) -> str | None:
    """The id of an endpoint, from a service's words; ``None`` where it is no such id."""
    known = re.fullmatch(_THEIRS + _REST, webhook_id)
    return None if known is None else _OURS + webhook_id.removeprefix(_THEIRS)


def with_webhook_ids(text: str) -> str:
    """A sentence with the ids of endpoints in it in a service's words."""
    return re.sub(rf"\b{_OURS}(?={_REST}\b)", _THEIRS, text)
