"""Endpoints with their health and statistics.

Long, since it reads everything that is shown of an endpoint, in lists and by itself.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ..access import Access, check_event_type, find_endpoint, is_id, no_endpoint, shown
from ..app_state import AppState
from ..catalog.type_filter import subscribed_to
from ..columns import utc_now
from ..db.conditions import created_between, holds, of_tenant
from ..delivery.claim import rate_limit as rates
from ..errors import InvalidInput, UnreadableSecret
from ..formats import HexSigned
from ..models import (
    DeliveryState,
    Endpoint,
    EndpointHealth,
    EndpointState,
    Models,
)
from ..security.signing import live_secrets
from .pages import check_state, literal, older_than
from .system import MOST_COUNTED

#: The values of the health filter, for active endpoints.
HEALTH = ("failing", "healthy")
#: Length from which on the last four characters of a secret may be shown, because the rest is too long to guess.
LONG_SECRET = 24
#: The period of the counts of attempts.
COUNTED = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """An endpoint with its health, the counts of its last day, and its backlog."""

    endpoint: Endpoint
    health: EndpointHealth
    #: Attempts of the last 24 hours.
    succeeded: int
    failed: int
    #: Deliveries that are waiting now, each counted up to `MOST_COUNTED`.
    pending: int
    held: int
    #: Attempts that succeeded and failed in each of the last 24 hours, oldest first; empty without any.
    hours: tuple[tuple[int, int], ...]

    @property
    def condition(self) -> str:
        """Its state; ``failing`` if it is active and failing."""
        failing = self.health.probe_interval is not None
        return "failing" if failing and self.endpoint.state == "active" else self.endpoint.state

    @property
    def success_rate(self) -> float | None:
        """Share of the attempts of the last 24 hours, from 0 to 1; ``None`` without any."""
        attempts = self.succeeded + self.failed
        return self.succeeded / attempts if attempts else None

    @property
    def last_delivery_at(self) -> datetime | None:
        """When an attempt was last settled, with whatever outcome."""
        times = (self.health.last_success_at, self.health.last_failure_at)
        return max((time for time in times if time is not None), default=None)

    @property
    def last_delivery_succeeded(self) -> bool | None:
        """Whether the attempt that was last settled succeeded; ``None`` without any."""
        last = self.last_delivery_at
        return None if last is None else last == self.health.last_success_at


class Limit(enum.StrEnum):
    """The limit for which an endpoint waits."""

    #: Its own rate limit.
    RATE = "rate_limit"
    #: The rate limit of another endpoint with the same destination.
    SHARED_RATE = "shared_rate_limit"
    #: A pause that the receiver requested for any endpoint with that destination.
    SHARED_PAUSE = "shared_pause"


@dataclass(frozen=True, slots=True)
class Wait:
    """A limit that an endpoint waits for, and until when."""

    until: datetime
    limit: Limit


@dataclass(frozen=True, slots=True)
class SecretRow:
    """The properties that identify a secret or a key pair, without the secret itself."""

    #: Its label; may be empty.
    label: str
    #: When it expires; ``None`` is until it is rotated.
    expires_at: datetime | None
    #: ``None`` if it is older than this information.
    created_at: datetime | None
    #: The last characters of a long one, or of the public key; ``None`` without the permission ``secret``.
    last_four: str | None
    #: When a request that it signed last ended; ``None`` if there was none.
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class EndpointDetail(EndpointRow):
    """The details of an endpoint, without secrets and header values."""

    #: Names of the custom headers; ``None`` if they cannot be decrypted.
    header_names: tuple[str, ...] | None
    #: Active secrets, newest first.
    secrets: tuple[SecretRow, ...]
    #: A secret, a header or the URL was encrypted with a missing key, so nothing can be sent.
    unreadable: bool
    #: The complete URL if a part of it is masked for people without ``secret``; ``None`` for them, and if the
    #: format never shows it.
    url: str | None = field(repr=False)
    #: The limit for which it waits although it is healthy.
    wait: Wait | None

    @property
    def secrets_until(self) -> tuple[datetime | None, ...]:
        """When each active secret expires, newest first; ``None`` is never."""
        return tuple(secret.expires_at for secret in self.secrets)


def list_endpoints(
    access: Access,
    search: str | None = None,
    *,
    tenant: str | None = None,
    state: str | None = None,
    health: str | None = None,
    event_type: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    before: str | None = None,
    limit: int | None = None,
    now: datetime | None = None,
) -> list[EndpointRow]:
    """Return the endpoints in scope that were not deleted, newest first. Three statements.

    :param search: a part of the name, description or URL (as shown), or an id.
    :param tenant: only of this tenant; ``None`` for all in scope.
    :param state: only those that are ``active``, ``paused`` or ``disabled``.
    :param health: only those that are ``failing`` while they are active, or ``healthy``: active, and not failing.
    :param event_type: only those that are subscribed to it: a name, or a prefix such as ``license.*``.
    :param since: only those that were added at this time or later.
    :param until: only before this time.
    :param before: only older than this id.
    :param limit: at most so many; ``None`` for all.
    :raises InvalidInput: a filter is invalid; `field` names it.
    :raises Forbidden: not allowed to ``view``.
    """
    access.require("view")
    models = access.state.models
    table = models.Endpoint
    narrowed = _in_condition(models, state, health)
    query = (
        sa.select(table, models.EndpointHealth)
        .join_from(table, models.EndpointHealth, models.EndpointHealth.endpoint_id == table.id)
        .where(access.scope(table.tenant), table.deleted_at.is_(None))
        .where(*older_than(table.id, before), *narrowed)
        .where(*created_between(table.id, "ep", since, until))
        .order_by(table.id.desc())
        .limit(limit)
    )
    if search:
        query = query.where(found_by(table, search))
    if event_type is not None:
        check_event_type(access, event_type)
        query = query.where(subscribed_to(table.events, access.state.catalog, event_type))
    if tenant is not None:
        query = query.where(of_tenant(table.tenant, tenant))
    with access.read() as session:
        found = session.execute(query).all()
        if not found:
            return []
        which = sa.and_(
            access.scope(table.tenant),
            table.deleted_at.is_(None),
            # A range, because a list could be too long for a statement.
            table.id.between(found[-1][0].id, found[0][0].id),
        )
        counts = _counts(session, access.state, which, now or datetime.now(UTC))
    return [EndpointRow(endpoint, health, **counts[endpoint.id]) for endpoint, health in found]


def _in_condition(
    models: Models, state: str | None, health: str | None
) -> list[sa.ColumnElement[bool]]:
    """Return the conditions for endpoints in a state, and for failing or healthy ones."""
    conditions: list[sa.ColumnElement[bool]] = []
    if state is not None:
        conditions.append(models.Endpoint.state == check_state(state, EndpointState))
    if health is not None:
        if health not in HEALTH:
            raise InvalidInput(
                "There is no health %(name)s. Choose one of: %(choices)s.",
                name=shown(health),
                choices=", ".join(HEALTH),
                field="health",
            )
        conditions.append(models.Endpoint.state == EndpointState.ACTIVE)
        probed = models.EndpointHealth.probe_interval
        conditions.append(probed.is_not(None) if health == "failing" else probed.is_(None))
    return conditions


def count_endpoints(access: Access) -> int:
    """Count the endpoints in scope that were not deleted. One statement.

    :raises Forbidden: not allowed to ``view``.
    """
    access.require("view")
    table = access.state.models.Endpoint
    query = (
        sa.select(sa.func.count())
        .select_from(table)
        .where(access.scope(table.tenant), table.deleted_at.is_(None))
    )
    with access.read() as session:
        return session.scalar(query) or 0


def found_by(table: type[Endpoint], search: str) -> sa.ColumnElement[bool]:
    """Return the condition for endpoints with a text in their name, URL or description, or with this id."""
    text = search.strip()
    return sa.or_(
        holds(table.name, text),
        holds(table.url_shown, text),
        holds(table.description, text),
        table.id == (text if is_id(text) else ""),
    )


def get_endpoint(
    access: Access,
    endpoint_id: str,
    *,
    include_deleted: bool = False,
    now: datetime | None = None,
) -> EndpointDetail:
    """Return one endpoint. Four statements, five if it waits for a limit.

    :raises NotFound: there is no such endpoint in scope.
    :raises Forbidden: not allowed to ``view`` it.
    """
    access.require("view", find_endpoint(access, endpoint_id, deleted=include_deleted))
    state = access.state
    models = state.models
    with access.read() as session:
        endpoint, health, free_at, database_now = session.execute(
            sa.select(models.Endpoint, models.EndpointHealth, models.Bucket.free_at, utc_now())
            .join_from(
                models.Endpoint,
                models.EndpointHealth,
                models.EndpointHealth.endpoint_id == models.Endpoint.id,
            )
            .outerjoin(
                models.Bucket,
                models.Bucket.id == sa.func.coalesce(models.Endpoint.bucket, models.Endpoint.id),
            )
            .where(models.Endpoint.id == endpoint_id)
        ).one()
        moment = now or database_now
        counts = _counts(session, state, models.Endpoint.id == endpoint_id, moment)
        wait = None
        if free_at is not None and free_at > moment + rates.HORIZON:
            pending = counts[endpoint_id]["pending"]
            wait = _wait(session, state, endpoint, pending, free_at, moment)
    header_names, stored, unreadable = _opened(state, endpoint, moment)
    used_at = max(filter(None, (health.last_success_at, health.last_failure_at)), default=None)
    return EndpointDetail(
        endpoint,
        health,
        **counts[endpoint.id],
        header_names=header_names,
        secrets=_secret_rows(access, endpoint, stored, used_at),
        unreadable=unreadable,
        url=None if unreadable else _whole_url(access, endpoint),
        wait=None if health.hold_until is not None and health.hold_until > moment else wait,
    )


def name_endpoints(access: Access, endpoint_ids: Iterable[str]) -> dict[str, Endpoint]:
    """Return endpoints in scope by id, including deleted ones; missing ones are omitted. One statement.

    :raises Forbidden: not allowed to ``view``.
    """
    access.require("view")
    table = access.state.models.Endpoint
    query = sa.select(table).where(table.id.in_(set(endpoint_ids)), access.scope(table.tenant))
    with access.read() as session:
        return {endpoint.id: endpoint for endpoint in session.scalars(query)}


def find_endpoints(access: Access, search: str | None = None, *, limit: int) -> list[Endpoint]:
    """Return endpoints in scope that were not deleted, newest first, as choices. One statement.

    :param search: as in `list_endpoints`.
    :param limit: at most so many.
    :raises Forbidden: not allowed to ``view``.
    """
    access.require("view")
    table = access.state.models.Endpoint
    query = (
        sa.select(table)
        .where(access.scope(table.tenant), table.deleted_at.is_(None))
        .order_by(table.id.desc())
        .limit(limit)
    )
    if search:
        query = query.where(found_by(table, search))
    with access.read() as session:
        return list(session.scalars(query))


def quota(access: Access, tenant: str | None) -> tuple[int, int | None]:
    """Return how many endpoints a tenant has and may have; ``None`` for the whole server, and for no limit.

    :raises NotFound: the tenant is not in scope.
    :raises Forbidden: not allowed to ``view``.
    """
    access.require("view")
    if not access.sees(tenant) or not (tenant is None or _is_tenant(tenant)):
        raise no_endpoint(tenant)
    table = access.state.models.Endpoint
    limit = access.state.endpoint_limit(tenant)
    mine = table.tenant.is_(None) if tenant is None else table.tenant == tenant
    query = sa.select(sa.func.count()).select_from(table).where(mine, table.deleted_at.is_(None))
    with access.read() as session:
        used = session.scalar(query) or 0
    return used, limit


def _counts(
    session: Session, state: AppState, which: sa.ColumnElement[bool], now: datetime
) -> defaultdict[str, dict[str, Any]]:
    """The counts of an `EndpointRow` by endpoint id. Two statements."""
    models = state.models
    counts: defaultdict[str, dict[str, Any]] = defaultdict(
        lambda: {"succeeded": 0, "failed": 0, "pending": 0, "held": 0, "hours": ()}
    )
    statistic = models.Statistic
    attempts = (
        sa.select(statistic.endpoint_id, statistic.hour, statistic.succeeded, statistic.failed)
        .join_from(statistic, models.Endpoint, models.Endpoint.id == statistic.endpoint_id)
        .where(which, statistic.hour > now - COUNTED, statistic.hour <= now)
    )
    hours: dict[str, list[tuple[int, int]]] = {}
    for endpoint_id, hour, succeeded, failed in session.execute(attempts):
        row = counts[endpoint_id]
        row["succeeded"] += succeeded
        row["failed"] += failed
        ago = int((now - hour) / timedelta(hours=1))
        hours.setdefault(endpoint_id, [(0, 0)] * 24)[23 - ago] = (succeeded, failed)
    for endpoint_id, of_endpoint in hours.items():
        counts[endpoint_id]["hours"] = tuple(of_endpoint)

    for endpoint_id, pending, held in session.execute(_waiting(state, which)):
        counts[endpoint_id] |= {"pending": pending, "held": held}
    return counts


def _wait(
    session: Session,
    state: AppState,
    endpoint: Endpoint,
    pending: int,
    free_at: datetime,
    now: datetime,
) -> Wait | None:
    """Return the limit for which an endpoint waits until `free_at`. One statement at most."""
    rate = endpoint.rate_limit
    if endpoint.bucket is not None:
        shared = rates.shared_limits(state, session.connection(), [endpoint.bucket])
        rate = shared.get(endpoint.bucket)
    if free_at > now + rates.HORIZON + rates.interval(rate):
        return Wait(free_at, Limit.SHARED_PAUSE)
    if not pending:
        return None
    return Wait(free_at, Limit.RATE if rate == endpoint.rate_limit else Limit.SHARED_RATE)


def _waiting(state: AppState, which: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Return numbers of pending and held deliveries by endpoint id; counting stops soon after `MOST_COUNTED`."""
    endpoint, delivery = state.models.Endpoint, state.models.Delivery
    # A list of MariaDB's in the place of a table cannot depend on the row beside it.
    lateral = state.engine.dialect.name not in {"mysql", "mariadb"}

    def number(delivery_state: DeliveryState) -> Any:
        conditions = delivery.endpoint_id == endpoint.id, delivery.state == literal(delivery_state)
        if not lateral:
            counted = sa.select(sa.func.count()).select_from(delivery).where(*conditions)
            last: sa.Select[Any] = (
                sa.select(sa.literal_column(str(MOST_COUNTED)))
                .select_from(delivery)
                .where(*conditions)
                .limit(1)
                .offset(MOST_COUNTED - 1)
            )
            return sa.func.coalesce(
                last.correlate(endpoint).scalar_subquery(),
                counted.correlate(endpoint).scalar_subquery(),
            )
        rows: sa.Select[Any] = (
            sa.select(sa.literal_column("1")).select_from(delivery).where(*conditions)
        )
        few = rows.limit(MOST_COUNTED).correlate(endpoint).subquery()
        return sa.select(sa.func.count()).select_from(few).scalar_subquery()

    pending, held = number(DeliveryState.PENDING), number(DeliveryState.HELD)
    return sa.select(endpoint.id, pending, held).where(which)


