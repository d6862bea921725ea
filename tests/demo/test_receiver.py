"""The receiver of the demo: what it counts, and where it fails on purpose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flask.testing import FlaskClient

from demo.receiver import create_receiver, failure
from tests.support.signing import BODY, OTHER_SECRET, SECRET, signed


def _deliver(customer: FlaskClient, message_id: str = "evt_1", **options: Any) -> int:
    headers = signed(message_id, **options)
    return customer.post("/hooks/desk", data=BODY.encode(), headers=headers).status_code


def test_receiver_answers_as_the_path_says_to_whoever_tries_it() -> None:
    customer = create_receiver().test_client()
    assert customer.post("/try", data=b"{}").status_code == 200
    assert customer.post("/try/503", data=b"{}").status_code == 503
    assert customer.post("/try/99").status_code == 404
    assert customer.get("/stats").get_json()["received"] == 0


def test_receiver_takes_in_an_event_once() -> None:
    customer = create_receiver({"desk": SECRET}).test_client()
    assert [_deliver(customer) for _ in range(3)] == [204, 204, 204]
    assert _deliver(customer, "evt_2", secret=OTHER_SECRET) == 401
    stats = customer.get("/stats").get_json()
    assert {name: stats[name] for name in ("received", "verified", "rejected", "duplicates")} == {
        "received": 4,
        "verified": 1,
        "rejected": 1,
        "duplicates": 2,
    }
    assert stats["ids"] == 1
    assert stats["latency_ms"]["p50"] > 0


def test_receiver_learns_a_secret_later() -> None:
    customer = create_receiver().test_client()
    assert _deliver(customer) == 404
    secret = {"hook": "desk", "secret": SECRET}
    stranger = {"REMOTE_ADDR": "203.0.113.9"}
    assert customer.post("/secrets", json=secret, environ_base=stranger).status_code == 403
    assert customer.post("/secrets", json=secret).status_code == 204
    assert _deliver(customer) == 204


def test_receiver_fails_the_first_request_of_some_events() -> None:
    ids = [f"evt_{number}" for number in range(1000)]
    failing = [message_id for message_id in ids if failure(message_id, 10)]
    assert 70 < len(failing) < 130
    assert {failure(message_id, 10) for message_id in failing} == {500, 503}
    assert not any(failure(message_id, 0) for message_id in ids)

    customer = create_receiver({"desk": SECRET}, fail_every=10).test_client()
    assert _deliver(customer, failing[0]) == failure(failing[0], 10)
    assert customer.get("/stats").get_json()["verified"] == 0
    assert _deliver(customer, failing[0]) == 204
    stats = customer.get("/stats").get_json()
    assert (stats["verified"], stats["duplicates"]) == (1, 0)


def test_receiver_remembers_over_a_restart(tmp_path: Path) -> None:
    log = tmp_path / "received.jsonl"
    for _ in range(2):
        receiver = create_receiver({"desk": SECRET}, log=log)
        assert _deliver(receiver.test_client()) == 204
        receiver.extensions["inbox"].close()
    assert receiver.test_client().get("/stats").get_json()["duplicates"] == 1
    assert len(log.read_text().splitlines()) == 1


def test_receiver_lists_events_page_by_page() -> None:
    customer = create_receiver({"desk": SECRET}).test_client()
    for number in range(5):
        _deliver(customer, f"evt_{number}")
    first = customer.get("/events?limit=3").get_json()
    rest = customer.get(f"/events?after={first['next']}").get_json()
    assert [event["id"] for event in first["events"] + rest["events"]] == [
        f"evt_{number}" for number in range(5)
    ]
    assert customer.get(f"/events?after={rest['next']}").get_json()["events"] == []
    assert first["events"][0]["type"] == "user.banned"
