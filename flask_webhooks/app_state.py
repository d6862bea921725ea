"""What Flask-Webhooks keeps for one application."""

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
    """What is told of emitted events."""

    def __call__(
        self, state: AppState, event: NewEvent, session: Session | None, transactional: bool
    ) -> None:
        """Take note of an event.

        :param session: the one whose transaction has to end before workers see the event; ``None``: it is written.
        """


@dataclass
class Hooks:
    """Functions that the host gives us; they belong to the extension object, not to one application."""

    #: ``(action, endpoint or None) -> bool``. Unset: everything is refused.
    authorize: Callable[[str, Endpoint | None], bool] | None = None
    #: ``() -> tenant | tenants | ALL_TENANTS | None``. Unset: ALL_TENANTS for all authorised users.
    current_tenant: Callable[[], str | Collection[str] | AllTenants | None] | None = None
    #: ``() -> str`` for the audit log. Unset: ``unknown``.
    current_actor: Callable[[], str] | None = None
    #: ``(tenant) -> int | None``: how many endpoints it may have. Unset: ``WEBHOOKS_MAX_ENDPOINTS``.
    endpoint_limit: Callable[[str], int | None] | None = None
    #: ``(tenant) -> str``: its name for people. Unset: the id. Workers call it in an app context.
    tenant_name: Callable[[str], str] | None = None
    #: ``(tenant) -> bool``. Unset: those that endpoints or events belong to are known.
    tenant_exists: Callable[[str], bool] | None = None
    #: ``(incident, endpoint, context, text)`` tells the owner of an endpoint. Unset: nothing is recorded for them.
    notify: Callable[[Incident, Endpoint, NotificationContext, NotificationText], Any] | None = None
    #: ``(endpoint) -> str | None``: the language of that text. Unset: the application's own.
    notify_locale: Callable[[Endpoint], str | None] | None = None
    #: The API takes tokens.
    tokens: bool = False
    #: Told of each event that the host emits, in its tests; see `testing`. While there are any, no worker is woken.
    observers: list[Observer] = field(default_factory=list)


@dataclass
class AppState:
    """Everything of one application; stands in ``app.extensions["webhooks"]``."""

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
    #: The process that this was made in, or last used in; a fork must not use its connections.
    pid: int = field(default_factory=os.getpid, init=False)
    #: Event types, and what was wrong with their data, of which the log has been told.
    reported_data: set[tuple[str, str]] = field(default_factory=set, init=False, repr=False)
    #: Event types, and the keywords unknown to their signals, of which the log has been told.
    reported_keywords: set[tuple[str, str]] = field(default_factory=set, init=False, repr=False)
    _prepared: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)
    _engine: sa.Engine | None = field(default=None, init=False, repr=False)
    _own_engine: sa.Engine | None = field(default=None, init=False, repr=False)
    _unwritten: Unwritten | None = field(default=None, init=False, repr=False)

    @property
    def engine(self) -> sa.Engine:
        """The engine of the database that holds our tables."""
        if self._engine is None:
            with nullcontext() if is_current(self) else self.app.app_context():
                self._engine = self.db.engines[self.settings.bind_key]
        return self._engine

    @property
    def own_engine(self) -> sa.Engine:
        """That engine for transactions of our own, whatever the host runs its own at.

        On PostgreSQL, what has waited for a lock must see what was committed meanwhile. At a higher level it would
        see what was there before, and fail with a serialization error; without transactions a lock has no
        effect.
        """
        if self._own_engine is None:
            # It shares the pool, and what listens to the host's hears it, too.
            own = self.engine.execution_options()
            # Parameters are the data of events, and errors and logs would show them.
            own.hide_parameters = True
            if own.dialect.name == "postgresql":
                sa_event.listen(own, "engine_connect", _read_committed)
            self._own_engine = own
        return self._own_engine

    @property
    def unwritten(self) -> Unwritten:
        """Events that this process keeps until the database takes them."""
        if self._unwritten is None or self._unwritten.pid != os.getpid():
            self._unwritten = Unwritten()
        return self._unwritten

    @property
    def data_validation(self) -> str | None:
        """``WEBHOOKS_VALIDATE_DATA``; where it is not set, by the application's mode as it is now.

        Tests set ``TESTING`` on the application that the host's module has made, after ``init_app``.
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
        """How many endpoints a tenant may have; ``None``: as many as it likes, as the whole server.

        It may ask the host, so nothing is to be locked and no session open.

        :raises ConfigurationError: the host's function answers with something else.
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
    # A driver refuses within a transaction, which a listener of the host may have begun on the new connection.
    with contextlib.suppress(Exception):
        connection.execution_options(isolation_level="READ COMMITTED")


def prepared(make: Callable[[AppState], T]) -> Callable[[AppState], T]:
    """Make a statement, or what holds some, once for each application.

    To put a statement together takes as long as to run it. One that is kept also keeps its key in
    SQLAlchemy's cache of compiled statements.
    """

    @functools.wraps(make)
    def give(state: AppState) -> T:
        known: dict[Any, T] = state._prepared
        if make not in known:
            known[make] = make(state)
        return known[make]

    return give


def state_of(app: Flask | None = None) -> AppState:
    """The state of an application, by default of the current one.

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
    """How the host calls a tenant; its id where the host does not say, or its function fails.

    Nothing is to be locked and no session open.
    """
    hook = state.hooks.tenant_name
    try:
        return tenant if hook is None else str(hook(tenant) or tenant)
    except Exception as error:
        log_failure(logger, "The name of a tenant could not be found", error=error)
        return tenant


def is_current(state: AppState) -> bool:
    """Return whether we are in the application's context."""
    return has_app_context() and app_ctx.app is state.app


def unwrap(sender: Any) -> Any:
    """The application behind a `current_app` proxy; anything else as it is."""
    get = getattr(sender, "_get_current_object", None)
    return get() if callable(get) else sender
