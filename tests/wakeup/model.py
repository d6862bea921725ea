"""A model of wake-ups, small enough to try every order in which hosts and drains can take their steps.

A step is what one process does at once: a commit, a script in Redis, a look at the database, a change of its own
memory. Between two steps of a process the others may take any number of theirs. What Redis does is written here once
more, and `tests.wakeup.test_model` compares it with the scripts, in every state of Redis that the model reaches.

Left out is what no wake-up survives, and the sweep repairs: a killed drain, a Redis that forgets or does not answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

#: A job that was announced, so that no other one is enqueued while it waits; and one of a drain that hands over.
ANNOUNCED, PLAIN = "announced", "plain"


@dataclass(frozen=True, slots=True)
class Redis:
    """The keys of an installation. Drains are numbers."""

    dirty: bool = False
    listening: frozenset[int] = frozenset()
    #: Drains that have a notice in their channel.
    noticed: frozenset[int] = frozenset()
    entering: bool = False
    queue: tuple[str, ...] = ()

    def notify(self) -> Iterator[tuple[Redis, bool]]:
        """NOTIFY, for each drain that may have spoken last; with it, whether a job is to be enqueued."""
        marked = replace(self, dirty=True)
        free = self.listening - self.noticed
        for drain in free:
            yield replace(marked, noticed=self.noticed | {drain}), False
        if free:
            return
        if self.listening or self.entering or ANNOUNCED in self.queue:
            yield marked, False
        else:
            yield replace(marked, entering=True), True

    def enter(self) -> Redis:
        """The job that NOTIFY asked for is in the queue."""
        return replace(self, entering=False, queue=(*self.queue, ANNOUNCED))

    def present(self, drain: int, capacity: bool) -> Redis:
        """PRESENT."""
        others = self.listening - {drain}
        return replace(self, listening=others | {drain} if capacity else others)

    def leave(self, drain: int) -> tuple[Redis, bool]:
        """LEAVE; with it, whether the drain is gone."""
        if self.dirty:
            return replace(self, dirty=False), False
        return self.present(drain, False), True


@dataclass(frozen=True, slots=True)
class Drain:
    """A worker, and the drain that it runs, if it does."""

    #: Our worker's: it leaves only if a job waits.
    stays: bool
    running: bool = False
    #: It is to look for work; it has begun to; it is to be told to look; its slots are taken.
    look: bool = False
    reading: bool = False
    owed_look: bool = False
    full: bool = False
    #: How far its listener is: ``no``, ``cleared`` (the mark), ``yes``.
    arrived: str = "no"
    #: It is off the list and has to notify another, or to enqueue a job.
    passing_on: bool = False
    handing_over: bool = False
    #: How often it may still hand over: its time is up once.
    hand_overs: int = 1

    def ended(self) -> Drain:
        return Drain(self.stays, hand_overs=self.hand_overs)


@dataclass(frozen=True, slots=True)
class State:
    """All of it. An event is ``none``, ``committed`` or ``taken``."""

    drains: tuple[Drain, ...]
    #: What each host does next: ``commit``, ``notify``, ``enter``, ``nothing``.
    hosts: tuple[str, ...]
    redis: Redis = field(default_factory=Redis)
    committed: int = 0
    taken: int = 0

    def with_drain(self, number: int, drain: Drain, redis: Redis | None = None) -> State:
        drains = (*self.drains[:number], drain, *self.drains[number + 1 :])
        return replace(self, drains=drains, redis=redis or self.redis)

    def with_host(self, number: int, does: str, redis: Redis | None = None) -> State:
        hosts = (*self.hosts[:number], does, *self.hosts[number + 1 :])
        return replace(self, hosts=hosts, redis=redis or self.redis)


#: What a drain may do in a state.
Rule = Callable[[State, int, Drain], Iterator[State]]


def host_steps(state: State) -> Iterator[State]:
    for number, does in enumerate(state.hosts):
        if does == "commit":
            yield replace(state.with_host(number, "notify"), committed=state.committed + 1)
        elif does == "notify":
            for redis, enqueue in state.redis.notify():
                yield state.with_host(number, "enter" if enqueue else "nothing", redis)
        elif does == "enter":
            yield state.with_host(number, "nothing", state.redis.enter())


def take_job(state: State, number: int, drain: Drain) -> Iterator[State]:
    """A worker takes the first job of the queue."""
    if not drain.running and state.redis.queue:
        redis = replace(state.redis, queue=state.redis.queue[1:])
        yield state.with_drain(number, replace(drain, running=True, look=True), redis)


def claim(state: State, number: int, drain: Drain) -> Iterator[State]:
    """It forgets that it is to look, and then reads. What it gets may take all of its slots."""
    if drain.running and drain.look and not drain.reading and not drain.full:
        yield state.with_drain(number, replace(drain, look=False, reading=True))
    if drain.reading:
        read = replace(state, taken=state.committed)
        yield read.with_drain(number, replace(drain, reading=False))
        if state.taken < state.committed:
            yield read.with_drain(number, replace(drain, reading=False, full=True))


def settle(state: State, number: int, drain: Drain) -> Iterator[State]:
    """Slots are free again."""
    if drain.full:
        yield state.with_drain(number, replace(drain, full=False))


def arrive(state: State, number: int, drain: Drain) -> Iterator[State]:
    """Its listener takes the mark away, is listed, and has it look."""
    if drain.running and drain.arrived == "no":
        cleared = replace(state.redis, dirty=False)
        yield state.with_drain(number, replace(drain, arrived="cleared"), cleared)
    if drain.arrived == "cleared":
        here = replace(drain, arrived="yes", owed_look=True)
        yield state.with_drain(number, here, state.redis.present(number, True))
    if drain.owed_look:
        yield state.with_drain(number, replace(drain, owed_look=False, look=True))


def check_in(state: State, number: int, drain: Drain) -> Iterator[State]:
    """It says whether it has slots. Listed again, it looks once more."""
    capacity = not drain.full
    listed = number in state.redis.listening
    if drain.arrived == "yes" and not drain.passing_on and listed != capacity:
        redis = state.redis.present(number, capacity)
        yield state.with_drain(number, replace(drain, owed_look=drain.owed_look or capacity), redis)


def take_notice(state: State, number: int, drain: Drain) -> Iterator[State]:
    """It reads its channel and looks. Without slots it has another one notified."""
    if drain.arrived == "yes" and number in state.redis.noticed:
        redis = replace(state.redis, noticed=state.redis.noticed - {number})
        if drain.full:
            redis = redis.present(number, False)
        yield state.with_drain(number, replace(drain, look=True, passing_on=drain.full), redis)
    if drain.passing_on:
        for redis, enqueue in state.redis.notify():
            # The listener's thread waits for its own job to be in the queue.
            entered = redis.enter() if enqueue else redis
            yield state.with_drain(number, replace(drain, passing_on=False), entered)


def leave(state: State, number: int, drain: Drain) -> Iterator[State]:
    """With nothing to do it signs off, unless the mark is there."""
    idle = drain.running and not (drain.look or drain.reading or drain.full)
    free = drain.arrived != "cleared" and not drain.passing_on and not drain.handing_over
    if idle and free and (not drain.stays or state.redis.queue):
        redis, gone = state.redis.leave(number)
        yield state.with_drain(number, drain.ended() if gone else replace(drain, look=True), redis)


def hand_over(state: State, number: int, drain: Drain) -> Iterator[State]:
    """Its time is up: it is taken off the list, and enqueues a job without asking."""
    settled = drain.running and not (drain.reading or drain.full or drain.passing_on)
    if settled and drain.hand_overs and drain.arrived != "cleared":
        begun = replace(drain, handing_over=True, hand_overs=0)
        yield state.with_drain(number, begun, state.redis.present(number, False))
    if drain.handing_over:
        redis = replace(state.redis, queue=(*state.redis.queue, PLAIN))
        yield state.with_drain(number, drain.ended(), redis)


RULES: tuple[Rule, ...] = (
    take_job,
    claim,
    settle,
    arrive,
    check_in,
    take_notice,
    leave,
    hand_over,
)


def steps(state: State, rules: tuple[Rule, ...] = RULES) -> Iterator[State]:
    """Every state that may be the next one."""
    yield from host_steps(state)
    for number, drain in enumerate(state.drains):
        for rule in rules:
            if drain.handing_over and rule is not hand_over:
                continue
            yield from rule(state, number, drain)


def explore(first: State, rules: tuple[Rule, ...] = RULES) -> dict[State, set[State]]:
    """Every state that can be reached, with what may come next."""
    found: dict[State, set[State]] = {}
    waiting = [first]
    while waiting:
        state = waiting.pop()
        if state not in found:
            found[state] = set(steps(state, rules))
            waiting.extend(found[state])
    return found


def lost(found: dict[State, set[State]]) -> list[State]:
    """States from which no order of steps leads to all committed events being taken."""
    before: dict[State, list[State]] = {}
    for state, after in found.items():
        for later in after:
            before.setdefault(later, []).append(state)
    good = [
        state
        for state in found
        if state.taken == state.committed and state.committed == len(state.hosts)
    ]
    seen = set(good)
    while good:
        for earlier in before.get(good.pop(), ()):
            if earlier not in seen:
                seen.add(earlier)
                good.append(earlier)
    return [state for state in found if state not in seen]
