"""Access control: the host's `authorize`, `current_tenant` and `current_actor` in one object.

An API token has its own permissions instead; see `actions.tokens`.

Every function of `queries` and `actions` takes an `Access` first, so that the same rules apply to pages, API and
commands. Objects outside its tenant scope do not exist for it. Long, since all access control is in one place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

import sqlalchemy as sa
from flask import current_app
from sqlalchemy.orm import Session

from . import ids
from .app_state import ALL_TENANTS, AllTenants, AppState, name_of_tenant, unwrap
from .catalog.registry import matches
from .catalog.type_filter import of_type
from .db.transactions import reading, release_host_connection, writing
from .errors import ConfigurationError, Forbidden, InvalidInput, NotFound
from .models import Delivery, Endpoint
from .texts import Text

#: Returns `True` to accept a program.
Authenticate = Callable[[], bool | None]

#: The actions of the host's `authorize`, with their texts for errors.
MEANINGS: Final[Mapping[str, Text]] = {
    "view": Text("see endpoints and deliveries"),
    "view_payload": Text("see the data of events"),
    "manage": Text("create or change endpoints"),
    "send": Text("send or cancel deliveries"),
    "secret": Text("change the secret of an endpoint"),
    "delete_all": Text("delete all endpoints, or old events, or erase data"),
    "tokens": Text("see, create or revoke API tokens"),
}
ACTIONS = tuple(MEANINGS)

#: One tenant, several, or everything.
Scope = str | frozenset[str] | AllTenants

#: The attribute of `flask.g` with the access of a request of our pages or API.
ACCESS = "flask_webhooks_access"
#: The default actor.
UNKNOWN = "unknown"
#: Total time of the host's `tenant_name` for one page, in seconds.
NAMING_TIME: Final = 0.5


@dataclass(frozen=True, slots=True)
class Access:
    """The permissions and the scope of a person or program."""

    state: AppState = field(repr=False)
    #: The actor in the audit log.
    actor: str
    #: The tenant, or several; then objects of the whole server are not in scope.
    tenant: Scope
    #: ``(action, endpoint or None) -> bool``, with an action of `ACTIONS`; ``None`` is all endpoints.
    may: Callable[[str, Endpoint | None], bool] = field(repr=False)
    #: Whether the request is for our own pages or API; see `transactions.writing`.
    owns_request: bool = False

    def require(self, action: str, endpoint: Endpoint | None = None) -> None:
        """Check that an action is allowed.

        :raises NotFound: the endpoint belongs to another tenant.
        :raises Forbidden: the host's `authorize` refuses it.
        """
        if action not in MEANINGS:
            raise ValueError(f"{action!r} is not one of {', '.join(ACTIONS)}")
        if endpoint is not None and not self.sees(endpoint.tenant):
            raise no_endpoint(endpoint.id)
        if not self.may(action, endpoint):
            raise Forbidden("You are not allowed to %(what)s.", what=MEANINGS[action])

    @property
    def tenants(self) -> tuple[str, ...]:
        """The tenants in scope, in order; empty if all are."""
        match self.tenant:
            case AllTenants():
                return ()
            case str():
                return (self.tenant,)
            case several:
                return tuple(sorted(several))

    def sees(self, tenant: str | None) -> bool:
        """Return whether objects of this tenant (``None``: of the whole server) are in scope."""
        return isinstance(self.tenant, AllTenants) or tenant in self.tenants

    def within(self, tenant: str) -> Access:
        """Return the same access for one tenant only.

        :raises NotFound: that tenant is not in scope.
        """
        if not tenant.isprintable() or not self.sees(tenant):
            raise NotFound("There is no tenant %(tenant)s.", tenant=shown(tenant))
        return replace(self, tenant=tenant)

    def scope(self, tenant: Any) -> sa.ColumnElement[bool]:
        """Return the SQL condition for a tenant column."""
        match self.tenant:
            case AllTenants():
                return sa.true()
            case str():
                # Not IN, because an index returns the rows of one tenant in the order of ids.
                return cast(sa.ColumnElement[bool], tenant == self.tenant)
            case _:
                return cast(sa.ColumnElement[bool], tenant.in_(self.tenants))

    def read(self) -> AbstractContextManager[Session]:
        """Open a session for reading. No function of the host may be called while it is open."""
        return reading(self.state)

    def write(self, alone: str | None = None) -> AbstractContextManager[Session]:
        """Open a session for a separate transaction; see `transactions.writing`."""
        return writing(self.state, owns_request=self.owns_request, alone=alone)

    def release(self) -> None:
        """Return the connection of the host's session before the request waits, by committing its transaction."""
        if self.owns_request:
            release_host_connection(self.state)


