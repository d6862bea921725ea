"""What commands read from options and files, and who they act as."""

from __future__ import annotations

import contextlib
import getpass
import json
from typing import Any, NoReturn

import click

from .. import queries
from ..access import Access, system_access
from ..state import state_of
from .failures import Misuse
from .output import first_line, plain


def current_access() -> Access:
    """Everything, in the name of whoever runs the command."""
    # There may be no user of this number, as in some containers.
    user = "unknown"
    with contextlib.suppress(OSError, KeyError):
        user = getpass.getuser()
    return system_access(state_of(), f"cli:{user}")


_EXAMPLE = """'{"license_id": "lic_1"}'"""


def note_of_tenant(access: Access, tenant: str | None) -> None:
    """Say on standard error that a tenant's name stands where its id belongs; call it before a change."""
    unknown = queries.unknown_tenant(access, tenant)
    if unknown is not None and unknown.meant:
        click.echo(
            f"Note: --tenant takes an id, and no webhook or event belongs to {plain(repr(tenant))}. A tenant of "
            f"this name has the id {plain(', '.join(unknown.meant[:10]))}.",
            err=True,
        )


def parse_json(text: str, what: str, example: str = _EXAMPLE) -> Any:
    """:param example: what is written instead. :raises Misuse: it is not JSON."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"JSON has no {constant}")

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise Misuse(
            f"{what} is not JSON ({first_line(error)}). Write JSON, such as {example}."
        ) from error


def parse_object(text: str, what: str) -> dict[str, Any]:
    """:raises Misuse: it is not a JSON object."""
    value = parse_json(text, what)
    if not isinstance(value, dict):
        raise Misuse(f"{what} must be a JSON object, such as {_EXAMPLE}.")
    return value
