"""Identifiers: sorted by time, unique, safe in URLs, also across threads and forks."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_webhooks import ids
from flask_webhooks.ids import ALPHABET, LENGTH, MAX_LENGTH, new_id, new_ids

#: Far ahead of the real clock, so that what other tests make does not come in between.
FUTURE = int(time.time() * 1000) + 10**9


def milliseconds(identifier: str) -> int:
    number = 0
    for character in identifier.partition("_")[2]:
        number = number * 32 + ALPHABET.index(character)
    return number >> 80


@pytest.fixture(autouse=True)
def _own_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "_sequence", ids._Sequence())


def test_identifier_looks_as_documented() -> None:
    for _ in range(1000):
        identifier = new_id("evt")
        assert re.fullmatch(r"evt_[0-9a-hjkmnp-tv-z]{26}", identifier)
        assert quote(identifier, safe="") == identifier
        assert len(identifier) == len("evt_") + LENGTH


def test_longest_prefix_of_ours_fits_its_column() -> None:
    assert max(len(new_id(prefix)) for prefix in ("evt", "dlv", "ep", "act")) <= MAX_LENGTH


def test_alphabet_sorts_as_text_does_on_every_database() -> None:
    assert list(ALPHABET) == sorted(set(ALPHABET))
    assert len(ALPHABET) == 32
    assert ALPHABET.lower() == ALPHABET, "no database may fold or reorder it"
    assert not set("ilou") & set(ALPHABET)


@settings(deadline=None)
@given(st.integers(0, 2**48 - 1), st.integers(0, 2**48 - 1))
def test_order_of_times_is_the_order_of_identifiers(one: int, two: int) -> None:
    first, second = (_fresh(moment) for moment in (one, two))
    assert milliseconds(first) == one
    if one != two:
        assert (first < second) is (one < two)


def _fresh(moment: int) -> str:
    sequence = ids._sequence
    sequence.restart()
    return new_id("evt", moment)


def test_identifier_holds_the_current_time() -> None:
    before = time.time_ns() // 1_000_000
    found = milliseconds(new_id("evt"))
    assert before <= found <= time.time_ns() // 1_000_000


def test_identifiers_of_one_millisecond_keep_their_order() -> None:
    made = [new_id("evt", FUTURE) for _ in range(20_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert {milliseconds(identifier) for identifier in made} == {FUTURE}


def test_order_holds_when_the_clock_is_set_back() -> None:
    made = [new_id("evt", FUTURE - step) for step in range(1000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    made.append(new_id("evt", FUTURE + 1))
    assert made == sorted(made)


def test_kinds_share_one_sequence() -> None:
    made = [new_id(prefix, FUTURE).partition("_")[2] for prefix in ("evt", "dlv", "act") * 100]
    assert made == sorted(made)


def test_threads_do_not_meet() -> None:
    made: list[list[str]] = [[] for _ in range(8)]
    start = threading.Barrier(len(made))

    def make(own: list[str]) -> None:
        start.wait(5)
        own.extend(new_id("evt", FUTURE) for _ in range(3000))

    threads = [threading.Thread(target=make, args=(own,)) for own in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert all(own == sorted(own) for own in made)
    assert len({identifier for own in made for identifier in own}) == 8 * 3000


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forks_do_not_go_on_from_the_same_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    last = new_id("evt", FUTURE)
    reader, writer = os.pipe()
    children = []
    for _ in range(3):
        # A fork may come while another thread holds the lock.
        with ids._sequence._lock:
            child = os.fork()
            if child == 0:
                signal.alarm(10)
                made = [new_id("evt", FUTURE) for _ in range(100)]
                os.write(writer, "".join(f"{identifier}\n" for identifier in made).encode())
                os._exit(0)
        children.append(child)
    made = [new_id("evt", FUTURE) for _ in range(100)]
    os.close(writer)
    with os.fdopen(reader) as pipe:
        made += pipe.read().split()
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    # This was the real sequence: what other tests make must not lie in the future.
    ids._sequence.restart()
    assert len(made) == 400
    assert len({last, *made}) == 401


def test_many_at_once_are_in_order_and_after_those_before() -> None:
    first = new_id("dlv", FUTURE)
    many = new_ids("dlv", 5000, FUTURE)
    made = [first, *many, new_id("dlv", FUTURE)]
    assert made == sorted(made)
    assert len(set(made)) == 5002


@given(st.lists(st.integers(0, 2**48 - 1)))
def test_time_of_an_identifier_is_that_at_which_it_was_made(times: list[int]) -> None:
    made = [
        ids._written("dlv", milliseconds << 80 | number)
        for number, milliseconds in enumerate(times)
    ]
    assert ids.milliseconds_of(made) == times


def test_number_that_python_does_not_write_is_no_id() -> None:
    assert ids.host_id(42) == "42"
    assert ids.host_id(10**5000) is None
