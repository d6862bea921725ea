"""A customer's application, as it talks to the example licensing server."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from werkzeug.test import TestResponse

from example_app.extensions import db, webhooks
from flask_webhooks.catalog.registry import builtin_catalog

PASSWORD = "correct horse battery"
DEVICE, OTHER_DEVICE = "9f2c4e7ab1d05836", "c05e71f3928ad64b"


@dataclass
class Product:
    """One application's own server, as it talks to the licensing server."""

    app: Flask
    id: str
    api_key: str
    owner_password: str
    http: FlaskClient = field(init=False)
    _seen: int = 0

    def __post_init__(self) -> None:
        self.http = self.app.test_client()

    def send(self, method: str, path: str, body: object = None) -> TestResponse:
        return self.http.open(
            f"/api/v1/{path}",
            method=method,
            json=body,
            headers={"Authorization": f"Bearer {self.api_key}"},
        )

    def post(self, path: str, expected: int = 200, /, **body: object) -> dict[str, Any]:
        response = self.send("POST", path, body)
        assert response.status_code == expected, response.text
        answer: dict[str, Any] = response.get_json()
        return answer

    def sell(self, **wanted: object) -> str:
        key: str = self.post("licenses", 201, **wanted)["licenses"][0]["license_key"]
        return key

    def register(self, username: str = "mira", **wanted: object) -> str:
        """A user with a licence, bound to `DEVICE`; returns the key."""
        key = self.sell(**wanted)
        user = {"username": username, "password": PASSWORD, "license_key": key, "hwid": DEVICE}
        self.post("register", 201, **user)
        self.new_events()
        return key

    def scheduled(self) -> list[Any]:
        """What is scheduled for this application."""
        with self.app.app_context():
            event = webhooks.models.ScheduledEvent
            rows = db.session.scalars(sa.select(event).where(event.tenant == self.id)).all()
        for row in rows:
            Draft202012Validator(builtin_catalog()[row.type].schema).validate(row.data)
        return list(rows)

    def new_events(self) -> dict[str, dict[str, Any]]:
        """Data by type of the events recorded since the last call, for this application."""
        with self.app.app_context():
            event = webhooks.models.Event
            rows = db.session.scalars(
                sa.select(event).where(event.tenant == self.id).order_by(event.id)
            ).all()
        new, self._seen = rows[self._seen :], len(rows)
        found = {row.type: row.data for row in new}
        assert len(found) == len(new), "several events of one type"
        return found
