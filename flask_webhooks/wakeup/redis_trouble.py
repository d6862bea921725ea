"""Problems with Redis: no response, or an error; and what an operator can do."""

from __future__ import annotations

import enum
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

from redis import exceptions

from ..log import without_stop
from ..texts import Text


class TroubleKind(enum.Enum):
    """The kinds of problems, with the texts for pages and logs."""

    SILENT = (
        Text("Redis does not respond."),
        Text(
            "Nothing is lost: events, tests and resends are saved, and are sent when Redis is back. Running workers "
            "only check for work occasionally."
        ),
    )
    TLS = (
        Text("The encrypted connection to Redis fails."),
        Text(
            "If its certificate is not trusted, name the authority in WEBHOOKS_REDIS_URL: "
            "rediss://…?ssl_ca_certs=/path/to/ca.pem"
        ),
    )
    LOGIN = (
        Text("Redis refuses the user name or the password."),
        Text("Correct them in WEBHOOKS_REDIS_URL; special characters are percent-encoded."),
    )
    RIGHTS = (
        Text("The Redis user lacks a permission."),
        Text("Grant it with ACL SETUSER. The page “Move Redis, or share one” lists them all."),
    )
    CLUSTER = (
        Text("Redis runs as a cluster, and the keys are in several slots."),
        Text(
            "Use a Redis without cluster mode, or set RQ_KEY_PREFIX={rq} for the web processes and the workers, and "
            "name the node of that slot in WEBHOOKS_REDIS_URL."
        ),
    )
    REPLICA = (
        Text("Redis is a read-only replica."),
        Text("Name the primary in WEBHOOKS_REDIS_URL."),
    )
    MEMORY = (
        Text("Redis is out of memory."),
        Text("Raise maxmemory of Redis, or remove data from it."),
    )
    DATABASE = (
        Text("Redis has no such database."),
        Text("Write another number at the end of WEBHOOKS_REDIS_URL; a cluster has only 0."),
    )
    KEY = (
        Text("Another program uses one of our keys in Redis."),
        Text(
            "Delete that key, or use another database number in WEBHOOKS_REDIS_URL, or another WEBHOOKS_QUEUE."
        ),
    )
    REFUSED = (
        Text("Redis refuses the command."),
        Text("See its message, and its log."),
    )

    def __init__(self, title: Text, advice: Text) -> None:
        self.title = title
        self.advice = advice


@dataclass(frozen=True, slots=True)
class RedisTrouble:
    """One failure: its kind, and the message without a full stop."""

    kind: TroubleKind
    cause: str

    @property
    def answered(self) -> bool:
        """Whether Redis could be reached."""
        return self.kind is not TroubleKind.SILENT

    def __str__(self) -> str:
        """Return a text for logs and commands."""
        if not self.answered:
            return f"Redis does not respond: {self.cause}"
        return f"{without_stop(self.kind.title)}: {self.cause}. {without_stop(self.kind.advice)}"


#: The first match counts: several of these classes are subclasses of later ones.
_KINDS: tuple[tuple[type[Exception], TroubleKind], ...] = (
    (exceptions.BusyLoadingError, TroubleKind.SILENT),
    (exceptions.MaxConnectionsError, TroubleKind.SILENT),
    (exceptions.AuthenticationError, TroubleKind.LOGIN),
    (exceptions.NoPermissionError, TroubleKind.RIGHTS),
    (exceptions.AuthorizationError, TroubleKind.RIGHTS),
    (exceptions.MasterDownError, TroubleKind.REPLICA),
    (exceptions.ReadOnlyError, TroubleKind.REPLICA),
    (exceptions.AskError, TroubleKind.CLUSTER),
    (exceptions.ClusterCrossSlotError, TroubleKind.CLUSTER),
    (exceptions.ClusterError, TroubleKind.CLUSTER),
    (exceptions.OutOfMemoryError, TroubleKind.MEMORY),
)
#: Errors without a class in redis-py.
_WORDINGS = (
    ("NOAUTH", TroubleKind.LOGIN),
    ("DB index is out of range", TroubleKind.DATABASE),
    ("SELECT is not allowed", TroubleKind.DATABASE),
    ("WRONGTYPE", TroubleKind.KEY),
    # Refused within a script; Redis 6 embeds the response in its message about the script.
    ("-OOM ", TroubleKind.MEMORY),
    ("-READONLY ", TroubleKind.REPLICA),
    ("-NOPERM ", TroubleKind.RIGHTS),
    ("can't run this command", TroubleKind.RIGHTS),
    ("can't access at least one of the keys", TroubleKind.RIGHTS),
    ("non local key in a cluster", TroubleKind.CLUSTER),
)
#: redis-py quotes the command, whose arguments may be long and must not be logged; its first key may help.
_OF_PIPELINE = re.compile(
    r"Command # \d+ \((\S+) ?(\S*).*?\) of pipeline caused error: ", re.DOTALL
)


def explain_error(error: BaseException) -> RedisTrouble:
    """Return the problem of an error of a call to Redis."""
    text = _OF_PIPELINE.sub(r"\1 \2: ", str(error) or type(error).__name__)
    return RedisTrouble(_kind_of(error, text), without_stop(text.partition("\n")[0]))


def _kind_of(error: BaseException, text: str) -> TroubleKind:
    if any(isinstance(cause, ssl.SSLError) for cause in _causes(error)):
        return TroubleKind.TLS
    for kind_of_error, kind in _KINDS:
        if isinstance(error, kind_of_error):
            return kind
    if isinstance(error, exceptions.ResponseError):
        return next((kind for wording, kind in _WORDINGS if wording in text), TroubleKind.REFUSED)
    return TroubleKind.SILENT


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
