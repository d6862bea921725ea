"""What `flask_webhooks.testing.capture` costs a host's test: a block with an event, its commit and what is asserted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from flask_webhooks.testing import capture

from ..bench import Bench, Scale
from ..hostapp import webhooks
from ..results import Result, at_most, in_turns

TENANT = "app_1"
#: Milliseconds that a block may take.
LIMIT = 5.0


@dataclass(frozen=True)
class Size:
    blocks: int


SIZES: dict[Scale, Size] = {"full": Size(300), "quick": Size(100), "smoke": Size(3)}


def run(bench: Bench, database: str) -> Iterator[Result]:
    with bench.host(database) as host:
        host.add_endpoints(f"{bench.receiver.url}/ok", 1, TENANT)

        def block() -> float:
            began = time.monotonic()
            with capture(webhooks) as captured:
                host.emit(1, TENANT)
            captured.assert_emitted("license.created", tenant=TENANT, committed=True)
            return (time.monotonic() - began) * 1000

        block()
        [ours] = in_turns(SIZES[bench.scale].blocks, block)
    yield Result(
        "capture: a block with an event and its commit", database, ours, LIMIT, "ms", at_most(1.0)
    )
