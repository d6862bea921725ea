"""What the signature debugger says about requests that real signatures are on."""

from __future__ import annotations

import base64
import json
import timeit
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from flask_webhooks.security import signing
from flask_webhooks.security.signature_check import (
    Sent,
    SignatureFinding,
    Verdict,
    check,
    parse_headers,
)

NOW = datetime(2026, 5, 4, 12, 30, tzinfo=UTC)
SECRET, OTHER = signing.generate_secret(), signing.generate_secret()
BODY = '{"type":"license.created","data":{"name":"Zoë","n":1.0}}'
SENT = [Sent(2, NOW, BODY), Sent(1, NOW - timedelta(seconds=60), BODY)]


def signed(body: str = BODY, secret: str = SECRET, at: datetime = NOW) -> dict[str, str]:
    """Headers of a request as the specification's own package signs it."""
    return {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign("evt_1", at, body),
    }


def verdict(
    headers: dict[str, str],
    body: str = BODY,
    secrets: tuple[str, ...] = (SECRET,),
    **options: object,
) -> Verdict:
    sent = options.get("sent", SENT)
    now = options.get("now", NOW)
    assert isinstance(sent, list)
    assert isinstance(now, datetime)
    return check(headers, body, secrets, sent, now)


def test_a_request_as_it_was_sent_fits() -> None:
    found = verdict(signed())
    assert (found.finding, found.secret, found.stale) == (SignatureFinding.FITS, 0, False)


def test_the_older_secret_is_told_from_the_current_one() -> None:
    found = verdict(signed(secret=OTHER), secrets=(SECRET, OTHER))
    assert (found.finding, found.secret) == (SignatureFinding.FITS, 1)


def test_one_of_two_signatures_is_enough() -> None:
    headers = signed()
    headers["webhook-signature"] = (
        f"{signed(secret=OTHER)['webhook-signature']} {headers['webhook-signature']}"
    )
    assert verdict(headers).finding == SignatureFinding.FITS


@pytest.mark.parametrize(
    ("body", "finding"),
    [
        (json.dumps(json.loads(BODY), indent=2), SignatureFinding.REWRITTEN_BODY),
        (json.dumps(json.loads(BODY), ensure_ascii=True), SignatureFinding.REWRITTEN_BODY),
        (BODY[:30], SignatureFinding.CUT_BODY),
        (BODY.replace("Zoë", "Zoe"), SignatureFinding.CHANGED_BODY),
        ("", SignatureFinding.CHANGED_BODY),
        ("[" * 100_000, SignatureFinding.CHANGED_BODY),
        (BODY + "\n", SignatureFinding.FITS_BUT_FOR_LINE_BREAKS),
        (BODY + "\r\n", SignatureFinding.FITS_BUT_FOR_LINE_BREAKS),
    ],
)
def test_a_body_that_was_changed_on_the_way(body: str, finding: SignatureFinding) -> None:
    assert verdict(signed(), body).finding == finding


def test_what_a_form_does_to_line_breaks_is_nobodys_mistake() -> None:
    body = json.dumps({"a": 1}, indent=2)
    found = verdict(signed(body), body.replace("\n", "\r\n"), sent=[])
    assert found.finding == SignatureFinding.FITS


def test_a_key_pair_is_known_by_its_signature() -> None:
    """Also in the middle of a rotation, and in the change from a secret to a key pair."""
    current, older = signing.generate_private_key(), signing.generate_private_key()
    at = int(NOW.timestamp())
    for secrets in ((current, older), (current, SECRET)):
        headers = signed()
        headers["webhook-signature"] = signing.sign_by_secrets(
            "evt_1", at, BODY.encode(), secrets[1:]
        )
        found = verdict(headers, secrets=secrets)
        assert (found.finding, found.secret) == (SignatureFinding.FITS, 1)
        found = verdict(headers, BODY[:-5], secrets)
        assert (found.finding, found.attempt) == (SignatureFinding.CUT_BODY, 2)
        assert verdict(headers, secrets=(current,)).finding == SignatureFinding.WRONG_SECRET
    # A signature of one kind is none of the other.
    swapped = headers | {"webhook-signature": headers["webhook-signature"].replace("v1,", "v1a,")}
    assert verdict(swapped, secrets=(current, SECRET)).finding == SignatureFinding.WRONG_SECRET


def test_the_secret_itself_in_a_header() -> None:
    headers = {"x-webhook-secret": "hush"}
    found = verdict(headers, "anything", ("new", "hush"))
    assert (found.finding, found.secret, found.header) == (
        SignatureFinding.SECRET_FITS,
        1,
        "x-webhook-secret",
    )
    assert verdict(headers, secrets=("other",)).finding == SignatureFinding.WRONG_SECRET
    assert verdict(headers, secrets=()).finding == SignatureFinding.NO_SECRET


