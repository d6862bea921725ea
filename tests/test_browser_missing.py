"""On a machine without Chromium: the tests in the browser are left out, and one line says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "REQUIRE_CHROMIUM"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT,
        env={**kept, "CHROMIUM": "/nowhere/chromium", **environment},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.mark.parametrize("processes", [pytest.param("0", marks=pytest.mark.slow), "1"])
def test_one_line_says_that_there_is_no_browser(processes: str) -> None:
    result = run("tests/browser", "tests/test_ids.py", "-n", processes)
    assert result.returncode == 0, result.stdout
    lines = [line for line in result.stdout.splitlines() if "hromium" in line]
    assert lines == [
        "SKIPPED tests/browser: needs Chromium: apt-get install chromium, or name one in CHROMIUM"
    ]
    assert "SKIPPED [" not in result.stdout
    assert " passed" in result.stdout


@pytest.mark.slow
def test_nothing_is_said_where_none_was_asked_for() -> None:
    result = run("tests/test_ids.py", "-n", "0")
    assert result.returncode == 0, result.stdout
    assert "hromium" not in result.stdout


@pytest.mark.slow
def test_where_one_is_required_its_tests_fail() -> None:
    test = "tests/browser/test_pages.py::test_event_types_can_be_filtered"
    result = run(test, "-n", "0", REQUIRE_CHROMIUM="1")
    assert result.returncode == 1, result.stdout
    assert "needs Chromium" in result.stdout
    assert "1 error" in result.stdout