def request_access(state: AppState) -> Access:
    """Return the access of the current request, from the host's functions.

    :raises Forbidden: the host has not configured access, or this person belongs to no tenant.
    """
    authorize = state.hooks.authorize
    if authorize is None:
        raise Forbidden(
            "The application has not configured who may see its webhooks. Decorate a function (action, endpoint) -> "
            "bool with @webhooks.authorize."
        )

    def may(action: str, endpoint: Endpoint | None) -> bool:
        return is_yes(authorize(action, endpoint), "@webhooks.authorize")

    return Access(
        state=state, actor=_actor(state), tenant=_tenant(state), may=may, owns_request=True
    )


def is_yes(answer: object, where: str) -> bool:
    """Interpret the return value of a host's function: only `True` grants access; `False` and ``None`` refuse it.

    Return values of views (``403``, ``"/login"``, a redirect) are truthy as well, and must not grant access.

    :param where: how the function was registered, for the message.
    :raises ConfigurationError: it is another value.
    """
    answer = unwrap(answer)
    if answer is True:
        return True
    if answer is False or answer is None:
        return False
    raise ConfigurationError(
        f"The function given to {where} must return True or False, not {_named(answer)}."
    )


def lets_in(authenticate: Authenticate, where: str) -> bool:
    """Return whether the host's function accepts the program of the current request.

    :param where: how the function was registered, for the message.
    :raises ConfigurationError: it returns another value.
    """
    return is_yes(current_app.ensure_sync(authenticate)(), where)


def system_access(state: AppState, actor: str) -> Access:
    """Return the unlimited access of the host's code and of commands.

    :param actor: the name in the audit log, such as ``cli:root``.
    """
    return Access(state=state, actor=actor, tenant=ALL_TENANTS, may=lambda action, endpoint: True)


def find_endpoint(access: Access, endpoint_id: str, *, deleted: bool = False) -> Endpoint:
    """Return a detached endpoint in scope.

    :param deleted: find it even if it was deleted.
    :raises NotFound: there is none.
    """
    if not is_id(endpoint_id):
        raise no_endpoint(endpoint_id)
    with access.read() as session:
        endpoint = session.get(access.state.models.Endpoint, endpoint_id)
    if (
        endpoint is None
        or not access.sees(endpoint.tenant)
        or (endpoint.deleted_at is not None and not deleted)
    ):
        raise no_endpoint(endpoint_id)
    return endpoint


def find_delivery(access: Access, delivery_id: str) -> tuple[Delivery, Endpoint]:
    """Return a delivery in scope and its endpoint, which may be deleted; both detached.

    :raises NotFound: there is none.
    """
    models = access.state.models
    found = None
    if is_id(delivery_id):
        query = (
            sa.select(models.Delivery, models.Endpoint)
            .join_from(
                models.Delivery,
                models.Endpoint,
                models.Delivery.endpoint_id == models.Endpoint.id,
            )
            .where(models.Delivery.id == delivery_id)
        )
        with access.read() as session:
            found = session.execute(query).one_or_none()
    if found is None or not access.sees(found[1].tenant):
        raise no_delivery(delivery_id)
    return found[0], found[1]


def is_id(value: object) -> bool:
    """Return whether a text can be an id; PostgreSQL refuses to compare some other texts."""
    return isinstance(value, str) and len(value) <= ids.MAX_LENGTH and value.isprintable()


def shown(value: object) -> str:
    """Return a given id for a message."""
    return ascii(value)[:50]


