"""The versions of event data as forms and pages show them."""

from __future__ import annotations

from ..app_state import state_of
from ..catalog.versions import INITIAL
from ..models import Endpoint
from .display import visible
from .i18n import gettext as _


def version_choices(endpoint: Endpoint | None) -> list[tuple[str, str]]:
    """What a form offers, with its words; nothing where the application has no versions.

    :param endpoint: what it has is offered too, though it may be there no more.
    """
    names = [*state_of().catalog.versions.names]
    stored = None if endpoint is None else endpoint.data_version
    if stored is not None and stored not in names:
        names.append(stored)
    return [(name, version_text(name)) for name in names]


def version_text(name: str | None) -> str:
    """A version for people; empty where the application has none, and there is nothing to say.

    :param name: ``None`` is what an endpoint stores for data as it was before the first one.
    """
    names = state_of().catalog.versions.names
    if name is None or name == INITIAL:
        return _("Before the first version") if names or name else ""
    if name not in names:
        return _("%(date)s (removed from the application)", date=visible(name))
    return _("%(date)s (the newest)", date=name) if name == names[0] else name
