"""Filters: what they say, what events they let through, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flask_webhooks.errors import InvalidFilter
from flask_webhooks.filters.explaining import failed_conditions
from flask_webhooks.filters.matching import compile_clause, event_view, stored_matcher
from flask_webhooks.filters.notation import (
    MAX_CONDITIONS,
    MAX_LENGTH,
    MAX_LEVELS,
    MAX_VALUES,
    parse_filter,
)

LICENSE: dict[str, Any] = {
    "license_id": "lic_1",
    "plan": "pro",
    "amount": 120,
    "price": 9.5,
    "trial": False,
    "note": None,
    "tags": ["gift", "vip", 7],
    "user": {"email": "jane@example.com", "roles": ["admin", "owner"]},
    "items": [{"id": 1, "count": 5}, {"id": 2, "count": 0}],
}


def passes(data_filter: Any, data: Any = LICENSE, event_type: str = "license.created") -> bool:
    """Whether a filter on data lets an event through; the explanation has to agree."""
    clause = parse_filter({"data": data_filter})
    assert clause is not None
    view = event_view(event_type, data)
    passed = compile_clause(clause)(view)
    assert (failed_conditions(clause, view) == ()) is passed
    return passed


def faults(given: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidFilter) as caught:
        parse_filter(given)
    assert {error.field for error in caught.value.errors} == {"filter"}
    return [
        (error.path, error.message)
        for error in caught.value.errors
        if isinstance(error, InvalidFilter)
    ]


@pytest.mark.parametrize(
    "data_filter",
    [
        {"plan": "pro"},
        {"plan": "pro", "amount": 120},
        {"amount": 120.0},
        {"trial": False},
        {"note": None},
        {"user": {"email": "jane@example.com"}},
        {"tags": "gift"},
        {"tags": ["vip", "gift"]},
        {"items": {"id": 2}},
        {"items": {"id": 1, "count": {"$gt": 4}}},
        {"plan": {"$eq": "pro"}},
        {"user": {"$eq": {"email": "jane@example.com", "roles": ["admin", "owner"]}}},
        {"plan": {"$neq": "max"}},
        {"amount": {"$gte": 120, "$lt": 121}},
        {"amount": {"$gt": 119.5}},
        {"price": {"$lte": 9.5}},
        {"license_id": {"$gte": "lic_0"}},
        {"plan": {"$in": ["pro", "max"]}},
        {"trial": {"$in": [False]}},
        {"note": {"$in": [None]}},
        {"plan": {"$in": "r"}},
        {"tags": {"$in": 7}},
        {"plan": {"$nin": ["basic"]}},
        {"plan": {"$nin": "x"}},
        {"license_id": {"$startsWith": "lic_"}},
        {"license_id": {"$startsWith": ["key_", "lic_"]}},
        {"user": {"email": {"$endsWith": "@example.com"}}},
        {"note": {"$exist": True}},
        {"gone": {"$exist": False}},
        {"gone": {"deeper": {"$exist": False}}},
        {"plan": {"$or": ["max", "pro"]}},
        {"plan": {"$not": {"$in": ["max"]}}},
        {"$not": {"gone": 1}},
        {"$or": [{"plan": "max"}, {"amount": {"$gte": 100}}]},
        {"$and": [{"plan": "pro"}, {"amount": {"$gte": 100}}]},
    ],
)
def test_filter_lets_what_it_describes_through(data_filter: Any) -> None:
    assert passes(data_filter)


@pytest.mark.parametrize(
    "data_filter",
    [
        {"plan": "max"},
        {"plan": "pro", "amount": 1},
        {"trial": 0},
        {"amount": True},
        {"amount": "120"},
        {"note": False},
        {"tags": "missing"},
        {"tags": ["vip", "other"]},
        {"items": {"id": 2, "count": {"$gt": 4}}},
        {"tags": {"$eq": "gift"}},
        {"user": {"$eq": {"email": "jane@example.com"}}},
        {"amount": {"$gt": "100"}},
        {"plan": {"$gt": 5}},
        {"trial": {"$gte": 0}},
        {"trial": {"$in": [0, 1]}},
        {"amount": {"$in": [True]}},
        {"amount": {"$startsWith": "1"}},
        {"user": {"$in": ["jane"]}},
        {"plan": {"$nin": ["pro"]}},
        {"note": {"$exist": False}},
        {"$or": [{"plan": "max"}, {"amount": {"$lt": 100}}]},
        {"plan": {"$not": {"$in": ["pro"]}}},
    ],
)
def test_filter_stops_what_it_does_not_describe(data_filter: Any) -> None:
    assert not passes(data_filter)


@pytest.mark.parametrize(
    "condition",
    [
        "x",
        None,
        {"$eq": None},
        {"$neq": "x"},
        {"$lt": 5},
        {"$in": ["x"]},
        {"$nin": ["x"]},
        {"$nin": "x"},
        {"$endsWith": "x"},
        {"$exist": True},
        {"$not": {"$eq": 1}},
        {"deeper": {"$neq": 1}},
    ],
)
def test_member_that_is_not_there_meets_nothing(condition: Any) -> None:
    assert not passes({"gone": condition})
    assert not passes({"user": {"gone": condition}})
    assert not passes({"plan": {"gone": condition}})


def test_filter_may_be_about_the_type_too() -> None:
    clause = parse_filter(
        {"$or": [{"type": {"$startsWith": "license."}}, {"data": {"amount": {"$gte": 100}}}]}
    )
    assert clause is not None
    lets_through = compile_clause(clause)
    assert lets_through(event_view("license.created", {}))
    assert lets_through(event_view("payment.succeeded", {"amount": 100}))
    assert not lets_through(event_view("payment.succeeded", {"amount": 99}))


@pytest.mark.parametrize("nothing", [None, {}])
def test_empty_filter_is_none(nothing: Any) -> None:
    assert parse_filter(nothing) is None


@pytest.mark.parametrize(
    ("given", "path", "message"),
    [
        ([], "filter", "Write the filter as a JSON object"),
        ("data", "filter", "Write the filter as a JSON object"),
        ({"amount": 1}, "filter", "Begin with data or type"),
        ({"data": 5}, "filter.data", "must be an object of members"),
        ({"data": {}}, "filter.data", "is empty"),
        ({"data": {"a": {}}}, "filter.data.a", "is empty"),
        ({"data": {"a": []}}, "filter.data.a", "is an empty list"),
        ({"data": {"a": {"$regex": "x"}}}, "filter.data.a", "unknown operator '$regex'"),
        ({"data": {"$eq": 1, "b": 2}}, "filter.data", "mixes the operator $eq with the member 'b'"),
        ({"data": {"a": {"$gt": [1]}}}, "filter.data.a.$gt", "needs a number or a text, not [1]"),
        ({"data": {"a": {"$gt": True}}}, "filter.data.a.$gt", "needs a number or a text"),
        ({"data": {"a": {"$lt": None}}}, "filter.data.a.$lt", "needs a number or a text"),
        ({"data": {"a": {"$in": []}}}, "filter.data.a.$in", "needs a list of single values"),
        ({"data": {"a": {"$in": [[1]]}}}, "filter.data.a.$in", "needs a list of single values"),
        ({"data": {"a": {"$in": ""}}}, "filter.data.a.$in", "needs a list of single values"),
        ({"data": {"a": {"$startsWith": 1}}}, "filter.data.a.$startsWith", "needs a text"),
        ({"data": {"a": {"$exist": "yes"}}}, "filter.data.a.$exist", "needs true or false"),
        ({"data": {"a": float("nan")}}, "filter.data.a", "finite numbers"),
        ({"data": {"a": "\ud800"}}, "filter.data.a", "Unicode characters"),
        ({"$or": []}, "filter.$or", "needs a list of conditions"),
        ({"$or": {"data": {"a": 1}}}, "filter.$or", "needs a list of conditions"),
        ({"$and": [1]}, "filter.$and[0]", "must be an object"),
        ({"$not": 1}, "filter.$not", "must be an object"),
        ({"data": {1: 2}}, "filter.data", "unknown operator 1"),
    ],
)
def test_malformed_filter_is_refused(given: Any, path: str, message: str) -> None:
    [(where, text)] = faults(given)
    assert where == path
    assert message in text


def test_all_faults_are_told_at_once() -> None:
    found = faults({"amount": 1, "data": {"a": {"$gt": []}, "b": {"$like": 1}, "c": {}}})
    assert [path for path, _ in found] == [
        "filter",
        "filter.data.a.$gt",
        "filter.data.b",
        "filter.data.c",
    ]
    many = faults({"data": {f"m{number}": {"$like": 1} for number in range(40)}})
    assert len(many) == 10


def nested(levels: int) -> Any:
    value: Any = 1
    for _level in range(levels):
        value = {"a": value}
    return {"data": value}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (nested(MAX_LEVELS), f"more than {MAX_LEVELS} levels"),
        (nested(100), "levels deep"),
        (nested(100_000), "levels deep"),
        ({"data": {"a": {"$in": list(range(MAX_VALUES))}}}, f"more than {MAX_VALUES} values"),
        ({"data": {"a": {"$in": list(range(10_000))}}}, "values"),
        ({"data": {"a": "x" * MAX_LENGTH}}, "characters, more than 8,192"),
        (
            {"$or": [{"data": {f"m{number}": 1}} for number in range(MAX_CONDITIONS + 1)]},
            f"more than {MAX_CONDITIONS} conditions",
        ),
        ({"data": {"a": object()}}, "that JSON cannot represent"),
    ],
)
def test_filter_is_bounded(given: Any, message: str) -> None:
    [(_path, text)] = faults(given)
    assert message in text


def test_largest_filter_is_taken() -> None:
    conditions = [{"data": {f"m{number}": 1}} for number in range(MAX_CONDITIONS)]
    assert parse_filter({"$or": conditions}) is not None
    assert parse_filter(nested(MAX_LEVELS - 1)) is not None


def test_list_in_the_data_is_looked_at_up_to_a_bound() -> None:
    data = {"tags": [*range(1000), "last"], "items": [{"id": number} for number in range(1001)]}
    assert passes({"tags": 999}, data)
    assert not passes({"tags": "last"}, data)
    assert not passes({"tags": {"$in": "last"}}, data)
    assert not passes({"items": {"id": 1000}}, data)


def test_filter_of_a_later_version_lets_everything_through(
    caplog: pytest.LogCaptureFixture,
) -> None:
    text = '{"data":{"a":{"$later":1}}}'
    assert stored_matcher(text)(event_view("test", {}))
    assert stored_matcher(text)(event_view("test", {}))
    [record] = caplog.records
    assert "its endpoint gets all events" in record.getMessage()


def explained(given: Any, data: Any = LICENSE) -> list[tuple[Any, ...]]:
    clause = parse_filter(given)
    assert clause is not None
    found = failed_conditions(clause, event_view("license.created", data))
    return [
        (item.path, item.operator, item.expected, item.found, item.missing, item.alternative)
        for item in found
    ]


def test_explanation_names_each_condition_that_failed() -> None:
    assert explained({"data": {"plan": "max", "amount": {"$gte": 500, "$lt": 900}}}) == [
        ("data.plan", "=", '"max"', '"pro"', False, False),
        ("data.amount", "$gte", "500", "120", False, False),
    ]
    assert explained({"data": {"user": {"name": "x"}}}) == [
        ("data.user.name", "=", '"x"', None, True, False)
    ]
    assert explained({"type": "payment.failed"}) == [
        ("type", "=", '"payment.failed"', '"license.created"', False, False)
    ]


def test_explanation_tells_alternatives_from_what_is_needed() -> None:
    given = {"$or": [{"data": {"plan": "max"}}, {"data": {"trial": True}}]}
    assert [(path, alternative) for path, *_, alternative in explained(given)] == [
        ("data.plan", True),
        ("data.trial", True),
    ]


def test_explanation_of_what_is_denied_and_of_lists() -> None:
    assert explained({"data": {"plan": {"$not": {"$in": ["pro"]}}}}) == [
        ("data.plan", "$not", '$in ["pro"]', '"pro"', False, False)
    ]
    [(path, _, expected, found, *_)] = explained({"data": {"items": {"id": 9}}})
    assert (path, expected) == ("data.items[].id", "9")
    assert json.loads(found) == LICENSE["items"]


def test_explanation_is_bounded() -> None:
    data = {"secret": "x" * 10_000}
    [(_, _, expected, found, *_)] = explained({"data": {"secret": "y" * 5000}}, data)
    assert len(expected) == len(found) == 100
    many = {"data": {f"m{number}": 1 for number in range(40)}}
    assert len(explained(many)) == 10
