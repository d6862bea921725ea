"""The job that does nothing, for the time until a job starts. In a module that costs nothing to import."""

from __future__ import annotations

import time

from rq import get_current_job

#: The Redis list that the jobs write their start to.
STARTS = "benchmarks:starts"


def noop() -> None:
    """Tell when this began, by the machine's monotonic clock."""
    at = time.monotonic()
    job = get_current_job()
    if job is not None:
        job.connection.rpush(STARTS, at)
