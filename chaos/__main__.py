"""``python -m chaos``."""

from __future__ import annotations

import shutil
import signal
import sys

from demo.services import ServiceError

from . import report
from .options import OptionError, Options
from .run import Run


def main() -> int:
    """Run as the environment says; returns the exit status."""
    try:
        options = Options.from_environment()
    except OptionError as error:
        print(error, file=sys.stderr)
        return report.THIN
    print(
        f"{options.seconds:g} s of faults on {options.database}, seed {options.seed}",
        file=sys.stderr,
    )
    try:
        with Run(options) as run:
            verdict, faults, facts = run.go()
    except ServiceError as error:
        print(error, file=sys.stderr)
        return report.THIN
    status = report.status(verdict, faults)
    for remark in [*run.remarks, *report.remarks(verdict, faults)]:
        print(remark, file=sys.stderr)
    (run.folder / "report.json").write_text(report.as_facts(verdict, facts))
    if status == report.WELL and not options.keep:
        shutil.rmtree(run.folder)
    else:
        print(f"Records and schedule.json, to repeat it: {run.folder}", file=sys.stderr)
    print(report.line(options.database, options.seed, verdict, faults))
    return status


if __name__ == "__main__":
    # As Ctrl-C does, so that nothing is left running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
