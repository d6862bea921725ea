"""The result of a change of an endpoint, computed before anything is written."""

from __future__ import annotations

from typing import Any

from ..app_state import AppState
from ..delivery.echo import ANY_TEST
from ..errors import (
    Faults,
    InvalidEndpoint,
    InvalidHeader,
    InvalidSecret,
    InvalidURL,
    UnreadableSecret,
)
from ..filters.coalescing import check_coalescing
from ..filters.notation import check_event_filter
from ..formats import Format
from ..models import Endpoint
from ..security.client_certificates import check_client_certificate
from ..security.vault import Sealed
from ..texts import Text
from . import checks, exposure
from .challenges import TO_COME, must_echo
from .settings import ChangedHeaders, EndpointChanges


class Revision:
    """The result of a change of an endpoint.

    :param knows_secrets: the caller may change the secret, and so may send secret values to another URL.
    """

    def __init__(self, state: AppState, endpoint: Endpoint, *, knows_secrets: bool) -> None:
        self.state = state
        self.endpoint = endpoint
        self.knows_secrets = knows_secrets
        #: Requests will go to another URL, including another path: on a shared host it may belong to another
        #: customer.
        self.moved = False
        #: New values by column.
        self.values: dict[str, Any] = {}
        #: For the audit log: ``{"name": ["old", "new"]}``.
        self.differences: dict[str, Any] = {}
        #: Requests will differ so much that earlier failures are irrelevant.
        self.fresh_start = False

    def apply(self, changes: EndpointChanges) -> None:
        """Check every change.

        :raises InvalidInput: a change is invalid; `errors` has all errors.
        """
        state = self.state
        faults = Faults()
        # In the order of the form.
        if changes.keys() & {"url", "format", "options"}:
            with faults:
                self._retarget(changes)
        if "name" in changes:
            with faults:
                most = checks.MAX_NAME_LENGTH
                self._set("name", checks.one_line(changes["name"], "name", Text("name"), most))
        if "description" in changes:
            given, most = changes["description"], checks.MAX_DESCRIPTION_LENGTH
            with faults:
                text = checks.text(given, "description", Text("description"), most)
                self._set("description", text)
        if "contact" in changes:
            with faults:
                self._set("contact", checks.contact(changes["contact"]))
        if "events" in changes:
            with faults:
                events = checks.events(
                    state, changes["events"], changes.get("dialect"), self.endpoint.events
                )
                self._set("events", events)
        if "filter" in changes:
            with faults:
                self._set("filter", check_event_filter(changes["filter"]))
        if "coalesce" in changes:
            with faults:
                rules = check_coalescing(changes["coalesce"], state.catalog, self.endpoint.coalesce)
                self._set("coalesce", rules)
        if "data_version" in changes:
            with faults:
                kept = self.endpoint.data_version
                version = state.catalog.versions.check(changes["data_version"], kept)
                self._set("data_version", version)
        if "user_agent" in changes:
            with faults:
                self._set("user_agent", checks.user_agent(changes["user_agent"]))
        if "headers" in changes:
            with faults:
                self._set_headers(changes["headers"])
        elif self.moved:
            with faults:
                stored = checks.stored_headers(state, self.endpoint.headers_sealed)
                self._check_kept(list(stored or ()))
        if "client_certificate" in changes:
            with faults:
                self._set_certificate(changes["client_certificate"])
        if "rate_limit" in changes:
            with faults:
                self._set("rate_limit", checks.rate_limit(changes["rate_limit"]))
        if "timeout" in changes:
            with faults:
                self._set("timeout", checks.timeout(state, changes["timeout"]))
        if "ordered" in changes:
            with faults:
                self._set("ordered", checks.ordered(changes["ordered"]))
        faults.finish()

    def _set(self, name: str, value: Any) -> None:
        before = getattr(self.endpoint, name)
        if value != before:
            self.values[name] = value
            self.differences[name] = [before, value]

    def _set_headers(self, given: ChangedHeaders | None) -> None:
        stored = self.endpoint.headers_sealed
        before = checks.stored_headers(self.state, stored)
        self._check_kept(exposure.kept_headers(given, before or {}))
        after = checks.headers(self.state, given, stored)
        if after != before:
            self.values["headers_sealed"] = seal(self.state, after)
            # Names only: values are secrets.
            self.differences["headers"] = [list(before or ()), list(after)]
            self.fresh_start |= before is None

    def _set_certificate(self, given: str | None) -> None:
        before = self.endpoint.client_certificate
        after = check_client_certificate(given)
        if after is None and before is None:
            return
        self.values["certificate_sealed"] = seal(self.state, after and after.stored())
        self.values["client_certificate"] = after and after.shown
        self.differences["client_certificate"] = [
            before and before["fingerprint"],
            after and after.shown["fingerprint"],
        ]
        self.fresh_start = True

    def _check_kept(self, names: list[str]) -> None:
        if not names or not self.moved or self.knows_secrets:
            return
        raise InvalidHeader(
            "The URL changes: enter the values of %(names)s again, or remove them. Only users who may change the "
            "secret can send stored values to another URL.",
            names=", ".join(names),
            header=names[0],
            part="value",
        )

    def _retarget(self, changes: EndpointChanges) -> None:
        try:
            before = checks.whole_url(self.state, self.endpoint)
        except UnreadableSecret:
            before = None
        if "url" in changes:
            url = checks.url(self.state, changes["url"])
        elif before is None:
            raise InvalidURL("Enter the URL again: the stored one can no longer be decrypted.")
        else:
            url = before
        if "format" in changes:
            wire = checks.wire_format(self.state, changes["format"], url, self.endpoint.format)
        else:
            wire = self.state.formats[self.endpoint.format]
        reformatted = wire.name != self.endpoint.format
        if reformatted:
            self._check_url_stays(changes)
            self._check_secrets_fit(wire)
            self._set("format", wire.name)
        # Options of another format have no meaning for this one.
        kept = None if reformatted else self.endpoint.options
        options = checks.options(wire, changes.get("options", kept), url)
        self._set("options", options)
        self.moved = url != before
        if self.endpoint.secrets_sealed is not None and (reformatted or self.moved):
            self._check_secrets_stay(wire, options or {}, url, reformatted)
        if url == before and not reformatted:
            return
        self.fresh_start = True
        # Not in the audit log: the URL already is, and a digest is meaningless to readers.
        self.values["bucket"] = checks.bucket(wire, url, self.endpoint.tenant)
        if must_echo(self.state, wire, url):
            self.values["challenge"] = TO_COME
        elif self.endpoint.challenge not in (None, ANY_TEST):
            self.values["challenge"] = None
        shown, sealed = checks.sealed_url(self.state, wire, url)
        self.values |= {"url_shown": shown, "url_sealed": sealed}
        if url != before:
            self.differences["url"] = [self.endpoint.url_shown, shown]

    def _check_url_stays(self, changes: EndpointChanges) -> None:
        # Formats mask different parts of a URL, and some mask nothing.
        if self.endpoint.url_sealed is not None and "url" not in changes and not self.knows_secrets:
            raise InvalidURL(
                "Enter the URL again: the new format may show parts of it that this one masks."
            )

    def _check_secrets_stay(
        self, wire: Format, options: dict[str, Any], url: str, reformatted: bool
    ) -> None:
        if not exposure.shows_secret(self.state, wire, options, url):
            return
        if reformatted:
            raise InvalidEndpoint(
                "%(format)s sends the secret itself with every request, which would reveal the secret of this "
                "endpoint: add another endpoint in that format.",
                format=wire.label,
                field="format",
            )
        if not self.knows_secrets:
            raise InvalidURL(
                "%(format)s sends the secret itself with every request, and only users who may change the secret can "
                "send it to another URL: add another endpoint.",
                format=wire.label,
            )

    def _check_secrets_fit(self, wire: Format) -> None:
        if not wire.signed:
            return
        misfit = InvalidEndpoint(
            "The secret of this endpoint does not fit %(format)s: add another endpoint in that "
            "format.",
            format=wire.label,
            field="format",
        )
        if self.endpoint.secrets_sealed is None:
            if wire.secret_optional:
                return
            raise misfit
        try:
            for item in self.state.vault.decrypt(self.endpoint.secrets_sealed):
                wire.check_secret(item["secret"])
        except (InvalidSecret, UnreadableSecret):
            raise misfit from None


def stored_secret(secret: str, now: float, label: str | None = None) -> dict[str, Any]:
    """Return the stored form of a new secret.

    :param now: Unix seconds.
    :param label: for people; omitted if empty.
    """
    named = {"label": label} if label else {}
    return {"secret": secret, "expires_at": None, "created_at": now, **named}


def seal(state: AppState, value: Any) -> Sealed | None:
    """Encrypt a value, unless it is empty."""
    return state.vault.encrypt(value) if value else None