def _opened(
    state: AppState, endpoint: Endpoint, now: datetime
) -> tuple[tuple[str, ...] | None, list[dict[str, Any]], bool]:
    """Return header names, active secrets, and whether a value cannot be decrypted."""
    unreadable = False

    def open_(sealed: Any, empty: Any) -> Any:
        nonlocal unreadable
        try:
            return empty if sealed is None else state.vault.decrypt(sealed)
        except UnreadableSecret:
            unreadable = True
            return None

    headers = open_(endpoint.headers_sealed, {})
    secrets = open_(endpoint.secrets_sealed, [])
    open_(endpoint.url_sealed, None)
    open_(endpoint.certificate_sealed, None)
    live = live_secrets(secrets or (), now.timestamp())
    return None if headers is None else tuple(headers), live, unreadable


def _secret_rows(
    access: Access, endpoint: Endpoint, stored: list[dict[str, Any]], used_at: datetime | None
) -> tuple[SecretRow, ...]:
    """Return the properties of secrets that may be shown.

    :param stored: those that still sign, newest first.
    :param used_at: when a request to the endpoint last ended.
    """
    formats = access.state.formats
    known = endpoint.format in formats
    style = formats[endpoint.format] if known else None
    told = access.may("secret", endpoint)
    rows = []
    for number, item in enumerate(stored):
        created_at = _moment(item.get("created_at"))
        # Formats with a single signature use the oldest.
        signs = not isinstance(style, HexSigned) or number == len(stored) - 1
        used = signs and used_at is not None and (created_at is None or used_at >= created_at)
        public_key = None if style is None else style.public_key(item["secret"])
        text = item["secret"] if public_key is None else public_key
        last_four = text[-4:] if told and len(text) >= LONG_SECRET else None
        rows.append(
            SecretRow(
                label=item.get("label", ""),
                expires_at=_moment(item["expires_at"]),
                created_at=created_at,
                last_four=last_four,
                last_used_at=used_at if used else None,
            )
        )
    return tuple(rows)


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _whole_url(access: Access, endpoint: Endpoint) -> str | None:
    formats = access.state.formats
    sealed = endpoint.url_sealed
    if sealed is None or endpoint.format not in formats or formats[endpoint.format].secret_url:
        return None
    if not access.may("secret", endpoint):
        return None
    whole: str = access.state.vault.decrypt(sealed)
    return whole


def _is_tenant(value: object) -> bool:
    return isinstance(value, str) and value.isprintable()
