"""What a run says: one line of JSON, an exit status, and for people what was broken. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .schedule import IN_FLIGHT, STRIKES
from .striking import Struck
from .verdict import EXAMPLES, Verdict

#: All well; a promise was broken; too little happened to say so.
WELL, BROKEN, THIN = 0, 1, 2


def line(database: str, seed: int, verdict: Verdict, faults: Mapping[str, int]) -> str:
    """Write the last line of a run."""
    return json.dumps(
        {
            "database": database,
            "seed": seed,
            "events": verdict.events,
            "deliveries": verdict.deliveries,
            "succeeded": verdict.succeeded,
            "lost": verdict.lost,
            "duplicates": verdict.duplicates,
            "unexplained_duplicates": verdict.unexplained_duplicates,
            "phantoms": verdict.phantoms,
            "late_over_bound": verdict.late_over_bound,
            "faults": dict(faults),
        }
    )


def counted(kinds: Iterable[str], struck: Iterable[Struck]) -> dict[str, int]:
    """Count the strikes of each kind that had enough requests in flight."""
    counts = Counter(one.fault for one in struck if one.counts)
    return {kind: counts[kind] for kind in kinds}


def status(verdict: Verdict, faults: Mapping[str, int]) -> int:
    """Return the exit status."""
    if verdict.broken or verdict.lost or verdict.phantoms or verdict.unexplained_duplicates:
        return BROKEN
    return WELL if min(faults.values(), default=0) >= STRIKES else THIN


def remarks(verdict: Verdict, faults: Mapping[str, int]) -> Iterator[str]:
    """Say what was broken, and which faults were too few."""
    for promise, examples in verdict.broken.items():
        yield f"BROKEN {len(examples)} times: {promise}"
        for example in examples[:EXAMPLES]:
            yield f"    {example}"
    for fault, count in faults.items():
        if count < STRIKES:
            yield f"{fault} struck {count} times with {IN_FLIGHT} requests in flight, not {STRIKES}"


def as_facts(verdict: Verdict, facts: Mapping[str, Any]) -> str:
    """Write all that is known of a run, for its folder."""
    return json.dumps({**facts, "broken": verdict.broken}, indent=2)
