"""Every configuration key: its meaning, default and check.

A field ``retry_schedule`` of :class:`Settings` is read from ``app.config["WEBHOOKS_RETRY_SCHEDULE"]``.

Long, since each setting stands here with its check.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import redis

from .errors import ConfigurationError
from .security.addresses import NetworkPolicy
from .security.egress import EgressProxy
from .security.vault import Vault
from .wakeup.redis_client import SENTINEL_OPTIONS, names_sentinels, without_sentinels

#: Seconds that a lease is longer than any request under it.
LEASE_RESERVE = 5.0
PREFIX = "WEBHOOKS_"

MINUTE = 60.0
HOUR = 60 * MINUTE
DAY = 24 * HOUR


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """The checked settings of one application. Times are in seconds, sizes in bytes."""

    #: The Redis that `rq worker` listens on. Falls back to ``REDIS_URL``, then to localhost.
    redis_url: str = dataclasses.field(default="redis://localhost:6379/0", repr=False)
    #: The RQ queue that wake-ups go to.
    queue: str = "webhooks"
    #: Where the admin pages are mounted. ``None`` mounts nothing.
    url_prefix: str | None = "/webhooks"
    #: Where the pages are mounted for people who open a portal link. ``None`` disables portal links.
    portal_prefix: str | None = None
    #: Origins that may embed these pages in a frame, such as ``https://app.example.com``. The session cookie is
    #: then set for use in frames.
    portal_frame_ancestors: tuple[str, ...] = ()
    #: The subdomain that serves the admin pages, with ``Flask(…, subdomain_matching=True)``. ``None``: any.
    subdomain: str | None = None
    #: The Flask-SQLAlchemy bind of the tables. ``None`` is the default database.
    bind_key: str | None = None
    #: Private networks (CIDR) to which requests are allowed.
    allowed_networks: tuple[str, ...] = ()
    #: Networks (CIDR) to which requests are never sent, such as your own public addresses behind a router.
    denied_networks: tuple[str, ...] = ()
    #: Allowed ports, in addition to 80, 443 and all ports from 1024 up that do not belong to a well-known service.
    allowed_ports: tuple[int, ...] = ()
    #: The HTTP proxy for all requests, such as ``http://user:password@proxy:3128``. Names are resolved, and
    #: addresses checked, before the proxy is used. ``None``: connections are direct.
    egress_proxy: str | None = dataclasses.field(default=None, repr=False)
    #: Refuse ``http://`` URLs. On by default, except in debug and testing mode.
    require_https: bool = True
    #: Timeout of a whole request: DNS, connect, TLS, headers and body.
    timeout: float = 10.0
    #: Delays between attempts. The number of attempts is one more than the number of delays.
    retry_schedule: tuple[float, ...] = (
        5.0,
        5 * MINUTE,
        30 * MINUTE,
        2 * HOUR,
        5 * HOUR,
        10 * HOUR,
        14 * HOUR,
        20 * HOUR,
        24 * HOUR,
    )
    #: Each delay is randomly lengthened or shortened by up to this share.
    retry_jitter: float = 0.2
    #: The longest ``Retry-After`` that is honoured.
    max_retry_after: float = DAY
    #: Maximum number of endpoints per tenant. Endpoints of the whole server are not limited. ``None``: no limit.
    max_endpoints: int | None = 5
    #: Maximum number of API tokens per tenant, and of tokens for the whole server. ``None``: no limit.
    max_tokens: int | None = 20
    #: Maximum number of tests, resends and bulk tasks per tenant and hour. People who can see every tenant are not
    #: limited. ``None``: no limit.
    max_sends_per_hour: int | None = 120
    #: Maximum size of the event data that these tests and resends send, and so store, per tenant and day.
    #: ``None``: no limit.
    max_send_bytes_per_day: int | None = 10 * 1024 * 1024
    #: Deliveries that bulk tasks of one tenant may resend in 24 hours before new tasks are refused. ``None``: no
    #: limit.
    max_bulk_sends_per_day: int | None = 100_000
    #: Send only signed challenges to a new or changed URL until its receiver has echoed one. Does not apply to
    #: chats.
    verify_endpoints: bool = False
    #: Format of a new endpoint whose format cannot be detected from its URL.
    default_format: str = "standard"
    #: Event types that forms, the API and commands offer, as names and patterns such as ``license.*``. Other types
    #: are still sent to endpoints that receive all events or are already subscribed to them. ``None``: all.
    event_types: tuple[str, ...] | None = None
    #: Names of the formats that forms, the API and commands offer. Existing endpoints keep their format. ``None``:
    #: all.
    formats: tuple[str, ...] | None = None
    #: Store events that no endpoint subscribes to.
    keep_unmatched: bool = False
    #: What to do if the data of an event does not match the JSON Schema of its type: ``"raise"`` an error,
    #: ``"log"`` it once for each type and error, or ``None`` for nothing. In debug and testing mode the default is
    #: ``"raise"``.
    validate_data: str | None = "log"
    #: Maximum size of event data, as compact JSON.
    max_data_bytes: int = 256 * 1024
    #: How much of a response body is read and stored.
    max_response_bytes: int = 16 * 1024
    #: Treat a 2xx response with incomplete headers or body as a failure, and retry. Otherwise the status alone
    #: counts.
    require_whole_answer: bool = False
    #: Events, deliveries and attempts are removed after this many days.
    retention_days: int = 30
    #: The same for events without failed or held deliveries. ``None``: the value of ``WEBHOOKS_RETENTION_DAYS``.
    retention_succeeded_days: int | None = None
    #: The same for events with failed or held deliveries. ``None``: the value of ``WEBHOOKS_RETENTION_DAYS``.
    retention_failed_days: int | None = None
    #: Request bodies are removed this many days after their attempts, which are kept. ``None``: with the attempt.
    retention_request_body_days: int | None = None
    #: Response bodies are removed this many days after their attempts, which are kept. ``None``: with the attempt.
    retention_response_body_days: int | None = None
    #: Attempts that are recorded with request and response bodies: ``"all"``, ``"failed"`` or ``"none"``.
    store_bodies: str = "all"
    #: Entries of the audit log are removed after this many days.
    audit_retention_days: int = 365
    #: Maximum number of consecutive webhooks, each of which causes the next; then `emit` breaks the loop.
    max_hops: int = 3
    #: Send the ``traceparent`` of the span that emitted the event, so that receivers can join the trace.
    send_traceparent: bool = False
    #: Maximum number of programs that wait for events with ``GET /events?after=…&wait=30`` in one process of a web
    #: server with threads: each of them occupies a thread. One tenant may use a quarter of them, but at least two.
    #: 0: no request waits.
    max_waiting_pulls: int = 2
    #: Encrypt the bodies of attempts in the database with the newest key.
    encrypt_bodies: bool = False
    #: Fernet keys, newest first. Empty: derived from ``SECRET_KEY`` and ``SECRET_KEY_FALLBACKS``.
    encryption_keys: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    #: Product name in the User-Agent, in test events and on pages.
    product_name: str = "Flask-Webhooks"
    #: Template that the pages extend, to show them in the host's layout. ``None``: the built-in layout.
    base_template: str | None = None
    #: The block of that template that the pages fill.
    base_block: str = "content"
    #: Requests that one worker keeps in flight.
    concurrency: int = 256
    #: Requests in flight to one endpoint, across all workers.
    endpoint_concurrency: int = 16
    #: How long a worker owns a delivery that it has claimed. Must exceed the timeout.
    lease: float = 60.0
    #: How long a drain waits for more deliveries under a plain ``rq worker``. Under our Worker it waits until
    #: another job is queued.
    linger: float = 2.0
    #: How long one drain runs before a new one takes over.
    drain_time: float = 300.0
    #: How often our Worker looks for work whose wake-up was lost.
    sweep_interval: float = 5.0
    #: The maximum time that `emit` waits for Redis in total.
    wake_timeout: float = 0.25
    #: How long wake-ups are skipped after Redis has failed to respond.
    wake_pause: float = 5.0
    #: Consecutive interrupted requests (worker killed) after which a delivery fails.
    max_interruptions: int = 5
    #: Consecutive failures after which an endpoint counts as failing and gets one probe at a time.
    failing_after: int = 5
    #: The first pause between probes; it doubles each time.
    probe_interval: float = MINUTE
    #: The longest pause between probes.
    max_probe_interval: float = HOUR
    #: An endpoint that fails for this long is disabled.
    disable_after: float = 5 * DAY
    #: Minimum time between two of its failures before a failing endpoint is disabled.
    disable_evidence: float = 12 * HOUR
    #: Maximum duration of one database statement for a page, the API or a command.
    query_timeout: float = 10.0
    #: How long a delivery may be overdue, with nothing sent to its endpoint meanwhile, before ``/healthz``
    #: responds with 503 and ``flask webhooks health`` fails. ``None``: not checked.
    health_overdue: float | None = 300.0
    #: Distinguishes hosts that share a Redis. Derived from ``SECRET_KEY`` and the name of the database.
    installation: str = ""

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], *, debug: bool = False, testing: bool = False
    ) -> Settings:
        """Read and check the ``WEBHOOKS_*`` keys of an application's configuration.

        :raises ConfigurationError: a value is not usable, or a key is misspelt; says what to write.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        _check_spelling(config, set(fields))
        developing = debug or testing
        values: dict[str, Any] = {
            "require_https": not developing,
            "validate_data": "raise" if developing else "log",
        }
        for name in fields:
            key = PREFIX + name.upper()
            if name == "redis_url" and config.get(key) is None and config.get("REDIS_URL"):
                key = "REDIS_URL"
            if key in config and not (config[key] is None and name not in _NULLABLE):
                values[name] = _CHECKS[name](key, config[key])
        settings = cls(**values)
        settings._check_together()
        if not settings.installation:
            settings = dataclasses.replace(settings, installation=_installation(config, settings))
        return settings

    def _check_together(self) -> None:
        if self.lease < self.timeout + LEASE_RESERVE:
            raise ConfigurationError(
                f"WEBHOOKS_LEASE is {self.lease:g} s, but a request may take WEBHOOKS_TIMEOUT = "
                f"{self.timeout:g} s: set WEBHOOKS_LEASE to at least {self.timeout + LEASE_RESERVE:g}."
            )
        if self.endpoint_concurrency > self.concurrency:
            raise ConfigurationError(
                f"WEBHOOKS_ENDPOINT_CONCURRENCY ({self.endpoint_concurrency}) must not exceed "
                f"WEBHOOKS_CONCURRENCY ({self.concurrency})."
            )
        if self.probe_interval > self.max_probe_interval:
            raise ConfigurationError(
                f"WEBHOOKS_PROBE_INTERVAL ({self.probe_interval:g} s) must not exceed "
                f"WEBHOOKS_MAX_PROBE_INTERVAL ({self.max_probe_interval:g} s)."
            )
        if self.portal_prefix is not None and self.portal_prefix == self.url_prefix:
            raise ConfigurationError(
                f"WEBHOOKS_PORTAL_PREFIX and WEBHOOKS_URL_PREFIX are both {self.url_prefix!r}: the portal needs a path "
                "of its own."
            )
        self.network_policy()

    def network_policy(self) -> NetworkPolicy:
        """Which addresses and ports may be reached."""
        return NetworkPolicy.from_config(
            self.allowed_networks, self.denied_networks, self.allowed_ports
        )

    def proxy(self) -> EgressProxy | None:
        """The proxy through which requests leave."""
        return None if self.egress_proxy is None else EgressProxy.from_url(self.egress_proxy)

    def vault(self, config: Mapping[str, Any]) -> Vault:
        """The keys for encryption at rest.

        :raises ConfigurationError: there is neither ``SECRET_KEY`` nor ``WEBHOOKS_ENCRYPTION_KEYS``.
        """
        secret_keys = [config.get("SECRET_KEY"), *(config.get("SECRET_KEY_FALLBACKS") or ())]
        return Vault.from_config(self.encryption_keys, [key for key in secret_keys if key])


