"""The application factory, and the settings.

Each environment variable ``EXAMPLE_<KEY>`` sets ``app.config["<KEY>"]``. Its value is read as JSON where
possible: ``EXAMPLE_WEBHOOKS_RETRY_SCHEDULE='[5, 60, 600]'``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_webhooks import sqlite

from . import access, api, commands, pages, problems
from .extensions import db, webhooks

#: The settings of the example itself. Those of Flask-Webhooks begin with ``WEBHOOKS_``.
DEFAULTS = {
    #: Signs the cookies and encrypts the secrets of the webhooks. There is no default.
    "SECRET_KEY": None,
    #: SQLAlchemy URL. A relative SQLite file is in the instance folder.
    "DATABASE_URL": "sqlite:///example.sqlite",
    #: Redis carries the wake-ups of the workers.
    "REDIS_URL": None,
    #: The administrator. Without a password, the administrator cannot sign in.
    "ADMIN_USERNAME": "admin",
    "ADMIN_PASSWORD": None,
    #: How `werkzeug.security` hashes passwords.
    "PASSWORD_HASH_METHOD": "scrypt",
    #: The number of proxies in front of this server whose headers tell the client's address.
    "PROXIES": 0,
    #: Not "session", since cookies are shared by all servers of one host name, whatever their port.
    "SESSION_COOKIE_NAME": "example_session",
    "SESSION_COOKIE_SAMESITE": "Lax",
    "MAX_CONTENT_LENGTH": 1024 * 1024,
    "WEBHOOKS_PRODUCT_NAME": "Example Licensing",
}


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Make the licensing server.

    :param config: settings that override the environment.
    """
    app = Flask(__name__)
    app.config.update(DEFAULTS, REDIS_URL=os.environ.get("REDIS_URL"))
    app.config.from_prefixed_env("EXAMPLE")
    app.config.update(config or {})
    _check_secrets(app)
    app.config["SQLALCHEMY_DATABASE_URI"] = app.config["DATABASE_URL"]

    db.init_app(app)
    webhooks.init_app(app)
    app.register_blueprint(webhooks.health_blueprint())
    with app.app_context():
        sqlite.immediate(db.engine)

    problems.init_app(app)
    access.init_app(app)
    api.init_app(app)
    pages.init_app(app)
    commands.init_app(app)

    if proxies := app.config["PROXIES"]:
        fixed = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=proxies, x_host=proxies)
        app.wsgi_app = fixed  # type: ignore[method-assign]
    return app


def _check_secrets(app: Flask) -> None:
    if app.config["SECRET_KEY"] is None:
        raise RuntimeError(
            "Set EXAMPLE_SECRET_KEY to a random text, the same for the web server and the workers:"
            " python -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )
    for key in ("SECRET_KEY", "ADMIN_PASSWORD"):
        # A password of digits only was read as a number.
        if app.config[key] is not None:
            app.config[key] = str(app.config[key])
