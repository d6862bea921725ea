"""A host with secrets of every kind, in a process of its own, that keeps all that comes out of it in files.

``python -m tests.support.leaking FOLDER REDIS_URL [all]``: with ``all``, each function of a drain whose variables show
a canary fails once, and nothing is read. `tests.security.test_secrets_everywhere` reads the files.
"""

from __future__ import annotations

import base64
import json
import logging
import secrets
import sys
import traceback
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

import redis
import sentry_sdk
import trustme
from cryptography.fernet import Fernet
from flask import Flask
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from rq import SimpleWorker
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.rq import RqIntegration
from sentry_sdk.serializer import serialize
from sentry_sdk.transport import Transport

from flask_webhooks.app_state import state_of
from tests.support.api_calls import NAME
from tests.support.api_calls import PREFIX as API
from tests.support.connect_proxy import ConnectProxy
from tests.support.delivering import close, emit, make_app, make_due, models_of, webhooks_of
from tests.support.helpers import add_scheduled
from tests.support.pages import PREFIX, World
from tests.support.scraping import scrape

TENANT = "app_1"


def token(length: int = 24) -> str:
    """A canary: as long and as random as the real ones."""
    return secrets.token_hex(length)[:length]


@dataclass(repr=False)
class Canaries:
    """What must not be found, by its name; reports that show our own variables do not show it."""

    #: In no output at all.
    secrets: dict[str, str] = field(default_factory=dict)
    #: Event data and answers: in the database and on the pages, and nowhere else.
    data: dict[str, str] = field(default_factory=dict)
    #: In the pages of the database that are free again at the most.
    erased: dict[str, str] = field(default_factory=dict)

    def secret(self, name: str, value: str | None = None) -> str:
        self.secrets[name] = value or token()
        return self.secrets[name]