def _check_spelling(config: Mapping[str, Any], known: set[str]) -> None:
    names = {PREFIX + name.upper() for name in known}
    for key in config:
        if isinstance(key, str) and key.startswith(PREFIX) and key not in names:
            close = difflib.get_close_matches(key, names, n=1, cutoff=0.8)
            if close:
                raise ConfigurationError(f"There is no setting {key}. Did you mean {close[0]}?")


def _installation(config: Mapping[str, Any], settings: Settings) -> str:
    secret = config.get("SECRET_KEY") or (settings.encryption_keys or ("",))[0]
    material = secret if isinstance(secret, bytes) else str(secret).encode()
    binds = config.get("SQLALCHEMY_BINDS") or {}
    database = (
        config.get("SQLALCHEMY_DATABASE_URI")
        if settings.bind_key is None
        else binds.get(settings.bind_key)
    )
    if isinstance(database, Mapping):
        database = database.get("url")
    # Web and worker may name the server differently; the database's own name is the same for both.
    name = str(database or "").rsplit("/", 1)[-1].split("?", 1)[0]
    return hashlib.sha256(b"flask-webhooks installation\0" + material + name.encode()).hexdigest()[
        :12
    ]


SettingCheck = Callable[[str, Any], Any]


def _boolean(key: str, value: Any) -> bool:
    # Environment variables bring text; any other word could mean either.
    if isinstance(value, str) and value.strip().lower() in {"true", "false"}:
        return value.strip().lower() == "true"
    if not isinstance(value, bool):
        raise ConfigurationError(
            f"{key} must be True or False, not {value!r}. In an environment variable write true or false."
        )
    return value


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ConfigurationError(f"{key} must be a non-empty string, not {value!r}.")
    return value.strip()


