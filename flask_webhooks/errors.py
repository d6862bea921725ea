"""Every exception that Flask-Webhooks raises on purpose.

::

    WebhooksError
    ├── ConfigurationError (ValueError)      a setting of the application
    │   └── InvalidEventType                 an event type that the application declares
    ├── InvalidInput (ValueError)            something that a person or a caller gave us
    │   ├── UnknownEventType
    │   ├── InvalidData                      .path
    │   ├── InvalidSubscription
    │   ├── InvalidURL
    │   │   └── BlockedAddress               .address, .reason
    │   ├── InvalidHeader
    │   ├── InvalidSecret
    │   └── InvalidEndpoint
    ├── EndpointLimitReached                 .limit
    ├── InvalidTransition                    .state
    ├── NotFound (LookupError)
    ├── Forbidden
    ├── UnreadableSecret
    └── VerificationError                    a webhook that was received
        ├── MissingHeader                    .header
        ├── MalformedSignature               .header
        ├── TimestampTooOld                  .seconds
        ├── TimestampTooNew                  .seconds
        └── NoMatchingSignature
            └── BodyReserialised

Messages are written for whoever has to act on them: they say what to write or do instead. An
exception raised without a message shows the first paragraph of its docstring. All survive pickling.
"""

from __future__ import annotations

import inspect
from typing import ClassVar


class WebhooksError(Exception):
    """Flask-Webhooks could not do what was asked."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or _meaning(type(self)))

    @property
    def message(self) -> str:
        """The text for the person who has to act on it, without the exception's name."""
        return str(self)


class ConfigurationError(WebhooksError, ValueError):
    """A setting of the application is missing or malformed."""


class InvalidEventType(ConfigurationError):
    """An event type that the application declares has a bad name, schema or example."""


class InvalidInput(WebhooksError, ValueError):
    """A value that was given cannot be accepted.

    :ivar field: the form field or API member at fault (``url``, ``events`` …), or ``None`` when the
        fault is not in any single one.
    """

    #: The field of instances that do not name one.
    default_field: ClassVar[str | None] = None

    def __init__(self, message: str | None = None, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field: str | None = self.default_field if field is None else field


class UnknownEventType(InvalidInput):
    """The catalogue has no event type of this name."""

    default_field = "event_type"


class InvalidData(InvalidInput):
    """The data of an event holds a value that has no JSON form.

    :ivar path: where it stands, written like ``data.user.avatar`` or ``data.items[2]``.
    """

    default_field = "data"

    def __init__(
        self, message: str | None = None, *, path: str = "data", field: str | None = None
    ) -> None:
        super().__init__(message, field=field)
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
    ) -> None:
        super().__init__(message, field=field)
        self.address = address
        self.reason = reason


class InvalidHeader(InvalidInput):
    """A custom header has a malformed name or value, or one that Flask-Webhooks sets itself."""

    default_field = "headers"


class InvalidSecret(InvalidInput):
    """A signing secret is too short, too long or malformed for the format of its endpoint."""

    default_field = "secret"


class InvalidEndpoint(InvalidInput):
    """The settings of an endpoint are malformed or contradict each other."""


class EndpointLimitReached(WebhooksError):
    """The tenant already has as many endpoints as ``WEBHOOKS_MAX_ENDPOINTS`` allows.

    :ivar limit: that number, or ``None`` when whoever raised it did not say.
    """

    def __init__(self, message: str | None = None, *, limit: int | None = None) -> None:
        super().__init__(message)
        self.limit = limit


class InvalidTransition(WebhooksError):
    """The state of this delivery or endpoint does not allow that.

    :ivar state: the state that it is in, or ``None`` when whoever raised it did not say.
    """

    def __init__(self, message: str | None = None, *, state: str | None = None) -> None:
        super().__init__(message)
        self.state = state


class NotFound(WebhooksError, LookupError):
    """There is no such endpoint, event, delivery or attempt, or it belongs to another tenant."""


class Forbidden(WebhooksError):
    """The application's ``authorize`` function does not allow this."""


class UnreadableSecret(WebhooksError):
    """An encrypted value cannot be decrypted with the keys that are configured."""


class VerificationError(WebhooksError):
    """A webhook that was received is not what it says it is, or cannot be read."""


class MissingHeader(VerificationError):
    """A header of the signature is not there.

    :ivar header: its name.
    """

    def __init__(self, message: str | None = None, *, header: str = "") -> None:
        super().__init__(message)
        self.header = header


class MalformedSignature(VerificationError):
    """A header of the signature is not written as its format asks for.

    :ivar header: its name.
    """

    def __init__(self, message: str | None = None, *, header: str = "") -> None:
        super().__init__(message)
        self.header = header


class TimestampTooOld(VerificationError):
    """The webhook was sent longer ago than is tolerated: it is late, or somebody sends it a second time.

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
    """The body is not the one that was sent: it was parsed and written again before it was verified."""


def _meaning(error: type[WebhooksError]) -> str:
    """The first paragraph of the docstring, or the name where ``python -OO`` stripped it."""
    paragraph = (inspect.getdoc(error) or error.__name__).partition("\n\n")[0]
    return " ".join(paragraph.split())
