"""Settings: each is documented and checked, and what a check says tells what to write instead."""

from __future__ import annotations

import base64
import dataclasses
import inspect
import math
import re
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_webhooks import Webhooks, config
from flask_webhooks.config import PREFIX, Settings
from flask_webhooks.errors import ConfigurationError

FIELDS = {field.name: field for field in dataclasses.fields(Settings)}
KEY = {name: PREFIX + name.upper() for name in FIELDS}

#: The ``#:`` lines above each field.
COMMENTS = {
    name: " ".join(line.strip().removeprefix("#:").strip() for line in lines.splitlines())
    for lines, name in re.findall(
        r"((?:^    #:.*\n)+)    (\w+): ", inspect.getsource(Settings), flags=re.MULTILINE
    )
}


def read(**values: Any) -> Settings:
    """The settings of an application that sets these, without their prefix."""
    return Settings.from_config({KEY[name]: value for name, value in values.items()})


def complaint(**values: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(**values)
    return str(caught.value)


# -- documented, checked, with defaults -----------------------------------------------------------------


@pytest.mark.parametrize("name", FIELDS)
def test_setting_is_documented(name: str) -> None:
    assert COMMENTS[name].endswith((".", "``"))
    assert len(COMMENTS[name]) > 20


@pytest.mark.parametrize("name", FIELDS)
def test_setting_is_checked(name: str) -> None:
    """Nothing takes any value that there is."""
    message = complaint(**{name: object()})
    assert message.startswith(KEY[name])


@pytest.mark.parametrize("name", FIELDS)
def test_default_is_what_the_check_would_take(name: str) -> None:
    default = getattr(Settings(), name)
    if name == "installation":
        return
    assert getattr(read(**{name: default}), name) == default


NULLABLE = {
    "egress_proxy",
    "event_types",
    "formats",
    "url_prefix",
    "subdomain",
    "bind_key",
    "base_template",
    "max_endpoints",
    "max_tokens",
    "max_sends_per_hour",
    "max_send_bytes_per_day",
    "max_bulk_sends_per_day",
    "validate_data",
    "health_overdue",
}


@pytest.mark.parametrize("name", FIELDS)
def test_none_is_the_default_or_a_value_of_its_own(name: str) -> None:
    found = getattr(read(**{name: None}), name)
    if name in NULLABLE:
        assert found is None
        assert "None" in COMMENTS[name]
    else:
        assert found == getattr(read(), name)


@pytest.mark.parametrize("mode", [{"debug": True}, {"testing": True}])
def test_development_is_strict_with_data_and_lenient_with_https(mode: dict[str, bool]) -> None:
    assert (read().validate_data, read().require_https) == ("log", True)
    developing = Settings.from_config({}, **mode)
    assert (developing.validate_data, developing.require_https) == ("raise", False)
    with pytest.raises(ConfigurationError, match='"raise", "log" or None'):
        read(validate_data=True)


def test_defaults_are_those_of_the_design() -> None:
    settings = read()
    minute, hour = 60, 3600
    assert settings.retry_schedule == (
        *(5, 5 * minute, 30 * minute),
        *(2 * hour, 5 * hour, 10 * hour, 14 * hour, 20 * hour, 24 * hour),
    )
    assert settings.retry_jitter == 0.2
    assert settings.timeout == 10
    assert settings.queue == "webhooks"
    assert settings.url_prefix == "/webhooks"
    assert settings.max_endpoints == 5
    assert settings.max_data_bytes == 256 * 1024
    assert settings.wake_timeout == 0.25
    assert settings.allowed_networks == ()
    assert settings.default_format == "standard"
    assert settings.keep_unmatched is False
    assert settings.disable_after == 5 * 24 * hour


# -- what is taken, and what is not -----------------------------------------------------------------------

#: The same in each test process, so that they collect the same tests.
FERNET = base64.urlsafe_b64encode(b"a fixed key, for tests only ....".ljust(32)).decode()

GOOD = [
    ("redis_url", "rediss://user:pass@redis.internal:6380/3", None),
    ("redis_url", "unix:///run/redis.sock?db=1", None),
    ("redis_url", "redis+sentinel://u:p%40ss@s1:26379,s2,[::1]:1/main/3?sentinel_password=x", None),
    ("redis_url", "redis+sentinel://s1/main", None),
    ("egress_proxy", " http://us%20er:p%40ss@proxy:3128 ", "http://us%20er:p%40ss@proxy:3128"),
    ("egress_proxy", "http://[fd00::1]:3128/", None),
    ("queue", " other ", "other"),
    ("url_prefix", "/admin/webhooks", None),
    ("url_prefix", None, None),
    ("subdomain", "Hooks.staff", "hooks.staff"),
    ("bind_key", "second", None),
    ("allowed_networks", ["10.0.0.0/8", "fd00::/8"], ("10.0.0.0/8", "fd00::/8")),
    ("require_https", False, None),
    ("require_https", "False", False),
    ("keep_unmatched", " TRUE ", True),
    ("timeout", 3, 3.0),
    ("retry_schedule", [1, 2.5], (1.0, 2.5)),
    ("retry_schedule", (), ()),
    ("retry_jitter", 0, 0.0),
    ("max_endpoints", 1, None),
    ("max_tokens", 1, None),
    ("max_sends_per_hour", 1, None),
    ("max_send_bytes_per_day", 1024, None),
    ("max_hops", 1, None),
    ("audit_retention_days", 1, None),
    ("retention_failed_days", None, None),
    ("retention_response_body_days", 7, None),
    ("store_bodies", "none", None),
    ("default_format", "Discord", "discord"),
    ("encryption_keys", [FERNET, FERNET.encode()], (FERNET, FERNET)),
    ("product_name", "Keymaster 3000", None),
    ("wake_timeout", 0.05, None),
    ("installation", "shop-1", None),
]

#: Name, value, and what the message says.
BAD = [
    ("retention_succeeded_days", 0, "whole number from 1 to 36500"),
    ("retention_request_body_days", "7", "whole number from 1 to 36500"),
    ("store_bodies", "some", '"all", "failed" or "none"'),
    ("store_bodies", True, '"all", "failed" or "none"'),
    ("redis_url", "localhost:6379", "redis://localhost:6379/0"),
    ("redis_url", "http://localhost:6379", "redis://localhost:6379/0"),
    ("redis_url", 6379, "redis://localhost:6379/0"),
    ("redis_url", "redis://:pass/word@localhost:6379/0", "percent-encoded"),
    ("redis_url", "redis://localhost:6379/0?socket_timeout=soon", "redis://localhost:6379/0"),
    ("redis_url", "redis+sentinel://s1:26379", "redis+sentinel://host:port,host:port/service/0"),
    ("redis_url", "redis+sentinel:///main/0", "redis+sentinel://host:port,host:port/service/0"),
    ("redis_url", "redis+sentinel://s1:port/main", "redis+sentinel://host:port"),
    ("redis_url", "redis+sentinel://s1/main?timeout=5", "has the option 'timeout'"),
    ("redis_url", "redis+sentinel://s1/main?ssl_certfile=x", "cannot be used (ssl_certfile)"),
    ("redis_url", "redis://localhost/0?sentinel_password=x", "has the option 'sentinel_password'"),
    ("redis_url", "redis://localhost/0?timeout=5", "has the option 'timeout'"),
    ("redis_url", "redis://localhost/0?retry=1", "has the option 'retry'"),
    ("redis_url", "redis://localhost/0?protocol=9", "cannot be used (protocol)"),
    ("redis_url", "redis://localhost/0?ssl_cert_reqs=none", "need rediss://"),
    ("redis_url", "rediss://localhost/0?ssl_cert_reqs=maybe", "cannot be used (ssl_cert_reqs)"),
    ("redis_url", "rediss://localhost/0?ssl_certs=x", "cannot be used (ssl_certs)"),
    ("egress_proxy", "", "'http://user:password@proxy:3128'"),
    ("egress_proxy", "socks5://proxy:1080", "only HTTP proxies"),
    ("egress_proxy", "https://proxy:3128", "only HTTP proxies"),
    ("egress_proxy", "proxy:3128", "only HTTP proxies"),
    ("egress_proxy", "http://proxy", "the port is missing"),
    ("egress_proxy", "http://proxy:99999", "its host or port cannot be read"),
    ("egress_proxy", "http://pr oxy:3128", "the host is missing or invalid"),
    ("egress_proxy", "http://u:pa/ss@proxy:3128", "percent-encoded"),
    ("egress_proxy", "http://proxy:3128/path", "nothing may follow the port"),
    ("egress_proxy", "http://u%3Aser:p@proxy:3128", "holds a colon"),
    ("egress_proxy", "http://u:p%0d%0a@proxy:3128", "a control character"),
    ("queue", "", "a non-empty string"),
    ("queue", "a\nb", "a non-empty string"),
    ("queue", 7, "a non-empty string, not 7"),
    ("url_prefix", "webhooks", "'/webhooks'"),
    ("url_prefix", "/", "'/webhooks'"),
    ("url_prefix", "/webhooks/", "not end with one"),
    ("subdomain", "https://hooks.example.com", "such as 'webhooks' for webhooks.example.com"),
    ("subdomain", ".hooks", "a subdomain"),
    ("subdomain", "*", "a subdomain"),
    ("bind_key", "", "a non-empty string"),
    ("allowed_networks", "10.0.0.0/8", "['10.0.0.0/8']"),
    ("allowed_networks", 10, "must be a list"),
    ("allowed_networks", ["10.0.0.0/8", "all"], "all"),
    ("require_https", "no", "True or False, not 'no'"),
    ("require_https", 0, "True or False, not 0"),
    ("keep_unmatched", "1", "In an environment variable write true or false."),
    ("keep_unmatched", "", "In an environment variable write true or false."),
    ("timeout", 0, "from 0.1 to 120"),
    ("timeout", "10", "a number of seconds from 0.1 to 120, not '10'"),
    ("timeout", True, "a number of seconds"),
    ("timeout", math.nan, "a number of seconds"),
    ("timeout", math.inf, "a number of seconds"),
    ("retry_schedule", 5, "a list of seconds, such as [5, 300, 1800]"),
    ("retry_schedule", "5,300", "a list of seconds"),
    ("retry_schedule", [5, -1], "WEBHOOKS_RETRY_SCHEDULE[1] must be a number of seconds"),
    ("retry_schedule", [5, "300"], "WEBHOOKS_RETRY_SCHEDULE[1]"),
    ("retry_schedule", [1] * 51, "has 51 delays; write at most 50"),
    ("retry_jitter", 1, "a share from 0 to 0.9"),
    ("max_endpoints", 0, "a whole number from 1"),
    ("max_sends_per_hour", 0, "a whole number from 1"),
    ("max_hops", 0, "a whole number from 1"),
    ("max_endpoints", 2.5, "a whole number from 1"),
    ("max_endpoints", True, "a whole number from 1"),
    ("default_format", 7, "a non-empty string"),
    ("max_data_bytes", 10, "a whole number from 1024"),
    ("encryption_keys", FERNET, "a list of Fernet keys"),
    ("encryption_keys", [b"\xff"], "a list of Fernet keys"),
    ("product_name", "  ", "a non-empty string"),
    ("concurrency", 0, "a whole number from 1 to 4096"),
    ("lease", 0, "a number of seconds"),
    ("wake_timeout", 60, "from 0.01 to 5"),
    ("wake_pause", 0, "from 0.1"),
    ("sweep_interval", 0, "from 0.1"),
]


@pytest.mark.parametrize(("name", "value", "read_as"), GOOD, ids=str)
def test_good_value_is_taken(name: str, value: Any, read_as: Any) -> None:
    assert getattr(read(**{name: value}), name) == (value if read_as is None else read_as)


@pytest.mark.parametrize(("name", "value", "says"), BAD, ids=str)
def test_bad_value_is_refused_with_what_to_write(name: str, value: Any, says: str) -> None:
    message = complaint(**{name: value})
    assert message.startswith(KEY[name])
    assert says in message
    assert message.endswith(".")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"timeout": 30, "lease": 34}, "set WEBHOOKS_LEASE to at least 35"),
        ({"concurrency": 4, "endpoint_concurrency": 5}, "must not exceed WEBHOOKS_CONCURRENCY (4)"),
        (
            {"probe_interval": 100, "max_probe_interval": 99},
            "must not exceed WEBHOOKS_MAX_PROBE_INTERVAL (99 s)",
        ),
    ],
    ids=str,
)
def test_settings_that_contradict_each_other(values: dict[str, Any], says: str) -> None:
    assert says in complaint(**values)