def _nullable(check: SettingCheck) -> SettingCheck:
    return lambda key, value: None if value is None else check(key, value)


def _texts(key: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
        raise ConfigurationError(f"{key} must be a list, such as [{value!r}], not {value!r}.")
    return tuple(item.decode() if isinstance(item, bytes) else str(item) for item in value)


def _ports(key: str, value: Any) -> tuple[int, ...]:
    if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
        raise ConfigurationError(
            f"{key} must be a list of ports, such as [25, 8500], not {value!r}."
        )
    check = _whole(1, 65535)
    return tuple(check(f"{key}[{position}]", port) for position, port in enumerate(value))


def _whole(low: int, high: int) -> SettingCheck:
    def check(key: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ConfigurationError(
                f"{key} must be a whole number from {low} to {high}, not {value!r}."
            )
        return value

    return check


def _number(low: float, high: float, what: str = "number of seconds") -> SettingCheck:
    def check(key: str, value: Any) -> float:
        # Chained comparison also refuses NaN.
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not low <= value <= high
        ):
            raise ConfigurationError(
                f"{key} must be a {what} from {low:,g} to {high:,.10g}, not {value!r}."
            )
        return float(value)

    return check


def _schedule(key: str, value: Any) -> tuple[float, ...]:
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        raise ConfigurationError(
            f"{key} must be a list of seconds, such as [5, 300, 1800], not {value!r}."
        )
    check = _number(0, 30 * DAY)
    delays = tuple(check(f"{key}[{position}]", delay) for position, delay in enumerate(value))
    if len(delays) > 50:
        raise ConfigurationError(f"{key} has {len(delays)} delays; write at most 50.")
    return delays


def _url_prefix(key: str, value: Any) -> str:
    prefix = _text(key, value)
    if not prefix.startswith("/") or len(prefix) < 2 or prefix.endswith("/"):
        raise ConfigurationError(
            f"{key} must start with a slash and not end with one, such as '/webhooks', not {value!r}."
        )
    return prefix


def _origins(key: str, value: Any) -> tuple[str, ...]:
    origins = _texts(key, value)
    for origin in origins:
        # They stand in a header, where a semicolon would begin something else.
        if not re.fullmatch(r"https?://(\*\.)?[A-Za-z0-9.-]+(:\d{1,5})?", origin):
            raise ConfigurationError(
                f"{key} must be a list of origins, such as ['https://app.example.com'], without a path; not {origin!r}."
            )
    return origins


def _subdomain(key: str, value: Any) -> str:
    subdomain = _text(key, value).lower()
    if not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)*", subdomain):
        raise ConfigurationError(
            f"{key} must be a subdomain, such as 'webhooks' for webhooks.example.com, not {value!r}."
        )
    return subdomain


