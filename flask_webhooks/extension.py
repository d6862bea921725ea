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

from . import actions, admin, cli, healthz, migrations, queries
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

        :raises ConfigurationError: a setting is not usable, `db.init_app` was not called before, or this
            was called twice for one application.
        """
        try:
            self._set_up(app)
        except ConfigurationError as error:
            # Flask loads the application before it runs our command, which could not catch this.
            cli.end_our_command(error)
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
        app.cli.add_command(cli.webhooks)
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
        """:raises ConfigurationError: the settings offer what is not there."""
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
        """The state of the current application, if that is one of ours."""
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
        """Record an event; everyone who subscribes to it gets it once the transaction has committed.

        :param event_type: a name from the catalogue, ``license.activated``.
        :param data: members that the event type documents; JSON values, and dates, `UUID`, `Decimal` and
            `Enum`, which become text.
        :param tenant: whose event it is; it goes to this tenant's endpoints and to the whole server's.
        :param idempotency_key: repeat it, and the first event is returned instead of a second one written.
        :param occurred_at: a time, in UTC where it has no zone; now, when not given.
        :param transactional: whether the event stands and falls with the transaction; by default as the
            catalogue says. Events that describe a refusal are not, and are written whatever its outcome.
        :param session: a session of the host's own; `db.session` when not given.
        :param deliver_at: an aware time ahead at which the event is recorded, for those who subscribe then. Its
            `occurred_at` is that time, when not given.
        :param key: the host's name for a scheduled event, ``expiring:lic_1``: the next one with it replaces this one,
            and `cancel` cancels it. Each tenant has its own keys.
        :return: the event, or ``None`` when no endpoint subscribes to it; with `deliver_at` the scheduled event. One
            that is not transactional and waits for the end of a transaction is returned before it is known who
            subscribes, and whether its key repeats.
        :raises InvalidInput: the event type is unknown, or the data cannot be sent; says why.
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
        """Cancel the event that is scheduled under a key. It stands and falls with the transaction, as `emit` does.

        :param tenant: that of the event.
        :param session: a session of the host's own; `db.session` when not given.
        :return: whether there was one. There is none under a key that was never used, was cancelled, or whose event
            has been recorded, which is then delivered.
        :raises InvalidInput: that can be no key or tenant.
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
        """Erase one person's data: from events, from what was sent of them, and from what still waits to be sent.

        Deliveries that wait are cancelled. Workers do it as a task, or it is done here, with a function.

        :param unwanted: members of event data and their values, ``{"user_id": 42}``, all of which an event has; or
            a function that is called with every event there is, and returns whether it is meant.
        :param tenant: only events of this tenant.
        :return: the task, which goes on; with a function, one that has ended.
        :raises InvalidInput: it cannot be told whose data is meant.
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
        """Get events in the order in which they were committed, after a cursor, without tests.

        On SQLite, end the transaction of `db.session` first.

        :param after: the `next_after` of the page before; ``"start"`` for the oldest events that are kept.
        :param tenant: only events of this tenant.
        :param endpoint_id: only those with a delivery to this endpoint.
        :param limit: at most 1,000.
        :return: `items`, each with `id`, `type`, `timestamp`, `data` and `tenant`; `next_after`; and `has_more`.
        :raises InvalidCursor: the cursor is none, or was given out for another tenant or endpoint.
        :raises CursorExpired: the cursor is older than events are kept.
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
        """Say of each number of an endpoint which event it is, and what became of it.

        :param first: the first number.
        :param last: the last one; by default, and at most, the highest that was given out.
        :return: `items`, at most 1,000, each with `sequence`, `state`, `event_id` and more; `last_sequence`; and
            `next_from`, which is ``None`` when all that was asked for is there.
        :raises NotFound: there is no such endpoint.
        :raises InvalidInput: these can be no numbers.
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

        :param tenant: whose endpoints it shows.
        :param actor: who opens it, for the audit log.
        :param expires_in: a `timedelta`, or seconds, from a minute to 30 days; the session that it opens ends then too.
        :param actions: what they may do.
        :raises InvalidInput: a value is not usable; ``field`` names it.
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
        """Turn a signal of the host's, or of another extension, into an event.

        :param build: called as ``build(sender, **kw)``; returns the data, or the data and the tenant, or these
            two and a session of the host's own, or ``None`` for no event. What it raises is logged and does
            not reach the sender, but for database errors that have ended the transaction, such as a deadlock.
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
        """Create an endpoint, in a transaction of its own.

        :param url: where to send; checked against the network policy.
        :param events: names and patterns such as ``license.*``; ``None`` for all, also future ones.
            A format's own names, such as Aureva's ``key.used``, are understood with that format.
        :param tenant: whose it is; ``None`` for the whole server.
        :param format: a format's name; by default as the URL tells.
        :param secret: one that the receiver already has; by default a new one. ``False`` for none, where the
            format allows that.
        :param key_pair: sign by an ed25519 key pair; the result has its `public_key` for the receiver.
        :param contact: the e-mail address of the person who looks after the receiver; `notify` gets it.
        :param client_certificate: a certificate and its private key in PEM, by which the receiver knows us.
        :param options: what is set of the format, such as the ``template`` of ``custom``.
        :param timeout: seconds for a whole request; by default as the format and ``WEBHOOKS_TIMEOUT`` say.
        :param rate_limit: requests a second; by default as many as it takes.
        :param ordered: send one after another, in the order of the events.
        :param filter: conditions that an event must meet, such as ``{"data": {"amount": {"$gte": 100}}}``.
        :param coalesce: of which types to send at most one event for each value of a member in an interval:
            ``{"license.validated": {"by": "data.license_key", "seconds": 60}}``.
        :param data_version: the version of event data that it gets until it is moved: a date of `version`, or
            ``"initial"`` for data as it was before the first one; by default the newest there is.
        :param test_first: send a test at once, and hold everything else until a test is answered with 2xx.
        :return: the endpoint, and its secret, which is shown only here.
        :raises InvalidInput: a value is not usable; ``field`` names it.
        :raises EndpointLimitReached: the tenant has as many endpoints as it may have.
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
        """Add an event type of the host's own to the catalogue.

        :param description: one sentence: when it is sent. Forms and docs show it.
        :param group: the heading under which forms list it.
        :param schema: JSON Schema of the data.
        :param example: realistic data, for test events and docs.
        :param deprecated: it will be sent no more one day: pages and API mark it, and say who still subscribes.
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
        """Register what turns new data into that of before: ``@webhooks.version("license.activated", "2026-12-01")``.

        The function takes data as it is sent from that day on, its own copy, and returns what would have been sent
        before. Endpoints that are there keep getting that, until they are moved. Workers call it without an
        application context. If it raises, the endpoint waits and operators are told.

        :param event_type: one of the catalogue.
        :param date: ``2026-12-01``, later than all that are registered: endpoints are moved by these dates.
        :raises UnknownEventType: the catalogue has no such event type.
        :raises InvalidEventType: the date is none, or this event type has a version of it already.
        """

        def register(function: D) -> D:
            self.catalog.add_version(event_type, date, function)
            return function

        return register

    def add_format(self, item: Format) -> Format:
        """Add a wire format of the host's own.

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
        """The JSON API, to be mounted where the host wants it: ``app.register_blueprint(api, url_prefix=…)``.

        Who may do what, and to whose endpoints, is asked of the same functions as for the pages.

        :param authenticate: called in each request for the API, before anything else of ours. `True`
            lets the program in, as far as those functions allow; `False` and ``None`` are answered with 401,
            anything else is an error. Without it and without tokens the host has to sign programs in itself:
            `authorize` alone decides.
        :param tokens: let programs in that send a token of ours, which the pages and ``flask webhooks tokens``
            create. It has rights of its own, so those functions are not asked. Without `authenticate` there
            is no other way in.
        :param security_scheme: what `authenticate` asks for, as OpenAPI describes it:
            ``{"type": "apiKey", "in": "header", "name": "X-Api-Key"}``.
        :raises ConfigurationError: pydantic is not installed, or the scheme is none.
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
        """Create, list, test and delete webhooks as another service's page shows it, for programs that do so there.

        Mount it where host, prefix and token are all that such a program has to change:
        ``app.register_blueprint(webhooks.vendor_api_blueprint("authon"), url_prefix="/v1")``.

        :param service: ``"authon"`` or ``"authforge"``. Its format is that of the endpoints, and names of event types
            are its own.
        :param authenticate: as for `api_blueprint`.
        :param tokens: as for `api_blueprint`.
        :raises ConfigurationError: pydantic is not installed, or there is no such service.
        """
        blueprint: Blueprint = _api().vendors.create_blueprint(service, authenticate, tokens=tokens)
        self.hooks.tokens |= tokens
        return blueprint

    def health_blueprint(self) -> Blueprint:
        """``/healthz`` for load balancers and monitors, without login: ``app.register_blueprint(health)``.

        It answers 200 while database and Redis work and nothing is overdue for longer than
        ``WEBHOOKS_HEALTH_OVERDUE``, else 503, and tells no more than that. The answer may be a second old and takes
        two at most.
        """
        return healthz.create_blueprint()

    def metrics_blueprint(
        self, authenticate: Callable[[], bool | None] | None = None, *, labels: Collection[str] = ()
    ) -> Blueprint:
        """A page ``/metrics`` for Prometheus: ``app.register_blueprint(webhooks.metrics_blueprint(…))``.

        :param authenticate: called in each request; `True` lets the program in, `False` and ``None`` are answered
            with 401. Without it, `authorize` and `current_tenant` decide: metrics are for those who may ``view`` and
            see all tenants.
        :param labels: ``"endpoint"``, ``"tenant"`` or both, to tell attempts of the last 24 hours apart by them.
        :raises ConfigurationError: prometheus-client is not installed, or there is no such label.
        """
        # Not above: prometheus-client is an extra.
        from .metrics import serving

        return serving.create_blueprint(self, authenticate, labels)

    def endpoint_limit(self, function: Callable[[str], int | None]) -> Callable[..., int | None]:
        """Register how many endpoints a tenant may have: ``(tenant) -> int | None``; ``None`` is no limit.

        Until then it is ``WEBHOOKS_MAX_ENDPOINTS`` for each. Endpoints that are there stay, whatever it answers.
        """
        self.hooks.endpoint_limit = function
        return function

    def authorize(self, function: Callable[[str, Endpoint | None], bool]) -> Callable[..., bool]:
        """Register who may do what: ``(action, endpoint or None) -> bool``. Until then everything is refused."""
        self.hooks.authorize = function
        return function

    def current_tenant(
        self, function: Callable[[], str | Collection[str] | AllTenants | None]
    ) -> Callable[..., Any]:
        """Register whose endpoints the current person sees.

        A tenant, a list of several, `ALL_TENANTS`, or ``None``: none.
        """
        self.hooks.current_tenant = function
        return function

    def current_actor(self, function: Callable[[], str]) -> Callable[[], str]:
        """Register the current person's name for the audit log."""
        self.hooks.current_actor = function
        return function

    def notify(
        self,
        function: Callable[..., Any] | None = None,
        *,
        locale: Callable[[Endpoint], str | None] | None = None,
    ) -> Callable[..., Any]:
        """Register what tells the owner of an endpoint that it fails: ``(incident, endpoint, context, text)``.

        Workers call it in an app context, once for each incident and stage, and again when it raises. Written as
        ``@webhooks.notify`` or ``@webhooks.notify(locale=…)``.

        :param locale: ``(endpoint) -> str | None``, the language of the text; by default the application's own.
        """

        def register(given: Callable[..., Any]) -> Callable[..., Any]:
            self.hooks.notify, self.hooks.notify_locale = given, locale
            return given

        return register if function is None else register(function)

    def tenant_name(self, function: Callable[[str], str]) -> Callable[[str], str]:
        """Register how a tenant is called for people: ``(tenant) -> str``. Until then by its id."""
        self.hooks.tenant_name = function
        return function

    def tenant_exists(self, function: Callable[[str], bool]) -> Callable[[str], bool]:
        """Register whether there is a tenant: ``(tenant) -> bool``.

        Filters, the API, commands and new endpoints then say that there is none, instead of finding nothing.
        """
        self.hooks.tenant_exists = function
        return function


def _api() -> ModuleType:
    """The package `api`, whose pydantic is an extra.

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


# Once for the process, not for each application: receivers find the application when a signal comes.
signal_receivers.connect_builtin()
