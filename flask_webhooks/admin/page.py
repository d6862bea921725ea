"""Common parts of all pages: access, rendering, messages that survive a redirect, and `Toolbox`."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

from flask import (
    Response,
    g,
    make_response,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from jinja2 import Template
from markupsafe import Markup

from .. import actions, queries
from ..access import ACCESS, Access, BoundedTenantNames
from ..actions.portal_links import PORTAL
from ..app_state import AllTenants, AppState
from ..bulk.looking import right_of
from ..errors import NotFound
from ..models import Attempt, Endpoint
from . import (
    advice,
    banners,
    charts,
    display,
    findings,
    forms,
    i18n,
    task_wording,
    version_choices,
    wording,
)
from .filters import Filters
from .layouts import template_of

#: Our messages do not use `flask.flash`, because the host's layout may show them a second time.
NOTICES_KEY = "flask_webhooks_notices"
_MAX_NOTICES = 5
_STATIC = Path(__file__).with_name("static")
#: The header with which our script requests only the part of a page that can change, and its value.
FRAGMENT_HEADER = "Flask-Webhooks-Fragment"
_LIVE = "live"


def current_access() -> Access:
    """Return the access of the current request."""
    access: Access = g.get(ACCESS)
    return access


def tenant_filter(access: Access, given: str | None) -> str | None:
    """Return the tenant that a list is filtered by.

    :raises NotFound: it is not in scope.
    """
    if given is not None and len(access.tenants) > 1:
        access.within(given)
    return given


def unknown_in_filter(
    access: Access, filters: Filters, page: queries.Page[Any]
) -> queries.UnknownTenant | None:
    """Return a hint about the tenant that an empty list is filtered by; ``None`` without the permission ``view``."""
    if page.items or not access.may("view", None):
        return None
    return queries.unknown_tenant(access, filters.get("tenant"))


def render(template: str, status: int = 200, *, no_store: bool = False, **values: Any) -> Response:
    """Render a page from ``templates/flask_webhooks/``, or the host's template of the same name.

    :param no_store: it shows event data or a secret.
    """
    response = make_response(render_template(f"flask_webhooks/{template}", **values), status)
    if no_store:
        response.headers["Cache-Control"] = "no-store"
    return response


def is_fragment() -> bool:
    """Return whether our script requests only the part of a page that can change."""
    return request.method == "GET" and request.headers.get(FRAGMENT_HEADER) == _LIVE


def redirect_to(view: str, **values: Any) -> Response:
    """Redirect after a POST, so that the page can be reloaded."""
    response: Any = redirect(url_for(f".{view}", **values), 303)
    return make_response(response)


def notify(text: str, tone: str = "ok") -> None:
    """Show a message on the next page. It is stored in a readable cookie: never a secret."""
    notices = [*session.get(NOTICES_KEY, ()), [tone, text]]
    session[NOTICES_KEY] = notices[-_MAX_NOTICES:]


class Toolbox:
    """The functions and values of templates, as ``wh``."""

    iso = staticmethod(display.iso)
    utc_text = staticmethod(display.utc_text)
    date_text = staticmethod(display.date_text)
    milliseconds = staticmethod(display.milliseconds)
    pretty = staticmethod(display.pretty)
    cut = staticmethod(display.cut)
    visible = staticmethod(display.visible)
    short = staticmethod(display.short)
    percent = staticmethod(display.percent)
    count = staticmethod(display.count)
    duration = staticmethod(display.duration)
    seconds = staticmethod(display.seconds)
    decimal = staticmethod(i18n.decimal)
    shown_headers = display.SHOWN_HEADERS

    delivery_status = staticmethod(wording.delivery_status)
    state_words = staticmethod(wording.state_words)
    endpoint_status = staticmethod(wording.endpoint_status)
    endpoint_states = staticmethod(wording.endpoint_states)
    token_states = staticmethod(wording.token_states)
    outcome_status = staticmethod(wording.outcome_status)
    state_reason = staticmethod(wording.state_reason)
    error_text = staticmethod(wording.error_text)
    trigger_text = staticmethod(wording.trigger_text)
    reason_text = staticmethod(wording.reason_text)
    task_changed = staticmethod(task_wording.task_changed)
    missing_text = staticmethod(wording.missing_text)
    phase_text = staticmethod(wording.phase_text)
    token_status = staticmethod(wording.token_status)
    notification_status = staticmethod(wording.notification_status)
    stage_text = staticmethod(wording.stage_text)
    action_text = staticmethod(wording.action_text)
    changes = staticmethod(wording.changes)
    routing_status = staticmethod(wording.routing_status)
    routing_text = staticmethod(wording.routing_text)
    failed_text = staticmethod(wording.failed_text)
    held_back = staticmethod(wording.held_back)
    limited = staticmethod(wording.rate_limited)
    owed_text = staticmethod(wording.owed_text)
    held_text = staticmethod(wording.held_text)
    finding_status = staticmethod(findings.finding_status)
    finding_text = staticmethod(findings.finding_text)
    finding_advice = staticmethod(findings.finding_advice)

    task_status = staticmethod(task_wording.task_status)
    task_states = staticmethod(task_wording.task_states)
    task_kinds = staticmethod(task_wording.task_kinds)
    task_title = staticmethod(task_wording.task_title)
    task_question = staticmethod(task_wording.task_question)
    task_outcome = staticmethod(task_wording.task_outcome)
    task_stopped = staticmethod(task_wording.task_stopped)
    task_right = staticmethod(right_of)
    task_counted = staticmethod(task_wording.task_counted)
    task_progress = staticmethod(task_wording.task_progress)
    task_scope = staticmethod(task_wording.task_scope)

    outcome_chart = staticmethod(charts.outcomes)
    time_chart = staticmethod(charts.response_times)
    spark = staticmethod(charts.spark)
    split = staticmethod(charts.split)
    periods = tuple(queries.PERIODS)
    most_counted = queries.MOST_COUNTED
    limit_text = staticmethod(wording.limit_text)
    hold_text = staticmethod(wording.hold_text)
    right_text = staticmethod(wording.right_text)
    catalog_text = staticmethod(i18n.catalog_text)
    version_text = staticmethod(version_choices.version_text)

    def __init__(self, state: AppState) -> None:
        self._state = state
        self._tenant_names = BoundedTenantNames(state)
        self.product_name = state.settings.product_name
        #: The host's layout, or ``None``.
        self._portal = request.blueprint == PORTAL
        self.host_layout = None if self._portal else state.settings.base_template
        #: Whether only the part that can change is requested.
        self.fragment = is_fragment()

    @property
    def base_template(self) -> Template | str:
        """The template that page.html extends."""
        return (
            "flask_webhooks/_fragment.html"
            if self.fragment
            else template_of(self._state, for_portal=self._portal)
        )

    @property
    def language(self) -> str:
        return i18n.language()

    @property
    def direction(self) -> str:
        return i18n.direction()

    @property
    def admitted(self) -> bool:
        """Whether this person has access at all; without it, pages have no navigation."""
        return ACCESS in g

    @property
    def all_tenants(self) -> bool:
        return self.admitted and isinstance(current_access().tenant, AllTenants)

    @property
    def several_tenants(self) -> bool:
        """Whether pages have to show tenants."""
        return self.admitted and not isinstance(current_access().tenant, str)

    @property
    def tenant_options(self) -> list[tuple[str, str]]:
        """The tenants to choose from, ids with names; empty if all are in scope."""
        return [(tenant, self.tenant_name(tenant)) for tenant in current_access().tenants]

    def tenant_name(self, tenant: str) -> str:
        """Return the application's name of a tenant, or its id."""
        return self._tenant_names.name(tenant)

    @property
    def takes_tokens(self) -> bool:
        """Whether to show the page of API tokens."""
        return self._state.hooks.tokens and self.may("tokens")

    @property
    def makes_portal_links(self) -> bool:
        """Whether to show the page of portal links."""
        return self._state.settings.portal_prefix is not None and self.may("tokens")

    def may(self, action: str, endpoint: Endpoint | None = None) -> bool:
        """Return whether to show a button; the action checks the permission again."""
        return self.admitted and current_access().may(action, endpoint)

    def banners(self) -> list[banners.Banner]:
        return banners.current(current_access()) if self.admitted else []

    def notices(self) -> list[tuple[str, str]]:
        """Return the messages for this page, and remove them."""
        if NOTICES_KEY not in session:
            # Pop only if there are any: it sends the cookie again.
            return []
        return [(tone, text) for tone, text in session.pop(NOTICES_KEY)]

    def csrf_field(self) -> Markup:
        """Return the hidden field of a form, without an id, because a page has several."""
        return forms.csrf_field()

    def asset(self, name: str) -> str:
        """Return the URL of a static file, which changes with its content."""
        return url_for(".static", filename=name, v=_fingerprint(name))

    def advice(self, attempt: Attempt, format_name: str) -> str:
        """Return advice about an attempt, depending on the format of its endpoint."""
        formats = self._state.formats
        style = formats[format_name] if format_name in formats else None  # noqa: SIM401
        return advice.advice_for(attempt, style)

    def format_label(self, name: str) -> str:
        """Return the label of a format, or its name if the format no longer exists."""
        return self._state.formats[name].label if name in self._state.formats else name

    def is_unverified(self, endpoint: Endpoint) -> bool:
        """Return whether an endpoint only gets challenges."""
        return self.admitted and actions.is_unverified(current_access().state, endpoint)

    def is_signed(self, name: str) -> bool:
        return name in self._state.formats and self._state.formats[name].signed

    def secret_optional(self, name: str) -> bool:
        return name in self._state.formats and self._state.formats[name].secret_optional

    def offers(self, event_type: str) -> bool:
        """Return whether webhooks may newly subscribe to an event type."""
        return event_type in self._state.offered_types

    def event_groups(self) -> dict[str, list[str]]:
        """Return the names of the offered event types by heading."""
        groups = self._state.offered_types.groups()
        return {
            i18n.catalog_text(title): [kind.name for kind in kinds]
            for title, kinds in groups.items()
        }


@functools.cache
def _fingerprint(name: str) -> str:
    path = _STATIC / name
    if not path.is_file():
        raise NotFound("There is no static file %(name)s.", name=repr(name))
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
