"""A browser, and a host whose pages it opens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
from flask import Flask
from playwright.sync_api import Browser

from tests.support.helpers import close
from tests.support.pages import World, make_app, populate
from tests.support.receiver import Receiver

from .chromium import MISSING, Watched, find_chromium, is_missing, launched, served

T = TypeVar("T")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave them all out without a browser; the summary says why, once."""
    if is_missing():
        here = Path(__file__).parent
        left_out = [item for item in items if here in item.path.parents]
        items[:] = [item for item in items if here not in item.path.parents]
        config.hook.pytest_deselected(items=left_out)


def apart(function: Callable[..., T], *args: Any) -> T:
    """Call it in a thread of its own: Playwright's event loop keeps others out of this one."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(function, *args).result()


# Not for the session: while Playwright runs, no other test of this process can run an event loop.
@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    assert find_chromium() is not None, MISSING
    with launched() as browser:
        yield browser


@pytest.fixture
def settings() -> dict[str, Any]:
    """Of the host, beside its own; a test that wants some is parametrised with them."""
    return {}


@pytest.fixture
def app(tmp_path: Path, redis_url: str, settings: dict[str, Any]) -> Iterator[Flask]:
    app = make_app(
        f"sqlite:///{tmp_path / 'database.sqlite'}",
        redis_url,
        WEBHOOKS_MAX_ENDPOINTS=20,
        SQLITE_IMMEDIATE=True,
        **settings,
    )
    yield app
    close(app)


@pytest.fixture
def world(app: Flask, receiver: Receiver) -> World:
    return apart(populate, app, receiver)


@pytest.fixture
def origin(chromium: Browser, app: Flask) -> Iterator[str]:
    with served(app) as origin:
        yield origin


@pytest.fixture
def watched(chromium: Browser, origin: str) -> Iterator[Watched]:
    """A page on a desktop; nothing forbidden may have happened on it in the end."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    watched = Watched(context.new_page(), origin)
    yield watched
    context.close()
    assert watched.faults == []
