"""Encryption at rest: rotation, fallback keys, what cannot be read any more, and that nothing shows."""

from __future__ import annotations

import base64
import copy
import json
import pickle
from collections.abc import Sequence
from typing import Any

import pytest
from cryptography.fernet import Fernet
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_webhooks.app_state import state_of
from flask_webhooks.config import Settings
from flask_webhooks.errors import ConfigurationError, UnreadableSecret
from flask_webhooks.security.vault import Sealed, Vault
from tests.support.hostapp import create_app

#: The same in each test process, so that they collect the same tests.
OLD, NEW = (base64.urlsafe_b64encode(letter * 32).decode() for letter in (b"o", b"n"))
SECRET = "whsec_do-not-show-me"


def vault(keys: Sequence[str | bytes] = (), secret_keys: Sequence[str | bytes] = ()) -> Vault:
    return Vault.from_config(keys, secret_keys)


@settings(deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_any_json_value_comes_back(value: Any) -> None:
    box = vault([NEW])
    assert box.decrypt(box.encrypt(value)) == value


def test_ciphertext_tells_nothing_and_is_another_one_each_time() -> None:
    box = vault([NEW])
    one, two = box.encrypt(SECRET), box.encrypt(SECRET)
    assert one.ciphertext != two.ciphertext
    assert one != two
    assert SECRET not in one.ciphertext
    assert SECRET.encode() not in base64.urlsafe_b64decode(one.ciphertext)


# -- keys -------------------------------------------------------------------------------------------------


def test_first_key_encrypts_and_every_key_decrypts() -> None:
    sealed = vault([OLD]).encrypt(SECRET)
    rotating = vault([NEW, OLD])
    assert rotating.decrypt(sealed) == SECRET
    renewed = rotating.encrypt(SECRET)
    assert vault([NEW]).decrypt(renewed) == SECRET
    with pytest.raises(UnreadableSecret):
        vault([OLD]).decrypt(renewed)


def test_secret_key_and_its_fallbacks_work_the_same() -> None:
    sealed = vault(secret_keys=["old"]).encrypt(SECRET)
    rotating = vault(secret_keys=["new", "old"])
    assert rotating.decrypt(sealed) == SECRET
    assert vault(secret_keys=["new"]).decrypt(rotating.encrypt(SECRET)) == SECRET
    with pytest.raises(UnreadableSecret):
        vault(secret_keys=["new"]).decrypt(sealed)


def test_secret_key_may_be_bytes() -> None:
    assert vault(secret_keys=[b"key"]).decrypt(vault(secret_keys=["key"]).encrypt(1)) == 1


def test_move_from_secret_key_to_keys_of_its_own() -> None:
    before = vault(secret_keys=["app"])
    sealed = before.encrypt(SECRET)
    after = vault([NEW], ["app"])
    assert after.decrypt(sealed) == SECRET
    assert vault([NEW]).decrypt(after.encrypt(SECRET)) == SECRET
    with pytest.raises(UnreadableSecret):
        before.decrypt(after.encrypt(SECRET))


def test_key_that_is_derived_stays_the_same() -> None:
    """What was sealed by an earlier version must open: this was made by 0.1.0."""
    sealed = Sealed(
        "gAAAAABrAXdugiNWkBYgOuGvzdOtb2My_d7eWuN_mu9mW8_3ETN31AT7ktYOlhUcylL5KFfiiViLFb318Euq3EybpXbNo5wydpnkjMsYKwrxJp6CbndA9x4="
    )
    assert vault(secret_keys=["for ever"]).decrypt(sealed) == {"secret": "whsec_x"}


def test_derived_key_is_not_the_secret_key_itself() -> None:
    """Flask signs sessions with it: one use must not weaken the other."""
    key = Fernet.generate_key().decode()
    with pytest.raises(UnreadableSecret):
        vault([key]).decrypt(vault(secret_keys=[key]).encrypt(SECRET))


@pytest.mark.parametrize("bad", ["short", "", "=" * 44, NEW[:-2], "ä" * 44], ids=repr)
def test_malformed_key_is_refused_by_its_place_without_showing_it(bad: str) -> None:
    with pytest.raises(ConfigurationError, match=r"WEBHOOKS_ENCRYPTION_KEYS\[1\]") as caught:
        vault([NEW, bad])
    message = str(caught.value)
    assert "Fernet.generate_key()" in message
    assert not bad or bad not in message.replace("Fernet.generate_key", "")
    assert NEW not in message


def test_there_must_be_some_key() -> None:
    with pytest.raises(ConfigurationError, match="set SECRET_KEY, or WEBHOOKS_ENCRYPTION_KEYS"):
        vault()


@pytest.mark.parametrize("ciphertext", ["", "not a token", "gAAAAA", "ü", "\0"], ids=repr)
def test_garbage_is_unreadable_and_says_what_to_do(ciphertext: str) -> None:
    with pytest.raises(UnreadableSecret, match="Add the old key to the end") as caught:
        vault([NEW]).decrypt(Sealed(ciphertext))
    assert caught.value.__suppress_context__


def test_changed_ciphertext_is_unreadable() -> None:
    sealed = vault([NEW]).encrypt(SECRET)
    token = bytearray(base64.urlsafe_b64decode(sealed.ciphertext))
    token[20] ^= 1
    with pytest.raises(UnreadableSecret):
        vault([NEW]).decrypt(Sealed(base64.urlsafe_b64encode(token).decode()))


# -- nothing shows ------------------------------------------------------------------------------------------


def test_nothing_secret_in_any_representation() -> None:
    box = vault([NEW], ["app-secret"])
    sealed = box.encrypt(SECRET)
    for shown in (repr(sealed), str(sealed), f"{sealed}", repr(box), str(box), repr([sealed])):
        for secret in (SECRET, sealed.ciphertext, NEW, "app-secret"):
            assert secret not in shown
    assert repr(sealed) == "<Sealed>"
    with pytest.raises(TypeError):
        json.dumps(sealed)


def test_state_of_an_application_shows_no_key() -> None:
    app = create_app(
        SQLALCHEMY_DATABASE_URI="sqlite://",
        SECRET_KEY="app-secret",
        WEBHOOKS_ENCRYPTION_KEYS=[NEW],
        WEBHOOKS_REDIS_URL="redis://:pass-word@localhost/0",
    )
    shown = repr(state_of(app))
    for secret in ("app-secret", NEW, "pass-word"):
        assert secret not in shown


def test_sealed_is_a_value() -> None:
    sealed = Sealed("abc")
    assert sealed == Sealed("abc") != Sealed("abd")
    assert len({sealed, Sealed("abc")}) == 1
    assert sealed != "abc"
    assert copy.deepcopy(sealed) == pickle.loads(pickle.dumps(sealed)) == sealed
    with pytest.raises(AttributeError):
        sealed.plaintext = "x"  # type: ignore[attr-defined]


# -- from the application's configuration -------------------------------------------------------------------


def test_application_configures_its_vault() -> None:
    def of(**config: Any) -> Vault:
        return Settings.from_config(config).vault(config)

    sealed = of(SECRET_KEY="old").encrypt(SECRET)
    assert of(SECRET_KEY="new", SECRET_KEY_FALLBACKS=["old"]).decrypt(sealed) == SECRET
    assert of(SECRET_KEY="old", WEBHOOKS_ENCRYPTION_KEYS=[NEW]).decrypt(sealed) == SECRET
    assert of(SECRET_KEY="old", SECRET_KEY_FALLBACKS=None).decrypt(sealed) == SECRET
    with pytest.raises(ConfigurationError, match="set SECRET_KEY"):
        of()
    with pytest.raises(UnreadableSecret):
        of(SECRET_KEY="new", WEBHOOKS_ENCRYPTION_KEYS=[NEW]).decrypt(sealed)


def test_application_without_any_key_cannot_be_set_up() -> None:
    with pytest.raises(ConfigurationError, match="set SECRET_KEY"):
        create_app(SQLALCHEMY_DATABASE_URI="sqlite://", SECRET_KEY=None)


def test_two_applications_do_not_read_each_others_secrets() -> None:
    def app(key: str) -> Flask:
        return create_app(SQLALCHEMY_DATABASE_URI="sqlite://", SECRET_KEY=key)

    one, two = state_of(app("one")).vault, state_of(app("two")).vault
    with pytest.raises(UnreadableSecret):
        two.decrypt(one.encrypt(SECRET))