def test_settings_at_the_edge_of_each_other() -> None:
    read(timeout=30, lease=35)
    read(concurrency=4, endpoint_concurrency=4)
    read(probe_interval=99, max_probe_interval=99)


# -- spelling -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("WEBHOOKS_TIMOUT", "WEBHOOKS_TIMEOUT"),
        ("WEBHOOKS_RETRY_SHEDULE", "WEBHOOKS_RETRY_SCHEDULE"),
        ("WEBHOOKS_ALLOWED_NETWORK", "WEBHOOKS_ALLOWED_NETWORKS"),
        ("WEBHOOKS_ENCRYPTION_KEY", "WEBHOOKS_ENCRYPTION_KEYS"),
        ("WEBHOOKS_MAX_ENDPOINT", "WEBHOOKS_MAX_ENDPOINTS"),
    ],
)
def test_misspelt_setting_is_an_error_that_names_the_right_one(wrong: str, right: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_config({wrong: 1})
    assert str(caught.value) == f"There is no setting {wrong}. Did you mean {right}?"


@pytest.mark.parametrize("key", ["WEBHOOKS_INBOX", "WEBHOOKS_STRIPE_SECRET", "WEBHOOK_TIMEOUT", 7])
def test_settings_of_the_host_that_only_look_alike_are_left_alone(key: Any) -> None:
    Settings.from_config({key: "anything"})


# -- where a default comes from -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("debug", "testing", "required"),
    [(False, False, True), (True, False, False), (False, True, False)],
)
def test_https_is_required_unless_in_debug_or_testing_mode(
    debug: bool, testing: bool, required: bool
) -> None:
    assert Settings.from_config({}, debug=debug, testing=testing).require_https is required
    explicit = Settings.from_config({"WEBHOOKS_REQUIRE_HTTPS": True}, debug=True)
    assert explicit.require_https is True


