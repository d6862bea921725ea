"""What went wrong with a request: a code and parameters in the row, and the sentence that is shown of them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_webhooks import attempt_errors
from flask_webhooks.app_state import state_of
from flask_webhooks.attempt_errors import (
    MAX_LENGTH,
    NO_CONNECTION,
    REFUSED,
    REFUSED_WITH,
    SENTENCES,
    UNEXPECTED,
    UNRESOLVED,
    WITHOUT_BODIES,
    AttemptError,
    stored_error,
    told,
)
from flask_webhooks.texts import Text
from tests.support.delivering import attempts, drain, emit, webhooks_of
from tests.support.receiver import Receiver

#: What may stand in a sentence, also such as could be taken for a part of it.
VALUES: dict[str, list[str]] = {
    "address": ["203.0.113.7", "2001:db8::1"],
    "header": ["X-Policy", "100 % %(x)s"],
    "host": ["hooks.example.com", "xn--bcher-kva.example"],
    "reason": ["private network", "shared address space of a provider (CGNAT)"],
    "said": ["Bad Request: no such chat.", "a; redirects are not followed.", "100 % %(x)s"],
    "seconds": ["10", "0.3", "1e-05"],
    "status": ["404", "503"],
    "why": ["Connection refused", "Name or service not known", "b'<h1>: within 3 s'"],
}


def test_each_code_has_one_sentence(app: Flask) -> None:
    named = [value for value in vars(attempt_errors).values() if isinstance(value, AttemptError)]
    assert [error.code for error in named] == list(SENTENCES)
    assert len(set(SENTENCES.values())) == len(SENTENCES)
    column = state_of(app).table("Attempt").c.error_code.type
    assert isinstance(column, sa.String)
    longest = column.length or 0
    assert all(re.fullmatch("[a-z_]+", code) and len(code) <= longest for code in SENTENCES)


@pytest.mark.parametrize("code", SENTENCES)
def test_what_is_stored_makes_the_same_sentence(code: str) -> None:
    template = SENTENCES[code].template
    names = re.findall(r"%\((\w+)\)s", template)
    for number in range(3):
        values: dict[str, Any] = {name: VALUES[name][number % len(VALUES[name])] for name in names}
        error = told(AttemptError(code), **values)
        params = json.loads(json.dumps(error.stored_params()))
        found = stored_error(code, params, None)
        assert isinstance(found, Text)
        assert (str(found), found.template, found.values) == (
            str(error),
            template,
            values,
        )
        assert str(error) == (template % values if values else template)


def test_a_kind_of_address_is_a_word_of_ours() -> None:
    found = told(attempt_errors.BLOCKED, reason="private network").text
    assert isinstance(found.values["reason"], Text)


def test_a_second_sentence_follows_the_first() -> None:
    error = told(REFUSED, status=503).with_note(WITHOUT_BODIES)
    assert str(error) == f"The receiver responded with 503. {WITHOUT_BODIES}"
    assert stored_error(error.code, error.stored_params(), None) == str(error)
    assert str(UNEXPECTED.with_note(WITHOUT_BODIES)) == f"Unexpected error. {WITHOUT_BODIES}"


@pytest.mark.parametrize(
    "error",
    [
        told(REFUSED_WITH, status=503, said="x" * 10_000),
        told(UNRESOLVED, host="h" * 253, why="y" * 5_000),
        told(UNRESOLVED, host="h" * 2_000, why="y" * 2_000),
        told(NO_CONNECTION, why="\u2713" * 400),
    ],
)
def test_a_sentence_is_never_longer_than_is_kept(error: AttemptError) -> None:
    kept = error.changed(lambda text: text.replace("\u2713", "\\u2713"))
    assert len(str(kept)) == MAX_LENGTH
    noted = kept.with_note(WITHOUT_BODIES)
    assert len(str(noted)) == MAX_LENGTH
    assert str(noted).endswith(str(WITHOUT_BODIES))
    assert all(noted.params.values())


def test_secrets_are_masked_before_the_cut() -> None:
    """The first half of one must not be left at the end."""
    said = "x" * 450 + "the-secret-of-the-endpoint"
    kept = told(REFUSED_WITH, status=503, said=said).changed(
        lambda text: text.replace("the-secret-of-the-endpoint", "••••")
    )
    assert "the-" not in str(kept)
    assert str(kept).endswith("••••")


@pytest.mark.parametrize(
    ("code", "params", "shown"),
    [
        ("of_tomorrow", {"why": "a"}, "of_tomorrow: a"),
        ("of_tomorrow", None, "of_tomorrow"),
        ("refused", {"code": "503"}, "refused: 503"),
        (
            "refused",
            {"status": "503", "note": "of_tomorrow"},
            "The receiver responded with 503. of_tomorrow",
        ),
    ],
)
def test_what_a_worker_of_another_version_wrote_is_shown(
    code: str, params: dict[str, str] | None, shown: str
) -> None:
    assert stored_error(code, params, None) == shown


def test_a_row_without_a_code_shows_its_sentence(app: Flask, receiver: Receiver) -> None:
    webhooks_of(app).create_endpoint(receiver.url("/status/503"))
    emit(app)
    drain(app)
    table = state_of(app).table("Attempt")
    with state_of(app).engine.begin() as connection:
        row = connection.execute(sa.select(table)).one()
        assert (row.error_code, row.error_params, row.error) == ("refused", {"status": "503"}, None)
        connection.execute(
            sa.update(table).values(
                error_code=None, error_params=None, error="The receiver said 503."
            )
        )
    [attempt] = attempts(app)
    assert attempt.error == "The receiver said 503."


def test_errors_are_values() -> None:
    assert told(REFUSED, status=503) == told(REFUSED, status="503") != REFUSED
    assert hash(told(REFUSED, status=503)) == hash(replace(REFUSED, params={"status": "503"}))
