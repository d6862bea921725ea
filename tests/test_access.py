"""Who may do what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from werkzeug.local import LocalProxy
from werkzeug.utils import redirect

from flask_webhooks import ALL_TENANTS, actions, queries
from flask_webhooks.access import (
    ACTIONS,
    Access,
    find_delivery,
    find_endpoint,
    request_access,
    system_access,
)
from flask_webhooks.errors import ConfigurationError, Forbidden, NotFound
from flask_webhooks.models import Endpoint
from flask_webhooks.state import State, state_of

from .delivering import deliveries
from .helpers import activity, add_delivery, add_endpoint, as_tenant, close, make_app


@pytest.fixture
def state(app: Flask) -> State:
    return state_of(app)


def test_nobody_may_anything_until_the_host_says_who(state: State) -> None:
    state.hooks.authorize = None
    with pytest.raises(Forbidden, match=r"@webhooks\.authorize"):
        request_access(state)


@pytest.mark.parametrize("nobody", [None, "", LocalProxy(lambda: None)])
def test_a_person_without_tenant_sees_nothing(state: State, nobody: Any) -> None:
    state.hooks.current_tenant = lambda: nobody
    with pytest.raises(Forbidden, match="tenant"):
        request_access(state)


@pytest.mark.parametrize(
    ("given", "tenant"),
    [("app_1", "app_1"), (17, "17"), (ALL_TENANTS, ALL_TENANTS), (LocalProxy(lambda: 5), "5")],
)
def test_the_tenant_is_what_the_host_says(state: State, given: Any, tenant: Any) -> None:
    state.hooks.current_tenant = lambda: given
    assert request_access(state).tenant == tenant


def test_an_object_whose_id_was_meant_is_the_hosts_mistake(state: State) -> None:
    state.hooks.current_tenant = lambda: state.app  # type: ignore[assignment]
    with pytest.raises(ConfigurationError, match="id of a tenant, not a Flask"):
        request_access(state)


def test_without_a_tenant_function_whoever_is_authorised_sees_all_tenants(state: State) -> None:
    assert request_access(state).tenant is ALL_TENANTS


@pytest.mark.parametrize(
    ("given", "actor"),
    [
        (None, "unknown"),
        (lambda: None, "unknown"),
        (lambda: "ann@example.com", "ann@example.com"),
        (lambda: "a\nb", "a\N{REPLACEMENT CHARACTER}b"),
        (lambda: "x" * 300, "x" * 255),
    ],
)
def test_the_actor_is_a_line_that_fits(state: State, given: Any, actor: str) -> None:
    state.hooks.current_actor = given
    assert request_access(state).actor == actor


def test_the_host_is_asked_with_action_and_endpoint(app: Flask, state: State) -> None:
    asked: list[tuple[str, Endpoint | None]] = []
    endpoint = add_endpoint(app)

    def authorize(action: str, endpoint: Endpoint | None) -> bool:
        asked.append((action, endpoint))
        return action == "view"

    state.hooks.authorize = authorize
    access = request_access(state)
    access.require("view", endpoint)
    with pytest.raises(Forbidden, match="create or change endpoints"):
        access.require("manage")
    assert asked == [("view", endpoint), ("manage", None)]


@pytest.mark.parametrize("answer", [1, True, LocalProxy(lambda: True)])
def test_what_means_yes(state: State, answer: Any) -> None:
    state.hooks.authorize = lambda action, endpoint: answer
    request_access(state).require("view")


@pytest.mark.parametrize("answer", [0, False, None])
def test_what_means_no(state: State, answer: Any) -> None:
    state.hooks.authorize = lambda action, endpoint: answer
    with pytest.raises(Forbidden):
        request_access(state).require("view")


def test_a_redirect_to_the_login_page_is_not_a_yes(state: State) -> None:
    # What a view decorator such as login_required would return.
    answer: Any = redirect("/login")
    state.hooks.authorize = lambda action, endpoint: answer
    with pytest.raises(ConfigurationError, match="must return True or False, not Response"):
        request_access(state).require("view")


def test_a_misspelt_action_is_a_bug(state: State) -> None:
    with pytest.raises(ValueError, match="veiw"):
        system_access(state, "me").require("veiw")


def test_a_scope_is_narrowed_and_never_widened(app: Flask, state: State) -> None:
    everything = system_access(state, "me")
    one = everything.within("app_1")
    assert (one.tenant, one.actor) == ("app_1", "me")
    assert one.within("app_1").tenant == "app_1"
    for other in ("app_2", "", "app_1\0"):
        with pytest.raises(NotFound, match="There is no tenant"):
            one.within(other)
    with pytest.raises(NotFound):
        everything.within("\0")


def test_the_system_may_everything(state: State) -> None:
    access = system_access(state, "cli:root")
    for action in ACTIONS:
        access.require(action)
    assert (access.actor, access.tenant) == ("cli:root", ALL_TENANTS)


def test_an_endpoint_of_another_tenant_does_not_exist_and_the_host_is_not_asked(
    app: Flask, state: State
) -> None:
    other, server = add_endpoint(app, tenant="app_2"), add_endpoint(app)

    def authorize(action: str, endpoint: Endpoint | None) -> bool:
        raise AssertionError("asked about somebody else's endpoint")

    access = Access(state, "me", "app_1", authorize)
    for endpoint in (other, server):
        with pytest.raises(NotFound):
            access.require("view", endpoint)
        with pytest.raises(NotFound):
            find_endpoint(access, endpoint.id)
        with pytest.raises(NotFound):
            find_delivery(access, add_delivery(app, endpoint))


@pytest.mark.parametrize("endpoint_id", ["", "ep_none", "x" * 1000, "a\0b", "\ud800", None, 7])
def test_what_is_no_id_is_not_found(state: State, endpoint_id: Any) -> None:
    access = system_access(state, "me")
    with pytest.raises(NotFound):
        find_endpoint(access, endpoint_id)
    with pytest.raises(NotFound):
        find_delivery(access, endpoint_id)
    with pytest.raises(NotFound):
        queries.get_event(access, endpoint_id)


#: Every function that is about one endpoint or delivery, and the action that it needs.
ON_ENDPOINT: list[tuple[str, Callable[[Access, str], object]]] = [
    ("view", queries.get_endpoint),
    ("view", lambda access, id_: queries.list_deliveries(access, endpoint_id=id_)),
    ("view", lambda access, id_: queries.list_activity(access, endpoint_id=id_)),
    ("manage", lambda access, id_: actions.update_endpoint(access, id_, name="new")),
    ("manage", actions.pause_endpoint),
    ("manage", actions.resume_endpoint),
    ("manage", actions.delete_endpoint),
    ("secret", actions.rotate_secret),
    ("send", actions.send_test),
]
ON_DELIVERY: list[tuple[str, Callable[[Access, str], object]]] = [
    ("view", queries.get_delivery),
    ("send", actions.resend),
    ("send", actions.cancel),
]
ON_ALL: list[tuple[str, Callable[[Access], object]]] = [
    ("view", queries.list_endpoints),
    ("view", queries.count_endpoints),
    ("view", queries.list_deliveries),
    ("view", queries.list_events),
    ("view", queries.list_activity),
    ("view", queries.health),
    ("view", lambda access: queries.quota(access, access.tenant)),  # type: ignore[arg-type]
    ("manage", lambda access: actions.create_endpoint(access, "https://example.com/")),
    ("delete_all", actions.delete_all_endpoints),
]


def test_every_function_refuses_what_the_host_refuses(app: Flask, state: State) -> None:
    endpoint = add_endpoint(app, tenant="app_1")
    delivery_id = add_delivery(app, endpoint)
    before = [row.id for row in activity(app)]

    def all_but(refused: str) -> Access:
        return Access(state, "me", "app_1", lambda action, endpoint: action != refused)

    for action, one in ON_ENDPOINT:
        with pytest.raises(Forbidden):
            one(all_but(action), endpoint.id)
    for action, one in ON_DELIVERY:
        with pytest.raises(Forbidden):
            one(all_but(action), delivery_id)
    for action, every in ON_ALL:
        with pytest.raises(Forbidden):
            every(all_but(action))
    assert [row.id for row in activity(app)] == before
    assert [row.id for row in deliveries(app)] == [delivery_id]


def test_every_function_hides_what_belongs_to_others(app: Flask) -> None:
    mine = as_tenant(app, "app_1")
    for tenant in ("app_2", None):
        endpoint = add_endpoint(app, tenant=tenant)
        delivery_id = add_delivery(app, endpoint)
        for _, one in ON_ENDPOINT:
            with pytest.raises(NotFound):
                one(mine, endpoint.id)
        for _, one in ON_DELIVERY:
            with pytest.raises(NotFound):
                one(mine, delivery_id)
        with pytest.raises(NotFound):
            queries.quota(mine, tenant)
        [delivery] = [row for row in deliveries(app) if row.id == delivery_id]
        with pytest.raises(NotFound):
            queries.get_event(mine, delivery.event_id)
    assert queries.list_endpoints(mine) == []
    assert queries.count_endpoints(mine) == 0
    assert queries.list_deliveries(mine).items == []
    assert queries.list_events(mine).items == []
    assert queries.list_activity(mine).items == []
    assert queries.health(mine).pending == 0
    assert actions.delete_all_endpoints(mine) == 0


def test_a_tenant_creates_for_itself_only(app: Flask) -> None:
    mine = as_tenant(app, "7")
    assert actions.create_endpoint(mine, "https://example.com/").endpoint.tenant == "7"
    assert actions.create_endpoint(mine, "https://example.com/", tenant=7).endpoint.tenant == "7"
    with pytest.raises(Forbidden, match="own tenant"):
        actions.create_endpoint(mine, "https://example.com/", tenant="8")


def test_functions_of_the_host_may_use_its_session(database_url: str, redis_url: str) -> None:
    """On SQLite as we recommend it, the host's session holds the write lock once it has read."""
    app = make_app(database_url, redis_url, SQLITE_IMMEDIATE=True)
    state = state_of(app)
    session = state.db.session

    def authorize(action: str, endpoint: Endpoint | None) -> bool:
        return session.query(state.models.Event).count() >= 0

    state.hooks.authorize = authorize
    state.hooks.current_actor = lambda: str(session.query(state.models.Event).count())
    with app.test_request_context():
        access = request_access(state)
        created = actions.create_endpoint(access, "https://example.com/")
        delivery = actions.send_test(access, created.endpoint.id)
        assert queries.get_delivery(access, delivery.id).attempts == []
        actions.pause_endpoint(access, created.endpoint.id)
        assert len(queries.list_endpoints(access)) == 1
        assert queries.health(access).pending == 1
        actions.delete_all_endpoints(access)
        assert queries.list_endpoints(access) == []
    close(app)
