"""A host as small as can be: what worker processes and most tests run.

A worker process finds it by ``FLASK_APP=tests.support.hostapp:create_app`` and its settings, as JSON, in
``TEST_CONFIG``.
"""

from __future__ import annotations

import json
import os
from functools import partial
from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_webhooks import Webhooks
from flask_webhooks.sqlite import immediate
from tests.support import crashing

#: What tests want otherwise than an operator: loopback allowed, no long waits.
DEFAULTS: dict[str, Any] = {
    "SECRET_KEY": "for tests only",
    "WEBHOOKS_ALLOWED_NETWORKS": ["127.0.0.0/8"],
    "WEBHOOKS_REQUIRE_HTTPS": False,
    "WEBHOOKS_TIMEOUT": 2.0,
    "WEBHOOKS_LEASE": 7.0,
    "WEBHOOKS_LINGER": 0.0,
    "WEBHOOKS_SWEEP_INTERVAL": 1.0,
    "WEBHOOKS_RETRY_SCHEDULE": [0.2, 0.4, 0.8],
    # A busy machine must not look like a Redis that hangs; tests of that set their own.
    "WEBHOOKS_WAKE_TIMEOUT": 3.0,
    "WEBHOOKS_WAKE_PAUSE": 0.5,
    "WTF_CSRF_ENABLED": False,
    # Most events of tests have no more data than the test is about.
    "WEBHOOKS_VALIDATE_DATA": None,
}


def create_app(db: SQLAlchemy | None = None, **config: Any) -> Flask:
    """An application with a `webhooks` of its own.

    :param db: one that other applications have as well, as where a factory makes them; by default its own.
    :param config: settings over `DEFAULTS`; ``SQLITE_IMMEDIATE=True`` runs SQLite as we recommend, and with
        ``MAIL_PORT`` owners of endpoints are told by mail. ``DATA_VERSIONS`` names, by event type and date, the member
        that data has since then.
    """
    crashing.arm()
    app = Flask("tests.support.hostapp")
    app.config.update(DEFAULTS)
    app.config.update(config or json.loads(os.environ["TEST_CONFIG"]))
    db = db or SQLAlchemy()
    db.init_app(app)
    webhooks = Webhooks(db)
    webhooks.init_app(app)
    webhooks.authorize(lambda action, endpoint: True)
    app.extensions["test_webhooks"] = webhooks
    for name, versions in app.config.get("DATA_VERSIONS", {}).items():
        for date, member in versions.items():
            webhooks.version(name, date)(partial(_without, member))
    if "MAIL_PORT" in app.config:
        from tests.support.mailing import tell_owners_by_mail

        tell_owners_by_mail(app, webhooks)
    if app.config.get("SQLITE_IMMEDIATE"):
        with app.app_context():
            immediate(db.engine)
    return app


def _without(member: str, data: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name != member}
