"""Translations of the admin: ``python -m tests.translations`` writes what was added or changed into the catalogues.

It keeps what is translated, marks what is no longer there, and compiles. A test fails where that is still to be done.
"""

from __future__ import annotations

import sys
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import read_mo, write_mo
from babel.messages.pofile import read_po, write_po

from flask_webhooks.admin.catalog_views import fields
from flask_webhooks.admin.i18n import DOMAIN, TRANSLATIONS
from flask_webhooks.catalog.event_types import BUILTIN_EVENT_TYPES
from flask_webhooks.models import DeliveryState, EndpointState, TaskKind, TaskState
from flask_webhooks.security import addresses

ADMIN = TRANSLATIONS.parent
PACKAGE = ADMIN.parent
#: What marks a text in Python and in templates.
KEYWORDS = {"_": None, "gettext": None, "_w": None, "ngettext": (1, 2), "_wn": (1, 2)}
METHODS = [("**.py", "python"), ("templates/**.html", "jinja2")]
#: What is raised for people, whose pages show it; the rest is for developers, or for receivers.
ERRORS = (
    "BlockedAddress",
    "ConversionFailed",
    "DatabaseError",
    "DuplicateEndpoint",
    "EndpointLimitReached",
    "FaultyRow",
    "FaultyRule",
    "Forbidden",
    "InvalidData",
    "InvalidEndpoint",
    "InvalidFilter",
    "InvalidHeader",
    "InvalidInput",
    "InvalidSecret",
    "InvalidSubscription",
    "InvalidTransition",
    "InvalidURL",
    "NotFound",
    "OperatorText",
    "SendLimitReached",
    "Text",
    "TokenLimitReached",
    "UnknownEventType",
    "UnreadableSecret",
    "WebhooksError",
    "_refusal",
    "_refuse",
)
#: Where it is raised.
RAISING = [
    "access.py",
    "actions/*.py",
    "admin/*.py",
    "attempt_errors.py",
    "bulk/*.py",
    "catalog/registry.py",
    "catalog/versions.py",
    "db/conditions.py",
    "db/errors.py",
    "db/narrow.py",
    "db/time_limit.py",
    "db/transactions.py",
    "encoding.py",
    "filters/*.py",
    "formats/**/*.py",
    "notifications.py",
    "portal_access.py",
    "queries/*.py",
    "security/*.py",
    "state_reasons.py",
    "wakeup/*.py",
]


def messages() -> Catalog:
    """Every text of the pages."""
    found = Catalog(domain=DOMAIN, charset="utf-8")
    for path, _line, message, _comments, context in extract_from_dir(
        str(ADMIN), METHODS, keywords=KEYWORDS
    ):
        # Without lines: they would change with everything else.
        found.add(message, locations=[(path, 0)], context=context)
    for path, _line, message, _comments, context in extract_from_dir(
        str(PACKAGE),
        [(pattern, "python") for pattern in RAISING],
        keywords=dict.fromkeys(ERRORS, (1,)),
    ):
        found.add(message, locations=[(path, 0)], context=context)
    for text in words():
        found.add(text, locations=[("words", 0)])
    return found


def words() -> list[str]:
    """What stands in tables of ours: the catalogue, states, kinds of addresses."""
    found: dict[str, None] = {}
    for kind in BUILTIN_EVENT_TYPES:
        for text in (kind.group, kind.description, *(item.description for item in fields(kind))):
            if text:
                found[text] = None
    for names in (DeliveryState, EndpointState, TaskKind, TaskState):
        found |= dict.fromkeys(map(str, names))
    for reasons in addresses._SPECIAL.values():
        found |= {reason: None for _mask, _start, reason in reasons}
    return list(found)


def languages() -> list[str]:
    return sorted(path.name for path in TRANSLATIONS.iterdir() if path.is_dir())


def path_of(language: str) -> Path:
    """Without its suffix, ``.po`` or ``.mo``."""
    return TRANSLATIONS / language / "LC_MESSAGES" / DOMAIN


def read(language: str) -> Catalog:
    with path_of(language).with_suffix(".po").open("rb") as file:
        return read_po(file, locale=language, domain=DOMAIN)


def read_compiled(language: str) -> Catalog:
    with path_of(language).with_suffix(".mo").open("rb") as file:
        return read_mo(file)


def save(catalog: Catalog, language: str) -> None:
    path = path_of(language)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".po").open("wb") as file:
        write_po(
            file, catalog, width=100, omit_header=False, sort_by_file=True, include_lineno=False
        )
    with path.with_suffix(".mo").open("wb") as file:
        write_mo(file, catalog)


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
