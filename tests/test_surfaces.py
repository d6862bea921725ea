"""The tables of what can be done where hold everything there is, and nothing else."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import pytest

import flask_webhooks
from flask_webhooks import Webhooks
from flask_webhooks.api.document_views import ROUTES
from flask_webhooks.cli import webhooks as webhooks_command
from flask_webhooks.models import _MIXINS, TaskKind
from tests.test_docs import DOCS, generate, leaves

COLUMNS = ("page", "api", "command", "python")


def named(column: str) -> set[str]:
    """Everything that the column names."""
    return {
        name
        for verbs in generate.SURFACES.values()
        for where in verbs.values()
        for name, _ in generate.named(where.get(column, ""))
    }


def methods() -> Iterator[str]:
    """What a host may call, or decorate with."""
    return (name for name in vars(Webhooks) if not name.startswith("_"))


def test_every_page_is_in_a_row() -> None:
    assert named("page") == set(generate.admin_paths())


def test_every_request_of_the_api_is_in_a_row() -> None:
    assert named("api") == {route.name for route in ROUTES}


def test_every_command_is_in_a_row() -> None:
    assert named("command") == set(leaves(webhooks_command))


def test_every_method_is_in_a_row() -> None:
    assert set(methods()) <= named("python")


def test_names_of_python_exist() -> None:
    for name in named("python") - set(methods()):
        where, _, last = name.rpartition(".")
        if where == "models":
            assert last in {mixin.__name__ for mixin in _MIXINS}, name
        else:
            assert where.startswith(f"{flask_webhooks.__name__}."), name
            assert hasattr(importlib.import_module(where), last), name


def test_rows_name_no_other_surface() -> None:
    for group, verbs in generate.SURFACES.items():
        for what, where in verbs.items():
            assert where, f"{group}: {what} is nowhere"
            assert where.keys() <= set(COLUMNS), what


def test_every_kind_of_task_is_in_a_row() -> None:
    notes = {
        note
        for verbs in generate.SURFACES.values()
        for where in verbs.values()
        for name, note in generate.named(where.get("api", ""))
        if name == "task_start"
    }
    assert notes == {str(kind) for kind in TaskKind}


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("", []),
        ("a", [("a", "")]),
        ("a b, c", [("a b", ""), ("c", "")]),
        ("a (x), b", [("a", "x"), ("b", "")]),
        ("a (--y z)", [("a", "--y z")]),
    ],
)
def test_cells_are_read(cell: str, found: list[tuple[str, str]]) -> None:
    assert generate.named(cell) == found


def test_page_has_every_row() -> None:
    text = (DOCS / "reference/surfaces.md").read_text()
    for group, verbs in generate.SURFACES.items():
        section = text.partition(f"\n## {group}\n")[2].partition("\n## ")[0]
        assert section.count("\n| ") == len(verbs) + 2
