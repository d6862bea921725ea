"""The JSON API for the applications' own servers and for client software.

Each request has the header ``Authorization: Bearer <API key of the application>``. Errors are problem
details with a ``code``.
"""

from __future__ import annotations

from flask import Blueprint, Flask, Response, g, jsonify, request

from . import accounts, activation, applications, selling
from .api_body import Body, license_as_json, moment
from .extensions import webhooks
from .models import License
from .problems import API_PREFIX, Refused

bp = Blueprint("api", __name__, url_prefix=API_PREFIX + "v1")

LONGEST_PASSWORD = 200
MOST_AT_ONCE = 100


def init_app(app: Flask) -> None:
    """Mount the API, and below it that of the webhooks.

    With its API key an application can only view its webhooks (see `access`): the key is part of all its
    client software, and a person who extracts it must not send the application's events elsewhere.
    """
    app.register_blueprint(bp)
    webhooks_api = webhooks.api_blueprint(authenticate=authenticate)
    app.register_blueprint(webhooks_api, url_prefix=f"{bp.url_prefix}/webhooks")


@bp.before_request
def _authenticate() -> None:
    authenticate()


def authenticate() -> bool:
    """Find the application whose API key came with the request.

    :raises Refused: there is none.
    """
    key = "" if request.authorization is None else request.authorization.token or ""
    application_id = applications.find_by_key(key)
    if application_id is None:
        detail = "Send the header 'Authorization: Bearer <API key>'."
        raise Refused("invalid_api_key", detail, 401)
    g.application_id = application_id
    return True


# -- for client software ---------------------------------------------------------------------------


@bp.post("/register")
def register() -> tuple[Response, int]:
    body = Body()
    user = accounts.register(
        g.application_id,
        body.username(),
        body.text("password", LONGEST_PASSWORD, shortest=8),
        body.license_key(),
        body.client(),
    )
    return jsonify(user_id=user.id, username=user.username), 201


@bp.post("/login")
def login() -> Response:
    body = Body()
    password = body.text("password", LONGEST_PASSWORD)
    user = accounts.login(g.application_id, body.username(), password, body.client())
    return jsonify(user_id=user.id, username=user.username)


@bp.post("/activate")
def activate() -> Response:
    body = Body()
    return _shown(activation.activate(g.application_id, body.license_key(), body.client()))


@bp.post("/validate")
def validate() -> Response:
    body = Body()
    return _shown(activation.validate(g.application_id, body.license_key(), body.client()))


# -- for sellers -----------------------------------------------------------------------------------


@bp.post("/licenses")
def create_licenses() -> tuple[Response, int]:
    body = Body()
    licenses = selling.create_licenses(
        g.application_id,
        level=body.whole("level", 1, 100, default=1),
        duration=body.duration(),
        device_limit=body.whole("device_limit", 1, 100, default=1),
        count=body.whole("count", 1, MOST_AT_ONCE, default=1),
        actor=body.actor(),
    )
    return jsonify(licenses=[license_as_json(license) for license in licenses]), 201


@bp.get("/licenses/<key>")
def show_license(key: str) -> Response:
    return _shown(selling.get_license(g.application_id, key))


@bp.post("/licenses/<key>/revoke")
def revoke(key: str) -> Response:
    body = Body()
    return _shown(selling.revoke(g.application_id, key, body.reason(), body.actor()))


@bp.post("/licenses/<key>/suspend")
def suspend(key: str) -> Response:
    body = Body()
    return _shown(selling.suspend(g.application_id, key, body.reason(), body.actor()))


@bp.post("/licenses/<key>/reinstate")
def reinstate(key: str) -> Response:
    body = Body()
    return _shown(selling.reinstate(g.application_id, key, body.reason(), body.actor()))


@bp.post("/licenses/<key>/reset-hwid")
def reset_hwid(key: str) -> Response:
    body = Body()
    return _shown(selling.reset_hwid(g.application_id, key, body.reason(), body.actor()))


@bp.post("/licenses/<key>/renew")
def renew(key: str) -> Response:
    body = Body()
    return _shown(selling.renew(g.application_id, key, body.duration(), body.actor()))


@bp.post("/ban")
def ban() -> Response:
    body = Body()
    user = accounts.ban(g.application_id, body.username(), body.reason(), body.actor())
    return jsonify(user_id=user.id, username=user.username, banned_at=moment(user.banned_at))


def _shown(license: License) -> Response:
    return jsonify(license_as_json(license))
