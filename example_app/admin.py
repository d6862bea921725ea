"""Staff pages: a login, a home page, and who may see the webhooks."""

from __future__ import annotations

import functools
import hmac
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

import sqlalchemy as sa
from flask import (
    Blueprint,
    Flask,
    abort,
    current_app,
    flash,
    g,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import PasswordField, SelectField, StringField
from wtforms.validators import InputRequired, Length

from flask_webhooks import ALL_TENANTS

from .extensions import webhooks
from .models import Application, License, User, transaction

bp = Blueprint("admin", __name__)

P = ParamSpec("P")
R = TypeVar("R")

_WEBHOOKS_BLUEPRINT = "flask_webhooks"


class LoginForm(FlaskForm):  # type: ignore[misc]
    """Name and password of the administrator."""

    username = StringField("Name", [InputRequired(), Length(max=64)])
    password = PasswordField("Password", [InputRequired(), Length(max=200)])


class ScopeForm(FlaskForm):  # type: ignore[misc]
    """Whose webhooks to look at."""

    application = SelectField("Webhooks of")


class LogoutForm(FlaskForm):  # type: ignore[misc]
    """A button, safe from forged requests."""


# -- who may see the webhooks ------------------------------------------------------------------------


@webhooks.authorize
def may_manage_webhooks(action: str, endpoint: object) -> bool:
    """There is one administrator, who may do everything; applications, which the API lets in by their key, look."""
    if _calling_application() is not None:
        return action == "view"
    return signed_in()


@webhooks.current_actor
def actor() -> str:
    """The name that the activity log shows."""
    application_id = _calling_application()
    if application_id is not None:
        return f"api:{application_id}"
    return str(session.get("admin", "unknown"))


@webhooks.current_tenant
def tenant() -> Any:
    """The application whose key came with the request; else the one chosen on the home page, or all of them."""
    return _calling_application() or session.get("application") or ALL_TENANTS


def _calling_application() -> str | None:
    """The application whose key came with a request to the API."""
    application_id: str | None = g.get("application_id")
    return application_id


def signed_in() -> bool:
    # Compared with the configuration, so that a changed name ends old sessions.
    return bool(session.get("admin") == current_app.config["ADMIN_USERNAME"])


def init_app(app: Flask) -> None:
    """Mount the pages, and send people who are not signed in from the webhooks to the login."""
    app.register_blueprint(bp)
    app.before_request(_login_before_webhooks)
    app.context_processor(lambda: {"logout_form": LogoutForm() if signed_in() else None})


def _login_before_webhooks() -> Response | None:
    page = request.blueprint == _WEBHOOKS_BLUEPRINT and request.method == "GET"
    if page and not signed_in() and request.accept_mimetypes.accept_html:
        return redirect(url_for("admin.login", next=request.full_path.rstrip("?")))
    return None


def _staff_only(view: Callable[P, R]) -> Callable[P, R | Response]:
    @functools.wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R | Response:
        if signed_in():
            return view(*args, **kwargs)
        return redirect(url_for("admin.login"))

    return guarded


# -- pages -------------------------------------------------------------------------------------------


@bp.get("/")
@_staff_only
def home() -> str:
    with transaction() as database:
        applications = database.execute(
            sa.select(
                Application.id,
                Application.name,
                _count(License.id, License.application_id).label("licenses"),
                _count(User.id, User.application_id).label("users"),
            ).order_by(Application.name)
        ).all()
    return render_template(
        "home.html",
        applications=applications,
        scope_form=_scope_form([(row.id, row.name) for row in applications]),
    )


@bp.post("/scope")
@_staff_only
def choose_scope() -> Response:
    """Choose whose webhooks the webhook pages show."""
    with transaction() as database:
        known = database.execute(sa.select(Application.id, Application.name)).all()
    form = _scope_form([(row.id, row.name) for row in known])
    if not form.validate_on_submit():
        abort(400, "Choose one of the applications.")
    session["application"] = form.application.data
    return redirect(url_for("admin.home"))


@bp.route("/login", methods=["GET", "POST"])
def login() -> str | Response | tuple[str, int]:
    if signed_in():
        return redirect(_next_page())
    form = LoginForm()
    password = str(current_app.config["ADMIN_PASSWORD"] or "")
    if form.validate_on_submit():
        name_fits = _same(form.username.data, current_app.config["ADMIN_USERNAME"])
        password_fits = _same(form.password.data, password)
        if name_fits and password_fits and password:
            session.clear()
            session["admin"] = current_app.config["ADMIN_USERNAME"]
            return redirect(_next_page())
        flash("The name or the password is wrong.")
        return render_template("login.html", form=form, ready=bool(password)), 401
    return render_template("login.html", form=form, ready=bool(password))


@bp.post("/logout")
def logout() -> Response:
    if not LogoutForm().validate_on_submit():
        abort(400, "The form is too old; go back and try again.")
    session.clear()
    return redirect(url_for("admin.login"))


def _scope_form(applications: list[tuple[str, str]]) -> ScopeForm:
    form = ScopeForm(application=session.get("application", ""))
    form.application.choices = [("", "all applications"), *applications]
    return form


def _count(column: Any, owner: Any) -> sa.ScalarSelect[int]:
    return sa.select(sa.func.count(column)).where(owner == Application.id).scalar_subquery()


def _same(given: str | None, expected: str) -> bool:
    return hmac.compare_digest((given or "").encode(), expected.encode())


def _next_page() -> str:
    """Where to go after the login: only to a path of this server."""
    target = request.args.get("next", "")
    parts = urlsplit(target)
    local = target.startswith("/") and not parts.scheme and not parts.netloc
    # Browsers read a backslash as a slash, and "//host" as another server.
    return target if local and "\\" not in target else url_for("admin.home")
