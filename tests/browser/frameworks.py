"""Hosts made with CSS frameworks, which come from npm, and what their styles do to the pages."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from flask import Flask, Response
from jinja2 import DictLoader
from playwright.sync_api import Page

from tests.support.helpers import missing
from tests.support.node import node, npm

PACKAGES = {
    "bootstrap3": "npm:bootstrap@3.4.1",
    "bootstrap4": "npm:bootstrap@4.6.2",
    "bootstrap5": "npm:bootstrap@5.3.8",
    "bulma": "1.0.4",
    "tailwindcss3": "npm:tailwindcss@3.4.18",
    "tailwindcss": "4.1.17",
    "@tailwindcss/cli": "4.1.17",
    "@tailwindcss/forms": "0.5.10",
    "@tailwindcss/typography": "0.5.19",
}
Scheme = Literal["light", "dark"]


@dataclass(frozen=True)
class Framework:
    """How a host uses one."""

    #: What is around the pages.
    body: str
    #: Attributes of the root that make it light or dark.
    root: dict[Scheme, str]
    #: Styles of the host's own beside the framework's.
    more: str = ""

    def layout(self, scheme: Scheme) -> str:
        return (
            f'<!doctype html><html lang="en" {self.root[scheme]}><head>'
            '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
            '<title>{% block title %}{% endblock %}</title><link rel="stylesheet" href="/host.css"></head>'
            f"{self.body}</html>"
        )


_BLOCK = "{% block content %}{% endblock %}"
#: For frameworks without a dark side: the host says it by the property, as CSS does.
_BY_PROPERTY: dict[Scheme, str] = {"light": "", "dark": 'class="night"'}
_NIGHT = ".night { color-scheme: dark } .night body { background: #16181d; color: #d8dce3 }"
_TAILWIND_BODY = (
    '<body class="bg-white text-slate-900 dark:bg-slate-900 dark:text-slate-100 antialiased">'
    '<nav class="flex gap-4 p-4 border-b"><strong>Licences</strong></nav>'
    f'<main class="mx-auto max-w-6xl p-4 text-center uppercase tracking-wide">{_BLOCK}</main></body>'
)

FRAMEWORKS = {
    "bootstrap3": Framework(
        '<body><nav class="navbar navbar-default"><div class="container"><div class="navbar-header">'
        '<span class="navbar-brand">Licences</span></div></div></nav><div class="container">'
        '<div class="panel panel-default"><div class="panel-body">'
        f"{_BLOCK}</div></div></div></body>",
        _BY_PROPERTY,
        _NIGHT,
    ),
    "bootstrap4": Framework(
        '<body><nav class="navbar navbar-dark bg-dark"><span class="navbar-brand">Licences</span></nav>'
        f'<main class="container text-center"><div class="jumbotron lead">{_BLOCK}</div></main></body>',
        _BY_PROPERTY,
        _NIGHT,
    ),
    "bootstrap5": Framework(
        '<body><nav class="navbar bg-body-tertiary"><div class="container">'
        '<span class="navbar-brand">Licences</span></div></nav>'
        f'<main class="container py-3"><div class="card"><div class="card-body">{_BLOCK}</div></div></main></body>',
        {"light": 'data-bs-theme="light"', "dark": 'data-bs-theme="dark"'},
    ),
    "bulma": Framework(
        '<body><nav class="navbar"><div class="navbar-brand"><span class="navbar-item">Licences</span></div></nav>'
        f'<section class="section"><div class="container content is-large">{_BLOCK}</div></section></body>',
        {"light": 'data-theme="light"', "dark": 'data-theme="dark"'},
    ),
    "tailwind3": Framework(_TAILWIND_BODY, {"light": 'class=""', "dark": 'class="dark"'}),
    "tailwind4": Framework(
        _TAILWIND_BODY.replace('<main class="', '<main class="prose prose-lg dark:prose-invert '),
        {"light": 'class=""', "dark": 'class="dark"'},
    ),
    # Ids, small roots and a rule for everything, as in an admin that has grown.
    "handmade": Framework(
        f'<body><div id="top">Licences</div><div id="content">{_BLOCK}</div></body>',
        _BY_PROPERTY,
        _NIGHT
        + """
        html { font-size: 10px }
        body { font: 11px/1 Georgia, serif; letter-spacing: 1px; text-transform: lowercase }
        * { margin: 0; padding: 0; border: 0; transition: color .5s }
        #content * { font-size: 9px; line-height: 1; vertical-align: top }
        #content a, #content a:hover { color: #ffe; text-decoration: none; border-bottom: 1px dotted red }
        #content h1, #content h2 { color: #eee; font: italic 10px cursive }
        #content input, #content select, #content textarea, #content button {
            appearance: none; border: 0; background: none; color: #eee; width: 40px }
        #content table, #content td, #content th { border: 3px ridge red; text-align: right }
        #content ul li::before { content: "» " }
        #content label { display: block; float: left; width: 80px; color: #fef }
        #content fieldset, #content pre, #content code, #content dialog { background: #fafafa; color: #f8f8f8 }
        """,
    ),
}


def compiled_styles(folder: Path) -> dict[str, str]:
    """The style sheet of each framework, as its package or its compiler makes it."""
    (folder / "package.json").write_text(json.dumps({"dependencies": PACKAGES}))
    _run(folder, *npm(), "install", "--no-audit", "--no-fund", "--ignore-scripts")
    packages = folder / "node_modules"
    files = {
        **{
            name: packages / name / "dist/css/bootstrap.css"
            for name in PACKAGES
            if name[:4] == "boot"
        },
        "bulma": packages / "bulma/css/bulma.css",
        "tailwind3": folder / "tailwind3.css",
        "tailwind4": folder / "tailwind4.css",
    }
    # Both compilers read what the host writes.
    (folder / "layout.html").write_text(
        FRAMEWORKS["tailwind3"].layout("dark") + FRAMEWORKS["tailwind4"].layout("dark")
    )
    (folder / "config.js").write_text(
        "module.exports = { darkMode: 'class', content: ['./layout.html'], "
        "plugins: [require('@tailwindcss/forms')] }"
    )
    (folder / "input3.css").write_text(
        "@tailwind base;\n@tailwind components;\n@tailwind utilities;\n"
    )
    _run(
        *(folder, node(), packages / "tailwindcss3/lib/cli.js", "-c", "config.js"),
        *("-i", "input3.css", "-o", "tailwind3.css"),
    )
    (folder / "input4.css").write_text(
        '@import "tailwindcss" source(none);\n@source "./layout.html";\n'
        '@plugin "@tailwindcss/typography";\n@plugin "@tailwindcss/forms";\n'
        "@custom-variant dark (&:where(.dark, .dark *));\n"
    )
    _run(
        *(folder, node(), packages / "@tailwindcss/cli/dist/index.mjs"),
        *("-i", "input4.css", "-o", "tailwind4.css"),
    )
    styles = {name: path.read_text() for name, path in files.items()}
    return {name: styles.get(name, "") + item.more for name, item in FRAMEWORKS.items()}


def _run(folder: Path, *command: str | Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=180)
    except subprocess.TimeoutExpired:
        missing("the registry of npm does not answer", "REQUIRE_NPM")
    if any(code in done.stderr for code in ("ENOTFOUND", "ECONNREFUSED", "EAI_AGAIN", "ETIMEDOUT")):
        missing("the registry of npm cannot be reached", "REQUIRE_NPM")
    assert done.returncode == 0, done.stderr


@dataclass
class Host:
    """An application whose layout can be exchanged."""

    app: Flask
    styles: dict[str, str]
    templates: dict[str, str] = field(default_factory=dict)
    style: str = ""

    def __post_init__(self) -> None:
        self.app.jinja_loader = DictLoader(self.templates)
        self.app.add_url_rule(
            "/host.css", "host", lambda: Response(self.style, mimetype="text/css")
        )

    def wear(self, name: str, scheme: Scheme) -> None:
        """Put the pages into the layout of a framework from now on."""
        self.templates["host.html"] = FRAMEWORKS[name].layout(scheme)
        self.style = self.styles[name]


_ID = re.compile(r"(ep|dlv|evt|task)_\w+")


def kinds(paths: list[str]) -> list[str]:
    """One path for each page, and each of those that look different in each state."""
    found: dict[str, str] = {}
    for path in paths:
        plain = path.partition("?")[0]
        states = re.fullmatch(r"/(endpoints|deliveries|tasks)/[^/]+", plain)
        found.setdefault(path if states else _ID.sub("*", plain), path)
    return list(found.values())


def poor_contrasts(page: Page) -> list[str]:
    """Texts and edges of ours that are hard to see."""
    return _evaluate(page, "poorContrasts")


def changed_styles(page: Page) -> list[str]:
    """What the host's style sheet changes on elements of ours."""
    return _evaluate(page, "changedStyles")


def _evaluate(page: Page, function: str) -> list[str]:
    source = Path(__file__).with_name("host_styles.js").read_text()
    found: list[str] = page.evaluate(f"({source[source.index('({') :].strip()}).{function}()")
    return [f"{page.url}: {item}" for item in found]
