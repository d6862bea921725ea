"""Tokens of the API: what they let in, who may create and revoke them, and what becomes of those that have ended."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask, request
from standardwebhooks import Webhook

from flask_webhooks import actions, queries
from flask_webhooks.access import ACTIONS, Access
from flask_webhooks.app_state import ALL_TENANTS, state_of
from flask_webhooks.errors import (
    ConfigurationError,
    Forbidden,
    InvalidInput,
    InvalidToken,
    NotFound,
    TokenLimitReached,
)
from flask_webhooks.token_access import GRANTABLE, PREFIX, digest_of, token_access
from tests.support.api_calls import PREFIX as API
from tests.support.delivering import make_app, webhooks_of
from tests.support.helpers import (
    accessing,
    activity,
    add_endpoint,
    as_tenant,
    at_once,
    close,
    update,
)
from tests.support.pages import contents
from tests.support.processes import OURS, WorkerProcess, config_of, wait_until
from tests.support.receiver import Receiver

FUTURE = datetime(2199, 1, 1, tzinfo=UTC)


@pytest.fixture
def app(database_url: str, redis_url: str) -> Iterator[Flask]:
    """A host that has no programs of its own, and so lets them in by tokens alone."""
    app = make_app(database_url, redis_url)
    webhooks = webhooks_of(app)
    # The functions of the host know people only.
    webhooks.authorize(lambda action, endpoint: False)
    app.register_blueprint(webhooks.api_blueprint(tokens=True), url_prefix=API)
    with app.app_context():
        yield app
        close(app)


def created(app: Flask, *allowed: str, **values: Any) -> actions.CreatedToken:
    return actions.create_token(accessing(app), "CI", allowed or ("view",), **values)


def call(app: Flask, secret: str | None, path: str = "/endpoints", **options: Any) -> Any:
    """A request with a token; returns status and JSON."""
    headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
    response = app.test_client().open(
        API + path, method=options.pop("method", "GET"), headers=headers, **options
    )
    return response.status_code, response.get_json()


def refused(app: Flask, secret: str | None) -> str:
    response = app.test_client().get(
        f"{API}/endpoints",
        headers={} if secret is None else {"Authorization": f"Bearer {secret}"},
    )
    assert response.status_code == 401
    assert response.mimetype == "application/problem+json"
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    return str(response.get_json()["detail"])


# -- what a token lets in -----------------------------------------------------------------------------


def test_token_lets_in_with_its_own_rights(app: Flask) -> None:
    endpoint = add_endpoint(app)
    secret = created(app, "view").secret
    status, found = call(app, secret)
    assert (status, [item["id"] for item in found["items"]]) == (200, [endpoint.id])
    status, problem = call(app, secret, f"/endpoints/{endpoint.id}", method="DELETE")
    assert (status, problem["code"]) == (403, "forbidden")
    status, _ = call(
        app, created(app, "view", "manage").secret, f"/endpoints/{endpoint.id}", method="DELETE"
    )
    assert status == 204


def test_token_of_a_tenant_sees_nothing_else(app: Flask) -> None:
    mine, other, _ = (add_endpoint(app, tenant=tenant) for tenant in ("app_1", "app_2", None))
    secret = created(app, *GRANTABLE, tenant="app_1").secret
    assert [item["id"] for item in call(app, secret)[1]["items"]] == [mine.id]
    assert call(app, secret, f"/endpoints/{other.id}")[0] == 404
    status, made = call(app, secret, method="POST", json={"url": "https://example.com/new"})
    assert (status, made["tenant"]) == (201, "app_1")
    body = {"url": "https://example.com/new", "tenant": "app_2"}
    assert call(app, secret, method="POST", json=body)[0] == 403


@pytest.mark.slow
def test_program_of_a_tenant_tests_its_endpoint_by_a_real_worker(
    app: Flask, receiver: Receiver, tmp_path: Path
) -> None:
    other = add_endpoint(app, receiver.url("/other"), tenant="app_2")
    made = created(app, "view", "manage", "send", tenant="app_1")
    body = {"url": receiver.url("/mine"), "events": ["license.*"]}
    status, mine = call(app, made.secret, method="POST", json=body)
    assert (status, mine["tenant"]) == (201, "app_1")
    with WorkerProcess(OURS, config_of(app), tmp_path / "worker.log") as worker:
        test = {"method": "POST", "json": {"event_type": "license.revoked"}}
        assert call(app, made.secret, f"/endpoints/{other.id}/test", **test)[0] == 404
        status, delivery = call(app, made.secret, f"/endpoints/{mine['id']}/test", **test)
        assert status == 202
        receiver.wait_for(1)

        def detail() -> Any:
            return call(app, made.secret, f"/deliveries/{delivery['id']}")[1]

        wait_until(lambda: detail()["state"] == "succeeded", 30, worker.output)
    [sent] = receiver.requests
    assert sent.path == "/mine"
    event = Webhook(mine["secret"]).verify(sent.body, sent.headers)
    assert (event["type"], event["tenant"]) == ("license.revoked", "app_1")
    token = queries.get_token(accessing(app), made.token.id).token
    assert token.last_used_at is not None
    assert abs(token.last_used_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_what_a_token_does_is_written_down_in_its_name(app: Flask) -> None:
    made = created(app, "manage")
    assert call(app, made.secret, method="POST", json={"url": "https://example.com/"})[0] == 201
    assert activity(app)[-1].actor == f"token:CI ({made.token.id})"


def test_no_token_may_make_others(app: Flask) -> None:
    made = created(app, *GRANTABLE)
    assert set(ACTIONS) - set(GRANTABLE) == {"tokens"}
    for method, path in (
        ("GET", "/tokens"),
        ("POST", "/tokens"),
        ("DELETE", f"/tokens/{made.token.id}"),
    ):
        body = {"json": {"name": "x", "actions": ["view"]}} if method == "POST" else {}
        assert call(app, made.secret, path, method=method, **body)[0] == 403
    # Not even one that was stored so.
    update(app, "Token", made.token.id, actions=["tokens", "view"])
    assert call(app, made.secret, "/tokens")[0] == 403


def test_refusals_say_what_to_do(app: Flask) -> None:
    made = created(app, expires_at=FUTURE)
    assert "API token" in refused(app, None)
    assert "API token" in refused(app, "a-key-of-something-else")
    assert "43 letters" in refused(app, made.secret[:-1])
    assert "43 letters" in refused(app, f"{PREFIX}{'ä' * 43}")
    assert "no such token" in refused(app, f"{PREFIX}{'x' * 43}")
    update(app, "Token", made.token.id, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert "expired on" in refused(app, made.secret)
    revoked = created(app)
    actions.revoke_token(accessing(app), revoked.token.id)
    assert "was revoked" in refused(app, revoked.secret)
    # The prefix is not in the host's hands, and a token of ours is never taken for a key of its own.
    assert call(app, created(app).secret)[0] == 200


def test_use_is_noted_once_a_minute(app: Flask) -> None:
    made = created(app)
    assert made.token.last_used_at is None
    assert call(app, made.secret)[0] == 200
    first = queries.get_token(accessing(app), made.token.id).token.last_used_at
    assert first is not None
    assert call(app, made.secret)[0] == 200
    assert queries.get_token(accessing(app), made.token.id).token.last_used_at == first
    before = first - timedelta(minutes=2)
    update(app, "Token", made.token.id, last_used_at=before)
    assert call(app, made.secret)[0] == 200
    assert queries.get_token(accessing(app), made.token.id).token.last_used_at > before  # type: ignore[operator]


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_request_goes_on_where_its_use_cannot_be_noted(app: Flask) -> None:
    made = created(app)
    with state_of(app).engine.connect() as holder:
        holder.exec_driver_sql("BEGIN IMMEDIATE")
        assert call(app, made.secret)[0] == 200
        holder.rollback()
    assert queries.get_token(accessing(app), made.token.id).token.last_used_at is None


def test_token_is_stored_and_logged_nowhere(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        made = created(app, "manage", tenant="app_1")
        call(app, made.secret)
        call(app, made.secret, method="POST", json={"url": "https://example.com/"})
        actions.revoke_token(accessing(app), made.token.id)
        refused(app, made.secret)
    assert made.secret not in repr(made)
    body = made.secret.removeprefix(PREFIX)
    stored = str(
        [
            [vars(row) if hasattr(row, "__dict__") else row for row in rows]
            for rows in contents(app).values()
        ]
    )
    assert body not in stored
    assert digest_of(made.secret) in stored
    assert body not in caplog.text


# -- beside the host's own programs -------------------------------------------------------------------


@pytest.fixture
def both(database_url: str, redis_url: str) -> Iterator[Flask]:
    """A host that has programs of its own as well."""
    app = make_app(database_url, redis_url)
    webhooks = webhooks_of(app)
    blueprint = webhooks.api_blueprint(authenticate=lambda: _key() == "mine", tokens=True)
    app.register_blueprint(blueprint, url_prefix=API)
    with app.app_context():
        yield app
        close(app)


def _key() -> str | None:
    return request.authorization.token if request.authorization else None


def test_hosts_programs_and_tokens_are_let_in_side_by_side(both: Flask) -> None:
    made = created(both)
    assert call(both, "mine")[0] == 200
    assert call(both, made.secret)[0] == 200
    assert call(both, "wrong")[0] == 401
    assert call(both, None)[0] == 401
    # What looks like a token is never shown to the host, which could take it for a key of its own.
    assert call(both, f"{PREFIX}mine")[0] == 401


def test_api_without_tokens_knows_none(database_url: str, redis_url: str) -> None:
    app = make_app(database_url, redis_url)
    webhooks = webhooks_of(app)
    asked: list[str | None] = []

    def program() -> bool:
        asked.append(_key())
        return False

    app.register_blueprint(webhooks.api_blueprint(authenticate=program), url_prefix=API)
    secret = f"{PREFIX}{'x' * 43}"
    with app.app_context():
        with pytest.raises(ConfigurationError, match="tokens=True"):
            created(app)
        status, problem = call(app, secret)
        assert (status, asked) == (401, [secret])
        assert "that this application accepts" in problem["detail"]
        assert call(app, secret, "/tokens")[0] == 401
        webhooks.hooks.authorize = lambda action, endpoint: True
        close(app)


def test_tokens_by_the_api(both: Flask) -> None:
    body = {
        "name": "CI",
        "actions": ["send", "view"],
        "tenant": "app_1",
        "expires_at": "2199-01-01T00:00:00Z",
    }
    status, made = call(both, "mine", "/tokens", method="POST", json=body)
    assert status == 201
    assert made["actions"] == ["view", "send"]
    assert call(both, made["secret"])[0] == 200
    [listed] = call(both, "mine", "/tokens")[1]["items"]
    assert listed["id"] == made["id"]
    assert listed["ending"] == made["secret"][-4:]
    assert listed["last_used_at"]
    assert "secret" not in listed
    assert call(both, "mine", f"/tokens/{made['id']}", method="DELETE")[0] == 204
    assert call(both, made["secret"])[0] == 401
    assert call(both, "mine", "/tokens")[1]["items"][0]["condition"] == "revoked"
    assert call(both, "mine", "/tokens/tok_nothing", method="DELETE")[0] == 404


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"actions": []}, "actions"),
        ({"actions": ["tokens"]}, "actions"),
        ({"actions": "view"}, "actions"),
        ({"actions": [["view"]]}, "actions"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"tenant": "\0"}, "tenant"),
    ],
)
def test_bad_input_names_its_field(both: Flask, change: dict[str, Any], field: str) -> None:
    body = {"name": "CI", "actions": ["view"], **change}
    status, problem = call(both, "mine", "/tokens", method="POST", json=body)
    assert (status, problem["errors"][0]["field"]) == (422, field)
    assert queries.list_tokens(accessing(both)).items == []


# -- who may create and revoke ------------------------------------------------------------------------


def test_nobody_gives_a_token_more_than_is_his_own(app: Flask) -> None:
    state = state_of(app)
    access = Access(state, "ann", "app_1", lambda action, endpoint: action in ("view", "tokens"))
    assert actions.create_token(access, "CI", ["view"]).token.tenant == "app_1"
    with pytest.raises(Forbidden, match="manage"):
        actions.create_token(access, "CI", ["view", "manage"])
    with pytest.raises(Forbidden, match="own tenant"):
        actions.create_token(access, "CI", ["view"], tenant="app_2")
    assert len(queries.list_tokens(access).items) == 1


def test_tokens_of_others_do_not_exist(app: Flask) -> None:
    mine = as_tenant(app, "app_1")
    for tenant in ("app_2", None):
        token = created(app, tenant=tenant).token
        with pytest.raises(NotFound):
            actions.revoke_token(mine, token.id)
        with pytest.raises(NotFound):
            queries.get_token(mine, token.id)
    assert queries.list_tokens(mine).items == []
    own = actions.create_token(mine, "CI", ["view"]).token
    assert [row.token.id for row in queries.list_tokens(mine).items] == [own.id]
    assert len(queries.list_tokens(accessing(app)).items) == 3
    for bad in ("tok_nothing", "\0", "x" * 500):
        with pytest.raises(NotFound):
            actions.revoke_token(mine, bad)


def test_audit_log_tells_of_tokens(app: Flask) -> None:
    made = created(app, "view", "send", tenant="app_1", expires_at=FUTURE)
    actions.revoke_token(accessing(app), made.token.id)
    actions.revoke_token(accessing(app), made.token.id)
    first, second = activity(app)
    assert (first.action, first.tenant, first.actor) == ("token.created", "app_1", "tester")
    assert first.changes == {
        "token": made.token.id,
        "name": "CI",
        "actions": ["view", "send"],
        "expires_at": FUTURE.isoformat(),
    }
    assert second.action == "token.revoked"


def test_tokens_of_a_tenant_are_bounded_also_when_many_ask_at_once(
    database_url: str, redis_url: str
) -> None:
    app = make_app(database_url, redis_url, WEBHOOKS_MAX_TOKENS=3)
    webhooks_of(app).api_blueprint(tokens=True)
    access = accessing(app)

    def create() -> Any:
        return actions.create_token(access, "CI", ["view"], tenant="app_1")

    results = at_once(*[create] * 8)
    refused = [item for item in results if isinstance(item, Exception)]
    assert {type(item) for item in refused} == {TokenLimitReached}
    assert len(refused) == 5
    # Another tenant has room, and so has this one once a token has ended.
    actions.create_token(access, "CI", ["view"], tenant="app_2")
    actions.revoke_token(access, queries.list_tokens(access).items[-1].token.id)
    update(
        app, "Token", queries.list_tokens(access).items[-2].token.id, expires_at=datetime.now(UTC)
    )
    create()
    create()
    with pytest.raises(TokenLimitReached, match="Revoke one"):
        create()
    close(app)


def test_what_ended_long_ago_is_forgotten(app: Flask) -> None:
    access = accessing(app)
    old, expired, other = created(app).token, created(app).token, created(app, tenant="app_1").token
    past = datetime.now(UTC) - timedelta(days=31)
    update(app, "Token", old.id, revoked_at=past)
    update(app, "Token", expired.id, expires_at=past)
    update(app, "Token", other.id, revoked_at=past)
    new = created(app).token
    assert {row.token.id for row in queries.list_tokens(access).items} == {other.id, new.id}


def test_lists_go_on_by_pages(app: Flask) -> None:
    ids = [created(app).token.id for _ in range(5)]
    page = queries.list_tokens(accessing(app), limit=2)
    assert [row.token.id for row in page.items] == ids[:2:-1]
    page = queries.list_tokens(accessing(app), page.next_before, limit=5)
    assert ([row.token.id for row in page.items], page.next_before) == (ids[2::-1], None)
    with pytest.raises(InvalidInput):
        queries.list_tokens(accessing(app), limit=0)


def test_access_of_a_token(app: Flask) -> None:
    state = state_of(app)
    everything = token_access(state, created(app, "view").secret)
    assert everything.tenant is ALL_TENANTS
    assert token_access(state, created(app, tenant="7").secret).tenant == "7"
    with pytest.raises(InvalidToken):
        token_access(state, "")
    with state.engine.begin() as connection:
        connection.execute(sa.delete(state.table("Token")))
    with pytest.raises(InvalidToken):
        token_access(state, f"{PREFIX}{'x' * 43}")


# -- commands -----------------------------------------------------------------------------------------


def run(app: Flask, *arguments: str) -> Any:
    return app.test_cli_runner().invoke(args=["webhooks", "tokens", *arguments])


def test_commands(app: Flask) -> None:
    assert run(app, "list").stdout.startswith("There are no tokens. Create one with:")
    result = run(app, "create", "Build\x1b[31m", "--may", "view")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "without control characters" in result.stderr
    result = run(
        app,
        "create",
        "Build",
        "--may",
        "view",
        "--may",
        "send",
        "--tenant",
        "app_1",
        "--days",
        "30",
    )
    assert result.exit_code == 0, result.stderr
    secret = re.search(r"Token, only shown once: (\S+)", result.stdout)[1]  # type: ignore[index]
    assert call(app, secret)[0] == 200
    listed = run(app, "list").stdout
    assert secret not in listed
    assert "view,send" in listed
    token_id = re.search(r"tok_\w+", listed)[0]  # type: ignore[index]
    assert run(app, "list", "--tenant", "app_2").stdout.startswith("No tokens match.")
    assert f'"id": "{token_id}"' in run(app, "list", "--json").stdout
    assert run(app, "revoke", token_id).stdout == f"Revoked {token_id} (Build).\n"
    assert call(app, secret)[0] == 401
    assert run(app, "revoke", "tok_x").stderr == "Error: There is no API token 'tok_x'.\n"
    assert run(app, "create", "Build").exit_code == 2
    assert run(app, "create", "Build", "--may", "tokens").exit_code == 2


def test_command_says_where_no_api_takes_tokens(database_url: str, redis_url: str) -> None:
    app = make_app(database_url, redis_url)
    result = run(app, "create", "Build", "--may", "view")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "webhooks.api_blueprint(tokens=True)" in result.stderr
    close(app)