def _block(key: str, value: Any) -> str:
    block = _text(key, value)
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", block):
        raise ConfigurationError(
            f"{key} must be the name of a block, such as 'content' for {{% block content %}}, not {value!r}."
        )
    if block == "title" or block.startswith("wh_"):
        raise ConfigurationError(
            f"{key} must be another block: {block!r} is reserved for the pages."
        )
    return block


#: Options in the URL of Redis that we set ourselves: those in the URL are for other clients of the host.
_OWN_REDIS_OPTIONS = {
    "decode_responses",
    "encoding",
    "encoding_errors",
    "health_check_interval",
    "legacy_responses",
    "max_connections",
    "retry_on_error",
    "retry_on_timeout",
    "socket_connect_timeout",
    "socket_read_size",
    "socket_timeout",
}
#: Options that say how to reach it; those that begin with ``ssl_`` belong to them.
_REDIS_OPTIONS = {"client_name", "db", "password", "protocol", "socket_keepalive", "username"}


def _redis_url(key: str, value: Any) -> str:
    instead = " If REDIS_URL has to stay, set WEBHOOKS_REDIS_URL." if key == "REDIS_URL" else ""
    try:
        redis.ConnectionPool.from_url(without_sentinels(value))
        options = parse_qsl(urlsplit(value).query)
    except (ValueError, TypeError, AttributeError):
        # The value may hold a password, and so may what was raised.
        raise ConfigurationError(
            f"{key} must be a URL such as 'redis://localhost:6379/0' (or rediss://, unix://, "
            "redis+sentinel://host:port,host:port/service/0), with the special characters of a password "
            f"percent-encoded.{instead}"
        ) from None
    known = _OWN_REDIS_OPTIONS | _REDIS_OPTIONS
    if names_sentinels(value):
        known |= SENTINEL_OPTIONS
    for name, _ in options:
        if name not in known and not name.startswith("ssl_"):
            raise ConfigurationError(
                f"{key} has the option {name!r}, which cannot be set there: remove it. Options are "
                f"{', '.join(sorted(_REDIS_OPTIONS))} and those that begin with ssl_.{instead}"
            )
    kept = [(name, text) for name, text in options if name not in _OWN_REDIS_OPTIONS]
    url = str(value)
    if kept != options:
        url = url.partition("?")[0] + ("?" + urlencode(kept) if kept else "")
    _make_connection(key, url, [name for name, _ in kept], instead)
    return url


