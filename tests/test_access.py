"""Who may do what."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
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
from flask_webhooks.app_state import AppState, state_of
from flask_webhooks.errors import ConfigurationError, Forbidden, NotFound
from flask_webhooks.models import Endpoint
from tests.support.delivering import deliveries
from tests.support.helpers import (
    accessing,
    activity,
    add_delivery,
    add_endpoint,
    as_tenant,
    close,
    make_app,
)


@pytest.fixture
def state(app: Flask) -> AppState:
    return state_of(app)


def test_nobody_may_anything_until_the_host_says_who(state: AppState) -> None:
    state.hooks.authorize = None
    with pytest.raises(Forbidden, match=r"@webhooks\.authorize"):
        request_access(state)


@pytest.mark.parametrize("nobody", [None, "", LocalProxy(lambda: None)])
def test_a_person_without_tenant_sees_nothing(state: AppState, nobody: Any) -> None:
    state.hooks.current_tenant = lambda: nobody
    with pytest.raises(Forbidden, match="tenant"):
        request_access(state)


@pytest.mark.parametrize(
    ("given", "tenant"),
    [("app_1", "app_1"), (17, "17"), (ALL_TENANTS, ALL_TENANTS), (LocalProxy(lambda: 5), "5")],
)
def test_the_tenant_is_what_the_host_says(state: AppState, given: Any, tenant: Any) -> None:
    state.hooks.current_tenant = lambda: given
    assert request_access(state).tenant == tenant


def test_an_object_whose_id_was_meant_is_the_hosts_mistake(state: AppState) -> None:
    state.hooks.current_tenant = lambda: state.app  # type: ignore[assignment]
    with pytest.raises(ConfigurationError, match="id of a tenant, not a Flask"):
        request_access(state)


def test_without_a_tenant_function_whoever_is_authorised_sees_all_tenants(state: AppState) -> None:
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
def test_the_actor_is_a_line_that_fits(state: AppState, given: Any, actor: str) -> None:
    state.hooks.current_actor = given
    assert request_access(state).actor == actor


def test_the_host_is_asked_with_action_and_endpoint(app: Flask, state: AppState) -> None:
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


@pytest.mark.parametrize("answer", [True, LocalProxy(lambda: True)])
def test_what_means_yes(state: AppState, answer: Any) -> None:
    state.hooks.authorize = lambda action, endpoint: answer
    request_access(state).require("view")


@pytest.mark.parametrize(
    "answer", [False, None, LocalProxy(lambda: False), LocalProxy(lambda: None)]
)
def test_what_means_no(state: AppState, answer: Any) -> None:
    state.hooks.authorize = lambda action, endpoint: answer
    with pytest.raises(Forbidden):
        request_access(state).require("view")


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (403, "403"),
        (200, "200"),
        (1, "1"),
        (0, "0"),
        (1.0, "1.0"),
        ("/login", "a str"),
        ("", "a str"),
        (("", 403), "a tuple"),
        (redirect("/login"), "a Response"),
        ([], "a list"),
    ],
    ids=repr,
)
def test_only_true_is_a_yes(state: AppState, answer: Any, named: str) -> None:
    # What a view, or its decorator such as login_required, would return.
    state.hooks.authorize = lambda action, endpoint: answer
    with pytest.raises(ConfigurationError, match=f"must return True or False, not {named}"):
        request_access(state).require("view")


def test_a_misspelt_action_is_a_bug(state: AppState) -> None:
    with pytest.raises(ValueError, match="veiw"):
        system_access(state, "me").require("veiw")


def test_a_scope_is_narrowed_and_never_widened(app: Flask, state: AppState) -> None:
    everything = system_access(state, "me")
    one = everything.within("app_1")
    assert (one.tenant, one.actor) == ("app_1", "me")
    assert one.within("app_1").tenant == "app_1"
    for other in ("app_2", "", "app_1\0"):
        with pytest.raises(NotFound, match="There is no tenant"):
            one.within(other)
    with pytest.raises(NotFound):
        everything.within("\0")


def test_the_system_may_everything(state: AppState) -> None:
    access = system_access(state, "cli:root")
    for action in ACTIONS:
        access.require(action)
    assert (access.actor, access.tenant) == ("cli:root", ALL_TENANTS)


def test_an_endpoint_of_another_tenant_does_not_exist_and_the_host_is_not_asked(
    app: Flask, state: AppState
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
def test_what_is_no_id_is_not_found(state: AppState, endpoint_id: Any) -> None:
    access = system_access(state, "me")
    with pytest.raises(NotFound):
        find_endpoint(access, endpoint_id)
    with pytest.raises(NotFound):
        find_delivery(access, endpoint_id)
    with pytest.raises(NotFound):
        queries.get_event(access, endpoint_id)


RECOVER: dict[str, Any] = {"kind": "recover", "since": datetime(2026, 1, 1, tzinfo=UTC)}

#: What is about one thing: the action that it needs, and what it takes beside `Access`; "ID" is the thing's.
Calls = list[tuple[str, Callable[..., object], dict[str, Any]]]
ON_ENDPOINT: Calls = [
    ("view", queries.get_endpoint, {"endpoint_id": "ID"}),
    ("view", queries.list_deliveries, {"endpoint_id": "ID"}),
    ("view", queries.list_activity, {"endpoint_id": "ID"}),
    ("view", queries.list_tasks, {"endpoint_id": "ID"}),
    ("view", queries.statistics, {"endpoint_id": "ID"}),
    ("view", queries.list_notifications, {"endpoint_id": "ID"}),
    ("view", queries.public_keys, {"endpoint": "ID"}),
    ("view", queries.get_ledger, {"endpoint_id": "ID"}),
    ("view", queries.ledger_signature, {"endpoint_id": "ID", "body": b"{}"}),
    ("view", queries.preview_task, {"endpoint_id": "ID", **RECOVER}),
    ("view_payload", queries.list_deliveries, {"endpoint_id": "ID", "text": "lic_1"}),
    ("secret", queries.check_signature, {"endpoint_id": "ID", "headers": "", "body": ""}),
    ("manage", actions.update_endpoint, {"endpoint_id": "ID", "name": "new"}),
    ("manage", actions.pause_endpoint, {"endpoint_id": "ID"}),
    ("manage", actions.resume_endpoint, {"endpoint_id": "ID"}),
    ("manage", actions.delete_endpoint, {"endpoint_id": "ID"}),
    ("secret", actions.rotate, {"endpoint_id": "ID"}),
    ("secret", actions.rotate_secret, {"endpoint_id": "ID"}),
    ("secret", actions.end_overlap, {"endpoint_id": "ID"}),
    ("secret", actions.remove_secret, {"endpoint_id": "ID"}),
    ("send", actions.send_test, {"endpoint_id": "ID"}),
    ("send", actions.send_challenge, {"endpoint_id": "ID"}),
    ("send", actions.start_task, {"endpoint_id": "ID", **RECOVER}),
    ("manage", actions.subscribe_and_replay, {"endpoint_id": "ID", "event_id": "evt_1"}),
    ("send", actions.subscribe_and_replay, {"endpoint_id": "ID", "event_id": "evt_1"}),
]
ON_DELIVERY: Calls = [
    ("view", queries.get_delivery, {"delivery_id": "ID"}),
    ("send", actions.resend, {"delivery_id": "ID"}),
    ("send", actions.cancel, {"delivery_id": "ID"}),
]
ON_EVENT: Calls = [("view", queries.get_event, {"event_id": "ID"})]
ON_TASK: Calls = [
    ("view", queries.get_task, {"task_id": "ID"}),
    ("send", actions.stop_task, {"task_id": "ID"}),
]
#: What is about everything in scope. Those that take nothing else and need ``view`` are found by themselves.
ON_ALL: Calls = [
    ("view", queries.quota, {"tenant": "app_1"}),
    ("view", queries.unknown_tenant, {"tenant": "app_1"}),
    ("view", queries.find_endpoints, {"limit": 5}),
    ("view", queries.name_endpoints, {"endpoint_ids": ["ep_1"]}),
    ("view", queries.silent_workers, {"names": ["w"], "before": datetime(2026, 1, 1, tzinfo=UTC)}),
    ("view", queries.example, {"format": "standard"}),
    ("view", queries.get_event_type, {"name": "license.created"}),
    ("view", queries.try_filter, {"filter": None}),
    ("view_payload", queries.try_filter, {"filter": None, "event_id": "evt_1"}),
    ("view", queries.preview_task, RECOVER),
    ("view", queries.last_errors, {"deliveries": []}),
    ("secret", actions.reencrypt, {}),
    ("view_payload", queries.list_deliveries, {"text": "lic_1"}),
    ("manage", actions.create_endpoint, {"url": "https://example.com/"}),
    ("manage", actions.draft_endpoint, {"url": "https://example.com/"}),
    ("manage", actions.import_endpoints, {"items": [{"url": "https://example.com/"}]}),
    ("send", actions.start_task, RECOVER),
    ("delete_all", actions.delete_all_endpoints, {}),
    ("delete_all", actions.erase, {"unwanted": {"user_id": 42}}),
    ("delete_all", actions.erase, {"unwanted": bool}),
    ("view", queries.get_scheduled, {"scheduled_id": "sch_1"}),
    ("send", actions.cancel_scheduled, {"scheduled_id": "sch_1"}),
    ("tokens", actions.create_token, {"name": "CI", "actions": ["view"]}),
    ("tokens", actions.revoke_token, {"token_id": "tok_1"}),
    ("tokens", queries.list_tokens, {}),
    ("tokens", queries.get_token, {"token_id": "tok_1"}),
    ("tokens", actions.create_portal_link, {"tenant": "app_1", "actor": "ann"}),
    ("tokens", actions.revoke_portal_link, {"link_id": "lnk_1"}),
    ("tokens", queries.list_portal_links, {}),
    ("tokens", queries.get_portal_link, {"link_id": "lnk_1"}),
    ("view", queries.begun_deliveries, {"begun": "dlv_"}),
    ("view", queries.begun_endpoints, {"begun": "ep_"}),
    ("view", queries.begun_events, {"begun": "evt_"}),
    ("view", queries.begun_tasks, {"begun": "tsk_"}),
    ("view", queries.begun_tenants, {"begun": "app"}),
    ("view", queries.begun_scheduled, {"begun": "sch_"}),
    ("tokens", queries.begun_tokens, {"begun": "tok_"}),
    ("tokens", queries.begun_portal_links, {"begun": "plk_"}),
]


def call(function: Callable[..., object], access: Access, values: dict[str, Any], id_: str) -> None:
    given = {name: id_ if value == "ID" else value for name, value in values.items()}
    result = function(access, **given)
    if isinstance(result, Iterator):
        # One that does its work as it is read.
        list(result)


def functions() -> set[Callable[..., object]]:
    """Everything that pages, API and commands may ask or do."""
    found: set[Callable[..., object]] = set()
    for module in (queries, actions):
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isfunction(value) and "access" in inspect.signature(value).parameters:
                found.add(value)
    return found


def others() -> Calls:
    """What needs nothing but ``view``, of everything in scope. What needs more has to stand in a table."""
    tables = (ON_ENDPOINT, ON_DELIVERY, ON_EVENT, ON_TASK, ON_ALL)
    named = {function for table in tables for _action, function, _values in table}
    found: Calls = []
    apart = {
        queries.explain_routing,
        queries.list_tokens,
        queries.list_portal_links,
        # Asked before anything is done: whether there is the tenant that the caller names.
        queries.require_tenant,
        actions.delete_all_endpoints,
        actions.reencrypt,
    }
    for function in functions() - apart:
        _access, *rest = inspect.signature(function).parameters.values()
        alone = all(item.default is not item.empty for item in rest)
        assert alone or function in named, f"write into a table what {function.__name__} needs"
        if alone:
            found.append(("view", function, {}))
    return found


def test_every_function_refuses_what_the_host_refuses(app: Flask, state: AppState) -> None:
    endpoint = add_endpoint(app, tenant="app_1")
    delivery_id = add_delivery(app, endpoint)
    [event_id] = [row.event_id for row in deliveries(app)]
    task = actions.start_task(accessing(app), endpoint_id=endpoint.id, **RECOVER)
    detail = queries.get_event(as_tenant(app, "app_1"), event_id)
    before = [row.id for row in activity(app)]

    def all_but(refused: str) -> Access:
        return Access(state, "me", "app_1", lambda action, endpoint: action != refused)

    for table, id_ in (
        (ON_ENDPOINT, endpoint.id),
        (ON_DELIVERY, delivery_id),
        (ON_EVENT, event_id),
        (ON_TASK, task.id),
        (ON_ALL, ""),
        (others(), ""),
        ([("view", queries.explain_routing, {"detail": detail})], ""),
    ):
        for action, function, values in table:
            with pytest.raises(Forbidden):
                call(function, all_but(action), values, id_)
    assert len(others()) >= 10
    assert [row.id for row in activity(app)] == before
    assert [row.id for row in deliveries(app)] == [delivery_id]
    # What is refused is the data, and not the event.
    without = all_but("view_payload")
    assert queries.get_event(without, event_id).event.data is None
    assert queries.get_delivery(without, delivery_id).event.data is None


def test_every_function_hides_what_belongs_to_others(app: Flask) -> None:
    mine = as_tenant(app, "app_1")
    for tenant in ("app_2", None):
        endpoint = add_endpoint(app, tenant=tenant)
        delivery_id = add_delivery(app, endpoint)
        [delivery] = [row for row in deliveries(app) if row.id == delivery_id]
        task = actions.start_task(accessing(app), endpoint_id=endpoint.id, **RECOVER)
        before = [row.id for row in activity(app)]
        for table, id_ in (
            (ON_ENDPOINT, endpoint.id),
            (ON_DELIVERY, delivery_id),
            (ON_EVENT, delivery.event_id),
            (ON_TASK, task.id),
        ):
            for _, function, values in table:
                with pytest.raises(NotFound):
                    call(function, mine, values, id_)
        with pytest.raises(NotFound):
            queries.quota(mine, tenant)
        assert queries.name_endpoints(mine, [endpoint.id]) == {}
        assert [row.id for row in activity(app)] == before
    assert queries.list_endpoints(mine) == []
    assert queries.count_endpoints(mine) == 0
    assert queries.list_deliveries(mine).items == []
    assert queries.list_events(mine).items == []
    assert queries.list_activity(mine).items == []
    assert queries.list_tasks(mine).items == []
    assert queries.find_endpoints(mine, limit=5) == []
    assert queries.most_failures(mine) == []
    assert queries.health(mine).pending == 0
    nothing = queries.Subscribers([], by_name=0, by_everything=0)
    assert queries.get_event_type(mine, "license.created").subscribers == nothing
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
