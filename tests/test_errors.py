"""What errors carry: all that is wrong at once, and what their messages are made of."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path

import pytest

from flask_webhooks import errors
from flask_webhooks.errors import (
    Faults,
    InvalidEndpoint,
    InvalidHeader,
    InvalidInput,
    InvalidURL,
)
from flask_webhooks.security.headers import check_headers
from flask_webhooks.texts import Text, word
from tests.translations import ERRORS, PACKAGE, RAISING


def test_a_text_is_english_and_knows_what_it_was_made_of() -> None:
    text = Text("%(what)s for %(count)s.", what=word("paused"), count=2)
    assert text == "paused for 2."
    assert (text.template, text.values) == (
        "%(what)s for %(count)s.",
        {"what": "paused", "count": 2},
    )
    assert Text("100 % (nothing to put in)") == "100 % (nothing to put in)"


def test_an_error_keeps_what_its_message_was_made_of() -> None:
    error = InvalidURL("Write %(scheme)s:// with two slashes.", scheme="https")
    assert error.message == str(error) == "Write https:// with two slashes."
    assert error.text.template == "Write %(scheme)s:// with two slashes."
    assert error.text.values == {"scheme": "https"}
    assert errors.Forbidden().text.template == errors.Forbidden().message


def test_an_error_of_one_fault_is_its_only_one() -> None:
    error = InvalidURL("x")
    assert error.errors == (error,)
    assert error.whole_message == "x"


def test_faults_are_raised_together_and_the_first_is_the_one_that_is_caught() -> None:
    faults = Faults()
    assert faults.check(int, "3") == 3
    for error in (InvalidURL("one"), InvalidEndpoint("two", field="name"), InvalidURL("one")):
        with faults:
            raise error
    with pytest.raises(InvalidURL) as caught:
        faults.finish()
    assert [(error.field, error.message) for error in caught.value.errors] == [
        ("url", "one"),
        ("name", "two"),
    ]
    assert caught.value.whole_message == "one two"


def test_faults_hide_no_other_exception() -> None:
    faults = Faults()
    with pytest.raises(ZeroDivisionError), faults:
        _ = 1 / 0
    faults.finish()


def test_every_header_at_fault_is_named_with_its_part() -> None:
    with pytest.raises(InvalidHeader) as caught:
        check_headers([("a b", "1"), ("X-Ok", "1"), ("x-ok", "2"), ("X-Empty", ""), ("", "3")])
    assert [(error.header, error.part) for error in _headers(caught.value)] == [
        ("a b", "name"),
        ("x-ok", "name"),
        ("X-Empty", "value"),
        ("", "name"),
    ]


def test_errors_survive_pickling_with_all_that_they_carry() -> None:
    with pytest.raises(InvalidHeader) as caught:
        check_headers({"a b": "1", "X-Empty": ""})
    copy = pickle.loads(pickle.dumps(caught.value))
    assert copy.whole_message == caught.value.whole_message
    assert [(error.header, error.text.values) for error in copy.errors] == [
        ("a b", {}),
        ("X-Empty", {"name": "X-Empty"}),
    ]


#: Messages that another place makes, of literals that are found there.
MADE_ELSEWHERE = {
    # `Catalog.explain_unknown` returns a `Text`.
    "self.explain_unknown(pattern)",
    "state.offered_types.explain_unknown(pattern)",
    # That of an error, raised again as another one.
    "error.text",
    # `_refuse` is found by its own name.
    "message",
}


def test_messages_for_people_are_literals_that_can_be_found_for_translation() -> None:
    seen = 0
    for path in {path for pattern in RAISING for path in PACKAGE.glob(pattern)}:
        for node in ast.walk(ast.parse(path.read_text())):
            name = _called(node)
            if name not in ERRORS:
                continue
            assert isinstance(node, ast.Call)
            if not node.args or path.name == "texts.py":
                continue
            seen += 1
            message = node.args[0]
            made_elsewhere = ast.unparse(message) in MADE_ELSEWHERE
            assert isinstance(message, ast.Constant) or name == "Text" or made_elsewhere, _place(
                path, node
            )
    assert seen > 150


def _called(node: ast.AST) -> str:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id
    return ""


def _place(path: Path, node: ast.AST) -> str:
    return f"{path.name}:{getattr(node, 'lineno', 0)}: give the values beside the message"


def _headers(error: InvalidInput) -> list[InvalidHeader]:
    return [each for each in error.errors if isinstance(each, InvalidHeader)]