@pytest.mark.parametrize(
    "options",
    ["decode_responses=True", "decode_responses=False", "max_connections=1", "encoding=utf-16"],
)
def test_options_of_the_redis_url_that_we_rely_on_are_our_own(options: str) -> None:
    """A host may write them for its other clients."""
    url = f"redis://:p%40ss@localhost:6379/0?client_name=shop&{options}"
    assert read(redis_url=url).redis_url == "redis://:p%40ss@localhost:6379/0?client_name=shop"
    url = f"unix:///run/redis.sock?{options}&db=1"
    assert read(redis_url=url).redis_url == "unix:///run/redis.sock?db=1"


def test_redis_url_falls_back_to_that_of_the_host() -> None:
    def url(**values: Any) -> str:
        return Settings.from_config(values).redis_url

    ours, hosts = "redis://ours:6379/0", "redis://hosts:6379/0"
    assert url() == "redis://localhost:6379/0"
    assert url(REDIS_URL=hosts) == hosts
    assert url(REDIS_URL=hosts, WEBHOOKS_REDIS_URL=None) == hosts
    assert url(REDIS_URL="", WEBHOOKS_REDIS_URL=None) == "redis://localhost:6379/0"
    assert url(REDIS_URL="bad", WEBHOOKS_REDIS_URL=ours) == ours
    with pytest.raises(
        ConfigurationError, match=r"^REDIS_URL must be .* set WEBHOOKS_REDIS_URL\.$"
    ):
        url(REDIS_URL="bad")


