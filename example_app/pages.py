"""The pages: the login, the list of applications, and the dashboard of each."""

from __future__ import annotations

from urllib.parse import urlsplit

import sqlalchemy as sa
from flask import (
    Blueprint,
    Flask,
    abort,
    flash,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import PasswordField, StringField
from wtforms.validators import InputRequired, Length

from . import dashboard
from .access import is_admin, owned_application, sign_in, signed_in
from .models import Application, transaction

bp = Blueprint("pages", __name__)


class LoginForm(FlaskForm):  # type: ignore[misc]
    """Name and password."""

    name = StringField("Name", [InputRequired(), Length(max=100)])
    password = PasswordField("Password", [InputRequired(), Length(max=200)])


class LogoutForm(FlaskForm):  # type: ignore[misc]
    """A button, which is protected against forged requests."""


def init_app(app: Flask) -> None:
    """Mount the pages."""
    app.register_blueprint(bp)
    app.context_processor(lambda: {"logout_form": LogoutForm() if signed_in() else None})


@bp.get("/")
def home() -> str | Response:
    """The administrator's list of applications. Owners get their dashboard."""
    if not signed_in():
        return redirect(url_for("pages.login"))
    if not is_admin():
        return redirect(url_for("pages.application", application_id=owned_application()))
    with transaction() as database:
        applications = database.scalars(sa.select(Application).order_by(Application.name)).all()
    return render_template("home.html", applications=applications)


@bp.get("/applications/<application_id>")
def application(application_id: str) -> str | Response:
    """The dashboard of an application, for its owner and the administrator."""
    if not signed_in():
        return redirect(url_for("pages.login", next=request.path))
    if not is_admin() and application_id != owned_application():
        abort(404)
    content = dashboard.load(application_id)
    if content is None:
        abort(404)
    return render_template("dashboard.html", content=content)


@bp.route("/login", methods=["GET", "POST"])
def login() -> str | Response | tuple[str, int]:
    if signed_in():
        return redirect(_next_page())
    form = LoginForm()
    if not form.validate_on_submit():
        return render_template("login.html", form=form)
    if sign_in(form.name.data or "", form.password.data or ""):
        return redirect(_next_page())
    flash("The name or the password is wrong.")
    return render_template("login.html", form=form), 401


@bp.post("/logout")
def logout() -> Response:
    if not LogoutForm().validate_on_submit():
        abort(400, "The form is too old; go back and try again.")
    session.clear()
    return redirect(url_for("pages.login"))


def _next_page() -> str:
    """Return where to go after the login, which is always a path of this server."""
    target = request.args.get("next", "")
    parts = urlsplit(target)
    local = target.startswith("/") and not parts.scheme and not parts.netloc
    # Browsers read a backslash as a slash, and "//host" as another server.
    return target if local and "\\" not in target else url_for("pages.home")
