"""Spans from `emit` to the attempt in a real worker, and nothing where nobody traces."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flask import Flask
from opentelemetry import trace

from flask_webhooks import tracing
from tests.support.delivering import drain, emit, events, models_of, states, update_row, webhooks_of
from tests.support.processes import COMMAND, WorkerProcess, config_of, wait_until
from tests.support.receiver import Receiver

HOST = """
import json, os
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from tests.support.hostapp import create_app as create_host
from tests.support.delivering import emit


class File(SpanExporter):
    def export(self, spans):
        with open("spans.jsonl", "a") as file:
            for span in spans:
                file.write(span.to_json(indent=None) + "\\n")
        return SpanExportResult.SUCCESS


def create_app():
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(File()))
    trace.set_tracer_provider(provider)
    app = create_host()

    @app.cli.command("emit-one")
    def emit_one():
        emit(app)

    return app
"""


@pytest.mark.slow
def test_spans_lead_from_emit_to_the_attempt(
    app: Flask, receiver: Receiver, tmp_path: Path
) -> None:
    created = webhooks_of(app).create_endpoint(receiver.url("/status/410"))
    config = {**config_of(app), "WEBHOOKS_SEND_TRACEPARENT": True}
    (tmp_path / "tracehost.py").write_text(HOST)
    (tmp_path / ".flaskenv").write_text("FLASK_APP=tracehost:create_app\n")
    (tmp_path / ".env").write_text(f"TEST_CONFIG='{json.dumps(config)}'\n")
    command = ["flask", "emit-one"]
    with WorkerProcess(command, config, tmp_path / "emit.log", folder=tmp_path) as host:
        host.wait(30)
        assert host.process.returncode == 0, host.output()
    with WorkerProcess(COMMAND, config, tmp_path / "worker.log", folder=tmp_path) as worker:
        wait_until(lambda: states(app) == {"failed": 1}, what=worker.output)
        worker.terminate()
        worker.wait(20)
    text = (tmp_path / "spans.jsonl").read_text()
    spans = {item["name"]: item for item in map(json.loads, text.splitlines())}
    emitted, wait, attempt = (
        spans[name] for name in ("emit license.created", "wait", "attempt license.created")
    )
    assert wait["parent_id"] == emitted["context"]["span_id"]
    assert attempt["parent_id"] == wait["context"]["span_id"]
    assert len({span["context"]["trace_id"] for span in spans.values()}) == 1
    assert wait["end_time"] == attempt["start_time"] < attempt["end_time"]
    assert attempt["status"]["status_code"] == "ERROR"
    assert attempt["attributes"]["http.response.status_code"] == 410
    assert attempt["attributes"]["webhooks.endpoint_id"] == created.endpoint.id
    assert receiver.url("") not in text
    assert "AAAA-BBBB" not in text
    [request] = receiver.requests
    trace_id, span_id = (emitted["context"][name][2:] for name in ("trace_id", "span_id"))
    assert request.headers["traceparent"].startswith(f"00-{trace_id}-{span_id}-")


def test_without_a_tracer_nothing_is_stored_or_sent(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/ok"))
    emit(app)
    drain(app, send_traceparent=True)
    assert [event.trace_context for event in events(app)] == [None]
    assert "traceparent" not in receiver.requests[0].headers


def test_a_tracer_that_fails_stops_neither_events_nor_deliveries(
    app: Flask, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(trace.TracerProvider):
        def get_tracer(self, *args: object, **kwargs: object) -> trace.Tracer:
            raise RuntimeError("a bug of the exporter")

    monkeypatch.setattr(trace, "get_tracer_provider", Broken)
    assert tracing.enabled()
    webhooks_of(app).create_endpoint(receiver.url("/ok"))
    emit(app)
    assert drain(app) == 1


def test_the_context_is_sent_only_where_the_host_says_so(app: Flask, receiver: Receiver) -> None:
    context = f"00-{'a' * 32}-{'b' * 16}-01"
    webhooks_of(app).create_endpoint(receiver.url("/ok"))
    for sent in (False, True):
        [event_id] = emit(app)
        update_row(app, models_of(app).Event, event_id, trace_context=context)
        drain(app, send_traceparent=sent)
        assert receiver.requests[-1].headers.get("traceparent") == (context if sent else None)


def test_the_package_is_not_needed(
    app: Flask, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "_otel", None)
    webhooks_of(app).create_endpoint(receiver.url("/ok"))
    emit(app)
    assert drain(app) == 1
