"""Secrets of an endpoint that a receiver repeats, or that an error would carry, are stored and logged nowhere."""

from __future__ import annotations

import base64
import html
import json
import logging
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_webhooks import actions, formats
from flask_webhooks.access import system_access
from flask_webhooks.app_state import state_of
from flask_webhooks.delivery.http.exchange import Exchange, Request
from flask_webhooks.formats import OutgoingEvent, Rendered, Target
from flask_webhooks.formats.chat.base import ChatFormat
from flask_webhooks.outbox.store import NewEvent
from flask_webhooks.security.redaction import MASK, Redactor, secrets_of
from tests.support.delivering import attempts, db_of, drain, emit, models_of, webhooks_of
from tests.support.receiver import Receiver

#: Seconds until a retry: none within a test.
LATER = (3600.0, 3600.0)

BEARER = "Bearer sk_live/4eC39HqLyjWDarjtT1+zdp7dc=="
TOKEN = BEARER.removeprefix("Bearer ")
PASSWORD = 'pa"ss<wörd>&1'.replace("ö", "o")
BASIC = "Basic " + base64.b64encode(f"bot:{PASSWORD}".encode()).decode()
SECRET = "whsec_" + base64.b64encode(b"thirty-two bytes of a signing key").decode()

#: What a receiver may make of what it repeats.
ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "url": lambda text: quote(text, safe=""),
    "json": json.dumps,
    "json-slashes": lambda text: json.dumps(text).replace("/", "\\/"),
    "json-of-go": lambda text: (
        json.dumps(text).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    ),
    "html": html.escape,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64-after-one": lambda text: base64.b64encode(f"={text}".encode()).decode(),
    "base64-after-two": lambda text: base64.urlsafe_b64encode(f"x={text}".encode()).decode(),
    "lower": str.lower,
}


class Echo(BaseHTTPRequestHandler):
    """Repeats the headers and path of a request: ``/<status>/<encoding>/…``."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        _, status, encoding, *_ = self.path.split("/")
        encode = ENCODINGS[encoding]
        said = {name: encode(value) for name, value in self.headers.items()}
        body = "\n".join([encode(self.path), *said.values()]).encode()
        if status == "400":
            message = f"Bad token {self.headers.get('Authorization')} at {self.path}"
            body = json.dumps({"message": message}).encode()
        self.send_response(int(status))
        for name in ("Authorization", "X-Api-Key", "X-Webhook-Secret"):
            if name in said:
                self.send_header(f"X-Echo-{name}", said[name])
        self.send_header("Location", f"/login?next={encode(self.path)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def echo() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def stored(app: Flask) -> str:
    """Everything that is kept of all attempts."""
    rows = [
        (item.error, item.request_headers, item.response_headers, item.response_body)
        for item in attempts(app)
    ]
    assert rows
    return json.dumps(rows, ensure_ascii=False).lower()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_header_values_that_a_receiver_repeats_are_masked(
    app: Flask, echo: str, encoding: str
) -> None:
    encode = ENCODINGS[encoding]
    webhooks_of(app).create_endpoint(
        f"{echo}/200/{encoding}/x",
        headers={"Authorization": BEARER, "X-Api-Key": PASSWORD, "X-Other": BASIC},
    )
    emit(app)
    drain(app, retry_schedule=LATER)
    kept = stored(app)
    assert MASK in kept
    for secret in (BEARER, TOKEN, PASSWORD, BASIC):
        for form in {secret, encode(secret).strip('"')}:
            # Of an encoded text only the inner characters are always the same.
            assert form[4:-4].lower() not in kept
            assert json.dumps(form)[5:-5].lower() not in kept


def test_secret_that_is_sent_as_a_header_is_masked_where_it_comes_back(
    app: Flask, echo: str
) -> None:
    created = webhooks_of(app).create_endpoint(
        f"{echo}/500/plain/x", format="authon", secret="a secret of authon"
    )
    emit(app)
    drain(app, retry_schedule=LATER)
    assert created.secret == "a secret of authon"
    assert created.secret not in stored(app)


class Chat(ChatFormat):
    """A chat on loopback, whose URL ends with a token."""

    name = "loopback"
    label = "Loopback"

    def render(self, event: OutgoingEvent, target: Target, attempted_at: datetime) -> Rendered:
        return Rendered(target.url, {}, b"{}")

    def mask_url(self, url: str) -> str:
        return f"{url.rpartition('/')[0]}/{MASK}"


@pytest.mark.parametrize("status", [200, 302, 400, 404])
def test_token_of_a_chat_is_masked_in_location_body_and_error(
    app: Flask, echo: str, status: int
) -> None:
    webhooks_of(app).add_format(Chat())
    token = "AAExample-Token_of:a%20chat"
    webhooks_of(app).create_endpoint(f"{echo}/{status}/plain/{token}", format="loopback")
    emit(app)
    drain(app, retry_schedule=LATER)
    kept = stored(app)
    assert f"next=/{status}/plain/{MASK}".lower() in kept
    for form in (token, "AAExample-Token_of", "AAExample-Token_of:a chat", quote(token)):
        assert form.lower() not in kept
    if status == 400:
        [attempt] = attempts(app)
        assert (
            attempt.error == f"The receiver responded with 400: Bad token None at /400/plain/{MASK}"
        )


def test_start_of_a_secret_at_the_end_of_a_cut_answer_is_masked(app: Flask, echo: str) -> None:
    webhooks_of(app).create_endpoint(
        f"{echo}/200/plain/x", headers={"Authorization": "Bearer " + "s3cr3t" * 20}
    )
    emit(app)
    drain(app, max_response_bytes=120, retry_schedule=LATER)
    [attempt] = attempts(app)
    assert attempt.response_cut
    assert "s3cr3t" not in (attempt.response_body or "")


def test_ordinary_words_of_an_answer_stay() -> None:
    redactor = Redactor(
        secrets_of(
            [SECRET], {"X-Env": "prod", "X-Short": "ok", "Accept": "application/json"}, "u", "u"
        )
    )
    assert redactor.text("Production products of prod: ok") == f"Production products of {MASK}: ok"
    assert redactor.text("application/json") == "application/json"
    assert redactor.text(f"key {SECRET.removeprefix('whsec_')}.") == f"key {MASK}."
    assert redactor.body(b"\xff" + SECRET.encode()) == b"\xff" + MASK.encode()


# -- logs and representations -------------------------------------------------------------------------


class Leaking(formats.Format):
    """A format of the host's whose bug tells the secret."""

    name = "leaking"
    label = "Leaking"

    def generate_secret(self) -> str:
        return "generated secret of a leaking format"

    def render(self, event: OutgoingEvent, target: Target, attempted_at: datetime) -> Rendered:
        raise RuntimeError(f"cannot sign with {target.secrets[0]} for {target.url}")


