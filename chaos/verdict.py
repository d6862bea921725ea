"""What came of a run: the drivers' journals against the receivers' records and the database's rows. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .endpoints import EndpointSpec
from .journal import COMMITTED, REFUSAL, ROLLED_BACK, UNKNOWN, Emitted, HostRequest, Story
from .rows import DeliveryRow, Key, Receipt, Received, Stored

AT_REST = frozenset({"succeeded", "failed", "cancelled", "held"})
#: Seconds that more requests than the cap may seem to be in flight: the receiver reads of the end of one after the
#: begin of the next.
CAP_SLACK = 1.0
#: A rate is counted over so many seconds, of which a busy machine may have delayed the first few requests.
WINDOW, DELAYED = 10.0, 2.0
#: Seconds by which a receiver lets the signed time be wrong.
TOLERANCE = 300.0
#: Examples of each broken promise that a report names.
EXAMPLES = 5


@dataclass
class Verdict:
    """The counts, and every promise that was broken."""

    events: int = 0
    deliveries: int = 0
    succeeded: int = 0
    lost: int = 0
    duplicates: int = 0
    unexplained_duplicates: int = 0
    phantoms: int = 0
    late_over_bound: int = 0
    #: Broken promises: how often, and examples.
    broken: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def breaks(self, promise: str, example: str) -> None:
        """Note that a promise was broken."""
        self.broken[promise].append(example)

    def lose(self, what: str, example: str) -> None:
        """Note something that is lost."""
        self.lost += 1
        self.breaks(f"lost: {what}", example)


def judge(
    story: Story,
    received: Received,
    stored: Stored,
    specs: Sequence[EndpointSpec],
    database_faults: Iterable[tuple[float, float]],
) -> Verdict:
    """Compare what three sides say of one run that is over.

    :param database_faults: when the database was in trouble, so that the host waited for it and not for us.
    """
    verdict = Verdict(events=len(stored.events), deliveries=len(stored.deliveries))
    verdict.succeeded = sum(row.state == "succeeded" for row in stored.deliveries.values())
    _check_existence(verdict, story, received, stored)
    owed = _check_owed(verdict, story, stored, specs)
    _check_phantoms(verdict, received, stored, owed)
    _check_deliveries(verdict, received, stored, specs)
    _check_receipts(verdict, story, received, stored)
    _check_numbers(verdict, received, stored)
    _check_order(verdict, story, received, specs)
    _check_limits(verdict, received, specs)
    _check_host(verdict, story.requests, sorted(database_faults))
    return verdict


def _check_existence(verdict: Verdict, story: Story, received: Received, stored: Stored) -> None:
    """An event exists if and only if its transaction was committed; one whose end is unknown, as a whole or not."""
    serials = set(stored.events.values())
    missing = 0
    parts: dict[str, list[bool]] = defaultdict(list)
    for event in story.events.values():
        there = event.serial in serials
        if event.outcome == COMMITTED and not there:
            verdict.lose("a committed event is not stored", event.serial)
        elif event.outcome == REFUSAL and not there:
            missing += 1
            if missing > story.given_up:
                verdict.lose("an event of a refusal is not stored", event.serial)
        elif event.outcome == UNKNOWN:
            parts[event.part].append(there)
    if missing < story.given_up:
        verdict.breaks("counted as lost, and is there", str(story.given_up - missing))
    verdict.lost += min(missing, story.given_up)
    for _ in range(min(missing, story.given_up)):
        verdict.breaks("lost: the library gave an event of a refusal up, and said so", "")
    for part, there_of in parts.items():
        if len(set(there_of)) > 1:
            verdict.lose("half of a transaction is stored", part)


def _check_phantoms(verdict: Verdict, received: Received, stored: Stored, owed: set[Key]) -> None:
    """Nothing is stored or received that was rolled back, never emitted, or is another's."""
    for event_id in stored.events.keys() - {event_id for _, event_id in owed}:
        # One without subscribers is in no delivery; drivers emit none such.
        verdict.phantoms += 1
        verdict.breaks("phantom: stored and not committed", stored.events[event_id])
    for number, event_id in stored.deliveries.keys() - owed:
        if event_id in stored.events:
            verdict.phantoms += 1
            verdict.breaks("phantom: a delivery that nobody is owed", f"{number} {event_id}")
    for number, event_id in received.receipts.keys() - owed:
        verdict.phantoms += 1
        verdict.breaks("phantom: received and not committed", f"{number} {event_id}")


def _check_owed(
    verdict: Verdict, story: Story, stored: Stored, specs: Sequence[EndpointSpec]
) -> set[Key]:
    """Each event that is stored by right has a delivery for each subscriber; returns those."""
    subscribers: dict[tuple[str, str], list[int]] = defaultdict(list)
    for spec in specs:
        for event_type in spec.types:
            subscribers[spec.tenant, event_type].append(spec.number)
    owed = set()
    for event in story.events.values():
        if event.outcome == ROLLED_BACK or stored.events.get(event.event_id) != event.serial:
            continue
        for number in subscribers[event.tenant, event.type]:
            owed.add((number, event.event_id))
            if (number, event.event_id) not in stored.deliveries:
                verdict.lose("a subscriber has no delivery", f"{number} {event.serial}")
    return owed


def _check_deliveries(
    verdict: Verdict, received: Received, stored: Stored, specs: Sequence[EndpointSpec]
) -> None:
    """Every delivery is at rest or due; what succeeded was received, and what can be reached has succeeded."""
    reachable = {spec.number for spec in specs if spec.kind.reachable}
    for key, row in stored.deliveries.items():
        example = f"{row.id} {row.state} {row.reason or ''}"
        if not is_settled_or_due(row):
            verdict.lose("a delivery is neither at rest nor due", example)
        answered = any(_is_success(receipt) for receipt in received.receipts.get(key, ()))
        if row.state == "succeeded" and not answered:
            verdict.lose("it succeeded and was not received", example)
        if key[0] in reachable and row.state != "succeeded":
            verdict.lose("a receiver that answers has not got it", f"{key[0]} {example}")


