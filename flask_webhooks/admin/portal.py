"""The portal: the same pages for people with a portal link, at a separate prefix and with a separate session.

During such a request, `flask.session` is the session of the portal, also for functions of the host. It is stored
in a cookie for the prefix only. Forms are protected in the same way as elsewhere.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from flask import Blueprint, Response, g, redirect, request, session, url_for
from flask.globals import request_ctx
from flask.sessions import SecureCookieSession, SessionMixin
from itsdangerous import BadSignature, URLSafeSerializer

from ..access import ACCESS
from ..actions.portal_links import PORTAL
from ..app_state import state_of
from ..portal_access import portal_access, portal_keys, read_link, require_portal
from . import once
from .page import NOTICES_KEY

_COOKIE: Final = "flask_webhooks_portal"
_SALT: Final = "flask_webhooks portal session"
#: The id of the link, in the session.
_LINK: Final = "link"
#: The host's session during the request, and the end of ours.
_HOSTS, _EXPIRES = "flask_webhooks_host_session", "flask_webhooks_portal_expires"


def register(blueprint: Blueprint) -> None:
    """Add the session and the view for links to a blueprint."""
    # Before all `before_request` functions of the host.
    blueprint.url_value_preprocessor(_begin_session)
    blueprint.after_request(_end_session)
    blueprint.add_url_rule("/open", view_func=portal_open)


def is_portal() -> bool:
    """Return whether the request is for the portal."""
    return request.blueprint == PORTAL


def open_access() -> None:
    """Return the access of the person who opened a link.

    :raises Forbidden: no link was opened, or it has ended.
    """
    if request.endpoint == f"{PORTAL}.portal_open":
        return
    access, link = portal_access(state_of(), session.get(_LINK))
    setattr(g, ACCESS, access)
    setattr(g, _EXPIRES, link.expires_at)


def portal_open() -> Response:
    """Exchange a link for a session and redirect, so that the link does not stay in the address bar."""
    state = state_of()
    link_id = read_link(state, request.args.get("link", ""))
    _, link = portal_access(state, link_id)
    session.clear()
    session[_LINK] = link.id
    setattr(g, _EXPIRES, link.expires_at)
    answer = redirect(url_for(".endpoint_list"), 302)
    answer.headers["Referrer-Policy"] = "no-referrer"
    answer.headers["Cache-Control"] = "no-store"
    return answer  # type: ignore[return-value]


def _begin_session(endpoint: str | None, values: dict[str, Any] | None) -> None:
    try:
        kept = _serializer().loads(request.cookies.get(_COOKIE, ""))
    except BadSignature:
        kept = {}
    ours = SecureCookieSession(kept if isinstance(kept, dict) else {})
    setattr(g, _HOSTS, _replace_session(ours))


def _end_session(response: Response) -> Response:
    hosts = g.pop(_HOSTS, None)
    if hosts is None:
        return response
    # The following functions belong to the host, and save its session.
    ours = _replace_session(hosts)
    response.vary.add("Cookie")
    expires = g.get(_EXPIRES)
    if not ours.modified or expires is None:
        return response
    config = state_of().app.config
    names = (_LINK, NOTICES_KEY, once.KEY, config.get("WTF_CSRF_FIELD_NAME", "csrf_token"))
    # Ignore values that the host has added.
    kept = {name: ours[name] for name in names if name in ours}
    framed = bool(state_of().settings.portal_frame_ancestors)
    response.set_cookie(
        _COOKIE,
        _serializer().dumps(kept),
        expires=expires,
        path=request.script_root + require_portal(state_of()),
        secure=framed or request.is_secure,
        httponly=True,
        samesite="None" if framed else "Lax",
        partitioned=framed,
    )
    return response


def _replace_session(session: SessionMixin) -> SessionMixin:
    """Set the session of the request; return the previous one."""
    context: Any = request_ctx
    # Since Flask 3.1.3 the public attribute is read-only.
    name = "_session" if hasattr(context, "_session") else "session"
    before: SessionMixin = getattr(context, name)
    setattr(context, name, session)
    return before


def _serializer() -> URLSafeSerializer:
    return URLSafeSerializer(
        portal_keys(state_of()), salt=_SALT, signer_kwargs={"digest_method": hashlib.sha256}
    )
