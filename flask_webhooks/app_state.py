"""The state of Flask-Webhooks for one application."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Collection
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import sqlalchemy as sa
from flask import Flask, current_app, has_app_context
from flask.globals import app_ctx
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event as sa_event

from .catalog.registry import Catalog
from .config import Settings
from .errors import ConfigurationError
from .formats import Formats
from .log import get_logger, log_failure
from .models import Models
from .security.addresses import NetworkPolicy
from .security.vault import Vault
from .unwritten import Unwritten
from .wakeup.notifier import Notifier
from .wakeup.worker_queue import WorkerQueue

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from .models import Endpoint
    from .notifications import Incident, NotificationContext, NotificationText, Translate
    from .outbox.store import NewEvent

EXTENSION = "webhooks"

logger = get_logger("flask_webhooks")

T = TypeVar("T")


class AllTenants:
    """The type of :data:`ALL_TENANTS`."""

    def __repr__(self) -> str:
        return "ALL_TENANTS"


#: Returned by the host's `current_tenant` for people who may see every tenant.
ALL_TENANTS = AllTenants()


class Observer(Protocol):
    """A callback for emitted events."""

    def __call__(
        self, state: AppState, event: NewEvent, session: Session | None, transactional: bool
    ) -> None:
        """Record an event.

        :param session: the session whose transaction has to end before workers see the event; ``None``: it is
            already written.
        """


@dataclass
class Hooks:
    """Functions of the host, which belong to the extension object, not to one application."""

    #: ``(action, endpoint or None) -> bool``. Unset: everything is refused.
    authorize: Callable[[str, Endpoint | None], bool] | None = None
    #: ``() -> tenant | tenants | ALL_TENANTS | None``. Unset: ALL_TENANTS for all authorised users.
    current_tenant: Callable[[], str | Collection[str] | AllTenants | None] | None = None
    #: ``() -> str`` for the audit log. Unset: ``unknown``.
    current_actor: Callable[[], str] | None = None
    #: ``(tenant) -> int | None``: the limit of its endpoints. Unset: ``WEBHOOKS_MAX_ENDPOINTS``.
    endpoint_limit: Callable[[str], int | None] | None = None
    #: ``(tenant) -> str``: its display name. Unset: the id. Workers call it in an app context.
    tenant_name: Callable[[str], str] | None = None
    #: ``(tenant) -> bool``. Unset: tenants with endpoints or events are known.
    tenant_exists: Callable[[str], bool] | None = None
    #: ``(incident, endpoint, context, text)`` notifies the owner of an endpoint. Unset: no notifications are
    #: recorded.
    notify: Callable[[Incident, Endpoint, NotificationContext, NotificationText], Any] | None = None
    #: ``(endpoint) -> str | None``: the language of that text. Unset: that of the application.
    notify_locale: Callable[[Endpoint], str | None] | None = None
    #: Whether the API accepts tokens.
    tokens: bool = False
    #: Callbacks for events in tests of the host; see `testing`. While there are any, no worker is woken.
    observers: list[Observer] = field(default_factory=list)


@dataclass
class AppState:
    """The state of one application, in ``app.extensions["webhooks"]``."""

    app: Flask
    db: SQLAlchemy
    settings: Settings
    vault: Vault
    policy: NetworkPolicy
    models: Models
    catalog: Catalog
    formats: Formats
    hooks: Hooks
    worker_queue: WorkerQueue
    notifier: Notifier
    #: Of the pages.
    translate: Translate
    #: The process that created or last used this; a fork must not use its connections.
    pid: int = field(default_factory=os.getpid, init=False)
    #: Logged errors in data by event type.
    reported_data: set[tuple[str, str]] = field(default_factory=set, init=False, repr=False)
    #: Logged unknown keywords by event type.
    reported_keywords: set[tuple[str, str]] = field(default_factory=set, init=False, repr=False)
    _prepared: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)
    _engine: sa.Engine | None = field(default=None, init=False, repr=False)
    _own_engine: sa.Engine | None = field(default=None, init=False, repr=False)
    _unwritten: Unwritten | None = field(default=None, init=False, repr=False)

    @property
    def engine(self) -> sa.Engine:
        """The engine of the database with our tables."""
        if self._engine is None:
            with nullcontext() if is_current(self) else self.app.app_context():
                self._engine = self.db.engines[self.settings.bind_key]
        return self._engine

    @property
    def own_engine(self) -> sa.Engine:
        """The engine for separate transactions, independent of the host's isolation level.

        On PostgreSQL, a statement that has waited for a lock must see what was committed meanwhile. At a higher
        level it would see the old state, and fail with a serialization error; without transactions a lock has no
        effect.
        """
        if self._own_engine is None:
            # It shares the pool and the event listeners of the host's engine.
            own = self.engine.execution_options()
            # Errors and logs would otherwise show parameters, which contain the data of events.
            own.hide_parameters = True
            if own.dialect.name == "postgresql":
                sa_event.listen(own, "engine_connect", _read_committed)
            self._own_engine = own
        return self._own_engine

    @property
    def unwritten(self) -> Unwritten:
        """Events that this process keeps until the database can store them."""
        if self._unwritten is None or self._unwritten.pid != os.getpid():
            self._unwritten = Unwritten()
        return self._unwritten

    @property
    def data_validation(self) -> str | None:
        """``WEBHOOKS_VALIDATE_DATA``, or the default for the current mode of the application, because tests may
        set ``TESTING`` after ``init_app``.
        """
        if "WEBHOOKS_VALIDATE_DATA" in self.app.config:
            return self.settings.validate_data
        return "raise" if self.app.testing or self.app.debug else "log"

    @property
    def offered_types(self) -> Catalog:
        """The event types that forms, the API and commands offer, as ``WEBHOOKS_EVENT_TYPES`` says."""
        return self.catalog.only(self.settings.event_types)

    @property
    def offered_formats(self) -> Formats:
        """The formats that they offer, as ``WEBHOOKS_FORMATS`` says."""
        return self.formats.only(self.settings.formats)

    def table(self, name: str) -> sa.Table:
        return self.models.table(name)

    def endpoint_limit(self, tenant: str | None) -> int | None:
        """Return the limit of endpoints of a tenant; ``None`` for no limit, as for the whole server.

        It may call the host, so no lock and no session may be open.

        :raises ConfigurationError: the host's function returns an invalid value.
        """
        if tenant is None:
            return None
        hook = self.hooks.endpoint_limit
        if hook is None:
            return self.settings.max_endpoints
        limit = hook(tenant)
        if limit is None or (type(limit) is int and limit >= 0):
            return limit
        raise ConfigurationError(
            "The function given to @webhooks.endpoint_limit must return a whole number, or None for no "
            f"limit, not {limit!r}."
        )


def _read_committed(connection: sa.Connection) -> None:
    # A driver refuses this within a transaction, which a listener of the host may have begun on the new connection.
    with contextlib.suppress(Exception):
        connection.execution_options(isolation_level="READ COMMITTED")


def prepared(make: Callable[[AppState], T]) -> Callable[[AppState], T]:
    """Build a statement, or an object with statements, once per application.

    Building a statement takes as long as executing it. A kept statement also keeps its key in SQLAlchemy's cache
    of compiled statements.
    """

    @functools.wraps(make)
    def give(state: AppState) -> T:
        known: dict[Any, T] = state._prepared
        if make not in known:
            known[make] = make(state)
        return known[make]

    return give


def state_of(app: Flask | None = None) -> AppState:
    """Return the state of an application, by default of the current one.

    :raises ConfigurationError: there is no application, or `init_app` was not called for it.
    """
    if app is None:
        if not has_app_context():
            raise ConfigurationError(
                "Flask-Webhooks needs an application context: call this inside a request or a command, or within "
                "'with app.app_context():'."
            )
        app = unwrap(current_app)
    state: AppState | None = app.extensions.get(EXTENSION)
    if state is None:
        raise ConfigurationError(
            f"Flask-Webhooks is not set up for the application {app.name!r}: call webhooks.init_app(app)."
        )
    return state


def name_of_tenant(state: AppState, tenant: str) -> str:
    """Return the display name of a tenant; its id if there is no function, or it fails.

    No lock and no session may be open.
    """
    hook = state.hooks.tenant_name
    try:
        return tenant if hook is None else str(hook(tenant) or tenant)
    except Exception as error:
        log_failure(logger, "The name of a tenant could not be found", error=error)
        return tenant


def is_current(state: AppState) -> bool:
    """Return whether the application's context is active."""
    return has_app_context() and app_ctx.app is state.app


def unwrap(sender: Any) -> Any:
    """Return the application behind a `current_app` proxy; other values unchanged."""
    get = getattr(sender, "_get_current_object", None)
    return get() if callable(get) else sender
