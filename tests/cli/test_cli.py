"""``flask webhooks …``"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from click.testing import Result
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_webhooks import Webhooks, queries
from flask_webhooks.app_state import state_of
from flask_webhooks.cli.output import first_line, shortened
from flask_webhooks.formats.examples import EXAMPLE_SECRET
from flask_webhooks.log import safe_text
from flask_webhooks.receiver import verify
from tests.support.delivering import db_of, deliveries
from tests.support.helpers import (
    accessing,
    activity,
    add_delivery,
    add_endpoint,
    close,
    make_app,
    update,
)
from tests.support.hostapp import create_app
from tests.support.processes import ROOT
from tests.support.receiver import Receiver

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def config(database_url: str, redis_url: str) -> dict[str, Any]:
    return {
        "SQLALCHEMY_DATABASE_URI": database_url,
        "WEBHOOKS_REDIS_URL": redis_url,
        "WEBHOOKS_URL_PREFIX": None,
    }


@pytest.fixture
def bare_app(config: dict[str, Any]) -> Iterator[Flask]:
    """Without tables."""
    app = create_app(**config)
    yield app
    close(app)


def run(app: Flask, *arguments: str) -> Result:
    return app.test_cli_runner().invoke(args=["webhooks", *arguments])


def refused(result: Result, status: int = 1) -> str:
    """The one line that a failed command leaves on standard error."""
    assert (result.exit_code, result.stdout) == (status, ""), result.output
    assert not result.stderr.startswith("Usage")
    [line] = result.stderr.splitlines()
    assert line.startswith("Error: ")
    return line.removeprefix("Error: ")


# -- endpoints ----------------------------------------------------------------------------------------


def test_an_endpoint_is_added_and_its_secret_printed_once(app: Flask) -> None:
    result = run(
        app,
        "endpoints",
        "add",
        "https://example.com/in",
        *("--event", "license.*", "--event", "user.deleted"),
        *("--tenant", "app_1", "--name", "Shop"),
        *("--header", "X-Key: a: b", "--header", "X-Team:  c ", "--user-agent", "Acme/1"),
        *("--contact", "ops@shop.example"),
    )
    assert (result.exit_code, result.stderr) == (0, "")
    [row] = queries.list_endpoints(accessing(app))
    endpoint = row.endpoint
    added, secret = result.stdout.splitlines()
    assert added == f"Added {endpoint.id} (standard): https://example.com/in"
    assert secret.startswith("Secret, only shown once: whsec_")
    assert (endpoint.events, endpoint.tenant) == (["license.*", "user.deleted"], "app_1")
    assert (endpoint.name, endpoint.user_agent) == ("Shop", "Acme/1")
    assert endpoint.contact == "ops@shop.example"
    assert endpoint.headers_sealed is not None
    assert state_of(app).vault.decrypt(endpoint.headers_sealed) == {"X-Key": "a: b", "X-Team": "c"}
    assert activity(app)[0].actor.startswith("cli:")
    assert secret.rpartition(" ")[2] not in run(app, "endpoints", "list", "--json").output


def test_an_endpoint_with_a_secret_and_format_of_ones_own(app: Flask) -> None:
    result = run(
        app, "endpoints", "add", "https://example.com/", "--secret", SECRET, "--format", "standard"
    )
    assert SECRET in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["example.com"], "Begin the URL with"),
        (["https://10.0.0.7/"], "private network"),
        (["https://example.com/", "--event", "license.creatd"], "Did you mean license.created"),
        (["https://example.com/", "--format", "nonsense"], "Choose one of: standard"),
        (["https://example.com/", "--header", "X-A: a\nb"], "X-A"),
        (["https://example.com/", "--secret", "hush"], "whsec_"),
        (["https://example.com/", "--tenant", ""], "tenant"),
    ],
)
def test_bad_input_ends_with_one_line(app: Flask, arguments: list[str], words: str) -> None:
    line = refused(run(app, "endpoints", "add", *arguments))
    assert words in line
    assert "hush" not in line


def test_everything_that_is_wrong_is_in_one_line(app: Flask) -> None:
    line = refused(
        run(app, "endpoints", "add", "example.com", "--event", "license.creatd", "--header", "A: ")
    )
    for words in (
        "Begin the URL with",
        "Did you mean license.created",
        "Give the header A a value",
    ):
        assert words in line


CHATS = [
    ("https://discord.com/api/webhooks/1174502939573518396/dQw4w9WgXcQ", "discord"),
    ("https://hooks.slack.com/services/T0001/B0001/abcdefgh", "slack"),
    ("https://api.telegram.org/bot12345:abcdefghij/sendMessage?chat_id=-1001", "telegram"),
]


def test_format_is_recognised_or_chosen_and_listed(app: Flask) -> None:
    for url, name in CHATS:
        result = run(app, "endpoints", "add", url)
        assert result.exit_code == 0, result.output
        # Masked, and without a secret.
        [line] = result.stdout.splitlines()
        assert f"({name}): https://" in line
        assert url not in line
    chosen = ("--format", "authforge", "--user-agent", "Shop/2")
    run(app, "endpoints", "add", "https://example.com/in", *chosen)
    # What is chosen counts, not what the URL tells.
    run(app, "endpoints", "add", "https://hooks.slack.com/relay", "--format", "akuworks")
    formats = ["akuworks", "authforge", "telegram", "slack", "discord"]
    head, *lines = run(app, "endpoints", "list").stdout.splitlines()
    start = head.index("FORMAT")
    assert [line[start:].split()[0] for line in lines] == formats
    listed = json.loads(run(app, "endpoints", "list", "--json").stdout)
    assert [item["format"] for item in listed] == formats
    assert [item["user_agent"] for item in listed] == [None, "Shop/2", None, None, None]


@pytest.mark.parametrize(
    ("format", "given", "stored"),
    [
        # The same name, for something else.
        ("authforge", ["license.activated"], ["license.reinstated"]),
        ("authforge", ["license.hwid_bound", "user.banned"], ["hwid.bound", "user.banned"]),
        ("authforge", ["license.*"], ["license.*"]),
        ("aureva", ["key.deleted"], ["license.revoked", "license.deleted"]),
        ("authon", ["user.login"], ["user.logged_in"]),
        ("authvaultix", ["auth.login.success"], ["user.logged_in"]),
        ("akuworks", ["verification.success"], ["verification.succeeded"]),
        ("standard", ["license.activated"], ["license.activated"]),
    ],
)
def test_event_names_are_read_in_the_dialect_of_the_format(
    app: Flask, format: str, given: list[str], stored: list[str]
) -> None:
    events = [argument for name in given for argument in ("--event", name)]
    result = run(app, "endpoints", "add", "https://example.com/", "--format", format, *events)
    assert result.exit_code == 0, result.output
    [row] = json.loads(run(app, "endpoints", "list", "--json").stdout)
    assert (row["format"], row["events"]) == (format, stored)


def test_names_of_a_format_that_was_not_chosen_are_refused(app: Flask) -> None:
    add = ("endpoints", "add", "https://example.com/", "--event", "key.deleted")
    assert "key.deleted" in refused(run(app, *add))
    assert "key.deleted" in refused(run(app, *add, "--format", "authforge"))


def test_headers_that_cannot_be_read(app: Flask) -> None:
    add = ("endpoints", "add", "https://example.com/", "--header")
    assert "'Name: value'" in refused(run(app, *add, "X-Key"), 2)
    assert "given twice" in refused(run(app, *add, "X-Key: 1", "--header", "X-Key: 2"), 2)


def test_the_limit_is_said(app: Flask) -> None:
    for _ in range(5):
        add_endpoint(app, tenant="app_1")
    line = refused(run(app, "endpoints", "add", "https://example.com/", "--tenant", "app_1"))
    assert "5 of 5" in line


def test_endpoints_are_listed(app: Flask) -> None:
    assert "flask webhooks endpoints add" in run(app, "endpoints", "list").stdout
    one = add_endpoint(app, "https://one.example.com/", name="One", tenant="app_1")
    two = add_endpoint(app, "https://two.example.com/", events=["license.*"])
    add_delivery(app, two, "held")
    head, *lines = run(app, "endpoints", "list").stdout.splitlines()
    assert head.split()[:3] == ["ID", "TENANT", "STATE"]
    assert [line.split()[0] for line in lines] == [two.id, one.id]
    [found] = json.loads(run(app, "endpoints", "list", "--search", "two", "--json").stdout)
    assert (found["id"], found["url"], found["held"]) == (two.id, "https://two.example.com/", 1)
    assert (found["events"], found["tenant"], found["state"]) == (["license.*"], None, "active")


def test_waiting_deliveries_have_a_plus_where_counting_ended(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("flask_webhooks.queries", "flask_webhooks.queries.endpoints"):
        monkeypatch.setattr(f"{module}.MOST_COUNTED", 2)
    endpoint = add_endpoint(app)
    for state in ("pending", "pending", "pending", "held"):
        add_delivery(app, endpoint, state)
    head, line = run(app, "endpoints", "list").stdout.splitlines()
    assert line[head.index("PENDING") :].split() == ["2+", "1"]
    [row] = json.loads(run(app, "endpoints", "list", "--json").stdout)
    assert (row["pending"], row["held"]) == (2, 1)


# -- deliveries ---------------------------------------------------------------------------------------


def test_deliveries_are_listed(app: Flask) -> None:
    assert "No deliveries match" in run(app, "deliveries", "list").stdout
    one, two = add_endpoint(app, name="One"), add_endpoint(app)
    failed = add_delivery(app, one, "failed", reason="gone", last_status=410, attempt_count=1)
    held = add_delivery(app, two, "held")
    _, first, second = run(app, "deliveries", "list").stdout.splitlines()
    assert first.startswith(held)
    assert second.split()[:6] == [failed, "license.created", "failed", "gone", "1", "410"]
    assert second.endswith("One")
    for filters, expected in (
        (["--state", "held"], [held]),
        (["--endpoint", one.id], [failed]),
        (["--limit", "1"], [held]),
    ):
        found = json.loads(run(app, "deliveries", "list", "--json", *filters).stdout)
        assert [item["id"] for item in found] == expected
    assert run(app, "deliveries", "list").stderr == ""
    cut = run(app, "deliveries", "list", "--limit", "1")
    assert len(cut.stdout.splitlines()) == 2
    assert cut.stderr == "There are more: --limit shows up to 200.\n"
    assert "no endpoint 'ep_x'" in refused(run(app, "deliveries", "list", "--endpoint", "ep_x"))


# -- test ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["test", "endpoints test"])
def test_a_test_is_queued(app: Flask, command: str) -> None:
    endpoint = add_endpoint(app)
    result = run(
        app, *command.split(), endpoint.id, "--type", "license.created", "--data", '{"a": 1}'
    )
    [delivery] = deliveries(app)
    assert result.stdout == f"Queued {delivery.id} (license.created).\n"
    event = queries.get_event(accessing(app), delivery.event_id).event
    assert event.data == {"a": 1}


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--data", "{"], 2, "--data is not JSON"),
        (["--data", '{"a": NaN}'], 2, "JSON has no NaN"),
        (["--data", "[" * 100_000], 2, "--data is not JSON"),
        (["--data", "[1]"], 1, "must be a dict"),
        (["--type", "license.creatd"], 1, "license.created"),
    ],
)
def test_bad_tests_end_with_one_line(
    app: Flask, arguments: list[str], status: int, words: str
) -> None:
    endpoint = add_endpoint(app)
    assert words in refused(run(app, "test", endpoint.id, *arguments), status)
    assert deliveries(app) == []


def test_a_test_of_nothing(app: Flask) -> None:
    assert refused(run(app, "test", "ep_x")) == "There is no endpoint 'ep_x'."


@pytest.mark.slow
def test_waiting_without_a_worker_says_how_to_start_one(app: Flask) -> None:
    result = run(app, "test", add_endpoint(app).id, "--wait", "0.2")
    assert result.exit_code == 1
    [line] = result.stderr.splitlines()
    assert "pending" in line
    assert "flask webhooks worker" in line


# -- real processes -----------------------------------------------------------------------------------


def environment(config: dict[str, Any]) -> dict[str, str]:
    return {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "FLASK_APP": "tests.support.hostapp:create_app",
        "TEST_CONFIG": json.dumps(config),
    }


def flask(
    config: dict[str, Any], *arguments: str, group: str = "webhooks"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flask", group, *arguments],
        env=environment(config),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.slow
def test_a_worker_delivers_and_a_test_waits_for_it(app: Flask, config: dict[str, Any]) -> None:
    with Receiver() as receiver:
        good, bad = (
            add_endpoint(app, receiver.url("/ok")),
            add_endpoint(app, receiver.url("/redirect")),
        )
        command = [sys.executable, "-m", "flask", "webhooks", "worker", "--name", "cli-test"]
        environment = {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "FLASK_APP": "tests.support.hostapp:create_app",
            "TEST_CONFIG": json.dumps(config),
        }
        with subprocess.Popen(
            command,
            env=environment,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as worker:
            try:
                succeeded = flask(config, "test", good.id, "--wait", "20")
                failed = flask(config, "endpoints", "test", bad.id, "--wait", "20")
            finally:
                worker.terminate()
                worker.wait(20)
    assert (succeeded.returncode, succeeded.stderr) == (0, "")
    assert "Delivered: status 200" in succeeded.stdout
    assert failed.returncode == 1
    [line] = failed.stderr.splitlines()
    assert line.startswith("Error: The delivery failed: ")
    assert line.endswith(' It said: {"error":"no"}')


def test_sweep_wakes_a_worker_for_what_was_lost(app: Flask, redis_url: str) -> None:
    assert run(app, "sweep").stdout == "Nothing is due.\n"
    add_delivery(app, add_endpoint(app))
    assert run(app, "sweep").stdout == "Deliveries were due: woke the workers.\n"


# -- the database -------------------------------------------------------------------------------------


def test_init_db_creates_our_tables_only(bare_app: Flask) -> None:
    db = db_of(bare_app)
    db.Table("host_things", sa.Column("id", sa.Integer, primary_key=True))
    result = run(bare_app, "init-db")
    assert result.exit_code == 0
    assert "webhooks_endpoint" in result.stdout
    engine = state_of(bare_app).engine
    assert len(tables := sa.inspect(engine).get_table_names()) == 18
    assert "host_things" not in tables
    assert run(bare_app, "init-db").stdout == "All 18 tables exist already.\n"
    add_endpoint(bare_app)
    state_of(bare_app).table("Activity").drop(engine)
    assert run(bare_app, "init-db").stdout == "Created webhooks_activity.\n"
    assert len(queries.list_endpoints(accessing(bare_app))) == 1


def test_init_db_uses_our_database(tmp_path: Path, redis_url: str) -> None:
    app = create_app(
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path / 'host.sqlite'}",
        SQLALCHEMY_BINDS={"hooks": f"sqlite:///{tmp_path / 'hooks.sqlite'}"},
        WEBHOOKS_BIND_KEY="hooks",
        WEBHOOKS_REDIS_URL=redis_url,
        WEBHOOKS_URL_PREFIX=None,
    )
    assert run(app, "init-db").exit_code == 0
    with app.app_context():
        names = {
            key: sa.inspect(engine).get_table_names() for key, engine in db_of(app).engines.items()
        }
    assert (names[None], len(names["hooks"])) == ([], 18)
    close(app)


COMMANDS = [
    ["sweep"],
    ["endpoints", "list"],
    ["endpoints", "add", "https://example.com/"],
    ["deliveries", "list"],
    ["tasks", "list"],
    ["endpoints", "recover", "ep_x", "--since", "1d"],
    ["test", "ep_x"],
]


@pytest.mark.parametrize("command", COMMANDS)
def test_missing_tables_end_with_what_to_run(bare_app: Flask, command: list[str]) -> None:
    line = refused(run(bare_app, *command))
    assert "flask webhooks upgrade-db" in line
    assert "flask db upgrade" in line


@pytest.mark.parametrize("command", [*COMMANDS, ["init-db"], ["upgrade-db"]])
@pytest.mark.parametrize(
    "url",
    ["sqlite:////nowhere/at/all.sqlite", "postgresql+psycopg://ann:hush@127.0.0.1:1/nothing"],
)
def test_an_unreachable_database_ends_with_one_line(
    redis_url: str, url: str, command: list[str]
) -> None:
    app = create_app(
        SQLALCHEMY_DATABASE_URI=url, WEBHOOKS_REDIS_URL=redis_url, WEBHOOKS_URL_PREFIX=None
    )
    line = refused(run(app, *command))
    assert "SQLALCHEMY_DATABASE_URI" in line
    assert "hush" not in line
    close(app)


def test_redis_that_is_down_ends_with_one_line(database_url: str) -> None:
    app = make_app(database_url, "redis://127.0.0.1:1/0")
    add_delivery(app, add_endpoint(app))
    for command in ("sweep", "worker"):
        line = refused(run(app, command))
        assert "WEBHOOKS_REDIS_URL" in line
    close(app)


def test_a_test_with_redis_down_is_saved_all_the_same(database_url: str) -> None:
    app = make_app(database_url, "redis://127.0.0.1:1/0")
    endpoint = add_endpoint(app)
    assert run(app, "test", endpoint.id).exit_code == 0
    assert [row.state for row in deliveries(app)] == ["pending"]
    close(app)


@pytest.mark.slow
def test_a_process_ends_without_traceback(config: dict[str, Any]) -> None:
    result = flask(config, "endpoints", "list")
    assert (result.returncode, result.stdout) == (1, "")
    [line] = result.stderr.splitlines()
    assert "flask webhooks upgrade-db" in line


@pytest.mark.parametrize("command", [["worker"], ["endpoints", "list"], ["--help"]])
def test_bad_setting_ends_our_commands_with_one_line(
    redis_url: str, tmp_path: Path, command: list[str]
) -> None:
    """Flask loads the application before it knows the command."""
    config = {
        "SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path}/a.sqlite",
        "WEBHOOKS_REDIS_URL": redis_url,
        "WEBHOOKS_KEEP_UNMATCHED": "perhaps",
    }
    result = flask(config, *command)
    if command == ["--help"]:
        assert "Traceback" not in result.stderr
        return
    assert (result.returncode, result.stdout) == (1, "")
    [line] = result.stderr.splitlines()
    assert line.startswith("Error: WEBHOOKS_KEEP_UNMATCHED must be True or False, not 'perhaps'.")


def test_bad_setting_leaves_the_hosts_own_commands_alone(redis_url: str, tmp_path: Path) -> None:
    config = {
        "SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path}/a.sqlite",
        "WEBHOOKS_KEEP_UNMATCHED": "perhaps",
    }
    result = flask(config, group="routes")
    assert result.returncode != 0
    assert "Traceback" in result.stderr
    assert "WEBHOOKS_KEEP_UNMATCHED" in result.stderr


@pytest.mark.slow
def test_bad_setting_ends_rq_with_one_line(redis_url: str, tmp_path: Path) -> None:
    config = {
        "SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path}/a.sqlite",
        "WEBHOOKS_KEEP_UNMATCHED": "perhaps",
    }
    rq = "import sys; sys.argv[0] = 'rq'; from rq.cli import main; main()"
    for redis_named in ([], ["--url", redis_url]):
        result = subprocess.run(
            [sys.executable, "-c", rq, "worker", "-w", "flask_webhooks.Worker", *redis_named],
            env=environment(config),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert result.returncode == 1
        assert "Traceback" not in result.stderr
        assert result.stderr.strip().startswith("Error: WEBHOOKS_KEEP_UNMATCHED must be")


def test_sentences_end_once(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """What Redis says has a full stop of its own."""
    said = "Error 111 connecting to 127.0.0.1:1. Connection refused."
    assert first_line(redis.ConnectionError(said)) == said.rstrip(".")
    assert safe_text(redis.ConnectionError(said)).endswith("Connection refused")
    app = Flask("host")
    app.config.update(
        SECRET_KEY="x",
        SQLALCHEMY_DATABASE_URI="sqlite://",
        WEBHOOKS_REDIS_URL="redis://127.0.0.1:1/0",
        WEBHOOKS_WAKE_TIMEOUT=5.0,
    )
    db = SQLAlchemy(app)
    Webhooks(db, app)
    state_of(app).notifier.notify()
    assert "Could not wake the webhook workers: " in caplog.text
    assert ". Nothing is lost" in caplog.text
    assert ".." not in caplog.text


def test_stored_text_does_not_steer_the_terminal(app: Flask) -> None:
    endpoint = add_endpoint(app)
    update(app, "Endpoint", endpoint.id, name="\x1b[2J")
    add_delivery(app, endpoint)
    for command in ("endpoints", "deliveries"):
        assert "\x1b" not in run(app, command, "list").stdout


# -- formats ------------------------------------------------------------------------------------------


def test_what_a_receiver_said_is_short_and_does_not_steer_the_terminal() -> None:
    assert shortened("Wrong secret") == "Wrong secret"
    assert shortened("\x1b[2J" + "x" * 1000) == "\N{REPLACEMENT CHARACTER}[2J" + "x" * 296 + "…"


def test_an_endpoint_with_everything_that_can_be_set(app: Flask, tmp_path: Path) -> None:
    template = tmp_path / "template.json"
    template.write_text('{"kind": "{{ event.type }}"}')
    result = run(
        app,
        *("endpoints", "add", "https://example.com/", "--format", "custom", "--key-pair"),
        *("--option", f"template=@{template}", "--timeout", "1.5", "--rate-limit", "3"),
        "--ordered",
    )
    assert result.exit_code == 0, result.output
    assert "Secret" not in result.stdout
    public_key = result.stdout.splitlines()[-1].removeprefix("Public key, for the receiver: ")
    [row] = json.loads(run(app, "endpoints", "list", "--json").stdout)
    assert row["options"] == {"template": '{"kind": "{{ event.type }}"}'}
    assert (row["timeout"], row["rate_limit"], row["ordered"]) == (1.5, 3.0, True)
    assert run(app, "endpoints", "keys", row["id"]).stdout.split() == [public_key]
    result = run(app, "endpoints", "rotate", row["id"], "--overlap", "1", "--label", "Berlin")
    assert result.stdout.startswith("Secret, only shown once: whsec_")
    shown = run(app, "endpoints", "show", row["id"]).stdout
    assert f"Berlin, …{result.stdout.strip()[-4:]}, signs, created 20" in shown
    assert f"…{public_key[-4:]}, signs until 20" in shown
    assert " until 20" in run(app, "endpoints", "keys", row["id"]).stdout
    assert "newest secret" in run(app, "endpoints", "end-overlap", row["id"]).stdout
    assert "no overlap" in run(app, "endpoints", "end-overlap", row["id"]).stdout
    assert "no public key" in run(app, "endpoints", "keys", row["id"]).stdout
    result = run(app, "endpoints", "rotate", row["id"], "--key-pair")
    assert result.stdout.startswith("Public key, for the receiver: whpk_")


@pytest.mark.parametrize(
    ("arguments", "words", "status"),
    [
        (["--no-secret"], "needs a secret", 1),
        (["--no-secret", "--secret", SECRET], "either", 2),
        (["--key-pair", "--secret", SECRET], "Leave the secret out", 1),
        (["--timeout", "99"], "number of seconds from 0.1", 1),
        (["--rate-limit", "0"], "requests a second", 1),
        (["--option", "template"], "NAME=VALUE", 2),
        (["--option", "template=@/nowhere"], "cannot be read", 2),
        (["--option", "a=b"], "no such options", 1),
        (["--format", "custom"], "template", 1),
    ],
)
def test_settings_that_are_not_usable(
    app: Flask, arguments: list[str], words: str, status: int
) -> None:
    line = refused(run(app, "endpoints", "add", "https://example.com/", *arguments), status)
    assert words in line


def test_every_format_is_rendered(app: Flask) -> None:
    for style in state_of(app).formats:
        result = run(app, "render", "license.activated", "--format", style.name)
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)


def test_a_rendered_example_is_the_same_each_time_and_verifies(app: Flask) -> None:
    result = run(app, "render", "license.activated", "--headers")
    assert result.stdout == run(app, "render", "license.activated", "--headers").stdout
    head, _, body = result.stdout.partition("\n\n")
    first, *lines = head.splitlines()
    assert first == "POST https://shop.example/webhooks"
    headers = dict(line.split(": ", 1) for line in lines)
    assert headers["Content-Type"] == "application/json"
    compact = json.dumps(json.loads(body), ensure_ascii=False, separators=(",", ":"))
    moment = int(headers["webhook-timestamp"])
    assert verify(headers, compact, EXAMPLE_SECRET, now=moment)["type"] == "license.activated"


def test_rendering_of_ones_own_data(app: Flask, tmp_path: Path) -> None:
    data = tmp_path / "data.json"
    data.write_text('{"license_id": "lic_9"}')
    arguments = ("--data", str(data), "--format", "custom", "--option", 'template=["{{ data }}"]')
    assert json.loads(run(app, "render", "license.created", *arguments).stdout) == [
        {"license_id": "lic_9"}
    ]
    assert json.loads(run(app, "render").stdout)["type"] == "test"
    assert "Choose one of" in refused(run(app, "render", "--format", "nonsense"))
    assert "Did you mean" in refused(run(app, "render", "license.creatd"))
    data.write_text("[1]")
    assert "JSON object" in refused(run(app, "render", "license.created", *arguments), 2)
    data.write_bytes(b"\xff\xfe")
    assert "UTF-8" in refused(run(app, "render", "license.created", *arguments), 2)


EXPORTED: list[Any] = [
    {"url": "https://example.com/1", "events": ["license.*"], "secret": SECRET, "name": "Shop"},
    {"url": "https://example.com/2", "active": False},
]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(EXPORTED),
        json.dumps({"data": EXPORTED}),
        json.dumps({"webhooks": EXPORTED, "total": 2}),
        "\n".join(json.dumps(item) for item in EXPORTED) + "\n",
    ],
)
def test_an_export_is_taken_over(app: Flask, tmp_path: Path, text: str) -> None:
    file = tmp_path / "export.json"
    file.write_text(text)
    dry = run(app, "import", str(file), "--tenant", "app_1", "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert dry.stdout.splitlines() == [
        "1. https://example.com/1: would be imported (standard)",
        "2. https://example.com/2: would be imported (standard, paused)",
    ]
    assert queries.list_endpoints(accessing(app)) == []
    result = run(app, "import", str(file), "--tenant", "app_1", "--format", "standard")
    assert result.exit_code == 0, result.output
    second, first = (row.endpoint for row in queries.list_endpoints(accessing(app)))
    lines = result.stdout.splitlines()
    assert lines[:2] == [
        f"1. https://example.com/1: imported as {first.id} (standard)",
        f"2. https://example.com/2: imported as {second.id} (standard, paused)",
    ]
    assert "only shown once: whsec_" in lines[2]
    assert (first.events, first.tenant, first.name) == (["license.*"], "app_1", "Shop")
    assert (second.events, second.state) == (None, "paused")


def test_what_an_import_could_not_take_is_reported(app: Flask, tmp_path: Path) -> None:
    file = tmp_path / "export.json"
    file.write_text(json.dumps([{"url": "ftp://x", "name": "A\u001b[31m"}, *EXPORTED, 7]))
    result = run(app, "import", str(file))
    assert result.exit_code == 1
    assert result.stderr == "Error: 2 of 4 endpoints were not imported: 1, 4.\n"
    lines = result.stdout.splitlines()
    assert lines[0].startswith(
        "1. A\N{REPLACEMENT CHARACTER}[31m: not imported: Begin the URL with"
    )
    assert lines[-1] == "4.: not imported: It is not a JSON object."
    assert len(queries.list_endpoints(accessing(app))) == 2


@pytest.mark.parametrize(
    ("style", "item", "says"),
    [
        ("authvaultix", {"endpoint_url": "https://example.com/1"}, 'It has no "secret"'),
        ("aureva", {"url": "https://example.com/1", "secret": "s"}, 'It has no "events"'),
        ("standard", {"url": "https://example.com/1", "active": 7}, "neither true nor false"),
        ("authon", {"data": {"url": "https://example.com/1"}}, 'It has no "events"'),
    ],
)
def test_entry_that_cannot_be_read_is_named_by_its_url(
    app: Flask, tmp_path: Path, style: str, item: dict[str, Any], says: str
) -> None:
    file = tmp_path / "export.json"
    chat = item | {"url": "https://discord.com/api/webhooks/1/hush", "events": 7}
    file.write_text(json.dumps([item, chat] if style == "standard" else [item]))
    lines = run(app, "import", str(file), "--format", style).stdout.splitlines()
    assert lines[0].startswith("1. https://example.com/1: not imported: ")
    assert says in lines[0]
    if style == "standard":
        assert lines[1].startswith("2. https://discord.com/api/webhooks/1/••••: not imported")


def test_wrong_format_of_an_import_has_a_hint_of_its_own(app: Flask, tmp_path: Path) -> None:
    file = tmp_path / "export.json"
    file.write_text("not JSON")
    line = refused(run(app, "import", str(file), "--format", "keyauth"))
    assert line.startswith("There is no format 'keyauth'. --format names the service")
    assert "Did you mean" not in line
    assert "aureva" in line
    line = refused(run(app, "import", str(file), "--format", "Aureva"))
    assert "Did you mean 'aureva'?" in line
    line = refused(run(app, "import", str(file)), 2)
    assert "license_id" not in line
    assert '[{"url": "https://' in line

    file.write_text(json.dumps([{"endpoint_url": "https://example.com/1", "secret": "s"}]))
    [line] = run(app, "import", str(file), "--format", "aureva").stdout.splitlines()
    assert line.endswith("This is not an entry of Aureva but of AuthVaultix: choose that format.")


@pytest.mark.parametrize("text", ["", "nonsense", "7", '"text"', '{"url":', "[NaN"])
def test_a_file_that_is_no_export(app: Flask, tmp_path: Path, text: str) -> None:
    file = tmp_path / "export.json"
    file.write_text(text)
    assert "JSON" in refused(run(app, "import", str(file)), 2)
