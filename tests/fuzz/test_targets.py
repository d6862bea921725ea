"""No bytes break what reads them from outside; `python -m tests.fuzz` looks for longer."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import SEEDS, TARGETS

#: The seeds, with pieces of them and anything else between.
PIECES = {
    name: st.lists(
        st.sampled_from([part for seed in seeds for part in (seed, *seed.splitlines(True))])
        | st.binary(max_size=8)
        | st.text(max_size=8).map(lambda text: text.encode(errors="surrogatepass")),
        max_size=6,
    ).map(b"".join)
    for name, seeds in SEEDS.items()
}


@pytest.mark.parametrize("name", TARGETS)
def test_no_bytes_break_a_target(name: str) -> None:
    examples = 30 if name == "exchange" else 150

    @settings(max_examples=examples, deadline=None, database=None)
    @given(PIECES[name])
    def try_any(data: bytes) -> None:
        TARGETS[name](data)

    for seed in SEEDS[name]:
        TARGETS[name](seed)
    try_any()


def test_command_tries_one_target() -> None:
    command = [sys.executable, "-m", "tests.fuzz", "url", "--seconds", "1"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stdout + ended.stderr
