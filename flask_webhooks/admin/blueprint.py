"""The blueprint: routes, access and response headers."""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

from flask import Blueprint, Response, current_app, g, request

from ..access import ACCESS, request_access
from ..actions.portal_links import PORTAL
from ..app_state import AppState, state_of
from . import (
    catalog_views,
    debugger_views,
    delivery_views,
    endpoint_views,
    event_views,
    failures,
    health_views,
    key_views,
    ledger_views,
    matching_views,
    outage_views,
    overview_views,
    portal,
    portal_link_views,
    scheduled_views,
    secret_views,
    settings_views,
    switch_views,
    task_views,
    token_views,
)
from .i18n import gettext, ngettext
from .layouts import layout_of
from .page import FRAGMENT_HEADER, Toolbox, is_fragment

NAME: Final = "flask_webhooks"

#: For the built-in layout. In the host's layout, the host sets the policy for its own scripts and styles.
_CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "style-src 'self'",
        "script-src 'self'",
        "connect-src 'self'",
        "img-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'self'",
        "base-uri 'none'",
    )
)


def create_blueprint(state: AppState, *, for_portal: bool = False) -> Blueprint:
    """Create a blueprint for one application. All access is refused until the host has configured it.

    :param for_portal: for people who open a portal link.
    """
    blueprint = Blueprint(
        PORTAL if for_portal else NAME,
        __name__,
        template_folder="templates",
        static_folder="static",
        static_url_path="/static",
    )
    if for_portal:
        portal.register(blueprint)
    elif state.settings.base_template is not None:
        # A hook of the application, so that its log shows a problem at its first request.
        blueprint.before_app_request(_look_at_layout)
    blueprint.before_request(_open_access)
    blueprint.after_request(_set_headers)
    blueprint.context_processor(_context)
    failures.register(blueprint)
    for views in (
        endpoint_views,
        overview_views,
        settings_views,
        secret_views,
        switch_views,
        debugger_views,
        delivery_views,
        event_views,
        scheduled_views,
        catalog_views,
        health_views,
        task_views,
        outage_views,
        matching_views,
        key_views,
        ledger_views,
        token_views,
        portal_link_views,
    ):
        views.register(blueprint)
    return blueprint


def _is_static() -> bool:
    return request.endpoint is not None and request.endpoint.endswith(".static")


def _is_public() -> bool:
    return request.endpoint is not None and request.endpoint.endswith((".static", ".key_document"))


def _look_at_layout() -> None:
    layout_of(state_of())


def _open_access() -> None:
    """Determine the access of the request. Each view then checks its own action."""
    if _is_public():
        return
    if portal.is_portal():
        portal.open_access()
    else:
        setattr(g, ACCESS, request_access(state_of()))


def _context() -> dict[str, Any]:
    # Named so that they do not shadow names in the host's layout, which pages may extend.
    return {"wh": Toolbox(state_of()), "_w": gettext, "_wn": ngettext}


def _answer_unchanged(response: Response) -> None:
    """Respond with 304 to the polls of our script while the page has not changed."""
    if response.status_code != 200 or response.is_streamed:
        return
    response.set_etag(hashlib.sha256(_without_token(response.data)).hexdigest()[:32], weak=True)
    response.make_conditional(request)


def _without_token(page: bytes) -> bytes:
    """Remove the tokens of forms, which are different each time."""
    token = re.escape(str(current_app.config.get("WTF_CSRF_FIELD_NAME", "csrf_token")).encode())
    return re.sub(rb'(name="' + token + rb'" value=")[^"]*', rb"\1", page)


def _set_headers(response: Response) -> Response:
    headers = response.headers
    headers.setdefault("X-Content-Type-Options", "nosniff")
    if _is_static():
        return response
    headers.setdefault("Cache-Control", "private, no-cache")
    response.vary.add(FRAGMENT_HEADER)
    if is_fragment():
        _answer_unchanged(response)
    # Not no-referrer: Flask-WTF's protection requires a referrer on HTTPS.
    headers.setdefault("Referrer-Policy", "same-origin")
    settings = state_of().settings
    ancestors = settings.portal_frame_ancestors if portal.is_portal() else ()
    if not ancestors:
        # A page with buttons must not be framed by another site (clickjacking).
        headers.setdefault("X-Frame-Options", "SAMEORIGIN")
    if settings.base_template is None or portal.is_portal():
        policy = _CONTENT_SECURITY_POLICY.replace(
            "frame-ancestors 'self'", " ".join(["frame-ancestors 'self'", *ancestors])
        )
        headers.setdefault("Content-Security-Policy", policy)
    return response
