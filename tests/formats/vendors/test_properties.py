"""Whatever JSON the data hold, each vendor's body is valid, the same each time, and verifies."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_webhooks.catalog.registry import builtin_catalog
from flask_webhooks.encoding import encode_data
from flask_webhooks.formats import OutgoingEvent, Rendered
from tests.support.vendoring import ATTEMPTED, VENDORS, rendered

EVENT_TYPES = [item.name for item in builtin_catalog()]
#: Among them names that clash with those of the services, and with each other once they are translated.
CLASHING = [
    "event",
    "timestamp",
    "server",
    "signature",
    "data",
    "appId",
    "app_id",
    "project_id",
    "licenseKey",
    "license_key",
    "license_id",
    "key_id",
    "key",
    "userId",
    "user_id",
    "a_b",
    "aB",
    "status",
    "hwid",
    "ip",
    "message",
    "webhookId",
    "endpoint_id",
    "previous",
    "new",
    "details",
]
NAMES = st.text(max_size=8) | st.sampled_from(CLASHING)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=5)
)
DATA = st.dictionaries(NAMES, VALUES, max_size=8)
SECRETS = st.text(st.characters(codec="utf-8"), min_size=8, max_size=40)
TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def verify(name: str, request: Rendered, secret: str) -> None:
    """What a receiver does, in a few lines of its own."""
    digest = hmac.new(secret.encode(), request.body, hashlib.sha256).hexdigest()
    if name == "authon":
        assert request.headers["X-Webhook-Secret"] == secret
    elif name == "akuworks":
        assert request.headers["X-Webhook-Signature"] == f"sha256={digest}"
        message = json.loads(request.body)
        inner = message.pop("signature")
        unsigned = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
        again = hmac.new(secret.encode(), unsigned, hashlib.sha256).hexdigest()
        assert inner == f"sha256={again}"
    else:
        header = "X-AuthForge-Signature" if name == "authforge" else "X-Webhook-Signature"
        assert request.headers[header] == digest


def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def scalars(value: Any) -> Iterator[str]:
    """Every scalar within, as JSON."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from scalars(item)
    else:
        yield json.dumps(value)


@pytest.mark.slow
@pytest.mark.parametrize("name", VENDORS)
@given(
    data=DATA,
    event_type=st.sampled_from(EVENT_TYPES),
    tenant=st.none() | st.text(min_size=1),
    secret=SECRETS,
    occurred_at=TIMES,
)
@settings(deadline=None, max_examples=60)
def test_any_data_renders_and_verifies(
    name: str,
    data: dict[str, Any],
    event_type: str,
    tenant: str | None,
    secret: str,
    occurred_at: datetime,
) -> None:
    text = encode_data(data, 10**7)
    event = OutgoingEvent("evt_1", event_type, tenant, occurred_at, text)
    request = rendered(name, event, secret)
    message = json.loads(request.body, object_pairs_hook=no_duplicates)
    assert isinstance(message, dict)
    again = OutgoingEvent("evt_1", event_type, tenant, occurred_at, text)
    assert rendered(name, again, secret, attempted_at=ATTEMPTED.replace(year=2030)) == request
    verify(name, request, secret)
    if name != "aureva":  # it leaves out licence keys
        sent = sorted(scalars(message))
        for scalar in scalars(json.loads(text)):
            assert scalar in sent or event_type == "test"
