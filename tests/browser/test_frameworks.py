"""The pages in hosts of Bootstrap, Tailwind and Bulma, light and dark: as readable as in our own layout."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from demo.services import RedisServer
from flask_webhooks.actions import rotate_secret
from tests.support.helpers import accessing, close
from tests.support.pages import World, make_app, populate
from tests.support.receiver import Receiver

from .chromium import AXE_OPTIONS, SCHEMES, Watched, served, violations
from .conftest import apart
from .frameworks import (
    FRAMEWORKS,
    Host,
    changed_styles,
    compiled_styles,
    kinds,
    poor_contrasts,
)
from .states import menus_and_dialogs

pytestmark = pytest.mark.slow

#: Pages with every kind of element.
PAGES = ("/", "/endpoints/new", "/deliveries", "/health", "/event-types")
#: What all of axe looks at in each host, and the host where every page is opened and all of axe looks at it: that takes
#: minutes for each. With AUDIT_ALL in the environment this is done in all of them.
AUDITED = {*PAGES, "a menu", "the dialog Add webhook", "the dialog Delete all"}
AUDITED_WHOLE = {"bootstrap5"}
#: For the others what styles can break, but for the contrast, for which ours is stricter and quicker.
AXE_OF_STYLES = {"runOnly": ["link-in-text-block", "scrollable-region-focusable", "target-size"]}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("frameworks")
    styles = compiled_styles(folder)
    redis_server.start()
    app = make_app(
        f"sqlite:///{folder / 'database.sqlite'}",
        redis_server.url,
        WEBHOOKS_BASE_TEMPLATE="host.html",
        WEBHOOKS_MAX_ENDPOINTS=1000,
        TEMPLATES_AUTO_RELOAD=True,
        SQLITE_IMMEDIATE=True,
    )
    yield Host(app, styles)
    close(app)


@pytest.fixture(scope="module")
def world(host: Host) -> World:
    def fill() -> World:
        world = populate(host.app, receiver)
        # Its page has a dialog that ends the overlap.
        rotate_secret(accessing(host.app), world.endpoints["good"])
        return world

    with Receiver() as receiver:
        return apart(fill)


@pytest.fixture
def watched(chromium: Browser, host: Host) -> Iterator[Watched]:
    with served(host.app) as origin:
        # The colours of the system are none of the host's business here.
        context = chromium.new_context(viewport={"width": 1280, "height": 900})
        watched = Watched(context.new_page(), origin)
        yield watched
        context.close()
    assert watched.faults == []


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_pages_and_dialogs_are_readable_in_the_host(
    watched: Watched, host: Host, world: World, name: str
) -> None:
    """Each element looks as it does without any style of the host's, but for the font; axe finds nothing."""
    found: list[str] = []

    def look(what: str, scheme: str) -> None:
        faults = poor_contrasts(watched.page)
        whole = what in AUDITED or everything
        if whole or scheme == "light":
            faults += changed_styles(watched.page)
            faults += violations(watched, ".wh", AXE_OPTIONS if whole else AXE_OF_STYLES)
        found.extend(f"{scheme} {what}: {fault}" for fault in faults)

    everything = name in AUDITED_WHOLE or "AUDIT_ALL" in os.environ
    for scheme in SCHEMES:
        host.wear(name, scheme)
        for path in kinds(world.paths()) if everything else PAGES:
            watched.open(path)
            look(path, scheme)
        if everything or scheme == "light":
            for state in menus_and_dialogs(watched, host.app, world):
                look(state, scheme)
    assert found == []


@pytest.mark.timeout(300)
def test_pages_are_readable_where_the_host_is_dark_and_does_not_say_so(
    watched: Watched, host: Host, world: World
) -> None:
    """Bulma follows the system without `color-scheme`; what is behind the pages is theirs."""
    host.wear("bulma", "light")
    host.templates["host.html"] = host.templates["host.html"].replace('data-theme="light"', "")
    watched.page.emulate_media(color_scheme="dark")
    found = []
    for path in PAGES:
        found += poor_contrasts(watched.open(path))
    ground = watched.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert ground == "rgb(20, 22, 26)"
    assert found == []
