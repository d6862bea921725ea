"""Conversion between the form of an endpoint and its settings."""

from __future__ import annotations

from typing import Any

from .. import actions
from ..access import Access
from ..catalog.versions import INITIAL
from ..formats.custom import Custom
from ..queries import EndpointDetail
from .format_choices import OPTIONS, sent_options
from .forms import EndpointForm


def changes_of(
    access: Access, form: EndpointForm, detail: EndpointDetail
) -> actions.EndpointChanges:
    """Return the changed settings only: unchanged values might no longer be valid."""
    endpoint = detail.endpoint
    changes = actions.EndpointChanges(
        name=form.name.data or "",
        description=form.description.data or "",
        user_agent=form.user_agent.data or "",
        contact=form.contact.data or None,
        ordered=bool(form.ordered.data),
    )
    if form.number("timeout") != endpoint.timeout:
        changes["timeout"] = form.number("timeout")
    if form.number("rate_limit") != endpoint.rate_limit:
        changes["rate_limit"] = form.number("rate_limit")
    url = (form.url.data or "").strip()
    # A secret URL is not pre-filled; an empty field keeps it.
    if url != ("" if endpoint.url_sealed is not None else endpoint.url_shown):
        changes["url"] = url
    if form.format.data and form.format.data != endpoint.format:
        changes["format"] = form.format.data
    before = dict(endpoint.options or {})
    options = _changed_options(access, form, before, reformatted="format" in changes)
    if options is not None:
        changes["options"] = options
    events = form.subscription()
    if events is None or endpoint.events is None or set(events) != set(endpoint.events):
        changes["events"] = events
    filter, refiltered = form.changed_filter(endpoint.filter)
    if refiltered:
        changes["filter"] = filter
    coalesce = form.chosen_coalescing(access.state.catalog, endpoint.coalesce)
    if coalesce != endpoint.coalesce:
        changes["coalesce"] = coalesce
    # Without versions, the form does not have this field.
    version = form.data_version.data
    if version and version != (endpoint.data_version or INITIAL):
        changes["data_version"] = version
    # The stored one is not pre-filled; an empty field keeps it.
    if form.client_certificate.data or form.remove_certificate.data:
        changes["client_certificate"] = form.client_certificate.data or None
    headers = form.custom_headers(detail.header_names or ())
    # Names that cannot be decrypted are not shown; they are kept if the form does not contain them.
    if headers or detail.header_names is not None:
        changes["headers"] = headers
    return changes


def _changed_options(
    access: Access, form: EndpointForm, before: dict[str, Any], *, reformatted: bool
) -> dict[str, Any] | None:
    """Return the options of the chosen format; ``None`` if they are unchanged."""
    names = sent_options(
        access.state.formats, form.format.data or "", access.state.settings.default_format
    )
    given = form.options(names)
    if reformatted:
        return given or None
    stored = {name: before[name] for name in names if name in before}
    if {name: str(value) for name, value in stored.items()} == {
        name: str(value) for name, value in given.items()
    }:
        return None
    # Options that the form does not have are kept.
    return {**{name: value for name, value in before.items() if name not in names}, **given}


def shown_values(detail: EndpointDetail) -> dict[str, Any]:
    """Return the values of the form for an endpoint, without its secret and values of headers."""
    endpoint = detail.endpoint
    return {
        "name": endpoint.name,
        "url": "" if endpoint.url_sealed is not None else endpoint.url_shown,
        "description": endpoint.description,
        "format": endpoint.format,
        "template": Custom.example_options["template"],
        **{name: value for name, value in (endpoint.options or {}).items() if name in OPTIONS},
        "data_version": endpoint.data_version or INITIAL,
        "user_agent": endpoint.user_agent or "",
        "contact": endpoint.contact or "",
        "timeout": "" if endpoint.timeout is None else f"{endpoint.timeout:.15g}",
        "rate_limit": "" if endpoint.rate_limit is None else f"{endpoint.rate_limit:.15g}",
        "ordered": endpoint.ordered,
        "scope": "all" if endpoint.events is None else "chosen",
        "events": endpoint.events or [],
        "headers": [{"name": name} for name in detail.header_names or ()],
    }
