"""The headers that stand in every request, whatever its format."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from flask import Flask

from flask_webhooks import actions
from flask_webhooks.app_state import state_of
from flask_webhooks.delivery.outcome import Claimed
from flask_webhooks.delivery.render import Outgoing, prepare
from flask_webhooks.formats import Format, Target, builtin_formats
from flask_webhooks.formats.chat.base import ChatFormat
from tests.support.chatting import URLS, event
from tests.support.delivering import deliveries, drain, emit, make_due, webhooks_of
from tests.support.helpers import accessing
from tests.support.receiver import Receiver

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_attempt_number_is_a_header_and_goes_on_counting(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/flaky/1"))
    emit(app)
    drain(app)
    make_due(app)
    drain(app)
    actions.resend(accessing(app), deliveries(app)[0].id)
    drain(app)
    assert [item.headers["webhook-attempt"] for item in receiver.requests] == ["1", "2", "3"]


@pytest.mark.parametrize("style", list(builtin_formats()), ids=lambda style: str(style.name))
def test_numbers_are_sent_to_all_but_chats(style: Format, app: Flask) -> None:
    name = style.name
    claimed = Claimed(
        delivery_id="dlv_1",
        endpoint_id="ep_1",
        event=event({"license_id": "lic_1"}),
        number=7,
        trigger="retry",
        actor=None,
        failure_count=6,
        token="t",
        lease_until=NOW,
        sequence=12,
    )
    url = URLS.get(name, "https://shop.example/webhooks")
    options = {"template": '{"event": "{{ type }}"}'} if name == "custom" else {}
    shop = Target("ep_1", None, url, url, name, (SECRET,), {}, None, 1, options=options)
    outgoing = prepare(state_of(app), claimed, shop, NOW, 10.0)
    assert isinstance(outgoing, Outgoing)
    headers = dict(outgoing.request.headers)
    sent = headers.get("webhook-attempt"), headers.get("webhook-sequence")
    assert sent == ((None, None) if isinstance(style, ChatFormat) else ("7", "12"))
