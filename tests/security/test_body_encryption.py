"""Bodies of attempts are encrypted at rest where that is asked for, bound to their attempt, and follow the keys."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_webhooks import actions, ids, queries
from flask_webhooks.actions import reencryption
from flask_webhooks.app_state import state_of
from flask_webhooks.errors import UnreadableSecret
from flask_webhooks.models import Attempt
from flask_webhooks.security.bodies import BodyKeys
from flask_webhooks.security.signature_check import Verdict
from tests.cli.test_cli import run
from tests.delivery.test_ages import days_from_now
from tests.delivery.test_retention import prune
from tests.security.test_vault import NEW, OLD
from tests.support.delivering import (
    attempts,
    close,
    deliveries,
    drain,
    emit,
    make_app,
    models_of,
    the_delivery,
    webhooks_of,
)
from tests.support.helpers import accessing, activity, as_tenant
from tests.support.processes import COMMAND, WorkerProcess, config_of, wait_until
from tests.support.receiver import Receiver

DLV = ids.new_id("dlv")


@pytest.fixture
def host(database_url: str, redis_url: str) -> Iterator[Any]:
    """Makes the host with keys and settings of the test's."""

    def make(*keys: str, encrypt: bool = True, **settings: Any) -> Flask:
        app = make_app(
            database_url,
            redis_url,
            WEBHOOKS_ENCRYPTION_KEYS=list(keys),
            WEBHOOKS_ENCRYPT_BODIES=encrypt,
            **settings,
        )
        contexts.enter_context(app.app_context())
        contexts.callback(close, app)
        return app

    with ExitStack() as contexts:
        yield make


def deliver(app: Flask, receiver: Receiver, count: int = 1, path: str = "/ok") -> None:
    if not queries.list_endpoints(accessing(app)):
        webhooks_of(app).create_endpoint(receiver.url(path), ["license.*"])
    emit(app, count)
    drain(app)


def shown(app: Flask) -> list[Attempt]:
    """All attempts, as people see them."""
    access = accessing(app)
    return [
        attempt
        for delivery in deliveries(app)
        for attempt in queries.get_delivery(access, delivery.id).attempts
    ]


def test_bodies_are_encrypted_in_the_database_only(host: Any, receiver: Receiver) -> None:
    app = host(NEW)
    deliver(app, receiver)
    [stored] = attempts(app)
    assert stored.body_key == state_of(app).vault.bodies.newest
    for body in (stored.request_body, stored.response_body):
        assert body is not None
        assert b"lic_0" not in base64.b64decode(body)
        assert b"ok" not in base64.b64decode(body)
    [attempt] = shown(app)
    assert attempt.request_body == receiver.requests[0].body.decode()
    assert attempt.response_body == '{"ok":true}'
    assert attempt.missing == {}
    delivery_id = the_delivery(app).id
    assert "lic_0" in app.test_client().get(f"/webhooks/deliveries/{delivery_id}").text
    assert "lic_0" in run(app, "deliveries", "show", delivery_id, "--bodies").output
    [member] = json.loads(run(app, "deliveries", "show", delivery_id, "--json").output)["attempts"]
    assert member["request_body"] == attempt.request_body


def test_signature_debugger_compares_with_what_was_sent(host: Any, receiver: Receiver) -> None:
    app = host(NEW)
    deliver(app, receiver)
    [request] = receiver.requests
    headers = "\n".join(f"{name}: {value}" for name, value in request.headers.items())
    endpoint_id = the_delivery(app).endpoint_id

    def check(body: str) -> Verdict:
        return queries.check_signature(accessing(app), endpoint_id, headers, body)

    plain = check(request.body.decode() + "\n")
    stored = models_of(app).table("Attempt")
    with state_of(app).engine.begin() as connection:
        connection.execute(sa.update(stored).values(body_key="0" * 16))
    unreadable = check(request.body.decode() + "\n")
    assert plain != unreadable


def test_switching_it_on_and_off_leaves_nothing_unreadable(host: Any, receiver: Receiver) -> None:
    deliver(host(NEW, encrypt=False), receiver)
    deliver(host(NEW), receiver)
    app = host(NEW, encrypt=False)
    deliver(app, receiver)
    assert [item.body_key is not None for item in attempts(app)] == [False, True, False]
    assert all("lic_0" in (item.request_body or "") for item in shown(app))


