"""The dashboard and the alert rules: what they name exists, and Prometheus takes them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from flask import Flask

from flask_webhooks.delivery.outcome import Outcome
from flask_webhooks.metrics import Collector
from flask_webhooks.models import DeliveryState, EndpointState
from flask_webhooks.queries import FAILING
from tests.support.delivering import webhooks_of
from tests.support.processes import ROOT
from tests.support.scraping import scrape

FOLDER = ROOT / "docs/monitoring"
ALERTS = FOLDER / "alerts.yml"
DASHBOARD = FOLDER / "grafana-dashboard.json"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool: apt-get install prometheus"
)
#: The values of labels that rules may ask for.
VALUES: dict[str, set[str]] = {
    "outcome": set(Outcome),
    "state": {*EndpointState, FAILING, *DeliveryState},
    "part": {"database", "redis"},
}


def rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load(ALERTS.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def expressions() -> Iterator[tuple[str, str]]:
    """What each rule and panel asks for, by its name."""
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            # Grafana fills these in.
            text = target["expr"].replace("$__rate_interval", "5m").replace("$job", ".*")
            assert "$" not in text
            yield panel["title"], text


def promtool(*arguments: str, stdin: str | None = None, folder: Path | None = None) -> str:
    done = subprocess.run(
        ["promtool", *arguments],
        input=stdin,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def told_names(app: Flask) -> set[str]:
    """Every name that a scrape can have, with those of the parts of a histogram."""
    names = set()
    for family in Collector(webhooks_of(app), app).describe():
        endings = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}
        names |= {family.name + ending for ending in endings.get(family.type, [""])}
    return names


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_everything_that_is_named_exists(app: Flask) -> None:
    known = told_names(app)
    used = set()
    for place, expression in expressions():
        names = set(re.findall(r"flask_webhooks_\w+", expression))
        assert names, place
        assert names <= known, place
        used |= names
        for label, _, values in re.findall(r'(\w+)(=|!=|=~|!~)"([^"]*)"', expression):
            if label != "job":
                assert set(values.split("|")) <= VALUES[label], place
    without_parts = {re.sub(r"_(bucket|sum|count)$", "", name) for name in used}
    assert without_parts == {re.sub(r"_(bucket|sum|count)$", "", name) for name in known}


def test_dashboard_is_whole() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    variables = {item["name"] for item in dashboard["templating"]["list"]}
    assert variables == {"datasource", "job"}
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers) > 10
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    taken = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(taken)) == len(taken), "panels overlap"
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {"${datasource}"}


def test_every_alert_says_what_it_means_and_what_to_do() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["annotations"]["description"]


@needs_promtool
def test_prometheus_takes_the_alert_rules() -> None:
    assert f"SUCCESS: {len(rules())} rules found" in promtool("check", "rules", str(ALERTS))


@needs_promtool
def test_prometheus_takes_the_expressions_of_the_dashboard(tmp_path: Path) -> None:
    recorded = [
        {"record": f"try:{number}", "expr": text} for number, (_, text) in enumerate(expressions())
    ]
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": recorded}]}))
    promtool("check", "rules", str(path))


@needs_promtool
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_prometheus_takes_a_scrape_without_complaint(app: Flask) -> None:
    told = scrape(app, ["endpoint", "tenant"])
    assert promtool("check", "metrics", stdin=told.text) == ""


#: What is scraped each minute, and the alerts that then fire after a quarter of an hour, of those named here.
CASES: dict[str, tuple[dict[str, str], set[str]]] = {
    "all is well, at two instances": (
        {
            'flask_webhooks_up{job="w",instance="1",part="database"}': "1x120",
            'flask_webhooks_workers{job="w",instance="1"}': "2x120",
            'flask_webhooks_backlog{job="w",instance="1"}': "3x120",
            'flask_webhooks_oldest_overdue_seconds{job="w",instance="1"}': "1x120",
            'flask_webhooks_last_heartbeat_timestamp_seconds{job="w",instance="1"}': "0+60x120",
            'flask_webhooks_endpoints{job="w",instance="1",state="disabled"}': "4x120",
            'flask_webhooks_attempts_total{job="w",instance="1",format="a",outcome="succeeded"}': "0+60x120",
            'flask_webhooks_attempts_total{job="w",instance="2",format="a",outcome="succeeded"}': "0+60x120",
            'flask_webhooks_attempts_total{job="w",instance="2",format="a",outcome="refused"}': "0+59x120",
        },
        set(),
    ),
    "nothing is scraped": ({}, {"WebhooksMetricsMissing"}),
    "the database is away": (
        {'flask_webhooks_up{job="w",part="database"}': "0x120"},
        {"WebhooksPartUnreadable"},
    ),
    "no worker runs": (
        {
            'flask_webhooks_up{job="w",part="redis"}': "1x120",
            'flask_webhooks_workers{job="w"}': "0x120",
            'flask_webhooks_backlog{job="w"}': "7x120",
            'flask_webhooks_oldest_overdue_seconds{job="w"}': "0+60x120",
            'flask_webhooks_last_heartbeat_timestamp_seconds{job="w"}': "1x120",
        },
        {"WebhooksNoWorkers", "WebhooksWorkersSilent", "WebhooksOverdue"},
    ),
    "most attempts fail": (
        {
            'flask_webhooks_up{job="w",part="redis"}': "1x120",
            'flask_webhooks_attempts_total{job="w",format="a",outcome="succeeded"}': "0+60x120",
            'flask_webhooks_attempts_total{job="w",format="a",outcome="timeout"}': "0+59x120",
            'flask_webhooks_attempts_total{job="w",format="b",outcome="timeout"}': "0+59x120",
        },
        {"WebhooksMostAttemptsFail"},
    ),
    "workers are killed, wake-ups lost and an endpoint disabled": (
        {
            'flask_webhooks_up{job="w",part="redis"}': "1x120",
            'flask_webhooks_attempts_total{job="w",format="a",outcome="succeeded"}': "0+60x120",
            'flask_webhooks_attempts_total{job="w",format="a",outcome="interrupted"}': "0+1x120",
            'flask_webhooks_lost_wakeups_total{job="w"}': "0+1x120",
            'flask_webhooks_endpoints{job="w",state="disabled"}': "1x90 2x30",
        },
        {"WebhooksWorkersKilled", "WebhooksWakeupsLost", "WebhooksEndpointDisabled"},
    ),
}


@needs_promtool
@pytest.mark.parametrize("case", CASES)
def test_alerts_fire_when_they_should_and_only_then(case: str, tmp_path: Path) -> None:
    series, expected = CASES[case]
    shutil.copy(ALERTS, tmp_path)
    names = [rule["alert"] for rule in rules()]
    # Each alert by the metric that Prometheus keeps of it, whatever its annotations say.
    checks = [
        {
            "expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}})',
            "eval_time": "110m",
            "exp_samples": [{"labels": "{}", "value": 1}] if name in expected else [],
        }
        for name in names
    ]
    test = {
        "rule_files": ["alerts.yml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": key, "values": value} for key, value in series.items()],
                "promql_expr_test": checks,
            }
        ],
    }
    (tmp_path / "test.yml").write_text(json.dumps(test))
    promtool("test", "rules", "test.yml", folder=tmp_path)
