"""The extensions, made once and set up for each application by `create_app`."""

from __future__ import annotations

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase

from flask_webhooks import Webhooks


class Base(DeclarativeBase):
    """The base class of the tables. Flask-SQLAlchemy makes `db.Model` from it."""


# Objects stay readable after their transaction, without another query.
db = SQLAlchemy(model_class=Base, session_options={"expire_on_commit": False})
webhooks = Webhooks(db)
