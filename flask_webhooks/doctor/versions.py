"""Versions of event data: the application's functions, and the versions of endpoints."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from ..access import Access
from ..catalog.versions import INITIAL
from ..columns import compact_json
from ..errors import ConversionFailed
from .findings import Area, Finding

_AREA = Area("versions")


def examine_versions(access: Access) -> Iterator[Finding]:
    """Convert the example of each type to every version, and look for endpoints whose version no longer exists."""
    state = access.state
    versions = state.catalog.versions
    whole = True
    for kind in state.catalog:
        if not versions.of(kind.name):
            continue
        try:
            example, newest = compact_json(kind.example), versions.newest(kind.name)
            versions.convert(kind.name, example, newest, INITIAL, state.settings.max_data_bytes)
        except ConversionFailed as error:
            whole = False
            yield _AREA.warning(
                f"{error} This was tried with the example of the event type.",
                "Deliveries to endpoints with an earlier version would wait. No attempts would "
                "be used up meanwhile.",
                "Correct the function, or the example of the type if that is not what is sent.",
            )
    known = versions.dates
    if known and whole:
        yield _AREA.ok(f"Data can be turned into each version: {', '.join((*known, INITIAL))}.")
    for date, count in _pinned(access):
        if date not in known:
            yield _AREA.warning(
                f"Endpoints are pinned to the version {date} of event data, which is not registered: {count}.",
                "They get data of that day as far as the remaining versions allow.",
                "Register it again with @webhooks.version, or choose another version for them: flask webhooks "
                "endpoints edit --data-version",
            )


def _pinned(access: Access) -> list[tuple[str, int]]:
    table = access.state.models.Endpoint
    query = (
        sa.select(table.data_version, sa.func.count())
        .where(table.deleted_at.is_(None), table.data_version.is_not(None))
        .group_by(table.data_version)
        .order_by(table.data_version)
    )
    with access.read() as session:
        return [(date or "", count) for date, count in session.execute(query)]
