"""The scenarios, by name. A new one is a module with a `run` and a line here.

`run` gets the bench and the name of a database, and yields a `Result` for each line of the report. How much
it does at each `Scale`, it keeps in a table of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..bench import Bench
from ..results import Result
from . import (
    backlog,
    capturing,
    emit,
    encryption,
    fan_out,
    filters,
    growth,
    isolation,
    latency,
    logs,
    memory,
    metrics,
    numbering,
    ordered,
    pulling,
    scale_out,
    scheduled,
    sporadic,
    throughput,
    tracing,
    upgrade,
)

Run = Callable[[Bench, str], Iterator[Result]]

#: In the order in which they run.
SCENARIOS: dict[str, Run] = {
    "throughput": throughput.run,
    "ordered": ordered.run,
    "latency": latency.run,
    "sporadic": sporadic.run,
    "isolation": isolation.run,
    "backlog": backlog.run,
    "emit": emit.run,
    "filters": filters.run,
    "growth": growth.run,
    "scheduled": scheduled.run,
    "fan-out": fan_out.run,
    "memory": memory.run,
    "metrics": metrics.run,
    "logs": logs.run,
    "encryption": encryption.run,
    "tracing": tracing.run,
    "numbering": numbering.run,
    "pulling": pulling.run,
    "upgrade": upgrade.run,
    "capture": capturing.run,
    "scale-out": scale_out.run,
}
