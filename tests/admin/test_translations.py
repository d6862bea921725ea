"""Every text of the pages in every language that is shipped, and pages in that language."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from babel.messages.catalog import Catalog
from flask import Flask, request
from flask_babel import Babel

from flask_webhooks import actions
from flask_webhooks.admin import display, i18n, wording
from flask_webhooks.app_state import state_of
from flask_webhooks.attempt_errors import REFUSED, WITHOUT_BODIES, told
from flask_webhooks.delivery.settle.health import Hold
from flask_webhooks.errors import (
    EndpointLimitReached,
    Forbidden,
    InvalidInput,
    InvalidTransition,
)
from flask_webhooks.texts import Text, word
from flask_webhooks.wakeup.redis_trouble import TroubleKind
from tests.support.chat_servers import FakeSlack, Reply
from tests.support.delivering import attempts, drain, emit, endpoint, webhooks_of
from tests.support.helpers import accessing, add_delivery, add_endpoint, close, update
from tests.support.pages import Browser, World, make_app, populate
from tests.support.receiver import Receiver
from tests.support.working import Worker
from tests.translations import ADMIN, KEYWORDS, languages, messages, read, read_compiled

WHAT_TO_DO = "python -m tests.translations, and translate what it says"


def texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, tuple | list) else [str(value)]


def placeholders(value: object) -> list[set[str]]:
    return [set(re.findall(r"%\(\w+\)s|%%|\{\{.*?\}\}", text)) for text in texts(value)]


@pytest.mark.slow
def test_texts_are_marked_so_that_they_are_found() -> None:
    """As a literal of their own, not within an f-string, which the extractor does not read."""
    ids = {text for message in messages() for text in texts(message.id)}
    for path in ADMIN.rglob("*.py"):
        if path.name == "i18n.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id in KEYWORDS:
                given = node.args[0]
                assert isinstance(given, ast.Constant), f"{path.name}:{node.lineno}"
                assert given.value in ids, f"{path.name}:{node.lineno}"


def test_german_is_shipped() -> None:
    assert languages() == ["de"]


@pytest.mark.slow
@pytest.mark.parametrize("language", languages())
def test_no_text_is_missing_or_left_over(language: str) -> None:
    catalog = read(language)
    wanted = {str(message.id) for message in messages() if message.id}
    there = {str(message.id) for message in catalog if message.id}
    assert wanted - there == set(), WHAT_TO_DO
    assert there - wanted == set(), WHAT_TO_DO
    assert not catalog.obsolete, WHAT_TO_DO
    for message in catalog:
        if message.id:
            assert all(texts(message.string)), message.id
            assert not message.fuzzy, message.id


@pytest.mark.parametrize("language", languages())
def test_placeholders_are_those_of_the_original(language: str) -> None:
    for message in read(language):
        if message.id:
            assert placeholders(message.string) == placeholders(message.id), message.id


@pytest.mark.parametrize("language", languages())
def test_compiled_catalogue_holds_the_written_texts(language: str) -> None:
    def translated(catalog: Catalog) -> dict[tuple[str, ...], list[str]]:
        return {tuple(texts(item.id)): texts(item.string) for item in catalog if item.id}

    assert translated(read_compiled(language)) == translated(read(language)), WHAT_TO_DO


# -- pages in German ----------------------------------------------------------------------------------


@pytest.fixture
def app(tmp_path: Path, redis_url: str) -> Iterator[Flask]:
    app = make_app(
        f"sqlite:///{tmp_path / 'database.sqlite'}",
        redis_url,
        WEBHOOKS_MAX_ENDPOINTS=20,
        WEBHOOKS_REQUIRE_WHOLE_ANSWER=True,
    )
    Babel(app, locale_selector=lambda: request.accept_languages.best_match(["en", "de", "fr"]))
    yield app
    close(app)


@pytest.fixture
def world(app: Flask, receiver: Receiver) -> World:
    return populate(app, receiver, hostile="Acme")


def test_pages_are_in_the_language_of_the_person(app: Flask, world: World) -> None:
    german, english = Browser(app, headers={"Accept-Language": "de"}), Browser(app)
    page = german.get("/overview")
    assert page.heading == "Überblick"
    assert page.one("html").attributes["lang"] == "de"
    assert english.get("/overview").heading == "Overview"
    page = german.get("/delete-all")
    assert "Möchten Sie wirklich ALLE Webhooks löschen?" in page.text
    assert "Das sind 7 Webhooks" in page.text


@pytest.mark.slow
def test_no_english_sentence_is_left_on_any_page(app: Flask, world: World) -> None:
    browser = Browser(app, headers={"Accept-Language": "de"})
    sentences = {
        text
        for message in messages()
        if message.id
        for text in texts(message.id)
        if len(text) > 20 and "%" not in text
    }
    assert len(sentences) > 200
    for path in world.paths():
        page = browser.get(path)
        # Schemas are data, and stay as they are.
        for section in page.all("section", aria_labelledby="wh-schema"):
            section.children.clear()
        shown = page.text
        assert [text for text in sentences if text in shown] == [], path


def test_refusals_are_in_the_language_of_the_person(app: Flask) -> None:
    browser = Browser(app, headers={"Accept-Language": "de"})
    values = {
        "url": "https://10.0.0.1/",
        "name": "x" * 201,
        "scope": "chosen",
        "events": ["license.creatd"],
        "headers-0-name": "X-Leer",
        "rate_limit": "viele",
    }
    page = browser.post("/endpoints/new", values | token(browser), 422)
    assert [item.text for item in page.one(id="wh-problems").all("a")] == [
        "An 10.0.0.1 können keine Webhooks gesendet werden (privates Netz). Nehmen Sie einen Host im "
        "öffentlichen Internet, oder lassen Sie den Betreiber dessen Netz erlauben. Fügen Sie es dafür zu "
        "WEBHOOKS_ALLOWED_NETWORKS hinzu.",
        "Kürzen Sie „Name“ auf 200 Zeichen; es sind 201.",
        "Es gibt keinen Ereignistyp 'license.creatd'. Meinten Sie license.created / "
        "license.reinstated / license.rejected?",
        "Geben Sie dem Header X-Leer einen Wert, oder lassen Sie ihn weg.",
        "Schreiben Sie „Begrenzung“ als Zahl (Anfragen je Sekunde) von 0.001 bis 10000, oder lassen Sie "
        "es weg.",
    ]
    other = Browser(app)
    english = other.post("/endpoints/new", values | token(other), 422)
    assert "Give the header X-Leer a value" in english.text


def token(browser: Browser) -> dict[str, str]:
    """The token of a form, and the session that it belongs to."""
    form = browser.get("/endpoints/new").form("/endpoints/new")
    return {"csrf_token": form.one("input", name="csrf_token").attributes["value"]}


def test_error_pages_are_in_the_language_of_the_person(app: Flask) -> None:
    browser = Browser(app, headers={"Accept-Language": "de"})
    assert "Es gibt keinen Endpunkt 'nothing'." in browser.get("/endpoints/nothing", 404).text
    endpoint = add_endpoint(app)
    form = browser.get(f"/endpoints/{endpoint.id}/pause")
    actions.pause_endpoint(accessing(app), endpoint.id)
    page = browser.send(form, "/pause", {}, 409)
    assert "Der Endpunkt ist schon pausiert." in page.text
    assert "Schreiben Sie die Zeit" in browser.get("/events?since=gestern", 422).text
    webhooks_of(app).authorize(lambda action, endpoint: action == "view")
    page = browser.get("/endpoints/new", 403)
    assert "Das dürfen Sie nicht: Endpunkte anlegen oder ändern." in page.text


def test_notices_are_in_the_language_of_the_person(app: Flask) -> None:
    browser = Browser(app, headers={"Accept-Language": "de"})
    endpoint = add_endpoint(app)
    add_delivery(
        app, endpoint, "failed", completed_at=datetime(2026, 1, 1, tzinfo=UTC), reason="exhausted"
    )
    form = browser.get(f"/endpoints/{endpoint.id}/recover?since=2020-01-01T00:00")
    page = browser.send(form, "/recover")
    assert (
        page.one("div", role="status", _class="wh-notice wh-ok").text
        == "Die Aufgabe ist eingereiht."
    )
    page = browser.send(form, "/recover")
    notice = page.one("div", role="status", _class="wh-notice wh-warn").text
    assert "Warten Sie, bis es fertig ist" in notice
    assert "wait until" not in notice


@pytest.mark.slow
def test_what_went_wrong_with_a_request_is_in_the_language_of_the_person(
    app: Flask, receiver: Receiver
) -> None:
    within = "innerhalb von 0.4 s"
    wanted = {
        "/status/503": "Der Empfänger hat mit 503 geantwortet.",
        "/status/410": "Der Empfänger hat mit 410 geantwortet.",
        "/redirect": "Der Empfänger hat mit 302 geantwortet; Weiterleitungen wird nicht gefolgt.",
        "/never": f"Verbunden, aber {within} kam keine Antwort.",
        "/drip": f"Der Inhalt der Antwort war {within} nicht vollständig.",
        "/close": "Die Verbindung wurde ohne eine Antwort geschlossen.",
        "/half": "Die Verbindung brach mitten im Inhalt der Antwort ab.",
        # What the system says stays as it says it.
        "/early-reset": "Die Verbindung brach ab: Connection reset by peer.",
    }
    lost = add_endpoint(app, receiver.url("/lost"), events=["user.*"])
    interrupted = add_delivery(app, lost)
    with closing(Worker(app)) as worker:
        worker.take_one()
        worker.wait(worker.state.settings.lease + 1)
        assert worker.recover() == 1
    update(app, "Delivery", interrupted, state="cancelled", due_at=None)
    for path in wanted:
        add_endpoint(app, receiver.url(path), events=["license.*"])
    with app.app_context():
        emit(app, data={"padding": "x" * 200_000})
    drain(app, timeout=0.4)
    german, english = Browser(app, headers={"Accept-Language": "de"}), Browser(app)
    found = {}
    for attempt in attempts(app):
        path = attempt.url.removeprefix(receiver.url(""))
        found[path] = said(german, attempt.delivery_id)
        # Programs and logs read English.
        assert said(english, attempt.delivery_id) == attempt.error
    assert found == wanted | {
        "/lost": "Der Worker hielt an, bevor er eine Antwort festhalten konnte. Die Anfrage kann angekommen sein."
    }


def test_why_an_endpoint_was_disabled_is_whole_in_the_language_of_the_person(app: Flask) -> None:
    with FakeSlack() as service:
        service.first = [Reply(404, "channel_not_found", "text/plain")]
        endpoint_id = add_endpoint(app, service.url(), format="slack").id
        with app.app_context():
            emit(app)
        drain(app)
    reason = "The receiver refuses permanently. The receiver responded with 404: channel_not_found"
    assert endpoint(app, endpoint_id).state_reason == reason
    german, english = Browser(app, headers={"Accept-Language": "de"}), Browser(app)
    # What the chat says stays as it says it.
    whole = (
        "Der Empfänger lehnt endgültig ab. Der Empfänger hat mit 404 geantwortet: channel_not_found"
    )
    for page in (f"/endpoints/{endpoint_id}", "/activity"):
        assert reason in english.get(page).text
        assert whole in german.get(page).text
    assert "Der Empfänger lehnt endgültig ab." in german.get("/").text
    # A version without codes changes the sentence alone.
    update(app, "Endpoint", endpoint_id, state_reason="moving")
    assert "moving" in german.get(f"/endpoints/{endpoint_id}").text


def test_what_workers_wrote_into_the_trail_is_in_the_language_of_the_person(app: Flask) -> None:
    with app.test_request_context(headers={"Accept-Language": "de"}):
        gone = {
            "state": ["active", "disabled"],
            "reason": "The receiver responded with 410 Gone.",
            "reason_code": "gone",
            "reason_params": None,
        }
        assert wording.changes(gone | {"held": 1234}) == [
            ("Zustand", "Aktiv", "Abgeschaltet"),
            ("Grund", "", "Der Empfänger hat mit 410 Gone geantwortet."),
            ("Zurückgehaltene Zustellungen", "", "1.234"),
        ]
        failed = {
            "reason": "It failed for more than 5 days.",
            "reason_code": "failed_for_days",
            "reason_params": {"days": "5"},
            "held": "discard",
        }
        assert [after for _name, _before, after in wording.changes(failed)] == [
            "Er schlug mehr als 5 Tage lang fehl.",
            "Verwerfen",
        ]
        # A version without codes has changed the sentence alone.
        changed = wording.changes(failed | {"reason": "moving"})
        assert [after for _name, _before, after in changed] == ["moving", "Verwerfen"]


def test_an_attempt_without_bodies_is_told_in_the_language_of_the_person(app: Flask) -> None:
    note = (
        "Die Datenbank konnte die Inhalte dieses Versuchs nicht speichern, daher ist er ohne sie "
        "festgehalten."
    )
    with app.test_request_context(headers={"Accept-Language": "de"}):
        assert wording.error_text(WITHOUT_BODIES.text) == note
        error = told(REFUSED, status=503).with_note(WITHOUT_BODIES)
        assert wording.error_text(error.text) == f"Der Empfänger hat mit 503 geantwortet. {note}"


def test_a_sentence_of_a_version_without_codes_is_told_as_it_was_stored(
    app: Flask, receiver: Receiver
) -> None:
    add_endpoint(app, receiver.url("/status/503"), events=["license.*"])
    with app.app_context():
        emit(app)
    drain(app)
    state = state_of(app)
    table, stored = state.table("Attempt"), "The receiver responded with 503."
    with state.engine.begin() as connection:
        old = {"error_code": None, "error_params": None, "error": stored}
        connection.execute(sa.update(table).values(old))
    [attempt] = attempts(app)
    assert attempt.error == stored
    german = Browser(app, headers={"Accept-Language": "de"})
    assert said(german, attempt.delivery_id) == stored


def test_troubles_are_in_the_language_of_the_person(app: Flask) -> None:
    texts = [text for kind in TroubleKind for text in (kind.title, kind.advice)]
    english = [*texts, *map(wording.hold_text, Hold)]
    with app.test_request_context(headers={"Accept-Language": "de"}):
        german = [*map(i18n.translated, texts), *map(wording.hold_text, Hold)]
    assert set(english).isdisjoint(german)
    assert "Redis antwortet nicht." in german


def test_refusals_of_the_database_are_in_the_language_of_the_person(app: Flask) -> None:
    with app.app_context():
        state_of(app).models.metadata.drop_all(state_of(app).engine)
    page = Browser(app, headers={"Accept-Language": "de"}).get("/overview", 503)
    assert "Die Tabellen von Flask-Webhooks fehlen oder sind veraltet" in page.text


def said(browser: Browser, delivery_id: str) -> str:
    [diagnosis] = [
        item
        for item in browser.get(f"/deliveries/{delivery_id}").walk()
        if item.has_class("wh-diagnosis")
    ]
    return diagnosis.one("strong").text


def test_event_types_are_in_the_language_of_the_person(app: Flask) -> None:
    browser = Browser(app, headers={"Accept-Language": "de"})
    webhooks_of(app).add_event_type("shop.opened", description="A shop was opened.", group="Shops")
    page = browser.get("/event-types")
    assert "Hardware-Ids" in [item.text for item in page.all("h2")]
    assert "Eine Zahlung ist eingegangen." in page.text
    # The host's own are the host's to translate.
    assert "A shop was opened." in page.text
    page = browser.get("/event-types/payment.succeeded")
    assert "Zahlungsdienst." in page.text
    form = browser.get("/endpoints/new")
    assert "Eine Anmeldung wurde abgelehnt." in form.text
    assert "Benutzer und Sitzungen" in [item.text for item in form.all("legend")]


def test_a_message_is_translated_with_what_stands_in_it(app: Flask) -> None:
    errors = [
        InvalidTransition("The endpoint is already %(now)s.", now=word("disabled")),
        EndpointLimitReached("100 % of them"),
        InvalidInput(Text("Choose one of %(choices)s.", choices="a, b")),
        Forbidden(),
    ]
    with app.test_request_context(headers={"Accept-Language": "de"}):
        assert [i18n.translated(error.text) for error in errors] == [
            "Der Endpunkt ist schon abgeschaltet.",
            "100 % of them",
            "Wählen Sie eines von a, b.",
            Forbidden().message,
        ]


def test_a_language_that_is_not_shipped_is_english(app: Flask) -> None:
    with app.test_request_context(headers={"Accept-Language": "fr"}):
        assert i18n.gettext("Overview") == "Overview"
        assert i18n.ngettext("%(num)s day", "%(num)s days", 3) == "3 days"


@pytest.mark.parametrize(
    ("language", "wanted"),
    [
        ("en", ["0.4 ms", "38 ms", "1.25 s", "> 10 s", "2 min", "3 h", "12,345+", "98.4 %", "2.5"]),
        ("de", ["0,4 ms", "38 ms", "1,25 s", "> 10 s", "2 min", "3 h", "12.345+", "98,4 %", "2,5"]),
    ],
)
def test_numbers_are_written_as_the_language_does(
    app: Flask, language: str, wanted: list[str]
) -> None:
    with app.test_request_context(headers={"Accept-Language": language}):
        assert [
            *map(display.milliseconds, (0.4, 38, 1250, math.inf)),
            *map(display.duration, (120, 3 * 3600)),
            display.count(12_345, 10_000),
            display.percent(0.984),
            i18n.decimal(2.5),
        ] == wanted
        plural = i18n.ngettext("%(num)s day", "%(num)s days", 12_345)
        assert f"{plural.split()[0]}+" == display.count(12_345, 10_000)


def test_numbers_are_english_without_an_application() -> None:
    assert (display.count(12_345), display.seconds(0.25), i18n.decimal(1234.0)) == (
        "12,345",
        "0.25 s",
        "1,234",
    )


def test_a_page_says_so(app: Flask) -> None:
    made = add_endpoint(app, timeout=1.5, rate_limit=0.5)
    page = Browser(app, headers={"Accept-Language": "de"}).get(f"/endpoints/{made.id}")
    facts = {
        item.one("dt").text: item.one("dd").text
        for item in page.one("dl", _class="wh-facts").all("div")
    }
    assert "1,5 s" in facts.values()
    assert "0,5 je Sekunde" in facts.values()
