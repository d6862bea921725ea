"""Try any bytes on one target, or on each in turn: ``python -m tests.fuzz [TARGET] --seconds 60``.

With atheris, which follows what a target does with them, where it is installed; else with random changes of the seeds.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

try:
    import atheris
except ImportError:
    atheris = None

# It sees where a target goes in what is imported here for the first time.
instrumented: Any = (
    nullcontext() if atheris is None else atheris.instrument_imports(["flask_webhooks"])
)
with instrumented:
    from tests.fuzz.targets import SEEDS, TARGETS

#: Bytes of one input.
LONGEST = 4096


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", nargs="?", choices=list(TARGETS), help="all of them by default")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    given = parser.parse_args()
    if given.target is None:
        # One process each: libFuzzer ends its own.
        command = [sys.executable, "-m", "tests.fuzz", "--seconds", str(given.seconds)]
        ended = {name: subprocess.run([*command, name]).returncode for name in TARGETS}
        print(
            "\n".join(f"{name}: {'failed' if code else 'passed'}" for name, code in ended.items())
        )
        return int(any(ended.values()))
    if atheris is None:
        print("atheris is not installed: its seeds are changed at random.")
        return change_at_random(given.target, given.seconds)
    return follow(given.target, given.seconds)


def follow(name: str, seconds: int) -> int:
    """Let atheris look for bytes that take new ways through the package."""
    with tempfile.TemporaryDirectory() as directory:
        for number, seed in enumerate(SEEDS[name]):
            Path(directory, str(number)).write_bytes(seed)
        options = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", "-timeout=20"]
        atheris.Setup([sys.argv[0], *options, "-rss_limit_mb=2048", directory], TARGETS[name])
        atheris.Fuzz()
    return 0


def change_at_random(name: str, seconds: int) -> int:
    """Change the seeds at random places."""
    source, until, tried = random.Random(), time.monotonic() + seconds, 0
    while time.monotonic() < until:
        data = bytearray(source.choice(SEEDS[name]))
        for _ in range(source.randint(0, 8)):
            place = source.randint(0, len(data))
            data[place : place + source.randint(0, 4)] = source.randbytes(source.randint(0, 6))
        try:
            TARGETS[name](bytes(data))
        except Exception:
            print(f"{name}: {bytes(data)!r}")
            raise
        tried += 1
    print(f"{name}: {tried:,} inputs in {seconds} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
