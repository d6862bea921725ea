"""Layouts of hosts: which block takes the pages in, and what is said of one that cannot."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from jinja2 import DictLoader

from flask_webhooks.errors import ConfigurationError
from tests.support.helpers import add_delivery, add_endpoint, close
from tests.support.hosts import Host, running
from tests.support.pages import PREFIX, Browser, make_app, parse

Make = Callable[..., Flask]

PLAIN = """<!doctype html><html lang="en"><head><title>{% block title %}Host{% endblock %}</title></head>
<body><header>Licences</header><main>{% block content %}{% endblock %}</main></body></html>"""
FRAMED = """<!doctype html><html lang="en"><head><title>{% block title %}Host{% endblock %}</title></head>
<body>{% block content %}<header>Licences</header><main>{% block main %}{% endblock %}</main>{% endblock %}</body>
</html>"""


@pytest.fixture
def make(tmp_path: Path, redis_url: str) -> Iterator[Make]:
    """A host with templates; ``block`` is WEBHOOKS_BASE_BLOCK."""
    apps: list[Flask] = []

    def make(templates: dict[str, str], block: str | None = None, **settings: Any) -> Flask:
        settings = {"WEBHOOKS_BASE_TEMPLATE": "base.html", **settings}
        if block is not None:
            settings["WEBHOOKS_BASE_BLOCK"] = block
        app = make_app(
            f"sqlite:///{tmp_path / f'{len(apps)}.sqlite'}",
            redis_url,
            TEMPLATES_AUTO_RELOAD=True,
            **settings,
        )
        app.jinja_loader = DictLoader(templates)
        app.add_url_rule("/own", "own", lambda: "of the host")
        apps.append(app)
        return app

    yield make
    for app in apps:
        close(app)


def check_shown(app: Flask) -> None:
    """A page stands in the layout with its header, and what refreshes itself still does."""
    browser = Browser(app)
    page = browser.get("/")
    assert "Licences" in page.all("header")[0].text
    assert page.one("main").one("h1").text == "Webhooks"
    assert page.one("title").text == "Webhooks · Flask-Webhooks"
    assert "Deliveries" in page.links()
    delivery = add_delivery(app, add_endpoint(app))
    headers = {"Flask-Webhooks-Fragment": "live"}
    fragment = app.test_client().get(f"{PREFIX}/deliveries/{delivery}", headers=headers)
    root = parse(fragment.text).one("div", class_="wh")
    assert root.all(id="wh-part-state")
    assert "Licences" not in fragment.text


# -- layouts that fit ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("templates", "block"),
    [
        pytest.param({"base.html": PLAIN}, None, id="content alone"),
        pytest.param({"base.html": FRAMED}, "main", id="a block inside of another"),
        pytest.param({"base.html": PLAIN.replace("content", "body")}, "body", id="another name"),
        pytest.param(
            {"base.html": "{% extends 'root.html' %}", "root.html": PLAIN},
            None,
            id="of an ancestor",
        ),
        pytest.param(
            {
                "base.html": "{% extends 'root.html' %}{% block content %}"
                "<header>Licences</header><main>{% block webhooks %}{% endblock %}</main>{% endblock %}",
                "root.html": "<title>{% block title %}{% endblock %}</title>{% block content %}{% endblock %}",
            },
            "webhooks",
            id="a template between",
        ),
        pytest.param(
            {
                "base.html": "{% include 'head.html' %}<main>{% block content %}{% endblock %}</main>",
                "head.html": "<header>Licences</header>",
            },
            None,
            id="pieces",
        ),
    ],
)
def test_pages_go_into_the_block_of_the_layout(
    make: Make, templates: dict[str, str], block: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    if "head.html" in templates:
        templates = {
            **templates,
            "base.html": "<title>{% block title %}{% endblock %}</title>" + templates["base.html"],
        }
    app = make(templates, block)
    with caplog.at_level(logging.WARNING, logger="flask_webhooks"):
        check_shown(app)
    assert [record for record in caplog.records if record.name == "flask_webhooks"] == []


@pytest.mark.slow
def test_layout_that_only_a_request_knows_is_not_judged(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    app = make({"base.html": "{% extends theme() %}", "root.html": PLAIN})
    app.jinja_env.globals["theme"] = lambda: "root.html"
    with caplog.at_level(logging.WARNING, logger="flask_webhooks"):
        check_shown(app)
    assert caplog.records == []


def test_page_of_the_host_that_fills_the_block_itself_still_works(make: Make) -> None:
    own = '{% extends "flask_webhooks/page.html" %}{% block content %}<h1>Own</h1>{% endblock %}'
    app = make({"base.html": PLAIN, "flask_webhooks/endpoint_list.html": own})
    page = Browser(app).get("/")
    assert page.heading == "Own"
    assert "Licences" in page.text


# -- layouts that do not ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("templates", "block", "words"),
    [
        pytest.param(
            {"base.html": PLAIN}, "main", "Its blocks: content, title.", id="no such block"
        ),
        pytest.param(
            {"base.html": "<p>Licences</p>"}, None, "Its blocks: none; write {% block", id="none"
        ),
        pytest.param(
            {
                "base.html": "{% extends 'root.html' %}{% block main %}{% endblock %}",
                "root.html": PLAIN,
            },
            "main",
            "Its blocks: content, title.",
            id="outside of the ancestor's",
        ),
        pytest.param(
            {
                "base.html": "{% extends 'root.html' %}{% block content %}{% endblock %}",
                "root.html": FRAMED,
            },
            "main",
            "Its blocks: content, title.",
            id="replaced by a descendant",
        ),
        pytest.param({}, None, "There is no template 'base.html'", id="no template"),
        pytest.param(
            {"base.html": "{% extends 'root.html' %}"},
            None,
            "There is no template 'root.html'",
            id="no ancestor",
        ),
    ],
)
def test_first_request_says_that_the_layout_has_no_place_for_pages(
    make: Make,
    templates: dict[str, str],
    block: str | None,
    words: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = make(templates, block)
    client = app.test_client()
    for _ in range(2):
        # Pages of the host's own go on.
        assert client.get("/own").text == "of the host"
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(told) == 1
    assert words in told[0]
    assert client.get(f"{PREFIX}/").status_code == 500
    raised = caplog.records[-1].exc_info
    assert raised is not None
    assert str(raised[1]) == told[0]
    # A template that is mended while the application runs needs no restart.
    app.jinja_loader.mapping["root.html"] = PLAIN.replace("content", block or "content")  # type: ignore[union-attr]
    app.jinja_loader.mapping["base.html"] = app.jinja_loader.mapping["root.html"]  # type: ignore[union-attr]
    assert "Licences" in Browser(app).get("/").text


@pytest.mark.parametrize(
    ("templates", "lost"),
    [
        ({"base.html": FRAMED}, True),
        (
            {
                "base.html": PLAIN.replace(
                    "{% endblock %}</main>", "{% include 'menu.html' %}{% endblock %}</main>"
                )
            },
            True,
        ),
        (
            {
                "base.html": PLAIN.replace(
                    "<main>{% block content %}", "{% block content %}<nav>Menu</nav>"
                ).replace("{% endblock %}</main>", "{% endblock %}")
            },
            True,
        ),
        (
            {
                "base.html": "{% extends 'root.html' %}{% block content %}{{ super() }}{% endblock %}",
                "root.html": PLAIN,
            },
            True,
        ),
        (
            {
                "base.html": PLAIN.replace(
                    "{% endblock %}</main>", "<p>Nothing here.</p>{% endblock %}</main>"
                )
            },
            False,
        ),
    ],
    ids=["blocks", "includes", "a menu", "super", "a placeholder"],
)
def test_first_request_says_that_pages_would_replace_header_and_menu(
    make: Make, templates: dict[str, str], lost: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app = make(templates)
    app.test_client().get("/own")
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert ["WEBHOOKS_BASE_BLOCK to a block inside of it" in text for text in told] == [True] * lost


def test_template_that_cannot_be_read_keeps_no_other_page_from_being_shown(make: Make) -> None:
    app = make({"base.html": "{% block content %}"})
    assert app.test_client().get("/own").text == "of the host"


@pytest.mark.parametrize("name", ["title", "wh_body", "my-block", "", 3])
def test_name_that_no_block_can_have_is_refused(make: Make, name: Any) -> None:
    with pytest.raises(ConfigurationError, match="WEBHOOKS_BASE_BLOCK must be"):
        make({"base.html": PLAIN}, name)


# -- the page of the docs -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "block"),
    [
        ("layouts/simple.html", "content"),
        ("layouts/framed.html", "main"),
        ("layouts/webhooks.html", "webhooks"),
    ],
)
def test_layouts_of_the_docs(
    tmp_path: Path,
    redis_url: str,
    template: str,
    block: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with ExitStack() as stack, caplog.at_level(logging.WARNING, logger="flask_webhooks"):
        host: Host = stack.enter_context(
            running(
                "proxied.py",
                tmp_path,
                redis_url,
                WEBHOOKS_BASE_TEMPLATE=template,
                WEBHOOKS_BASE_BLOCK=block,
            )
        )
        check_shown(host.app)
    assert caplog.records == []
