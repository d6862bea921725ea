"""Flask-Migrate in a host: the tables come and go by migrations, and what is in them works."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import uuid
from pathlib import Path

import pytest

from demo.services import PostgresServer
from tests.support.processes import ROOT
from tests.support.receiver import Receiver
from tests.test_models import TABLES

MIGRATE = """
    import logging, os, sys
    from pathlib import Path

    import sqlalchemy as sa
    from flask import Flask
    from flask_migrate import Migrate, downgrade, init, migrate, upgrade
    from flask_sqlalchemy import SQLAlchemy

    from flask_webhooks import Webhooks
    from tests.support.delivering import drain
    from tests.support.hosts import SETTINGS

    url, directory, second, redis_url, receiver = sys.argv[1:]
    app, db = Flask("host"), SQLAlchemy()
    app.config.update(SETTINGS, SQLALCHEMY_DATABASE_URI=url, WEBHOOKS_REDIS_URL=redis_url)
    if second:
        app.config.update(SQLALCHEMY_BINDS={"hooks": second}, WEBHOOKS_BIND_KEY="hooks")

    class User(db.Model):
        id = sa.Column(sa.Integer, primary_key=True)

    db.init_app(app)
    webhooks = Webhooks(db, app)
    webhooks.authorize(lambda action, endpoint: True)
    Migrate(app, db, directory)

    def files():
        return sorted(Path(directory, "versions").glob("*.py"))

    with app.app_context():
        engine = db.engines["hooks" if second else None]
        init(multidb=bool(second))
        migrate(message="webhooks")
        text = files()[0].read_text()
        assert text.count("import flask_webhooks.columns") == 1, text
        upgrade()
        print(" ".join(sorted(sa.inspect(engine).get_table_names())))
        migrate(message="nothing")
        assert len(files()) == 1, files()[1].read_text()

        webhooks.create_endpoint(receiver)
        db.session.add(User())
        assert webhooks.emit("license.created", {}) is not None
        db.session.commit()
        assert drain(app) == 1
        page = app.test_client().get("/webhooks/deliveries")
        assert "license.created" in page.text and "Succeeded" in page.text, page.text

        # A migration that has nothing of ours needs no import of ours.
        db.metadata.tables["user"].append_column(sa.Column("name", sa.String(10)))
        migrate(message="name")
        newest = max(files(), key=lambda path: path.stat().st_mtime_ns)
        text = newest.read_text()
        assert "name" in text and "flask_webhooks" not in text, text
        db.session.remove()
        downgrade(revision="base")
        print(" ".join(sorted(sa.inspect(engine).get_table_names())))
"""


def run_migrations(
    url: str, directory: Path, redis_url: str, receiver: Receiver, second: str = ""
) -> list[set[str]]:
    """Returns which tables there are after the upgrade, and after the downgrade."""
    # In a process of its own: the `env.py` of Flask-Migrate sets up logging anew.
    done = subprocess.run(
        [
            *(sys.executable, "-c", textwrap.dedent(MIGRATE), url, str(directory), second),
            *(redis_url, receiver.url("/ok/migrated")),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "default"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [request.path for request in receiver.requests] == ["/ok/migrated"]
    return [set(line.split()) for line in done.stdout.splitlines() if "alembic_version" in line]


@pytest.mark.slow
def test_migration_is_generated_and_after_it_nothing_differs(
    database_url: str, tmp_path: Path, redis_url: str, receiver: Receiver
) -> None:
    after_upgrade, after_downgrade = run_migrations(
        database_url, tmp_path / "migrations", redis_url, receiver
    )
    assert after_upgrade == {*TABLES, "user", "alembic_version"}
    assert after_downgrade == {"alembic_version"}


@pytest.mark.slow
def test_migration_of_two_databases(
    tmp_path: Path, postgres_server: PostgresServer, redis_url: str, receiver: Receiver
) -> None:
    second = postgres_server.create_database(f"test_{uuid.uuid4().hex}")
    after_upgrade, after_downgrade = run_migrations(
        f"sqlite:///{tmp_path / 'main'}", tmp_path / "migrations", redis_url, receiver, second
    )
    assert after_upgrade == {*TABLES, "alembic_version"}
    assert after_downgrade == {"alembic_version"}
