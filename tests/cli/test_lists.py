"""Commands that list and show endpoints, events and deliveries, and say why; and that nothing steers the terminal."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

import flask_webhooks.cli
from flask_webhooks import actions, queries
from flask_webhooks.columns import utc_now
from tests.cli.test_cli import refused, run
from tests.support import delivering
from tests.support.delivering import deliveries, drain, make_due
from tests.support.helpers import accessing, add_delivery, add_endpoint, update
from tests.support.receiver import Receiver

#: Moves the cursor up, clears the line, sets the window's title, and a C1 control.
STEERING = "\x1b[1A\x1b[2K\x1b]0;pwned\x07\x9b31m\u202e"


def listed(app: Flask, *arguments: str) -> list[Any]:
    result = run(app, *arguments, "--json")
    assert result.exit_code == 0, result.output
    found: list[Any] = json.loads(result.stdout)
    return found


def ids(app: Flask, *arguments: str) -> list[str]:
    return [item["id"] for item in listed(app, *arguments)]


def row(output: str, start: str) -> dict[str, str]:
    """The line of a table that begins with a text, by column."""
    head, *lines = output.splitlines()
    [line] = [line for line in lines if line.startswith(start)]
    names = re.findall(r"\S+(?: \S+)*", head)
    places = [head.index(name) for name in names] + [len(line)]
    return {
        name: line[begin:end].strip()
        for name, begin, end in zip(names, places, places[1:], strict=False)
    }


def emit(
    app: Flask,
    event_type: str = "license.created",
    data: dict[str, Any] | None = None,
    tenant: str | None = None,
) -> str:
    """Record one event; returns its id."""
    event = delivering.webhooks_of(app).emit(
        event_type, data or {"license_id": "lic_1"}, tenant=tenant
    )
    delivering.db_of(app).session.commit()
    assert event is not None
    return event.id


def failing(app: Flask, endpoint_id: str) -> None:
    with flask_webhooks.app_state.state_of(app).engine.begin() as connection:
        table = flask_webhooks.app_state.state_of(app).table("EndpointHealth")
        connection.execute(
            table.update().where(table.c.endpoint_id == endpoint_id).values(probe_interval=60.0)
        )


# -- endpoints ----------------------------------------------------------------------------------------


def test_failing_endpoint_reads_failing_and_is_found_by_it(app: Flask) -> None:
    good, bad = add_endpoint(app, tenant="app_1"), add_endpoint(app, tenant="app_2")
    paused = add_endpoint(app)
    update(app, "Endpoint", paused.id, state="paused")
    failing(app, bad.id)
    output = run(app, "endpoints", "list").stdout
    assert row(output, bad.id)["STATE"] == "failing"
    assert row(output, good.id)["STATE"] == "active"
    assert row(output, paused.id)["STATE"] == "paused"
    assert ids(app, "endpoints", "list", "--health", "failing") == [bad.id]
    assert ids(app, "endpoints", "list", "--health", "healthy") == [good.id]
    assert ids(app, "endpoints", "list", "--state", "paused") == [paused.id]
    assert ids(app, "endpoints", "list", "--state", "active") == [bad.id, good.id]
    assert ids(app, "endpoints", "list", "--tenant", "app_1") == [good.id]
    assert run(app, "endpoints", "list", "--tenant", "app_3").stdout == ("No endpoints match.\n")


def test_endpoint_is_shown_with_its_last_error(app: Flask) -> None:
    with Receiver() as receiver:
        endpoint = add_endpoint(
            app, receiver.url("/status/503"), name="Shop", headers={"X-Key": "hush"}, rate_limit=5
        )
        emit(app)
        drain(app)
    shown = run(app, "endpoints", "show", endpoint.id).stdout
    for words in ("Name", "Shop", "X-Key", "5 a second", "the whole server", "503"):
        assert words in shown
    assert re.search(r"^State +active$", shown, re.MULTILINE)
    assert re.search(r"^Last error +.*503", shown, re.MULTILINE)
    assert "hush" not in shown
    found = json.loads(run(app, "endpoints", "show", endpoint.id, "--json").stdout)
    assert (found["id"], found["header_names"]) == (endpoint.id, ["X-Key"])
    assert refused(run(app, "endpoints", "show", "ep_x")) == "There is no endpoint 'ep_x'."


def test_endpoint_is_edited_and_the_rest_stays(app: Flask) -> None:
    endpoint = add_endpoint(app, name="One", headers={"X-A": "1", "X-B": "2"}, timeout=1.5)
    result = run(
        app,
        *("endpoints", "edit", endpoint.id, "--url", "https://new.example.com/"),
        *("--event", "license.*", "--header", "X-B: 3", "--header", "X-C: 4"),
        *("--remove-header", "x-a", "--reset", "timeout", "--ordered"),
    )
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    assert result.stdout == f"Changed {endpoint.id}: url, events, timeout, ordered, headers.\n"
    detail = queries.get_endpoint(accessing(app), endpoint.id)
    now = detail.endpoint
    assert (now.url_shown, now.events, now.name) == (
        "https://new.example.com/",
        ["license.*"],
        "One",
    )
    assert (now.timeout, now.ordered) == (None, True)
    assert now.headers_sealed is not None
    headers = flask_webhooks.app_state.state_of(app).vault.decrypt(now.headers_sealed)
    assert headers == {"X-B": "3", "X-C": "4"}


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ([], 2, "Specify what to change"),
        (["--url", "https://10.0.0.7/"], 1, "private network"),
        (["--event", "license.creatd"], 1, "Did you mean license.created"),
        (["--timeout", "3", "--reset", "timeout"], 2, "either --reset timeout"),
        (["--remove-header", "X-No"], 2, "no header X-No"),
    ],
)
def test_bad_edit_ends_with_one_line_and_changes_nothing(
    app: Flask, arguments: list[str], status: int, words: str
) -> None:
    endpoint = add_endpoint(app)
    assert words in refused(run(app, "endpoints", "edit", endpoint.id, *arguments), status)
    assert queries.get_endpoint(accessing(app), endpoint.id).endpoint.version == 1


def test_edit_that_changes_nothing_says_so(app: Flask) -> None:
    endpoint = add_endpoint(app, name="One")
    result = run(app, "endpoints", "edit", endpoint.id, "--name", "One")
    assert result.stdout == f"{endpoint.id} already has these settings: nothing was changed.\n"


def test_edit_that_makes_two_equal_asks_for_force(app: Flask) -> None:
    add_endpoint(app, "https://one.example.com/")
    two = add_endpoint(app, "https://two.example.com/")
    edit = ("endpoints", "edit", two.id, "--url", "https://one.example.com/")
    assert "--force" in refused(run(app, *edit))
    assert run(app, *edit, "--force").exit_code == 0


# -- events and deliveries ----------------------------------------------------------------------------


def test_events_are_listed_by_the_filters_of_the_pages(app: Flask) -> None:
    assert run(app, "events", "list").stdout == "No events match.\n"
    add_endpoint(app)
    one = emit(app, "license.created", tenant="app_1")
    two = emit(app, "user.registered", tenant="app_2")
    output = run(app, "events", "list").stdout
    assert row(output, one)["DELIVERIES"] == "1 pending"
    for filters, expected in (
        (["--type", "user.registered"], [two]),
        (["--tenant", "app_1"], [one]),
        (["--event", one], [one]),
        (["--since", "1h"], [two, one]),
        (["--until", "1h"], []),
        (["--limit", "1"], [two]),
    ):
        assert ids(app, "events", "list", *filters) == expected, filters


def test_events_are_pulled_after_a_cursor(app: Flask) -> None:
    add_endpoint(app)
    result = run(app, "events", "pull")
    assert result.stdout == "There is nothing new.\n"
    first, second = emit(app), emit(app, tenant="app_1")
    [page] = [json.loads(run(app, "events", "pull", "--limit", "1", "--json").stdout)]
    assert ([item["id"] for item in page["items"]], page["has_more"]) == ([first], True)
    result = run(app, "events", "pull", "--after", page["next_after"])
    assert row(result.stdout, second)["TENANT"] == "app_1"
    assert "--after cur_" in result.stderr
    for arguments, told in (
        (("--after", "end"), "Write start"),
        (("--after", page["next_after"], "--tenant", "app_1"), "another tenant"),
        (("--endpoint", "ep_none"), "no endpoint"),
    ):
        assert told in refused(run(app, "events", "pull", *arguments))


def test_event_is_shown_with_its_data_and_deliveries(app: Flask) -> None:
    endpoint = add_endpoint(app, name="Shop")
    event_id = emit(app, "license.created", {"license_id": "lic_7"})
    shown = run(app, "events", "show", event_id).stdout
    assert '"license_id": "lic_7"' in shown
    [delivery] = deliveries(app)
    assert re.search(rf"^{delivery.id} +pending +0 +- +Shop$", shown, re.MULTILINE)
    found = json.loads(run(app, "events", "show", event_id, "--json").stdout)
    assert found["deliveries"][0]["endpoint"]["id"] == endpoint.id
    assert "evt_x" in refused(run(app, "events", "show", "evt_x"))


def test_deliveries_are_listed_by_the_filters_of_the_pages_with_their_errors(app: Flask) -> None:
    with Receiver() as receiver:
        bad = add_endpoint(app, receiver.url("/status/503"), tenant="app_1")
        good = add_endpoint(app, receiver.url("/ok"), tenant="app_2")
        first = emit(app, "license.created", tenant="app_1")
        emit(app, "user.registered", tenant="app_2")
        drain(app)
    by_endpoint = {delivery.endpoint_id: delivery.id for delivery in deliveries(app)}
    output = run(app, "deliveries", "list").stdout
    assert "503" in row(output, by_endpoint[bad.id])["ERROR"]
    assert row(output, by_endpoint[good.id])["ERROR"] == ""
    for filters, expected in (
        (["--type", "user.registered"], [good]),
        (["--tenant", "app_1"], [bad]),
        (["--event", first], [bad]),
        (["--status", "5xx"], [bad]),
        (["--status", "200"], [good]),
        (["--state", "succeeded"], [good]),
        (["--endpoint", bad.id], [bad]),
        (["--since", "1h"], [good, bad]),
        (["--until", "1h"], []),
    ):
        wanted = [by_endpoint[endpoint.id] for endpoint in expected]
        assert ids(app, "deliveries", "list", *filters) == wanted, filters
    assert "no status '7xx'" in refused(run(app, "deliveries", "list", "--status", "7xx"))


def test_delivery_is_shown_with_every_attempt(app: Flask) -> None:
    with Receiver() as receiver:
        add_endpoint(app, receiver.url("/status/503"))
        emit(app)
        for _ in range(2):
            drain(app, retry_schedule=(60.0, 60.0))
            make_due(app)
    [delivery] = deliveries(app)
    shown = run(app, "deliveries", "show", delivery.id).stdout
    assert shown.count("Attempt ") == 2
    assert "Attempt 1: refused, status 503 in " in shown
    assert re.search(r"^  Error +.*503", shown, re.MULTILINE)
    assert "An attempt failed; it is retried automatically." in shown
    assert "webhook-signature" not in shown
    whole = run(app, "deliveries", "show", delivery.id, "--bodies").stdout
    assert "webhook-signature:" in whole
    assert '"license_id"' in whole
    found = json.loads(run(app, "deliveries", "show", delivery.id, "--json").stdout)
    assert [item["number"] for item in found["attempts"]] == [1, 2]


def test_activity_is_listed_by_the_filters_of_its_page(app: Flask) -> None:
    one, two = add_endpoint(app, tenant="app_1"), add_endpoint(app)
    run(app, "endpoints", "pause", one.id, "--reason", "maintenance")

    def actions_of(*filters: str) -> list[str]:
        return [item["action"] for item in listed(app, "activity", "list", *filters)]

    assert actions_of() == ["endpoint.paused", "endpoint.created", "endpoint.created"]
    assert actions_of("--actor", "cli:") == ["endpoint.paused"]
    assert actions_of("--endpoint", two.id) == ["endpoint.created"]
    assert actions_of("--tenant", "app_1") == ["endpoint.paused", "endpoint.created"]
    assert actions_of("--action", "endpoint.paused", "--since", "1h") == ["endpoint.paused"]
    assert actions_of("--until", "1h") == []
    assert "maintenance" in run(app, "activity", "list").stdout


# -- why ----------------------------------------------------------------------------------------------


def test_why_says_what_the_page_says(app: Flask) -> None:
    got = add_endpoint(app, "https://one.example.com/")
    other = add_endpoint(app, "https://two.example.com/", tenant="app_2")
    narrow = add_endpoint(app, "https://three.example.com/", events=["user.*"])
    event_id = emit(app, "license.created", tenant="app_1")
    later = add_endpoint(app, "https://four.example.com/")
    actions.update_endpoint(accessing(app), narrow.id, events=["license.*"])

    def why(endpoint_id: str) -> str:
        result = run(app, "why", event_id, endpoint_id)
        assert result.exit_code == 0, result.output
        return result.stdout

    assert "It is queued, and is sent as soon as a worker is free." in why(got.id)
    assert "belong to different tenants" in why(other.id)
    assert "did not exist yet" in why(later.id)
    text = why(narrow.id)
    assert "only subscribed to license.created afterwards" in text
    assert re.search(r"^Subscribed then +user\.\*$", text, re.MULTILINE)
    assert re.search(r"^Changed after +.* by tester$", text, re.MULTILINE)
    assert "no endpoint 'ep_x'" in refused(run(app, "why", event_id, "ep_x"))
    assert "no event 'evt_x'" in refused(run(app, "why", "evt_x", got.id))
    found = json.loads(run(app, "why", event_id, narrow.id, "--json").stdout)
    assert found["why"] == "subscribed_later"


def test_why_of_a_paused_endpoint_says_what_to_do(app: Flask) -> None:
    endpoint = add_endpoint(app)
    actions.pause_endpoint(accessing(app), endpoint.id, "maintenance")
    event_id = emit(app)
    assert "Resume the webhook to send it." in run(app, "why", event_id, endpoint.id).stdout


# -- what steers a terminal ---------------------------------------------------------------------------


def test_nothing_that_others_wrote_steers_the_terminal(app: Flask) -> None:
    hostile = f"a{STEERING}b\nfake line"
    endpoint = add_endpoint(app)
    update(app, "Endpoint", endpoint.id, name=hostile, state_reason=hostile, state="paused")
    delivery_id = add_delivery(app, endpoint, "failed", attempt_count=1, last_status=500)
    state = flask_webhooks.app_state.state_of(app)
    with state.engine.begin() as connection:
        connection.execute(
            state.table("Attempt")
            .insert()
            .values(
                delivery_id=delivery_id,
                number=1,
                endpoint_id=endpoint.id,
                trigger="event",
                started_at=utc_now(),
                outcome="refused",
                status=500,
                error=hostile,
                url="https://hooks.example.com/in",
                response_headers=[["X-Bad", hostile]],
                response_body=hostile,
            )
        )
    [delivery] = deliveries(app)
    for command in (
        ["endpoints", "list"],
        ["endpoints", "show", endpoint.id],
        ["deliveries", "list"],
        ["deliveries", "show", delivery_id],
        ["deliveries", "show", delivery_id, "--bodies"],
        ["events", "show", delivery.event_id],
        ["why", delivery.event_id, endpoint.id],
        ["deliveries", "list", "--json"],
        ["deliveries", "show", delivery_id, "--json"],
    ):
        result = run(app, *command)
        assert result.exit_code == 0, result.output
        steering = [c for c in result.output if not c.isprintable() and c != "\n"]
        assert steering == [], command
        if "--bodies" not in command:
            assert "\nfake line" not in result.output, command
    line = refused(run(app, "endpoints", "show", hostile))
    assert line.isprintable()


def test_commands_print_through_one_function() -> None:
    folder = Path(flask_webhooks.cli.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            prints = name in ("click.echo", "click.secho", "print", "sys.stdout.write")
            assert not prints or path.name == "output.py", f"{path.name}: {name}"
