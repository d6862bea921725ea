"""The command line."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from demo.processes import ChildDied
from demo.services import ServiceError

from .bench import DATABASES, Bench
from .machine import describe
from .page import write_page
from .report import print_json, print_line, print_title
from .results import Result
from .scenarios import SCENARIOS
from .workers import BenchmarkError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run scenarios; returns 1 if a delivery was lost or a scenario could not be measured."""
    options = _parser().parse_args(arguments)
    # So that every `with` block ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    # Shells let their background jobs ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    began = time.monotonic()
    load = os.getloadavg()[0]
    results: list[Result] = []
    failed = False
    for name in options.scenarios:
        if name not in SCENARIOS:
            _remark(f"There is no scenario {name!r}; there are {', '.join(SCENARIOS)}.")
            return 2
    if options.write and not options.write.exists():
        _remark(f"There is no page {options.write} to write to.")
        return 2
    databases = [options.database] if options.database else DATABASES
    show = print_json if options.json else print_line
    if not options.json:
        print_title()
    try:
        with Bench("quick" if options.quick else "full") as bench:
            for name in options.scenarios or SCENARIOS:
                since = time.monotonic()
                for database in databases:
                    try:
                        for result in SCENARIOS[name](bench, database):
                            results.append(result)
                            show(result)
                    except (BenchmarkError, ChildDied, ServiceError) as error:
                        failed = True
                        _remark(f"{name} on {database}: {error}")
                    except Exception:
                        # A scenario that is broken takes none of the others with it.
                        failed = True
                        _remark(f"{name} on {database}: {traceback.format_exc()}")
                _remark(f"{name} took {time.monotonic() - since:.0f} s")
            if options.write:
                seconds = time.monotonic() - began
                write_page(options.write, results, describe(bench, load), seconds)
    except KeyboardInterrupt:
        _remark("Stopped.")
        return 130
    missed = sum(result.met is False for result in results)
    lost = sum(result.lost for result in results)
    _remark(
        f"{len(results)} results in {time.monotonic() - began:.0f} s; goals missed: {missed}; lost: {lost}"
    )
    return 1 if lost or failed else 0


def _remark(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure Flask-Webhooks beside what it is compared with. Exit status 1: something was lost.",
    )
    parser.add_argument(
        "scenarios", nargs="*", metavar="scenario", help=f"of {', '.join(SCENARIOS)}; default: all"
    )
    parser.add_argument("--quick", action="store_true", help="fewer deliveries, fewer rounds")
    parser.add_argument("--json", action="store_true", help="one JSON object per result and line")
    parser.add_argument("--database", choices=DATABASES, help="only this one; default: both")
    parser.add_argument(
        "--write", type=Path, metavar="PAGE", help="put table, machine and plot into this page"
    )
    return parser
