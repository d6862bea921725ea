"""Translations of the admin, through the gettext domain ``flask_webhooks`` if the host has Flask-Babel.

Without Flask-Babel, or if the application did not initialise it, texts and numbers are in English. Templates call
`gettext` as ``_w`` and `ngettext` as ``_wn``: ``_`` belongs to the host, whose layout our pages may extend.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flask import current_app, g, has_app_context

from ..access import ACCESS, Access
from ..app_state import AllTenants
from ..texts import OperatorText, Text

DOMAIN = "flask_webhooks"
TRANSLATIONS = Path(__file__).with_name("translations")


@functools.cache
def _domain() -> Any | None:
    try:
        flask_babel: Any = importlib.import_module("flask_babel")
    except ImportError:
        return None
    return flask_babel.Domain(str(TRANSLATIONS), DOMAIN)


def _active() -> Any | None:
    """Return the domain, if the current application can translate."""
    return _domain() if has_app_context() and "babel" in current_app.extensions else None


def gettext(text: str, /, **values: Any) -> str:
    """Translate, and insert the values for ``%(name)s``. A text without values may contain a bare ``%``."""
    domain = _active()
    if domain is not None:
        return str(domain.gettext(text, **values))
    return text % values if values else text


def ngettext(singular: str, plural: str, count: int, /, **values: Any) -> str:
    """Translate with a number, which replaces ``%(num)s`` and is formatted by `decimal`.

    :param values: may contain a differently formatted `num`: ``10,000+``.
    """
    domain = _active()
    if domain is not None:
        # Its own `ngettext` has a parameter of that name.
        text = str(domain.get_translations().ungettext(singular, plural, count))
    else:
        text = singular if count == 1 else plural
    return text % {"num": decimal(count, 0), **values}


def decimal(value: float, places: int | None = None) -> str:
    """Format a number in the language of the page: ``1,234.5``.

    :param places: the number of decimals; by default as many as needed, up to six.
    """
    locale = _locale()
    if locale is None:
        return _plain(value) if places is None else f"{value:,.{places}f}"
    numbers: Any = importlib.import_module("babel.numbers")
    decimals = "#" * 6 if places is None else "0" * places
    pattern = "#,##0." + decimals if decimals else "#,##0"
    return str(numbers.format_decimal(value, format=pattern, locale=locale))


def _plain(value: float) -> str:
    return f"{value:,.6f}".rstrip("0").rstrip(".")


def translated(text: Text) -> str:
    """Translate a message of `errors`, with those of its values that have translations."""
    if isinstance(text, OperatorText) and not _for_operator():
        return ""
    values = {
        name: translated(value) if isinstance(value, Text) else value
        for name, value in text.values.items()
    }
    return gettext(text.template, **values)


def _for_operator() -> bool:
    """Return whether the user sees all tenants."""
    access: Access | None = g.get(ACCESS)
    return access is not None and isinstance(access.tenant, AllTenants)


def translated_into(texts: Sequence[Text], locale: str | None) -> list[str]:
    """Translate texts for a person other than the current user.

    :param locale: such as ``de``; ``None`` is the default of the application.
    """
    if _active() is None:
        return [translated(text) for text in texts]
    flask_babel: Any = importlib.import_module("flask_babel")
    chosen = locale or current_app.config.get("BABEL_DEFAULT_LOCALE") or "en"
    with flask_babel.force_locale(chosen):
        return [translated(text) for text in texts]


def catalog_text(text: str) -> str:
    """Translate a description or a heading of the catalogue; texts of the host are not changed."""
    return gettext(text) if text else ""


def language() -> str:
    """The language of the page, for ``<html lang>``."""
    return str(_locale() or "en").replace("_", "-")


def direction() -> str:
    """``ltr`` or ``rtl``."""
    return getattr(_locale(), "text_direction", "ltr")


def _locale() -> Any | None:
    if _active() is None:
        return None
    flask_babel: Any = importlib.import_module("flask_babel")
    return flask_babel.get_locale()
