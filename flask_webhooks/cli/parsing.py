"""What commands read from options and files, and who they act as."""

from __future__ import annotations

import contextlib
import getpass
import json
from typing import Any, NoReturn

from ..access import Access, system_access
from ..state import state_of
from .failures import Misuse
from .output import first_line


def current_access() -> Access:
    """Everything, in the name of whoever runs the command."""
    # There may be no user of this number, as in some containers.
    user = "unknown"
    with contextlib.suppress(OSError, KeyError):
        user = getpass.getuser()
    return system_access(state_of(), f"cli:{user}")


_EXAMPLE = """'{"license_id": "lic_1"}'"""


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
