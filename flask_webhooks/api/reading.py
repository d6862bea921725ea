"""What a request says: its JSON body and its query, checked for shape. What values may be is decided in `actions`.

A cross-site form cannot send ``application/json``; a script of another site cannot either without asking first
(CORS), and nothing here says yes to that. So a body of that type, which is asked for even where there is
nothing to say, keeps a signed-in person's browser from being used against them. Where the host's own CORS rules say
yes for all its paths, the browser's ``Sec-Fetch-Site`` still tells.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from flask import request
from werkzeug.exceptions import (
    BadRequest,
    LengthRequired,
    RequestEntityTooLarge,
    UnsupportedMediaType,
)

from ..access import Access, shown
from ..actions.checks import MAX_TENANT_LENGTH
from ..errors import Forbidden, InvalidInput
from ..state import AllTenants, State

Reader = Callable[[str, Any], Any]

MEDIA_TYPE: Final = "application/json"
#: Bytes of a body beside the data of an event: a template, headers, a description.
_ROOM: Final = 128 * 1024
#: Characters of a query parameter.
_LONGEST_ARGUMENT: Final = 500


def check_origin() -> None:
    """Refuse what a browser was made to send by another site.

    :raises UnsupportedMediaType: the request changes something, and a form of another site could have sent it.
    :raises Forbidden: the browser says so itself; the host's CORS rules may have allowed it to send JSON.
    """
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    if request.headers.get("Sec-Fetch-Site", "").strip().lower() == "cross-site":
        raise Forbidden("Requests that change something are not taken from pages of other sites.")
    if request.method == "DELETE" and not request.content_type:
        # No browser sends it to another site without asking, and it says nothing.
        return
    if request.mimetype != MEDIA_TYPE:
        raise UnsupportedMediaType(
            f"Send the header Content-Type: {MEDIA_TYPE} and a JSON object, {{}} where there is nothing to say."
        )


def largest_body(state: State) -> int:
    """Bytes: the largest data of an event, written with blanks, and all else that a body may hold."""
    return 2 * state.settings.max_data_bytes + _ROOM


def read_body(state: State, /, **readers: Reader) -> dict[str, Any]:
    """The members of the JSON object that was sent, as their readers return them; the others are left out.

    :raises InvalidInput: a member is unknown or of the wrong type; `field` names it.
    :raises HTTPException: it is not a JSON object, or too large.
    """
    members = _read_object(largest_body(state))
    for name in members:
        if name not in readers:
            raise InvalidInput(
                f"There is no member {shown(name)} here.{_choices(name, readers)}",
                field=shown(name).strip("'"),
            )
    return {name: readers[name](name, value) for name, value in members.items()}


def read_query(**readers: Reader) -> dict[str, Any]:
    """The parameters of the query, as their readers return them; those that are not given are left out.

    :raises InvalidInput: a parameter is unknown, given twice or malformed; `field` names it.
    """
    found = {}
    for name, values in request.args.lists():
        if name not in readers:
            raise InvalidInput(
                f"There is no parameter {shown(name)} here.{_choices(name, readers)}",
                field=shown(name).strip("'"),
            )
        [value, *more] = values
        if more:
            raise InvalidInput(f"Give {name} once.", field=name)
        if not value or len(value) > _LONGEST_ARGUMENT:
            raise InvalidInput(
                f"Give {name} a value of at most {_LONGEST_ARGUMENT} characters, or leave it out.",
                field=name,
            )
        found[name] = readers[name](name, value)
    return found


def scoped(access: Access, given: dict[str, Any]) -> Access:
    """The access as far as the request wants it: takes ``tenant`` out of what was read.

    :raises NotFound: that tenant is not in scope.
    :raises InvalidInput: it is longer than any can be.
    """
    tenant = given.pop("tenant", None)
    if tenant is not None and len(tenant) > MAX_TENANT_LENGTH:
        raise InvalidInput(
            f"Write tenant as an id of at most {MAX_TENANT_LENGTH} characters.", field="tenant"
        )
    return access if tenant is None else access.within(tenant)


def scoped_to_many(access: Access, given: dict[str, Any]) -> Access:
    """The same for what is done to many endpoints at once: takes ``all_tenants`` as well.

    A program that lost the tenant on its way must not do it to everybody.

    :raises InvalidInput: the request could mean all tenants, and does not say so.
    """
    everybody = given.pop("all_tenants", False)
    tenant = given.get("tenant")
    if everybody and tenant is not None:
        raise InvalidInput("Leave out tenant or all_tenants.", field="all_tenants")
    if not everybody and tenant is None and isinstance(access.tenant, AllTenants):
        raise InvalidInput(
            'This is about many endpoints, and you see all tenants. Name one as tenant, or write "all_tenants": true.',
            field="tenant",
        )
    return scoped(access, given)


# -- readers: (name, value) -> value ---------------------------------------------------------------


def anything(name: str, value: Any) -> Any:
    """What an action checks in full."""
    return value


def text(name: str, value: Any) -> str | None:
    """Text, or nothing."""
    if value is not None and not isinstance(value, str):
        raise InvalidInput(f"Write {name} as text, or leave it out.", field=name)
    return value


def boolean(name: str, value: Any) -> bool:
    """Yes or no, in JSON and in a query."""
    value = {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value
    if not isinstance(value, bool):
        raise InvalidInput(f"Write true or false for {name}, or leave it out.", field=name)
    return value


def number(name: str, value: Any) -> float:
    """A JSON number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInput(f"Write {name} as a number, or leave it out.", field=name)
    return value


def whole(name: str, value: Any) -> int:
    """A whole number of a query; its range is checked later."""
    if not (value.isascii() and value.isdigit()) or len(value) > 9:
        raise InvalidInput(f"Write {name} as a whole number, such as 50.", field=name)
    return int(value)


def moment(name: str, value: Any) -> datetime | None:
    """A time with its zone (RFC 3339), or nothing."""
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(value)
        if found.tzinfo is None:
            raise ValueError("no zone")
        return found.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise InvalidInput(
            f"Write {name} as a time with its zone, such as 2026-01-31T12:00:00Z.", field=name
        ) from None


def json_object(name: str, value: Any) -> dict[str, Any] | None:
    """A JSON object, or nothing."""
    if value is not None and not isinstance(value, dict):
        raise InvalidInput(f"Write {name} as a JSON object, or leave it out.", field=name)
    return value


# -- JSON ------------------------------------------------------------------------------------------


def _read_object(most: int) -> dict[str, Any]:
    raw = _read_bytes(most)
    if not raw.strip():
        return {}
    try:
        value = json.loads(raw.decode(), parse_constant=_refuse_constant)
        # Halves of surrogate pairs are text to Python, and to nobody else.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The body is not JSON in UTF-8 ({str(error)[:200]}).") from None
    if not isinstance(value, dict):
        raise BadRequest('The body must be a JSON object, such as {"reason": "maintenance"}.')
    return value


def _read_bytes(most: int) -> bytes:
    if request.content_length is None:
        if "Transfer-Encoding" in request.headers:
            raise LengthRequired("Send the length of the body in Content-Length, not in chunks.")
        return b""
    if request.content_length > most:
        raise RequestEntityTooLarge(f"The body is too large: send at most {most:,} bytes.")
    return request.get_data()


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"JSON has no {constant}")


def _choices(name: str, known: Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(name[:100], names, n=1)
    if close:
        return f" Did you mean {close[0]}?"
    return f" Choose among: {', '.join(names)}." if names else " Leave it out."
