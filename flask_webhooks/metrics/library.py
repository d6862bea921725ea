"""The names that are used of prometheus-client, which is an extra."""

from ..errors import ConfigurationError

try:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        Metric,
    )
    from prometheus_client.exposition import choose_encoder, make_wsgi_app
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ConfigurationError(
        "Metrics need prometheus-client. Install it: pip install 'Flask-Webhooks[prometheus]'"
    ) from error

__all__ = [
    "Collector",
    "CollectorRegistry",
    "CounterMetricFamily",
    "GaugeMetricFamily",
    "HistogramMetricFamily",
    "Metric",
    "choose_encoder",
    "make_wsgi_app",
]
