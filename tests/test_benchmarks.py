"""The benchmarks measure what they say, in the small: every request accounted for, and nothing left running."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import command
from benchmarks.bench import DATABASES, Bench
from benchmarks.counting import Receiver
from benchmarks.distance import Distance
from benchmarks.page import BEGIN, END, UNEXPLAINED, write_page
from benchmarks.plot import plot
from benchmarks.results import Account, Result, at_least, at_most, in_turns, percentile, significant
from benchmarks.scenarios import SCENARIOS
from tests.support.processes import ROOT, children, wait_until

MEMBERS = [
    "scenario",
    "database",
    "ours",
    "theirs",
    "unit",
    "ratio",
    "goal",
    "lost",
    "duplicates",
]
#: Scenarios in which the databases differ in more than their speed.
BOTH = {"emit"}


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with Bench("smoke") as bench:
        yield bench


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "database"),
    [
        (name, database)
        for name in SCENARIOS
        for database in DATABASES
        if name in BOTH or database == "sqlite"
    ],
)
def test_scenario_measures_and_loses_nothing(bench: Bench, name: str, database: str) -> None:
    results = list(SCENARIOS[name](bench, database))
    assert results
    for result in results:
        line = json.loads(result.as_json())
        assert list(line) == MEMBERS
        assert line["database"] == database
        assert line["lost"] == 0
        assert isinstance(line["ours"], int | float)
        assert isinstance(line["theirs"], int | float)
    assert len({result.scenario for result in results}) == len(results)
    assert any(result.goal for result in results)


def test_distance_costs_a_round_trip_for_each_that_there_would_be() -> None:
    with Receiver() as receiver, Distance(int(receiver.url.rpartition(":")[2]), 100) as distance:
        connection = http.client.HTTPConnection("127.0.0.1", distance.port, timeout=30)
        took = []
        for number in range(3):
            began = time.monotonic()
            connection.request("POST", "/ok", b"x" * 100_000, {"webhook-id": f"evt_{number}"})
            assert connection.getresponse().read() == b""
            took.append(time.monotonic() - began)
        connection.close()
        # The first one waits for a handshake as well.
        assert took[0] > 0.195
        assert min(took[1:]) > 0.095
        assert min(took[1:]) < 0.195
        assert distance.connections() == 1
        assert receiver.deliveries("ok").keys() == {("/ok", f"evt_{number}") for number in range(3)}


def test_every_request_is_accounted_for() -> None:
    account = Account()
    account.add(expected=10, distinct=9, requests=12)
    account.add(expected=5, distinct=5, requests=5)
    assert account == Account(lost=1, duplicates=3)


def test_contestants_take_turns_and_the_median_counts() -> None:
    played: list[str] = []
    figures = iter([1.0, 10.0, 2.0, 30.0, 9.0, 20.0])

    def contestant(name: str) -> float:
        played.append(name)
        return next(figures)

    assert in_turns(3, lambda: contestant("ours"), lambda: contestant("theirs")) == [2.0, 20.0]
    assert played == ["ours", "theirs"] * 3


def test_goal_is_met_on_its_side_only() -> None:
    rate = Result("throughput", "sqlite", 60, 100, "deliveries/s", at_least(0.6))
    assert (rate.ratio, rate.met) == (0.6, True)
    assert Result("throughput", "sqlite", 59, 100, "deliveries/s", at_least(0.6)).met is False
    assert Result("latency", "sqlite", 21, 10, "ms", at_most(2)).met is False
    assert Result("latency", "sqlite", 20, 10, "ms", at_most(2)).met is True
    assert Result("latency", "sqlite", 20, 10, "ms").met is None


def test_one_statement_more_than_none_misses_the_goal() -> None:
    assert Result("emit", "sqlite", 0, 0, "statements", at_most(1)).met is True
    assert Result("emit", "sqlite", 1, 0, "statements", at_most(1)).met is False


def test_percentile_is_one_of_the_values() -> None:
    assert percentile(range(1, 101), 99) == 99
    assert percentile([5.0], 99) == 5.0
    assert [significant(value) for value in (0, 12, 5123.7, 0.123456)] == [0, 12, 5124, 0.1235]


def lossy(bench: Bench, database: str) -> Iterator[Result]:
    yield Result(
        "lossy", database, 1, 2, "deliveries/s", at_least(0.4), lost=int(database == "sqlite")
    )


@pytest.fixture
def only_lossy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(SCENARIOS):
        monkeypatch.delitem(SCENARIOS, name)
    monkeypatch.setitem(SCENARIOS, "lossy", lossy)
    # The command takes SIGTERM for itself.
    monkeypatch.setattr(signal, "signal", lambda *_: None)


@pytest.mark.usefixtures("only_lossy")
def test_lost_delivery_fails_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--json", "--database", "postgresql"]) == 0
    assert command.main(["--json", "--database", "sqlite"]) == 1
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["lost"], second["lost"]) == (0, 1)
    assert second == {
        "scenario": "lossy",
        "database": "sqlite",
        "ours": 1,
        "theirs": 2,
        "unit": "deliveries/s",
        "ratio": 0.5,
        "goal": ">= 0.4",
        "lost": 1,
        "duplicates": 0,
    }


@pytest.mark.usefixtures("only_lossy")
def test_table_for_people_says_whether_the_goal_is_met(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--quick", "--database", "postgresql", "lossy"]) == 0
    title, line = capsys.readouterr().out.splitlines()
    assert title.split()[:4] == ["scenario", "database", "ours", "theirs"]
    assert line.split() == [
        "lossy",
        "postgresql",
        "1",
        "2",
        "deliveries/s",
        "0.5",
        ">=",
        "0.4",
        "met",
        "0",
        "0",
    ]


def test_unknown_scenario_is_refused_with_those_that_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.main(["thruput"]) == 2
    assert "There is no scenario 'thruput'; there are throughput, " in capsys.readouterr().err


RESULTS = [
    Result("throughput: bare <loop>", "sqlite", 50, 100, "deliveries/s", at_least(0.6)),
    Result("latency: p50", "sqlite", 10, 10, "ms", at_most(2)),
    Result("throughput, slow", "sqlite", 10, 10, "deliveries/s"),
]


def test_page_gets_figures_and_a_place_to_explain_what_is_missed(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text(f"# Benchmarks\n\n{BEGIN}\nold\n{END}\n\n## Where a goal is missed\n\nIntro.\n")
    write_page(page, RESULTS, ["2 cores"], 61)
    text = page.read_text()
    assert "old" not in text
    assert (
        "| throughput: bare <loop> | sqlite | 50 | 100 | deliveries/s | 0.5 | >= 0.6 | MISSED |"
        in text
    )
    assert "- 2 cores\n" in text
    assert "![Each figure against its goal](benchmarks.svg)" in text
    assert text.endswith(f"Intro.\n\n### throughput: bare <loop>\n\n{UNEXPLAINED}\n")


def test_explanation_stays_and_an_empty_one_goes(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text(f"{BEGIN}\n{END}\n\n## Where a goal is missed\n")
    write_page(page, RESULTS, [], 61)
    write_page(page, RESULTS[1:], [], 61)
    assert UNEXPLAINED not in page.read_text()
    page.write_text(page.read_text() + "\n### throughput: bare <loop>\n\nThe disk.\n")
    write_page(page, RESULTS, [], 61)
    assert page.read_text().endswith("\n### throughput: bare <loop>\n\nThe disk.\n")
    assert page.read_text().count("###") == 1


def test_page_without_marks_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("# Mine\n")
    with pytest.raises(ValueError, match="must hold the lines <!-- figures -->"):
        write_page(page, RESULTS, [], 61)
    assert page.read_text() == "# Mine\n"
    assert list(tmp_path.iterdir()) == [page]


def test_plot_has_a_bar_for_each_goal() -> None:
    root = ET.fromstring(plot(RESULTS))
    bars = [bar.get("class") for bar in root.findall(".//{*}rect")]
    assert bars == ["back", "missed", "met"]


@pytest.mark.parametrize(
    "signal_number",
    [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL],
)
def test_nothing_is_left_running(signal_number: signal.Signals, tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "benchmarks", "throughput", "--database", "sqlite"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(arguments, cwd=ROOT, stdout=log, stderr=log)
    try:
        # The receiver, Redis with its guard, two workers, and a work-horse or a scheduler.
        wait_until(lambda: len(children(process.pid)) >= 6, 60, "its processes to run")
        family = children(process.pid)
        process.send_signal(signal_number)
        process.wait(75)
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: not any(alive(pid) for pid in family), 30, "its processes to end")


def alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    # A zombie waits only for whoever adopted it.
    return "\nState:\tZ" not in status
