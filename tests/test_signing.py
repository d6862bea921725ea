"""Signatures and secrets, against the reference implementation."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from flask_webhooks import signing
from flask_webhooks.errors import InvalidSecret
from flask_webhooks.formats import OutgoingEvent, Target
from flask_webhooks.formats.standard import Standard, iso_milliseconds

#: The example of the specification's test suites.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_known_answer() -> None:
    key = signing.standard_key(SECRET)
    assert signing.sign_standard(MESSAGE_ID, 1614265330, BODY, [key]) == SIGNATURE


def test_each_key_gives_a_signature_in_order() -> None:
    keys = [b"a" * 32, b"b" * 32]
    both = signing.sign_standard(MESSAGE_ID, 1, BODY, keys).split(" ")
    assert both == [signing.sign_standard(MESSAGE_ID, 1, BODY, [key]) for key in keys]
    assert signing.sign_standard(MESSAGE_ID, 1, BODY, []) == ""


@given(st.binary(min_size=24, max_size=64), st.text(), st.integers(0, 2**37))
def test_reference_implementation_agrees(key: bytes, data: str, moment: int) -> None:
    timestamp = datetime.fromtimestamp(moment, UTC)
    expected = Webhook(key).sign(MESSAGE_ID, timestamp, data)
    assert signing.sign_standard(MESSAGE_ID, moment, data.encode(), [key]) == expected


def test_generated_secrets_are_long_and_never_the_same() -> None:
    secrets = {signing.generate_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(len(signing.standard_key(secret)) == 32 for secret in secrets)
    assert all(secret.startswith("whsec_") for secret in secrets)


@pytest.mark.parametrize("size", [24, 32, 33, 64])
def test_secret_of_the_customers_own(size: int) -> None:
    key = bytes(range(size))
    encoded = base64.b64encode(key).decode()
    assert Standard().check_secret(f"whsec_{encoded}") == f"whsec_{encoded}"
    assert Standard().check_secret(encoded) == f"whsec_{encoded}"
    # Some tools leave the padding out.
    assert signing.standard_key(encoded.rstrip("=")) == key


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        ("", "24 to 64 bytes"),
        ("whsec_", "24 to 64 bytes"),
        ("whsec_" + base64.b64encode(bytes(23)).decode(), "not 23"),
        ("whsec_" + base64.b64encode(bytes(65)).decode(), "not 65"),
        ("whsec_not base 64!", "followed by base 64"),
        ("whsec_" + "ü" * 40, "followed by base 64"),
        ("whsec_" + "A" * 33, "followed by base 64"),
    ],
)
def test_secret_that_is_not_usable(secret: str, message: str) -> None:
    with pytest.raises(InvalidSecret, match=message) as caught:
        signing.standard_key(secret)
    assert len(secret) < 7 or secret not in str(caught.value)


def test_hex_form() -> None:
    expected = hmac.new(b"key", BODY, hashlib.sha256).hexdigest()
    assert signing.sign_hex(BODY, b"key") == expected


@given(
    st.text(max_size=20) | st.none(),
    st.integers(0, 2**37).map(lambda moment: datetime.fromtimestamp(moment / 10, UTC)),
)
def test_rendering_is_the_same_each_time_but_for_the_time_of_the_attempt(
    tenant: str | None, occurred_at: datetime
) -> None:
    event = OutgoingEvent(MESSAGE_ID, "license.created", tenant, occurred_at, '{"b":1,"a":1.0}')
    target = Target("ep_1", None, "http://x/", "http://x/", "standard", (SECRET,), {}, None, 1)
    moments = [datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)]
    first, second = (Standard().render(event, target, moment) for moment in moments)
    assert first.body == second.body
    assert b'"data":{"b":1,"a":1.0}' in first.body
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]
    assert Standard().render(event, target, moments[0]) == first


def test_times_are_written_in_utc_with_milliseconds() -> None:
    assert iso_milliseconds(datetime(2026, 1, 31, 12, tzinfo=UTC)) == "2026-01-31T12:00:00.000Z"
    assert iso_milliseconds(datetime.fromisoformat("2026-01-31T13:00:00.1239+01:00")) == (
        "2026-01-31T12:00:00.123Z"
    )
