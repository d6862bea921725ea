"""The types of bodies in the terms of a service; see `api.bodies`."""

# Without `from __future__ import annotations`: as text, `Required` is not recognised.

from typing import Any, Required

from pydantic import SkipValidation
from typing_extensions import TypedDict

from ..scalars import Boolean


class NewWebhook(TypedDict, total=False):
    """A new webhook of any service.

    The services do not document the secret: it is for receivers that already have one.
    """

    url: Required[SkipValidation[Any]]
    events: Required[SkipValidation[Any]]
    secret: str | None


class NewAuthForgeWebhook(NewWebhook, total=False):
    enabled: Boolean