def test_error_of_a_format_is_logged_without_secrets_and_without_live_frames(
    app: Flask, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    webhooks_of(app).add_format(Leaking())
    webhooks_of(app).create_endpoint(receiver.url(), format="leaking")
    emit(app)
    drain(app, retry_schedule=LATER)
    [record] = [item for item in caplog.records if "could not be rendered" in item.getMessage()]
    assert record.exc_info is None
    # The developer still sees where it is.
    assert "in render" in record.getMessage()
    assert f"RuntimeError: cannot sign with {MASK}" in record.getMessage()
    assert "leaking format" not in caplog.text


def test_representations_hold_neither_secrets_nor_data(app: Flask, receiver: Receiver) -> None:
    created = webhooks_of(app).create_endpoint(
        receiver.url(), headers={"Authorization": BEARER}, secret=SECRET
    )
    now = datetime.now(UTC)
    data = '{"license_key":"AAAA-BBBB"}'
    event = OutgoingEvent("evt_1", "license.created", None, now, data)
    target = Target(
        "ep_1", None, f"https://x.example/{TOKEN}", "https://x.example/…", "standard", (SECRET,),
        {"Authorization": BEARER}, None, 1,
    )  # fmt: skip
    rendered = state_of(app).formats["standard"].render(event, target, now)
    answer = formats.Answer(200, {"x": BEARER}, BEARER.encode())
    draft = NewEvent("evt_1", "license.created", None, data, now)
    request = Request(target.url, [("Authorization", BEARER)], data.encode(), 1.0)
    exchange = Exchange(request, headers=[("Location", target.url)])
    move = formats.Move(target.url, {}, {})
    for item in (
        *(
            created,
            event,
            target,
            target.redactor,
            rendered,
            answer,
            draft,
            request,
            exchange,
            move,
        ),
    ):
        text = repr(item)
        for secret in (TOKEN, SECRET, "AAAA-BBBB"):
            assert secret not in text


@pytest.fixture
def refusing(app: Flask) -> Flask:
    """A database that refuses each event, with a message that quotes the row where it can."""
    table = models_of(app).Event.__tablename__
    with state_of(app).engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text(f"ALTER TABLE {table} ADD CHECK (length(data) < 3)"))
        else:
            connection.execute(
                sa.text(
                    f"CREATE TRIGGER refuse BEFORE INSERT ON {table} "
                    "BEGIN SELECT RAISE(ABORT, 'refused'); END"
                )
            )
    return app


def subscribe(app: Flask) -> None:
    webhooks_of(app).create_endpoint("http://127.0.0.1:1025/")


def test_database_error_of_emit_carries_no_data(refusing: Flask) -> None:
    subscribe(refusing)
    with pytest.raises(sa.exc.IntegrityError) as caught:
        emit(refusing, data={"license_key": "AAAA-BBBB"})
    db_of(refusing).session.rollback()
    shown: list[Any] = [caught.value, caught.value.params, caught.value.args, caught.value.orig]
    shown += [caught.value.__cause__, repr(caught.value.orig)]
    assert "AAAA-BBBB" not in " ".join(map(str, shown))
    # The host still learns what is wrong.
    assert "webhooks_event" in str(caught.value)


def test_event_that_cannot_be_written_later_is_logged_without_its_data(
    refusing: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    subscribe(refusing)
    webhooks_of(refusing).emit("user.login_failed", {"username": "mallory-the-user"})
    [record] = [item for item in caplog.records if "is lost" in item.getMessage()]
    assert record.exc_info is None
    assert "mallory-the-user" not in caplog.text


def test_own_transactions_log_no_parameters(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    engine = state_of(app).own_engine
    with caplog.at_level(logging.INFO, "sqlalchemy.engine"):
        logging.getLogger("sqlalchemy.engine.Engine")
        created = webhooks_of(app).create_endpoint("http://127.0.0.1:1025/", secret=SECRET)
        actions.send_test(
            system_access(state_of(app), "test"),
            created.endpoint.id,
            "license.created",
            {"license_key": "AAAA-BBBB"},
        )
    assert engine.hide_parameters
    assert "AAAA-BBBB" not in caplog.text
