"""``make demo``: the licensing server, a worker and a customer's receiver, with traffic through all of them.

Environment: ``DEMO_SECONDS`` stops after so many seconds of traffic and ends with a line of JSON;
``DEMO_RATE`` is in requests per second; ``REDIS_URL`` names a Redis to use instead of one of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from .processes import ChildDied, DemoError, Stopped
from .scoreboard import Scoreboard, Summary
from .services import ServiceError
from .stage import Stage
from .traffic import Traffic

#: How long outstanding deliveries may take after the traffic; four retries need 15 s, give or take.
SETTLE_SECONDS = 20.0
INTERRUPTED = 128 + signal.SIGINT


@dataclass(frozen=True, slots=True)
class Options:
    """What the environment asks for."""

    seconds: float | None
    rate: float
    redis_url: str | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Options:
        """:raises DemoError: a value is not usable."""

        def number(name: str, least: float, most: float) -> float | None:
            text = environment.get(name, "")
            if not text:
                return None
            with contextlib.suppress(ValueError):
                if least <= float(text) <= most:
                    return float(text)
            raise DemoError(f"{name} must be a number from {least:g} to {most:g}, not {text!r}.")

        return cls(
            seconds=number("DEMO_SECONDS", 1, 86_400),
            rate=number("DEMO_RATE", 1, 500) or 30.0,
            redis_url=environment.get("REDIS_URL") or None,
        )


@dataclass(frozen=True, slots=True)
class Result:
    """How the demo went."""

    summary: Summary
    #: What must not happen but did, in words.
    faults: list[str]


class Show:
    """Traffic over the stage, and what is told of it while it runs."""

    def __init__(
        self, stage: Stage, traffic: Traffic, scoreboard: Scoreboard, stop: threading.Event
    ) -> None:
        self._stage = stage
        self._traffic = traffic
        self._scoreboard = scoreboard
        self._stop = stop
        self._screen = LiveLine()
        self._started = time.monotonic()

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def run(self, seconds: float | None) -> Result:
        """Let the traffic run, and what it caused arrive.

        :param seconds: how long; ``None`` until `stop` is set.
        :raises Stopped: `stop` was set.
        :raises ChildDied: a process ended by itself.
        """
        self._traffic.start()
        while not self._stop.wait(1 - self._elapsed % 1):
            if seconds is not None and self._elapsed >= seconds:
                break
            self._stage.check()
            self._screen.show(self._line())
        self._traffic.stop()
        self._settle()
        self._screen.end(self._line())
        if self._stop.is_set():
            raise Stopped
        summary = self._scoreboard.summary(self._traffic.expected)
        return Result(summary, self._faults(summary))

    def _settle(self) -> None:
        """Wait for what is still to be delivered, retries included."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while self._scoreboard.tally().open and time.monotonic() < deadline:
            if self._stop.wait(0.25):
                return
            self._stage.check()
            self._screen.show(self._line())

    def _line(self) -> str:
        tally = self._scoreboard.tally()
        received = self._scoreboard.receiver_statistics()
        latency = received["latency_ms"]
        parts = [
            f"{self._elapsed:4.0f} s",
            f"{self._traffic.requests} requests",
            f"{tally.events} events",
            f"{tally.succeeded}/{tally.deliveries} delivered",
            f"{tally.retries} retries",
            f"{received['verified']} verified",
            f"p50 {_ms(latency['p50'])}, p95 {_ms(latency['p95'])}",
        ]
        if received["duplicates"]:
            parts.append(f"{received['duplicates']} duplicates")
        if self._traffic.surprises:
            parts.append(f"{len(self._traffic.surprises)} unexpected answers")
        return "  ".join(parts)

    def _faults(self, summary: Summary) -> list[str]:
        faults = [f"Unexpected answer of the API: {found}" for found in self._traffic.surprises]
        if rejected := self._scoreboard.receiver_statistics()["rejected"]:
            faults.append(f"The receiver refused {rejected} signatures.")
        if summary.lost:
            faults.append(f"{summary.lost} events were lost on their way to an endpoint.")
        return faults


class LiveLine:
    """One line that is drawn again and again on a terminal; a line every few seconds elsewhere."""

    INTERVAL = 5.0

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._shown_at = time.monotonic()

    def show(self, line: str) -> None:
        if self._terminal:
            width = shutil.get_terminal_size().columns
            print(f"\r\x1b[K{line[: width - 1]}", end="", flush=True)
        elif time.monotonic() - self._shown_at >= self.INTERVAL:
            self._shown_at = time.monotonic()
            print(line, flush=True)

    def end(self, line: str) -> None:
        print(f"\r\x1b[K{line}" if self._terminal else line, flush=True)


def _ms(latency: float | None) -> str:
    return "-" if latency is None else f"{latency:.0f} ms"


@contextlib.contextmanager
def _stopped_by_signals(stop: threading.Event, hurry: threading.Event) -> Iterator[None]:
    """Set `stop` at the first SIGINT, SIGTERM or SIGHUP, and `hurry` at the second."""

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            hurry.set()
        stop.set()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    # What the caller ignores stays ignored: `nohup make demo`.
    heard = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    previous = {number: signal.signal(number, handle) for number in heard}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def play(options: Options, directory: Path) -> Result:
    """Start everything, run the demo, and stop everything.

    :raises Stopped: a signal asked for it.
    :raises DemoError: something did not start.
    :raises ChildDied: a process ended by itself.
    """
    stop, hurry = threading.Event(), threading.Event()
    with _stopped_by_signals(stop, hurry), contextlib.ExitStack() as stack:
        stage = Stage(stack, directory, stop, hurry)
        try:
            scoreboard = stage.start(options.redis_url)
            traffic = Traffic(stage.web_port, stage.api_keys, options.rate)
            stack.callback(traffic.stop)
            stage.introduce()
            return Show(stage, traffic, scoreboard, stop).run(options.seconds)
        except (Stopped, ChildDied):
            raise
        except Exception:
            # What goes wrong beside a dead child goes wrong because of it.
            stage.check()
            raise


def run(options: Options, directory: Path) -> int:
    """Run the demo in an empty directory and say how it went; returns the exit status."""
    print("Starting the demo of Flask-Webhooks …", flush=True)
    try:
        result = play(options, directory)
    except Stopped:
        print("Stopped.", flush=True)
        return 0 if options.seconds is None else INTERRUPTED
    for fault in result.faults:
        print(fault, file=sys.stderr)
    print(result.summary.as_json(), flush=True)
    return 1 if result.faults else 0


def main() -> int:
    """Run the demo as the environment asks for it; returns the exit status."""
    directory: Path | None = None
    status = 1
    try:
        options = Options.from_environment(os.environ)
        directory = Path(tempfile.mkdtemp(prefix="flask-webhooks-demo-"))
        status = run(options, directory)
    except (DemoError, ChildDied, ServiceError) as error:
        print(f"\n{error}", file=sys.stderr)
    finally:
        if directory is not None:
            _tidy(directory, keep=status == 1)
    return status


def _tidy(directory: Path, *, keep: bool) -> None:
    if keep and any(directory.iterdir()):
        print(f"Database and logs are kept in {directory}", file=sys.stderr)
    else:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
