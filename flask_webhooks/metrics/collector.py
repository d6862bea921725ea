"""A collector for Prometheus, which reads database and Redis, and so returns the same in every process."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import TYPE_CHECKING

from flask import Flask

from ..app_state import AppState, state_of
from ..errors import ConfigurationError
from ..log import get_logger, log_without_locals
from ..queries import METRIC_LABELS
from .families import Families
from .library import Collector as Base
from .library import Metric

if TYPE_CHECKING:
    from ..extension import Webhooks

logger = get_logger("flask_webhooks.metrics")


class StateCollector(Base):
    """Metrics of one application.

    :param find_state: called at each scrape.
    :param labels: see `Collector`.
    """

    def __init__(self, find_state: Callable[[], AppState], labels: Collection[str]) -> None:
        self._find_state = find_state
        self._labels = check_labels(labels)

    def describe(self) -> Iterable[Metric]:
        """Return the families without values, so that a registry does not query the database for their names."""
        return Families(self._labels).all()

    def collect(self) -> Iterable[Metric]:
        """Read database and Redis. A part that cannot be read is left out, and its ``flask_webhooks_up`` is 0."""
        families = Families(self._labels)
        for part, read in (
            ("database", families.read_database),
            ("redis", families.read_redis),
        ):
            families.up.add_metric([part], self._tried(part, read))
        return families.all()

    def _tried(self, part: str, read: Callable[[AppState], bool]) -> float:
        try:
            return float(read(self._find_state()))
        except Exception as error:
            log_without_locals(logger, "Metrics of %s could not be read", part, error=error)
            return 0.0


class Collector(StateCollector):
    """Metrics of an application, for a `prometheus_client.CollectorRegistry`.

    :param webhooks: the extension object.
    :param app: the application; by default the current one at each scrape.
    :param labels: ``"endpoint"``, ``"tenant"`` or both, to label the attempts of the last 24 hours, limited to the
    hundred with the most failures.
    :raises ConfigurationError: there is no such label.
    """

    def __init__(
        self, webhooks: Webhooks, app: Flask | None = None, *, labels: Collection[str] = ()
    ) -> None:
        super().__init__(webhooks._state if app is None else partial(state_of, app), labels)


def check_labels(labels: Collection[str]) -> tuple[str, ...]:
    """Return the labels in a fixed order.

    :raises ConfigurationError: there is no such label.
    """
    unknown = (
        [labels]
        if isinstance(labels, str)
        else [name for name in labels if name not in METRIC_LABELS]
    )
    if unknown:
        raise ConfigurationError(
            f"Metrics can have the labels {' and '.join(map(repr, METRIC_LABELS))}, as in "
            f"labels=[{METRIC_LABELS[0]!r}], not {unknown[0]!r}."
        )
    return tuple(name for name in METRIC_LABELS if name in labels)
