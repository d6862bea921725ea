"""The host application of the benchmarks; worker processes find it by FLASK_APP."""

from __future__ import annotations

import os

from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_webhooks import Webhooks
from flask_webhooks.sqlite import immediate

db = SQLAlchemy()
webhooks = Webhooks(db)


def create_app() -> Flask:
    """Reads ``BENCHMARK_DATABASE_URL`` and ``BENCHMARK_REDIS_URL``."""
    app = Flask("benchmarks.host")
    app.config.update(
        SECRET_KEY="for benchmarks only",
        SQLALCHEMY_DATABASE_URI=os.environ["BENCHMARK_DATABASE_URL"],
        WEBHOOKS_REDIS_URL=os.environ["BENCHMARK_REDIS_URL"],
        WEBHOOKS_ALLOWED_NETWORKS=["127.0.0.0/8"],
        WEBHOOKS_REQUIRE_HTTPS=False,
    )
    db.init_app(app)
    webhooks.init_app(app)
    with app.app_context():
        immediate(db.engine)
    return app
