"""Import endpoints from an export of another service, or of another installation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import sqlalchemy as sa

from ..access import Access, shown
from ..app_state import AppState
from ..errors import (
    Forbidden,
    InvalidEndpoint,
    InvalidInput,
    UnreadableSecret,
    WebhooksError,
)
from ..formats import ExportedEndpoint
from ..ids import host_id
from ..models import Endpoint
from . import checks, duplicates
from .endpoints import Draft, check_quota, create_endpoint, draft_endpoint
from .import_formats import only_format, url_of


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of one entry of an export."""

    #: Its position, from 1.
    number: int
    #: The URL for display, else its name in the export; may be empty.
    label: str
    #: The new endpoint, which a dry run does not store. ``None`` if none was created.
    endpoint: Endpoint | None = None
    #: A generated secret, because the export had none: the receiver does not know it yet.
    new_secret: str | None = field(default=None, repr=False)
    #: The existing endpoint that is equal to the entry, and is not changed.
    unchanged: Endpoint | None = None
    #: The entry from which it was created, if it is part of this import.
    same_as: int | None = None
    #: It does not sign with the secret of the entry.
    other_secret: bool = False
    #: Why it was not imported.
    problem: str | None = None


def import_endpoints(
    access: Access,
    items: Iterable[Any],
    *,
    format: str | None = None,
    tenant: str | None = None,
    dry_run: bool = False,
) -> Iterator[Imported]:
    """Create an endpoint for each entry, each in a separate transaction, and return the results.

    Chat URLs get their own format. Entries that were inactive are paused. If the tenant already has an equal
    endpoint (URL, format, event types), it is not changed, so that an import can be repeated.

    :param items: JSON objects; see `Format.read_export`.
    :param format: the service of the export; ``None`` detects it by the names of the events, which are ours in an
    export for ``WEBHOOKS_DEFAULT_FORMAT``. It determines how entries and names are read, and the format of the
    endpoints.
    :param tenant: the tenant of the endpoints; ``None``: that of each entry, else the whole server.
    :param dry_run: check everything without writing.
    :raises InvalidInput: there is no such format, or the entries fit several.
    :raises Forbidden: not allowed, or not for this tenant.
    """
    access.require("manage")
    state = access.state
    if format is None:
        items = list(items)
        format = only_format(state, items).name
    name = state.formats[format].name
    if tenant is not None:
        checks.owner(tenant, access)
    return _import(access, items, name, tenant, dry_run)


def _import(
    access: Access, items: Iterable[Any], source: str, tenant: str | None, dry_run: bool
) -> Iterator[Imported]:
    known = _Known(access)
    taken: Counter[str | None] = Counter()
    for number, item in enumerate(items, 1):
        label = ""
        try:
            if not isinstance(item, Mapping):
                raise InvalidEndpoint("It is not a JSON object.")
            label = _shown_url(access.state, item, source) or _printable(item.get("name"))
            values = _values(access, item, source)
            label = access.state.formats[values["format"]].mask_url(values["url"])
            if tenant is not None:
                values["tenant"] = tenant
            else:
                _check_scope(access, values["tenant"])
            draft = draft_endpoint(access, **values)
            owner = draft.endpoint.tenant
            equal = known.find(draft)
            if equal is not None:
                other, same_as = equal
                differs = same_as is None and _has_other_secret(access, other, draft, values)
                yield Imported(
                    number, label, unchanged=other, same_as=same_as, other_secret=differs
                )
                continue
            made: str | None = None
            if dry_run:
                endpoint = draft.endpoint
                limit = access.state.endpoint_limit(owner)
                with access.read() as session:
                    check_quota(session, access.state, owner, limit, taken[owner])
            else:
                # Another process, such as the same command, may have created one meanwhile.
                created = create_endpoint(access, **values, allow_duplicate=False)
                endpoint, made = created.endpoint, created.secret
            taken[owner] += 1
            known.add(endpoint, draft.whole_url, number)
            given = isinstance(values["secret"], str)
            yield Imported(number, label, endpoint, None if given else made)
        except Forbidden:
            raise
        except WebhooksError as error:
            yield Imported(number, label, problem=error.whole_message)