class Output:
    """Everything that came out, by where; a file each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, name: str, text: str) -> None:
        with (self.folder / f"{name}.out").open("a") as file:
            file.write(text + "\n")


class Reports(Transport):
    """What Sentry would be sent."""

    output: Output

    def capture_envelope(self, envelope: Envelope) -> None:
        self.output.add("sentry", envelope.serialize().decode(errors="replace"))


class Log(logging.Handler):
    """Every message, with its attributes and its traceback."""

    def __init__(self, output: Output) -> None:
        super().__init__(logging.DEBUG)
        self.output = output

    def emit(self, record: logging.LogRecord) -> None:
        text = f"{record.name}: {record.getMessage()} {record.__dict__}"
        if record.exc_info and record.exc_info[1] is not None:
            text += "".join(traceback.format_exception(record.exc_info[1]))
        self.output.add("log", text)


class Echo(BaseHTTPRequestHandler):
    """Answers with all that it was sent. ``/s/500/`` is the status; otherwise the first request to a path fails."""

    seen: set[str] = set()  # noqa: RUF012

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        parts = self.path.split("/")
        status = 200 if self.path in self.seen else 500
        self.seen.add(self.path)
        if "s" in parts[:-1] and parts[parts.index("s") + 1].isdigit():
            status = int(parts[parts.index("s") + 1])
        answer = json.dumps({"path": self.path, "headers": dict(self.headers), "body": body})
        self.send_response(status)
        self.send_header("Location", self.path)
        self.send_header("X-Auth", self.headers.get("Authorization", ""))
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def echo() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()


class Host:
    """The host, and what its people and programs do."""

    def __init__(self, app: Flask, canaries: Canaries, output: Output, port: int) -> None:
        self.app, self.canaries, self.output = app, canaries, output
        self.root = f"http://127.0.0.1:{port}"
        self.client = app.test_client()
        self.endpoints: dict[str, str] = {}
        self.token = self.portal_link = ""

    # -- secrets --------------------------------------------------------------------------------------

    def add(self, name: str, path: str, **values: Any) -> Any:
        """Add an endpoint by the API; its answer is the one that shows the secret."""
        body = {"url": self.root + path, "tenant": TENANT, "name": name, **values}
        made = self.ask("POST", "/endpoints", body, 201)
        self.endpoints[name] = made["id"]
        if made.get("secret"):
            self.canaries.secret(
                f"secret of {name}", made["secret"].partition("_")[2] or made["secret"]
            )
        return made

    def ask(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        answer = self.client.open(API + path, method=method, json=body)
        assert answer.status_code < 400, (path, answer.text)
        return answer.get_json() if answer.data else None

    def add_everything(self) -> None:
        secret = self.canaries.secret
        bearer, key, password = secret("bearer"), secret("header key"), secret("basic password")
        basic = base64.b64encode(f"user:{password}".encode()).decode()
        headers = {"Authorization": f"Bearer {bearer}", "X-Team-Key": key}
        self.add("good", "/good", headers=headers)
        self.add("basic", "/s/403/basic", headers={"Authorization": f"Basic {basic}"})
        self.add("refusing", "/s/500/refusing", headers={"X-Key": secret("another header")})
        self.add("disabled", "/s/410/gone")
        self.add(
            "paused", "/paused", secret="whsec_" + base64.b64encode(token(32).encode()).decode()
        )
        self.add("path", f"/in/{secret('secret path')}")
        self.add("query", f"/in?sig={secret('secret query')}&x=1")
        self.add("key pair", "/pair", key_pair=True)
        self.add("authon", "/authon", format="authon")
        self.add(
            "discord",
            f"/api/webhooks/1174502939573518396/{secret('discord', token(68))}",
            format="discord",
        )
        self.add("slack", f"/services/T024BE7LD/B0G9QF9GZ/{secret('slack')}", format="slack")
        chat = f"/bot7123456789:{secret('telegram', token(35))}/sendMessage?chat_id=-1001234567890"
        self.add("telegram", chat, format="telegram")
        flow = "/powerautomate/automations/direct/workflows/0f5e/triggers/manual/paths/invoke"
        self.add("teams", f"{flow}?sig={secret('teams', token(43))}", format="teams")
        made = trustme.CA().issue_cert("acme.example.com")
        pem = made.private_key_pem.bytes().decode()
        secret("client key", pem.splitlines()[1])
        chain = b"".join(blob.bytes() for blob in made.cert_chain_pems).decode()
        tls = self.root.replace("http:", "https:") + "/mtls"
        self.add("mtls", "", url=tls, client_certificate=chain + pem)
        rotated = self.ask("POST", f"/endpoints/{self.endpoints['good']}/rotate", {})
        secret("rotated secret", rotated["secret"].partition("_")[2])
        made = self.ask(
            "POST", "/tokens", {"name": "program", "actions": ["view", "view_payload"]}, 201
        )
        self.token = secret("API token", made["secret"])
        made = self.ask(
            "POST", "/portal-links", {"tenant": TENANT, "actor": "mira", "actions": ["view"]}, 201
        )
        self.portal_link = made["url"]
        secret("portal link", urlsplit(self.portal_link).query.partition("=")[2])

    # -- what happens ---------------------------------------------------------------------------------

    def emit(self, count: int = 1) -> None:
        data = {"license_id": "lic_1", "license_key": self.canaries.data["licence key"]}
        emit(self.app, count, data=data, tenant=TENANT)

    def work(self, within: AbstractContextManager[None] | None = None) -> None:
        """Have a worker of RQ do what is in its queue.

        :param within: in which it works.
        """
        state = state_of(self.app)
        state.notifier.notify()
        state.notifier.request_task_worker()
        client = state.worker_queue.connect()
        with within or nullcontext():
            SimpleWorker([state.settings.queue], connection=client).work(burst=True)
        client.close()

    def pause_and_more(self) -> None:
        self.ask("POST", f"/endpoints/{self.endpoints['paused']}/pause", {"reason": "maintenance"})
        self.ask("POST", f"/endpoints/{self.endpoints['good']}/test", {}, 202)
        add_scheduled(self.app, TENANT, "expiring")
        person = self.canaries.erased["person"]
        emit(self.app, data={"license_id": person, "license_key": "AAAA"}, tenant=TENANT)
        self.ask("POST", "/tasks", {"kind": "resend", "tenant": TENANT}, 202)
        self.ask(
            "POST",
            "/tasks",
            {"kind": "erase", "tenant": TENANT, "where": {"license_id": person}},
            202,
        )
        self.ask(
            "PATCH",
            f"/endpoints/{self.endpoints['refusing']}",
            {"headers": {"X-New": self.canaries.secret("new header")}},
        )

    # -- what is read ---------------------------------------------------------------------------------

    def read(self, where: str, path: str, must_answer: bool = False) -> None:
        """Read a page or an object, as a person who may see secrets and as another one, who may not."""
        # The first one is shown the whole URL of an endpoint, but of a chat's.
        shown = any(self.endpoints[name] in path for name in ("path", "query"))
        for trusted in (True, False) if shown else (True,):
            webhooks_of(self.app).authorize(lambda action, _: trusted or action != "secret")  # noqa: B023
            answer = self.client.get(path)
            if trusted and must_answer:
                assert answer.status_code < 400, (path, answer.text)
            text = f"{path} {answer.headers}\n{answer.text}"
            self.output.add("trusted" if shown and trusted else where, text)

    def read_pages(self) -> None:
        world = self.world()
        paths = dict.fromkeys(world.paths())
        for endpoint_id in self.endpoints.values():
            paths |= dict.fromkeys((f"/endpoints/{endpoint_id}", f"/endpoints/{endpoint_id}/edit"))
        for path in (*paths, *(f"/deliveries/{row.id}" for row in self.rows("Delivery"))):
            self.read("html", PREFIX + path, must_answer=True)
        visitor = self.app.test_client()
        parts = urlsplit(self.portal_link)
        base = f"{parts.scheme}://{parts.netloc}"
        answer = visitor.get(self.portal_link, base_url=base)
        assert answer.status_code == 302, answer.text
        for path in ("/", "/deliveries", "/overview", f"/endpoints/{self.endpoints['good']}"):
            answer = visitor.get(f"/portal{path}", base_url=base)
            assert answer.status_code == 200, (path, answer.text)
            self.output.add("html", f"{path} {answer.headers}\n{answer.text}")

    def world(self) -> World:
        def ids(name: str, column: str) -> dict[str, str]:
            return {getattr(row, column): row.id for row in self.rows(name)}

        return World(
            {name: self.endpoints[name] for name in ("good", "refusing", "disabled", "paused")},
            ids("Delivery", "state"),
            ids("Event", "type"),
            ids("Task", "kind"),
            ids("Token", "name"),
            scheduled=self.rows("ScheduledEvent")[0].id,
            portal_link=self.rows("PortalLink")[0].id,
        )

    def rows(self, name: str) -> list[Any]:
        with state_of(self.app).engine.connect() as connection:
            return list(connection.execute(models_of(self.app).table(name).select()))

    def read_api(self) -> None:
        world = self.world()
        known = {
            "endpoint_id": self.endpoints.values(),
            "delivery_id": [row.id for row in self.rows("Delivery")],
            "event_id": world.events.values(),
            "task_id": world.tasks.values(),
            "scheduled_id": [world.scheduled],
            "name": ["license.created"],
        }
        for rule in self.app.url_map.iter_rules():
            if not rule.endpoint.startswith(f"{NAME}.") or "GET" not in (rule.methods or ()):
                continue
            [argument] = rule.arguments or [""]
            for value in known.get(argument, [""]):
                path = rule.rule.replace(f"<{argument}>", value)
                self.read("api", path)

    def read_commands(self) -> None:
        runner = self.app.test_cli_runner()
        delivery, event = self.rows("Delivery")[0].id, self.rows("Event")[0].id
        commands = [
            *(f"endpoints show {id_}" for id_ in self.endpoints.values()),
            f"endpoints keys {self.endpoints['key pair']}",
            f"endpoints notifications {self.endpoints['disabled']}",
            *(f"deliveries show {id_}" for id_ in self.world().deliveries.values()),
            "endpoints list", "activity list", "deliveries list", "events list", "tasks list", "tokens list",
            "portal-links list", "events scheduled", "event-types list", "health", "doctor", "reencrypt", "sweep",
            f"events show {event}", f"why {event} {self.endpoints['good']}",
            f"endpoints ledger {self.endpoints['good']}", f"deliveries resend {delivery}",
            f"render {self.endpoints['discord']} license.created",
        ]  # fmt: skip
        for command in commands:
            # The operator is shown the whole URL.
            shown = any(command.endswith(self.endpoints[name]) for name in ("path", "query"))
            for more in ([], ["--json"]):
                result = runner.invoke(args=["webhooks", *command.split(), *more])
                self.output.add(
                    "trusted" if shown else "commands",
                    f"{command}\n{result.output}{result.exception!r}",
                )

    def read_redis(self) -> None:
        client = state_of(self.app).worker_queue.connect()
        for key in client.scan_iter():
            self.output.add("redis", f"{key!r}\n{_values(client, key)}")
        client.close()


def _values(client: Any, key: bytes) -> str:
    kind = client.type(key)
    read: dict[bytes, Callable[[], Any]] = {
        b"string": lambda: [client.get(key)],
        b"list": lambda: client.lrange(key, 0, -1),
        b"set": lambda: list(client.smembers(key)),
        b"zset": lambda: client.zrange(key, 0, -1),
        b"hash": lambda: [item for pair in client.hgetall(key).items() for item in pair],
        b"stream": lambda: [
            item for _, fields in client.xrange(key) for pair in fields.items() for item in pair
        ],
    }
    return "\n".join(_readable(value) for value in read[kind]())


def _readable(value: bytes) -> str:
    """A value as it is, and as RQ packs it: compressed, in base 64."""
    found = [value.decode(errors="replace")]
    for unpack in (zlib.decompress, lambda packed: zlib.decompress(base64.b64decode(packed))):
        try:
            found.append(unpack(value).decode(errors="replace"))
        except ValueError:
            continue
        except zlib.error:
            continue
    return "\n".join(found)


# -- faults -------------------------------------------------------------------------------------------------


class Sabotage(RuntimeError):
    """A bug of ours."""


@contextmanager
def last_lines(found: dict[Any, int], canaries: Canaries) -> Iterator[None]:
    """Note the code of all functions of ours whose variables show a canary, and the last line of each that ran."""
    hidden = [*canaries.secrets.values(), *canaries.data.values()]

    def call(frame: FrameType, event: str, _: Any) -> Any:
        return line if "/flask_webhooks/" in frame.f_code.co_filename else None

    def line(frame: FrameType, event: str, _: Any) -> Any:
        if event == "return" and frame.f_code not in found:
            shown = str(serialize(dict(frame.f_locals), is_vars=True))
            if any(canary in shown for canary in hidden):
                found[frame.f_code] = frame.f_lineno
        return line

    with _traced(call):
        yield


@contextmanager
def failing(code: Any, last: int) -> Iterator[None]:
    """A function of ours raises once at its last line, where its variables have their values."""

    def call(frame: FrameType, event: str, _: Any) -> Any:
        return line if frame.f_code is code else None

    def line(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line" and frame.f_lineno == last:
            # Which also ends the tracing.
            raise Sabotage("a bug of ours")
        return line

    with _traced(call):
        yield


@contextmanager
def _traced(call: Callable[[FrameType, str, Any], Any]) -> Iterator[None]:
    sys.settrace(call)
    try:
        yield
    finally:
        sys.settrace(None)


def make_host(folder: Path, redis_url: str, canaries: Canaries, proxy: str) -> Flask:
    app = make_app(
        f"sqlite:///{folder / 'database.sqlite'}",
        redis_url,
        SECRET_KEY=canaries.secret("SECRET_KEY"),
        SQLITE_IMMEDIATE=True,
        WEBHOOKS_ENCRYPTION_KEYS=[
            canaries.secret(name, Fernet.generate_key().decode()) for name in ("key", "old key")
        ],
        WEBHOOKS_EGRESS_PROXY=proxy,
        WEBHOOKS_URL_PREFIX=PREFIX,
        WEBHOOKS_PORTAL_PREFIX="/portal",
        WEBHOOKS_MAX_ENDPOINTS=None,
        WEBHOOKS_RETRY_SCHEDULE=[60.0] * 9,
        WEBHOOKS_LEASE=60.0,
        WEBHOOKS_ALLOWED_PORTS=None,
    )
    return app


def main(folder: Path, redis_url: str, everything: bool) -> None:
    output, canaries = (
        Output(folder),
        Canaries(data={"licence key": token().upper()}, erased={"person": token()}),
    )
    for logger in (logging.getLogger("flask_webhooks"), logging.getLogger("rq")):
        logger.setLevel(logging.DEBUG)
        logger.addHandler(Log(output))
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    Reports.output = output
    sentry_sdk.init(
        dsn="http://public@127.0.0.1:9/1",
        transport=Reports,
        integrations=[RqIntegration()],
        include_local_variables=True,
        send_default_pii=True,
        # What a person sends is the host's to report or not.
        max_request_body_size="never",
        max_value_length=100_000,
    )
    password = canaries.secret("proxy password")
    with (
        redis_user(redis_url, canaries.secret("redis password")) as own_redis_url,
        echo() as port,
        ConnectProxy(port, credentials=f"user:{password}") as proxy,
    ):
        app = make_host(folder, own_redis_url, canaries, proxy.url(f"user:{password}"))
        with app.app_context():
            try:
                run(Host(app, canaries, output, port), everything)
            finally:
                (folder / "canaries.json").write_text(json.dumps(asdict(canaries)))
            close(app)
    for span in spans.get_finished_spans():
        output.add("spans", span.to_json())


@contextmanager
def redis_user(redis_url: str, password: str) -> Iterator[str]:
    """A user of Redis with a password; gives the URL with it."""
    with redis.Redis.from_url(redis_url) as client:
        client.execute_command(
            "ACL", "SETUSER", "webhooks", "on", f">{password}", "~*", "&*", "+@all"
        )
        yield redis_url.replace("redis://", f"redis://webhooks:{password}@")
        client.acl_deluser("webhooks")


def run(host: Host, everything: bool) -> None:
    api = webhooks_of(host.app).api_blueprint(authenticate=lambda: True, tokens=True)
    host.app.register_blueprint(api, url_prefix=API)
    host.add_everything()
    host.emit()
    host.work()
    host.pause_and_more()
    make_due(host.app)
    host.work()
    if everything:
        fail_everywhere(host)
    else:
        host.read_pages()
        host.read_api()
        host.read_commands()
    host.read_redis()
    host.output.add("metrics", scrape(host.app).text)


def fail_everywhere(host: Host) -> None:
    for name in host.endpoints:
        if name not in ("good", "authon", "telegram", "path"):
            host.ask("DELETE", f"/endpoints/{host.endpoints[name]}", None, 204)

    def deliver(within: AbstractContextManager[None]) -> None:
        host.emit()
        make_due(host.app)
        host.work(within)

    found: dict[Any, int] = {}
    deliver(last_lines(found, host.canaries))
    for code, last in found.items():
        host.output.add("faults", f"{code.co_filename}:{last} {code.co_qualname}")
        deliver(failing(code, last))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:] == ["all"])
