"""Translations of the admin: ``python -m tests.translations`` writes what was added or changed into the catalogues.

It keeps what is translated, marks what is no longer there, and compiles. A test fails where that is still to be done.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from flask_webhooks.admin.i18n import DOMAIN, TRANSLATIONS

ADMIN = TRANSLATIONS.parent
#: What marks a text in Python and in templates.
KEYWORDS = {"_": None, "gettext": None, "_w": None, "ngettext": (1, 2), "_wn": (1, 2)}
METHODS = [("**.py", "python"), ("templates/**.html", "jinja2")]


def messages() -> Catalog:
    """Every text of the pages."""
    found = Catalog(domain=DOMAIN, charset="utf-8")
    for path, _line, message, _comments, context in extract_from_dir(
        str(ADMIN), METHODS, keywords=KEYWORDS
    ):
        # Without lines: they would change with everything else.
        found.add(message, locations=[(path, 0)], context=context)
    return found


def languages() -> list[str]:
    return sorted(path.name for path in TRANSLATIONS.iterdir() if path.is_dir())


def path_of(language: str) -> Path:
    """Without its suffix, ``.po`` or ``.mo``."""
    return TRANSLATIONS / language / "LC_MESSAGES" / DOMAIN


def read(language: str) -> Catalog:
    with path_of(language).with_suffix(".po").open("rb") as file:
        return read_po(file, locale=language, domain=DOMAIN)


def compiled(catalog: Catalog) -> bytes:
    written = io.BytesIO()
    write_mo(written, catalog)
    return written.getvalue()


def save(catalog: Catalog, language: str) -> None:
    path = path_of(language)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".po").open("wb") as file:
        write_po(
            file, catalog, width=100, omit_header=False, sort_by_file=True, include_lineno=False
        )
    path.with_suffix(".mo").write_bytes(compiled(catalog))


def main() -> int:
    template = messages()
    for language in languages():
        catalog = read(language)
        catalog.update(template, no_fuzzy_matching=True)
        save(catalog, language)
        left = [message.id for message in catalog if message.id and not message.string]
        print(f"{language}: {len(catalog)} texts, {len(left)} still to be translated")
    return 0


if __name__ == "__main__":
    sys.exit(main())
