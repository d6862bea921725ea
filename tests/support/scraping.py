"""A scrape, as Prometheus reads it."""

from __future__ import annotations

import urllib.request
from collections.abc import Collection

from flask import Flask
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from flask_webhooks.metrics import Collector
from tests.support.delivering import webhooks_of


class Scrape:
    """The samples of one answer."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples = {
            (
                sample.name.removeprefix("flask_webhooks_"),
                frozenset(sample.labels.items()),
            ): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def get(self, name: str, **labels: str) -> float | None:
        """One sample; ``None`` if there is none."""
        return self.samples.get((name, frozenset(labels.items())))

    def all(self, name: str) -> dict[tuple[str, ...], float]:
        """The samples of a name by the values of their labels, those in the order of their names."""
        return {
            tuple(value for _, value in sorted(labels)): value
            for (found, labels), value in self.samples.items()
            if found == name
        }


def scrape(app: Flask, labels: Collection[str] = ()) -> Scrape:
    """Collect in this process."""
    registry = CollectorRegistry()
    registry.register(Collector(webhooks_of(app), app, labels=labels))
    return Scrape(generate_latest(registry).decode())


def scrape_url(url: str) -> Scrape:
    with urllib.request.urlopen(url, timeout=10) as response:
        return Scrape(response.read().decode())
