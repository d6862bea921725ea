"""Every command says in one line what is wrong with what it was given, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import sqlalchemy as sa
from flask import Flask

from flask_webhooks import actions, queries
from flask_webhooks.app_state import state_of
from flask_webhooks.cli import webhooks as webhooks_command
from flask_webhooks.cli.options import MomentOption
from tests.cli.test_cli import refused, run
from tests.support.helpers import accessing, add_delivery, add_endpoint, close
from tests.support.pages import make_app

#: Arguments that an otherwise right call has, by the names of the parameters.
RIGHT = {
    "since": "1h",
    "allowed": "view",
    "members": "user_id=42",
    "name": "CI",
    "url": "https://hooks.example.com/new",
    "file": "-",
}
#: What makes no sense, by the names of parameters.
WRONG = {
    "endpoint_id": ("ep_nope", "ep_\x1b[2J", ""),
    "delivery_id": ("dlv_nope", "dlv_\n", ""),
    "event_id": ("evt_nope", "evt_\x00", ""),
    "task_id": ("task_nope", "task_\n", ""),
    "token_id": ("tok_nope", "tok_\n", ""),
    "event_type": ("license.creatd", "license.*.x", ""),
    "status": ("7xx", "all", ""),
    "tenant": ("app\n1",),
    "format_": ("standrad",),
    "events": ("license.creatd",),
    "members": ("user_id", "=42"),
    "url": ("ftp://hooks.example.com/", "hooks.example.com"),
    "headers": ("X-Key",),
    "options": ("name",),
    "data_text": ("{",),
    "forward_to": ("ftp://127.0.0.1",),
    "file": ("/nowhere/at-all",),
    "data_file": ("/nowhere/at-all",),
}
#: What stands for ids that there are.
NAMED = {f"{{{noun}_id}}" for noun in ("endpoint", "delivery", "event", "task", "token")}
#: What makes no sense, by types of parameters.
WRONG_OF_TYPE: dict[type, tuple[str, ...]] = {
    MomentOption: ("yesterday", "2026-13-01", "9" * 7 + "d", "-1h"),
    click.Choice: ("nope", ""),
    click.IntRange: ("x", "-1"),
    click.FloatRange: ("x", "-1"),
}


def leaves(group: click.Group, *path: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, *path, name)
        else:
            yield " ".join([*path, name]), command


def wrong(parameter: click.Parameter) -> tuple[str, ...]:
    return WRONG.get(parameter.name or "") or WRONG_OF_TYPE.get(type(parameter.type), ())


def calls(command: click.Command) -> Iterator[tuple[str, list[str]]]:
    """Calls with one thing wrong each; ``{endpoint_id}`` and its like stand for ids that there are."""

    def call(faulty: click.Parameter | None, value: str = "") -> list[str]:
        options, arguments = [], []
        for parameter in command.params:
            name = parameter.name or ""
            if parameter is not faulty and not parameter.required:
                continue
            given = value if parameter is faulty else RIGHT.get(name, f"{{{name}}}")
            if isinstance(parameter, click.Argument):
                arguments.append(given)
            else:
                options += [parameter.opts[0], given]
        return [*options, "--", *arguments]

    yield "unknown option", ["--nope", *call(None)]
    yield "one argument too many", [*call(None), "more"]
    if any(parameter.required for parameter in command.params):
        yield "nothing given", []
    for parameter in command.params:
        for value in wrong(parameter):
            yield f"{parameter.name}={value!r}", call(parameter, value)


COMMANDS = dict(leaves(webhooks_command))


@pytest.fixture
def app(tmp_path: Path, redis_url: str) -> Iterator[Flask]:
    app = make_app(f"sqlite:///{tmp_path / 'database.sqlite'}", redis_url)
    with app.app_context():
        yield app
        close(app)


@pytest.fixture
def known(app: Flask) -> dict[str, str]:
    """Ids of what there is, by the names of parameters."""
    access = accessing(app)
    endpoint = add_endpoint(app)
    delivery_id = add_delivery(app, endpoint, "failed")
    return {
        "endpoint_id": endpoint.id,
        "delivery_id": delivery_id,
        "event_id": queries.get_delivery(access, delivery_id).event.id,
        "task_id": actions.start_task(access, "resend").id,
        "token_id": actions.create_token(access, "CI", ["view"]).token.id,
    }


def rows(app: Flask) -> dict[str, int]:
    """How many rows each table has."""
    state = state_of(app)
    with state.engine.connect() as connection:
        return {
            table.name: connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0
            for table in state.models.tables()
        }


def test_every_parameter_that_can_be_wrong_is_tried() -> None:
    tried = {
        parameter.name
        for command in COMMANDS.values()
        for parameter in command.params
        if wrong(parameter)
    }
    assert tried >= WRONG.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_bad_input_is_one_line_and_changes_nothing(
    app: Flask, known: dict[str, str], name: str
) -> None:
    before = rows(app)
    for what, given in calls(COMMANDS[name]):
        arguments = [value.format_map(known) if value in NAMED else value for value in given]
        result = run(app, *name.split(), *arguments)
        assert result.exit_code in (1, 2), (what, result.output)
        line = refused(result, result.exit_code)
        assert line.isprintable(), what
        assert len(line) > 10, what
    assert rows(app) == before


@pytest.mark.parametrize("arguments", [["nope"], ["deliveries", "nope"], ["--nope"]])
def test_command_that_there_is_not_is_one_line(app: Flask, arguments: list[str]) -> None:
    assert "nope" in refused(run(app, *arguments), 2)


def test_group_without_a_command_shows_its_help(app: Flask) -> None:
    assert "Commands:" in run(app, "deliveries").output
