"""The documentation builds as a site without a warning, all its links lead somewhere, and it fits on a phone."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import ViewportSize

from tests.browser.chromium import SCHEMES, is_missing, launched
from tests.support.processes import ROOT

#: As in the Makefile.
BUILD = ["-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going", "--conf-dir", "docs", "."]
PHONE: ViewportSize = {"width": 390, "height": 844}
VERSION = re.findall(r"^version = (.+)$", (ROOT / "setup.cfg").read_text(), re.MULTILINE)[0]


def build(source: Path, output: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *BUILD, output, "--doctree-dir", output.with_name(".doctrees")],
        cwd=source,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


class Links(HTMLParser):
    """Where a page leads to, and the places in it that others lead to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.places: set[str] = {"", "top"}
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.places.add(value or "")
            elif name in ("href", "src", "srcset"):
                self.targets.append(value or "")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_site_builds_without_a_warning(tmp_path: Path) -> None:
    """All in one test: the site is built once."""
    older = tmp_path / "0.0.9"
    (older / "docs").mkdir(parents=True)
    for index in (older / "index.html", older / "docs" / "index.html"):
        index.touch()
    site = tmp_path / VERSION
    result = build(ROOT, site)
    assert (result.returncode, result.stderr) == (0, "")
    every_link_leads_somewhere(site)
    index_lists_the_versions_and_pages_name_theirs(site)
    if not is_missing():
        pages_fit_on_a_phone_and_can_be_searched(site)


def every_link_leads_somewhere(site: Path) -> None:
    pages = {page.resolve(): Links(page) for page in site.parent.rglob("*.html")}
    assert len(pages) > len(list((ROOT / "docs").rglob("*.md")))
    dead = []
    for page, links in pages.items():
        for target in links.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            linked = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            if not linked.is_file() or (
                linked in pages and unquote(parts.fragment) not in pages[linked].places
            ):
                dead.append((page.name, target))
    assert dead == []


def index_lists_the_versions_and_pages_name_theirs(site: Path) -> None:
    index = Links(site.parent / "index.html")
    assert index.targets == [f"{VERSION}/docs/index.html", "0.0.9/docs/index.html"]
    for page in ("docs/quickstart", "docs/how-to/workers", "README"):
        assert f"Version {VERSION}" in (site / f"{page}.html").read_text()


def pages_fit_on_a_phone_and_can_be_searched(site: Path) -> None:
    with launched() as browser:
        page = browser.new_page(viewport=PHONE)
        outside: list[str] = []
        page.on("request", lambda request: outside.append(request.url))
        wide = {}
        for path in sorted({*site.rglob("*.html")} - {site / "index.html"}):
            page.goto(path.as_uri())
            width = page.evaluate("document.documentElement.scrollWidth")
            if width > PHONE["width"]:
                wide[path.name] = width
        assert wide == {}
        page.goto((site / "search.html").as_uri() + "?q=tolerance")
        page.locator("#search-results a", has_text="Glossary").wait_for()
        page.goto((site / "docs/how-to/admin-tour.html").as_uri())
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            shown = page.locator("article img[src*=endpoints]:visible").all()
            assert len(shown) == 1
            assert ("-dark" in (shown[0].get_attribute("src") or "")) == (scheme == "dark")
        assert [url for url in outside if not url.startswith("file:")] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("link", "said"),
    [
        ("[a page](nowhere.md)", "xref_missing"),
        ("[a place](#nowhere)", "xref_missing"),
        ("![a picture](nowhere.webp)", "image.not_readable"),
    ],
)
def test_dead_link_fails_the_build(tmp_path: Path, link: str, said: str) -> None:
    shutil.copytree(ROOT / "docs" / "_templates", tmp_path / "docs" / "_templates")
    for name in ("setup.cfg", "docs/conf.py", "docs/_static"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    (tmp_path / "docs" / "index.md").write_text(f"# Documentation\n\n{link}\n")
    result = build(tmp_path, tmp_path / "out" / VERSION)
    assert result.returncode == 1
    assert said in result.stderr
