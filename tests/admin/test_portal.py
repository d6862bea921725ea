"""A portal link opens the pages for one tenant, with a session of its own, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask, session
from flask.testing import FlaskClient
from flask_wtf import CSRFProtect

from flask_webhooks import actions, queries
from flask_webhooks.access import Access
from flask_webhooks.app_state import state_of
from flask_webhooks.errors import ConfigurationError, Forbidden, InvalidInput, NotFound
from tests.support.delivering import close, emit, endpoint, make_app, webhooks_of
from tests.support.helpers import accessing, activity, add_endpoint, as_tenant, update
from tests.support.receiver import Receiver

PREFIX = "/portal/webhooks"
FUTURE = datetime(2199, 1, 1, tzinfo=UTC)


@pytest.fixture
def app(database_url: str, redis_url: str) -> Iterator[Flask]:
    """A host that lets nobody in by itself, and protects all of its forms."""
    app = portal_app(database_url, redis_url)
    # Without a context around all requests, which would share what belongs to one.
    yield app
    close(app)


def portal_app(database_url: str, redis_url: str, **config: Any) -> Flask:
    app = make_app(
        database_url,
        redis_url,
        **{"WEBHOOKS_PORTAL_PREFIX": PREFIX, "WTF_CSRF_ENABLED": True, **config},
    )
    webhooks_of(app).authorize(lambda action, endpoint: False)
    CSRFProtect(app)

    @app.get("/login")
    def login() -> str:
        session["user"] = "host's"
        return "hello"

    @app.get("/who")
    def who() -> str:
        return str(session.get("user"))

    return app


def link(app: Flask, tenant: str = "app_1", **values: Any) -> str:
    values = {"actor": "mira", "actions": ["view", "manage"], **values}
    with app.test_request_context("/", base_url="https://licences.example"):
        return webhooks_of(app).portal_link(tenant, **values)


def opened(app: Flask, url: str | None = None, **values: Any) -> FlaskClient:
    """A browser that has opened a link."""
    client = app.test_client()
    answer = client.get(url or link(app, **values))
    assert answer.status_code == 302
    return client


def get(client: FlaskClient, path: str = "/") -> Any:
    return client.get(PREFIX + path, base_url="https://licences.example")


def post(client: FlaskClient, path: str, **values: Any) -> Any:
    return client.post(
        PREFIX + path,
        data=values,
        base_url="https://licences.example",
        headers={"Referer": f"https://licences.example{PREFIX}{path}"},
    )


def csrf(page: Any) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
    assert found is not None
    return found[1]


def test_link_opens_the_pages_of_one_tenant(app: Flask) -> None:
    mine, other = add_endpoint(app, tenant="app_1"), add_endpoint(app, tenant="app_2")
    whole = add_endpoint(app)
    client = opened(app)
    page = get(client)
    assert page.status_code == 200
    assert mine.id in page.text
    assert other.id not in page.text
    assert get(client, f"/endpoints/{mine.id}").status_code == 200
    for hidden in (other, whole):
        assert get(client, f"/endpoints/{hidden.id}").status_code == 404
    assert get(client, "/tokens").status_code == 403
    # The pages of the host's own prefix, and its API, stay shut.
    assert client.get("/webhooks/", base_url="https://licences.example").status_code == 403


def test_link_is_exchanged_at_once_for_a_clean_address(app: Flask) -> None:
    answer = app.test_client().get(link(app))
    assert (answer.status_code, answer.headers["Location"]) == (302, f"{PREFIX}/")
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-store"
    [cookie] = answer.headers.getlist("Set-Cookie")
    assert cookie.startswith("flask_webhooks_portal=")
    assert f"Path={PREFIX}" in cookie
    for part in ("HttpOnly", "Secure", "SameSite=Lax", "Expires="):
        assert part in cookie


def test_form_of_the_portal_is_protected_and_named_in_the_audit_log(app: Flask) -> None:
    mine = add_endpoint(app, tenant="app_1")
    client = opened(app)
    path = f"/endpoints/{mine.id}/pause"
    token = csrf(get(client, path))
    assert post(client, path, reason="x").status_code == 400
    assert endpoint(app, mine.id).state == "active"
    assert post(client, path, reason="x", csrf_token=token).status_code == 303
    assert endpoint(app, mine.id).state == "paused"
    [notice] = re.findall(r"The webhook is paused[^<]*", get(client).text)
    assert notice not in get(client).text
    [entry] = [item for item in activity(app) if item.action == "endpoint.paused"]
    assert re.fullmatch(r"mira \(plk_\w+\)", entry.actor)


def test_token_of_another_session_is_refused(app: Flask) -> None:
    mine = add_endpoint(app, tenant="app_1")
    path = f"/endpoints/{mine.id}/pause"
    stolen = csrf(get(opened(app), path))
    client = opened(app)
    get(client, path)
    assert post(client, path, csrf_token=stolen).status_code == 400
    assert endpoint(app, mine.id).state == "active"


def test_what_the_link_does_not_allow_is_refused(app: Flask) -> None:
    mine = add_endpoint(app, tenant="app_1")
    client = opened(app, actions=["view"])
    assert get(client, f"/endpoints/{mine.id}/pause").status_code == 403
    assert get(client, f"/endpoints/{mine.id}").status_code == 200


def test_session_of_the_host_is_left_alone(app: Flask) -> None:
    client = app.test_client()
    https = {"base_url": "https://licences.example"}
    client.get("/login", **https)
    client.get(link(app))
    page = get(client)
    assert all("session=" not in cookie for cookie in page.headers.getlist("Set-Cookie"))
    assert client.get("/who", **https).text == "host's"
    # Nor does the session of the portal mean anything to the host.
    other = opened(app)
    assert other.get("/who", **https).text == "None"


def refusal(answer: Any) -> str:
    assert answer.status_code == 403
    [message] = re.findall(r"This link [^<]+|These pages [^<]+", answer.text)[:1]
    return str(message)


def test_changed_link_says_so(app: Flask) -> None:
    url = link(app)
    other = url[:-10] + ("A" if url[-10] != "A" else "B") + url[-9:]
    for changed in (other, url[:-20], url.split("=")[0]):
        client = app.test_client()
        assert refusal(client.get(changed)).startswith("This link is incomplete or was changed.")
        assert refusal(get(client)).startswith("These pages are opened with a link.")


def test_expired_link_ends_its_session_too(app: Flask) -> None:
    url = link(app)
    client = opened(app, url)
    [row] = queries.list_portal_links(accessing(app)).items
    update(app, "PortalLink", row.link.id, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert refusal(get(client)).startswith("This link has expired.")
    assert refusal(app.test_client().get(url)).startswith("This link has expired.")


def test_revoked_link_ends_its_session_too(app: Flask) -> None:
    url = link(app)
    client = opened(app, url)
    [row] = queries.list_portal_links(accessing(app)).items
    actions.revoke_portal_link(accessing(app), row.link.id)
    assert refusal(get(client)).startswith("This link was revoked.")
    assert refusal(app.test_client().get(url)).startswith("This link was revoked.")


def test_link_of_another_tenant_replaces_the_session(app: Flask) -> None:
    first, second = add_endpoint(app, tenant="app_1"), add_endpoint(app, tenant="app_2")
    client = opened(app)
    path = f"/endpoints/{first.id}/pause"
    token = csrf(get(client, path))
    client.get(link(app, "app_2"))
    assert get(client, f"/endpoints/{first.id}").status_code == 404
    assert get(client, f"/endpoints/{second.id}").status_code == 200
    # A form that was open before.
    assert post(client, path, csrf_token=token).status_code in (400, 404)
    assert endpoint(app, first.id).state == "active"


def test_forged_session_is_none(app: Flask) -> None:
    client = app.test_client()
    client.set_cookie(
        "flask_webhooks_portal", '{"link":"plk_1"}.x', domain="licences.example", path=PREFIX
    )
    assert refusal(get(client)).startswith("These pages are opened with a link.")


def test_frame_of_the_host_may_show_it(database_url: str, redis_url: str) -> None:
    app = portal_app(
        database_url,
        redis_url,
        WEBHOOKS_PORTAL_FRAME_ANCESTORS=["https://app.example.com"],
    )
    client = app.test_client()
    [cookie] = client.get(link(app)).headers.getlist("Set-Cookie")
    for part in ("Secure", "SameSite=None", "Partitioned"):
        assert part in cookie
    page = get(client)
    policy = page.headers["Content-Security-Policy"]
    assert "frame-ancestors 'self' https://app.example.com;" in policy
    assert "X-Frame-Options" not in page.headers
    other = client.get("/webhooks/", base_url="https://licences.example")
    assert other.headers["X-Frame-Options"] == "SAMEORIGIN"
    close(app)


def test_without_ancestors_no_other_site_may_frame_it(app: Flask) -> None:
    page = get(opened(app))
    assert page.headers["X-Frame-Options"] == "SAMEORIGIN"
    assert "frame-ancestors 'self';" in page.headers["Content-Security-Policy"]


def test_test_event_is_sent_from_the_portal(app: Flask, receiver: Receiver) -> None:
    mine = add_endpoint(app, receiver.url("/ok"), tenant="app_1")
    client = opened(app, actions=["view", "send"])
    form = get(client, f"/endpoints/{mine.id}/test")
    answer = post(
        client,
        f"/endpoints/{mine.id}/test",
        csrf_token=csrf(form),
        event_type="license.created",
        sample="{}",
    )
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith(f"{PREFIX}/deliveries/")


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"tenant": ""}, "tenant"),
        ({"tenant": None}, "tenant"),
        ({"actor": ""}, "actor"),
        ({"actor": "a\nb"}, "actor"),
        ({"actor": "x" * 201}, "actor"),
        ({"expires_in": 59}, "expires_in"),
        ({"expires_in": float("nan")}, "expires_in"),
        ({"expires_in": timedelta(days=31)}, "expires_in"),
        ({"expires_in": "1h"}, "expires_in"),
        ({"actions": []}, "actions"),
        ({"actions": ["tokens"]}, "actions"),
        ({"actions": "view"}, "actions"),
    ],
)
def test_value_that_cannot_be_used_is_refused(
    app: Flask, values: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        link(app, **{"tenant": "app_1", **values})
    assert caught.value.field == field
    assert queries.list_portal_links(accessing(app)).items == []


def test_nobody_gives_more_than_they_may_or_for_other_tenants(app: Flask) -> None:
    limited = Access(
        state_of(app), "ann", "app_1", lambda action, endpoint: action in {"view", "tokens"}
    )
    with app.test_request_context("/"):
        with pytest.raises(Forbidden, match="more permissions than its creator"):
            actions.create_portal_link(limited, "app_1", actor="x", actions=["manage"])
        with pytest.raises(Forbidden, match="only create this for your own tenants"):
            actions.create_portal_link(limited, "app_2", actor="x")
        made = actions.create_portal_link(limited, None, actor="x")
    assert made.link.tenant == "app_1"
    with pytest.raises(NotFound, match="There is no portal link"):
        actions.revoke_portal_link(as_tenant(app, "app_2"), made.link.id)


def test_links_need_a_portal(database_url: str, redis_url: str) -> None:
    app = portal_app(database_url, redis_url, WEBHOOKS_PORTAL_PREFIX=None)
    with pytest.raises(ConfigurationError, match="set WEBHOOKS_PORTAL_PREFIX"):
        link(app)
    close(app)


def test_address_outside_of_a_request_needs_a_server_name(app: Flask) -> None:
    with app.app_context(), pytest.raises(ConfigurationError, match="set SERVER_NAME"):
        webhooks_of(app).portal_link("app_1", actor="mira")
    app.config["SERVER_NAME"] = "licences.example"
    with app.app_context():
        url = webhooks_of(app).portal_link("app_1", actor="mira")
    assert url.startswith(f"http://licences.example{PREFIX}/open?link=plk_")


def test_link_of_before_a_new_secret_key_goes_on(app: Flask) -> None:
    url = link(app)
    app.config["SECRET_KEY_FALLBACKS"] = [app.config["SECRET_KEY"]]
    app.config["SECRET_KEY"] = "another one"
    assert app.test_client().get(url).status_code == 302
    app.config["SECRET_KEY_FALLBACKS"] = []
    assert app.test_client().get(url).status_code == 403


def test_events_of_the_tenant_are_seen(app: Flask) -> None:
    for tenant in ("app_1", "app_2"):
        add_endpoint(app, tenant=tenant)
    with app.app_context():
        [event], [other] = emit(app, tenant="app_1"), emit(app, tenant="app_2")
    client = opened(app)
    assert event in get(client, "/events").text
    assert get(client, f"/events/{other}").status_code == 404
