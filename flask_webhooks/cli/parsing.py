"""Parse options and files, and determine the access of commands."""

from __future__ import annotations

import contextlib
import getpass
import json
from collections.abc import Sequence
from typing import Any, NoReturn, TextIO

from .. import queries
from ..access import Access, shown, system_access
from ..app_state import state_of
from ..errors import NotFound
from .failures import Misuse
from .output import first_line, plain, say


def current_access() -> Access:
    """Return access to everything, in the name of the user who runs the command."""
    # There may be no user with this number, as in some containers.
    user = "unknown"
    with contextlib.suppress(OSError, KeyError):
        user = getpass.getuser()
    return system_access(state_of(), f"cli:{user}")


_EXAMPLE = """'{"license_id": "lic_1"}'"""


def note_of_tenant(access: Access, tenant: str | None) -> None:
    """Print a note on standard error if a tenant's name was given instead of its id; call it before a change."""
    unknown = queries.unknown_tenant(access, tenant)
    if unknown is not None and unknown.meant:
        say(
            f"Note: --tenant expects an id, and no webhook or event belongs to {plain(repr(tenant))}. A tenant of "
            f"this name has the id {plain(', '.join(unknown.meant[:10]))}.",
            err=True,
        )


def within_tenant(access: Access, tenant: str | None) -> Access:
    """Narrow the access to one tenant, if one is given.

    :raises NotFound: it cannot be the id of a tenant.
    """
    wanted_tenant(access, tenant)
    return access if tenant is None else access.within(tenant)


def wanted_tenant(access: Access, tenant: str | None) -> str | None:
    """Return the tenant that a list is filtered by.

    :raises NotFound: it cannot be the id of a tenant, or the application does not have it.
    """
    if tenant is not None:
        note_of_tenant(access, tenant)
        queries.require_tenant(access, tenant)
    return tenant


def wanted_event(access: Access, event_id: str | None) -> str | None:
    """Return the event that a list is filtered by.

    :raises NotFound: there is none in scope.
    """
    if event_id is not None and not queries.list_events(access, id=event_id, limit=1).items:
        raise NotFound("There is no event %(id)s.", id=shown(event_id))
    return event_id


def parse_headers(lines: Sequence[str]) -> dict[str, str]:
    """Parse headers, each written as ``Name: value``."""
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise Misuse("Write a header as 'Name: value'.")
        if name.strip() in headers:
            raise Misuse(f"The header {plain(name.strip())} is given twice.")
        headers[name.strip()] = value.strip()
    return headers


def parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """Parse ``NAME=VALUE``; ``NAME=@FILE`` reads the value from a file."""
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise Misuse("Write an option as NAME=VALUE, or NAME=@FILE.")
        if value.startswith("@"):
            value = read_file(value[1:])
        options[name.strip()] = value
    return options


def read_file(path: str) -> str:
    """Read a text file.

    :raises Misuse: it does not exist, or is not UTF-8.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return read_text(file)
    except OSError as error:
        raise Misuse(f"The file cannot be read: {first_line(error)}") from error


def read_text(file: TextIO) -> str:
    """Decode a file, without a byte order mark.

    :raises Misuse: it is not text in UTF-8.
    """
    try:
        return file.read().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise Misuse("The file is not UTF-8 text: save it in that encoding.") from error


def parse_json(text: str, what: str, example: str = _EXAMPLE) -> Any:
    """:param example: an example for the message.
    :raises Misuse: it is not JSON.
    """

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"JSON has no {constant}")

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise Misuse(
            f"{what} is not JSON ({first_line(error)}). Write JSON, such as {example}."
        ) from error


def parse_object(text: str, what: str) -> dict[str, Any]:
    """Parse a JSON object.

    :raises Misuse: it is not one.
    """
    value = parse_json(text, what)
    if not isinstance(value, dict):
        raise Misuse(f"{what} must be a JSON object, such as {_EXAMPLE}.")
    return value
