"""What bodies may hold in the words of a service, a type for each; see `api.bodies`."""

# Without `from __future__ import annotations`: in text, `Required` is not found.

from typing import Any, Required

from pydantic import SkipValidation
from typing_extensions import TypedDict

from ..scalars import Boolean


class NewWebhook(TypedDict, total=False):
    """Of any service. The secret is on no page: for receivers that have theirs already."""

    url: Required[SkipValidation[Any]]
    events: Required[SkipValidation[Any]]
    secret: str | None


class NewAuthForgeWebhook(NewWebhook, total=False):
    enabled: Boolean
