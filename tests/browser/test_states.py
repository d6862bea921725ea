"""Pages in the states that no link leads to, by the same rules as all others."""

from __future__ import annotations

import pytest
from flask import Flask

from demo.services import RedisServer
from tests.support.pages import World

from .chromium import Watched, faults_of
from .customer_states import PORTAL
from .states import every_state


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("settings", [{"WEBHOOKS_PORTAL_PREFIX": PORTAL}], ids=["portal"])
def test_every_state_keeps_the_rules(
    watched: Watched, app: Flask, world: World, redis_server: RedisServer
) -> None:
    """Policy, accessibility in light and dark, width of a phone; no script but ours."""
    found, names = [], []
    for name in every_state(watched, app, world, redis_server):
        names.append(name)
        page = watched.page
        assert page.is_visible("h1"), name
        page.mouse.move(0, 0)
        found += [f"{name}: {fault}" for fault in faults_of(watched)]
        scripts = page.eval_on_selector_all("script", "all => all.map(item => item.src)")
        assert len(scripts) == 1, name
        assert "/static/webhooks.js" in scripts[0], name
        assert page.query_selector("img") is None, name
    assert len(names) == len(set(names)) > 110
    assert found == []
