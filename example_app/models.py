"""The tables of the licensing server."""

from __future__ import annotations

import enum
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import Mapped, Session, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

from .extensions import db


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
    """A time in UTC. SQLite alone would return it without its time zone."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def new_id(prefix: str) -> str:
    """Make an id such as ``lic_5f0c…``, whose prefix says what it is of."""
    return f"{prefix}_{secrets.token_hex(8)}"


def utc_now() -> datetime:
    return datetime.now(UTC)


class LicenseStatus(enum.StrEnum):
    """State of a licence."""

    CREATED = "created"
    ACTIVE = "active"
    EXPIRED = "expired"
    SUSPENDED = "suspended"
    REVOKED = "revoked"


class Application(db.Model):  # type: ignore[misc,name-defined]
    """A product that is licensed here. Its id is the tenant of its webhooks."""

    __tablename__ = "applications"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=lambda: new_id("app"))
    name: Mapped[str] = mapped_column(String(100), unique=True)
    #: SHA-256 of the API key, by which it is found: a random key needs no slow hash.
    api_key_hash: Mapped[str] = mapped_column(String(64), unique=True)
    #: The owner signs in to the pages with the name of the application and this password.
    owner_password_hash: Mapped[str] = mapped_column(String(255))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class User(db.Model):  # type: ignore[misc,name-defined]
    """An account of one application."""

    __tablename__ = "users"
    __table_args__ = (UniqueConstraint("application_id", "username"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=lambda: new_id("usr"))
    application_id: Mapped[str] = mapped_column(ForeignKey("applications.id"))
    username: Mapped[str] = mapped_column(String(64))
    password_hash: Mapped[str] = mapped_column(String(255))
    banned_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ban_reason: Mapped[str | None] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class License(db.Model):  # type: ignore[misc,name-defined]
    """A licence key. Its term begins at its first use."""

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
    #: ``None`` before the first use, and for ``lifetime``.
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: The number of devices that can be bound at once.
    device_limit: Mapped[int] = mapped_column(default=1)
    user_id: Mapped[str | None] = mapped_column(ForeignKey("users.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    activated_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    user: Mapped[User | None] = relationship()
    devices: Mapped[list[Device]] = relationship(
        cascade="all, delete-orphan", order_by="Device.bound_at"
    )


class Device(db.Model):  # type: ignore[misc,name-defined]
    """A device, by its hardware id, that is bound to a licence."""

    __tablename__ = "devices"

    license_id: Mapped[str] = mapped_column(ForeignKey("licenses.id"), primary_key=True)
    hwid: Mapped[str] = mapped_column(String(128), primary_key=True)
    bound_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
