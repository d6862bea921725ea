"""What a host pays for us where it sends nothing: at its start, and in each request."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

import flask_webhooks
from flask_webhooks import Webhooks
from tests.hosts.licensing import module_level_app
from tests.support.delivering import close
from tests.support.hosts import SETTINGS
from tests.support.processes import ROOT

PACKAGE = str(Path(flask_webhooks.__file__).parent)

#: Prints what it costs to import and to initialise us in a host that has imported all that we depend on, in processor
#: time and as a part of what those cost; and what there is in the process afterwards that was not there before.
PROGRAM = """
import contextlib, importlib, json, os, sys, threading, time


def descriptors():
    return {os.readlink(f"/proc/self/fd/{fd}").partition(":")[0] for fd in os.listdir("/proc/self/fd")
            if os.path.islink(f"/proc/self/fd/{fd}")}


def clock():
    return time.process_time()


began = clock()
for name in json.loads(sys.stdin.read()):
    with contextlib.suppress(ImportError):  # what C extensions put there under a name of their own
        importlib.import_module(name)
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
dependencies = clock() - began

app, db = Flask("host"), SQLAlchemy()
app.config.update(SECRET_KEY="s", SQLALCHEMY_DATABASE_URI="sqlite://")
db.init_app(app)
with app.app_context():
    db.engine
known, open_before = set(sys.modules), descriptors()
began = clock()
from flask_webhooks import Webhooks
imported = clock()
Webhooks(db, app)
ours = clock() - began
print(json.dumps({
    "import": (imported - began) / dependencies,
    "ours": ours / dependencies,
    "seconds": ours,
    "threads": [thread.name for thread in threading.enumerate()],
    "opened": sorted(descriptors() - open_before),
    "modules": sorted(name for name in set(sys.modules) - known if not name.startswith("flask_webhooks")),
    "package": sorted({name.split(".")[1] for name in sys.modules if name.startswith("flask_webhooks.")}),
}))
"""

#: Prints which modules of others we import.
DEPENDENCIES = """
import json, sys
from flask_webhooks import Webhooks
import flask_webhooks.extension
print(json.dumps([name for name in sys.modules if not name.startswith("flask_webhooks") and name != "__main__"]))
"""


def run(program: str, given: str = "") -> Any:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=ROOT,
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def starts() -> list[dict[str, Any]]:
    """Several starts of a host: the machine may be busy during one of them."""
    names = json.dumps(run(DEPENDENCIES))
    return [run(PROGRAM, names) for _ in range(3)]


@pytest.mark.slow
def test_start_costs_little_beside_the_dependencies(starts: list[dict[str, Any]]) -> None:
    """Half of it is dataclasses and the mapping of the tables."""
    assert min(start["ours"] for start in starts) < MOST_OF_DEPENDENCIES, starts


#: A limit that catches what is imported needlessly, such as the commands; not what is worth striving for.
MOST_OF_DEPENDENCIES = 0.8


def test_start_opens_nothing_and_runs_no_thread(starts: list[dict[str, Any]]) -> None:
    for start in starts:
        assert start["threads"] == ["MainThread"]
        assert start["opened"] == []


def test_start_imports_no_commands_and_no_api(starts: list[dict[str, Any]]) -> None:
    unwanted = {"api", "cli", "serializers", "doctor", "metrics", "testing", "worker", "jobs"}
    assert unwanted & set(starts[0]["package"]) == set()
    # What is there only after the first use of what we depend on, and not of ours.
    assert [name for name in starts[0]["modules"] if "." not in name] == []


def test_applications_leave_nothing_behind_that_is_not_theirs() -> None:
    """No global state: what an application is told stays with it, and it goes with it."""
    before = globals_of_the_package()
    for name in ("one", "two"):
        app, db = Flask(name), SQLAlchemy()
        app.config.update(SETTINGS, SQLALCHEMY_DATABASE_URI="sqlite://")
        db.init_app(app)
        Webhooks(db, app).add_event_type(f"{name}.happened", description="It happened.", example={})
        close(app)
    assert globals_of_the_package() == before


def globals_of_the_package() -> dict[str, Any]:
    """How large the collections in our modules are, and what the other variables are."""
    return {
        f"{module.__name__}.{name}": len(value) if isinstance(value, dict | list | set) else value
        for module in list(sys.modules.values())
        if module.__name__.startswith("flask_webhooks.")
        for name, value in vars(module).items()
        if isinstance(value, dict | list | set | int | float | str | None) and name[:2] != "__"
    }


# -- requests ---------------------------------------------------------------------------------------

#: The calls of our functions that a request may make: they look whether something waits for its end.
MOST_CALLS = 4
#: And one that writes and commits: they look at what the session does.
MOST_CALLS_OF_WRITES = 16


@contextmanager
def calls_of_ours() -> Iterator[list[str]]:
    """Which functions of our modules are called, in this thread."""
    found: list[str] = []

    def look(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            found.append(f"{frame.f_globals['__name__']}.{frame.f_code.co_qualname}")

    sys.setprofile(look)
    try:
        yield found
    finally:
        sys.setprofile(None)


def test_request_that_emits_nothing_pays_nothing(tmp_path: Path, redis_url: str) -> None:
    """No statement, nothing to Redis, and a handful of calls."""
    url = f"sqlite:///{tmp_path / 'db'}"
    app, webhooks = module_level_app(
        {**SETTINGS, "SQLALCHEMY_DATABASE_URI": url, "WEBHOOKS_REDIS_URL": redis_url}
    )

    @app.get("/nothing")
    def nothing() -> str:
        return ""

    @app.post("/keys/<key>")
    def write(key: str) -> str:
        model: Any = webhooks.db.Model
        [license_model] = [mapper.class_ for mapper in model.registry.mappers]
        webhooks.db.session.add(license_model(key=key))
        webhooks.db.session.commit()
        return ""

    with app.app_context():
        webhooks.db.create_all()
        webhooks.create_endpoint("https://hooks.example.com/")
        engine = webhooks.db.engine
    client = app.test_client()
    assert client.get("/nothing").status_code == 200
    assert client.post("/keys/first").status_code == 200
    statements: list[str] = []
    sa.event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    with redis.Redis.from_url(redis_url) as observer:
        observer.config_resetstat()
        with calls_of_ours() as calls:
            assert client.get("/nothing").status_code == 200
        assert len(calls) <= MOST_CALLS, calls
        assert statements == []
        with calls_of_ours() as calls:
            assert client.post("/keys/second").status_code == 200
        assert len(calls) <= MOST_CALLS_OF_WRITES, calls
        assert [line.split()[0] for line in statements] == ["INSERT"]
        commands = set(observer.info("commandstats")) - {"cmdstat_config|resetstat", "cmdstat_info"}
        assert not commands & {"cmdstat_eval", "cmdstat_set", "cmdstat_ping", "cmdstat_get"}
    close(app)
