"""The exceptions of Flask-Webhooks.

::

    WebhooksError
    ├── ConfigurationError (ValueError)      a setting of the application
    │   └── InvalidEventType                 an event type that the application declares
    ├── InvalidInput (ValueError)            something that a person or a caller gave us: .field, .errors
    │   ├── UnknownEventType
    │   ├── InvalidData                      .path
    │   ├── InvalidSubscription
    │   ├── InvalidURL
    │   │   └── BlockedAddress               .address, .reason
    │   ├── InvalidHeader                    .header, .part
    │   ├── InvalidSecret
    │   ├── InvalidFilter                    .path
    │   ├── InvalidEndpoint
    │   └── InvalidCursor
    ├── EndpointLimitReached                 .limit
    ├── DuplicateEndpoint                    .endpoint_id
    ├── SendLimitReached                     .limit, .retry_after
    ├── InvalidTransition                    .state
    ├── NotFound (LookupError)
    ├── Forbidden
    ├── TokenLimitReached                    .limit
    ├── InvalidToken
    ├── CursorExpired
    ├── UnreadableSecret
    ├── ConversionFailed                     the host's `@webhooks.version`
    ├── ContactRefused                       raised by the host's `@webhooks.notify`
    ├── DatabaseError
    └── VerificationError                    a webhook that was received
        ├── MissingHeader                    .header
        ├── MalformedSignature               .header
        ├── TimestampTooOld                  .seconds
        ├── TimestampTooNew                  .seconds
        └── NoMatchingSignature
            └── BodyReserialised

Messages are written for the person who has to act on them: they say what to write or do instead. An
exception raised without a message shows the first paragraph of its docstring. All survive pickling.

The values of a message are passed separately, so that pages can translate it:
``InvalidSecret("%(format)s needs a secret.", format="Discord")``; see `texts.Text`.

Long, since all exceptions are in one place.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import TracebackType
from typing import ClassVar, ParamSpec, TypeVar

from .texts import Text

P = ParamSpec("P")
R = TypeVar("R")


class WebhooksError(Exception):
    """Flask-Webhooks could not complete the request."""

    def __init__(self, message: str | None = None, **values: object) -> None:
        if not isinstance(message, Text):
            message = Text(message or _meaning(type(self)), **values)
        super().__init__(message)

    @property
    def text(self) -> Text:
        """The message with its template and values, for translation."""
        text: Text = self.args[0]
        return text

    @property
    def message(self) -> str:
        """The text without the exception's name."""
        return str(self)

    @property
    def whole_message(self) -> str:
        """The text with the messages of all errors, if there are several."""
        return self.message


class ConfigurationError(WebhooksError, ValueError):
    """A setting of the application is missing or malformed."""


class InvalidEventType(ConfigurationError):
    """An event type that the application declares has a bad name, schema or example."""


class InvalidInput(WebhooksError, ValueError):
    """A value is invalid.

    :ivar field: the invalid form field or API member (``url``, ``events`` …), or ``None``.
    :ivar errors: all errors, each with its own field; this error is the first of them.
    """

    #: The field of instances that do not name one.
    default_field: ClassVar[str | None] = None

    def __init__(
        self, message: str | None = None, *, field: str | None = None, **values: object
    ) -> None:
        super().__init__(message, **values)
        self.field: str | None = self.default_field if field is None else field
        self._others: tuple[InvalidInput, ...] = ()

    @property
    def errors(self) -> tuple[InvalidInput, ...]:
        return (self, *self._others)

    @property
    def whole_message(self) -> str:
        return " ".join(dict.fromkeys(error.message for error in self.errors))


class UnknownEventType(InvalidInput):
    """The catalogue has no event type of this name."""

    default_field = "event_type"


