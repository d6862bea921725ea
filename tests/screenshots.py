"""``make screenshots``: pictures of every page and state of the admin, and those that the documentation shows.

Without options, what the browser tests visit goes into ``build/screenshots``, on a desktop and a phone, light
and dark. With ``--docs``, a host with believable data is drawn instead, into ``docs/images``.
"""

from __future__ import annotations

import argparse
import io
import logging
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from flask import Flask
from PIL import Image
from playwright.sync_api import Page

from demo.services import RedisServer
from tests.browser.chromium import SCHEMES, SIZES, Watched, find_chromium, launched, served
from tests.browser.customer_states import PORTAL
from tests.browser.shots import every_shot
from tests.browser.states import every_state
from tests.support import pages, showcase
from tests.support.helpers import close
from tests.support.receiver import Receiver

TARGET = Path("build/screenshots")
DOCS_TARGET = Path("docs/images")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.screenshots")
    parser.add_argument(
        "--docs", action="store_true", help="draw what the documentation shows, into docs/images"
    )
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="only pictures with this in their name"
    )
    options = parser.parse_args(arguments)
    if find_chromium() is None:
        print("Screenshots need Chromium: apt-get install chromium, or name one in CHROMIUM.")
        return 1
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    began = time.monotonic()
    draw, target = (draw_docs, DOCS_TARGET) if options.docs else (draw_all, TARGET)
    target.mkdir(parents=True, exist_ok=True)
    count = draw(target, options.only)
    print(f"{count} pictures in {target}, after {time.monotonic() - began:.0f} s")
    return 0 if count else 1


@contextmanager
def _host(**config: object) -> Iterator[tuple[Flask, RedisServer, Receiver]]:
    with (
        tempfile.TemporaryDirectory() as directory,
        RedisServer() as redis,
        Receiver() as receiver,
    ):
        url = f"sqlite:///{directory}/database.sqlite"
        app = pages.make_app(url, redis.url, SQLITE_IMMEDIATE=True, **config)
        yield app, redis, receiver
        close(app)


# -- every page and state -----------------------------------------------------------------------------


def draw_all(target: Path, only: str = "") -> int:
    """Everything that the browser tests visit; returns how many pictures that makes."""
    for old in target.glob("*.png"):
        if only in old.name:
            old.unlink()
    with _host(WEBHOOKS_MAX_ENDPOINTS=20, WEBHOOKS_PORTAL_PREFIX=PORTAL) as (app, redis, receiver):
        world = pages.populate(app, receiver, hostile="Acme")
        for number, id_ in enumerate(list(world.endpoints.values())[:3]):
            showcase.add_history(app, id_, rate=120, failing=0.03 * number)
        with served(app) as origin, launched() as browser:
            watched = Watched(browser.new_page(), origin)
            states = chain(_every_page(watched, world), every_state(watched, app, world, redis))
            return sum(_draw(watched.page, target, _named(world, name), only) for name in states)


def _every_page(watched: Watched, world: pages.World) -> Iterator[str]:
    for path in world.paths():
        watched.open(path)
        yield f"page {path}" if path != "/" else "page webhooks"


def _named(world: pages.World, text: str) -> str:
    """With the names of what `populate` made in place of its ids."""
    groups = (world.endpoints, world.deliveries, world.events, world.tasks)
    for group in groups:
        for name, id_ in group.items():
            text = text.replace(id_, name)
    return text


def _draw(page: Page, target: Path, name: str, only: str) -> int:
    """The page as it stands, on a desktop and a phone, light and dark."""
    file = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if only not in file:
        return 0
    page.mouse.move(0, 0)
    covered = page.locator("dialog, .wh-menu:popover-open").count() > 0
    for size, (width, height) in SIZES.items():
        page.set_viewport_size({"width": width, "height": height})
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            # A whole page is taller than the window, in which what covers it is placed.
            page.screenshot(path=target / f"{file}-{size}-{scheme}.png", full_page=not covered)
    width, height = SIZES["desktop"]
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme="light")
    return len(SIZES) * len(SCHEMES)


# -- for the documentation ----------------------------------------------------------------------------


def draw_docs(target: Path, only: str = "") -> int:
    """What the documentation shows; returns how many pictures that makes."""
    with _host(WEBHOOKS_PRODUCT_NAME="Acme Licensing") as (app, redis, receiver):
        show = showcase.make(app, receiver)
        with served(app) as origin, launched() as browser:
            context = browser.new_context(device_scale_factor=1.25)
            watched = Watched(context.new_page(), origin)
            count = 0
            for shot in every_shot(watched, app, show, redis.url):
                if only not in shot.name:
                    continue
                for scheme in shot.schemes:
                    watched.page.emulate_media(color_scheme=scheme)
                    picture = watched.page.screenshot()
                    suffix = "" if scheme == "light" else f"-{scheme}"
                    file = target / f"{shot.name}{suffix}.webp"
                    file.write_bytes(_small(picture))
                    count += 1
    return count


def _small(picture: bytes) -> bytes:
    """The same picture as WebP without loss: a third smaller than as PNG, and text stays sharp."""
    written = io.BytesIO()
    Image.open(io.BytesIO(picture)).convert("RGB").save(written, "WEBP", lossless=True, quality=100)
    return written.getvalue()


if __name__ == "__main__":
    sys.exit(main())
