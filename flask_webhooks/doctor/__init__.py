"""``flask webhooks doctor``: check everything that webhooks need, from this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..access import Access
from ..errors import WebhooksError
from ..log import get_logger, log_failure
from .configuration import examine_configuration
from .database import answers, examine_clocks, examine_database, examine_keys
from .findings import Area, Finding, Level
from .network import examine_machine, examine_receivers
from .queue import Queue, examine_workers
from .versions import examine_versions

__all__ = ["Finding", "Level", "examine"]

logger = get_logger("flask_webhooks")


def examine(access: Access) -> Iterator[Finding]:
    """Run all checks; a check that fails to run is a finding, too."""
    state = access.state
    yield from _guarded("configuration", lambda: examine_configuration(state))
    silent = answers(state)
    if silent is not None:
        yield silent
    else:
        yield from _guarded("database", lambda: examine_database(state))
    queue = Queue(state.worker_queue)
    yield from _guarded("redis", queue.examine)
    if silent is None:
        yield from _guarded("clock", lambda: examine_clocks(access, queue.time))
        yield from _guarded("keys", lambda: examine_keys(access))
        yield from _guarded("versions", lambda: examine_versions(access))
        yield from _guarded("workers", lambda: examine_workers(access, queue.engine))
    yield from _guarded("machine", lambda: examine_machine(state.settings))
    if silent is None:
        yield from _guarded("receivers", lambda: examine_receivers(access))


def _guarded(area: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from look()
    except WebhooksError as error:
        yield _unknown(area, error.message)
    except Exception as error:
        log_failure(logger, "This check failed", error=error)
        yield _unknown(area, f"{type(error).__name__}: see the log for details.")


def _unknown(area: str, why: str) -> Finding:
    return Area(area).problem(
        "The check could not run.",
        why,
        "Fix the problems above, and run the command again.",
    )
