"""Clients of the Redis that a URL names: a server, or the primary that Redis Sentinel knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelManagedConnection

SENTINEL_SCHEME = "redis+sentinel"
SENTINEL_PORT = 26379
#: Options of the URL that are for the sentinels and not for Redis.
SENTINEL_OPTIONS = {"sentinel_username", "sentinel_password"}
#: Seconds that one sentinel has to answer before the next one is asked.
SENTINEL_TIMEOUT = 1.0


@dataclass(frozen=True)
class Primary:
    """Where the primary is: each new connection asks for it.

    In place of redis-py's pool of Sentinel, which RQ cannot rebuild for its scheduler.
    """

    sentinels: tuple[tuple[str, int], ...]
    service_name: str
    options: tuple[tuple[str, str], ...]
    is_master: bool = True
    check_connection: bool = False

    def get_master_address(self) -> tuple[str, int]:
        """Ask the sentinels; redis-py's connections call this.

        :raises MasterNotFoundError: none of them knows a primary that is up.
        :raises redis.AuthenticationError: none does, and one of them refuses the login.
        """
        options = {
            "socket_timeout": SENTINEL_TIMEOUT,
            "socket_connect_timeout": SENTINEL_TIMEOUT,
            # By default, redis-py asks one that does not answer for seconds before it asks the next one.
            "retry": Retry(NoBackoff(), 0),
            **dict(self.options),
        }
        sentinel = Sentinel(self.sentinels, sentinel_kwargs=options)  # type: ignore[no-untyped-call]
        try:
            host, port = sentinel.discover_master(self.service_name)  # type: ignore[no-untyped-call]
        except MasterNotFoundError as error:
            # redis-py's message has the whole client of each sentinel.
            if "Authentication" in str(error):
                raise redis.AuthenticationError(
                    "a sentinel requires another sentinel_username or sentinel_password"
                ) from None
            asked = ", ".join(f"{host}:{port}" for host, port in self.sentinels)
            raise MasterNotFoundError(
                f"no sentinel names a primary of the service {self.service_name!r} that is up (asked: {asked})"
            ) from None
        finally:
            for client in sentinel.sentinels:
                client.close()
        return str(host), int(port)


def connect(url: str, **options: Any) -> redis.Redis:
    """Return a client.

    :param options: of its connections, over those of the URL.
    """
    if not names_sentinels(url):
        return redis.Redis.from_url(url, **options)
    of_url = parse_url(without_sentinels(url))  # type: ignore[no-untyped-call]
    del of_url["host"]
    pool = redis.ConnectionPool(
        connection_class=SentinelManagedConnection,
        connection_pool=primary_of(url),
        **{**of_url, **options},
    )
    return redis.Redis.from_pool(pool)


def names_sentinels(url: str) -> bool:
    return url.startswith(f"{SENTINEL_SCHEME}://")


def primary_of(url: str) -> Primary:
    """Read ``redis+sentinel://user:password@host:port,host:port/service/database?option=value``.

    :raises ValueError: something is missing, or a port is not a number.
    """
    parts = urlsplit(url)
    addresses = [urlsplit(f"//{address}") for address in parts.netloc.rpartition("@")[2].split(",")]
    service = parts.path.split("/")[1] if parts.path else ""
    if not service or not all(address.hostname for address in addresses):
        raise ValueError("the URL names no sentinels, or no service")
    return Primary(
        tuple((str(address.hostname), address.port or SENTINEL_PORT) for address in addresses),
        service,
        tuple(
            (name.removeprefix("sentinel_"), value)
            for name, value in parse_qsl(parts.query)
            if name in SENTINEL_OPTIONS
        ),
    )


def without_sentinels(url: str, address: str = "localhost") -> str:
    """Return the URL of a server with the login, database and options of the primary; another URL as it is.

    :param address: of that server.
    :raises ValueError: it names no sentinels, or no service.
    """
    if not names_sentinels(url):
        return url
    primary_of(url)
    parts = urlsplit(url)
    login, at, _ = parts.netloc.rpartition("@")
    database = parts.path.split("/")[2:3]
    options = [item for item in parse_qsl(parts.query) if item[0] not in SENTINEL_OPTIONS]
    return urlunsplit(
        ("redis", f"{login}{at}{address}", "/".join(["", *database]), urlencode(options), "")
    )


def present_url(url: str) -> str:
    """Return the URL of the server that is the primary now, for a program that does not know sentinels.

    :raises redis.RedisError: no sentinel knows one.
    """
    if not names_sentinels(url):
        return url
    host, port = primary_of(url).get_master_address()
    return without_sentinels(url, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
