"""What the shell completes: ids, tenants, event types and formats."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem, ShellComplete
from flask import Flask
from flask.cli import FlaskGroup

from flask_webhooks import actions, ids
from flask_webhooks.cli import webhooks as webhooks_command
from flask_webhooks.queries.completion import OFFERED
from tests.support.delivering import deliveries, webhooks_of
from tests.support.helpers import (
    accessing,
    add_delivery,
    add_endpoint,
    add_portal_link,
    add_scheduled,
    close,
    statements,
    update,
)
from tests.support.hostapp import create_app
from tests.support.pages import make_app


def offered(app: Flask, *words: str) -> list[CompletionItem]:
    group = FlaskGroup(create_app=lambda: app)
    complete = ShellComplete(group, {}, "flask", "_FLASK_COMPLETE")
    return complete.get_completions(["webhooks", *words[:-1]], words[-1])


def completed(app: Flask, *words: str) -> list[str]:
    return [item.value for item in offered(app, *words)]


def test_ids_types_and_formats_are_completed(app: Flask) -> None:
    one, two = add_endpoint(app), add_endpoint(app)
    assert completed(app, "endpoints", "show", "ep_") == [two.id, one.id]
    assert completed(app, "endpoints", "show", one.id[:-1]) == [one.id]
    assert completed(app, "deliveries", "list", "--endpoint", two.id) == [two.id]
    assert completed(app, "events", "list", "--type", "license.cre") == ["license.created"]
    assert completed(app, "endpoints", "add", "--format", "cl") == ["cloudevents"]
    assert completed(app, "endpoints", "list", "--health", "") == ["failing", "healthy"]
    assert "why" in completed(app, "")


def test_completion_is_silent_where_there_are_no_tables(tmp_path: Path, redis_url: str) -> None:
    app = create_app(
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path / 'empty.sqlite'}",
        WEBHOOKS_REDIS_URL=redis_url,
    )
    assert completed(app, "endpoints", "show", "ep_") == []
    close(app)


def test_newest_deliveries_events_and_tasks_are_completed(app: Flask) -> None:
    endpoint = add_endpoint(app)
    made = [add_delivery(app, endpoint, event_id=ids.new_id("evt")) for _ in range(OFFERED + 1)]
    events = [delivery.event_id for delivery in deliveries(app)]
    assert completed(app, "deliveries", "show", "") == made[:0:-1]
    assert completed(app, "deliveries", "resend", "dl") == made[:0:-1]
    # One that is not among the newest is found by what was typed of it.
    assert completed(app, "deliveries", "cancel", made[0][:-1]) == [made[0]]
    assert completed(app, "events", "show", events[0]) == [events[0]]
    assert completed(app, "deliveries", "list", "--event", "evt_") == events[:0:-1]
    assert completed(app, "why", events[1][:-2])[-1] == events[1]
    task = actions.start_task(accessing(app), "resend", endpoint.id)
    assert completed(app, "tasks", "watch", "task_") == [task.id]
    for typed in ("dlv_!", "dlv_" + "z" * 27, "evt_0", "x", "dlv_\x00"):
        assert completed(app, "deliveries", "show", typed) == []


def test_scheduled_events_tokens_and_portal_links_are_completed(
    tmp_path: Path, redis_url: str
) -> None:
    app = make_app(f"sqlite:///{tmp_path / 'database.sqlite'}", redis_url)
    webhooks_of(app).api_blueprint(tokens=True)
    with app.app_context():
        scheduled, link = add_scheduled(app), add_portal_link(app)
        kept, gone = (
            actions.create_token(accessing(app), name, ["view"]).token.id
            for name in ("Shop", "Old")
        )
        actions.revoke_token(accessing(app), gone)
    assert completed(app, "events", "cancel", "sch_") == [scheduled]
    [item] = offered(app, "tokens", "revoke", "")
    assert (item.value, item.help) == (kept, "Shop")
    [item] = offered(app, "portal-link", "revoke", link[:-2])
    assert (item.value, item.help) == (link, "mira")
    close(app)


def test_completion_takes_one_bounded_statement(app: Flask) -> None:
    add_delivery(app, add_endpoint(app, tenant="app_1"))
    for words in (
        ("deliveries", "show", "dlv_0"),
        ("events", "show", "evt_"),
        ("tasks", "stop", ""),
        ("endpoints", "show", "ep_0"),
        ("events", "list", "--tenant", "a"),
    ):
        with statements(app) as executed:
            completed(app, *words)
        [statement] = [item for item in executed if item.startswith("SELECT")]
        assert "LIMIT" in statement


def test_tenants_are_completed_by_their_newest_endpoints(app: Flask) -> None:
    for tenant in ("app_1", "app_2", None, "app_1", "App_3"):
        add_endpoint(app, tenant=tenant)
    assert completed(app, "deliveries", "list", "--tenant", "") == ["App_3", "app_1", "app_2"]
    assert completed(app, "tokens", "create", "--tenant", "app") == ["app_1", "app_2"]
    assert completed(app, "erase", "--tenant", "a%") == []


def test_hostile_names_do_not_steer_the_terminal(app: Flask) -> None:
    endpoint = add_endpoint(app)
    update(app, "Endpoint", endpoint.id, name="\x1b]0;pwned\x07\nfake", tenant="a\x1bb")
    webhooks_of(app).tenant_name(lambda tenant: "\x1b[2J")
    [item] = offered(app, "endpoints", "show", "ep_")
    assert item.help is not None
    assert item.help.isprintable()
    assert completed(app, "events", "list", "--tenant", "") == []


def test_every_id_and_tenant_is_completed() -> None:
    def leaves(command: click.Command) -> list[click.Command]:
        if not isinstance(command, click.Group):
            return [command]
        return [leaf for sub in command.commands.values() for leaf in leaves(sub)]

    for command in leaves(webhooks_command):
        for parameter in command.params:
            names = {parameter.name, *parameter.opts}
            ids_of = {name for name in names if str(name).endswith("_id")}
            wanted = ids_of | (names & {"--tenant"})
            if wanted:
                assert parameter._custom_shell_complete is not None, (command.name, wanted)
