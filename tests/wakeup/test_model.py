"""No wake-up is lost, in whatever order hosts and drains take their steps; see `tests.wakeup.model`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis as redis_client
from flask import Flask

from flask_webhooks.app_state import state_of
from flask_webhooks.wakeup.redis_keys import Keys
from flask_webhooks.wakeup.scripts import LEAVE, NOTIFY, PRESENT

from . import model
from .model import ANNOUNCED, Drain, Redis, Rule, State

#: Two customers' events, and workers of both kinds.
HOSTS = ("commit", "commit")
WORKERS = {
    "one that leaves": (False,),
    "one that stays": (True,),
    "two that leave": (False, False),
    "one of each": (True, False),
}
#: No event waits for the time of a drain to be up.
UNTIL_ITS_TIME = tuple(rule for rule in model.RULES if rule is not model.hand_over)


def first(*stays: bool) -> State:
    return State(tuple(Drain(item) for item in stays), HOSTS)


@pytest.mark.slow
@pytest.mark.parametrize("workers", WORKERS)
def test_no_wake_up_is_lost(workers: str) -> None:
    """Whatever happens, all events can be taken; and where nothing more happens, all were."""
    for rules in (model.RULES, UNTIL_ITS_TIME):
        found = model.explore(first(*WORKERS[workers]), rules)
        assert len(found) > 100
        assert model.lost(found) == []
        ends = [state for state, after in found.items() if not after]
        assert all(state.taken == state.committed == len(HOSTS) for state in ends)


def _leave_at_once(state: State, number: int, drain: Drain) -> Iterator[State]:
    """As `model.leave`, without a look at the mark."""
    without = replace(state, redis=replace(state.redis, dirty=False))
    for later in model.leave(without, number, drain):
        yield replace(later, redis=replace(later.redis, dirty=state.redis.dirty))


def _notice_without_a_look(state: State, number: int, drain: Drain) -> Iterator[State]:
    """As `model.take_notice`, but the drain is not told to look."""
    for later in model.take_notice(state, number, drain):
        yield later.with_drain(number, replace(later.drains[number], look=drain.look))


def _read_first(state: State, number: int, drain: Drain) -> Iterator[State]:
    """As `model.claim`, but it forgets that it is to look only after it has read."""
    if drain.running and drain.look and not drain.reading and not drain.full:
        read = replace(state, taken=state.committed)
        yield read.with_drain(number, replace(drain, reading=True))
    if drain.reading:
        yield state.with_drain(number, replace(drain, look=False, reading=False))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (model.leave, _leave_at_once),
        (model.take_notice, _notice_without_a_look),
        (model.claim, _read_first),
    ],
)
def test_model_finds_what_would_lose_one(right: Rule, wrong: Rule) -> None:
    rules = tuple(wrong if rule is right else rule for rule in UNTIL_ITS_TIME)
    assert any(model.lost(model.explore(first(*stays), rules)) for stays in WORKERS.values())


@pytest.mark.slow
def test_model_does_what_the_scripts_do(app: Flask, redis_url: str) -> None:
    """In every state of Redis that it reaches."""
    queue = state_of(app).worker_queue
    keys, client = queue.keys, redis_client.Redis.from_url(redis_url)
    rq_queue = str(queue.queue(client).key)
    reached = {state.redis for state in model.explore(first(True, False))}
    assert len(reached) > 20
    for before in reached:
        _write(client, keys, rq_queue, before)
        names = [keys.dirty, keys.listening, keys.waiting, keys.entering, rq_queue]
        enqueue = bool(client.eval(NOTIFY, len(names), *names, "announced", keys.channels))
        assert (_read(client, keys, rq_queue), enqueue) in set(before.notify()), before
        for drain in (0, 1):
            for capacity in (True, False):
                _write(client, keys, rq_queue, before)
                client.eval(PRESENT, 2, keys.drains, keys.listening, drain, 60_000, int(capacity))
                after = before.present(drain, capacity)
                assert _read(client, keys, rq_queue) == after, before
            _write(client, keys, rq_queue, before)
            names = [keys.dirty, keys.drains, keys.listening]
            gone = bool(client.eval(LEAVE, 3, *names, drain))
            assert (_read(client, keys, rq_queue), gone) == before.leave(drain), before
    client.close()


def _write(client: redis_client.Redis, keys: Keys, rq_queue: str, state: Redis) -> None:
    client.flushdb()
    with client.pipeline() as pipeline:
        if state.dirty:
            pipeline.set(keys.dirty, 1)
        if state.entering:
            pipeline.set(keys.entering, 1)
        for drain in state.listening:
            pipeline.zadd(keys.listening, {str(drain): 1e15})
        for drain in state.noticed:
            pipeline.rpush(keys.channel(str(drain)), 1)
        pipeline.set(keys.waiting, ANNOUNCED)
        for job in state.queue:
            pipeline.rpush(rq_queue, job)
        pipeline.execute()


def _read(client: redis_client.Redis, keys: Keys, rq_queue: str) -> Redis:
    listening: list[Any] = client.zrange(keys.listening, 0, -1)
    jobs: list[Any] = client.lrange(rq_queue, 0, -1)
    return Redis(
        dirty=bool(client.exists(keys.dirty)),
        listening=frozenset(int(item) for item in listening),
        noticed=frozenset(number for number in (0, 1) if client.llen(keys.channel(str(number)))),
        entering=bool(client.exists(keys.entering)),
        queue=tuple(item.decode() for item in jobs),
    )