def no_endpoint(endpoint_id: object) -> NotFound:
    """Return the error for an endpoint that does not exist or is not in scope."""
    return NotFound("There is no endpoint %(id)s.", id=shown(endpoint_id))


def no_delivery(delivery_id: object) -> NotFound:
    """Return the error for a delivery that does not exist or is not in scope."""
    return NotFound("There is no delivery %(id)s.", id=shown(delivery_id))


def no_token(token_id: object) -> NotFound:
    """Return the error for a token that does not exist or is not in scope."""
    return NotFound("There is no API token %(id)s.", id=shown(token_id))


def no_scheduled(scheduled_id: object) -> NotFound:
    """Return the error for a scheduled event that does not exist or is not in scope."""
    return NotFound(
        "There is no scheduled event %(id)s. Once an event is due, it moves to the list of events.",
        id=shown(scheduled_id),
    )


class BoundedTenantNames:
    """Display names of tenants from the host: each is requested once, within `NAMING_TIME` in total.

    After that, and if there is no function or it fails, the id is used. No lock and no session may be open.
    """

    def __init__(self, state: AppState) -> None:
        self._state = state
        self._known: dict[str, str] = {}
        self._spent = 0.0

    def name(self, tenant: str) -> str:
        """Return the name of a tenant, or its id."""
        if tenant not in self._known and self._spent > NAMING_TIME:
            return tenant
        if tenant not in self._known:
            began = time.monotonic()
            self._known[tenant] = name_of_tenant(self._state, tenant)
            self._spent += time.monotonic() - began
        return self._known[tenant]


def tenant_is_known(state: AppState, tenant: str) -> bool | None:
    """Return whether a tenant exists according to the host; ``None`` if it has no function for this.

    No lock and no session may be open.

    :raises ConfigurationError: the function returns another value.
    """
    hook = state.hooks.tenant_exists
    return None if hook is None else is_yes(hook(tenant), "@webhooks.tenant_exists")


def _named(answer: object) -> str:
    """Return a value for a message: a short one in full, else its type."""
    if isinstance(answer, int | float):
        return repr(answer)
    return f"a {type(answer).__name__}"


def _actor(state: AppState) -> str:
    hook = state.hooks.current_actor
    actor = str((hook() if hook is not None else None) or UNKNOWN)
    return "".join(c if c.isprintable() else "�" for c in actor)[:255]


def _tenant(state: AppState) -> Scope:
    hook = state.hooks.current_tenant
    if hook is None:
        return ALL_TENANTS
    given: Any = unwrap(hook())
    if isinstance(given, AllTenants):
        return ALL_TENANTS
    several = given if isinstance(given, list | tuple | set | frozenset) else (given,)
    tenants = set()
    for tenant in map(unwrap, several):
        text = "" if tenant is None else ids.host_id(tenant)
        if text is None or isinstance(tenant, AllTenants):
            raise ConfigurationError(
                "The function given to @webhooks.current_tenant must return the id of a tenant, not "
                f"{_described(given, tenant)}; or a list of ids, ALL_TENANTS or None."
            )
        tenants.add(text)
    tenants.discard("")
    if not tenants:
        raise Forbidden("You do not belong to a tenant, so there are no endpoints for you to see.")
    return frozenset(tenants) if len(tenants) > 1 else tenants.pop()


def _described(given: object, tenant: object) -> str:
    name = f"a {type(tenant).__name__}"
    return name if given is tenant else f"a {type(given).__name__} with {name} in it"


def check_event_type(access: Access, pattern: str) -> None:
    """Refuse a filter by an event type that is not in the catalogue, unless an event in scope has it.

    One statement, only for types that are not in the catalogue.

    :raises InvalidInput: there is no such event type; the message lists similar ones.
    """
    state = access.state
    if any(matches([pattern], event_type.name) for event_type in state.catalog):
        return
    table = state.models.Event
    recorded = sa.select(table.id).where(of_type(table.type, pattern), access.scope(table.tenant))
    with access.read() as session:
        if session.scalar(recorded.limit(1)) is not None:
            # The host had it in its catalogue earlier.
            return
    raise InvalidInput(state.offered_types.explain_unknown(pattern), field="event_type")
