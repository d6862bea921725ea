"""No process outlives the benchmark, not even where that was killed without a chance to tidy up."""

from __future__ import annotations

import os
import signal
import threading
import time

#: Names the process that must stay alive, for the children that cannot watch their standard input.
VARIABLE = "BENCHMARK_OWNER"


def end_with_owner() -> None:
    """End this process, as SIGTERM does, once the benchmark that started it is gone."""
    owner = os.environ.get(VARIABLE)
    if owner is None or int(owner) != os.getppid():
        return  # the benchmark itself, or a fork of a worker: those end with the worker

    def watch() -> None:
        while os.getppid() == int(owner):
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="end-with-owner", daemon=True).start()
