"""Dated versions of event data: how they are registered, in which order they are turned back, and what differs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from flask_webhooks.catalog.differences import compare_data
from flask_webhooks.catalog.registry import Catalog, EventType, builtin_catalog
from flask_webhooks.catalog.versions import INITIAL, is_date
from flask_webhooks.errors import (
    ConversionFailed,
    InvalidEndpoint,
    InvalidEventType,
    UnknownEventType,
)

NAME = "license.activated"
MOST = 1000


def marking(mark: str) -> Any:
    """A function that says that it was called."""
    return lambda data: {**data, "by": [*data.get("by", []), mark]}


@pytest.fixture
def catalog() -> Catalog:
    catalog = builtin_catalog()
    # In no order.
    for date in ("2026-12-01", "2027-03-15", "2026-06-30"):
        catalog.add_version(NAME, date, marking(date))
    catalog.add_version("user.banned", "2027-01-01", marking("2027-01-01"))
    return catalog


def convert(catalog: Catalog, text: str, wanted: str | None, name: str = NAME) -> str:
    """Data of the newest version in another one."""
    versions = catalog.versions
    return versions.convert(name, text, versions.newest(name), wanted, MOST)


def converted(catalog: Catalog, given: str | None, wanted: str | None) -> list[str]:
    """The versions that were turned back, in order."""
    text = catalog.versions.convert(NAME, '{"a":1}', given, wanted, MOST)
    found: list[str] = json.loads(text).get("by", [])
    return found


@pytest.mark.parametrize(
    ("wanted", "turned_back"),
    [
        ("2027-03-15", []),
        ("2027-12-31", []),
        ("2026-12-01", ["2027-03-15"]),
        # A version of another type's, or one that is gone, is between.
        ("2027-01-01", ["2027-03-15"]),
        ("2026-06-30", ["2027-03-15", "2026-12-01"]),
        ("2026-01-01", ["2027-03-15", "2026-12-01", "2026-06-30"]),
        (INITIAL, ["2027-03-15", "2026-12-01", "2026-06-30"]),
        (None, ["2027-03-15", "2026-12-01", "2026-06-30"]),
    ],
)
def test_later_versions_are_turned_back_one_by_one(
    catalog: Catalog, wanted: str | None, turned_back: list[str]
) -> None:
    assert catalog.versions.newest(NAME) == "2027-03-15"
    assert converted(catalog, "2027-03-15", wanted) == turned_back


@pytest.mark.parametrize(
    ("given", "wanted", "turned_back"),
    [
        ("2026-12-01", INITIAL, ["2026-12-01", "2026-06-30"]),
        ("2026-12-01", "2026-06-30", ["2026-12-01"]),
        ("2026-12-01", "2026-12-01", []),
        ("2026-12-01", "2027-03-15", []),
        ("2026-06-30", None, ["2026-06-30"]),
        (None, None, []),
        (None, "2027-03-15", []),
    ],
)
def test_data_that_is_older_is_turned_back_from_its_own_version(
    catalog: Catalog, given: str | None, wanted: str | None, turned_back: list[str]
) -> None:
    assert converted(catalog, given, wanted) == turned_back


@pytest.mark.parametrize("given", ["2028-01-01", "2026-12-02", "2026-01-01"])
def test_data_of_a_version_that_is_gone_is_not_guessed_at(catalog: Catalog, given: str) -> None:
    with pytest.raises(ConversionFailed, match=f"is in the version {given}, which"):
        converted(catalog, given, INITIAL)
    assert converted(catalog, given, "2028-01-01") == []


def test_types_without_versions_stay_the_same_text(catalog: Catalog) -> None:
    text = '{ "a" : 1.0 }'
    assert convert(catalog, text, None, "license.created") is text
    assert convert(catalog, text, "2027-03-15") is text
    assert convert(builtin_catalog(), text, None) is text


def test_dates_are_of_all_types_and_newest_first(catalog: Catalog) -> None:
    versions = catalog.versions
    assert versions.dates == ("2027-03-15", "2027-01-01", "2026-12-01", "2026-06-30")
    assert versions.names == (*versions.dates, INITIAL)
    assert versions.of("user.banned") == ("2027-01-01",)
    assert versions.of("license.created") == ()
    assert builtin_catalog().versions.names == ()


def test_a_narrowed_catalogue_keeps_versions(catalog: Catalog) -> None:
    assert catalog.only(["license.*"]).versions.of(NAME) == catalog.versions.of(NAME)


def test_functions_get_a_copy_and_may_change_it() -> None:
    catalog = builtin_catalog()

    def change(data: dict[str, Any]) -> dict[str, Any]:
        data["user"]["name"] = data["user"].pop("username")
        return data

    catalog.add_version(NAME, "2026-12-01", change)
    text = '{"user":{"username":"mira"}}'
    for _ in range(2):
        assert convert(catalog, text, None) == '{"user":{"name":"mira"}}'


def test_what_hosts_have_becomes_json() -> None:
    catalog = builtin_catalog()
    when = datetime(2026, 12, 1, tzinfo=UTC)
    catalog.add_version(NAME, "2026-12-01", lambda data: {"at": when, "sum": Decimal("1.50")})
    text = convert(catalog, "{}", None)
    assert json.loads(text) == {"at": "2026-12-01T00:00:00+00:00", "sum": "1.50"}


# -- what is refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "date",
    [
        "",
        "2026",
        "2026-13-01",
        "2026-02-30",
        "20261201",
        "2026-W49-2",
        " 2026-12-01",
        20261201,
        None,
    ],
)
def test_malformed_date_is_refused(date: Any) -> None:
    assert not is_date(date)
    with pytest.raises(InvalidEventType, match='such as "2026-12-01"'):
        builtin_catalog().add_version(NAME, date, dict)


def test_unknown_type_is_refused() -> None:
    with pytest.raises(UnknownEventType, match=r"Did you mean license\.activated"):
        builtin_catalog().add_version("license.activate", "2026-12-01", dict)


def test_date_of_a_type_is_taken_once(catalog: Catalog) -> None:
    with pytest.raises(InvalidEventType, match="has a version 2026-12-01 already"):
        catalog.add_version(NAME, "2026-12-01", dict)
    catalog.add_version("user.banned", "2026-12-01", dict)


def test_what_is_no_function_is_refused() -> None:
    given: Any = {"a": 1}
    with pytest.raises(InvalidEventType, match="needs a function"):
        builtin_catalog().add_version(NAME, "2026-12-01", given)


@pytest.mark.parametrize("name", ["endpoint.disabled", "test"])
def test_data_of_ours_has_no_versions(name: str) -> None:
    with pytest.raises(InvalidEventType, match="made by Flask-Webhooks"):
        builtin_catalog().add_version(name, "2026-12-01", dict)


def test_version_of_an_endpoint_is_a_date_initial_or_the_newest(catalog: Catalog) -> None:
    check = catalog.versions.check
    assert check(None) == "2027-03-15"
    assert check(INITIAL) is None
    assert check("2026-06-30") == "2026-06-30"
    assert check("2020-01-01", "2020-01-01") == "2020-01-01"
    assert builtin_catalog().versions.check(None) is None


@pytest.mark.parametrize(
    "given", ["2020-01-01", "newest", "", 5, True, ["2026-12-01"], {}, "x" * 999]
)
def test_unknown_version_is_refused_with_those_there_are(catalog: Catalog, given: Any) -> None:
    with pytest.raises(InvalidEndpoint, match=r"2027-03-15, 2027-01-01, .*initial") as caught:
        catalog.versions.check(given, "2021-01-01")
    assert caught.value.field == "data_version"
    assert len(str(caught.value)) < 300


# -- functions that fail --------------------------------------------------------------------------------------


def recursive() -> dict[str, Any]:
    data: dict[str, Any] = {}
    data["self"] = data
    return data


def fail(data: dict[str, Any]) -> dict[str, Any]:
    raise ValueError(f"no licence {data['license_key']}")


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (fail, r"raised ValueError at test_versions\.py:\d+\."),
        (lambda data: data["gone"], r"raised KeyError at test_versions\.py:\d+\."),
        (lambda: {}, r"raised TypeError\."),
        (lambda data: None, r"returned NoneType instead of a dict\."),
        (lambda data: [data], r"returned list instead of a dict\."),
        (lambda data: "{}", r"returned str instead of a dict\."),
        (lambda data: {"a": "x" * MOST}, "too large or has no JSON form"),
        (lambda data: {"a": float("nan")}, "too large or has no JSON form"),
        (lambda data: {"a": object()}, "too large or has no JSON form"),
        (lambda data: {1: 2}, "too large or has no JSON form"),
        (lambda data: recursive(), "too large or has no JSON form"),
    ],
)
def test_failure_names_the_function_and_no_data(function: Any, said: str) -> None:
    catalog = builtin_catalog()
    catalog.add_version(NAME, "2026-12-01", function)
    with pytest.raises(ConversionFailed, match=said) as caught:
        convert(catalog, '{"license_key":"AAAA-BBBB"}', None)
    message = caught.value.message
    assert f"The data of {NAME} cannot be turned into what it was before 2026-12-01." in message
    assert "AAAA" not in message
    # Those who need no function of it get the event.
    assert convert(catalog, "{}", "2026-12-01") == "{}"


# -- differences ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("older", "newer", "found"),
    [
        ({}, {}, []),
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 1, "b": None}, [("b", "added", None, None)]),
        ({"a": 1, "b": 2}, {"b": 2}, [("a", "removed", 1, None)]),
        ({"a": 1}, {"a": "1"}, [("a", "changed", 1, "1")]),
        ({"a": 1}, {"a": True}, [("a", "changed", 1, True)]),
        ({"a": 1}, {"a": 1.0}, [("a", "changed", 1, 1.0)]),
        ({"a": [1]}, {"a": [2]}, [("a", "changed", [1], [2])]),
        ({"a": {"b": 1}}, {"a": 1}, [("a", "changed", {"b": 1}, 1)]),
        (
            {"user": {"name": "mira", "id": 1}},
            {"user": {"id": 2, "email": "m@x"}},
            [
                ("user.id", "changed", 1, 2),
                ("user.email", "added", None, "m@x"),
                ("user.name", "removed", "mira", None),
            ],
        ),
    ],
)
def test_differences_are_told_member_by_member(older: Any, newer: Any, found: list[Any]) -> None:
    told = [(item.path, item.kind, item.before, item.after) for item in compare_data(older, newer)]
    assert told == found


def test_deprecated_is_of_the_type() -> None:
    kind = EventType("a.b", "G", "D", {"type": "object"}, {})
    assert not kind.deprecated
    assert not any(item.deprecated for item in builtin_catalog())