# -- secrets are not shown ----------------------------------------------------------------------------------------


def test_settings_do_not_show_their_secrets() -> None:
    settings = read(redis_url="redis://:pass-word@localhost:6379/0", encryption_keys=[FERNET])
    assert "pass-word" not in repr(settings)
    assert FERNET not in repr(settings)
    assert "timeout=10.0" in repr(settings)
    proxied = read(egress_proxy="http://us-er:pass-word@proxy:3128")
    assert "pass-word" not in f"{proxied!r} {proxied.proxy()!r}"


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("redis_url", "redis://:pass/word@localhost:6379/0", "pass"),
        ("redis_url", "redis://:password@localhost:port/0", "password"),
        ("egress_proxy", "http://user:s3cr3t/4@proxy:3128", "s3cr3t"),
        ("egress_proxy", "http://user:s3cr3t@proxy:port", "s3cr3t"),
        ("egress_proxy", b"http://user:s3cr3t@proxy:3128", "s3cr3t"),
        ("encryption_keys", FERNET, FERNET),
        ("encryption_keys", 12345, "12345"),
    ],
    ids=str,
)
def test_refusal_does_not_show_secrets(name: str, value: Any, secret: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(**{name: value})
    assert secret not in str(caught.value).replace("password percent", "")
    # Nor does the traceback, of what it came from.
    assert caught.value.__suppress_context__


# -- the installation ---------------------------------------------------------------------------------------------


def installation(**values: Any) -> str:
    return Settings.from_config(
        {"SECRET_KEY": "s", "SQLALCHEMY_DATABASE_URI": "postgresql://web@db/shop", **values}
    ).installation


def test_installation_is_the_same_for_web_and_worker() -> None:
    """They may reach the same database under other names, users and options."""
    one = installation()
    assert re.fullmatch(r"[0-9a-f]{12}", one)
    for url in (
        "postgresql://web@db/shop",
        "postgresql+psycopg://worker:secret@10.0.0.1:5432/shop?sslmode=require",
        "postgresql://web:a/b@db/shop",
    ):
        assert installation(SQLALCHEMY_DATABASE_URI=url) == one
    assert installation(SECRET_KEY=b"s") == one


def test_installation_differs_by_key_and_by_database() -> None:
    assert (
        len(
            {
                installation(),
                installation(SECRET_KEY="other"),
                installation(SQLALCHEMY_DATABASE_URI="postgresql://web@db/other"),
                installation(SECRET_KEY=None, WEBHOOKS_ENCRYPTION_KEYS=[FERNET]),
            }
        )
        == 4
    )


def test_installation_goes_by_the_database_that_holds_the_tables() -> None:
    binds: dict[str, Any] = {"hooks": "postgresql://web@db/hooks"}
    plain = installation(SQLALCHEMY_DATABASE_URI="postgresql://web@db/hooks")
    bound = installation(SQLALCHEMY_BINDS=binds, WEBHOOKS_BIND_KEY="hooks")
    options = installation(
        SQLALCHEMY_BINDS={"hooks": {"url": binds["hooks"], "echo": False}},
        WEBHOOKS_BIND_KEY="hooks",
    )
    assert plain == bound == options != installation()


def test_installation_may_be_named() -> None:
    assert installation(WEBHOOKS_INSTALLATION="shop") == "shop"


def test_module_defines_a_check_for_every_field_and_no_other() -> None:
    assert set(config._CHECKS) == set(FIELDS)
    assert set(FIELDS) >= config._NULLABLE


@pytest.mark.parametrize(
    ("values", "warned"),
    [
        ({}, True),
        ({"SECRET_KEY": "for tests only"}, False),
        ({"WEBHOOKS_URL_PREFIX": None}, False),
    ],
)
def test_pages_without_secret_key_are_warned_of(
    values: dict[str, Any], warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """WEBHOOKS_ENCRYPTION_KEYS alone let the application start; forms need the session besides."""
    app = Flask("host")
    app.config.update(
        SQLALCHEMY_DATABASE_URI="sqlite://", WEBHOOKS_ENCRYPTION_KEYS=[FERNET], **values
    )
    Webhooks(SQLAlchemy(app), app)
    assert ("SECRET_KEY is not set" in caplog.text) is warned


def test_booleans_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("false", "False"):
        monkeypatch.setenv("FLASK_WEBHOOKS_REQUIRE_HTTPS", text)
        app = Flask("host")
        app.config.from_prefixed_env()
        assert Settings.from_config(app.config).require_https is False
