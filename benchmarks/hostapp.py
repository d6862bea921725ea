"""The host application of the benchmarks; worker processes find it by FLASK_APP."""

from __future__ import annotations

import json
import logging
import os
import secrets
from typing import Any

import redis
import rq
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Mapped, mapped_column

from flask_webhooks import Webhooks
from flask_webhooks.sqlite import immediate

# noop is imported for the workers: their forks find it loaded.
from . import names, noop, numbering_modes, orphans, tracing_modes

#: The configuration of the application as JSON, for worker processes.
VARIABLE = "BENCHMARK_CONFIG"

db = SQLAlchemy()
webhooks = Webhooks(db)


class License(db.Model):  # type: ignore[name-defined,misc]
    """What the host's own requests write."""

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str]


def event_data(number: int) -> dict[str, Any]:
    """Data of a usual event, of about the same size whatever the number."""
    return {
        "license_id": f"lic_{number:08}",
        "license_key": "AAAA-BBBB-CCCC-DDDD",
        "status": "active",
        "level": 1,
        "duration_type": "30d",
    }


def create_app(**config: Any) -> Flask:
    """An application with default settings but for these, or those of `VARIABLE` where there are none."""
    names.install()
    orphans.end_with_owner()
    app = Flask("benchmarks.hostapp")
    app.config.update(
        SECRET_KEY="for benchmarks only",
        WEBHOOKS_ALLOWED_NETWORKS=["127.0.0.0/8"],
        WEBHOOKS_REQUIRE_HTTPS=False,
        WEBHOOKS_MAX_ENDPOINTS=1_000_000,
    )
    app.config.update(config or json.loads(os.environ[VARIABLE]))
    if "TRACING" in app.config and VARIABLE in os.environ:
        tracing_modes.install(app.config["TRACING"])
    if "NUMBERING" in app.config and VARIABLE in os.environ:
        numbering_modes.install(app.config["NUMBERING"])
    if "LOG_FILE" in app.config and VARIABLE in os.environ:
        _log_to_file(app.config["LOG_FILE"], app.config["LOG_LEVEL"])
    db.init_app(app)
    webhooks.init_app(app)
    with app.app_context():
        immediate(db.engine)
    _add_views(app)
    return app


@webhooks.authorize
def _anybody(action: str, endpoint: object) -> bool:
    return True


def _log_to_file(path: str, level: str) -> None:
    """Have a worker process write what our package logs into a file."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    ours = logging.getLogger("flask_webhooks")
    ours.addHandler(handler)
    ours.setLevel(level)


def _add_views(app: Flask) -> None:
    """Requests that differ in one thing: what they do beside a row of the host's own."""
    client = redis.Redis.from_url(app.config["WEBHOOKS_REDIS_URL"])
    queue = rq.Queue("host", connection=client)

    @app.post("/plain")
    def plain() -> str:
        _create_license()
        db.session.commit()
        return ""

    @app.post("/emit/<tenant>")
    def emit(tenant: str) -> str:
        _create_license()
        webhooks.emit("license.created", event_data(1), tenant=tenant)
        db.session.commit()
        return ""

    @app.post("/enqueue")
    def enqueue() -> str:
        _create_license()
        db.session.commit()
        queue.enqueue(noop.noop)
        return ""


def _create_license() -> None:
    db.session.add(License(key=secrets.token_hex(8)))
    db.session.flush()
