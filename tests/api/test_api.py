"""What a program does with the API, from its first endpoint to its last delivery."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask import Blueprint, Flask, abort, request
from flask_wtf import CSRFProtect
from standardwebhooks import Webhook

from flask_webhooks import ALL_TENANTS, Format, actions
from flask_webhooks.app_state import state_of
from flask_webhooks.errors import ConfigurationError
from flask_webhooks.formats import builtin_formats
from tests.support.api_calls import PREFIX, Api, make_app
from tests.support.delivering import drain, emit, endpoint, webhooks_of
from tests.support.helpers import (
    URL,
    accessing,
    activity,
    add_delivery,
    add_endpoint,
    at_once,
    close,
    statements,
    update,
)
from tests.support.processes import OURS, WorkerProcess, config_of, wait_until
from tests.support.receiver import Receiver

DISCORD = "https://discord.com/api/webhooks/1234567890/abcDEF-token_very_secret"


@pytest.fixture
def app(database_url: str, redis_url: str) -> Iterator[Flask]:
    app = make_app(database_url, redis_url)
    yield app
    close(app)


# -- the journey --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_journey_with_a_real_worker(
    app: Flask, api: Api, receiver: Receiver, tmp_path: Path
) -> None:
    created = api.post("/endpoints", {"url": receiver.url("/ok"), "events": ["user.*"]}, 201)
    path = f"/endpoints/{created['id']}"
    with WorkerProcess(OURS, config_of(app), tmp_path / "worker.log") as worker:
        response = api.send("POST", f"{path}/test", json={"event_type": "user.banned"})
        assert response.status_code == 202
        where = response.location.removeprefix(PREFIX)

        def detail() -> Any:
            return api.get(where)

        wait_until(lambda: detail()["state"] == "succeeded", 30, worker.output)
    [attempt] = detail()["attempts"]
    [sent] = receiver.requests
    assert attempt["request_body"].encode() == sent.body
    event = Webhook(created["secret"]).verify(sent.body, sent.headers)
    assert event["data"] == detail()["event"]["data"]
    assert (attempt["status"], attempt["trigger"]) == (200, "test")
    assert detail()["event_id"] == sent.headers["webhook-id"]


def test_an_endpoint_from_its_creation_to_its_end(app: Flask, api: Api) -> None:
    created = api.post(
        "/endpoints",
        {
            "url": URL,
            "events": ["license.*", "user.banned"],
            "tenant": "app_1",
            "name": "Shop",
            "headers": {"X-Team": "very secret value"},
            "timeout": 1.5,
            "rate_limit": 2.5,
            "ordered": True,
        },
        201,
    )
    assert created["secret"].startswith("whsec_")
    path = f"/endpoints/{created['id']}"
    shown = api.get(path)
    assert shown["events"] == ["license.*", "user.banned"]
    assert (shown["tenant"], shown["name"], shown["format"]) == ("app_1", "Shop", "standard")
    assert (shown["timeout"], shown["rate_limit"], shown["ordered"]) == (1.5, 2.5, True)
    assert shown["header_names"] == ["X-Team"]
    [secret] = shown["secrets"]
    assert (secret["expires_at"], secret["last_four"]) == (None, created["secret"][-4:])
    assert [row["id"] for row in api.get("/endpoints")["items"]] == [created["id"]]

    changed = api.patch(
        path, {"name": "Store", "events": None, "headers": {"X-Team": None, "X-A": "b"}}
    )
    assert (changed["name"], changed["events"], changed["ordered"]) == ("Store", None, True)
    assert api.get(path)["header_names"] == ["X-A", "X-Team"]

    assert api.post(f"{path}/pause", {"reason": "moving"})["state_reason"] == "moving"
    problem = api.post(f"{path}/pause", status=409)
    assert (problem["code"], problem["state"]) == ("invalid_transition", "paused")
    assert api.post(f"{path}/resume", {"held": "discard"})["state"] == "active"

    assert api.post(f"{path}/rotate", {"label": "x" * 61}, 422)["field"] == "label"
    rotated = api.post(f"{path}/rotate", {"overlap_seconds": 3600, "label": "Berlin"})
    assert rotated["secret"].startswith("whsec_")
    newest, old = api.get(path)["secrets"]
    assert (newest["label"], newest["last_four"]) == ("Berlin", rotated["secret"][-4:])
    assert (old["label"], old["last_four"]) == ("", created["secret"][-4:])
    assert rotated["secret"] != created["secret"]
    ends = [item["expires_at"] for item in api.get(path)["secrets"]]
    assert ends[0] is None
    assert datetime.fromisoformat(ends[1]) > datetime.now(UTC) + timedelta(minutes=50)
    assert api.post(f"{path}/end-overlap") == {"ended": 1}
    assert api.post(f"{path}/end-overlap") == {"ended": 0}
    # The format asks for one.
    assert api.post(f"{path}/remove-secret", status=422)["field"] == "secret"

    api.delete(path)
    api.get(path, 404)
    assert api.get("/endpoints")["items"] == []
    done = [item["action"] for item in api.get("/activity", endpoint_id=created["id"])["items"]]
    assert done == [
        "endpoint.deleted",
        "endpoint.overlap_ended",
        "endpoint.secret_rotated",
        "endpoint.resumed",
        "endpoint.paused",
        "endpoint.updated",
        "endpoint.created",
    ]


def test_secrets_are_in_the_answers_that_make_them_and_nowhere_else(app: Flask, api: Api) -> None:
    created = api.post("/endpoints", {"url": URL, "headers": {"X-Key": "header-value"}}, 201)
    path = f"/endpoints/{created['id']}"
    rotated = api.post(f"{path}/rotate")
    chat = api.post("/endpoints", {"url": DISCORD}, 201)
    assert chat["secret"] is None
    assert chat["url_masked"]
    everything = [
        *(
            api.send("GET", where).text
            for where in ("/endpoints", path, "/activity", "/openapi.json")
        ),
        api.send("PATCH", path, json={"name": "x"}).text,
        api.send("GET", f"/endpoints/{chat['id']}").text,
        api.send("POST", f"{path}/pause", json={}).text,
        str(chat),
    ]
    for secret in (created["secret"], rotated["secret"], "header-value", "token_very_secret"):
        assert not [text for text in everything if secret in text]


def test_public_keys_are_told_as_what_they_are(api: Api) -> None:
    created = api.post("/endpoints", {"url": URL, "key_pair": True}, 201)
    assert created["secret"] is None
    path = f"/endpoints/{created['id']}"
    assert [key["key"] for key in api.get(path)["public_keys"]] == [created["public_key"]]
    rotated = api.post(f"{path}/rotate", {"key_pair": True})
    assert rotated["secret"] is None
    keys = [key["key"] for key in api.get(path)["public_keys"]]
    assert keys == [rotated["public_key"], created["public_key"]]


def test_one_who_may_rotate_but_not_look_gets_the_secret(app: Flask) -> None:
    added = add_endpoint(app)
    webhooks_of(app).authorize(lambda action, endpoint: action == "secret")
    assert Api(app).post(f"/endpoints/{added.id}/rotate")["secret"]


def test_one_who_may_only_manage_can_create_and_change(app: Flask) -> None:
    webhooks_of(app).authorize(lambda action, endpoint: action == "manage")
    created = Api(app).post("/endpoints", {"url": URL}, 201)
    assert Api(app).patch(f"/endpoints/{created['id']}", {"name": "x"})["name"] == "x"


def test_commands_print_what_the_api_answers(app: Flask, api: Api) -> None:
    endpoint = add_endpoint(app, tenant="app_1", events=["license.*"])
    add_delivery(app, endpoint, "failed", reason="gone", last_status=410)
    actions.start_task(accessing(app, "ann"), "cancel", endpoint.id)
    for path in ("endpoints", "deliveries", "tasks"):
        printed = app.test_cli_runner().invoke(args=["webhooks", path, "list", "--json"])
        assert json.loads(printed.stdout) == api.get(f"/{path}")["items"]


# -- formats and event types --------------------------------------------------------------------------


def test_the_format_is_recognised_chosen_and_shown(app: Flask, api: Api) -> None:
    discord = api.post("/endpoints", {"url": DISCORD}, 201)
    assert discord["format"] == "discord"
    assert discord["url"] != DISCORD
    chosen = api.post("/endpoints", {"url": URL, "format": "aureva", "events": ["key.used"]}, 201)
    assert chosen["format"] == "aureva"
    # Names of the format's own are read in its dialect, and stored as ours.
    assert all(name.startswith("license.") for name in chosen["events"])
    changed = api.patch(
        f"/endpoints/{chosen['id']}", {"events": ["key.used", "user.banned"], "dialect": "aureva"}
    )
    assert changed["events"] == [*chosen["events"], "user.banned"]
    assert [row["format"] for row in api.get("/endpoints")["items"]] == ["aureva", "discord"]
    problem = api.post("/endpoints", {"url": URL, "format": "discrod"}, 422)
    assert problem["field"] == "format"
    assert "'discord'" in problem["detail"]


@pytest.mark.slow
@pytest.mark.parametrize("format", [item.name for item in builtin_formats()])
def test_a_list_of_event_types_that_was_read_can_be_sent_back(
    app: Flask, api: Api, format: str
) -> None:
    added = add_endpoint(app)
    update(app, "Endpoint", added.id, format=format)
    path = f"/endpoints/{added.id}"
    names = [kind["name"] for kind in api.get("/event-types")["items"] if kind["subscribable"]]
    assert len(names) > 20
    for events in (*([name] for name in names), names, ["license.*"], None):
        for _ in range(2):
            answer = api.client.patch(PREFIX + path, json={"events": events})
            assert (answer.status_code, answer.get_json()["events"]) == (200, events)
            events = answer.get_json()["events"]
    assert api.get(path)["events"] is None


def test_names_that_mean_two_things_are_read_as_the_request_says(app: Flask, api: Api) -> None:
    body: dict[str, Any] = {"url": URL, "format": "authforge", "events": ["license.activated"]}
    body["allow_duplicate"] = True
    problem = api.post("/endpoints", body, 422)
    assert (problem["code"], problem["field"]) == ("invalid_subscription", "events")
    assert '"dialect": "authforge"' in problem["detail"]
    assert api.post("/endpoints", {**body, "events": [" license.activated "]}, 422) == problem
    assert api.get("/endpoints")["items"] == []
    theirs = api.post("/endpoints", {**body, "dialect": "authforge"}, 201)
    assert theirs["events"] == ["license.reinstated"]
    for ours in ("standard", None):
        made = api.post("/endpoints", {**body, "dialect": ours}, 201)
        assert made["events"] == ["license.activated"]
    path = f"/endpoints/{theirs['id']}"
    changed = api.patch(path, {"events": ["license.activated"], "dialect": "authforge"})
    assert changed["events"] == ["license.reinstated"]
    changed = api.patch(path, {"events": ["license.activated"], "allow_duplicate": True})
    assert changed["events"] == ["license.activated"]
    # A name that only the format has says by itself what is meant, where the format is chosen.
    alone = api.post("/endpoints", {**body, "events": ["license.redeemed"]}, 201)
    assert alone["events"] == ["license.activated"]
    assert api.patch(path, {"events": ["license.redeemed"]}, 422)["field"] == "events"
    for wrong in ("discrod", ""):
        problem = api.patch(path, {"events": None, "dialect": wrong}, 422)
        assert problem["field"] == "dialect"
    assert api.patch(path, {"dialect": 5}, 422)["field"] == "dialect"


def test_formats_say_how_they_are_recognised(app: Flask, api: Api) -> None:
    items = {item["name"]: item for item in api.get("/formats")["items"]}
    assert list(items) == [item.name for item in builtin_formats()]
    assert [name for name, item in items.items() if item["default"]] == ["standard"]
    by_url = [name for name, item in items.items() if item["recognised_by_url"]]
    assert by_url == ["discord", "slack", "telegram", "teams"]
    assert items["discord"]["title"] == "Discord"


def test_a_format_of_the_hosts_own_is_in_the_list_and_in_the_document(app: Flask) -> None:
    class Own(Format):
        name = "own"
        label = "Own"
        signed = False

    webhooks_of(app).add_format(Own())
    api = Api(app)
    assert api.get("/formats")["items"][-1]["title"] == "Own"
    schema = api.document["components"]["schemas"]["NewEndpoint"]["properties"]["format"]
    assert "own" in schema["anyOf"][0]["enum"]


def test_every_event_type_has_its_example_in_every_format(app: Flask, api: Api) -> None:
    kinds = api.get("/event-types")["items"]
    assert len(kinds) == len(state_of(app).catalog)
    assert kinds[0].items() <= api.get("/event-types/license.created").items()
    for item in builtin_formats():
        example = api.get("/event-types/license.created/example", format=item.name)
        assert example["format"] == item.name
        assert example["body"]
    assert api.get("/event-types/test/example")["format"] == "standard"
    assert api.get("/event-types/license.creatd", 404)["code"] == "not_found"
    assert api.get("/event-types/test/example", 422, format="none")["field"] == "format"


# -- a request that is repeated -----------------------------------------------------------------------


def test_a_creation_that_is_repeated_makes_nothing_more(app: Flask, api: Api) -> None:
    key = {"Idempotency-Key": "order 17"}
    body = {"url": URL, "events": ["license.*"], "tenant": "app_1"}
    first = api.post("/endpoints", body, 201, headers=key)
    again = api.post("/endpoints", body, 200, headers=key)
    assert again["id"] == first["id"]
    assert (first["secret"] is None, again["secret"]) == (False, None)
    assert len(api.get("/endpoints")["items"]) == 1
    assert [row.action for row in activity(app)] == ["endpoint.created"]
    # The same word of another tenant is another request.
    other = api.post("/endpoints", {**body, "tenant": "app_2"}, 201, headers=key)
    whole = api.post("/endpoints", {"url": URL}, 201, headers=key)
    assert len({first["id"], other["id"], whole["id"]}) == 3


def test_a_repeated_creation_is_answered_at_the_limit_too(
    database_url: str, redis_url: str
) -> None:
    app = make_app(database_url, redis_url, WEBHOOKS_MAX_ENDPOINTS=1)
    api = Api(app)
    body = {"url": URL, "tenant": "app_1"}
    api.post("/endpoints", body, 201, headers={"Idempotency-Key": "a"})
    api.post("/endpoints", body, 200, headers={"Idempotency-Key": "a"})
    problem = api.post("/endpoints", body, 409, headers={"Idempotency-Key": "b"})
    assert (problem["code"], problem["limit"]) == ("endpoint_limit_reached", 1)
    assert api.get("/quota", tenant="app_1") == {"used": 1, "limit": 1}
    assert api.get("/quota") == {"used": 0, "limit": None}
    close(app)


@pytest.mark.parametrize(
    "change", [{"url": f"{URL}/other"}, {"events": ["user.*"]}, {"format": "aureva"}]
)
def test_a_key_for_something_else_is_refused(app: Flask, api: Api, change: dict[str, Any]) -> None:
    key = {"Idempotency-Key": "k"}
    api.post("/endpoints", {"url": URL}, 201, headers=key)
    problem = api.post("/endpoints", {"url": URL, **change}, 422, headers=key)
    assert problem["field"] == "idempotency_key"
    assert len(api.get("/endpoints")["items"]) == 1


def test_a_key_of_an_endpoint_that_was_deleted_makes_no_second_one(app: Flask, api: Api) -> None:
    key = {"Idempotency-Key": "k"}
    created = api.post("/endpoints", {"url": URL}, 201, headers=key)
    api.delete(f"/endpoints/{created['id']}")
    assert "deleted" in api.post("/endpoints", {"url": URL}, 422, headers=key)["detail"]


@pytest.mark.parametrize("tenant", [None, "app_1"])
def test_requests_with_one_key_at_once_make_one_endpoint(app: Flask, tenant: str | None) -> None:
    def create() -> str:
        with app.app_context():
            created = actions.create_endpoint(
                accessing(app), URL, tenant=tenant, idempotency_key="k"
            )
        return created.endpoint.id

    found = at_once(*[create] * 4)
    assert len(set(map(str, found))) == 1, found


@pytest.mark.parametrize("key", ["x" * 256, "\N{NO-BREAK SPACE}"])
def test_a_bad_key_is_refused(api: Api, key: str) -> None:
    problem = api.post("/endpoints", {"url": URL}, 422, headers={"Idempotency-Key": key})
    assert problem["field"] == "idempotency_key"


# -- lists --------------------------------------------------------------------------------------------


def everything(api: Api, path: str, **query: Any) -> list[str]:
    """The ids of all items of a list, page by page."""
    found: list[str] = []
    before: dict[str, str] = {}
    while True:
        page = api.get(path, **query, **before)
        found += [item["id"] for item in page["items"]]
        if page["next_before"] is None:
            return found
        before = {"before": page["next_before"]}


def test_lists_are_read_page_by_page(app: Flask, api: Api) -> None:
    endpoints = [add_endpoint(app, f"{URL}/{number}").id for number in range(5)]
    deliveries = [add_delivery(app, endpoint(app, endpoints[0]), "failed") for _ in range(5)]
    for limit in (1, 2, 5, 200):
        assert everything(api, "/endpoints", limit=limit) == endpoints[::-1]
        assert everything(api, "/deliveries", limit=limit) == deliveries[::-1]
        assert len(everything(api, "/events", limit=limit)) == 5
        assert len(everything(api, "/activity", limit=limit)) == 5
    for wrong in ("0", "201", "-1", "x", "1.5", "²"):
        assert api.get("/endpoints", 422, limit=wrong)["field"] == "limit"


def test_deliveries_are_found_by_what_is_known_of_them(app: Flask, api: Api) -> None:
    one, two = add_endpoint(app, tenant="app_1"), add_endpoint(app, f"{URL}/2")
    failed = add_delivery(app, one, "failed", last_status=503)
    add_delivery(app, two, "succeeded", "user.banned", last_status=200)

    def found(**query: Any) -> list[str]:
        return [item["id"] for item in api.get("/deliveries", **query)["items"]]

    event_id = api.get(f"/deliveries/{failed}")["event_id"]
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    for query in (
        {"endpoint_id": one.id},
        {"state": "failed"},
        {"event_type": "license.created"},
        {"status": "503"},
        {"status": "5xx"},
        {"id": failed},
        {"id": event_id},
        {"tenant": "app_1"},
        {"tenant": "app_1", "text": "lic_1", "until": later, "since": "2026-01-01T00:00:00Z"},
    ):
        assert found(**query) == [failed], query
    assert found(since=later) == found(tenant="app_3") == found(id="dlv_none") == []
    assert [item["id"] for item in api.get("/endpoints", tenant="app_1")["items"]] == [one.id]
    assert [item["id"] for item in api.get("/endpoints", search="/2")["items"]] == [two.id]
    assert [item["tenant"] for item in api.get("/events", tenant="app_1")["items"]] == ["app_1"]
    [row] = api.get("/deliveries", id=failed)["items"]
    assert row["endpoint"]["id"] == one.id


@pytest.mark.parametrize(
    ("path", "query", "field", "words"),
    [
        ("/deliveries", "stat=failed", "stat", "Did you mean state"),
        ("/deliveries", "state=faild", "state", "Choose one of"),
        ("/deliveries", "state=failed&state=held", "state", "once"),
        ("/deliveries", "state=", "state", "leave it out"),
        ("/deliveries", "status=999", "status", "503"),
        ("/deliveries", "since=yesterday", "since", "2026-01-31T12:00:00Z"),
        ("/deliveries", "since=2026-01-31T12:00:00", "since", "zone"),
        ("/deliveries", "since=0001-01-01T00:00:00%2B14:00", "since", "zone"),
        ("/deliveries", "before=%00", "before", "id"),
        ("/statistics", "period=1h", "period", "24h"),
        ("/tasks", "unfinished=1", "unfinished", "true or false"),
        ("/formats", "x=1", "x", "Leave it out"),
        ("/endpoints", "search=" + "x" * 501, "search", "500"),
    ],
)
def test_bad_queries_say_what_to_write(
    api: Api, path: str, query: str, field: str, words: str
) -> None:
    problem = api.get(f"{path}?{query}", 422)
    assert problem["field"] == field
    assert words in problem["detail"]


@pytest.mark.parametrize("odd", ["\0", "%", "'", "\u202e", "\U0001f4a3", "x" * 400])
def test_odd_text_finds_nothing_and_breaks_nothing(app: Flask, api: Api, odd: str) -> None:
    add_delivery(app, add_endpoint(app), "failed")
    for path in ("/deliveries", "/events"):
        assert api.get(path, id=odd)["items"] == []
        assert api.get(path, 422, event_type=odd)["field"] == "event_type"
    assert api.get("/endpoints", search=odd)["items"] == []
    assert api.get("/deliveries", text=odd)["items"] == []
    for path in ("/deliveries", "/tasks", "/activity", "/statistics"):
        api.get(path, 404, endpoint_id=odd)
    for path in ("endpoints", "deliveries", "events", "tasks", "event-types"):
        api.get(f"/{path}/{quote(odd)}", 404)
    for wish in ({"endpoint_id": odd}, {"event_type": odd}, {"event_id": odd}, {"status": odd}):
        response = api.send("POST", "/tasks/preview", json={"kind": "resend", **wish})
        assert response.status_code in (200, 404, 422)
    assert api.post("/tasks/preview", {"kind": "resend"})["count"] == 1


def test_a_list_takes_the_same_statements_however_long_it_is(app: Flask, api: Api) -> None:
    def counted(path: str) -> int:
        with statements(app) as executed:
            api.get(path)
        return len(executed)

    paths = ("/endpoints", "/deliveries", "/events", "/activity")
    api.get("/endpoints")
    first = add_endpoint(app)
    add_delivery(app, first)
    few = [counted(path) for path in paths]
    for number in range(5):
        add_delivery(app, add_endpoint(app, f"{URL}/{number}"))
    assert [counted(path) for path in paths] == few
    assert max(few) <= 4


# -- deliveries and events ----------------------------------------------------------------------------


def test_a_delivery_is_resent_and_cancelled(app: Flask, api: Api, receiver: Receiver) -> None:
    with app.app_context():
        added = add_endpoint(app, receiver.url("/status/500"))
        emit(app)
        drain(app, retry_schedule=(1000.0,))
    [delivery] = api.get("/deliveries")["items"]
    path = f"/deliveries/{delivery['id']}"
    assert (delivery["state"], delivery["attempt_count"]) == ("pending", 1)
    assert api.post(f"{path}/cancel")["state"] == "cancelled"
    assert api.post(f"{path}/cancel", status=409)["state"] == "cancelled"
    resent = api.post(f"{path}/resend", status=202)
    assert (resent["state"], resent["trigger"]) == ("pending", "manual")
    assert api.get("/endpoints")["items"][0]["pending"] == 1
    api.delete(f"/endpoints/{added.id}")
    assert "deleted" in api.post(f"{path}/resend", status=409)["detail"]
    assert api.get(path)["endpoint"]["deleted"]


def test_of_many_attempts_the_newest_are_told(app: Flask, api: Api) -> None:
    added = add_endpoint(app)
    delivery = add_delivery(app, added, "failed")

    def attempt(*numbers: int) -> Any:
        state = state_of(app)
        with state.engine.begin() as connection:
            for number in numbers:
                connection.execute(
                    state.table("Attempt")
                    .insert()
                    .values(
                        delivery_id=delivery,
                        number=number,
                        endpoint_id=added.id,
                        trigger="retry",
                        started_at=datetime.now(UTC),
                        outcome="timeout",
                        url=URL,
                    )
                )
        return api.get(f"/deliveries/{delivery}")

    detail = attempt(*range(1, 51))
    assert [item["number"] for item in detail["attempts"]] == [*range(1, 51)]
    assert not detail["more"]
    detail = attempt(51, 52)
    assert [item["number"] for item in detail["attempts"]] == [*range(3, 53)]
    assert detail["more"]


def test_of_many_deliveries_of_an_event_some_are_told(
    app: Flask, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("queries", "queries.events"):
        monkeypatch.setattr(f"flask_webhooks.{module}.MAX_LIMIT", 2)
    with app.app_context():
        add_endpoint(app)
        [alone] = emit(app)
        for number in range(2):
            add_endpoint(app, f"{URL}/{number}")
        [event_id] = emit(app)
    assert not api.get(f"/events/{alone}")["more"]
    detail = api.get(f"/events/{event_id}")
    assert (len(detail["deliveries"]), detail["more"]) == (2, True)
    assert len(everything(api, "/deliveries", id=event_id, limit=1)) == 3


def test_payloads_are_for_those_who_may_see_them(app: Flask, receiver: Receiver) -> None:
    with app.app_context():
        add_endpoint(app, receiver.url("/ok"))
        [event_id] = emit(app, data={"license_id": "lic_secret"})
        drain(app, retry_schedule=(1000.0,))
    api = Api(app)
    [delivery] = api.get("/deliveries")["items"]
    path = f"/deliveries/{delivery['id']}"
    assert api.get(path)["event"]["data"] == {"license_id": "lic_secret"}
    assert api.get(f"/events/{event_id}")["data"] == {"license_id": "lic_secret"}
    webhooks_of(app).authorize(lambda action, endpoint: action == "view")
    hidden = api.get(path)
    assert not hidden["payload_visible"]
    assert hidden["event"]["data"] is None
    [attempt] = hidden["attempts"]
    assert (attempt["request_body"], attempt["response_body"]) == (None, None)
    texts = [api.send("GET", where).text for where in (path, f"/events/{event_id}", "/events")]
    assert "lic_secret" not in "".join(texts)
    api.get("/deliveries", 403, text="lic_secret")


def test_events_say_who_got_them_and_why_others_did_not(app: Flask, api: Api) -> None:
    with app.app_context():
        got = add_endpoint(app, events=["license.*"])
        other = add_endpoint(app, f"{URL}/2", events=["user.*"])
        [event_id] = emit(app)
    [row] = api.get("/events", event_type="license.created")["items"]
    assert (row["id"], row["deliveries"]) == (event_id, {"pending": 1})
    detail = api.get(f"/events/{event_id}")
    assert [item["endpoint"]["id"] for item in detail["deliveries"]] == [got.id]
    [why] = api.get(f"/events/{event_id}/routing")["items"]
    assert (why["endpoint"]["id"], why["why"]) == (other.id, "not_subscribed")
    actions.update_endpoint(accessing(app), other.id, events=None)
    [why] = api.get(f"/events/{event_id}/routing", search=other.id)["items"]
    assert (why["why"], why["events"]) == ("subscribed_later", ["user.*"])
    assert why["changed_by"] == "tester"


# -- tasks --------------------------------------------------------------------------------------------


def test_a_task_is_previewed_started_and_stopped(app: Flask, api: Api) -> None:
    with app.app_context():
        added = add_endpoint(app, tenant="app_1")
        for _ in range(3):
            add_delivery(app, added, "failed")
    wish = {"kind": "resend", "endpoint_id": added.id, "state": "failed"}
    preview = api.post("/tasks/preview", wish)
    assert (preview["count"], preview["states"], preview["more"]) == (3, {"failed": 3}, False)
    assert api.get("/tasks")["items"] == []
    response = api.send("POST", "/tasks", json=wish)
    assert response.status_code == 202
    path = response.location.removeprefix(PREFIX)
    task = api.get(path)
    assert (task["state"], task["total"], task["progress"]) == ("waiting", 3, 0)
    again = api.post("/tasks", wish, 409)
    assert task["id"] in again["detail"]
    assert [item["id"] for item in api.get("/tasks", unfinished="true")["items"]] == [task["id"]]
    assert api.post(f"{path}/stop")["state"] == "stopped"
    assert api.post(f"{path}/stop", status=409)["state"] == "stopped"
    assert api.get("/tasks", unfinished="true")["items"] == []
    assert api.get("/tasks", tenant="app_2")["items"] == []


@pytest.mark.slow
def test_a_task_is_done_by_a_real_worker(
    app: Flask, api: Api, receiver: Receiver, tmp_path: Path
) -> None:
    with app.app_context():
        added = add_endpoint(app, receiver.url("/ok"))
        emit(app)
    [delivery] = api.get("/deliveries")["items"]
    update(
        app, "Delivery", delivery["id"], state="failed", due_at=None, completed_at=datetime.now(UTC)
    )
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    with WorkerProcess(OURS, config_of(app), tmp_path / "worker.log") as worker:
        task = api.post("/tasks", {"kind": "recover", "endpoint_id": added.id, "since": since}, 202)
        path = f"/tasks/{task['id']}"
        wait_until(lambda: api.get(path)["ended"], 30, worker.output)
        wait_until(
            lambda: api.get(f"/deliveries/{delivery['id']}")["state"] == "succeeded",
            30,
            worker.output,
        )
        health = api.get("/health")
    done = api.get(path)
    assert (done["state"], done["done"], done["progress"]) == ("finished", 1, 1)
    assert health["heartbeats"]
    assert health["queue"]["reachable"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "kind"),
        ({"kind": "revover"}, "kind"),
        ({"kind": ["recover"]}, "kind"),
        ({"kind": "recover"}, "since"),
        ({"kind": "replay", "since": "2026-01-01T00:00:00Z"}, "endpoint_id"),
        ({"kind": "recover", "since": 5}, "since"),
        ({"kind": "resend", "state": "sending"}, "state"),
        ({"kind": "resend", "state": []}, "state"),
        ({"kind": "resend", "status": "9"}, "status"),
        ({"kind": "resend", "endpoint": "ep_1"}, "endpoint"),
    ],
)
def test_bad_tasks_are_refused(api: Api, body: Any, field: str) -> None:
    for path, more in (("/tasks", {"all_tenants": True}), ("/tasks/preview", {})):
        assert api.post(path, {**body, **more}, 422)["field"] == field
    assert api.get("/tasks")["items"] == []


def test_a_task_of_one_tenant_leaves_the_others_alone(app: Flask, api: Api) -> None:
    for tenant in ("app_1", "app_2"):
        add_delivery(app, add_endpoint(app, tenant=tenant), "failed")
    problem = api.post("/tasks", {"kind": "resend"}, 422)
    assert problem["field"] == "tenant"
    assert '"all_tenants": true' in problem["detail"]
    assert api.post("/tasks/preview", {"kind": "resend"})["count"] == 2
    wish = {"kind": "cancel", "tenant": "app_1"}
    assert api.post("/tasks", wish, 202)["tenant"] == "app_1"
    everybody = {"kind": "resend", "all_tenants": True}
    assert api.post("/tasks/preview", everybody)["count"] == 2
    assert api.post("/tasks", everybody, 202)["tenant"] is None
    assert api.post("/tasks/preview", {"kind": "resend", "tenant": "app_2"})["count"] == 1


# -- statistics and health ----------------------------------------------------------------------------


def test_statistics_tell_what_was_sent(app: Flask, api: Api, receiver: Receiver) -> None:
    with app.app_context():
        good = add_endpoint(app, receiver.url("/ok"))
        bad = add_endpoint(app, receiver.url("/status/500"))
        emit(app)
        drain(app, retry_schedule=(1000.0,))
    whole = api.get("/statistics")
    assert (whole["period"], len(whole["buckets"])) == ("24h", 24)
    assert (whole["total"]["succeeded"], whole["total"]["failed"]) == (1, 1)
    one = api.get("/statistics", endpoint_id=good.id, period="7d")
    assert (one["total"]["success_rate"], one["total"]["failed"]) == (1, 0)
    assert [row["endpoint"]["id"] for row in api.get("/statistics/failures")["items"]] == [bad.id]
    rows = {row["id"]: row for row in api.get("/endpoints")["items"]}
    assert (rows[good.id]["success_rate_24h"], rows[bad.id]["failed_24h"]) == (1, 1)
    assert rows[bad.id]["health"]["consecutive_failures"] == 1


def test_times_beyond_what_is_counted_apart_are_not_known(app: Flask, api: Api) -> None:
    added = add_endpoint(app)
    state = state_of(app)
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    with state.engine.begin() as connection:
        connection.execute(
            state.table("Statistic")
            .insert()
            .values(endpoint_id=added.id, hour=hour, succeeded=1, duration_ms=60_000.0, ms_more=1)
        )
    total = api.get("/statistics")["total"]
    assert (total["mean_ms"], total["p95_ms"]) == (60_000, None)


def test_health_tells_tenants_nothing_of_the_machines(app: Flask, api: Api) -> None:
    add_delivery(app, add_endpoint(app))
    whole = api.get("/health")
    assert whole["queue"]["name"] == "webhooks"
    assert whole["history_since"] is not None
    narrowed = api.get("/health", tenant="app_1")
    assert (narrowed["queue"], narrowed["history_since"]) == (None, None)
    webhooks_of(app).current_tenant(lambda: "app_1")
    health = api.get("/health")
    assert (health["queue"], health["heartbeats"]) == (None, [])


# -- who it is ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["before", "after"])
def test_the_host_signs_programs_in_as_it_likes(
    database_url: str, redis_url: str, order: str
) -> None:
    from tests.support.helpers import make_app as make_bare_app

    app = make_bare_app(database_url, redis_url)
    webhooks = webhooks_of(app)
    keys = {"key of app_1": "app_1", "key of staff": None}
    blueprint = webhooks.api_blueprint()

    def authenticate() -> None:
        given = request.authorization.token if request.authorization else None
        if given not in keys:
            abort(401, "Send Authorization: Bearer and your key.")
        request.environ["program"] = given

    @webhooks.authorize
    def may(action: str, endpoint: object) -> bool:
        return "program" in request.environ

    @webhooks.current_tenant
    def tenant() -> Any:
        return keys[request.environ["program"]] or ALL_TENANTS

    @webhooks.current_actor
    def actor() -> str:
        return str(request.environ["program"])

    if order == "before":
        app.before_request(authenticate)
    else:
        blueprint.before_request(authenticate)
    app.register_blueprint(blueprint, url_prefix=PREFIX)
    stranger = app.test_client().get(f"{PREFIX}/endpoints")
    assert stranger.status_code == 401
    if order == "after":
        assert stranger.mimetype == "application/problem+json"
        assert stranger.get_json()["detail"] == "Send Authorization: Bearer and your key."

    def client(key: str) -> Api:
        api = Api(app, headers={"Authorization": f"Bearer {key}"})
        # The document is read with the same key.
        api.client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
        api.options = {}
        return api

    customer, staff = client("key of app_1"), client("key of staff")
    mine = customer.post("/endpoints", {"url": URL}, 201)
    assert mine["tenant"] == "app_1"
    customer.post("/endpoints", {"url": URL, "tenant": "app_2"}, 403)
    others = staff.post("/endpoints", {"url": URL, "tenant": "app_2"}, 201)
    customer.get(f"/endpoints/{others['id']}", 404)
    assert len(staff.get("/endpoints")["items"]) == 2
    assert [row["id"] for row in customer.get("/endpoints")["items"]] == [mine["id"]]
    assert staff.get("/activity")["items"][-1]["actor"] == "key of app_1"
    close(app)


def test_the_host_may_protect_it_as_its_forms(database_url: str, redis_url: str) -> None:
    app = make_app(database_url, redis_url, WTF_CSRF_ENABLED=True)
    csrf = CSRFProtect(app)
    api = Api(app)
    problem = api.post("/endpoints", {"url": URL}, 400)
    assert "CSRF" in problem["detail"]
    csrf.exempt(app.blueprints["flask_webhooks_api"])
    api.post("/endpoints", {"url": URL}, 201)
    close(app)


@pytest.mark.parametrize("nested", [False, True])
def test_it_is_exempt_under_any_name(database_url: str, redis_url: str, nested: bool) -> None:
    app = make_app(database_url, redis_url, WTF_CSRF_ENABLED=True)
    csrf = CSRFProtect(app)
    exempt, other = webhooks_of(app).api_blueprint(), webhooks_of(app).api_blueprint()
    csrf.exempt(exempt)
    if nested:
        staff = Blueprint("staff", __name__)
        staff.register_blueprint(exempt, url_prefix="/hooks", name="their_hooks")
        app.register_blueprint(staff, url_prefix="/staff")
    else:
        app.register_blueprint(exempt, url_prefix="/staff/hooks", name="their_hooks")
    app.register_blueprint(other, url_prefix="/others", name="other_hooks")
    client = app.test_client()
    assert client.post("/staff/hooks/endpoints", json={"url": URL}).status_code == 201
    refused = client.post("/others/endpoints", json={"url": URL})
    assert (refused.status_code, refused.content_type) == (400, "application/problem+json")
    assert "CSRF" in refused.get_json()["detail"]
    close(app)


def test_it_can_be_mounted_anywhere_and_twice(database_url: str, redis_url: str) -> None:
    app = make_app(database_url, redis_url)
    blueprint = webhooks_of(app).api_blueprint()
    app.register_blueprint(blueprint, url_prefix="/hooks", name="second")
    client = app.test_client()
    for prefix in (PREFIX, "/hooks"):
        response = client.post(f"{prefix}/endpoints", json={"url": URL + prefix})
        assert response.location == f"{prefix}/endpoints/{response.get_json()['id']}"
        document = client.get(f"{prefix}/openapi.json").get_json()
        assert document["servers"] == [{"url": prefix}]
    close(app)


def test_it_is_not_mounted_over_all_paths_of_the_host(app: Flask) -> None:
    blueprint = webhooks_of(app).api_blueprint()
    with pytest.raises(ConfigurationError, match="url_prefix="):
        Flask("other").register_blueprint(blueprint)
    Flask("other", subdomain_matching=True).register_blueprint(blueprint, subdomain="api")


def test_below_a_script_name_urls_are_whole(app: Flask) -> None:
    client = app.test_client()
    response = client.post(
        f"{PREFIX}/endpoints", json={"url": URL}, environ_overrides={"SCRIPT_NAME": "/site"}
    )
    assert response.location == f"/site{PREFIX}/endpoints/{response.get_json()['id']}"
    document = client.get(
        f"{PREFIX}/openapi.json", environ_overrides={"SCRIPT_NAME": "/site"}
    ).get_json()
    assert document["servers"] == [{"url": f"/site{PREFIX}"}]
