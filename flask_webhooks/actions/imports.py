"""Take over endpoints from an export of another service, or of another installation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import sqlalchemy as sa

from ..access import Access
from ..app_state import AppState
from ..errors import (
    Forbidden,
    InvalidEndpoint,
    InvalidInput,
    UnreadableSecret,
    WebhooksError,
)
from ..formats import ExportedEndpoint, Format
from ..models import Endpoint
from . import checks
from .endpoints import check_quota, create_endpoint, draft_endpoint


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of one entry of an export."""

    #: Its place, from 1.
    number: int
    #: The URL as it may be shown, else the name that it has in the export; may be empty.
    label: str
    #: The new endpoint; of a dry run one that is not stored. ``None`` where the entry was not taken.
    endpoint: Endpoint | None = None
    #: A new secret, because the export had none: the receiver does not know it yet.
    new_secret: str | None = field(default=None, repr=False)
    #: Why it was not taken.
    problem: str | None = None


def import_endpoints(
    access: Access,
    items: Iterable[Any],
    *,
    format: str | None = None,
    tenant: str | None = None,
    dry_run: bool = False,
) -> Iterator[Imported]:
    """Create an endpoint for each entry, each in a transaction of its own, and say what became of it.

    Chat URLs get their own format. Entries that were inactive are paused. An entry whose URL the tenant already
    has in this format is not taken, so that an import can be repeated.

    :param items: JSON objects; see `Format.read_export`.
    :param format: the service that they come from; ``None`` is ``WEBHOOKS_DEFAULT_FORMAT``. It decides how they
        and the names of their events are read, and what the endpoints are sent.
    :param tenant: whose they become; ``None`` is the whole server.
    :param dry_run: check everything, and write nothing.
    :raises InvalidInput: there is no such format.
    :raises Forbidden: not allowed, or not for this tenant.
    """
    access.require("manage")
    name = access.state.formats[format or access.state.settings.default_format].name
    owner = checks.owner(tenant, access.tenant)
    return _import(access, items, name, owner, dry_run)


def _import(
    access: Access, items: Iterable[Any], source: str, owner: str | None, dry_run: bool
) -> Iterator[Imported]:
    known = _known(access, owner)
    taken = 0
    for number, item in enumerate(items, 1):
        label = ""
        try:
            if not isinstance(item, Mapping):
                raise InvalidEndpoint("It is not a JSON object.")
            label = _shown_url(access.state, item, source) or _printable(item.get("name"))
            values = _values(access, item, source)
            wire = access.state.formats[values["format"]]
            label = wire.mask_url(values["url"])
            if (values["format"], values["url"]) in known:
                raise InvalidEndpoint("There is such an endpoint already.")
            made: str | None = None
            if dry_run:
                endpoint = draft_endpoint(access, tenant=owner, **values).endpoint
                limit = access.state.endpoint_limit(owner)
                with access.read() as session:
                    check_quota(session, access.state, owner, limit, taken)
            else:
                created = create_endpoint(access, tenant=owner, **values)
                endpoint, made = created.endpoint, created.secret
            taken += 1
            known.add((values["format"], values["url"]))
            given = isinstance(values["secret"], str)
            yield Imported(number, label, endpoint, None if given else made)
        except Forbidden:
            raise
        except WebhooksError as error:
            yield Imported(number, label, problem=error.whole_message)


def _values(access: Access, item: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The arguments of `create_endpoint`.

    :raises InvalidInput: the entry cannot be read.
    """
    state = access.state
    exported = _read(state, item, source)
    url = checks.url(state, exported.get("url"))
    wire = state.formats.detect(url, source)
    secret: str | Literal[False] | None = exported.get("secret") or None
    if not wire.signed:
        secret = None
    elif secret is None and wire.secret_optional and "secret" in item:
        # The service tells secrets, and there was none.
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
    }


def _read(state: AppState, item: Mapping[str, Any], source: str) -> ExportedEndpoint:
    """Return the members of an entry.

    :raises InvalidInput: it cannot be read; names the service that it looks to be from, if that is another one.
    """
    style = state.formats[source]
    try:
        return style.read_export(item)
    except InvalidInput:
        if _url_of(style, item) is None:
            for other in state.formats:
                if _url_of(other, item) is not None:
                    raise InvalidEndpoint(
                        "It is no entry of %(format)s, but one of %(other)s: choose that format.",
                        format=style.label,
                        other=other.label,
                        field="format",
                    ) from None
        raise


def _url_of(style: Format, item: Mapping[str, Any]) -> str | None:
    """Return what an entry of a service has where its URL stands."""
    answer = item.get("data")
    for place in (item, answer if isinstance(answer, Mapping) else {}):
        for name in style.url_members:
            if isinstance(place.get(name), str) and place[name]:
                return str(place[name])
    return None


def _shown_url(state: AppState, item: Mapping[str, Any], source: str) -> str:
    """Return the URL of an entry as it may be shown; nothing where it is none."""
    try:
        url = checks.url(state, _url_of(state.formats[source], item))
        return state.formats.detect(url, source).mask_url(url)
    except InvalidInput:
        return ""


def _known(access: Access, owner: str | None) -> set[tuple[str, str]]:
    """Formats and whole URLs of the endpoints that the tenant has."""
    table = access.state.models.Endpoint
    mine = table.tenant.is_(None) if owner is None else table.tenant == owner
    with access.read() as session:
        endpoints = session.scalars(sa.select(table).where(mine, table.deleted_at.is_(None))).all()
    known = set()
    for endpoint in endpoints:
        try:
            known.add((endpoint.format, checks.whole_url(access.state, endpoint)))
        except UnreadableSecret:
            continue
    return known


def _printable(value: Any) -> str:
    text = value if isinstance(value, str) else ""
    return "".join(c if c.isprintable() else "�" for c in text)[: checks.MAX_NAME_LENGTH]
