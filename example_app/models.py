"""The tables of the licensing server."""

from __future__ import annotations

import enum
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship
from sqlalchemy.types import TypeDecorator


class Base(DeclarativeBase):
    """Carries the metadata of this server; Flask-SQLAlchemy builds its model class from it."""


# What a transaction returns stays readable after it, without another one.
db = SQLAlchemy(model_class=Base, session_options={"expire_on_commit": False})

if TYPE_CHECKING:

    class Model(DeclarativeBase):
        """What type checkers see of ``db.Model``, which is made at run time."""

else:
    Model = db.Model


@contextmanager
def transaction() -> Iterator[Session]:
    """Commit at the end of the block, or roll back if it raises."""
    session: Session = db.session()
    try:
        yield session
    except BaseException:
        session.rollback()
        raise
    session.commit()


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time. SQLite would give it back without its zone."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def new_id(prefix: str) -> str:
    """An identifier such as ``lic_5f0c…``, which says what it identifies."""
    return f"{prefix}_{secrets.token_hex(8)}"


def utc_now() -> datetime:
    return datetime.now(UTC)


class LicenseStatus(enum.StrEnum):
    """What a licence key is good for."""

    CREATED = "created"
    ACTIVE = "active"
    EXPIRED = "expired"
    SUSPENDED = "suspended"
    REVOKED = "revoked"


class Application(Model):
    """A product whose licences are kept here. Its id is the tenant of its webhooks."""

    __tablename__ = "applications"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=lambda: new_id("app"))
    name: Mapped[str] = mapped_column(String(100), unique=True)
    #: SHA-256 of the API key: a random key needs no slow hash, and is looked up by this.
    api_key_hash: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class User(Model):
    """An account within one application."""

    __tablename__ = "users"
    __table_args__ = (UniqueConstraint("application_id", "username"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=lambda: new_id("usr"))
    application_id: Mapped[str] = mapped_column(ForeignKey("applications.id"))
    username: Mapped[str] = mapped_column(String(64))
    password_hash: Mapped[str] = mapped_column(String(255))
    banned_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ban_reason: Mapped[str | None] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class License(Model):
    """A key that was sold. Its term starts with its first use."""

    __tablename__ = "licenses"
    __table_args__ = (
        UniqueConstraint("application_id", "key"),
        Index("ix_licenses_expiry", "status", "expires_at"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=lambda: new_id("lic"))
    application_id: Mapped[str] = mapped_column(ForeignKey("applications.id"))
    key: Mapped[str] = mapped_column(String(19))
    level: Mapped[int] = mapped_column(default=1)
    #: ``30d``, ``12h``, ``1y`` or ``lifetime``; see `terms`.
    duration: Mapped[str] = mapped_column(String(16))
    status: Mapped[str] = mapped_column(String(16), default=LicenseStatus.CREATED)
    #: ``None`` before the first use, and for ever where the duration is ``lifetime``.
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: How many devices may be bound at a time.
    device_limit: Mapped[int] = mapped_column(default=1)
    user_id: Mapped[str | None] = mapped_column(ForeignKey("users.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    activated_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    user: Mapped[User | None] = relationship()
    devices: Mapped[list[Device]] = relationship(
        cascade="all, delete-orphan", order_by="Device.bound_at"
    )


class Device(Model):
    """A hardware id that is bound to a licence."""

    __tablename__ = "devices"

    license_id: Mapped[str] = mapped_column(ForeignKey("licenses.id"), primary_key=True)
    hwid: Mapped[str] = mapped_column(String(128), primary_key=True)
    bound_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class UserSession(Model):
    """A login that lasts until it runs out or its user is banned."""

    __tablename__ = "sessions"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=lambda: new_id("ses"))
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    #: SHA-256 of the token that the client holds.
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    hwid: Mapped[str | None] = mapped_column(String(128))
    ip: Mapped[str] = mapped_column(String(45))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
