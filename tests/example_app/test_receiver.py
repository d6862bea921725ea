"""The receiver that customers copy: what it verifies, and how it acts."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.datastructures import Headers

from example_app import receiver
from example_app.receiver import BadSignature, create_app, verify
from tests.support.processes import ROOT
from tests.support.signing import BODY, OTHER_SECRET, SECRET, signed


def _verify(headers: Headers, body: str = BODY) -> None:
    verify(SECRET, headers, body.encode(), time.time())


def test_receiver_knows_nothing_of_the_sending_side() -> None:
    program = "import sys, example_app.receiver; sys.exit('flask_webhooks' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)


def test_receiver_accepts_what_standardwebhooks_signs() -> None:
    _verify(signed())


def test_receiver_accepts_either_signature_while_the_secret_changes() -> None:
    headers = signed()
    other = signed(secret=OTHER_SECRET)["webhook-signature"]
    headers["webhook-signature"] = f"v1a,c29tZXRoaW5n {other} {headers['webhook-signature']}"
    _verify(headers)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
@pytest.mark.parametrize("value", [None, "", "1", "v1,é", "evt_2"])
def test_receiver_refuses_changed_headers(name: str, value: str | None) -> None:
    headers = signed()
    del headers[name]
    if value is not None:
        headers[name] = value
    with pytest.raises(BadSignature):
        _verify(headers)


def test_receiver_refuses_other_secrets_other_bodies_and_other_times() -> None:
    for headers, body in (
        (signed(secret=OTHER_SECRET), BODY),
        (signed(), BODY + " "),
        (signed(age=301), BODY),
        (signed(age=-302), BODY),
    ):
        with pytest.raises(BadSignature):
            _verify(headers, body)


class Customer:
    """The receiver, and a sender that signs what it sends."""

    def __init__(self, database: Path) -> None:
        self._http: FlaskClient = create_app(SECRET, str(database)).test_client()
        self._sent = 0

    def send(self, type_: str, *, message_id: str = "", ago: float = 0, **data: Any) -> int:
        self._sent += 1
        at = datetime.now(UTC) - timedelta(seconds=ago)
        body = json.dumps({"type": type_, "timestamp": at.isoformat(), "data": data})
        headers = signed(message_id or f"evt_{self._sent}", body=body)
        headers["Content-Type"] = "application/json"
        return self._http.post("/webhooks", data=body, headers=headers).status_code

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self._http.get("/state").get_json()
        return state


@pytest.fixture
def customer(tmp_path: Path) -> Customer:
    return Customer(tmp_path / "receiver.sqlite")


def test_repeated_failed_logins_block_the_address(customer: Customer) -> None:
    for _ in range(receiver.FAILED_LOGINS - 1):
        assert customer.send("user.login_failed", ip="203.0.113.24") == 204
    customer.send("user.login_failed", ip="203.0.113.9")
    customer.send("user.login_failed", reason="no address is known")
    assert customer.state()["blocked"] == []
    customer.send("user.login_failed", ip="203.0.113.24")
    assert customer.state()["blocked"] == ["203.0.113.24"]


def test_failed_logins_that_are_long_past_block_nothing(customer: Customer) -> None:
    for number in range(receiver.FAILED_LOGINS):
        customer.send("user.login_failed", ip="203.0.113.24", ago=receiver.WINDOW * (1 + number))
    assert customer.state()["blocked"] == []


def test_one_event_counts_once_however_often_it_arrives(customer: Customer) -> None:
    for _ in range(receiver.FAILED_LOGINS):
        assert customer.send("user.login_failed", message_id="evt_1", ip="203.0.113.24") == 204
    assert customer.state()["blocked"] == []


def test_payment_starts_a_subscription_until_it_ends(customer: Customer) -> None:
    paid: dict[str, Any] = {"amount": "19.99", "currency": "EUR"}
    customer.send("payment.succeeded", payment_id="pay_1", username="mira", **paid)
    past = receiver.SUBSCRIPTION + 1
    customer.send("payment.succeeded", payment_id="pay_2", username="jonas", ago=past, **paid)
    assert customer.state()["subscribers"] == ["mira"]


def test_revoked_licence_is_on_the_list_until_it_is_reinstated(customer: Customer) -> None:
    license = {"license_key": "K7QF-29XM"}
    customer.send("license.revoked", ago=20, **license)
    assert customer.state()["revoked"] == ["K7QF-29XM"]
    customer.send("license.reinstated", ago=10, **license)
    assert customer.state()["revoked"] == []


def test_events_that_arrive_in_the_wrong_order_leave_the_last_state(customer: Customer) -> None:
    license = {"license_key": "K7QF-29XM"}
    customer.send("license.reinstated", ago=10, **license)
    customer.send("license.revoked", ago=20, **license)
    assert customer.state()["revoked"] == []


def test_event_whose_action_fails_is_acted_on_when_it_comes_again(customer: Customer) -> None:
    """The id of an event is forgotten with the action that failed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(receiver.ACTIONS, "license.revoked", _fail)
        assert customer.send("license.revoked", message_id="evt_1", license_key="K7QF") == 500
    assert customer.send("license.revoked", message_id="evt_1", license_key="K7QF") == 204
    assert customer.state()["revoked"] == ["K7QF"]


def _fail(*arguments: object) -> None:
    raise OSError("The disk is full.")


def test_state_survives_a_restart(tmp_path: Path) -> None:
    database = tmp_path / "receiver.sqlite"
    Customer(database).send("license.revoked", license_key="K7QF-29XM")
    assert Customer(database).state()["revoked"] == ["K7QF-29XM"]


def test_other_events_are_accepted_and_forged_ones_refused(customer: Customer) -> None:
    assert customer.send("license.created", license_key="K7QF") == 204
    unsigned = customer._http.post("/webhooks", data=BODY)
    assert unsigned.status_code == 401
    assert customer.state() == {"blocked": [], "subscribers": [], "revoked": []}