def test_nothing_is_encrypted_by_default(
    database_url: str, redis_url: str, receiver: Receiver
) -> None:
    app = make_app(database_url, redis_url)
    with app.app_context():
        deliver(app, receiver)
        assert attempts(app)[0].body_key is None
        assert "lic_0" in (attempts(app)[0].request_body or "")
    close(app)


def test_empty_body_and_no_body(host: Any, receiver: Receiver) -> None:
    app = host(NEW)
    deliver(app, receiver, path="/status/204")
    assert shown(app)[0].response_body == ""
    lean = host(NEW, WEBHOOKS_STORE_BODIES="none")
    deliver(lean, receiver)
    assert attempts(lean)[-1].body_key is None
    assert shown(lean)[-1].missing["request_body"] == "not_kept"


def test_body_of_another_attempt_is_not_shown(host: Any, receiver: Receiver) -> None:
    app = host(NEW)
    deliver(app, receiver, 2)
    first, second = attempts(app)
    change(app, second, request_body=first.request_body)
    change(app, first, response_body=first.request_body)
    [one, other] = shown(app)
    assert other.request_body is None
    assert other.missing == {"request_body": "unreadable"}
    assert one.missing == {"response_body": "unreadable"}
    assert one.request_body is not None
    page = app.test_client().get(f"/webhooks/deliveries/{second.delivery_id}").text
    assert "It cannot be decrypted" in page


def test_body_without_its_key_says_so(host: Any, receiver: Receiver) -> None:
    deliver(host(OLD), receiver)
    app = host(NEW, SECRET_KEY="another")
    [attempt] = shown(app)
    assert attempt.missing == {"request_body": "unreadable", "response_body": "unreadable"}
    assert "It cannot be decrypted" in run(app, "deliveries", "show", the_delivery(app).id).output
    result = run(app, "reencrypt", "--dry-run")
    assert result.exit_code == 1
    use = queries.key_use(accessing(app))
    assert (use.older_bodies, use.unreadable_bodies) == (0, 1)
    found = run(app, "doctor").output
    assert "No key decrypts the bodies of 1 attempts." in found


@pytest.mark.slow
def test_reencrypt_renews_bodies(
    host: Any, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reencryption, "BATCH", 2)
    deliver(host(OLD), receiver, 5)
    app = host(NEW, OLD)
    deliver(app, receiver)
    before = [(item.request_body, item.response_body) for item in shown(app)]
    assert run(app, "reencrypt", "--dry-run").stdout.splitlines() == [
        "1 of 1 endpoints need an older key.",
        "The bodies of 5 attempts need an older key.",
    ]
    assert "The bodies of 5 attempts need an older key." in run(app, "doctor").output
    result = run(app, "reencrypt")
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    assert "Encrypted the bodies of 5 attempts with the newest key." in result.stdout
    assert activity(app)[-1].changes == {"endpoints": 1, "attempts": 5}
    alone = host(NEW, SECRET_KEY="another")
    assert [(item.request_body, item.response_body) for item in shown(alone)] == before
    assert "Encrypted the bodies" not in run(app, "reencrypt").stdout
    assert "attempts need" not in run(app, "doctor").output


def test_reencrypt_leaves_what_is_damaged(host: Any, receiver: Receiver) -> None:
    deliver(host(OLD), receiver, 3)
    app = host(NEW, OLD)
    damaged = attempts(app)[1]
    change(app, damaged, request_body="AAAA")
    [*_, progress] = actions.reencrypt(accessing(app))
    assert (progress.bodies, progress.unreadable_bodies) == (2, 1)
    assert attempts(app)[1].body_key == damaged.body_key


def test_keys_of_bodies_are_for_those_who_see_every_tenant(host: Any, receiver: Receiver) -> None:
    deliver(host(OLD), receiver)
    app = host(NEW, OLD)
    assert queries.key_use(as_tenant(app, "app_1")).older_bodies == 0
    assert [item.bodies for item in actions.reencrypt(as_tenant(app, "app_1"))] == []
    assert attempts(app)[0].body_key != state_of(app).vault.bodies.newest


def test_key_is_forgotten_with_the_last_body(host: Any, receiver: Receiver) -> None:
    app = host(NEW, WEBHOOKS_RETENTION_REQUEST_BODY_DAYS=7, WEBHOOKS_RETENTION_RESPONSE_BODY_DAYS=3)
    deliver(app, receiver)
    prune(app, days_from_now(4))
    [attempt] = attempts(app)
    assert (attempt.response_body, attempt.body_key is None) == (None, False)
    assert shown(app)[0].request_body is not None
    prune(app, days_from_now(8))
    assert attempts(app)[0].body_key is None