def _make_connection(key: str, url: str, options: list[str], instead: str) -> None:
    """Make a connection, without connecting: only then redis-py looks at most of the options."""
    try:
        redis.ConnectionPool.from_url(without_sentinels(url)).make_connection()
    except Exception as error:
        named = [name for name in options if name in str(error)] or [
            name for name in options if name != "password"
        ]
        hint = (
            " Options that begin with ssl_ need rediss://."
            if isinstance(error, TypeError) and any(name.startswith("ssl_") for name in named)
            else ""
        )
        raise ConfigurationError(
            f"{key} has an option that cannot be used ({', '.join(named)}): correct it, or remove it.{hint}{instead}"
        ) from None


def _egress_proxy(key: str, value: Any) -> str:
    try:
        if not isinstance(value, str):
            raise ValueError("it is no text")
        EgressProxy.from_url(value.strip())
    except ValueError as error:
        # The value may hold a password.
        raise ConfigurationError(
            f"{key} must be a URL such as 'http://user:password@proxy:3128', with the special characters of a "
            f"password percent-encoded, or None: {error}."
        ) from None
    return value.strip()


def _keys(key: str, value: Any) -> tuple[str, ...]:
    try:
        return _texts(key, value)
    except (ConfigurationError, UnicodeDecodeError):
        raise ConfigurationError(f"{key} must be a list of Fernet keys, newest first.") from None


def _format(key: str, value: Any) -> str:
    return _text(key, value).lower()


def _validation(key: str, value: Any) -> str:
    if value not in ("raise", "log"):
        raise ConfigurationError(f'{key} must be "raise", "log" or None, not {value!r}.')
    return str(value)


