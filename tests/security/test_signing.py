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

from flask_webhooks.errors import InvalidSecret
from flask_webhooks.formats import OutgoingEvent, Target
from flask_webhooks.formats.standard import Standard, iso_milliseconds
from flask_webhooks.formats.vendors.aureva import Aureva
from flask_webhooks.receiver import verify
from flask_webhooks.security import signing

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


#: The vector of the reference implementations for key pairs.
PRIVATE_KEY = (
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
)
PUBLIC_KEY = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
ASYMMETRIC_SIGNATURE = (
    "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
)


def test_known_answer_of_a_key_pair() -> None:
    key = signing.private_key(PRIVATE_KEY)
    assert signing.sign_asymmetric(MESSAGE_ID, 1614265330, BODY, key) == ASYMMETRIC_SIGNATURE
    assert signing.public_key(PRIVATE_KEY) == PUBLIC_KEY
    seed_alone = "whsk_" + base64.b64encode(base64.b64decode(PRIVATE_KEY[5:])[:32]).decode()
    assert signing.public_key(seed_alone) == PUBLIC_KEY


def test_each_secret_signs_in_its_own_way() -> None:
    both = signing.sign_by_secrets(MESSAGE_ID, 1614265330, BODY, [SECRET, PRIVATE_KEY])
    assert both == f"{SIGNATURE} {ASYMMETRIC_SIGNATURE}"


def test_generated_key_pairs_are_complete_and_never_the_same() -> None:
    keys = {signing.generate_private_key() for _ in range(20)}
    assert len(keys) == len({signing.public_key(key) for key in keys}) == 20
    for key in keys:
        raw = base64.b64decode(key.removeprefix("whsk_"))
        assert len(raw) == 64
        assert signing.public_key(key) == "whpk_" + base64.b64encode(raw[32:]).decode()


@pytest.mark.parametrize("size", [0, 31, 33, 63, 64, 65])
def test_private_key_that_is_not_usable(size: int) -> None:
    # 64 bytes are a seed and another key's public half.
    text = "whsk_" + base64.b64encode(bytes(size)).decode()
    with pytest.raises(InvalidSecret, match="32 bytes") as caught:
        signing.private_key(text)
    assert size == 0 or text not in str(caught.value)


@pytest.mark.parametrize("text", ["whpk_", "whpk_!", "whpk_" + "A" * 40])
def test_public_key_that_is_not_usable(text: str) -> None:
    with pytest.raises(InvalidSecret, match="32 bytes"):
        signing.read_public_key(text)


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


ODD_KEY = bytes(range(0xF0, 0x100)) * 2
ODD_SECRET = "whsec_" + base64.b64encode(ODD_KEY).decode()


@pytest.mark.parametrize(
    "pasted",
    [
        f"v1,{ODD_SECRET}",
        f"  {ODD_SECRET}\r\n",
        f"{ODD_SECRET[:30]}\n  {ODD_SECRET[30:]}",
        f'"{ODD_SECRET}"',
        f"'v1,{ODD_SECRET}'",
        f"\N{ZERO WIDTH NO-BREAK SPACE}{ODD_SECRET[:9]}\N{SOFT HYPHEN}{ODD_SECRET[9:]}\N{ZERO WIDTH SPACE}",
        f"\N{LEFT DOUBLE QUOTATION MARK}{ODD_SECRET}\N{RIGHT DOUBLE QUOTATION MARK}",
        "whsec_" + base64.urlsafe_b64encode(ODD_KEY).decode(),
        ODD_SECRET.rstrip("="),
        ODD_SECRET.removeprefix("whsec_"),
        ODD_SECRET.replace("whsec_", "WHSEC_"),
        "V1," + ODD_SECRET.replace("whsec_", "Whsec_"),
    ],
)
def test_what_copying_adds_to_a_secret_does_no_harm(pasted: str) -> None:
    assert {"+", "/"} <= set(ODD_SECRET)
    assert Standard().check_secret(pasted).rstrip("=") == ODD_SECRET.rstrip("=")
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": "1700000000",
        "webhook-signature": signing.sign_standard("evt_1", 1_700_000_000, b"{}", [ODD_KEY]),
    }
    assert verify(headers, b"{}", pasted, now=1_700_000_000) == {}


def test_what_copying_adds_to_a_key_of_a_pair_does_no_harm() -> None:
    private = signing.generate_private_key()
    assert Standard().check_secret(f' "v1a,{private}"\n') == private
    assert Standard().check_secret(private.replace("+", "-").replace("/", "_")) == private


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        ("", "24 to 64 bytes"),
        ("whsec_", "24 to 64 bytes"),
        ("whsec_" + base64.b64encode(bytes(23)).decode(), "not 23"),
        ("whsec_" + base64.b64encode(bytes(65)).decode(), "not 65"),
        ("whsec_not base 64!", "character 10 after 'whsec_' is '!'"),
        ("whsec_" + "ü" * 40, r"character 1 after 'whsec_' is '\\xfc'"),
        ("whsec_" + "\ud800" * 40, "character 1 "),
        ("whsec_" + "A" * 33, "33 characters"),
        ("-----BEGIN PRIVATE KEY-----\nMC4CAQAw\n-----END PRIVATE KEY-----", "PEM"),
        ("whpk_" + base64.b64encode(bytes(32)).decode(), "public key"),
    ],
)
def test_secret_that_is_not_usable(secret: str, message: str) -> None:
    with pytest.raises(InvalidSecret, match=message) as caught:
        Standard().check_secret(secret)
    assert len(secret) < 7 or secret not in str(caught.value)
    # Customers who verify with it read the same words, so none of them are about a form.
    assert "empty" not in str(caught.value)


@pytest.mark.parametrize("quote", "\"'`")
def test_quotation_marks_would_be_part_of_a_secret_that_is_any_text(quote: str) -> None:
    assert Aureva().check_secret(" plain secret\n") == "plain secret"
    with pytest.raises(InvalidSecret, match="quotation marks"):
        Aureva().check_secret(f"{quote}plain secret{quote}")


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


def test_private_key_with_its_prefix_in_capitals_is_one() -> None:
    key = signing.generate_private_key()
    capitals = key.replace("whsk_", "WHSK_")
    assert Standard().check_secret(capitals) == key