def test_index_serves_those_who_look_for_keys(host: Any, receiver: Receiver) -> None:
    app = host(NEW)
    deliver(app, receiver)
    table = models_of(app).table("Attempt")
    query = sa.select(table.c.body_key).where(table.c.body_key > "").order_by(table.c.body_key)
    state = state_of(app)
    with state.engine.begin() as connection:
        explain = "EXPLAIN QUERY PLAN "
        if state.engine.dialect.name == "postgresql":
            connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
            explain = "EXPLAIN "
        text = str(query.limit(1).compile(state.engine, compile_kwargs={"literal_binds": True}))
        plan = " | ".join(str(row) for row in connection.execute(sa.text(explain + text)))
    assert "ix_webhooks_attempt_body_key" in plan


@pytest.mark.slow
def test_a_worker_encrypts(host: Any, receiver: Receiver, tmp_path: Path) -> None:
    app = host(NEW)
    webhooks_of(app).create_endpoint(receiver.url(), ["license.*"])
    config = {
        **config_of(app),
        "WEBHOOKS_ENCRYPTION_KEYS": [NEW],
        "WEBHOOKS_ENCRYPT_BODIES": True,
    }
    with WorkerProcess(COMMAND, config, tmp_path / "worker.log") as worker:
        emit(app)
        wait_until(lambda: bool(attempts(app)), 30, worker.output)
    assert attempts(app)[0].body_key is not None
    assert "lic_0" in (shown(app)[0].request_body or "")


# -- the keys ------------------------------------------------------------------------------------------------


def keys(*names: str) -> BodyKeys:
    return BodyKeys([name.encode().ljust(32) for name in names])


@pytest.mark.parametrize("body", ["", "{}", "Zoë \N{GRINNING FACE}", "x" * 100_000])
def test_body_survives(body: str) -> None:
    ours = keys("a")
    stored = ours.encrypt(body, DLV, 1, "request_body")
    assert ours.decrypt(stored, ours.newest, DLV, 1, "request_body") == body
    assert ours.encrypt(body, DLV, 1, "request_body") != stored


def test_older_key_decrypts_by_its_fingerprint() -> None:
    old, both = keys("a"), keys("b", "a")
    stored = old.encrypt("body", DLV, 1, "request_body")
    assert both.newest != old.newest
    assert both.decrypt(stored, old.newest, DLV, 1, "request_body") == "body"
    assert old.newest in both
    assert both.newest not in old


@pytest.mark.parametrize(
    "place",
    [
        (ids.new_id("dlv"), 1, "request_body"),
        (DLV, 2, "request_body"),
        (DLV, 1, "response_body"),
        ("something else", 1, "request_body"),
    ],
)
def test_body_is_bound_to_its_place(place: tuple[str, int, str]) -> None:
    ours = keys("a")
    stored = ours.encrypt("body", DLV, 1, "request_body")
    with pytest.raises(UnreadableSecret, match="damaged, or was recorded for another"):
        ours.decrypt(stored, ours.newest, *place)


@pytest.mark.parametrize("stored", ["", "AAAA", "not base 64", "é", "A" * 100])
def test_damage_is_found(stored: str) -> None:
    ours = keys("a")
    with pytest.raises(UnreadableSecret):
        ours.decrypt(stored, ours.newest, DLV, 1, "request_body")


def test_deliveries_of_other_days_have_other_keys() -> None:
    """A key that encrypts too much is not safe with random nonces."""
    from flask_webhooks.security import bodies

    days = {
        bodies._day(ids.lowest_id("dlv", days_from_now(0) + timedelta(days=day)))
        for day in (0, 0, 1)
    }
    assert len(days) == 2
    assert bodies._cipher(b"k" * 32, 1) is not bodies._cipher(b"k" * 32, 2)


def change(app: Flask, attempt: Attempt, **values: Any) -> None:
    table = models_of(app).table("Attempt")
    with state_of(app).engine.begin() as connection:
        connection.execute(
            sa.update(table)
            .where(table.c.delivery_id == attempt.delivery_id, table.c.number == attempt.number)
            .values(values)
        )