class InvalidData(InvalidInput):
    """The data of an event contains a value that JSON cannot represent.

    :ivar path: its location, such as ``data.user.avatar`` or ``data.items[2]``.
    """

    default_field = "data"

    def __init__(
        self,
        message: str | None = None,
        *,
        path: str = "data",
        field: str | None = None,
        **values: object,
    ) -> None:
        super().__init__(message, field=field, **values)
        self.path = path


class InvalidSubscription(InvalidInput):
    """The list of event types of an endpoint is malformed or names an unknown one."""

    default_field = "events"


class InvalidURL(InvalidInput):
    """This is not a URL that webhooks can be sent to."""

    default_field = "url"


class BlockedAddress(InvalidURL):
    """The network policy forbids connections to this address.

    :ivar address: the concrete address, ``10.0.0.7``; empty when a name was refused unresolved.
    :ivar reason: why it is forbidden, ``private network``.
    """

    def __init__(
        self,
        message: str | None = None,
        *,
        address: str = "",
        reason: str = "",
        field: str | None = None,
        **values: object,
    ) -> None:
        super().__init__(message, field=field, **values)
        self.address = address
        self.reason = reason


class InvalidHeader(InvalidInput):
    """A custom header has a malformed name or value, or one that Flask-Webhooks sets itself.

    :ivar header: its name, or ``None`` if the error is not about a single header.
    :ivar part: the invalid part, ``name`` or ``value``.
    """

    default_field = "headers"

    def __init__(
        self,
        message: str | None = None,
        *,
        header: str | None = None,
        part: str = "name",
        field: str | None = None,
        **values: object,
    ) -> None:
        super().__init__(message, field=field, **values)
        self.header = header
        self.part = part


class InvalidSecret(InvalidInput):
    """A signing secret is too short, too long or malformed for the format of its endpoint."""

    default_field = "secret"


class InvalidFilter(InvalidInput):
    """The filter of an endpoint is malformed or too large.

    :ivar path: the location of the error, such as ``filter.data.amount.$gte``.
    """

    default_field = "filter"

    def __init__(
        self,
        message: str | None = None,
        *,
        path: str = "filter",
        field: str | None = None,
        **values: object,
    ) -> None:
        super().__init__(message, field=field, **values)
        self.path = path


class InvalidEndpoint(InvalidInput):
    """The settings of an endpoint are malformed or contradict each other."""


class InvalidCursor(InvalidInput):
    """The cursor of a pull is malformed, or was issued for other events."""

    default_field = "after"


class EndpointLimitReached(WebhooksError):
    """The tenant already has as many endpoints as ``WEBHOOKS_MAX_ENDPOINTS`` allows.

    :ivar limit: that number, or ``None`` when it was not given.
    """

    def __init__(
        self, message: str | None = None, *, limit: int | None = None, **values: object
    ) -> None:
        super().__init__(message, **values)
        self.limit = limit


class DuplicateEndpoint(WebhooksError):
    """The tenant already has an endpoint with the same URL, format and event types.

    :ivar endpoint_id: of that one, or ``None`` when it was not given.
    """

    def __init__(
        self, message: str | None = None, *, endpoint_id: str | None = None, **values: object
    ) -> None:
        super().__init__(message, **values)
        self.endpoint_id = endpoint_id


class SendLimitReached(WebhooksError):
    """The tenant has reached its limit of tests and resends per hour, or of resent data per day.

    :ivar limit: how many, or how many bytes, or ``None`` when it was not given.
    :ivar retry_after: seconds until there is room again.
    """

    def __init__(
        self,
        message: str | None = None,
        *,
        limit: int | None = None,
        retry_after: int | None = None,
        **values: object,
    ) -> None:
        super().__init__(message, **values)
        self.limit = limit
        self.retry_after = retry_after


class InvalidTransition(WebhooksError):
    """The state of this delivery or endpoint does not allow this.

    :ivar state: the state that it is in, or ``None`` when it was not given.
    """

    def __init__(
        self, message: str | None = None, *, state: str | None = None, **values: object
    ) -> None:
        super().__init__(message, **values)
        self.state = state


