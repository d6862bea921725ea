"""A host with Flask-RQ and jobs of its own: FLASK_APP of its workers."""

from __future__ import annotations

from flask import Flask
from flask_rq import RQ

from tests.support import hostapp


def create_app() -> Flask:
    app = hostapp.create_app()
    app.config["RQ_CONNECTION"] = app.config["WEBHOOKS_REDIS_URL"]
    app.config["RQ_QUEUES"] = ["default", "webhooks"]
    RQ(app)
    return app
