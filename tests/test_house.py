"""The house rules of the source: one meaning a name, plain words, and no module that is long without a reason."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import ROOT

PACKAGE = ROOT / "flask_webhooks"
MODULES = sorted(PACKAGE.rglob("*.py"))
#: What is shown: views and commands are named after the thing that they show.
SURFACES = {"admin", "api", "cli"}
#: Names that mean the same in every module: the way in to a blueprint, a group of commands, what RQ calls.
SAME_MEANING = {"create_blueprint", "register", "add_to", "run", "record", "View"}
MAX_LINES = 300
#: Words that had a meaning of our own, and what is written instead.
BANNED = {
    r"rehears\w*": "warm up",
    r"errands?": "call, submit",
    r"summon\w*": "request another worker",
    r"neglected": "task that no worker has taken",
    r"tellers?": "signal dispatcher",
    r"trail": "audit log",
    r"standing": "history, settings",
    r"wish(es)?": "request, plan",
    r"(free|few|no|all the|its|the) places": "slots",
    r"judgement": "settlement",
}


def definitions(tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """Public classes, types and functions of a module; and whether it is a function."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, True
        elif isinstance(node, ast.ClassDef):
            yield node.name, False
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if re.search("[a-z]", name) and name[0].isupper():  # an alias of a type
                yield name, False


@pytest.mark.slow
def test_no_two_public_things_have_one_name() -> None:
    found: dict[str, list[str]] = defaultdict(list)
    for path in MODULES:
        room = path.relative_to(PACKAGE).parts[0]
        for name, is_function in definitions(ast.parse(path.read_text())):
            if name.startswith("_") or name in SAME_MEANING or (is_function and room in SURFACES):
                continue
            found[name].append(str(path.relative_to(PACKAGE)))
    assert {name: paths for name, paths in found.items() if len(paths) > 1} == {}


@pytest.mark.parametrize("word", BANNED)
def test_words_of_our_own_are_gone(word: str) -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    templates = (PACKAGE / "admin" / "templates").rglob("*.html")
    pattern = re.compile(rf"\b{word}\b", re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in [*MODULES, *pages, *templates]
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == [], f"write: {BANNED[word]}"


def test_long_module_says_why() -> None:
    """`Long, since …` in its docstring."""
    silent = []
    for path in MODULES:
        text = path.read_text()
        if len(text.splitlines()) > MAX_LINES:
            docstring = ast.get_docstring(ast.parse(text)) or ""
            if "Long, since " not in docstring:
                silent.append(str(path.relative_to(PACKAGE)))
    assert silent == []


def test_test_files_mirror_the_package() -> None:
    """What is about a part of the package lies in the folder of that part; other folders are named here."""
    folders = {path.parent.relative_to(PACKAGE) for path in MODULES} | {
        Path("browser"),
        Path("fuzz"),
        Path("support"),
        Path("support/receivers"),
        Path("example_app"),
        Path("demo"),
        Path("fuzz"),
        Path("hosts"),
    }
    here = ROOT / "tests"
    strange = {path.parent.relative_to(here) for path in here.rglob("*.py")} - folders
    assert {str(path) for path in strange} == set()


def test_changes_of_the_layout_test_begin_in_files_that_exist() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    section = page.partition("## Is the layout good?")[2].partition("\n## ")[0]
    files = re.findall(r"^\| .+ \| `(.+)` \|$", section, re.MULTILINE)
    assert len(files) == 25
    assert [name for name in files if not (PACKAGE / name).is_file()] == []


def test_first_change_of_a_newcomer_can_be_made() -> None:
    """CONTRIBUTING tells what to replace in the last line of a module."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    [name] = re.findall(r"one small module, `(.+)`", page)
    [old] = re.findall(r"replace `(.+)` with `delay`", page)
    assert old in (ROOT / name).read_text().splitlines()[-1]
