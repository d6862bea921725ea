"""Builds the documentation as a site: ``make docs``.

The pages are written for GitHub. What a site needs beyond that is added here while they are read: the navigation,
from the lists of ``index.md``, and pictures for light and dark pages.
"""

from __future__ import annotations

import re
from configparser import ConfigParser
from html import escape
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parent.parent


def read_version() -> str:
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser["metadata"]["version"]


project = "Flask-Webhooks"
author = "Flask-Webhooks contributors"
release = version = read_version()

# The source folder is that of the repository, so that links to README.md lead to a page of the site.
root_doc = "docs/index"
include_patterns = [
    "docs/**.md",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "example_app/**.md",
]
exclude_patterns = [".*", "build", "dist", "docs/_build", "flask_webhooks", "tests"]
templates_path = ["_templates"]

extensions = ["myst_parser"]
nitpicky = True
#: Anchors as GitHub makes them.
myst_heading_anchors = 6
myst_enable_extensions = ["html_image"]

html_theme = "furo"
pygments_dark_style = "github-dark"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_title = f"{project} {version}"
html_copy_source = False
html_theme_options = {"top_of_page_buttons": []}
html_sidebars = {
    "**": [
        *("sidebar/brand.html", "sidebar/search.html", "sidebar/scroll-start.html"),
        *("sidebar/navigation.html", "versions.html", "sidebar/scroll-end.html"),
    ]
}


def setup(app: Sphinx) -> None:
    app.connect("source-read", prepare)
    app.connect("build-finished", write_index_pages)


def prepare(app: Sphinx, page: str, source: list[str]) -> None:
    """Add to a page what GitHub does without."""
    source[0] = re.sub(
        r'<picture>\s*<source media="\(prefers-color-scheme: dark\)" srcset="(.+?)">'
        r'\s*<img src="(.+?)"(.*?)>\s*</picture>',
        r'<img class="only-light" src="\2"\3>\n\n<img class="only-dark" src="\1"\3>',
        source[0],
        flags=re.DOTALL,
    )
    if page == root_doc:
        source[0] += "".join(navigation(source[0]))


def navigation(index: str) -> list[str]:
    """Return a hidden table of contents for each heading of the index that has a list of pages."""
    contents = []
    for part in re.split(r"^##+ ", index, flags=re.MULTILINE)[1:]:
        heading = part.partition("\n")[0]
        pages = re.findall(r"^- \[(.+?)\]\((\S+)\.md\)", part, flags=re.MULTILINE)
        if pages:
            entries = "\n".join(f"{title} <{path}>" for title, path in pages)
            contents.append(f"\n```{{toctree}}\n:hidden:\n:caption: {heading}\n\n{entries}\n```\n")
    return contents


INDEX_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
{head}<title>{title}</title>
</head>
<body style="font-family: system-ui, sans-serif; max-width: 40rem; margin: 2rem auto; padding: 0 1rem">
{body}
</body>
</html>
"""


def write_index_pages(app: Sphinx, failure: Exception | None) -> None:
    """Write the page that leads into this version, and the list of the versions that stand beside it."""
    if failure or app.builder.name != "html":
        return
    folder = Path(app.outdir)
    start = f"{root_doc}.html"
    write_page(
        folder / "index.html",
        f"{project} {version}",
        f'<a href="{start}">{project} {version}</a>',
        head=f'<meta http-equiv="refresh" content="0; url={start}">\n',
    )
    found = [path.parent.name for path in folder.parent.glob("*/index.html")]
    newest_first = sorted(found, key=natural_order, reverse=True)
    items = [f'<li><a href="{name}/{start}">{escape(name)}</a></li>' for name in newest_first]
    title = f"Documentation of {project}"
    write_page(
        folder.parent / "index.html",
        title,
        "\n".join([f"<h1>{title}</h1>", "<ul>", *items, "</ul>"]),
    )


def write_page(path: Path, title: str, body: str, *, head: str = "") -> None:
    path.write_text(INDEX_PAGE.format(title=title, body=body, head=head), encoding="utf-8")


def natural_order(name: str) -> list[Any]:
    """Sort 0.10.0 after 0.9.0."""
    return [
        (part.isdigit(), int(part) if part.isdigit() else part) for part in re.split(r"(\d+)", name)
    ]
