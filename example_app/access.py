"""Who is signed in, and what they may do with the webhooks.

The administrator sees all applications, the owner of an application only that one, and a program with an
application's API key may only view that application's webhooks.
"""

from __future__ import annotations

import hmac
from typing import Any

from flask import Flask, current_app, g, redirect, request, session, url_for
from werkzeug.wrappers import Response

from flask_webhooks import ALL_TENANTS

from . import applications
from .extensions import webhooks

#: What of the pages of Flask-Webhooks needs no login.
PUBLIC = {"flask_webhooks.static", "flask_webhooks.key_document"}


def init_app(app: Flask) -> None:
    """Send people who are not signed in from the pages of the webhooks to the login."""
    app.before_request(_login_before_webhooks)
    app.context_processor(lambda: {"signed_in": signed_in()})


# -- what Flask-Webhooks asks ----------------------------------------------------------------------


@webhooks.authorize
def may_use_webhooks(action: str, endpoint: object) -> bool:
    if program() is not None:
        return action == "view"
    return signed_in()


@webhooks.current_tenant
def tenant() -> Any:
    if program() is not None:
        return program()
    return ALL_TENANTS if is_admin() else owned_application()


@webhooks.current_actor
def actor() -> str:
    """The name that the activity log shows."""
    if program() is not None:
        return f"api:{program()}"
    return str(session.get("admin") or session.get("owner"))


# -- who it is -------------------------------------------------------------------------------------


def program() -> str | None:
    """Return the id of the application whose API key came with the request."""
    application_id: str | None = g.get("application_id")
    return application_id


def signed_in() -> bool:
    return is_admin() or owned_application() is not None


def is_admin() -> bool:
    # Compared with the configuration, so that a changed name ends old sessions.
    return bool(session.get("admin") == current_app.config["ADMIN_USERNAME"])


def owned_application() -> str | None:
    """Return the id of the application whose owner is signed in."""
    return session.get("application")


def sign_in(name: str, password: str) -> bool:
    """Sign in the administrator, or the owner of the application with this name."""
    admin, admin_password = (
        current_app.config["ADMIN_USERNAME"],
        current_app.config["ADMIN_PASSWORD"],
    )
    if name == admin:
        if admin_password and hmac.compare_digest(password.encode(), admin_password.encode()):
            session.clear()
            session["admin"] = admin
            return True
        return False
    application_id = applications.find_by_owner(name, password)
    if application_id is None:
        return False
    session.clear()
    session.update(application=application_id, owner=name)
    return True


def _login_before_webhooks() -> Response | None:
    if request.blueprint != "flask_webhooks" or request.endpoint in PUBLIC or signed_in():
        return None
    # Where a browser left from: a form is not sent again after the login.
    target = request.full_path.rstrip("?") if request.method == "GET" else None
    return redirect(url_for("pages.login", next=target))
