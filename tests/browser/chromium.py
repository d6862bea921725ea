"""Where Chromium is, and the rules that are watched while pages are open in it."""

from __future__ import annotations

import os
import shutil
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import trustme
from flask import Flask
from playwright.sync_api import Browser, Page, sync_playwright
from werkzeug.serving import make_server

MISSING = "needs Chromium: apt-get install chromium, or name one in CHROMIUM"

#: Desktop, and a phone as small as they come.
SIZES = {"desktop": (1280, 900), "phone": (375, 740)}
Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")

#: WCAG 2.2 AA, and what axe calls best practice.
AXE_OPTIONS: dict[str, Any] = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "resultTypes": ["violations"],
}
#: What colours can break: the rest is the same in light and dark.
AXE_OF_COLOURS = {
    "runOnly": ["color-contrast", "link-in-text-block"],
    "resultTypes": ["violations"],
}


def find_chromium() -> str | None:
    """The distribution's browser; none is ever downloaded. ``CHROMIUM`` names another."""
    given = os.environ.get("CHROMIUM")
    names = (given,) if given else ("/usr/bin/chromium", "chromium", "chromium-browser")
    return next((found for name in names if (found := shutil.which(name))), None)


def is_missing() -> bool:
    """Whether tests in the browser are left out. Where one is required, they run, and fail without."""
    return find_chromium() is None and not os.environ.get("REQUIRE_CHROMIUM")


@cache
def axe_source() -> str:
    """The text of axe-core, from the package that brings it along."""
    spec = find_spec("axe_playwright_python")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).with_name("axe.min.js").read_text()


@contextmanager
def launched() -> Iterator[Browser]:
    """Chromium. As root, as in containers, it runs only without its sandbox."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def served(app: Flask, *, https: bool = False) -> Iterator[str]:
    """The application on a port of its own; gives its address.

    :param https: with a certificate that nobody has issued.
    """
    certificate = None
    if https:
        certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(certificate)
    server = make_server("127.0.0.1", 0, app, threaded=True, ssl_context=certificate)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"{'https' if https else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Watched:
    """A page, and everything that should not have happened on it."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self.origin = origin
        #: Messages of the console, errors of scripts, requests that leave the origin.
        self.faults: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.faults.append(f"{page.url}: {error}"))
        page.on("request", self._request)
        page.on("dialog", self._dialog)

    def open(self, path: str) -> Page:
        response = self.page.goto(f"{self.origin}/webhooks{path}")
        assert response is not None
        return self.page

    def _console(self, message: Any) -> None:
        # A refused page is an error to the browser; violations of the policy are, too.
        refused = any(f"status of {code}" in message.text for code in ("4", "503"))
        if message.type in ("error", "warning") and not refused:
            self.faults.append(f"{self.page.url}: {message.text}")

    def _request(self, request: Any) -> None:
        if not request.url.startswith(self.origin + "/"):
            self.faults.append(f"{self.page.url}: asked for {request.url}")

    def _dialog(self, dialog: Any) -> None:
        self.faults.append(f"{self.page.url}: a script ran: {dialog.message}")
        dialog.dismiss()


def violations(
    watched: Watched, within: str = "html", options: dict[str, Any] = AXE_OPTIONS
) -> list[str]:
    """What axe finds on the page, in words."""
    if not watched.page.evaluate("'axe' in window"):
        watched.page.evaluate(axe_source())
    found: dict[str, Any] = watched.page.evaluate(
        "([within, options]) => axe.run(within, options)", [within, options]
    )
    return [
        f"{watched.page.url} {item['id']}: {item['help']}: {node['target']} {node.get('failureSummary')}"
        for item in found["violations"]
        for node in item["nodes"][:3]
    ]


def faults_of(watched: Watched) -> list[str]:
    """What is wrong with the page as it stands, in light and dark and on a phone."""
    found = []
    runs: tuple[tuple[Scheme, dict[str, Any]], ...] = (
        ("dark", AXE_OF_COLOURS),
        ("light", AXE_OPTIONS),
    )
    for scheme, options in runs:
        watched.page.emulate_media(color_scheme=scheme)
        found += violations(watched, options=options)
    size = watched.page.viewport_size
    assert size is not None
    watched.page.set_viewport_size({"width": 375, "height": 740})
    width = watched.page.evaluate("document.documentElement.scrollWidth")
    watched.page.set_viewport_size(size)
    return [*found, *([f"{watched.page.url} is {width} wide"] if width > 375 else [])]
