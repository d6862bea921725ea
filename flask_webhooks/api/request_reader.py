"""Read the body and the query of a request by their types. Values are checked in `actions`.

A cross-site form cannot send ``application/json``, and a script of another site needs permission by CORS, which
the API never gives. Requiring a body of this type, even without members, therefore protects signed-in users
against cross-site requests. If the host's own CORS rules allow all its paths, the browser's ``Sec-Fetch-Site``
header still protects them.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import groupby
from typing import Any, Final, NoReturn

from flask import request
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from werkzeug.exceptions import (
    BadRequest,
    LengthRequired,
    RequestEntityTooLarge,
    UnsupportedMediaType,
)

from .. import queries
from ..access import Access, shown
from ..actions.checks import MAX_TENANT_LENGTH
from ..app_state import AppState
from ..errors import Faults, Forbidden, InvalidInput

MEDIA_TYPE: Final = "application/json"
#: Bytes of a body in addition to the data of an event: a template, headers, a description.
_ROOM: Final = 128 * 1024
#: Characters of a query parameter.
_LONGEST_ARGUMENT: Final = 500
#: Unknown members that are named in one error.
_MOST_UNKNOWN: Final = 20

#: What to write instead, by the name of the error in pydantic.
_MESSAGES: Final[Mapping[str, str]] = {
    "string_type": "Write {name} as text, or leave it out.",
    "bool_type": "Write true or false for {name}, or leave it out.",
    "float_type": "Write {name} as a number, or leave it out.",
    "int_type": "Write {name} as a whole number, such as 50.",
    "dict_type": "Write {name} as a JSON object, or leave it out.",
    "datetime_type": "Write {name} as a time with its zone, such as 2026-01-31T12:00:00Z.",
}


def check_origin(*, token_says_it: bool = False) -> None:
    """Refuse cross-site requests of browsers.

    :param token_says_it: accept requests without a body that have ``Authorization: Bearer``. A browser does not
    send this header to another site without permission.
    :raises UnsupportedMediaType: the request changes something, and a form of another site could have sent it.
    :raises Forbidden: the browser marks it as cross-site; the host's CORS rules may have allowed it to send JSON.
    """
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    if request.headers.get("Sec-Fetch-Site", "").strip().lower() == "cross-site":
        raise Forbidden(
            "Requests that change something are not accepted from pages of other sites."
        )
    if request.method == "DELETE" and not request.content_type:
        # A browser needs permission to send it to another site, and it has no body.
        return
    if token_says_it and not request.content_type and _has_token():
        return
    if request.mimetype != MEDIA_TYPE:
        raise UnsupportedMediaType(
            f"Send the header Content-Type: {MEDIA_TYPE} and a JSON object, {{}} if there is nothing to send."
        )


def _has_token() -> bool:
    given = request.authorization
    return given is not None and given.type == "bearer" and bool(given.token)


def largest_body(state: AppState) -> int:
    """Return the maximum size of a body: the largest event data, with white space, and all other members."""
    return 2 * state.settings.max_data_bytes + _ROOM


def read_body(state: AppState, kind: type) -> dict[str, Any]:
    """Return the members of the JSON object in the body; missing ones are left out.

    :param kind: a type of `bodies`. A required member that is missing is ``None``.
    :raises InvalidInput: members are unknown or have the wrong type; `errors` names all of them.
    :raises HTTPException: it is not a JSON object, or too large.
    """
    given = _read_object(largest_body(state))
    return _validated(kind, given, "member", Faults())


def read_query(kind: type) -> dict[str, Any]:
    """Return the parameters of the query; missing ones are left out.

    :param kind: a type of `parameters`.
    :raises InvalidInput: parameters are unknown, given twice or malformed; `errors` names all of them.
    """
    given = {}
    faults = Faults()
    for name, values in request.args.lists():
        with faults:
            given[name] = _argument(name, values) if name in kind.__annotations__ else values[0]
    return _validated(kind, given, "parameter", faults)


@cache
def adapter(kind: type) -> TypeAdapter[dict[str, Any]]:
    """Return the pydantic adapter of such a type: strict, and without other members."""
    return TypeAdapter(with_config(ConfigDict(extra="forbid", strict=True))(kind))


def _argument(name: str, values: list[str]) -> str:
    [value, *more] = values
    if more:
        raise InvalidInput(f"Give {name} once.", field=name)
    if not value or len(value) > _LONGEST_ARGUMENT:
        raise InvalidInput(
            f"Give {name} a value of at most {_LONGEST_ARGUMENT} characters, or leave it out.",
            field=name,
        )
    return value


def _validated(kind: Any, given: Mapping[str, Any], noun: str, faults: Faults) -> dict[str, Any]:
    known = kind.__annotations__
    for name in [name for name in given if name not in known][:_MOST_UNKNOWN]:
        with faults:
            raise InvalidInput(
                f"There is no {noun} {shown(name)} here.{_choices(name, known)}",
                field=shown(name).strip("'"),
            )
    members = dict.fromkeys(kind.__required_keys__)
    members |= {name: value for name, value in given.items() if name in known}
    try:
        members = adapter(kind).validate_python(members)
    except ValidationError as error:
        # A member with several possible types has an error for each.
        for name, errors in groupby(error.errors(), lambda each: str(each["loc"][0])):
            first = next(errors)
            message = _MESSAGES.get(first["type"], first["msg"])
            with faults:
                raise InvalidInput(message.replace("{name}", name), field=name) from None
    faults.finish()
    return members


def wanted_tenant(access: Access, given: dict[str, Any]) -> str | None:
    """Remove ``tenant`` from the members, and return the tenant of the request.

    :raises NotFound: that tenant is not in scope, or does not exist.
    :raises InvalidInput: it is longer than any id can be.
    """
    tenant: str | None = given.pop("tenant", None)
    if tenant is not None:
        if len(tenant) > MAX_TENANT_LENGTH:
            raise InvalidInput(
                f"Write tenant as an id of at most {MAX_TENANT_LENGTH} characters.", field="tenant"
            )
        queries.require_tenant(access, tenant)
    return tenant


def scoped(access: Access, given: dict[str, Any]) -> Access:
    """Return the access, narrowed to the tenant of the request; see `wanted_tenant`."""
    tenant = wanted_tenant(access, given)
    return access if tenant is None else access.within(tenant)


def tenant_of_many(access: Access, given: dict[str, Any]) -> str | None:
    """Do the same as `wanted_tenant` for an action on many endpoints: also remove ``all_tenants``.

    A missing tenant must not affect all of them by accident.

    :raises InvalidInput: the request could mean all tenants without saying so.
    """
    everybody = given.pop("all_tenants", False)
    tenant = given.get("tenant")
    if everybody and tenant is not None:
        raise InvalidInput("Leave out tenant or all_tenants.", field="all_tenants")
    if not everybody and tenant is None and not isinstance(access.tenant, str):
        seen = "several" if access.tenants else "all"
        raise InvalidInput(
            f'This covers many endpoints, and you can see {seen} tenants. Name one as tenant, or write "all_tenants": '
            "true.",
            field="tenant",
        )
    return wanted_tenant(access, given)


# -- JSON ------------------------------------------------------------------------------------------


def _read_object(most: int) -> dict[str, Any]:
    raw = _read_bytes(most)
    if not raw.strip():
        return {}
    try:
        value = json.loads(raw.decode(), parse_constant=_refuse_constant)
        # Only Python accepts halves of surrogate pairs as text.
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
    return f" Choose one of: {', '.join(names)}." if names else " Leave it out."