def _check_numbers(verdict: Verdict, received: Received, stored: Stored) -> None:
    """The numbers of an endpoint are 1, 2, 3 … without a gap, each of one event, and no request has another one."""
    numbers: dict[int, list[int]] = defaultdict(list)
    for (endpoint, _), row in stored.deliveries.items():
        if row.sequence is not None:
            numbers[endpoint].append(row.sequence)
    for endpoint, found in numbers.items():
        wrong = [n for n, given in enumerate(sorted(found), 1) if n != given]
        if wrong:
            verdict.breaks("numbers have no gaps", f"{endpoint}: {wrong[0]} is not there once")
    for key, receipts in received.receipts.items():
        row_of = stored.deliveries.get(key)
        sent = {receipt.sequence for receipt in receipts} - {None}
        if row_of is not None and not sent <= {row_of.sequence}:
            verdict.breaks("each request has its number", f"{key}: {sent}, not {row_of.sequence}")


def is_settled_or_due(row: DeliveryRow) -> bool:
    """Return whether something will still become of a delivery, or nothing has to."""
    if row.state in AT_REST:
        return True
    return row.due if row.state == "pending" else row.leased


def _is_success(receipt: Receipt) -> bool:
    return receipt.status is not None and 200 <= receipt.status < 300


def _check_receipts(verdict: Verdict, story: Story, received: Received, stored: Stored) -> None:
    """Bytes, signatures and duplicates."""
    by_id = {event.event_id: event for event in story.events.values()}
    for key, receipts in received.receipts.items():
        event = by_id.get(key[1])
        if event is None:
            continue
        bodies = {receipt.body for receipt in receipts}
        attempts = stored.attempts.get(key, [])
        recorded = {attempt.body for attempt in attempts} - {None}
        if len(bodies) > 1 or recorded - bodies:
            verdict.breaks("the same bytes on every attempt, as they are recorded", str(key))
        for receipt in receipts:
            if (receipt.serial, receipt.digest) != (event.serial, event.digest):
                verdict.breaks("received as it was emitted", str(key))
            if not receipt.signed:
                verdict.breaks("signed", str(key))
            elif receipt.off is None or receipt.off > TOLERANCE:
                verdict.breaks("signed at the right time", f"{key} {receipt.off}")
        extra = max(0, sum(map(_is_success, receipts)) - 1)
        interrupted = sum(attempt.outcome == "interrupted" for attempt in attempts)
        verdict.duplicates += extra
        if extra > interrupted:
            verdict.unexplained_duplicates += extra - interrupted
            outcomes = [attempt.outcome for attempt in attempts]
            verdict.breaks("a duplicate has an interrupted attempt", f"{key} {outcomes}")


def _check_order(
    verdict: Verdict, story: Story, received: Received, specs: Sequence[EndpointSpec]
) -> None:
    """At an ordered endpoint no event comes after one that was committed later by the same process.

    When a refusal is written is not known.
    """
    by_id = {event.event_id: event for event in story.events.values()}
    ordered = {spec.number for spec in specs if spec.kind.ordered}
    came: dict[tuple[int, str], list[tuple[float, str]]] = defaultdict(list)
    for (number, event_id), receipts in received.receipts.items():
        event = by_id.get(event_id)
        if number in ordered and event is not None and event.outcome != REFUSAL:
            came[number, event.driver] += [(receipt.at, event.serial) for receipt in receipts]
    for place, arrivals in came.items():
        latest = ""
        for _, serial in sorted(arrivals):
            if serial < latest:
                verdict.breaks("ordered endpoints in order", f"{place}: {serial} after {latest}")
            latest = max(latest, serial)


def _check_limits(verdict: Verdict, received: Received, specs: Sequence[EndpointSpec]) -> None:
    """Rate limits and caps."""
    for number, seconds in received.over_cap.items():
        if seconds > CAP_SLACK:
            verdict.breaks("caps held", f"{number}: {seconds:.1f} s over its cap")
    limits = {spec.number: spec.kind.rate_limit for spec in specs if spec.kind.rate_limit}
    times: dict[int, list[float]] = defaultdict(list)
    for (number, _), receipts in received.receipts.items():
        if number in limits:
            times[number] += [receipt.at for receipt in receipts]
    for number, at in times.items():
        at.sort()
        most = max(bisect_right(at, begin + WINDOW) - index for index, begin in enumerate(at))
        if most > (limits[number] or 0) * (WINDOW + DELAYED):
            verdict.breaks("rate limits kept", f"{number}: {most} in {WINDOW:g} s")


def _check_host(
    verdict: Verdict, requests: Iterable[HostRequest], troubles: list[tuple[float, float]]
) -> None:
    """Requests of the host fail only for their database, and wait for us only as long as is promised."""
    for request in requests:
        if request.error is not None and not request.from_database:
            verdict.breaks("the host's requests never fail because of us", request.error)
        waited = request.ended - request.began - request.starved
        if waited > request.bound and not any(
            begin <= request.ended and request.began <= end for begin, end in troubles
        ):
            verdict.late_over_bound += 1


def count_outcomes(events: Iterable[Emitted]) -> dict[str, int]:
    """Count events by what became of their transactions."""
    counts: dict[str, int] = defaultdict(int)
    for event in events:
        counts[event.outcome] += 1
    return dict(counts)