def test_a_wrong_secret() -> None:
    assert verdict(signed(secret=OTHER)).finding == SignatureFinding.WRONG_SECRET
    assert verdict(signed(secret=OTHER), sent=[]).finding == SignatureFinding.WRONG_SECRET
    assert verdict(signed(), secrets=()).finding == SignatureFinding.NO_SECRET


def test_headers_of_another_attempt_than_any_that_was_made() -> None:
    headers = signed()
    headers["webhook-timestamp"] = str(int(NOW.timestamp()) + 100)
    assert verdict(headers).finding == SignatureFinding.CHANGED_HEADERS


@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("webhook-id", SignatureFinding.MISSING_HEADER),
        ("webhook-timestamp", SignatureFinding.MISSING_HEADER),
        ("webhook-signature", SignatureFinding.NO_SIGNATURE),
    ],
)
def test_a_header_that_is_missing(name: str, finding: SignatureFinding) -> None:
    headers = signed()
    del headers[name]
    assert verdict(headers).finding == finding


@pytest.mark.parametrize("text", ["v1", "v1,", "v2,AAAA", "nonsense", "v1,####"])
def test_what_is_no_signature(text: str) -> None:
    found = verdict(signed() | {"webhook-signature": text})
    assert found.finding in (SignatureFinding.MALFORMED, SignatureFinding.WRONG_SECRET)


@pytest.mark.parametrize(
    ("text", "stale", "unreadable"),
    [
        (str(int(NOW.timestamp()) - 299), False, False),
        (str(int(NOW.timestamp()) - 301), True, False),
        (str(int(NOW.timestamp()) + 301), True, False),
        ("999999999999", True, False),
        ("yesterday", False, True),
    ],
)
def test_the_time_of_the_signature(text: str, stale: bool, unreadable: bool) -> None:
    found = verdict(signed() | {"webhook-timestamp": text})
    assert (found.stale, found.unreadable_time) == (stale, unreadable)


@pytest.mark.parametrize("prefix", ["", "sha256="])
@pytest.mark.parametrize("name", ["x-webhook-signature", "x-authforge-signature"])
def test_signatures_in_hex_as_the_vendors_send_them(name: str, prefix: str) -> None:
    secret = "a secret of their own"
    headers = {name: prefix + signing.sign_hex(BODY.encode(), secret.encode())}
    assert verdict(headers, secrets=(secret,)).finding == SignatureFinding.FITS
    assert verdict(headers, BODY[:-3], (secret,)).finding == SignatureFinding.CUT_BODY
    assert verdict(headers, secrets=("other",)).finding == SignatureFinding.WRONG_SECRET
    assert verdict({name: "abc"}, secrets=(secret,)).finding == SignatureFinding.MALFORMED


def test_no_verdict_holds_a_secret() -> None:
    for headers in (signed(), signed(secret=OTHER), {}):
        for body in (BODY, BODY[:5]):
            assert SECRET.removeprefix("whsec_") not in repr(verdict(headers, body))


@pytest.mark.parametrize(
    "text",
    [
        "Webhook-Id: evt_1\nWEBHOOK-TIMESTAMP:  17 \r\nnonsense",
        '{"webhook-id": "evt_1", "Webhook-Timestamp": ["17"]}',
        "'webhook-id': 'evt_1',\n'webhook-timestamp': '17',",
    ],
)
def test_headers_are_read_as_people_paste_them(text: str) -> None:
    headers = parse_headers(text)
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("evt_1", "17")


def test_half_a_character_is_no_text() -> None:
    text = json.dumps({**signed(), "webhook-id": "\ud800"})
    assert (
        check(parse_headers(text), BODY, [SECRET], [], NOW).finding == SignatureFinding.WRONG_SECRET
    )


#: With halves of surrogate pairs.
anything = st.text() | st.text(st.sampled_from("aé0.\ud800"))


@given(anything, anything, anything)
def test_anything_can_be_pasted(headers: str, body: str, signature: str) -> None:
    check(parse_headers(headers), body, [SECRET], SENT, NOW)
    check(signed() | {"webhook-signature": signature}, body, [SECRET, "short"], SENT, NOW)
    check(signed() | {"webhook-timestamp": signature or "x"}, body, [SECRET], SENT, NOW)
    check(signed() | {"webhook-id": signature or "x"}, body, [SECRET], SENT, NOW)
    check({"x-signature": signature}, body, [SECRET], SENT, NOW)
    check({"x-webhook-secret": signature}, body, [SECRET], SENT, NOW)
    parse_headers("{" + headers)


def test_many_forged_signatures_cost_no_more_than_a_few() -> None:
    other = signing.private_key(signing.generate_private_key()).sign(b"x")
    pair = signing.generate_private_key()

    def taken(count: int) -> float:
        forged = " ".join([f"v1a,{base64.b64encode(other).decode()}"] * count)

        def tell() -> None:
            found = verdict(signed() | {"webhook-signature": forged}, secrets=(pair,))
            assert found.finding == SignatureFinding.WRONG_SECRET

        return min(timeit.repeat(tell, number=1, repeat=7))

    assert taken(200) < 4 * taken(16)
