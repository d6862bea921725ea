"""Whose data is meant: members at any depth, compared exactly."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_webhooks.bulk.whose import Whose, check_members, read_members
from flask_webhooks.errors import InvalidInput


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("user_id", {"user_id": 42}),
        ("user_id", {"user_id": "42"}),
        ("user_id", {"license": {"owner": {"user_id": 42}}}),
        ("user_id", {"seats": [{"user_id": 1}, {"user_id": 42}]}),
        ("user_id", {"user_id": [1, [42]]}),
        ("user.id", {"user": {"id": 42}}),
        ("user.id", {"seat": [{"user": [{"id": 42}]}]}),
        ("user.id", {"user.id": 42}),
    ],
)
def test_member_fits_wherever_it_stands(name: str, data: dict[str, Any]) -> None:
    assert Whose({name: "42"}).fits(data)


@pytest.mark.parametrize(
    "data",
    [
        {"user_id": 420},
        {"user_id": "142"},
        {"user_id": " 42"},
        {"user_id": 42.5},
        {"user_id": None},
        {"user_id": {"number": 42}},
        {"user_ids": 42},
        {"note": "user_id: 42"},
        {"note": '{"user_id": 42}'},
        [],
        {},
    ],
)
def test_what_only_looks_like_it_does_not_fit(data: Any) -> None:
    assert not Whose({"user_id": "42"}).fits(data)


def test_all_members_have_to_fit() -> None:
    whose = Whose({"user_id": "42", "email": "ann@example.com"})
    assert whose.fits({"user_id": 42, "contact": {"email": "ann@example.com"}})
    assert not whose.fits({"user_id": 42, "email": "Ann@example.com"})


def test_path_is_not_filled_from_two_places() -> None:
    assert not Whose({"user.id": "42"}).fits({"user": {"name": "x"}, "id": 42})


@pytest.mark.slow
@given(
    st.dictionaries(
        st.text(),
        st.recursive(st.text(), lambda each: st.lists(each) | st.dictionaries(st.text(), each)),
    )
)
def test_any_data_can_be_looked_at(data: dict[str, Any]) -> None:
    Whose({"user.id": "42"}).fits(json.loads(json.dumps(data)))


def test_values_become_text() -> None:
    uuid = UUID(int=7)
    assert check_members({"a": 42, "b.c": uuid, "d": "é"}) == {
        "a": "42",
        "b.c": str(uuid),
        "d": "é",
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "Specify whose data"),
        (None, "Specify whose data"),
        ("user_id=42", "Specify whose data"),
        ({"": "42"}, "Write the name of a member"),
        ({"user..id": "42"}, "Write the name of a member"),
        ({"a\nb": "42"}, "Write the name of a member"),
        ({1: "42"}, "Write the name of a member"),
        ({"user_id": ""}, "Write the value of user_id"),
        ({"user_id": None}, "Write the value of user_id"),
        ({"user_id": True}, "Write the value of user_id"),
        ({"user_id": {"id": 1}}, "Write the value of user_id"),
        ({"user_id": "x" * 501}, "Write the value of user_id"),
        ({f"m{number}": 1 for number in range(11)}, "at most 10 members"),
    ],
)
def test_what_says_nothing_is_refused(given: Any, said: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        check_members(given)
    assert said in refusal.value.message
    assert refusal.value.field == "where"


def test_lines_are_read() -> None:
    assert read_members(["user_id=42", " email = a=b "]) == {"user_id": "42", "email": "a=b"}
    for lines in (["user_id"], ["=42"], ["user_id="], ["a=1", "a=2"]):
        with pytest.raises(InvalidInput):
            read_members(lines)
