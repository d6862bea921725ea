"""What the documentation promises is kept by the tests that it names."""

from __future__ import annotations

import configparser
import re
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
THREAT_MODEL = ROOT / "docs/concepts/threat-model.md"
README = ROOT / "README.md"
COMPARISON = ROOT / "docs/comparison.md"
#: Extras of `setup.cfg` that a server installs.
RUNTIME_EXTRAS = ("api", "prometheus", "otel")
#: Licences that allow any use, as metadata name them.
PERMISSIVE = re.compile(r"MIT|BSD|Apache|PSF|Python Software Foundation", re.IGNORECASE)


def defined_tests() -> set[str]:
    """All tests, as ``security/test_hops.py::test_forged_count_is_not_believed``."""
    return {
        f"{path.relative_to(ROOT / 'tests')}::{name}"
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }


def test_every_invariant_has_tests_that_exist() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    defined = defined_tests()
    rows = re.findall(r"^\| (\d+) \| .+ \| (.+) \|$", page, re.MULTILINE)
    assert [number for number, _ in rows] == [str(number) for number in range(1, 11)]
    named: set[str] = set()
    for number, cell in rows:
        tests = re.findall(r"`([^`]+)`", cell)
        assert [test for test in tests if test not in defined] == []
        assert any(f"::test_invariant_{number}_" in test for test in tests), number
        named.update(tests)
    assert {test for test in defined if "::test_invariant_" in test} <= named


def test_every_threat_names_tests_that_exist() -> None:
    threats = THREAT_MODEL.read_text().partition("## What holds")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in threats.splitlines() if line[:2] == "| "][2:]
    named = [re.findall(r"`(\w[\w/.]*::\w+)`", tests) for _, _, _, tests in rows]
    assert rows
    assert all(named)
    assert {test for tests in named for test in tests} <= defined_tests()


def test_every_promise_of_the_readme_names_tests_that_exist() -> None:
    promises = README.read_text().partition("## What is promised\n")[2].partition("\n## ")[0]
    items = re.findall(r"^- \*\*.*?(?=^- |\n\n)", promises, re.MULTILINE | re.DOTALL)
    linked = [re.findall(r"\]\(tests/([\w/.]+) \"(test_\w+)\"\)", item) for item in items]
    assert len(items) > 7
    assert all(linked)
    named = {f"{path}::{name}" for tests in linked for path, name in tests}
    assert named <= defined_tests()


def test_every_dependency_is_listed_with_its_licence() -> None:
    metadata = configparser.ConfigParser()
    metadata.read(ROOT / "setup.cfg")
    extras = metadata["options.extras_require"]
    wanted = [metadata["options"]["install_requires"], *(extras[name] for name in RUNTIME_EXTRAS)]
    names = re.findall(r"^([A-Za-z][\w-]*)>=", "\n".join(wanted), re.MULTILINE)
    direct, _ = _tables_of_licences()
    assert direct == names


def _tables_of_licences() -> list[list[str]]:
    """The names in the two tables: of our own dependencies, and of what they install."""
    tables = THREAT_MODEL.read_text().partition("## Dependencies")[2]
    parts = tables.split("These packages install others")
    return [re.findall(r"^\| (?!Package)([A-Za-z][\w-]*)", part, re.MULTILINE) for part in parts]


def test_everything_that_is_installed_allows_any_use_and_is_listed() -> None:
    direct, indirect = _tables_of_licences()
    listed = {_normal(name) for name in (*direct, *indirect)}
    installed = closure("Flask-Webhooks", RUNTIME_EXTRAS)
    assert len(installed) > 20
    assert {name for name in installed if name not in listed} == set()
    refused = {name: told for name, told in installed.items() if not PERMISSIVE.search(told)}
    assert refused == {}


def closure(name: str, extras: tuple[str, ...]) -> dict[str, str]:
    """What a package installs, and what that installs in turn, with what their metadata say of licences."""
    found: dict[str, str] = {}
    todo = [(name, extras)]
    while todo:
        package, wanted = todo.pop()
        if _normal(package) in found:
            continue
        metadata = distribution(package).metadata
        names = ("License-Expression", "License", "Classifier")
        told = [item for name in names for item in metadata.get_all(name) or ()]
        told = [item for item in told if " :: " not in item or item.startswith("License")]
        found[_normal(package)] = " ".join(told)
        for line in distribution(package).requires or ():
            requirement = Requirement(line)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *wanted)):
                todo.append((requirement.name, tuple(requirement.extras)))
    del found[_normal(name)]
    return found


def _normal(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def test_comparison_has_whole_rows_a_date_and_a_source_for_each_footnote() -> None:
    text, _, sources = COMPARISON.read_text().partition("## Sources")
    tables = [line for line in text.splitlines() if line.startswith("| ")]
    columns = {line.count(" |") for line in tables if not line.startswith("| ---")}
    assert columns == {9}
    defined = re.findall(r"^\[\^([\w-]+)\]:", sources, re.MULTILINE)
    assert len(defined) == len(set(defined))
    assert set(re.findall(r"\[\^([\w-]+)\]", text)) == set(defined)
    assert set(re.findall(r"on (\d{4}-\d\d-\d\d)", text)) == {
        re.findall(r"read on (\d{4}-\d\d-\d\d)", sources)[0]
    }
