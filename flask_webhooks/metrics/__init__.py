"""Metrics for Prometheus; needs ``pip install 'Flask-Webhooks[prometheus]'``."""

from .collector import Collector

__all__ = ["Collector"]
