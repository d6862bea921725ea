"""The forms. They read the input; `actions` validates it, as for the API and commands.

Long, since each form has its fields.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cached_property
from typing import Any, Literal

from flask import current_app, request
from flask_wtf import FlaskForm
from flask_wtf.csrf import CSRFError, generate_csrf
from markupsafe import Markup
from wtforms import (
    BooleanField,
    FieldList,
    Form,
    FormField,
    SelectMultipleField,
    StringField,
    TextAreaField,
)

from ..errors import (
    DuplicateEndpoint,
    EndpointLimitReached,
    InvalidData,
    InvalidFilter,
    InvalidHeader,
    InvalidInput,
    InvalidSecret,
    WebhooksError,
)
from ..security.headers import MAX_HEADERS
from .coalescing_fields import CoalescingFields, FaultyRule
from .filter_fields import FilterFields
from .i18n import gettext as _
from .i18n import translated

#: Empty rows for more headers.
_SPARE_ROWS = 2


def csrf_is_checked() -> bool:
    """Return whether tokens are checked: always, except in tests of a host that disable it.

    A setting for the host's forms must not affect ours.
    """
    return not current_app.testing or bool(current_app.config.get("WTF_CSRF_ENABLED", True))


def csrf_field() -> Markup:
    """Return a hidden field with the token."""
    name = current_app.config.get("WTF_CSRF_FIELD_NAME", "csrf_token")
    return Markup('<input type="hidden" name="{}" value="{}">').format(name, generate_csrf())


class WebhooksForm(FlaskForm):  # type: ignore[misc]
    """Base of our forms, which are always protected against CSRF."""

    class Meta(FlaskForm.Meta):  # type: ignore[misc]
        @cached_property
        def csrf(self) -> bool:
            return csrf_is_checked()

        def wrap_formdata(self, form: Any, formdata: Any) -> Any:
            # Without Flask-WTF's handling of JSON bodies and files.
            return request.form if request.method == "POST" else None

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        #: Messages by field name, in display order; ``""`` for messages without a single field.
        self.problems: dict[str, str] = {}

    def check_csrf(self) -> None:
        """:raises CSRFError: the token is missing, stale or that of another session."""
        if not self.validate():
            for message in self.errors.get(self.meta.csrf_field_name, ()):
                raise CSRFError(str(message))

    def refuse(self, error: WebhooksError) -> None:
        """Show all errors, each next to its field."""
        for each in error.errors if isinstance(error, InvalidInput) else (error,):
            self.add_problem(self.place_of(each), translated(each.text))

    def place_of(self, error: WebhooksError) -> str:
        """Return the name of the invalid field; empty if this form does not have it."""
        name = error.field if isinstance(error, InvalidInput) else None
        return name if name is not None and name in self else ""

    def add_problem(self, name: str, message: str) -> None:
        before = self.problems.get(name)
        self.problems[name] = message if before is None else f"{before} {message}"


class ConfirmForm(WebhooksForm):
    """A button that changes something."""


class PauseForm(WebhooksForm):
    """Pause an endpoint."""

    reason = StringField()


class ResumeForm(WebhooksForm):
    """Resume an endpoint."""

    #: Of `actions.switches.HELD_CHOICES`.
    held = StringField(default="send")


class SecretForm(WebhooksForm):
    """The fields of a form for the secret."""

    #: ``secret``, ``key_pair`` or ``none``.
    signing = StringField(default="secret")
    secret = StringField()
    once = StringField()

    @property
    def key_pair(self) -> bool:
        return bool(self.signing.data == "key_pair")

    def chosen_secret(self) -> str | Literal[False] | None:
        """Return the entered secret; ``None`` for a new one, ``False`` for none.

        :raises InvalidSecret: a secret was entered, but no secret was chosen.
        """
        own: str | None = self.secret.data or None
        if self.signing.data != "none":
            return own
        if own is not None:
            raise InvalidSecret("Empty this field, or choose to sign by a secret.")
        return False

    def refuse(self, error: WebhooksError) -> None:
        super().refuse(error)
        if self.secret.data and "secret" not in self.problems:
            # It would silently be replaced by a generated one.
            self.add_problem("secret", _("Enter the secret again: pages never repeat it."))


class RotateForm(SecretForm):
    """Give an endpoint a new secret."""

    overlap_seconds = StringField(default="86400")
    label = StringField()

    def overlap(self) -> Any:
        """Return a number, or an invalid text unchanged, which `actions` refuses."""
        return _number(self.overlap_seconds.data or "")


class DebuggerForm(WebhooksForm):
    """A request for the signature debugger."""

    headers = TextAreaField()
    body = TextAreaField()


class SampleForm(WebhooksForm):
    """Send a test event."""

    event_type = StringField()
    sample = TextAreaField()
    data_version = StringField()
    #: Show the example of the type instead of sending.
    load = BooleanField()

    def place_of(self, error: WebhooksError) -> str:
        return "sample" if isinstance(error, InvalidData) else super().place_of(error)

    def sample_data(self) -> dict[str, Any] | None:
        """Return the data to send; ``None`` for the example of the event type.

        :raises InvalidData: it is not a JSON object.
        """
        text = (self.sample.data or "").strip()
        if not text:
            return None
        try:
            value = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise InvalidData("This is not JSON: %(why)s", why=str(error)) from None
        if not isinstance(value, dict):
            raise InvalidData('Write a JSON object, such as {"license_id": "lic_1"}.')
        return value


class HeaderForm(Form):
    """One custom header, a row of `EndpointForm`."""

    name = StringField()
    #: Never pre-filled: stored values are secrets.
    value = StringField()
    remove = BooleanField()


class EndpointForm(FilterFields, CoalescingFields, SecretForm):
    """A new endpoint, or the settings of one."""

    name = StringField()
    url = StringField()
    description = TextAreaField()
    tenant = StringField()
    format = StringField()
    # Options of formats, named as in `Format.check_options`.
    template = TextAreaField()
    source = StringField()
    chat_id = StringField()
    message_thread_id = StringField()
    show_keys = BooleanField()
    #: Preview the template with this event type instead of saving.
    preview = BooleanField()
    preview_type = StringField()
    data_version = StringField()
    user_agent = StringField()
    contact = StringField()
    client_certificate = TextAreaField()
    remove_certificate = BooleanField()
    timeout = StringField()
    rate_limit = StringField()
    ordered = BooleanField()
    paused = BooleanField()
    #: Send a test, and nothing else until one has succeeded.
    test_first = BooleanField()
    #: Shown after the endpoint was refused because it equals another.
    allow_duplicate = BooleanField()
    #: ``all`` or ``chosen``.
    scope = StringField(default="all")
    events = SelectMultipleField(choices=[], validate_choice=False)
    headers = FieldList(FormField(HeaderForm), max_entries=MAX_HEADERS + 2 * _SPARE_ROWS)
    more_headers = BooleanField()

    def refuse(self, error: WebhooksError) -> None:
        super().refuse(error)
        if self.client_certificate.data and "client_certificate" not in self.problems:
            self.add_problem(
                "client_certificate",
                _("Enter the certificate and its key again: pages never repeat them."),
            )

    def add_header_rows(self) -> None:
        """Add empty rows at the end."""
        for _row in range(_SPARE_ROWS):
            if len(self.headers) < MAX_HEADERS + _SPARE_ROWS:
                self.headers.append_entry()

    def subscription(self) -> list[str] | None:
        """Return the chosen event types; ``None`` for all."""
        return None if self.scope.data == "all" else list(self.events.data or ())

    def options(self, names: Iterable[str]) -> dict[str, Any]:
        """Return the options of a format that are not empty."""
        found: dict[str, Any] = {}
        for name in names:
            value = self[name].data
            if isinstance(value, str):
                # Browsers send the line breaks of a text area as CR LF.
                value = value.replace("\r\n", "\n").strip()
            if value:
                found[name] = value
        return found

    def number(self, name: str) -> Any:
        """Return a number; ``None`` for an empty field, and an invalid text unchanged, which `actions` refuses."""
        text = (self[name].data or "").strip()
        return _number(text) if text else None

    def place_of(self, error: WebhooksError) -> str:
        if isinstance(error, InvalidHeader) and error.header is not None:
            # If a name occurs twice, the second one is invalid.
            for row in reversed(list(self.headers)):
                if (row.form.name.data or "").strip() == error.header and not _is_empty(row):
                    return str(row.form[error.part].name)
        if isinstance(error, EndpointLimitReached) and (self.tenant.data or "").strip():
            return "tenant"
        if isinstance(error, DuplicateEndpoint):
            return "allow_duplicate"
        if isinstance(error, InvalidFilter):
            return self.place_in_filter(error)
        if isinstance(error, FaultyRule):
            return self.place_in_coalescing(error)
        return super().place_of(error)

    def custom_headers(self, stored: tuple[str, ...] = ()) -> list[tuple[str, str | None]]:
        """Return names and values; ``None`` keeps the stored value.

        :param stored: names of the headers that the endpoint has.
        """
        known = {name.lower() for name in stored}
        headers: list[tuple[str, str | None]] = []
        for row in self.headers:
            if row.form.remove.data or _is_empty(row):
                continue
            name, value = (row.form.name.data or "").strip(), row.form.value.data or ""
            headers.append((name, None if not value and name.lower() in known else value))
        return headers


def _is_empty(row: Any) -> bool:
    return not ((row.form.name.data or "").strip() or row.form.value.data)


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not allowed")
