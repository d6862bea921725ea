"""Pages that refresh themselves: what they ask for, how often, and what they leave alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Request, expect

from flask_webhooks import actions
from flask_webhooks.app_state import state_of
from tests.support.delivering import drain
from tests.support.helpers import accessing, add_delivery, add_endpoint, update
from tests.support.pages import World
from tests.support.receiver import Receiver

from .chromium import Watched
from .conftest import apart

#: Milliseconds that a round may take on a busy machine; it is due after 5 s.
PATIENCE = 30_000
#: Milliseconds in which a further round would have come.
QUITE_SURE = 7000


@dataclass
class Round:
    """One request of the script's."""

    #: Milliseconds since 1970.
    at: float
    status: int
    #: Of the body, on the wire.
    size: int


class Rounds:
    """What the browser asked for while a page was open."""

    def __init__(self, watched: Watched) -> None:
        self.page = watched.page
        self._finished: list[Request] = []
        self.page.on("requestfinished", lambda item: self._finished.append(item))

    def all(self) -> list[Round]:
        """Those for what can still change."""
        return [self._round(item) for item in self._finished if _is_live(item)]

    def page_size(self) -> int:
        """Bytes of the page itself."""
        [size] = [
            self._round(item).size for item in self._finished if item.resource_type == "document"
        ]
        return size

    def wait(self, condition: Callable[[list[Round]], Any]) -> None:
        deadline = time.monotonic() + PATIENCE / 1000
        while not condition(self.all()):
            assert time.monotonic() < deadline, self.all()
            self.page.wait_for_timeout(100)

    def more(self, milliseconds: int = QUITE_SURE) -> int:
        """How many come in this time."""
        before = len(self.all())
        self.page.wait_for_timeout(milliseconds)
        return len(self.all()) - before

    @staticmethod
    def _round(item: Request) -> Round:
        response = item.response()
        assert response is not None
        return Round(item.timing["startTime"], response.status, item.sizes()["responseBodySize"])


def _is_live(item: Request) -> bool:
    return item.headers.get("flask-webhooks-fragment") == "live"


@pytest.fixture
def rounds(watched: Watched) -> Rounds:
    return Rounds(watched)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", ["/deliveries", "/health"])
def test_it_asks_for_a_fragment_and_is_told_when_nothing_changed(
    watched: Watched, app: Flask, rounds: Rounds, path: str
) -> None:
    # Nothing is overdue, for that would be told with its time.
    apart(lambda: add_delivery(app, add_endpoint(app), "sending"))
    watched.open(path)
    rounds.wait(lambda found: len(found) >= 4)
    first, *later = rounds.all()
    assert first.status == 200
    assert first.size < rounds.page_size() * 0.5
    # Nothing happens meanwhile, so nothing but headers crosses the wire.
    assert [(item.status, item.size) for item in later] == [(304, 0)] * len(later)
    pauses = [after.at - before.at for before, after in pairwise(later)]
    assert min(pauses) > 4500


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_it_asks_no_more_when_everything_is_at_rest(
    watched: Watched, app: Flask, receiver: Receiver, rounds: Rounds
) -> None:
    endpoint = apart(lambda: add_endpoint(app, receiver.url()))
    delivery = apart(lambda: actions.send_test(accessing(app), endpoint.id))
    page = watched.open(f"/deliveries/{delivery.id}")
    rounds.wait(lambda found: found)
    apart(lambda: drain(app))
    expect(page.get_by_text("Attempt 1", exact=True)).to_be_visible(timeout=PATIENCE)
    assert rounds.more() == 0
    # Nor does a page ask whose delivery was at rest from the start.
    page.reload()
    assert rounds.more() == 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_tab_that_nobody_looks_at_asks_nothing(
    watched: Watched, world: World, rounds: Rounds
) -> None:
    page = watched.open("/deliveries")
    rounds.wait(lambda found: found)
    # A headless browser hides no tab; the page learns of it in the same way.
    hide = """hidden => {
        Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(hide, True)
    page.wait_for_timeout(2000)  # for one that was under way
    assert rounds.more() == 0
    count = len(rounds.all())
    page.evaluate(hide, False)
    rounds.wait(lambda found: len(found) > count)
    # Looking away and back again does not make it ask twice as often.
    for hidden in (True, False, True, False):
        page.evaluate(hide, hidden)
    rounds.wait(lambda found: len(found) >= count + 4)
    last, latest = rounds.all()[-2:]
    assert latest.at - last.at > 4500


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_it_never_moves_the_focus(watched: Watched, app: Flask, receiver: Receiver) -> None:
    endpoint = apart(lambda: add_endpoint(app, receiver.url(), name="Shop"))
    delivery = apart(lambda: add_delivery(app, endpoint))
    page = watched.open(f"/deliveries/{delivery}")
    # Inside of what is replaced.
    page.focus("#wh-to-endpoint")
    apart(lambda: update(app, "Endpoint", endpoint.id, name="Store"))
    expect(page.locator("#wh-to-endpoint")).to_have_text("Store", timeout=PATIENCE)
    assert page.evaluate("document.activeElement.id") == "wh-to-endpoint"
    # What has the focus and is there no more stays until the focus has gone.
    page.focus("#wh-cancel")
    for state, word in (("sending", "Sending"), ("cancelled", "Cancelled")):
        apart(lambda state=state: update(app, "Delivery", delivery, state=state))
        expect(page.locator("#wh-part-state")).to_contain_text(word, timeout=PATIENCE)
        assert page.evaluate("document.activeElement.id") == "wh-cancel"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_it_stops_where_the_person_may_see_it_no_more(
    watched: Watched, app: Flask, world: World, rounds: Rounds
) -> None:
    page = watched.open("/deliveries")
    rounds.wait(lambda found: found)
    state_of(app).hooks.authorize = lambda action, endpoint: False
    rounds.wait(lambda found: found[-1].status == 403)
    assert rounds.more() == 0
    # What was there stays.
    assert page.is_visible("#wh-part-list table")
