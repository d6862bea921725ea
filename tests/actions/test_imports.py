"""Exports of other services: whose each entry is, an import that is repeated, and which service it is of."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_webhooks import actions, queries
from flask_webhooks.access import Access
from flask_webhooks.actions import Imported
from flask_webhooks.app_state import state_of
from flask_webhooks.errors import InvalidEndpoint
from flask_webhooks.models import Endpoint
from tests.cli.test_cli import environment, refused, run
from tests.formats.test_moving import shown_export
from tests.support.delivering import with_settings
from tests.support.helpers import accessing, activity, add_endpoint, as_tenant
from tests.support.pages import contents
from tests.support.processes import ROOT, config_of
from tests.support.vendoring import VENDORS, vendor

URL = "https://hooks.example.com"
SECRET = "the secret of the shop"


def entry(number: int = 1, /, **members: Any) -> dict[str, Any]:
    """An endpoint as Authon exports it."""
    base = {"url": f"{URL}/{number}", "events": ["user.login"], "secret": SECRET}
    return {name: value for name, value in (base | members).items() if value is not ...}


def imported(access: Access, *items: Any, **options: Any) -> list[Imported]:
    return list(actions.import_endpoints(access, items, **({"format": "authon"} | options)))


def endpoints(app: Flask) -> list[Endpoint]:
    """All of them, the oldest first."""
    return [row.endpoint for row in reversed(queries.list_endpoints(accessing(app)))]


# -- whose it is -----------------------------------------------------------------------------------


def test_each_entry_goes_to_its_application(app: Flask) -> None:
    done = imported(
        accessing(app),
        entry(1, appId="app_1"),
        entry(2, appId="app_2"),
        entry(3, appId=17),
        entry(4, tenant="app_3"),
        {"success": True, "data": entry(5, appId="app_4")},
        {"success": True, "data": entry(6), "appId": "app_5"},
        entry(7),
        entry(8, appId=None),
    )
    assert [item.problem for item in done] == [None] * 8
    tenants = ["app_1", "app_2", "17", "app_3", "app_4", "app_5", None, None]
    assert [item.tenant for item in endpoints(app)] == tenants


@pytest.mark.parametrize("name", VENDORS)
def test_every_service_tells_whose_it_is(name: str) -> None:
    assert vendor(name).read_export(shown_export(name) | {"appId": "app_1"})["tenant"] == "app_1"
    assert "tenant" not in vendor(name).read_export(shown_export(name))


def test_project_of_aureva_is_the_tenant() -> None:
    exported = vendor("aureva").read_export(shown_export("aureva") | {"project_id": "p_1"})
    assert exported["tenant"] == "p_1"


def test_tenant_of_the_whole_import_wins(app: Flask) -> None:
    imported(accessing(app), entry(1, appId="app_1"), entry(2), tenant="app_9")
    assert [item.tenant for item in endpoints(app)] == ["app_9"] * 2


@pytest.mark.parametrize("given", [["app_1"], {"id": 1}, True, "x" * 256, "a\nb"])
def test_tenant_that_is_no_id_is_named_with_its_entry(app: Flask, given: Any) -> None:
    bad, good = imported(accessing(app), entry(1, appId=given), entry(2, appId="app_1"))
    assert "The tenant must be an id" in (bad.problem or "")
    assert bad.label == f"{URL}/1"
    assert [item.id for item in endpoints(app)] == [good.endpoint and good.endpoint.id]


def test_entries_of_others_are_not_taken_by_a_tenant(app: Flask) -> None:
    items = [entry(1, appId="app_1"), entry(2, appId="app_2"), entry(3)]
    done = imported(as_tenant(app, "app_1"), *items)
    assert [item.problem is None for item in done] == [True, False, True]
    assert "'app_2'" in (done[1].problem or "")
    assert [item.tenant for item in endpoints(app)] == ["app_1"] * 2


@pytest.mark.parametrize("dry_run", [True, False])
def test_limit_is_one_of_each_tenant(app: Flask, dry_run: bool) -> None:
    add_endpoint(app, tenant="app_1")
    items = [
        entry(number, appId=f"app_{1 + number % 2}", events=["user.login"]) for number in range(12)
    ]
    done = imported(accessing(app), *items, dry_run=dry_run)
    taken = {
        tenant: sum(
            item.problem is None
            for item, given in zip(done, items, strict=True)
            if given["appId"] == tenant
        )
        for tenant in ("app_1", "app_2")
    }
    assert taken == {"app_1": 4, "app_2": 5}


def test_same_url_of_two_tenants_is_two_endpoints(app: Flask) -> None:
    done = imported(accessing(app), entry(appId="app_1"), entry(appId="app_2"))
    assert all(item.endpoint is not None for item in done)


# -- again -----------------------------------------------------------------------------------------

CHAT = "https://discord.com/api/webhooks/1/hush"


def test_import_can_be_repeated(app: Flask) -> None:
    items = [
        entry(1, appId="app_1"),
        entry(2, appId="app_2", events=["license.activate", "user.ban"]),
        entry(3, secret=None),
        entry(4, events=["*"]),
        entry(5, url=CHAT, secret=...),
    ]
    first = imported(accessing(app), *items)
    assert all(item.endpoint is not None for item in first)
    before = contents(app)
    again = imported(accessing(app), *items)
    assert [item.unchanged and item.unchanged.id for item in again] == [
        item.endpoint and item.endpoint.id for item in first
    ]
    assert not any(
        item.problem or item.endpoint or item.new_secret or item.other_secret or item.same_as
        for item in again
    )
    assert contents(app) == before
    dry = imported(accessing(app), *items, dry_run=True)
    assert all(item.unchanged is not None for item in dry)


def test_order_of_event_types_makes_no_difference(app: Flask) -> None:
    imported(accessing(app), entry(events=["user.ban", "user.login"]))
    [again] = imported(accessing(app), entry(events=["user.login", "user.ban"]))
    assert again.unchanged is not None


def test_what_a_person_has_changed_since_stays(app: Flask) -> None:
    access = accessing(app)
    [first] = imported(access, entry())
    assert first.endpoint is not None
    actions.pause_endpoint(access, first.endpoint.id, "maintenance")
    actions.update_endpoint(access, first.endpoint.id, name="Renamed")
    [again] = imported(access, entry(name="Shop"))
    assert again.unchanged is not None
    assert (endpoints(app)[0].state, endpoints(app)[0].name) == ("paused", "Renamed")
    actions.update_endpoint(access, first.endpoint.id, events=["payment.*"])
    [other] = imported(access, entry())
    assert first.endpoint.id in (other.problem or "")
    assert "other event types" in (other.problem or "")
    actions.delete_endpoint(access, first.endpoint.id)
    [new] = imported(access, entry())
    assert new.endpoint is not None


@pytest.mark.parametrize("dry_run", [True, False])
def test_entry_that_is_there_twice_is_taken_once(app: Flask, dry_run: bool) -> None:
    done = imported(
        accessing(app), entry(1), entry(1), entry(1, events=["user.ban"]), dry_run=dry_run
    )
    assert [item.endpoint is not None for item in done] == [True, False, False]
    assert (done[1].unchanged, done[1].same_as) == (done[0].endpoint, 1)
    assert done[2].problem is not None
    assert done[2].problem.startswith("Entry 1 already has the same URL")


def test_endpoint_that_was_made_meanwhile_is_not_made_again(app: Flask) -> None:
    def items() -> Iterator[dict[str, Any]]:
        yield entry(1)
        imported(accessing(app), entry(2))
        yield entry(2)

    done = list(actions.import_endpoints(accessing(app), items(), format="authon"))
    assert done[0].problem is None
    assert endpoints(app)[1].id in (done[1].problem or "")
    assert len(endpoints(app)) == 2


def test_other_secret_is_told_to_those_who_may_know(app: Flask) -> None:
    add_endpoint(app, f"{URL}/1", events=["user.logged_in"], format="authon", secret="x" * 20)
    [told] = imported(accessing(app), entry())
    assert (told.unchanged is not None, told.other_secret) == (True, True)
    state = state_of(app)
    may = Access(state, "op", accessing(app).tenant, lambda action, endpoint: action != "secret")
    [untold] = imported(may, entry())
    assert (untold.unchanged is not None, untold.other_secret) == (True, False)


# -- which service it is of ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "possible"),
    [
        (["user.login"], ["authon"]),
        (["license.activate", "file.download"], ["authon"]),
        (["key.created", "auth.failed"], ["aureva"]),
        (["verification.success"], ["akuworks"]),
        (["license.created", "license.hwid_bound"], ["authforge"]),
        # AuthVaultix has it as well, and says nothing of events in its exports.
        (["license.redeem"], ["authvaultix"]),
        (["license.redeemed"], ["authforge"]),
        # Ours alone.
        (["license.created", "user.logged_in"], ["standard"]),
        (["license.*"], ["standard"]),
        (["*"], ["standard"]),
        ([], ["standard"]),
        # Names that mean one thing to us, and the same or another to a service.
        (["license.created", "license.revoked"], ["authforge", "standard"]),
        (["license.activated"], ["authforge", "standard"]),
        (["hwid.reset"], ["aureva", "authvaultix", "standard"]),
        # Of two services.
        (["user.login", "key.created"], []),
        # What nobody knows is told with its entry, and says nothing here.
        (["user.flew", "user.login"], ["authon"]),
    ],
)
def test_event_types_tell_the_service(app: Flask, names: list[str], possible: list[str]) -> None:
    state = state_of(app)
    for items in (
        [entry(events=names)],
        [entry(number, events=[name]) for number, name in enumerate(names)] or [entry(events=[])],
        [entry(events=json.dumps(names)), "nonsense", {"url": 7}],
        [{"success": True, "data": entry(events=names)}],
    ):
        assert [style.name for style in actions.possible_formats(state, items)] == possible
    if len(possible) == 1:
        return
    with pytest.raises(InvalidEndpoint) as caught:
        imported(accessing(app), entry(events=names), format=None)
    assert caught.value.field == "format"
    assert ", ".join(possible) in caught.value.message


def test_member_of_the_url_tells_the_service(app: Flask) -> None:
    item = {"endpoint_url": f"{URL}/1", "user_agent": "Default", "secret": SECRET}
    [done] = imported(accessing(app), item, format=None)
    assert done.endpoint is not None
    assert done.endpoint.format == "authvaultix"


@pytest.mark.parametrize("name", VENDORS)
def test_exports_of_the_pages_are_known(app: Flask, name: str) -> None:
    possible = [
        style.name for style in actions.possible_formats(state_of(app), [shown_export(name)])
    ]
    shared = {"authforge": ["authforge", "standard"], "akuworks": ["akuworks", "standard"]}
    # verification.failed and license.created are names of ours as well.
    assert possible == shared.get(name, [name])


def test_names_of_ours_are_read_for_the_default_format(app: Flask) -> None:
    state = with_settings(state_of(app), default_format="authforge")
    for names in (["license.activated"], ["user.logged_in"], ["*"]):
        [style] = actions.possible_formats(state, [entry(events=names)])
        assert style.name == "authforge"


# -- the command -----------------------------------------------------------------------------------


def test_command_takes_several_tenants_and_can_be_repeated(app: Flask, tmp_path: Path) -> None:
    file = tmp_path / "export.json"
    off = entry(2, appId="app_2", active=False)
    file.write_text(json.dumps([entry(1, appId="app_1"), off, entry(3)]))
    result = run(app, "import", str(file))
    assert result.exit_code == 0, result.output
    one, two, three = endpoints(app)
    assert result.stdout.splitlines() == [
        f"1. {URL}/1: imported as {one.id} (authon, tenant app_1)",
        f"2. {URL}/2: imported as {two.id} (authon, tenant app_2, paused)",
        f"3. {URL}/3: imported as {three.id} (authon, whole server)",
    ]
    assert result.stderr == "Read as an export of Authon; --format names another service.\n"
    before = activity(app)
    again = run(app, "import", str(file), "--format", "authon")
    assert (again.exit_code, again.stderr) == (0, "")
    assert again.stdout.splitlines() == [
        f"{number}. {URL}/{number}: unchanged: it is {endpoint.id} already"
        for number, endpoint in enumerate((one, two, three), 1)
    ]
    assert len(activity(app)) == len(before)


def test_command_names_lines_of_the_file(app: Flask, tmp_path: Path) -> None:
    file = tmp_path / "export.jsonl"
    lines = [
        json.dumps(entry(1)),
        "",
        '{"url": ',
        json.dumps(entry(2, events=["user.flew"])),
        json.dumps(entry(1)),
        json.dumps(entry(1, secret="another secret")),
    ]
    file.write_text("\n".join(lines) + "\n")
    result = run(app, "import", str(file), "--format", "authon")
    assert result.exit_code == 1
    assert result.stderr == "Error: 2 of 5 endpoints were not imported: 3, 4.\n"
    first, broken, unknown, again, another = result.stdout.splitlines()
    assert first.startswith(f"1. {URL}/1: imported as ep_")
    assert broken.startswith("3.: not imported: It is not JSON (")
    assert unknown.startswith(f"4. {URL}/2: not imported: ")
    assert "user.flew" in unknown
    assert again == f"5. {URL}/1: unchanged: the same as 1"
    assert another == f"6. {URL}/1: unchanged: the same as 1"
    [line] = run(app, "import", str(file), "--format", "authon").stdout.splitlines()[-1:]
    assert line.endswith(" already, with another secret")


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (
            ["license.activated"],
            "Its event types fit an export of AuthForge or Standard Webhooks. "
            "Add --format authforge or --format standard.",
        ),
        (["user.login", "key.created"], "a separate file, and name the format with --format."),
    ],
)
def test_command_asks_for_the_format(
    app: Flask, tmp_path: Path, names: list[str], says: str
) -> None:
    file = tmp_path / "export.json"
    file.write_text(json.dumps([entry(events=names)]))
    for options in ((), ("--dry-run",)):
        assert says in refused(run(app, "import", str(file), *options))
    assert endpoints(app) == []


def test_options_that_were_set_since_stay(app: Flask) -> None:
    access = accessing(app)
    items = [entry(url=CHAT, secret=...)]
    [first] = imported(access, *items)
    assert first.endpoint is not None
    actions.update_endpoint(access, first.endpoint.id, options={"show_keys": True})
    for dry_run in (True, False):
        [again] = imported(access, *items, dry_run=dry_run)
        assert again.problem is None
        assert again.unchanged is not None
        assert again.unchanged.id == first.endpoint.id


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("listed", [True, False])
def test_command_takes_what_other_programs_write(
    app: Flask, tmp_path: Path, mark: str, listed: bool
) -> None:
    """A mark before UTF-8, and what ends a line of text within a string of JSON."""
    items = [entry(1, note="a\u2028b"), entry(2, note="a\x85b\u2029")]
    lines = [json.dumps(item, ensure_ascii=False) for item in items]
    file = tmp_path / "export.json"
    file.write_text(
        mark + (f"[{', '.join(lines)}]" if listed else "\r\n".join(lines)), encoding="utf-8"
    )
    result = run(app, "import", str(file))
    assert result.exit_code == 0, result.output
    assert len(endpoints(app)) == 2


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_command_says_in_which_encoding_a_file_has_to_be(
    app: Flask, tmp_path: Path, encoding: str
) -> None:
    file = tmp_path / "export.json"
    file.write_text(json.dumps([entry(name="Zoë")], ensure_ascii=False), encoding=encoding)
    assert "save it in that encoding" in refused(run(app, "import", str(file)), 2)


@pytest.mark.slow
def test_command_goes_on_where_the_terminal_lacks_a_sign(app: Flask, tmp_path: Path) -> None:
    """And reads UTF-8 whatever the terminal has."""
    file = tmp_path / "export.json"
    items = [entry(1, url=CHAT, secret=...), entry(2, name="Zoë", secret=None)]
    file.write_text(json.dumps(items, ensure_ascii=False), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "flask", "webhooks", "import", str(file)],
        env={
            **environment(config_of(app)),
            **{"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"},
            "PYTHONIOENCODING": "latin-1",
        },
        cwd=ROOT,
        capture_output=True,
        encoding="latin-1",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second, secret = done.stdout.splitlines()
    assert first.startswith("1. https://discord.com/api/webhooks/1/????: imported as ep_")
    assert second.startswith(f"2. {URL}/2: imported as ep_")
    assert "A new one, only shown once: whsec_" in secret
    assert endpoints(app)[1].name == "Zoë"
