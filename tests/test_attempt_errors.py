"""What went wrong with a request: sentences that are found again in what was stored."""

from __future__ import annotations

import re
from typing import Any

import pytest

from flask_webhooks import attempt_errors
from flask_webhooks.attempt_errors import SENTENCES, recognised, told
from flask_webhooks.texts import Text

#: What may stand in a sentence, also such as could be taken for a part of it.
VALUES: dict[str, list[str]] = {
    "address": ["203.0.113.7", "2001:db8::1"],
    "host": ["hooks.example.com", "xn--bcher-kva.example"],
    "reason": ["private network", "shared address space of a provider (CGNAT)"],
    "said": ["Bad Request: no such chat.", "a; redirects are not followed.", "100 % %(x)s"],
    "seconds": ["10", "0.3", "1e-05"],
    "status": ["404", "503"],
    "why": ["Connection refused", "Name or service not known", "b'<h1>: within 3 s'"],
}


def test_all_of_them_are_listed() -> None:
    named = [value for value in vars(attempt_errors).values() if isinstance(value, Text)]
    assert len(named) == len(set(named)) == len(SENTENCES)
    assert set(named) == set(SENTENCES)


@pytest.mark.parametrize("sentence", SENTENCES)
def test_each_is_found_again_with_what_stands_in_it(sentence: Text) -> None:
    names = re.findall(r"%\((\w+)\)s", sentence.template)
    for number in range(3):
        values: dict[str, Any] = {name: VALUES[name][number % len(VALUES[name])] for name in names}
        stored = str(told(sentence, **values))
        assert "%(" not in stored.replace("%(x)s", "")
        found = recognised(stored)
        assert found is not None, stored
        assert (str(found), found.template, found.values) == (stored, sentence.template, values)


def test_a_kind_of_address_is_a_word_of_ours() -> None:
    found = recognised("The address is not allowed: private network.")
    assert found is not None
    assert isinstance(found.values["reason"], Text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Why: \"'><script>alert(1)</script>",
        # Of another version, and cut where it was too long.
        "The receiver said 503.",
        "The answer could not be read as HTTP: " + "x" * 400,
        "The receiver answered 503, and more.",
    ],
)
def test_what_is_not_ours_is_left_alone(text: str) -> None:
    assert recognised(text) is None
