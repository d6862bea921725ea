"""The expectation of a test, and its differences to an event."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .. import ids
from ..catalog.registry import matches
from .events import CapturedEvent
from .matching import differences


class _Any:
    """The type of `ANY_TENANT`."""

    def __repr__(self) -> str:
        return "ANY_TENANT"


#: Matches any tenant.
ANY_TENANT = _Any()


@dataclass(frozen=True)
class Expectation:
    """The required properties of an event; see `Capture.assert_emitted`."""

    #: The result of `Catalog.check_patterns`.
    patterns: Sequence[str] | None
    data: Any = None
    tenant: Any = ANY_TENANT
    to: str | None = None
    committed: bool | None = None
    key: str | None = None
    deliver_at: datetime | None = None

    @property
    def says_more_than_the_type(self) -> bool:
        return self != Expectation(self.patterns)

    def is_about(self, event: CapturedEvent) -> bool:
        """Return whether the event has the type."""
        return matches(self.patterns, event.type)

    def misfits(self, event: CapturedEvent) -> Iterator[str]:
        """Yield the differences of an event of the type, one line each."""
        if self.data is not None:
            yield from differences(self.data, event.data)
        if self.tenant is not ANY_TENANT:
            wanted = None if self.tenant is None else ids.host_id(self.tenant)
            if event.tenant != wanted:
                yield f"tenant: expected {wanted!r}, found {event.tenant!r}"
        for name in ("key", "deliver_at"):
            expected, found = getattr(self, name), getattr(event, name)
            if expected is not None and found != expected:
                yield f"{name}: expected {expected}, found {found}"
        if self.committed is not None and event.committed != self.committed:
            yield f"committed: expected {self.committed}, found {event.committed}"
        if self.to is not None and not any(
            self.to in (item.endpoint_id, item.url) for item in event.deliveries
        ):
            found = ", ".join(item.url for item in event.deliveries) or "no endpoint"
            yield f"to: expected {self.to}, found {found}"
