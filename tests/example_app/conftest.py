"""The example licensing server, on each kind of database."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from flask import Flask
from jsonschema import Draft202012Validator

from example_app import applications
from example_app.app import create_app
from example_app.extensions import db, webhooks
from flask_webhooks.catalog.registry import builtin_catalog

from .product import Product


@pytest.fixture
def app(database_url: str) -> Iterator[Flask]:
    """The licensing server, on each kind of database."""
    app = create_app(
        {
            "TESTING": True,
            "SECRET_KEY": "for tests",
            "DATABASE_URL": database_url,
            # Nobody listens there: the licensing server must not mind.
            "REDIS_URL": "redis://127.0.0.1:1/0",
            "ADMIN_PASSWORD": "open sesame",
            "PASSWORD_HASH_METHOD": "pbkdf2:sha256:1",
            "WEBHOOKS_ALLOWED_NETWORKS": ["127.0.0.0/8"],
        }
    )
    with app.app_context():
        db.create_all()
        webhooks.create_endpoint("http://127.0.0.1:1025/", events=None)
    yield app
    with app.app_context():
        _check_schemas()
        db.session.remove()
        db.engine.dispose()


def _check_schemas() -> None:
    """Whatever a test made the server send must be what the catalogue promises."""
    catalog = builtin_catalog()
    for event in db.session.scalars(sa.select(webhooks.models.Event)):
        Draft202012Validator(catalog[event.type].schema).validate(event.data)


@pytest.fixture
def new_product(app: Flask) -> Callable[[str], Product]:
    def make(name: str) -> Product:
        with app.app_context():
            return Product(app, *applications.create(name))

    return make


@pytest.fixture
def product(new_product: Callable[[str], Product]) -> Product:
    return new_product("Aurora")