def _stored_bodies(key: str, value: Any) -> str:
    if value not in ("all", "failed", "none"):
        raise ConfigurationError(f'{key} must be "all", "failed" or "none", not {value!r}.')
    return str(value)


def _choice(key: str, value: Any) -> tuple[str, ...]:
    names = tuple(name.strip() for name in _texts(key, value))
    if not names:
        raise ConfigurationError(
            f"{key} is an empty list: name at least one, or write None for all."
        )
    return names


_NULLABLE = {
    "event_types",
    "formats",
    "egress_proxy",
    "url_prefix",
    "portal_prefix",
    "subdomain",
    "bind_key",
    "base_template",
    "max_endpoints",
    "max_tokens",
    "validate_data",
    "retention_succeeded_days",
    "retention_failed_days",
    "retention_request_body_days",
    "retention_response_body_days",
    "max_sends_per_hour",
    "max_send_bytes_per_day",
    "max_bulk_sends_per_day",
    "health_overdue",
}

_CHECKS: dict[str, SettingCheck] = {
    "redis_url": _redis_url,
    "queue": _text,
    "url_prefix": _nullable(_url_prefix),
    "portal_prefix": _nullable(_url_prefix),
    "portal_frame_ancestors": _origins,
    "subdomain": _nullable(_subdomain),
    "bind_key": _nullable(_text),
    "allowed_networks": _texts,
    "denied_networks": _texts,
    "allowed_ports": _ports,
    "egress_proxy": _nullable(_egress_proxy),
    "require_https": _boolean,
    "timeout": _number(0.1, 120),
    "retry_schedule": _schedule,
    "retry_jitter": _number(0, 0.9, "share"),
    "max_retry_after": _number(0, 30 * DAY),
    "max_endpoints": _nullable(_whole(1, 1_000_000)),
    "max_tokens": _nullable(_whole(1, 1_000_000)),
    "max_sends_per_hour": _nullable(_whole(1, 1_000_000)),
    "max_send_bytes_per_day": _nullable(_whole(1024, 1_000_000_000)),
    "max_bulk_sends_per_day": _nullable(_whole(1, 1_000_000_000)),
    "verify_endpoints": _boolean,
    "default_format": _format,
    "event_types": _nullable(_choice),
    "formats": _nullable(_choice),
    "keep_unmatched": _boolean,
    "validate_data": _nullable(_validation),
    "max_data_bytes": _whole(1024, 8 * 1024 * 1024),
    "require_whole_answer": _boolean,
    "max_response_bytes": _whole(0, 1024 * 1024),
    "retention_days": _whole(1, 36_500),
    "retention_succeeded_days": _nullable(_whole(1, 36_500)),
    "retention_failed_days": _nullable(_whole(1, 36_500)),
    "retention_request_body_days": _nullable(_whole(1, 36_500)),
    "retention_response_body_days": _nullable(_whole(1, 36_500)),
    "store_bodies": _stored_bodies,
    "audit_retention_days": _whole(1, 36_500),
    "max_hops": _whole(1, 100),
    "send_traceparent": _boolean,
    "max_waiting_pulls": _whole(0, 10_000),
    "encrypt_bodies": _boolean,
    "encryption_keys": _keys,
    "product_name": _text,
    "base_template": _nullable(_text),
    "base_block": _block,
    "concurrency": _whole(1, 4096),
    "endpoint_concurrency": _whole(1, 4096),
    "lease": _number(1, HOUR),
    "linger": _number(0, HOUR),
    "drain_time": _number(1, DAY),
    "sweep_interval": _number(0.1, HOUR),
    "wake_timeout": _number(0.01, 5),
    "wake_pause": _number(0.1, HOUR),
    "max_interruptions": _whole(1, 1000),
    "failing_after": _whole(1, 1_000_000),
    "probe_interval": _number(0.1, DAY),
    "max_probe_interval": _number(0.1, 30 * DAY),
    "disable_after": _number(1, 365 * DAY),
    "disable_evidence": _number(0, 365 * DAY),
    "query_timeout": _number(0.1, HOUR),
    "health_overdue": _nullable(_number(1, 30 * DAY)),
    "installation": _text,
}
