"""Create, change and delete endpoints.

Long, since to create and to change share all of their checks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Unpack

import sqlalchemy as sa
from sqlalchemy.orm import Session

from .. import ids
from ..access import Access, find_endpoint
from ..app_state import AppState
from ..columns import utc_now
from ..db.narrow import unicode_trouble, with_plain_signs
from ..delivery.echo import ANY_TEST
from ..delivery.holding import cancel_waiting
from ..errors import EndpointLimitReached, Faults
from ..filters.coalescing import check_coalescing
from ..filters.notation import check_event_filter
from ..formats import Format
from ..log import get_logger
from ..models import Endpoint, EndpointState
from ..security.client_certificates import check_client_certificate
from ..texts import OperatorText, Text
from . import checks, duplicates, repeats
from .audit_log import locked, record
from .challenges import hold_everything, issue, make_unverified, must_echo
from .deliveries import insert_first_test
from .revision import Revision, seal, stored_secret
from .settings import EndpointChanges, NewEndpoint, check_names
from .switches import forget_failures, go_live

#: Endpoints that one statement deletes; databases limit the length of a list.
_CHUNK = 500
#: Changes that can make an endpoint equal to another.
_DECISIVE = frozenset({"url", "format", "options", "events", "filter"})

logger = get_logger("flask_webhooks")


@dataclass(frozen=True, slots=True)
class CreatedEndpoint:
    """A new endpoint with its secret, which is shown only once."""

    endpoint: Endpoint
    #: ``None`` if there is none, or if it is not shown: see `public_key`.
    secret: str | None = field(repr=False)
    #: The key with which the receiver verifies, if the endpoint signs with a key pair. It is not secret.
    public_key: str | None = None
    #: The idempotency key was already used: this is the endpoint that was created then, in its current state.
    repeated: bool = False


def create_endpoint(
    access: Access,
    url: str,
    *,
    idempotency_key: str | None = None,
    allow_duplicate: bool = True,
    **settings: Unpack[NewEndpoint],
) -> CreatedEndpoint:
    """Add an endpoint.

    :param idempotency_key: a repetition with the same key, URL, format and event types returns the first endpoint,
    without its secret.
    :param allow_duplicate: allow an endpoint that is equal to another, with a warning in the log.
    :param settings: see `NewEndpoint`; each has a default.
    :raises InvalidInput: a subclass, whose `field` is the invalid parameter; `errors` has all errors.
    :raises EndpointLimitReached: the tenant already has ``WEBHOOKS_MAX_ENDPOINTS``.
    :raises SendLimitReached: no test or challenge can be sent now; nothing was created.
    :raises DuplicateEndpoint: there is an equal one, and that is not allowed.
    :raises Forbidden: not allowed, or not for this tenant.
    """
    access.require("manage")
    state = access.state
    drafted = draft_endpoint(access, url, **settings)
    if drafted.endpoint.challenge == ANY_TEST:
        access.require("send")
    endpoint, owner = drafted.endpoint, drafted.endpoint.tenant
    repeats.mark(endpoint, idempotency_key, drafted.whole_url)
    limit = state.endpoint_limit(owner)
    # Serialised per tenant: two concurrent requests would both find a free slot, and not see each other.
    with access.write(alone=f"endpoints of {owner}") as session:
        first = repeats.find_created(session, state, endpoint)
        if first is not None:
            return CreatedEndpoint(first, None, repeated=True)
        check_quota(session, state, owner, limit)
        endpoint.url_shown = storable_url(session, state, endpoint.url_shown)
        drafted.changes["url"] = [None, endpoint.url_shown]
        equal = None
        if allow_duplicate:
            equal = duplicates.find_equal(session, state, endpoint, drafted.whole_url)
        else:
            duplicates.refuse_equal(session, state, endpoint, drafted.whole_url)
        session.add(endpoint)
        session.flush()
        session.add(state.models.EndpointHealth(endpoint_id=endpoint.id))
        record(session, access, "endpoint.created", endpoint, changes=drafted.changes)
        if endpoint.challenge == ANY_TEST:
            insert_first_test(session, access, endpoint)
        elif endpoint.challenge is not None:
            issue(session, access, endpoint)
            session.flush()
        session.refresh(endpoint)
    if endpoint.challenge is not None:
        state.notifier.notify()
    if equal is not None:
        logger.warning(
            "The new endpoint %s has the same URL, format and event types as %s: each event arrives there twice",
            endpoint.id,
            equal.id,
        )
    return drafted.created()


@dataclass(frozen=True, slots=True)
class Draft:
    """A validated endpoint that has not been written."""

    endpoint: Endpoint
    secret: str | None = field(repr=False)
    #: For the audit log.
    changes: dict[str, Any]
    wire: Format
    whole_url: str = field(repr=False)

    def created(self) -> CreatedEndpoint:
        """Return the endpoint with the values for its receiver."""
        public_key = None if self.secret is None else self.wire.public_key(self.secret)
        secret = self.secret if public_key is None else None
        return CreatedEndpoint(self.endpoint, secret, public_key)


def draft_endpoint(access: Access, url: str, **settings: Unpack[NewEndpoint]) -> Draft:
    """Check the parameters of `create_endpoint` without writing anything.

    :raises InvalidInput: `errors` has all errors.
    """
    access.require("manage")
    check_names(settings, NewEndpoint)
    given: Mapping[str, Any] = settings
    state = access.state
    faults = Faults()
    # In the order of the form, in which users correct the errors.
    whole_url = faults.check(checks.url, state, url)
    checked_name = faults.check(
        checks.one_line, given.get("name", ""), "name", Text("name"), checks.MAX_NAME_LENGTH
    )
    checked_description = faults.check(
        checks.text,
        given.get("description", ""),
        "description",
        Text("description"),
        checks.MAX_DESCRIPTION_LENGTH,
    )
    contact = faults.check(checks.contact, given.get("contact"))
    owner = faults.check(checks.owner, given.get("tenant"), access)
    wire = None
    format = given.get("format")
    # Without a URL the format cannot be detected.
    if format or whole_url is not None:
        wire = faults.check(checks.wire_format, state, format, whole_url or "")
    checked_options = plain_secret = None
    if wire is not None:
        if whole_url is not None:
            checked_options = faults.check(checks.options, wire, given.get("options"), whole_url)
        plain_secret = faults.check(
            checks.secret, wire, given.get("secret"), key_pair=given.get("key_pair", False)
        )
    patterns = faults.check(checks.events, state, given.get("events"), given.get("dialect"))
    condition = faults.check(check_event_filter, given.get("filter"))
    coalesce = faults.check(check_coalescing, given.get("coalesce"), state.catalog)
    version = faults.check(state.catalog.versions.check, given.get("data_version"))
    agent = faults.check(checks.user_agent, given.get("user_agent"))
    checked_headers = faults.check(checks.headers, state, given.get("headers"))
    certificate = faults.check(check_client_certificate, given.get("client_certificate"))
    rate = faults.check(checks.rate_limit, given.get("rate_limit"))
    seconds = faults.check(checks.timeout, state, given.get("timeout"))
    in_order = faults.check(checks.ordered, given.get("ordered", False))
    active = given.get("active", True)
    test_first = faults.check(checks.test_first, given.get("test_first", False))
    faults.finish()
    assert whole_url is not None
    assert wire is not None
    assert checked_headers is not None
    url_shown, url_sealed = checks.sealed_url(state, wire, whole_url)
    endpoint = state.models.Endpoint(
        id=ids.new_id("ep"),
        tenant=owner,
        name=checked_name,
        description=checked_description,
        url_shown=url_shown,
        url_sealed=url_sealed,
        format=wire.name,
        events=patterns,
        filter=condition,
        coalesce=coalesce,
        data_version=version,
        secrets_sealed=seal(
            state, plain_secret and [stored_secret(plain_secret, datetime.now(UTC).timestamp())]
        ),
        headers_sealed=seal(state, checked_headers),
        certificate_sealed=seal(state, certificate and certificate.stored()),
        client_certificate=certificate and certificate.shown,
        user_agent=agent,
        contact=contact,
        options=checked_options,
        timeout=seconds,
        rate_limit=rate,
        bucket=checks.bucket(wire, whole_url, owner),
        ordered=in_order,
        state=EndpointState.ACTIVE if active else EndpointState.PAUSED,
    )
    if must_echo(state, wire, whole_url):
        make_unverified(endpoint)
    elif test_first:
        make_unverified(endpoint, ANY_TEST)
    if not active:
        endpoint.state_actor = access.actor
        endpoint.state_since = datetime.now(UTC)
    changes: dict[str, Any] = {
        "url": [None, url_shown],
        "format": [None, wire.name],
        "events": [None, endpoint.events],
        "name": [None, endpoint.name],
        "headers": [None, list(checked_headers)],
    }
    more = {
        "filter": endpoint.filter,
        "coalesce": endpoint.coalesce,
        "data_version": endpoint.data_version,
        "options": endpoint.options,
        "timeout": endpoint.timeout,
        "rate_limit": endpoint.rate_limit,
        "ordered": endpoint.ordered or None,
        "contact": contact,
        "client_certificate": certificate and certificate.shown["fingerprint"],
        "state": None if active else EndpointState.PAUSED,
        "secret": "none" if wire.signed and plain_secret is None else None,
    }
    changes |= {key: [None, value] for key, value in more.items() if value is not None}
    return Draft(endpoint, plain_secret, changes, wire, whole_url)


def update_endpoint(
    access: Access,
    endpoint_id: str,
    *,
    allow_duplicate: bool = True,
    **changes: Unpack[EndpointChanges],
) -> Endpoint:
    """Change some settings of an endpoint.

    A new URL or format resets the health: the endpoint is tried at once. Stored secrets are sent to another URL
    only if ``secret`` is allowed; otherwise the values of custom headers must be given again.

    :param allow_duplicate: whether it may become equal to another one.
    :raises InvalidInput: as for `create_endpoint`; nothing is changed in this case.
    :raises DuplicateEndpoint: it would be equal to another one, and that is not allowed.
    :raises NotFound: there is no such endpoint in scope.
    :raises Forbidden: not allowed.
    """
    check_names(changes, EndpointChanges)
    known = find_endpoint(access, endpoint_id)
    access.require("manage", known)
    # Called before the transaction, because it is a function of the host.
    knows_secrets = bool(changes.keys() & {"url", "format"}) and access.may("secret", known)
    state = access.state
    with access.write() as session:
        endpoint = locked(session, access, endpoint_id)
        revision = Revision(state, endpoint, knows_secrets=knows_secrets)
        revision.apply(changes)
        if "url" in revision.differences:
            shown = storable_url(session, state, revision.values["url_shown"])
            revision.values["url_shown"] = shown
            revision.differences["url"] = [endpoint.url_shown, shown]
        if revision.differences:
            for name, value in revision.values.items():
                setattr(endpoint, name, value)
            if not allow_duplicate and revision.differences.keys() & _DECISIVE:
                whole_url = checks.whole_url(state, endpoint)
                duplicates.refuse_equal(session, state, endpoint, whole_url)
            if "challenge" in revision.values and endpoint.challenge is not None:
                make_unverified(endpoint)
                hold_everything(session, state, endpoint.id)
                issue(session, access, endpoint)
            elif "challenge" in revision.values and endpoint.state == EndpointState.UNVERIFIED:
                go_live(session, state, endpoint, access.actor)
            endpoint.version += 1
            endpoint.updated_at = utc_now()
            if revision.fresh_start:
                forget_failures(session, state, endpoint.id)
            record(session, access, "endpoint.updated", endpoint, changes=revision.differences)
            session.flush()
        session.refresh(endpoint)
    if revision.fresh_start:
        state.notifier.notify()
    return endpoint


def storable_url(session: Session, state: AppState, shown: str) -> str:
    """Return a URL for display, with a mask that this database can store."""
    if not shown.isascii() and unicode_trouble(state, session.connection()) is not None:
        return with_plain_signs(shown)
    return shown


def delete_endpoint(access: Access, endpoint_id: str) -> None:
    """Delete an endpoint: undelivered events are cancelled, its history is kept, its secrets are deleted.

    :raises NotFound: there is no such endpoint in scope.
    :raises Forbidden: not allowed.
    """
    access.require("manage", find_endpoint(access, endpoint_id))
    with access.write() as session:
        _delete(session, access, [locked(session, access, endpoint_id)])


def delete_all_endpoints(access: Access) -> int:
    """Delete all endpoints in scope; return their number.

    :raises Forbidden: not allowed.
    """
    access.require("delete_all")
    models = access.state.models
    in_scope = sa.select(models.Endpoint.id).where(
        access.scope(models.Endpoint.tenant), models.Endpoint.deleted_at.is_(None)
    )
    count = 0
    with access.write() as session:
        endpoint_ids = session.scalars(
            sa.select(models.EndpointHealth.endpoint_id)
            .where(models.EndpointHealth.endpoint_id.in_(in_scope))
            .order_by(models.EndpointHealth.endpoint_id)
            .with_for_update()
        ).all()
        for start in range(0, len(endpoint_ids), _CHUNK):
            chunk = endpoint_ids[start : start + _CHUNK]
            endpoints = session.scalars(
                sa.select(models.Endpoint).where(
                    models.Endpoint.id.in_(chunk), models.Endpoint.deleted_at.is_(None)
                )
            ).all()
            _delete(session, access, endpoints)
            count += len(endpoints)
    return count


def _delete(session: Session, access: Access, endpoints: Sequence[Endpoint]) -> None:
    for endpoint in endpoints:
        endpoint.deleted_at = endpoint.updated_at = utc_now()
        endpoint.version += 1
        endpoint.url_sealed = endpoint.secrets_sealed = endpoint.headers_sealed = None
        endpoint.certificate_sealed = None
        endpoint.contact = None
        record(
            session,
            access,
            "endpoint.deleted",
            endpoint,
            changes={"name": [endpoint.name, None], "url": [endpoint.url_shown, None]},
        )
    cancel_waiting(access.state, session.connection(), [endpoint.id for endpoint in endpoints])


def check_quota(
    session: Session, state: AppState, tenant: str | None, limit: int | None, more: int = 0
) -> None:
    """Check the limit of endpoints.

    :raises EndpointLimitReached: one endpoint after `more` others would exceed it.
    """
    if limit is None:
        return
    table = state.models.Endpoint
    used = session.scalar(
        sa.select(sa.func.count())
        .select_from(table)
        .where(table.tenant == tenant, table.deleted_at.is_(None))
    )
    used = (used or 0) + more
    if used >= limit:
        raise EndpointLimitReached(
            "%(used)s of %(most)s endpoints are in use. Delete one that is no longer needed, or ask the operator for "
            "more.%(hint)s",
            hint=OperatorText(" The limit is WEBHOOKS_MAX_ENDPOINTS, or @webhooks.endpoint_limit."),
            used=used,
            most=limit,
            limit=limit,
        )
