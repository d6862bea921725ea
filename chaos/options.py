"""What a run is asked to do, from environment variables."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .faults import LANES

FAULTS = tuple(name for faults in LANES.values() for name in faults)
DATABASES = ("sqlite", "postgresql", "mariadb")


class OptionError(Exception):
    """A variable has a value that cannot be used; says what to write."""


@dataclass(frozen=True)
class Options:
    """``CHAOS_DATABASE``, ``CHAOS_SECONDS``, ``CHAOS_SEED``, ``CHAOS_WITHOUT``, ``CHAOS_KEEP`` and ``CHAOS_REPLAY``."""

    database: str = "sqlite"
    #: For how long faults strike. The start, and the backlog at the end, come on top.
    seconds: float = 60.0
    seed: int = 0
    #: Kinds of fault that are left out.
    without: frozenset[str] = frozenset()
    #: Keep the folder of the run although it has succeeded.
    keep: bool = False
    #: The faults of an earlier run, as its ``schedule.json`` has them.
    replayed: tuple[dict[str, Any], ...] | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Options:
        """Read the variables; those of a replayed run are as they were.

        :raises OptionError: one of them cannot be used.
        """
        values: dict[str, Any] = {
            "database": environment.get("CHAOS_DATABASE") or "sqlite",
            "seconds": _number(environment, "CHAOS_SECONDS", 60.0),
            "seed": int(
                _number(environment, "CHAOS_SEED", random.SystemRandom().randrange(1_000_000))
            ),
        }
        if path := environment.get("CHAOS_REPLAY"):
            values.update(_replayed(Path(path)))
        if values["database"] not in DATABASES:
            raise OptionError(
                f"CHAOS_DATABASE is {values['database']!r}; write one of {', '.join(DATABASES)}."
            )
        if not 1 <= values["seconds"] <= 86_400:
            raise OptionError("CHAOS_SECONDS must be from 1 to 86400.")
        names = environment.get("CHAOS_WITHOUT", "").replace(",", " ").split()
        for name in names:
            if name not in FAULTS:
                raise OptionError(
                    f"CHAOS_WITHOUT: there is no fault {name!r}; there are {', '.join(FAULTS)}."
                )
        return cls(**values, without=frozenset(names), keep=bool(environment.get("CHAOS_KEEP")))


def _number(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name) or str(default)
    try:
        return float(text)
    except ValueError:
        raise OptionError(f"{name} must be a number, not {text!r}.") from None


def _replayed(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
        return {
            "database": found["database"],
            "seconds": float(found["seconds"]),
            "seed": int(found["seed"]),
            "replayed": tuple(found["strikes"]),
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OptionError(
            f"CHAOS_REPLAY names {path}, which is no schedule.json of a run: {error}"
        ) from None