def _values(access: Access, item: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the arguments of `create_endpoint`.

    :raises InvalidInput: the entry is invalid.
    """
    state = access.state
    exported = _read(state, item, source)
    url = checks.url(state, exported.get("url"))
    wire = state.formats.detect(url, source)
    secret: str | Literal[False] | None = exported.get("secret") or None
    if not wire.signed:
        secret = None
    elif secret is None and wire.secret_optional and "secret" in item:
        # The service exports secrets, and there was none.
        secret = False
    return {
        "url": url,
        "format": wire.name,
        "events": exported.get("events"),
        "dialect": source,
        "secret": secret,
        "active": exported.get("active", True),
        "name": exported.get("name", ""),
        "description": exported.get("description", ""),
        "user_agent": exported.get("user_agent"),
        "tenant": exported.get("tenant"),
    }


def _check_scope(access: Access, tenant: object) -> None:
    """Check the tenant of an entry.

    :raises InvalidEndpoint: it is not in scope.
    """
    if tenant is not None and not access.sees(host_id(tenant)):
        raise InvalidEndpoint(
            "It belongs to the tenant %(tenant)s, and you may only create endpoints for your own.",
            tenant=shown(tenant),
            field="tenant",
        )


def _has_other_secret(
    access: Access, endpoint: Endpoint, draft: Draft, values: Mapping[str, Any]
) -> bool:
    """Return whether an endpoint signs only with other secrets than the given one, as far as this person may know."""
    if not isinstance(values["secret"], str) or not access.may("secret", endpoint):
        return False
    try:
        sealed = endpoint.secrets_sealed
        live = [] if sealed is None else access.state.vault.decrypt(sealed)
    except UnreadableSecret:
        return False
    return all(item["secret"] != draft.secret for item in live)


def _read(state: AppState, item: Mapping[str, Any], source: str) -> ExportedEndpoint:
    """Return the members of an entry.

    :raises InvalidInput: it is invalid; the message names another service from which it seems to be.
    """
    style = state.formats[source]
    try:
        return style.read_export(item)
    except InvalidInput:
        if url_of(style, item) is None:
            for other in state.formats:
                if url_of(other, item) is not None:
                    raise InvalidEndpoint(
                        "This is not an entry of %(format)s but of %(other)s: choose that format.",
                        format=style.label,
                        other=other.label,
                        field="format",
                    ) from None
        raise


def _shown_url(state: AppState, item: Mapping[str, Any], source: str) -> str:
    """Return the URL of an entry for display; empty if it is invalid."""
    try:
        url = checks.url(state, url_of(state.formats[source], item))
        return state.formats.detect(url, source).mask_url(url)
    except InvalidInput:
        return ""


class _Known:
    """The existing endpoints of tenants, and those that the import adds."""

    def __init__(self, access: Access) -> None:
        self._access = access
        #: By tenant, then by format and complete URL; with the entry, if it is part of this import.
        self._found: dict[str | None, dict[tuple[str, str], list[tuple[Endpoint, int | None]]]] = {}

    def find(self, draft: Draft) -> tuple[Endpoint, int | None] | None:
        """Return an endpoint that equals a new one, and its entry.

        :raises InvalidEndpoint: there is one with other event types.
        """
        endpoint = draft.endpoint
        there = self._of(endpoint.tenant).get((endpoint.format, draft.whole_url), [])
        for other, number in there:
            # Exports have no options of formats: existing ones were set here.
            if duplicates.same_events(other, endpoint):
                return other, number
        if there:
            other, number = there[0]
            if number is not None:
                raise InvalidEndpoint(
                    "Entry %(number)s already has the same URL with other event types: list all event types there.",
                    number=number,
                    field="url",
                )
            raise InvalidEndpoint(
                "There is already an endpoint with this URL and other event types (%(id)s): change those, or delete "
                "it first.",
                id=other.id,
                field="url",
            )
        return None

    def add(self, endpoint: Endpoint, whole_url: str, number: int) -> None:
        """Add an endpoint that was created from an entry."""
        of_tenant = self._of(endpoint.tenant)
        of_tenant.setdefault((endpoint.format, whole_url), []).append((endpoint, number))

    def _of(self, owner: str | None) -> dict[tuple[str, str], list[tuple[Endpoint, int | None]]]:
        if owner in self._found:
            return self._found[owner]
        found = self._found[owner] = {}
        table = self._access.state.models.Endpoint
        mine = table.tenant.is_(None) if owner is None else table.tenant == owner
        query = sa.select(table).where(mine, table.deleted_at.is_(None)).order_by(table.id)
        with self._access.read() as session:
            endpoints = session.scalars(query).all()
        for endpoint in endpoints:
            try:
                whole_url = checks.whole_url(self._access.state, endpoint)
            except UnreadableSecret:
                continue
            found.setdefault((endpoint.format, whole_url), []).append((endpoint, None))
        return found


def _printable(value: Any) -> str:
    text = value if isinstance(value, str) else ""
    return "".join(c if c.isprintable() else "�" for c in text)[: checks.MAX_NAME_LENGTH]
