"""Labels of versions of event data."""

from __future__ import annotations

from ..app_state import state_of
from ..catalog.versions import INITIAL
from ..models import Endpoint
from .display import visible
from .i18n import gettext as _


def version_choices(endpoint: Endpoint | None) -> list[tuple[str, str]]:
    """Return the choices with labels; empty if the application has no versions.

    :param endpoint: its version is included, even if it no longer exists.
    """
    names = [*state_of().catalog.versions.names]
    stored = None if endpoint is None else endpoint.data_version
    if stored is not None and stored not in names:
        names.append(stored)
    return [(name, version_text(name)) for name in names]


def version_text(name: str | None) -> str:
    """Return the label of a version; empty if the application has no versions.

    :param name: ``None`` is stored for data before the first version.
    """
    names = state_of().catalog.versions.names
    if name is None or name == INITIAL:
        return _("Before the first version") if names or name else ""
    if name not in names:
        return _("%(date)s (removed from the application)", date=visible(name))
    return _("%(date)s (the newest)", date=name) if name == names[0] else name
