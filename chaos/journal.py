"""What a driver says that it did, written before and after it did it; and reading that again.

A line is one JSON object, in the file before the next step is taken, so that it stays whatever happens to the driver.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COMMITTED, ROLLED_BACK, UNKNOWN, REFUSAL = "committed", "rolled back", "unknown", "refusal"


def digest_of(data: Any) -> str:
    """Return a digest of the data of an event, as it was emitted and as it was received."""
    text = json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


class Journal:
    """The file of one driver."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, step: str, **values: Any) -> None:
        """Add a line."""
        line = json.dumps({"step": step, "at": time.monotonic(), **values})
        os.write(self._file, f"{line}\n".encode())


@dataclass(frozen=True)
class Emitted:
    """An event that a driver emitted, and what became of its transaction."""

    serial: str
    event_id: str
    tenant: str
    type: str
    digest: str
    #: The transaction, which is committed as a whole or not at all.
    part: str
    outcome: str
    driver: str


@dataclass(frozen=True)
class HostRequest:
    """A request of the host."""

    began: float
    ended: float
    #: Seconds of it in which this thread was ready to run and the machine had no processor for it.
    starved: float
    #: Seconds that it may wait on our account.
    bound: float
    #: The type of what it raised, and whether the database raised it.
    error: str | None = None
    from_database: bool = False


@dataclass
class Story:
    """All that the drivers say."""

    events: dict[str, Emitted] = field(default_factory=dict)
    requests: list[HostRequest] = field(default_factory=list)
    #: Refusal events that the library says it could not keep.
    given_up: int = 0


def read_journals(paths: Iterable[Path]) -> Story:
    """Read the files of all drivers."""
    story = Story()
    for path in paths:
        with path.open() as lines:
            _read(story, path.stem, (json.loads(line) for line in lines))
    return story


def _read(story: Story, driver: str, lines: Iterable[Mapping[str, Any]]) -> None:
    parts: dict[str, list[str]] = {}
    for line in lines:
        match line["step"]:
            case "commit":
                # What comes after it may never be written.
                _add(story, driver, line, UNKNOWN)
                parts[line["part"]] = [event["serial"] for event in line["events"]]
            case "committed":
                for serial in parts[line["part"]]:
                    found = story.events[serial]
                    story.events[serial] = Emitted(**{**vars(found), "outcome": COMMITTED})
            case "rolled back":
                _add(story, driver, line, ROLLED_BACK)
            case "refusal":
                _add(story, driver, line, REFUSAL)
            case "request":
                values = {key: value for key, value in line.items() if key not in ("step", "at")}
                story.requests.append(HostRequest(**values))
            case "end":
                story.given_up += line["given_up"]


def _add(story: Story, driver: str, line: Mapping[str, Any], outcome: str) -> None:
    for event in line["events"]:
        story.events[event["serial"]] = Emitted(
            **event, part=line["part"], outcome=outcome, driver=driver
        )
