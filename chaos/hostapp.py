"""The host application of a run; worker processes find it by FLASK_APP, its settings by `VARIABLE`."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import time
from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Mapped, mapped_column

from benchmarks import names, orphans
from flask_webhooks import Webhooks
from flask_webhooks.sqlite import immediate

#: The settings as JSON, and the file that a worker logs into.
VARIABLE, LOG_VARIABLE = "CHAOS_CONFIG", "CHAOS_LOG"

#: Seconds that a request to a receiver may take, and that a lease lasts.
TIMEOUT, LEASE = 8.0, 13.0
ENDPOINT_CONCURRENCY = 16
#: The longest pause between two probes of an endpoint that fails.
MAX_PROBE_INTERVAL = 4.0

SETTINGS: dict[str, Any] = {
    "SECRET_KEY": "for chaos only",
    "WEBHOOKS_ALLOWED_NETWORKS": ["127.0.0.0/8"],
    "WEBHOOKS_REQUIRE_HTTPS": False,
    "WEBHOOKS_MAX_ENDPOINTS": 100,
    "WEBHOOKS_VALIDATE_DATA": None,
    "WEBHOOKS_TIMEOUT": TIMEOUT,
    "WEBHOOKS_LEASE": LEASE,
    "WEBHOOKS_ENDPOINT_CONCURRENCY": ENDPOINT_CONCURRENCY,
    "WEBHOOKS_SWEEP_INTERVAL": 1.0,
    # So short that a drain hands over many times in a run, and an endpoint that is up again is noticed in one.
    "WEBHOOKS_DRAIN_TIME": 15.0,
    "WEBHOOKS_RETRY_SCHEDULE": [0.5, 1.0, 2.0, 4.0, *[5.0] * 46],
    "WEBHOOKS_PROBE_INTERVAL": 1.0,
    "WEBHOOKS_MAX_PROBE_INTERVAL": MAX_PROBE_INTERVAL,
    "WEBHOOKS_WAKE_PAUSE": 2.0,
    # In an hour here there are as many kills as elsewhere in years.
    "WEBHOOKS_MAX_INTERRUPTIONS": 1000,
    "WEBHOOKS_HEALTH_OVERDUE": 30.0,
}

#: Where the JSON API is.
API = "/api"

db = SQLAlchemy()
webhooks = Webhooks(db)


class License(db.Model):  # type: ignore[name-defined,misc]
    """What the host's own requests write."""

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(db.String(64))


def create_app(**config: Any) -> Flask:
    """Make the application with `SETTINGS` but for these, or those of `VARIABLE` where there are none."""
    names.install()
    _sleep_by_select()
    orphans.end_with_owner()
    app = Flask("chaos.hostapp")
    app.config.update(SETTINGS)
    app.config.update(config or json.loads(os.environ[VARIABLE]))
    if path := os.environ.get(LOG_VARIABLE):
        handler = _FileLog(path, delay=True)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        logging.getLogger().addHandler(handler)
        logging.getLogger().setLevel(logging.INFO)
        logging.getLogger("flask_webhooks").setLevel(logging.DEBUG)
    db.init_app(app)
    webhooks.init_app(app)
    app.register_blueprint(webhooks.health_blueprint())
    app.register_blueprint(webhooks.api_blueprint(authenticate=lambda: True), url_prefix=API)
    with app.app_context():
        immediate(db.engine)
    return app


def _sleep_by_select() -> None:
    """Have a process with libfaketime sleep by another call: of the usual one libfaketime makes an error."""
    if "faketime" in os.environ.get("LD_PRELOAD", ""):

        def sleep(seconds: float) -> None:
            select.select([], [], [], seconds)

        time.sleep = sleep  # type: ignore[assignment]


class _FileLog(logging.FileHandler):
    """Opens the file anew for each record, and so notices that it is on a full disk now."""

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        with contextlib.suppress(OSError):
            self.close()


@webhooks.authorize
def _anybody(action: str, endpoint: object) -> bool:
    return True
