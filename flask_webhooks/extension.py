"""The extension object: what a host creates, initialises and calls.

Long, since it is the public surface, with its documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import blinker
from flask import Blueprint, Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Session, scoped_session

from . import actions, admin, commands, healthz, migrations, queries
from .access import system_access
from .actions import create_portal_link
from .app_state import EXTENSION, AllTenants, AppState, Hooks, state_of
from .catalog.registry import Catalog, EventType, builtin_catalog
from .catalog.versions import Downgrade
from .config import Settings
from .errors import ConfigurationError, InvalidSubscription
from .formats import Format, Formats, builtin_formats
from .log import get_logger
from .models import Event, Models, build_models
from .outbox import signal_receivers
from .outbox.emit import checked_tenant, emit, host_session, load
from .outbox.host_transaction import check_engine
from .outbox.scheduling import as_scheduled, cancel_by_key
from .outbox.session_events import end_context
from .outbox.store import as_event
from .wakeup.notifier import Notifier
from .wakeup.worker_queue import WorkerQueue

if TYPE_CHECKING:
    from .models import Endpoint, ScheduledEvent, Task

logger = get_logger("flask_webhooks")

F = TypeVar("F", bound=Callable[..., Any])
D = TypeVar("D", bound=Downgrade)


class Webhooks:
    """Outbound webhooks for a Flask application.

    :param db: the host's Flask-SQLAlchemy object; the tables become part of its metadata.
    :param app: an application to initialise at once.
    """

    def __init__(self, db: SQLAlchemy, app: Flask | None = None) -> None:
        self.db = db
        self.hooks = Hooks()
        self.catalog: Catalog = builtin_catalog()
        self.formats: Formats = builtin_formats()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Set up an application: check its settings, define the tables, mount the admin and the commands.

        :raises ConfigurationError: a setting is invalid, `db.init_app` was not called before, or this was called
        twice for one application.
        """
        try:
            self._set_up(app)
        except ConfigurationError as error:
            # Flask loads the application before it runs our command, which therefore cannot catch this.
            from .cli import end_our_command

            end_our_command(error)
            raise

    def _set_up(self, app: Flask) -> None:
        if EXTENSION in app.extensions:
            raise ConfigurationError(
                f"webhooks.init_app was already called for the application {app.name!r}. Call it once, where the "
                "application is created."
            )
        if "sqlalchemy" not in app.extensions:
            raise ConfigurationError("Call db.init_app(app) before webhooks.init_app(app).")
        if app.extensions["sqlalchemy"] is not self.db:
            raise ConfigurationError(
                f"The application {app.name!r} uses a different SQLAlchemy object: create this one with Webhooks(db), "
                "where db is the object whose db.init_app(app) was called."
            )
        settings = Settings.from_config(app.config, debug=app.debug, testing=app.testing)
        if settings.default_format not in self.formats:
            known = ", ".join(item.name for item in self.formats)
            raise ConfigurationError(
                f"WEBHOOKS_DEFAULT_FORMAT is {settings.default_format!r}; choose one of: {known}."
            )
        self._check_offered(settings)
        binds = app.config.get("SQLALCHEMY_BINDS") or {}
        if settings.bind_key is not None and settings.bind_key not in binds:
            raise ConfigurationError(
                f"WEBHOOKS_BIND_KEY is {settings.bind_key!r}, but SQLALCHEMY_BINDS has no such key. Add it, or "
                "leave WEBHOOKS_BIND_KEY out to use the default database."
            )
        with app.app_context():
            engines = self.db.engines
        if settings.bind_key not in engines:
            names = ", ".join(repr(name) for name in engines)
            raise ConfigurationError(
                "This application has no SQLALCHEMY_DATABASE_URI, so there is no default database for the tables. Set "
                f"WEBHOOKS_BIND_KEY to the bind that should contain them: {names}."
            )
        check_engine(engines[settings.bind_key], app.name)
        if settings.subdomain is not None and not (
            app.subdomain_matching and app.config.get("SERVER_NAME")
        ):
            raise ConfigurationError(
                f"WEBHOOKS_SUBDOMAIN is {settings.subdomain!r}, but this application does not match subdomains: create "
                "it with Flask(…, subdomain_matching=True), and set SERVER_NAME to the name of the server without the "
                "subdomain."
            )
        worker_queue = WorkerQueue(settings, lambda: app.testing)
        state = AppState(
            app=app,
            db=self.db,
            settings=settings,
            vault=settings.vault(app.config),
            policy=settings.network_policy(),
            models=build_models(
                self.db.metadatas[settings.bind_key],
                partial_indexes=engines[settings.bind_key].dialect.name not in {"mysql", "mariadb"},
            ),
            catalog=self.catalog,
            formats=self.formats,
            hooks=self.hooks,
            worker_queue=worker_queue,
            notifier=Notifier(worker_queue, lambda: bool(self.hooks.observers)),
            translate=admin.translated_into,
        )
        app.extensions[EXTENSION] = state
        app.teardown_appcontext(lambda error: end_context(state))
        migrations.register()
        app.cli.add_command(commands.webhooks)
        if settings.url_prefix is not None:
            if not app.config.get("SECRET_KEY"):
                logger.warning(
                    "SECRET_KEY is not set, so the forms on the pages under %s cannot work without a session. Set "
                    "SECRET_KEY, or set WEBHOOKS_URL_PREFIX = None to turn the pages off.",
                    settings.url_prefix,
                )
            app.register_blueprint(
                admin.create_blueprint(state),
                url_prefix=settings.url_prefix,
                subdomain=settings.subdomain,
            )
        if settings.portal_prefix is not None:
            app.register_blueprint(
                admin.create_blueprint(state, for_portal=True),
                url_prefix=settings.portal_prefix,
                subdomain=settings.subdomain,
            )

    def _check_offered(self, settings: Settings) -> None:
        """Check the offered event types and formats.

        :raises ConfigurationError: one does not exist.
        """
        try:
            self.catalog.check_patterns(settings.event_types)
        except InvalidSubscription as error:
            raise ConfigurationError(
                f"WEBHOOKS_EVENT_TYPES cannot be used: {error.message} Add event types of your own with "
                "webhooks.add_event_type(...) before webhooks.init_app(app)."
            ) from None
        for name in settings.formats or ():
            if name not in self.formats:
                close = self.formats.close_to(name)
                hint = "" if close is None else f" Did you mean {close!r}?"
                known = ", ".join(item.name for item in self.formats)
                raise ConfigurationError(
                    f"WEBHOOKS_FORMATS names {name!r}, but there is no such format.{hint} Choose one of: {known}. Add "
                    "formats of your own with webhooks.add_format(...) before webhooks.init_app(app)."
                )
        if settings.formats is not None and settings.default_format not in settings.formats:
            raise ConfigurationError(
                f"WEBHOOKS_DEFAULT_FORMAT is {settings.default_format!r}, which WEBHOOKS_FORMATS leaves out: add it "
                "there, or choose one of those formats as the default."
            )

    def _state(self) -> AppState:
        """Return the state of the current application, if it uses this object."""
        state = state_of()
        if state.db is not self.db:
            raise ConfigurationError(
                f"The current application {state.app.name!r} has its own Webhooks object, so this call would reach its "
                "customers. Call this within the context of the application whose init_app(app) was called."
            )
        return state

    @property
    def models(self) -> Models:
        """The ORM classes: ``webhooks.models.Endpoint``, ``Event``, ``Delivery``, ``Attempt`` …

        Of the current application; outside of one, those of the only database that has them.

        :raises ConfigurationError: `init_app` was not called yet.
        """
        try:
            return self._state().models
        except ConfigurationError:
            built = [
                found
                for metadata in self.db.metadatas.values()
                if (found := metadata.info.get("flask_webhooks")) is not None
            ]
            if len(built) != 1:
                raise
            models: Models = built[0]
            return models

    @overload
    def emit(
        self,
        event_type: str,
        data: Mapping[str, Any],
        *,
        tenant: str | None = None,
        idempotency_key: str | None = None,
        occurred_at: datetime | None = None,
        transactional: bool | None = None,
        session: Session | scoped_session[Any] | None = None,
    ) -> Event | None: ...

    @overload
    def emit(
        self,
        event_type: str,
        data: Mapping[str, Any],
        *,
        deliver_at: datetime,
        key: str | None = None,
        tenant: str | None = None,
        occurred_at: datetime | None = None,
        transactional: bool | None = None,
        session: Session | scoped_session[Any] | None = None,
    ) -> ScheduledEvent | None: ...

    def emit(
        self,
        event_type: str,
        data: Mapping[str, Any],
        *,
        tenant: str | None = None,
        idempotency_key: str | None = None,
        occurred_at: datetime | None = None,
        transactional: bool | None = None,
        session: Session | scoped_session[Any] | None = None,
        deliver_at: datetime | None = None,
        key: str | None = None,
    ) -> Event | ScheduledEvent | None:
        """Record an event, which is sent to its subscribers after the transaction has committed.

        :param event_type: a name from the catalogue, ``license.activated``.
        :param data: the members that the event type documents; JSON values, and dates, `UUID`, `Decimal` and
        `Enum`, which are converted to text.
        :param tenant: the tenant of the event; it is sent to endpoints of this tenant and of the whole server.
        :param idempotency_key: a repetition with the same key returns the first event instead of recording another.
        :param occurred_at: a time, treated as UTC if it has no time zone; by default now.
        :param transactional: whether the event is part of the transaction; the default is in the catalogue. Events
        that describe a refusal are not, and are recorded whatever its outcome.
        :param session: a session of the host; by default `db.session`.
        :param deliver_at: an aware time in the future at which the event is recorded, for the subscribers at that
        time. It is also the default of `occurred_at`.
        :param key: the host's name for a scheduled event, ``expiring:lic_1``: the next one with the same key
        replaces it, and `cancel` cancels it. Each tenant has its own keys.
        :return: the event, or ``None`` if no endpoint subscribes to it; with `deliver_at` the scheduled event. An
        event that is not transactional and waits for the end of a transaction is returned before its subscribers,
        and repetitions of its key, are known.
        :raises InvalidInput: the event type is unknown, or the data cannot be sent.
        """
        state = self._state()
        given = host_session(state, session)
        emitted = emit(
            state,
            given,
            event_type,
            data,
            tenant=tenant,
            idempotency_key=idempotency_key,
            occurred_at=occurred_at,
            transactional=transactional,
            deliver_at=deliver_at,
            key=key,
        )
        if emitted is None:
            return None
        event, event_id = emitted
        if deliver_at is not None:
            return as_scheduled(state, event)
        return as_event(state, event) if event_id == event.id else load(state, given, event_id)

    def cancel(
        self,
        key: str,
        *,
        tenant: str | None = None,
        session: Session | scoped_session[Any] | None = None,
    ) -> bool:
        """Cancel the event that is scheduled with a key.

        The cancellation is part of the transaction, as in `emit`.

        :param tenant: the tenant of the event.
        :param session: a session of the host; by default `db.session`.
        :return: whether there was one. There is none if the key was never used, its event was cancelled, or it has
            already been recorded and is delivered.
        :raises InvalidInput: the key or tenant is invalid.
        """
        state = self._state()
        given = host_session(state, session)
        return cancel_by_key(state, given, key, None if tenant is None else checked_tenant(tenant))

    def erase(
        self,
        unwanted: Mapping[str, Any] | Callable[[Event], bool],
        *,
        tenant: str | None = None,
    ) -> Task:
        """Erase one person's data from events and attempts, and cancel waiting deliveries.

        Workers do this as a task; with a function, it is done in this process.

        :param unwanted: members of event data and their values, ``{"user_id": 42}``, all of which must match; or a
            function that is called with every event, and returns whether to erase it.
        :param tenant: only events of this tenant.
        :return: the task, which is running; with a function, it has ended.
        :raises InvalidInput: the values do not identify the data.
        """
        return actions.erase(system_access(self._state(), "application"), unwanted, tenant=tenant)

    def pull(
        self,
        after: str = "start",
        *,
        tenant: str | None = None,
        endpoint_id: str | None = None,
        event_type: str | None = None,
        limit: int = queries.DEFAULT_PULLED,
    ) -> queries.Pulled:
        """Return events in the order in which they were committed, after a cursor, without tests.

        On SQLite, end the transaction of `db.session` first.

        :param after: the `next_after` of the previous page; ``"start"`` for the oldest stored events.
        :param tenant: only events of this tenant.
        :param endpoint_id: only those with a delivery to this endpoint.
        :param limit: at most 1,000.
        :return: `items`, each with `id`, `type`, `timestamp`, `data` and `tenant`; `next_after`; and `has_more`.
        :raises InvalidCursor: the cursor is malformed, or was issued for another tenant or endpoint.
        :raises CursorExpired: the cursor is older than the retention time.
        """
        access = system_access(self._state(), "application")
        return queries.Pull(
            access,
            after,
            tenant=tenant,
            endpoint_id=endpoint_id,
            event_type=event_type,
            limit=limit,
        ).page()

    def ledger(
        self, endpoint_id: str, first: int = 1, last: int | None = None
    ) -> queries.LedgerPage:
        """Return the event and the state of each number of an endpoint.

        :param first: the first number.
        :param last: the last number; by default, and at most, the highest assigned one.
        :return: `items`, at most 1,000, each with `sequence`, `state`, `event_id` and more; `last_sequence`; and
            `next_from`, which is ``None`` if all requested numbers are included.
        :raises NotFound: there is no such endpoint.
        :raises InvalidInput: a number is invalid.
        """
        access = system_access(self._state(), "application")
        return queries.get_ledger(access, endpoint_id, first, last)

    def portal_link(
        self,
        tenant: str,
        *,
        actor: str,
        expires_in: timedelta | float = 3600,
        actions: Iterable[str] = ("view",),
    ) -> str:
        """Return a URL that opens the pages for one tenant without a login of yours, until it expires or is revoked.

        :param tenant: the tenant whose endpoints it shows.
        :param actor: the user who opens it, for the audit log.
        :param expires_in: a `timedelta`, or seconds, from a minute to 30 days; its session expires at the same
            time.
        :param actions: the permissions.
        :raises InvalidInput: a value is invalid; ``field`` names it.
        :raises ConfigurationError: ``WEBHOOKS_PORTAL_PREFIX`` or ``SECRET_KEY`` is not set.
        """
        access = system_access(self._state(), "application")
        created = create_portal_link(
            access, tenant, actor=actor, expires_in=expires_in, actions=actions
        )
        return created.url

    def connect(
        self,
        signal: blinker.Signal,
        event_type: str,
        build: Callable[..., Mapping[str, Any] | tuple[Any, ...] | None],
    ) -> None:
        """Turn a signal of the host, or of another extension, into an event.

        :param build: called as ``build(sender, **kw)``; returns the data, or the data and the tenant, or these two
        and a session of the host, or ``None`` for no event. Its exceptions are logged and not raised to the
        sender, except database errors that have ended the transaction, such as a deadlock.
        :raises UnknownEventType: the catalogue has no such event type.
        """
        self.catalog[event_type]
        signal.connect(signal_receivers.receiver_of(self.hooks, event_type, build), weak=False)

    def create_endpoint(
        self,
        url: str,
        events: Iterable[str] | None = None,
        *,
        tenant: str | None = None,
        format: str | None = None,
        name: str = "",
        description: str = "",
        secret: str | Literal[False] | None = None,
        key_pair: bool = False,
        headers: Mapping[str, str] | None = None,
        user_agent: str | None = None,
        contact: str | None = None,
        client_certificate: str | None = None,
        options: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        rate_limit: float | None = None,
        ordered: bool = False,
        filter: Mapping[str, Any] | None = None,
        coalesce: Mapping[str, Any] | None = None,
        data_version: str | None = None,
        test_first: bool = False,
    ) -> actions.CreatedEndpoint:
        """Create an endpoint, in a separate transaction.

        :param url: the URL of the receiver; checked against the network policy.
        :param events: names and patterns such as ``license.*``; ``None`` for all, including future ones. Names of
            a format, such as ``key.used`` of Aureva, can be used with that format.
        :param tenant: the tenant; ``None`` for the whole server.
        :param format: the name of a format; by default detected from the URL.
        :param secret: an existing secret; by default a new one. ``False`` for none, if the format allows it.
        :param key_pair: sign with an ed25519 key pair; the result has its `public_key` for the receiver.
        :param contact: the e-mail address of the person responsible for the receiver, for `notify`.
        :param client_certificate: a client certificate and its private key in PEM, for mutual TLS.
        :param options: options of the format, such as the ``template`` of ``custom``.
        :param timeout: seconds for a whole request; by default that of the format or ``WEBHOOKS_TIMEOUT``.
        :param rate_limit: requests per second; by default unlimited.
        :param ordered: send deliveries one after another, in the order of the events.
        :param filter: conditions that an event must meet, such as ``{"data": {"amount": {"$gte": 100}}}``.
        :param coalesce: event types of which at most one event for each value of a member is sent in an interval:
            ``{"license.validated": {"by": "data.license_key", "seconds": 60}}``.
        :param data_version: the version of event data: a date of `version`, or ``"initial"`` for data before the
            first version; by default the newest.
        :param test_first: send a test at once, and hold everything else until a test gets a 2xx response.
        :return: the endpoint, and its secret, which is only returned here.
        :raises InvalidInput: a value is invalid; ``field`` names it.
        :raises EndpointLimitReached: the tenant has reached its limit of endpoints.
        """
        state = self._state()
        return actions.create_endpoint(
            system_access(state, "application"),
            url,
            events=events,
            dialect=format or state.settings.default_format,
            tenant=tenant,
            format=format,
            name=name,
            description=description,
            secret=secret,
            key_pair=key_pair,
            headers=headers,
            user_agent=user_agent,
            contact=contact,
            client_certificate=client_certificate,
            options=options,
            timeout=timeout,
            rate_limit=rate_limit,
            ordered=ordered,
            filter=filter,
            coalesce=coalesce,
            data_version=data_version,
            test_first=test_first,
        )

    def add_event_type(
        self,
        name: str,
        *,
        description: str,
        group: str = "Application",
        schema: Mapping[str, Any] | None = None,
        example: Mapping[str, Any] | None = None,
        transactional: bool = True,
        high_volume: bool = False,
        deprecated: bool = False,
    ) -> EventType:
        """Add an event type of the host to the catalogue.

        :param description: one sentence that says when it is sent, for forms and docs.
        :param group: its heading in forms.
        :param schema: JSON Schema of the data.
        :param example: realistic data, for test events and docs.
        :param deprecated: it will be removed in the future: pages and API mark it, and show its subscribers.
        :raises InvalidEventType: the name is malformed or taken.
        """
        return self.catalog.add(
            EventType(
                name=name,
                group=group,
                description=description,
                schema=schema or {"type": "object"},
                example=example or {},
                transactional=transactional,
                high_volume=high_volume,
                deprecated=deprecated,
            )
        )

    def version(self, event_type: str, date: str) -> Callable[[D], D]:
        """Register a function that converts data to the previous version: ``@webhooks.version("license.activated",
        "2026-12-01")``.

        The function receives a copy of the data that is sent from that day on, and returns what was sent before.
        Existing endpoints keep getting the previous version until they are moved. Workers call it without an
        application context. If it raises, the endpoint waits and operators see a message.

        :param event_type: a type of the catalogue.
        :param date: ``2026-12-01``, later than all registered dates, because endpoints are moved by these dates.
        :raises UnknownEventType: the catalogue has no such event type.
        :raises InvalidEventType: the date is invalid, or this event type already has a version with this date.
        """

        def register(function: D) -> D:
            self.catalog.add_version(event_type, date, function)
            return function

        return register

    def add_format(self, item: Format) -> Format:
        """Add a custom format of the host.

        :raises ConfigurationError: the name is taken.
        """
        return self.formats.add(item)

    def api_blueprint(
        self,
        authenticate: Callable[[], bool | None] | None = None,
        *,
        tokens: bool = False,
        security_scheme: Mapping[str, Any] | None = None,
    ) -> Blueprint:
        """Create the blueprint of the JSON API: ``app.register_blueprint(api, url_prefix=…)``.

        Permissions and tenants are determined by the same functions as for the pages.

        :param authenticate: called first in each request of the API. `True` accepts the program, with the
            permissions of those functions; for `False` and ``None`` the response is 401; any other value is an
            error. Without it and without tokens the host has to authenticate programs itself: `authorize` alone
            decides.
        :param tokens: accept API tokens, which the pages and ``flask webhooks tokens`` create. A token has its own
            permissions, so those functions are not called. Without `authenticate`, only tokens are accepted.
        :param security_scheme: the description of `authenticate` as an OpenAPI security scheme: ``{"type":
            "apiKey", "in": "header", "name": "X-Api-Key"}``.
        :raises ConfigurationError: pydantic is not installed, or the scheme is invalid.
        """
        blueprint: Blueprint = _api().create_blueprint(
            authenticate, tokens=tokens, security_scheme=security_scheme
        )
        self.hooks.tokens |= tokens
        return blueprint

    def vendor_api_blueprint(
        self,
        service: str,
        authenticate: Callable[[], bool | None] | None = None,
        *,
        tokens: bool = False,
    ) -> Blueprint:
        """Create a blueprint for programs that use the API of another service to create, list, test and delete
        webhooks.

        Mount it so that such a program only has to change host, prefix and token:
        ``app.register_blueprint(webhooks.vendor_api_blueprint("authon"), url_prefix="/v1")``.

        :param service: ``"authon"`` or ``"authforge"``. Endpoints have its format, and event types its names.
        :param authenticate: see `api_blueprint`.
        :param tokens: see `api_blueprint`.
        :raises ConfigurationError: pydantic is not installed, or there is no such service.
        """
        blueprint: Blueprint = _api().vendors.create_blueprint(service, authenticate, tokens=tokens)
        self.hooks.tokens |= tokens
        return blueprint

    def health_blueprint(self) -> Blueprint:
        """Create the blueprint of ``/healthz`` for load balancers and monitors, without login:
        ``app.register_blueprint(health)``.

        The response is 200 while database and Redis work and nothing has been overdue for longer than
        ``WEBHOOKS_HEALTH_OVERDUE``, else 503, without details. The result may be a second old, and the response
        takes at most two seconds.
        """
        return healthz.create_blueprint()

    def metrics_blueprint(
        self, authenticate: Callable[[], bool | None] | None = None, *, labels: Collection[str] = ()
    ) -> Blueprint:
        """Create the blueprint of the page ``/metrics`` for Prometheus:
        ``app.register_blueprint(webhooks.metrics_blueprint(…))``.

        :param authenticate: called in each request; `True` accepts it; for `False` and ``None`` the response is
        401. Without it, `authorize` and `current_tenant` decide: metrics require ``view`` and access to all
        tenants.
        :param labels: ``"endpoint"``, ``"tenant"`` or both, labels of the attempts of the last 24 hours.
        :raises ConfigurationError: prometheus-client is not installed, or there is no such label.
        """
        # Imported here, because prometheus-client is an extra.
        from .metrics import serving

        return serving.create_blueprint(self, authenticate, labels)

    def endpoint_limit(self, function: Callable[[str], int | None]) -> Callable[..., int | None]:
        """Register the limit of endpoints per tenant: ``(tenant) -> int | None``; ``None`` is no limit.

        The default is ``WEBHOOKS_MAX_ENDPOINTS``. Existing endpoints are kept even above the limit.
        """
        self.hooks.endpoint_limit = function
        return function

    def authorize(self, function: Callable[[str, Endpoint | None], bool]) -> Callable[..., bool]:
        """Register the permissions: ``(action, endpoint or None) -> bool``. Without it, everything is refused."""
        self.hooks.authorize = function
        return function

    def current_tenant(
        self, function: Callable[[], str | Collection[str] | AllTenants | None]
    ) -> Callable[..., Any]:
        """Register the tenant of the current person: a tenant, a list of several, `ALL_TENANTS`, or ``None`` for
        no access.
        """
        self.hooks.current_tenant = function
        return function

    def current_actor(self, function: Callable[[], str]) -> Callable[[], str]:
        """Register the name of the current person for the audit log."""
        self.hooks.current_actor = function
        return function

    def notify(
        self,
        function: Callable[..., Any] | None = None,
        *,
        locale: Callable[[Endpoint], str | None] | None = None,
    ) -> Callable[..., Any]:
        """Register a function that notifies the owner of a failing endpoint: ``(incident, endpoint, context,
        text)``.

        Workers call it in an app context, once for each incident and stage, and again if it raises. Written as
        ``@webhooks.notify`` or ``@webhooks.notify(locale=…)``.

        :param locale: ``(endpoint) -> str | None``, the language of the text; by default that of the application.
        """

        def register(given: Callable[..., Any]) -> Callable[..., Any]:
            self.hooks.notify, self.hooks.notify_locale = given, locale
            return given

        return register if function is None else register(function)

    def tenant_name(self, function: Callable[[str], str]) -> Callable[[str], str]:
        """Register the display names of tenants: ``(tenant) -> str``. The default is the id."""
        self.hooks.tenant_name = function
        return function

    def tenant_exists(self, function: Callable[[str], bool]) -> Callable[[str], bool]:
        """Register a function that returns whether a tenant exists: ``(tenant) -> bool``.

        Filters, the API, commands and new endpoints then report unknown tenants, instead of finding nothing.
        """
        self.hooks.tenant_exists = function
        return function


def _api() -> ModuleType:
    """Import the package `api`, which needs the extra pydantic.

    :raises ConfigurationError: it is not installed.
    """
    try:
        from . import api
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("pydantic", "pydantic_core"):
            raise
        raise ConfigurationError(
            "The JSON API needs pydantic 2. Install it with pip install 'flask-webhooks[api]'."
        ) from None
    return api


# Once per process, not per application: receivers find the application when a signal is sent.
signal_receivers.connect_builtin()
