"""The application factory, and where its settings come from.

Each environment variable ``EXAMPLE_<KEY>`` sets ``app.config["<KEY>"]``, read as JSON where it is JSON:
``EXAMPLE_WEBHOOKS_RETRY_SCHEDULE='[5, 60, 600]'``.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask import Flask

from flask_webhooks import sqlite

from . import admin, api, commands, problems
from .extensions import webhooks
from .models import db

#: Every setting of the example itself. Those of Flask-Webhooks begin with ``WEBHOOKS_``.
DEFAULTS = {
    #: SQLAlchemy URL; relative SQLite files are in the instance folder.
    "DATABASE_URL": "sqlite:///example.sqlite",
    #: Redis for the wake-ups of the workers.
    "REDIS_URL": None,
    #: Who may open the pages. Without a password nobody can.
    "ADMIN_USERNAME": "admin",
    "ADMIN_PASSWORD": None,
    #: How `werkzeug.security` hashes the passwords of users.
    "PASSWORD_HASH_METHOD": "scrypt",
    #: Cookies do not know ports: a name of its own beside other servers on this machine.
    "SESSION_COOKIE_NAME": "example_session",
    "SESSION_COOKIE_SAMESITE": "Lax",
    "MAX_CONTENT_LENGTH": 1024 * 1024,
    "WEBHOOKS_PRODUCT_NAME": "Example Licensing",
}
_TEXTS = ("SECRET_KEY", "ADMIN_USERNAME", "ADMIN_PASSWORD")


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Make the licensing server.

    :param config: settings that win over the environment.
    """
    app = Flask(__name__)
    app.config.update(DEFAULTS, REDIS_URL=os.environ.get("REDIS_URL"))
    app.config.from_prefixed_env("EXAMPLE")
    app.config.update(config or {})
    for key in _TEXTS:
        # A password of digits only is JSON too.
        if app.config[key] is not None:
            app.config[key] = str(app.config[key])
    app.config["SECRET_KEY"] = app.config["SECRET_KEY"] or _kept_secret_key(app)
    app.config.setdefault("SQLALCHEMY_DATABASE_URI", app.config["DATABASE_URL"])

    db.init_app(app)
    webhooks.init_app(app)
    with app.app_context():
        sqlite.immediate(db.engine)

    problems.init_app(app)
    api.init_app(app)
    admin.init_app(app)
    commands.init_app(app)
    return app


def _kept_secret_key(app: Flask) -> str:
    """A random key in the instance folder, the same for the web processes and the workers."""
    folder = Path(app.instance_path)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "secret_key"
    if not path.exists():
        # Linked into place when it is whole: another process may be starting at the same time.
        draft = folder / f".secret_key.{os.getpid()}"
        with open(draft, "w", opener=_for_owner_only) as file:
            file.write(secrets.token_urlsafe(32))
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_text()


def _for_owner_only(path: str, flags: int) -> int:
    return os.open(path, flags, mode=0o600)
