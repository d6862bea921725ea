"""Creating, changing, pausing and deleting endpoints, and their secrets."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import redis
from flask import Flask

from flask_webhooks import Webhooks, actions, queries
from flask_webhooks.access import Access
from flask_webhooks.actions import NewEndpoint
from flask_webhooks.app_state import ALL_TENANTS, state_of
from flask_webhooks.errors import (
    BlockedAddress,
    ConfigurationError,
    EndpointLimitReached,
    InvalidEndpoint,
    InvalidHeader,
    InvalidInput,
    InvalidSecret,
    InvalidSubscription,
    InvalidTransition,
    InvalidURL,
    NotFound,
)
from flask_webhooks.formats import Format
from flask_webhooks.models import Endpoint
from flask_webhooks.security.vault import Vault
from tests.support.delivering import deliveries, emit, health, webhooks_of
from tests.support.delivering import endpoint as stored
from tests.support.helpers import (
    URL,
    accessing,
    activity,
    add_delivery,
    add_endpoint,
    as_tenant,
    at_once,
    close,
    database_time,
    make_app,
    update,
)

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Chat(Format):
    """A format whose URL is the secret."""

    name = "testchat"
    label = "Test Chat"
    signed = False
    secret_url = True

    def mask_url(self, url: str) -> str:
        return url.rpartition("/")[0] + "/***"


@pytest.fixture
def strict_app(database_url: str, redis_url: str) -> Iterator[Flask]:
    """As in production."""
    app = make_app(
        database_url, redis_url, WEBHOOKS_ALLOWED_NETWORKS=[], WEBHOOKS_REQUIRE_HTTPS=True
    )
    yield app
    close(app)


@pytest.fixture
def access(app: Flask) -> Access:
    webhooks_of(app).add_format(Chat())
    return accessing(app)


def secrets_of(app: Flask, endpoint: Endpoint) -> list[dict[str, Any]]:
    """The secrets as they are stored, but for the time of their creation, which is that of the test."""
    sealed = stored(app, endpoint.id).secrets_sealed
    assert sealed is not None
    secrets: list[dict[str, Any]] = state_of(app).vault.decrypt(sealed)
    assert all(abs(item.pop("created_at") - time.time()) < 60 for item in secrets)
    return secrets


def awake(app: Flask) -> bool:
    """Whether the workers were told that there is something to do, since the last time asked."""
    state = state_of(app)
    with redis.Redis.from_url(state.settings.redis_url) as client:
        return bool(client.delete(state.worker_queue.keys.dirty))


# -- create -------------------------------------------------------------------------------------------


def test_a_new_endpoint_is_active_and_everything_is_stored(app: Flask, access: Access) -> None:
    created = actions.create_endpoint(
        access,
        "HTTPS://Hooks.Example.com:443/in?a=1",
        events=["license.*", "user.registered", "license.*"],
        tenant="app_1",
        name="  Billing ",
        description="line\r\nline",
        headers={"X-Team": "billing"},
        user_agent="Acme/1.0",
        contact=" Ops+hooks@Shop.Example ",
    )
    endpoint = stored(app, created.endpoint.id)
    assert endpoint.url_shown == "https://hooks.example.com/in?a=1"
    assert endpoint.url_sealed is None
    assert endpoint.events == ["license.*", "user.registered"]
    assert (endpoint.tenant, endpoint.name, endpoint.format) == ("app_1", "Billing", "standard")
    assert (endpoint.state, endpoint.version) == ("active", 1)
    assert (endpoint.user_agent, endpoint.description) == ("Acme/1.0", "line\r\nline")
    assert endpoint.contact == "Ops+hooks@Shop.Example"
    assert abs(endpoint.created_at - database_time(app)) < timedelta(seconds=10)
    assert endpoint.headers_sealed is not None
    assert access.state.vault.decrypt(endpoint.headers_sealed) == {"X-Team": "billing"}
    assert health(app, endpoint.id).consecutive_failures == 0
    assert secrets_of(app, endpoint) == [{"secret": created.secret, "expires_at": None}]
    # What is returned needs no session any more.
    assert created.endpoint.created_at == endpoint.created_at


def test_by_default_it_is_the_whole_servers_and_gets_everything(access: Access) -> None:
    endpoint = actions.create_endpoint(access, URL).endpoint
    assert (endpoint.tenant, endpoint.events, endpoint.headers_sealed) == (None, None, None)


def test_the_secret_is_not_shown_by_accident(app: Flask, access: Access) -> None:
    created = actions.create_endpoint(access, URL, headers={"X-Key": "hush-hush"})
    secret = created.secret
    assert secret is not None
    assert secret.startswith("whsec_")
    assert secret not in repr(created)
    assert secret not in repr(vars(created.endpoint))
    assert "hush-hush" not in repr(vars(created.endpoint))
    trail = repr([row.changes for row in activity(app)])
    assert secret not in trail
    assert "hush-hush" not in trail


def test_a_customer_may_bring_a_secret(app: Flask, access: Access) -> None:
    created = actions.create_endpoint(access, URL, secret=SECRET.removeprefix("whsec_"))
    assert created.secret == SECRET
    assert secrets_of(app, created.endpoint)[0]["secret"] == SECRET


def test_a_url_that_is_a_secret_is_stored_encrypted_and_shown_masked(
    app: Flask, access: Access
) -> None:
    created = actions.create_endpoint(access, "https://chat.example.com/T0/hush", format="testchat")
    endpoint = stored(app, created.endpoint.id)
    assert endpoint.url_shown == "https://chat.example.com/T0/***"
    assert endpoint.url_sealed is not None
    assert "hush" not in endpoint.url_sealed.ciphertext
    assert access.state.vault.decrypt(endpoint.url_sealed) == "https://chat.example.com/T0/hush"
    assert (created.secret, endpoint.secrets_sealed) == (None, None)
    assert "hush" not in repr([row.changes for row in activity(app)])


def test_the_public_function_creates_too(app: Flask) -> None:
    with app.app_context():
        created = webhooks_of(app).create_endpoint(URL, ["license.*"], tenant="app_1")
    assert stored(app, created.endpoint.id).events == ["license.*"]
    [row] = activity(app)
    assert (row.actor, row.action) == ("application", "endpoint.created")


REFUSED: list[tuple[dict[str, Any], type[InvalidInput], str, str]] = [
    ({"url": "hooks.example.com/in"}, InvalidURL, "url", "Begin the URL with https://"),
    ({"url": "javascript:alert(1)"}, InvalidURL, "url", "https://"),
    ({"url": "ftp://example.com/"}, InvalidURL, "url", "not with ftp"),
    ({"url": "http://example.com/"}, InvalidURL, "url", "https://"),
    ({"url": "https://ann:pass@example.com/"}, InvalidURL, "url", "user name and password"),
    ({"url": ""}, InvalidURL, "url", "like https://example.com/hook"),
    ({"url": None}, InvalidURL, "url", "URL"),
    ({"url": 7}, InvalidURL, "url", "URL"),
    ({"url": "https://example.com/" + "x" * 2048}, InvalidURL, "url", "at most 2048"),
    ({"url": "https://example.com/\0"}, InvalidURL, "url", "U+0000"),
    ({"url": "https://10.0.0.7/"}, BlockedAddress, "url", "private network"),
    ({"url": "https://127.0.0.1/"}, BlockedAddress, "url", "loopback"),
    ({"url": "https://localhost/"}, BlockedAddress, "url", "the server itself"),
    ({"url": "https://169.254.169.254/"}, BlockedAddress, "url", "metadata"),
    ({"url": "https://[fe80::1]/"}, BlockedAddress, "url", "link-local"),
    ({"url": "https://[::ffff:10.0.0.7]/"}, BlockedAddress, "url", "private network"),
    ({"url": "https://[64:ff9b::a00:7]/"}, BlockedAddress, "url", "NAT64"),
    ({"url": "https://0x7f000001/"}, BlockedAddress, "url", "loopback"),
    ({"url": "https://2130706433/"}, BlockedAddress, "url", "loopback"),
    ({"url": "https://127.1/"}, BlockedAddress, "url", "loopback"),
    ({"events": ["license.creatd"]}, InvalidSubscription, "events", "license.created"),
    ({"events": []}, InvalidSubscription, "events", "at least one"),
    ({"events": "license.created"}, InvalidSubscription, "events", "must be a list"),
    ({"events": ["test"]}, InvalidSubscription, "events", "cannot be subscribed"),
    ({"format": "standart"}, InvalidEndpoint, "format", "'standard'"),
    ({"format": 7}, InvalidEndpoint, "format", "standard"),
    ({"name": "x" * 201}, InvalidEndpoint, "name", "200 characters; it has 201"),
    ({"name": "two\nlines"}, InvalidEndpoint, "name", "one line"),
    ({"description": "x" * 2001}, InvalidEndpoint, "description", "2000"),
    ({"description": "\x1b[31m"}, InvalidEndpoint, "description", "control characters"),
    ({"user_agent": "x" * 257}, InvalidEndpoint, "user_agent", "256"),
    ({"user_agent": "a\r\nX-Evil: 1"}, InvalidEndpoint, "user_agent", "one line"),
    ({"user_agent": "Größe"}, InvalidEndpoint, "user_agent", "ASCII"),
    ({"contact": "a@b.example\r\nBcc: c@d.example"}, InvalidEndpoint, "contact", "one line"),
    ({"contact": "Ann <ann@example.com>"}, InvalidEndpoint, "contact", "without a name"),
    ({"contact": "a@example.com, b@example.com"}, InvalidEndpoint, "contact", "one e-mail"),
    ({"contact": "ann"}, InvalidEndpoint, "contact", "ops@example.com"),
    ({"contact": "a" * 65 + "@example.com"}, InvalidEndpoint, "contact", "one e-mail"),
    ({"contact": "a@" + "b" * 64 + ".example"}, InvalidEndpoint, "contact", "one e-mail"),
    ({"contact": "a@" + "b." * 126 + "example"}, InvalidEndpoint, "contact", "254"),
    ({"contact": ".a@example.com"}, InvalidEndpoint, "contact", "one e-mail"),
    ({"contact": "a@-example.com"}, InvalidEndpoint, "contact", "one e-mail"),
    ({"contact": 5}, InvalidEndpoint, "contact", "one line"),
    ({"headers": {"X-A": "1\r\nX-B: 2"}}, InvalidHeader, "headers", "one line"),
    ({"headers": {"X-A\r\nX-B": "1"}}, InvalidHeader, "headers", "without a colon"),
    ({"headers": {"webhook-id": "1"}}, InvalidHeader, "headers", "own id and signature"),
    ({"headers": {"Content-Length": "1"}}, InvalidHeader, "headers", "Content-Length"),
    ({"headers": {"User-Agent": "1"}}, InvalidHeader, "headers", "user agent field"),
    ({"headers": {"X-A": None}}, InvalidHeader, "headers", "value"),
    ({"headers": ["X-A: 1"]}, InvalidHeader, "headers", "names and values"),
    ({"secret": "hush"}, InvalidSecret, "secret", "24 to 64 bytes"),
    ({"secret": 7}, InvalidSecret, "secret", "text"),
    ({"tenant": ""}, InvalidEndpoint, "tenant", "1 to 255"),
    ({"tenant": "x" * 256}, InvalidEndpoint, "tenant", "1 to 255"),
    ({"tenant": "a\0b"}, InvalidEndpoint, "tenant", "printable"),
    ({"tenant": {"id": "app_1"}}, InvalidEndpoint, "tenant", "an id of"),
    ({"tenant": ALL_TENANTS}, InvalidEndpoint, "tenant", "tenant=None"),
]


def test_bad_input_is_refused_with_its_field_and_what_to_write(strict_app: Flask) -> None:
    access = accessing(strict_app)
    for given, error, field, words in REFUSED:
        with pytest.raises(error) as caught:
            actions.create_endpoint(access, **{"url": URL, **given})
        assert caught.value.field == field, given
        assert words in caught.value.message, given
    assert activity(strict_app) == []


def test_no_message_repeats_a_secret(strict_app: Flask) -> None:
    for given in ({"secret": "hush"}, {"headers": {"X-A": "hush\n"}}):
        with pytest.raises(InvalidInput) as caught:
            actions.create_endpoint(accessing(strict_app), URL, **given)
        assert "hush" not in caught.value.message


def test_an_unsigned_format_takes_no_secret(access: Access) -> None:
    with pytest.raises(InvalidSecret, match="Test Chat does not sign"):
        actions.create_endpoint(access, URL, format="testchat", secret=SECRET)


# -- the limit ----------------------------------------------------------------------------------------


def test_a_tenant_has_a_limit_and_the_whole_server_none(app: Flask, access: Access) -> None:
    first, *_ = [add_endpoint(app, tenant="app_1") for _ in range(5)]
    with pytest.raises(EndpointLimitReached, match="5 of 5") as caught:
        add_endpoint(app, tenant="app_1")
    assert caught.value.limit == 5
    add_endpoint(app, tenant="app_2")
    for _ in range(6):
        add_endpoint(app)
    actions.delete_endpoint(access, first.id)
    add_endpoint(app, tenant="app_1")


def test_the_limit_holds_under_concurrent_creation(app: Flask) -> None:
    mine = as_tenant(app, "app_1")
    results = at_once(*[lambda: actions.create_endpoint(mine, URL) for _ in range(12)])
    refused = [item for item in results if isinstance(item, Exception)]
    assert len(results) - len(refused) == 5
    assert {type(item) for item in refused} == {EndpointLimitReached}


def test_the_limit_that_the_host_says_holds_under_concurrent_creation(app: Flask) -> None:
    webhooks_of(app).endpoint_limit(lambda tenant: 2)
    mine = as_tenant(app, "app_1")
    results = at_once(*[lambda: actions.create_endpoint(mine, URL) for _ in range(8)])
    refused = [item for item in results if isinstance(item, Exception)]
    assert len(results) - len(refused) == 2
    assert {type(item) for item in refused} == {EndpointLimitReached}


@pytest.mark.parametrize("answer", [-1, 2.5, "3", True])
def test_a_limit_that_is_no_number_is_the_hosts_mistake(app: Flask, answer: Any) -> None:
    webhooks_of(app).endpoint_limit(lambda tenant: answer)
    with pytest.raises(ConfigurationError, match="endpoint_limit"):
        add_endpoint(app, tenant="app_1")


def test_two_tenants_do_not_share_a_limit_under_concurrent_creation(app: Flask) -> None:
    results = at_once(
        *[lambda t=t: add_endpoint(app, tenant=t) for t in ("app_1", "app_2") for _ in range(5)]
    )
    assert not [item for item in results if isinstance(item, Exception)]


# -- update -------------------------------------------------------------------------------------------


def test_what_is_not_named_stays(app: Flask, access: Access) -> None:
    before = add_endpoint(app, name="Old", events=["license.*"], headers={"X-A": "1"})
    after = actions.update_endpoint(access, before.id, name="New", events=None)
    assert (after.name, after.events, after.version) == ("New", None, 2)
    assert (after.url_shown, after.headers_sealed) == (before.url_shown, before.headers_sealed)
    assert after.updated_at > before.updated_at
    row = activity(app)[-1]
    assert row.action == "endpoint.updated"
    assert row.changes == {"name": ["Old", "New"], "events": [["license.*"], None]}


def test_setting_that_there_is_none_of_is_a_mistake_of_the_caller(
    app: Flask, access: Access
) -> None:
    wrong: dict[str, Any] = {"rate": 5}
    with pytest.raises(TypeError, match="no rate to set"):
        actions.create_endpoint(access, URL, **wrong)
    endpoint = add_endpoint(app)
    for name in ("rate", "tenant", "active"):
        wrong = {name: None}
        with pytest.raises(TypeError, match=f"no {name} to set"):
            actions.update_endpoint(access, endpoint.id, **wrong)
    # What the host's code calls and what the pages call take the same settings.
    public = set(inspect.signature(Webhooks.create_endpoint).parameters) - {"self", "url"}
    assert public == NewEndpoint.__annotations__.keys() - {"dialect", "active"}


def test_a_change_that_changes_nothing_leaves_no_trace(app: Flask, access: Access) -> None:
    before = add_endpoint(app, name="Same", headers={"X-A": "1"})
    after = actions.update_endpoint(
        access, before.id, name="Same", url=URL, format="standard", headers={"X-A": None}
    )
    assert after.version == 1
    assert [row.action for row in activity(app)] == ["endpoint.created"]


def test_a_refused_change_tells_of_everything_that_is_wrong(app: Flask, access: Access) -> None:
    before = add_endpoint(app, name="Old")
    with pytest.raises(InvalidURL) as caught:
        actions.update_endpoint(
            access,
            before.id,
            url="nonsense",
            name="x" * 201,
            events=["nothing.like_that"],
            timeout=-1,
            headers={"X-A": "", "X-B": "1"},
        )
    assert [error.field for error in caught.value.errors] == [
        "url",
        "name",
        "events",
        "headers",
        "timeout",
    ]
    assert stored(app, before.id).version == 1


def test_a_refused_creation_tells_of_everything_that_is_wrong(app: Flask, access: Access) -> None:
    with pytest.raises(InvalidURL) as caught:
        actions.create_endpoint(access, "nonsense", format="nothing", rate_limit=0, secret="short")
    # Without a format nobody knows what secret it needs.
    assert [error.field for error in caught.value.errors] == ["url", "format", "rate_limit"]
    with pytest.raises(InvalidEndpoint) as second:
        actions.create_endpoint(
            access, URL, name="\n" * 3 + "a\nb", secret="short", dialect="nothing"
        )
    assert {error.field for error in second.value.errors} >= {"name", "secret"}
    assert queries.list_endpoints(access) == []
    assert activity(app) == []


def test_a_refused_change_changes_nothing(app: Flask, access: Access) -> None:
    before = add_endpoint(app, name="Old")
    with pytest.raises(InvalidURL):
        actions.update_endpoint(access, before.id, name="New", url="nonsense")
    after = stored(app, before.id)
    assert (after.name, after.version) == ("Old", 1)
    with pytest.raises(TypeError, match="state"):
        actions.update_endpoint(access, before.id, state="active")  # type: ignore[call-arg]


def test_a_new_url_is_tried_at_once(app: Flask, access: Access) -> None:
    endpoint = add_endpoint(app)
    update(
        app,
        "EndpointHealth",
        endpoint.id,
        consecutive_failures=7,
        probe_interval=3600.0,
        hold_until=database_time(app) + timedelta(hours=1),
        hold_reason="failing",
    )
    awake(app)
    actions.update_endpoint(access, endpoint.id, url="https://new.example.com/")
    now = health(app, endpoint.id)
    assert (now.consecutive_failures, now.probe_interval, now.hold_until) == (0, None, None)
    assert awake(app)


def test_header_values_can_be_kept_without_knowing_them(app: Flask, access: Access) -> None:
    endpoint = add_endpoint(app, headers={"X-Key": "hush", "X-Old": "1"})
    actions.update_endpoint(access, endpoint.id, headers={"x-key": None, "X-New": "2"})
    sealed = stored(app, endpoint.id).headers_sealed
    assert sealed is not None
    assert access.state.vault.decrypt(sealed) == {"x-key": "hush", "X-New": "2"}
    assert activity(app)[-1].changes == {"headers": [["X-Key", "X-Old"], ["x-key", "X-New"]]}
    actions.update_endpoint(access, endpoint.id, headers=None)
    assert stored(app, endpoint.id).headers_sealed is None


def test_a_new_header_value_shows_in_the_trail_by_its_name_only(app: Flask, access: Access) -> None:
    endpoint = add_endpoint(app, headers={"X-Key": "one"})
    actions.update_endpoint(access, endpoint.id, headers={"X-Key": "two"})
    assert activity(app)[-1].changes == {"headers": [["X-Key"], ["X-Key"]]}


def test_the_format_can_change_if_the_secrets_fit(app: Flask, access: Access) -> None:
    signed = add_endpoint(app)
    until = database_time(app) + timedelta(hours=1)
    update(app, "EndpointHealth", signed.id, hold_until=until, hold_reason="failing")
    changed = actions.update_endpoint(access, signed.id, format="testchat")
    assert health(app, signed.id).hold_until is None
    assert changed.url_shown == "https://hooks.example.com/***"
    assert changed.url_sealed is not None
    back = actions.update_endpoint(access, signed.id, format="standard")
    assert (back.url_shown, back.url_sealed) == (URL, None)
    unsigned = add_endpoint(app, format="testchat")
    with pytest.raises(InvalidEndpoint, match="add another endpoint") as caught:
        actions.update_endpoint(access, unsigned.id, format="standard")
    assert caught.value.field == "format"


def test_what_cannot_be_decrypted_any_more_can_be_written_again(app: Flask, access: Access) -> None:
    endpoint = add_endpoint(app, format="testchat", headers={"X-Key": "hush"})
    access.state.vault = Vault.from_config([], ["another key"])
    with pytest.raises(InvalidHeader, match="Enter the values of all headers again"):
        actions.update_endpoint(access, endpoint.id, headers={"X-Key": None})
    with pytest.raises(InvalidURL, match="Enter the URL again"):
        actions.update_endpoint(access, endpoint.id, format="standard")
    changed = actions.update_endpoint(access, endpoint.id, url=URL, headers={"X-Key": "new"})
    assert changed.url_sealed is not None
    assert access.state.vault.decrypt(changed.url_sealed) == URL


# -- pause and resume ---------------------------------------------------------------------------------


def test_a_paused_endpoint_holds_what_is_due_and_what_comes(app: Flask, access: Access) -> None:
    endpoint = add_endpoint(app)
    waiting = add_delivery(app, endpoint)
    asked = add_delivery(app, endpoint, trigger="manual")
    ended = add_delivery(app, endpoint, "succeeded")
    paused = actions.pause_endpoint(access, endpoint.id, "moving house")
    assert (paused.state, paused.state_reason, paused.state_actor, paused.version) == (
        "paused",
        "moving house",
        "tester",
        2,
    )
    assert paused.state_since is not None
    with app.app_context():
        emit(app)
    found = {row.id: row for row in deliveries(app)}
    assert (found[waiting].state, found[waiting].due_at) == ("held", None)
    # Somebody asked for just this one: it goes out all the same.
    assert found[asked].state == "pending"
    assert found[ended].state == "succeeded"
    assert [row.state for row in found.values()].count("held") == 2
    with pytest.raises(InvalidTransition, match="already paused") as caught:
        actions.pause_endpoint(access, endpoint.id)
    assert caught.value.state == "paused"


@pytest.mark.parametrize(
    ("choice", "state", "reason"),
    [("send", "pending", None), ("discard", "cancelled", "discarded"), ("keep", "held", "kept")],
)
def test_what_becomes_of_the_held_ones_is_chosen_at_resume(
    app: Flask, access: Access, choice: str, state: str, reason: str | None
) -> None:
    endpoint = add_endpoint(app)
    waiting = add_delivery(app, endpoint)
    actions.pause_endpoint(access, endpoint.id)
    # Written by a transaction that did not see the pause.
    late = add_delivery(app, endpoint)
    other = add_delivery(app, add_endpoint(app), "held")
    awake(app)
    resumed = actions.resume_endpoint(access, endpoint.id, held=choice)
    assert (resumed.state, resumed.state_reason, resumed.state_actor) == ("active", None, "tester")
    found = {row.id: row for row in deliveries(app)}
    for id_ in (waiting, late):
        assert (found[id_].state, found[id_].reason) == (state, reason)
        assert (found[id_].due_at is not None) == (state == "pending")
        assert (found[id_].completed_at is not None) == (state == "cancelled")
    assert found[other].state == "held"
    assert awake(app)
    changes = activity(app)[-1].changes
    assert changes is not None
    assert changes["state"] == ["paused", "active"]
    with pytest.raises(InvalidTransition, match="already active"):
        actions.resume_endpoint(access, endpoint.id)


def test_a_disabled_endpoint_starts_afresh(app: Flask, access: Access) -> None:
    endpoint = add_endpoint(app)
    now = database_time(app)
    update(app, "Endpoint", endpoint.id, state="disabled", state_reason="It failed.")
    update(
        app,
        "EndpointHealth",
        endpoint.id,
        consecutive_failures=40,
        failing_since=now - timedelta(days=6),
        last_failure_at=now,
        probe_interval=3600.0,
        hold_until=now + timedelta(hours=1),
        hold_reason="failing",
        warned=90,
    )
    with pytest.raises(InvalidTransition, match="already disabled"):
        actions.pause_endpoint(access, endpoint.id)
    actions.resume_endpoint(access, endpoint.id)
    row = health(app, endpoint.id)
    assert (row.consecutive_failures, row.failing_since, row.probe_interval) == (0, None, None)
    assert (row.hold_until, row.hold_reason, row.warned) == (None, None, 0)
    assert row.last_failure_at == now


def test_bad_words_for_pause_and_resume(app: Flask, access: Access) -> None:
    endpoint = add_endpoint(app)
    with pytest.raises(InvalidInput, match="send, discard, keep") as caught:
        actions.resume_endpoint(access, endpoint.id, held="burn")
    assert caught.value.field == "held"
    with pytest.raises(InvalidInput, match="500") as caught:
        actions.pause_endpoint(access, endpoint.id, "x" * 501)
    assert caught.value.field == "reason"


# -- delete -------------------------------------------------------------------------------------------


def test_deleting_cancels_what_waits_and_keeps_the_history(app: Flask, access: Access) -> None:
    endpoint = add_endpoint(app, headers={"X-Key": "hush"})
    ids = {state: add_delivery(app, endpoint, state) for state in ("pending", "held", "failed")}
    actions.delete_endpoint(access, endpoint.id)
    gone = stored(app, endpoint.id)
    assert gone.deleted_at is not None
    assert (gone.secrets_sealed, gone.headers_sealed) == (None, None)
    found = {row.id: row for row in deliveries(app)}
    for state in ("pending", "held"):
        row = found[ids[state]]
        assert (row.state, row.reason, row.due_at) == ("cancelled", "endpoint_deleted", None)
        assert row.completed_at is not None
    assert found[ids["failed"]].state == "failed"
    for one in (actions.delete_endpoint, actions.pause_endpoint, actions.send_test):
        with pytest.raises(NotFound):
            one(access, endpoint.id)
    with app.app_context():
        assert webhooks_of(app).emit("license.created", {}) is None


def test_deleting_all_stays_within_the_tenant(app: Flask, access: Access) -> None:
    mine = [add_endpoint(app, tenant="app_1") for _ in range(3)]
    theirs, servers = add_endpoint(app, tenant="app_2"), add_endpoint(app)
    waiting = add_delivery(app, mine[0])
    actions.delete_endpoint(access, mine[2].id)
    assert actions.delete_all_endpoints(as_tenant(app, "app_1")) == 2
    assert [stored(app, item.id).deleted_at is None for item in (*mine, theirs, servers)] == [
        False,
        False,
        False,
        True,
        True,
    ]
    assert [(row.id, row.state) for row in deliveries(app)] == [(waiting, "cancelled")]
    trail = [row for row in activity(app) if row.action == "endpoint.deleted"]
    assert {row.endpoint_id for row in trail} == {item.id for item in mine}
    assert {row.actor for row in trail} == {"tester", "customer"}
    assert actions.delete_all_endpoints(access) == 2


# -- secrets ------------------------------------------------------------------------------------------


def test_the_old_secret_goes_on_signing_for_a_while(app: Flask, access: Access) -> None:
    created = actions.create_endpoint(access, URL)
    new = actions.rotate_secret(access, created.endpoint.id, overlap_seconds=3600)
    first, second = secrets_of(app, created.endpoint)
    assert first == {"secret": new, "expires_at": None}
    assert second["secret"] == created.secret != new
    assert second["expires_at"] == pytest.approx(time.time() + 3600, abs=10)
    assert stored(app, created.endpoint.id).version == 2
    row = activity(app)[-1]
    assert (row.action, row.changes) == ("endpoint.secret_rotated", {"overlap_seconds": 3600})


def test_a_second_rotation_does_not_prolong_the_first_secret(app: Flask, access: Access) -> None:
    endpoint = add_endpoint(app)
    actions.rotate_secret(access, endpoint.id, overlap_seconds=60)
    actions.rotate_secret(access, endpoint.id, overlap_seconds=3600)
    ends = [item["expires_at"] for item in secrets_of(app, endpoint)]
    assert ends[0] is None
    assert ends[1] > time.time() + 3000
    assert ends[2] < time.time() + 61


def test_without_overlap_the_old_secrets_end_now(app: Flask, access: Access) -> None:
    endpoint = add_endpoint(app)
    actions.rotate_secret(access, endpoint.id)
    assert actions.rotate_secret(access, endpoint.id, overlap_seconds=0, secret=SECRET) == SECRET
    assert secrets_of(app, endpoint) == [{"secret": SECRET, "expires_at": None}]


def test_live_secrets_are_few(app: Flask, access: Access) -> None:
    endpoint = add_endpoint(app)
    for _ in range(4):
        actions.rotate_secret(access, endpoint.id)
    with pytest.raises(InvalidInput, match="overlap of 0") as caught:
        actions.rotate_secret(access, endpoint.id)
    assert caught.value.field == "overlap_seconds"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"overlap_seconds": -1}, "overlap_seconds"),
        ({"overlap_seconds": float("nan")}, "overlap_seconds"),
        ({"overlap_seconds": "60"}, "overlap_seconds"),
        ({"overlap_seconds": 31 * 86400}, "overlap_seconds"),
        ({"secret": "short"}, "secret"),
        ({"secret": SECRET}, "secret"),
    ],
)
def test_bad_rotations(app: Flask, access: Access, given: dict[str, Any], field: str) -> None:
    endpoint = add_endpoint(app, secret=SECRET)
    with pytest.raises(InvalidInput) as caught:
        actions.rotate_secret(access, endpoint.id, **given)
    assert caught.value.field == field
    assert secrets_of(app, endpoint) == [{"secret": SECRET, "expires_at": None}]


def test_an_unsigned_endpoint_has_no_secret_to_rotate(app: Flask, access: Access) -> None:
    endpoint = add_endpoint(app, format="testchat")
    with pytest.raises(InvalidEndpoint, match="Test Chat does not sign"):
        actions.rotate_secret(access, endpoint.id)


def test_rotation_frees_an_endpoint_whose_secret_cannot_be_decrypted(
    app: Flask, access: Access
) -> None:
    endpoint = add_endpoint(app)
    until = database_time(app) + timedelta(hours=1)
    update(app, "EndpointHealth", endpoint.id, hold_until=until, hold_reason="unreadable_secret")
    access.state.vault = Vault.from_config([], ["another key"])
    awake(app)
    new = actions.rotate_secret(access, endpoint.id)
    assert [item["secret"] for item in secrets_of(app, endpoint)] == [new]
    assert health(app, endpoint.id).hold_until is None
    assert awake(app)