class NotFound(WebhooksError, LookupError):
    """There is no such endpoint, event, delivery or attempt, or it belongs to another tenant."""


class Forbidden(WebhooksError):
    """The application's ``authorize`` function does not allow this."""


class TokenLimitReached(WebhooksError):
    """The tenant already has as many API tokens as ``WEBHOOKS_MAX_TOKENS`` allows.

    :ivar limit: that number, or ``None`` when it was not given.
    """

    def __init__(
        self, message: str | None = None, *, limit: int | None = None, **values: object
    ) -> None:
        super().__init__(message, **values)
        self.limit = limit


class InvalidToken(WebhooksError):
    """The API token is unknown, expired, revoked or malformed."""


class CursorExpired(WebhooksError):
    """The cursor of a pull is older than the retention period: events after it may have been removed."""


class UnreadableSecret(WebhooksError):
    """An encrypted value cannot be decrypted with the configured keys."""


class ConversionFailed(WebhooksError):
    """A function of the application cannot turn the data of an event into that of an earlier version."""


class ContactRefused(WebhooksError):
    """The contact of an endpoint cannot be reached and is not retried.

    For the application's function of `@webhooks.notify` to raise.
    """


class DatabaseError(WebhooksError):
    """The database does not respond, or refused the statement."""


class VerificationError(WebhooksError):
    """A received webhook could not be verified or parsed."""


class MissingHeader(VerificationError):
    """A header of the signature is missing.

    :ivar header: its name.
    """

    def __init__(self, message: str | None = None, *, header: str = "") -> None:
        super().__init__(message)
        self.header = header


class MalformedSignature(VerificationError):
    """A header of the signature is malformed.

    :ivar header: its name.
    """

    def __init__(self, message: str | None = None, *, header: str = "") -> None:
        super().__init__(message)
        self.header = header


class TimestampTooOld(VerificationError):
    """The webhook was sent longer ago than is tolerated: it is late, or it was replayed.

    :ivar seconds: how long ago, by the clock of this machine.
    """

    def __init__(self, message: str | None = None, *, seconds: float = 0.0) -> None:
        super().__init__(message)
        self.seconds = seconds


class TimestampTooNew(VerificationError):
    """The webhook was sent further in the future than is tolerated: a clock is wrong.

    :ivar seconds: how far, by the clock of this machine.
    """

    def __init__(self, message: str | None = None, *, seconds: float = 0.0) -> None:
        super().__init__(message)
        self.seconds = seconds


class NoMatchingSignature(VerificationError):
    """No signature of the webhook was made by any of the secrets over this body."""


class BodyReserialised(NoMatchingSignature):
    """The body is not the one that was sent: it was parsed and re-serialised before it was verified."""


class Faults:
    """Collects the errors of several values, to report all of them together.

    Each value is checked by `check`, or in a ``with`` block; `finish` then raises the errors.
    """

    def __init__(self) -> None:
        self.found: list[InvalidInput] = []

    def check(self, check: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | None:
        """Return the result of a check; after an error, record it and return ``None``."""
        with self:
            return check(*args, **kwargs)
        return None

    def __enter__(self) -> None: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if not isinstance(error, InvalidInput):
            return False
        known = {(other.field, other.message) for other in self.found}
        self.found += [each for each in error.errors if (each.field, each.message) not in known]
        return True

    def finish(self) -> None:
        """Raise if there are errors.

        :raises InvalidInput: the first error; its `errors` are all of them.
        """
        if self.found:
            first, *others = self.found
            first._others = tuple(others)
            raise first


def _meaning(error: type[WebhooksError]) -> str:
    """Return the first paragraph of the docstring, or the name if ``python -OO`` has removed it."""
    paragraph = (inspect.getdoc(error) or error.__name__).partition("\n\n")[0]
    return " ".join(paragraph.split())
