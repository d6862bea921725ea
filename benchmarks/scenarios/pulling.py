"""How long a page of 1,000 pulled events takes, of 2,000,000: at the start, in the middle and near the end."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import sqlalchemy as sa

from flask_webhooks.queries.cursors import START, Cursor, scope_digest

from ..bench import Bench, Scale
from ..filling import fill
from ..host import Host
from ..hostapp import webhooks
from ..results import Result, at_most, in_turns

TENANT = "app_1"
#: Events on a page, and in a batch.
PAGE = 1_000
#: Milliseconds that a page may take.
LIMIT = 50.0
_PLACES = 3


@dataclass(frozen=True)
class Size:
    events: int
    pages: int


SIZES: dict[Scale, Size] = {
    "full": Size(2_000_000, 20),
    "quick": Size(200_000, 10),
    "smoke": Size(3_000, 2),
}


def run(bench: Bench, database: str) -> Iterator[Result]:
    size = SIZES[bench.scale]
    with bench.host(database) as host:
        [endpoint_id] = host.add_endpoints(f"{bench.receiver.url}/ok", 1, TENANT)
        fill(host, [endpoint_id], size.events, TENANT, settled=False)
        _number(host)
        for name, endpoint in (("of a tenant", None), ("of an endpoint", endpoint_id)):
            cursors = itertools.cycle(_cursors(size.events, endpoint))
            [ours] = in_turns(size.pages * _PLACES, partial(_page, host, cursors, endpoint))
            yield Result(f"pulling: a page {name}", database, ours, LIMIT, "ms", at_most(1.0))


def _page(host: Host, cursors: Iterator[str], endpoint_id: str | None) -> float:
    """Milliseconds of the page at the next cursor."""
    after = next(cursors)
    tenant = None if endpoint_id else TENANT
    with host.app.app_context():
        began = time.perf_counter()
        pulled = webhooks.pull(after, tenant=tenant, endpoint_id=endpoint_id, limit=PAGE)
        seconds = time.perf_counter() - began
    assert len(pulled.items) == PAGE
    return seconds * 1000


def _number(host: Host) -> None:
    """Put all events into batches, as pulls do."""
    event, numbering = host.models.table("Event"), host.models.table("Numbering")
    number = sa.cast(sa.func.substr(event.c.id, 15), sa.BigInteger)
    with host.engine.begin() as connection:
        connection.execute(sa.update(event).values(batch=number // PAGE + 1))
        last = connection.scalar(sa.select(sa.func.max(event.c.batch)))
        connection.execute(sa.insert(numbering).values(name="events", last=last))
    if host.engine.dialect.name == "postgresql":
        with host.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            # As it does by itself after a while.
            connection.execute(sa.text("VACUUM ANALYZE"))


def _cursors(events: int, endpoint_id: str | None) -> list[str]:
    digest = scope_digest(None if endpoint_id else TENANT, endpoint_id)
    batches = (events // PAGE // 2, max(events // PAGE - 2, 1))
    now = int(time.time())
    return [START, *(Cursor(batch, "", now, digest).text() for batch in batches)]
