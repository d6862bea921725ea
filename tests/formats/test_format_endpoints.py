"""What an endpoint sets of its format and its secrets, from the action to the request that is sent."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_webhooks import actions, queries
from flask_webhooks.access import Access
from flask_webhooks.delivery.claim import rate_limit as rates
from flask_webhooks.errors import (
    Forbidden,
    InvalidEndpoint,
    InvalidInput,
    InvalidSecret,
    InvalidSubscription,
    NotFound,
    UnreadableSecret,
)
from flask_webhooks.formats import Format, HexSigned, OutgoingEvent, Rendered, Target
from flask_webhooks.receiver import verify
from flask_webhooks.security import signing
from flask_webhooks.security.vault import Vault
from tests.support.delivering import (
    attempts,
    close,
    db_of,
    drain,
    emit,
    make_app,
    the_delivery,
    webhooks_of,
)
from tests.support.delivering import endpoint as stored
from tests.support.helpers import URL, accessing, activity, add_endpoint, as_tenant, update
from tests.support.receiver import Receiver

TEMPLATE = '{"kind": "{{ event.type }}", "who": "{{ tenant.name }}", "what": "{{ data }}"}'


class Vendor(HexSigned):
    """As the formats of other services are."""

    name = "vendor"
    label = "Vendor"
    secret_optional = True
    test_event = "license.validated"
    event_names: ClassVar[Mapping[str, str]] = {
        "license.validated": "key.used",
        "hwid.bound": "hwid.changed",
        "hwid.changed": "hwid.changed",
        "license.activated": "license.redeemed",
        "license.reinstated": "license.activated",
    }

    def bucket(self, url: str) -> str | None:
        return url.partition("?")[0]

    def render(self, event: OutgoingEvent, target: Target, attempted_at: datetime) -> Rendered:
        message = {"event": self.event_name(event.type), "tenant": event.tenant_name}
        body = json.dumps(message).encode()
        signature = self.signature(body, target)
        headers = {"webhook-id": event.id}
        if signature is not None:
            headers["X-Webhook-Signature"] = signature
        return Rendered(target.url, headers, body)


class Chat(Format):
    """A format whose URL is the secret."""

    name = "testchat"
    label = "Test Chat"
    signed = False
    secret_url = True

    def matches(self, url: str) -> bool:
        return url.startswith("https://chat.example.com/")

    def mask_url(self, url: str) -> str:
        return url.rpartition("/")[0] + "/***"


@pytest.fixture
def access(app: Flask) -> Access:
    webhooks_of(app).add_format(Vendor())
    webhooks_of(app).add_format(Chat())
    return accessing(app)


# -- settings -----------------------------------------------------------------------------------------


def test_settings_are_stored_and_in_the_trail(app: Flask, access: Access) -> None:
    created = actions.create_endpoint(
        access,
        URL,
        format="custom",
        options={"template": TEMPLATE},
        timeout=1,
        rate_limit=2.5,
        ordered=True,
    )
    endpoint = stored(app, created.endpoint.id)
    assert endpoint.options == {"template": TEMPLATE}
    assert (endpoint.timeout, endpoint.rate_limit, endpoint.ordered) == (1.0, 2.5, True)
    assert endpoint.bucket is None
    changes = activity(app)[-1].changes
    assert changes is not None
    assert changes["options"] == [None, {"template": TEMPLATE}]
    assert (changes["timeout"], changes["rate_limit"]) == ([None, 1.0], [None, 2.5])
    assert changes["ordered"] == [None, True]


def test_without_them_nothing_is_set(app: Flask, access: Access) -> None:
    endpoint = stored(app, add_endpoint(app).id)
    assert (endpoint.options, endpoint.timeout, endpoint.rate_limit) == (None, None, None)
    assert (endpoint.ordered, endpoint.bucket, endpoint.state) == (False, None, "active")


def test_settings_can_change_and_each_change_has_a_new_version(app: Flask, access: Access) -> None:
    endpoint = add_endpoint(app, rate_limit=5)
    for version, (name, value, before) in enumerate(
        [
            ("timeout", 0.5, None),
            ("rate_limit", None, 5.0),
            ("ordered", True, False),
        ],
        2,
    ):
        change: Any = {name: value}
        changed = actions.update_endpoint(access, endpoint.id, **change)
        assert getattr(changed, name) == value
        assert changed.version == version
        assert activity(app)[-1].changes == {name: [before, value]}
    same = actions.update_endpoint(access, endpoint.id, timeout=0.5, ordered=True)
    assert same.version == 4


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("timeout", 0, "0.1 to 2"),
        ("timeout", 2.1, "0.1 to 2"),
        ("timeout", float("nan"), "number of seconds"),
        ("timeout", "1", "number of seconds"),
        ("timeout", True, "number of seconds"),
        ("rate_limit", 0, "0.001 to 10000"),
        ("rate_limit", -1, "requests a second"),
        ("rate_limit", 1e9, "requests a second"),
        ("rate_limit", "fast", "requests a second"),
        ("ordered", "yes", "true or false"),
        ("ordered", None, "true or false"),
        ("options", {"colour": "red"}, "colour"),
        ("options", ["colour"], "names and values"),
        ("options", {1: 2}, "names and values"),
    ],
)
def test_settings_that_are_not_usable(
    app: Flask, access: Access, name: str, value: Any, message: str
) -> None:
    endpoint = add_endpoint(app)
    for call in (
        lambda: actions.create_endpoint(access, URL, **{name: value}),
        lambda: actions.update_endpoint(access, endpoint.id, **{name: value}),
    ):
        with pytest.raises(InvalidEndpoint, match=message) as caught:
            call()
        assert caught.value.field == ("colour" if value == {"colour": "red"} else name)
    assert stored(app, endpoint.id).version == 1
    assert len(queries.list_endpoints(access)) == 1


def test_new_format_begins_without_the_options_of_the_old(app: Flask, access: Access) -> None:
    endpoint = add_endpoint(app, format="cloudevents", options={"source": "/shop"})
    with pytest.raises(InvalidEndpoint, match="template") as caught:
        actions.update_endpoint(access, endpoint.id, format="custom")
    assert caught.value.field == "template"
    changed = actions.update_endpoint(
        access, endpoint.id, format="custom", options={"template": TEMPLATE}
    )
    assert changed.options == {"template": TEMPLATE}
    assert activity(app)[-1].changes == {
        "format": ["cloudevents", "custom"],
        "options": [{"source": "/shop"}, {"template": TEMPLATE}],
    }
    # Another URL keeps them.
    assert actions.update_endpoint(access, endpoint.id, url=URL + "2").options is not None
    assert actions.update_endpoint(access, endpoint.id, format="standard").options is None


def test_bucket_is_a_digest_and_follows_the_url(app: Flask, access: Access) -> None:
    one = add_endpoint(app, URL + "?a", format="vendor")
    two = add_endpoint(app, URL + "?b", format="vendor")
    assert one.bucket == two.bucket == rates.bucket_id(None, "vendor", URL, URL)
    moved = actions.update_endpoint(access, two.id, url=URL + "/other")
    assert moved.bucket not in (None, one.bucket)
    assert actions.update_endpoint(access, one.id, format="testchat").bucket is None
    assert "bucket" not in str([row.changes for row in activity(app)])


@pytest.mark.usefixtures("access")
def test_pause_of_a_format_of_the_hosts_holds_one_tenant(app: Flask, receiver: Receiver) -> None:
    """An endpoint of another tenant with the same URL, and so the same bucket by the format, goes on."""
    url = receiver.url("/retry-after/3600")
    for tenant in ("app_1", "app_1", "app_2"):
        add_endpoint(app, url, format="vendor", tenant=tenant)
    with app.app_context():
        emit(app, tenant="app_1")
        drain(app, endpoint_concurrency=1)
        asked = len(receiver.requests)
        emit(app, 3, tenant="app_1")
        drain(app)
        assert len(receiver.requests) == asked
        emit(app, tenant="app_2")
        drain(app)
        assert len(receiver.requests) == asked + 1


# -- names of events ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["key.used"], ["license.validated"]),
        ([" hwid.changed ", "license.created"], ["hwid.bound", "hwid.changed", "license.created"]),
        (["license.activated", "license.redeemed"], ["license.reinstated", "license.activated"]),
        (["license.*"], ["license.*"]),
        (["key.*"], ["license.validated"]),
        (["*"], None),
        (None, None),
    ],
)
def test_names_are_read_in_the_dialect_and_stored_as_ours(
    app: Flask, access: Access, given: list[str] | None, expected: list[str] | None
) -> None:
    with app.app_context():
        created = webhooks_of(app).create_endpoint(URL, events=given, format="vendor")
    assert stored(app, created.endpoint.id).events == expected
    changed = actions.update_endpoint(access, add_endpoint(app).id, events=given, dialect="vendor")
    assert changed.events == expected


def test_names_of_ours_stay_what_they_are_without_a_dialect(app: Flask, access: Access) -> None:
    # A form that shows what is stored, and sends it back, must not change it.
    endpoint = add_endpoint(app, format="vendor", events=["hwid.changed", "license.activated"])
    assert endpoint.events == ["hwid.changed", "license.activated"]
    again = actions.update_endpoint(access, endpoint.id, events=endpoint.events)
    assert (again.events, again.version) == (endpoint.events, 1)
    for name in ("key.used", "nonsense.*"):
        with pytest.raises(InvalidSubscription):
            add_endpoint(app, format="vendor", events=[name])
    with pytest.raises(InvalidSubscription, match="list"):
        actions.create_endpoint(access, URL, events="key.used", dialect="vendor")
    with pytest.raises(InvalidInput, match="no format"):
        actions.create_endpoint(access, URL, events=["key.used"], dialect="nonsense")


# -- secrets ------------------------------------------------------------------------------------------


def test_endpoint_without_secret_where_the_format_allows_it(
    app: Flask, access: Access, receiver: Receiver
) -> None:
    created = actions.create_endpoint(access, receiver.url(), format="vendor", secret=False)
    endpoint = created.endpoint
    assert (created.secret, endpoint.secrets_sealed) == (None, None)
    assert (activity(app)[-1].changes or {})["secret"] == [None, "none"]
    emit(app)
    drain(app)
    assert "x-webhook-signature" not in receiver.requests[-1].headers
    new = actions.rotate_secret(access, endpoint.id)
    emit(app)
    drain(app)
    assert verify(receiver.requests[-1].headers, receiver.requests[-1].body, new, "aureva")
    actions.remove_secret(access, endpoint.id)
    actions.remove_secret(access, endpoint.id)
    assert stored(app, endpoint.id).secrets_sealed is None
    assert [row.action for row in activity(app)][-1] == "endpoint.secret_removed"
    emit(app)
    drain(app)
    assert "x-webhook-signature" not in receiver.requests[-1].headers


@pytest.mark.slow
def test_secret_cannot_be_left_out_where_the_format_needs_one(app: Flask, access: Access) -> None:
    with pytest.raises(InvalidSecret, match="needs a secret"):
        actions.create_endpoint(access, URL, secret=False)
    endpoint = add_endpoint(app)
    with pytest.raises(InvalidSecret, match="needs a secret"):
        actions.remove_secret(access, endpoint.id)
    assert stored(app, endpoint.id).secrets_sealed is not None
    bare = add_endpoint(app, format="vendor", secret=False)
    with pytest.raises(InvalidEndpoint, match="add another endpoint"):
        actions.update_endpoint(access, bare.id, format="standard")
    chat = actions.create_endpoint(access, "https://chat.example.com/x", secret=False)
    assert actions.update_endpoint(access, chat.endpoint.id, format="vendor").format == "vendor"


def test_one_signature_is_by_the_old_secret_until_somebody_switches(
    app: Flask, access: Access, receiver: Receiver
) -> None:
    created = actions.create_endpoint(access, receiver.url(), format="vendor", secret="old secret")
    new = actions.rotate_secret(access, created.endpoint.id, overlap_seconds=3600)
    emit(app)
    drain(app)
    request = receiver.requests[-1]
    assert verify(request.headers, request.body, "old secret", "aureva")
    assert actions.end_overlap(access, created.endpoint.id) == 1
    assert activity(app)[-1].changes == {"ended_secrets": 1}
    emit(app)
    drain(app)
    request = receiver.requests[-1]
    assert verify(request.headers, request.body, new, "aureva")
    version = stored(app, created.endpoint.id).version
    assert actions.end_overlap(access, created.endpoint.id) == 0
    assert stored(app, created.endpoint.id).version == version


def test_secrets_are_changed_by_those_who_may_only(app: Flask, access: Access) -> None:
    endpoint = add_endpoint(app, format="vendor", tenant="app_1")
    nobody = Access(access.state, "nobody", "app_1", lambda action, endpoint: action != "secret")
    for change in (actions.end_overlap, actions.remove_secret):
        with pytest.raises(Forbidden):
            change(nobody, endpoint.id)
        with pytest.raises(NotFound):
            change(as_tenant(app, "app_2"), endpoint.id)


def test_secrets_that_cannot_be_decrypted(app: Flask, access: Access) -> None:
    endpoint = add_endpoint(app, format="vendor")
    access.state.vault = Vault.from_config([], ["another key"])
    with pytest.raises(UnreadableSecret, match="rotate"):
        actions.end_overlap(access, endpoint.id)
    actions.remove_secret(access, endpoint.id)
    assert stored(app, endpoint.id).secrets_sealed is None


def test_overlap_is_seven_days_at_most(app: Flask, access: Access) -> None:
    endpoint = add_endpoint(app)
    actions.rotate_secret(access, endpoint.id, overlap_seconds=7 * 86_400)
    with pytest.raises(InvalidInput, match="7 days"):
        actions.rotate_secret(access, endpoint.id, overlap_seconds=7 * 86_400 + 1)


# -- key pairs ----------------------------------------------------------------------------------------


def test_key_pair_signs_and_its_public_key_is_handed_out(
    app: Flask, access: Access, receiver: Receiver
) -> None:
    created = actions.create_endpoint(access, receiver.url(), key_pair=True)
    public_key = created.public_key
    assert created.secret is None
    assert public_key is not None
    assert public_key.startswith("whpk_")
    assert queries.public_keys(access, created.endpoint.id) == (
        queries.PublicKey(public_key, None),
    )
    emit(app)
    drain(app)
    request = receiver.requests[-1]
    assert request.headers["webhook-signature"].startswith("v1a,")
    assert verify(request.headers, request.body, public_key)
    assert "whsk_" not in str([row.request_headers for row in attempts(app)])


def test_rotation_from_a_shared_secret_to_a_key_pair(
    app: Flask, access: Access, receiver: Receiver
) -> None:
    created = actions.create_endpoint(access, receiver.url())
    assert queries.public_keys(access, created.endpoint.id) == ()
    public_key = actions.rotate_secret(
        access, created.endpoint.id, overlap_seconds=3600, key_pair=True
    )
    emit(app)
    drain(app)
    request = receiver.requests[-1]
    assert verify(request.headers, request.body, public_key)
    assert verify(request.headers, request.body, created.secret or "")
    second = actions.rotate_secret(access, created.endpoint.id, key_pair=True)
    keys = queries.public_keys(access, created.endpoint.id)
    assert [key.text for key in keys] == [second, public_key]
    assert keys[0].expires_at is None
    assert keys[1].expires_at is not None
    later = datetime.now(UTC) + timedelta(days=2)
    assert len(queries.public_keys(access, created.endpoint.id, now=later)) == 1


def test_private_key_of_the_customers_own(app: Flask, access: Access) -> None:
    key = signing.generate_private_key()
    created = actions.create_endpoint(access, URL, secret=key)
    assert (created.secret, created.public_key) == (None, signing.public_key(key))
    for format in ("vendor", "testchat"):
        with pytest.raises(InvalidSecret):
            actions.create_endpoint(access, URL, format=format, key_pair=True)
    with pytest.raises(InvalidSecret, match="Leave the secret out"):
        actions.create_endpoint(access, URL, secret=key, key_pair=True)
    # It must not go out as the text of a shared secret.
    with pytest.raises(InvalidEndpoint, match="does not fit"):
        actions.update_endpoint(access, created.endpoint.id, format="vendor")


def test_key_document_is_for_everybody_and_holds_public_keys_only(
    database_url: str, redis_url: str
) -> None:
    app = make_app(database_url, redis_url)
    try:
        # Nobody may do anything.
        webhooks_of(app).authorize(lambda action, endpoint: False)
        client = app.test_client()
        pair = actions.create_endpoint(accessing(app), URL, key_pair=True, tenant="app_1")
        shared = actions.create_endpoint(accessing(app), URL)
        answer = client.get(f"/webhooks/keys/{pair.endpoint.id}")
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "public, max-age=300"
        [key] = answer.get_json()["keys"]
        assert key["public_key"] == pair.public_key
        raw = base64.urlsafe_b64decode(key["x"] + "==")
        assert "whpk_" + base64.b64encode(raw).decode() == pair.public_key
        assert (key["kty"], key["crv"], key["alg"]) == ("OKP", "Ed25519", "EdDSA")
        assert set(key) == {"kty", "crv", "alg", "use", "x", "public_key"}
        others = [shared.endpoint.id, "ep_nothing", "%00"]
        actions.delete_endpoint(accessing(app), pair.endpoint.id)
        answers = [client.get(f"/webhooks/keys/{item}") for item in [*others, pair.endpoint.id]]
        assert {answer.status_code for answer in answers} == {404}
        assert len({answer.data for answer in answers}) == 1
        assert client.get("/webhooks/").status_code == 403
    finally:
        close(app)


# -- what is sent -------------------------------------------------------------------------------------


def test_formats_of_ours_are_delivered_with_their_content_type_and_the_tenants_name(
    app: Flask, access: Access, receiver: Receiver
) -> None:
    webhooks_of(app).tenant_name(lambda tenant: f"{tenant} by name")
    secrets = {}
    for format, options in (
        ("cloudevents", {"source": "/shop"}),
        ("custom", {"template": TEMPLATE}),
        ("vendor", None),
    ):
        created = actions.create_endpoint(
            access, receiver.url(f"/ok?{format}"), format=format, options=options, tenant="app_1"
        )
        secrets[format] = created.secret or ""
    emit(app, data={"license_id": "lic_1"}, tenant="app_1")
    drain(app)
    got = {request.path.partition("?")[2]: request for request in receiver.requests}
    assert got["cloudevents"].headers["content-type"] == (
        "application/cloudevents+json; charset=utf-8"
    )
    assert got["custom"].headers["content-type"] == "application/json"
    assert json.loads(got["custom"].body) == {
        "kind": "license.created",
        "who": "app_1 by name",
        "what": {"license_id": "lic_1"},
    }
    assert json.loads(got["vendor"].body)["tenant"] == "app_1 by name"
    for format in ("cloudevents", "custom"):
        verify(got[format].headers, got[format].body, secrets[format], format)


def test_host_whose_hook_fails_loses_nothing(
    app: Flask, access: Access, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    calls = []

    def name(tenant: str) -> str:
        calls.append(tenant)
        # It may use its own database: no transaction of ours is open.
        db_of(app).session.execute(sa.text("SELECT 1"))
        raise RuntimeError("no such tenant")

    webhooks_of(app).tenant_name(name)
    add_endpoint(app, receiver.url(), format="vendor")
    emit(app, 3, tenant="app_1")
    with caplog.at_level(logging.ERROR, "flask_webhooks"):
        drain(app)
    assert [json.loads(request.body)["tenant"] for request in receiver.requests] == ["app_1"] * 3
    assert calls == ["app_1"]
    assert "name of a tenant" in caplog.text


def test_test_event_is_what_the_format_is_tested_with(
    app: Flask, access: Access, receiver: Receiver
) -> None:
    vendor = add_endpoint(app, receiver.url(), format="vendor")
    assert actions.send_test(access, vendor.id).event_type == "license.validated"
    drain(app)
    assert json.loads(receiver.requests[-1].body)["event"] == "key.used"
    assert actions.send_test(access, vendor.id, "user.banned").event_type == "user.banned"
    standard = add_endpoint(app, receiver.url())
    assert actions.send_test(access, standard.id).event_type == "test"
    # Its format is gone: the test shows what comes of that.
    update(app, "Endpoint", standard.id, format="gone")
    assert actions.send_test(access, standard.id).event_type == "test"


def test_timeout_of_the_endpoint_is_kept(app: Flask, access: Access, receiver: Receiver) -> None:
    add_endpoint(app, receiver.url("/never"), timeout=0.2)
    emit(app)
    drain(app)
    [attempt] = attempts(app)
    assert (attempt.outcome, attempt.error) == ("timeout", attempt.error)
    assert "0.2 s" in (attempt.error or "")
    assert the_delivery(app).state == "pending"


# -- import -------------------------------------------------------------------------------------------

EXPORT: list[Any] = [
    {"url": URL + "/1", "events": ["key.used"], "secret": "their secret", "name": "Shop"},
    {"url": URL + "/2", "events": ["license.activated"], "secret": None, "enabled": False},
    {"url": URL + "/3"},
    {"url": "https://chat.example.com/hidden", "events": ["hwid.changed"], "secret": "unused"},
    {"url": "http://10.0.0.7/", "name": "Private"},
    {"url": URL + "/5", "events": ["no.such"]},
    {"events": []},
    "https://example.com/",
    {"url": URL + "/8", "secret": "short"},
    {"url": URL + "/1"},
]


def test_export_of_another_service_is_taken_over(app: Flask, access: Access) -> None:
    found = list(actions.import_endpoints(access, EXPORT, format="vendor"))
    assert [item.number for item in found] == list(range(1, len(EXPORT) + 1))
    taken = [item.endpoint for item in found if item.endpoint is not None]
    assert [(row.format, row.events, row.state) for row in taken] == [
        ("vendor", ["license.validated"], "active"),
        ("vendor", ["license.reinstated"], "paused"),
        ("vendor", None, "active"),
        ("testchat", ["hwid.bound", "hwid.changed"], "active"),
    ]
    assert [row.name for row in taken] == ["Shop", "", "", ""]
    first = taken[0].secrets_sealed
    assert first is not None
    assert access.state.vault.decrypt(first)[0]["secret"] == "their secret"
    assert taken[1].secrets_sealed is None
    # The receiver of the third does not know the new one yet.
    assert [item.new_secret is not None for item in found[:4]] == [False, False, True, False]
    assert found[3].label == "https://chat.example.com/***"
    problems = [item.problem or "" for item in found[4:]]
    for problem, words in zip(
        problems,
        ["private", "no.such", 'no "url"', "not a JSON object", "8 to 256", "already"],
        strict=True,
    ):
        assert words in problem
    assert found[4].label == "Private"
    assert len(queries.list_endpoints(access)) == 4
    assert "their secret" not in repr(found)
    # Again: nothing twice.
    again = list(actions.import_endpoints(access, EXPORT, format="vendor"))
    assert all(item.endpoint is None for item in again)
    assert len(queries.list_endpoints(access)) == 4


def test_dry_run_says_the_same_and_writes_nothing(app: Flask, access: Access) -> None:
    dry = list(actions.import_endpoints(access, EXPORT, format="vendor", dry_run=True))
    assert queries.list_endpoints(access) == []
    real = list(actions.import_endpoints(access, EXPORT, format="vendor"))
    assert [item.problem for item in dry] == [item.problem for item in real]
    assert [item.label for item in dry] == [item.label for item in real]
    assert all(item.new_secret is None for item in dry)


@pytest.mark.parametrize("dry_run", [True, False])
def test_import_stays_within_the_limit_of_the_tenant(
    app: Flask, access: Access, dry_run: bool
) -> None:
    add_endpoint(app, tenant="app_1")
    items = [{"url": f"{URL}/{number}"} for number in range(6)]
    found = list(actions.import_endpoints(access, items, tenant="app_1", dry_run=dry_run))
    assert [item.endpoint is not None for item in found] == [True] * 4 + [False] * 2
    assert "5 of 5" in (found[4].problem or "")


def test_import_of_nobodys_is_refused_at_once(app: Flask, access: Access) -> None:
    with pytest.raises(InvalidInput, match="no format"):
        actions.import_endpoints(access, [], format="nonsense")
    with pytest.raises(Forbidden):
        actions.import_endpoints(as_tenant(app, "app_1"), [], tenant="app_2")
    nobody = Access(access.state, "nobody", "app_1", lambda action, endpoint: False)
    with pytest.raises(Forbidden):
        actions.import_endpoints(nobody, [])
