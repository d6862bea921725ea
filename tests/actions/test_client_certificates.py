"""Client certificates of endpoints: given, checked, shown, changed and removed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from flask import Flask

from flask_webhooks import actions
from flask_webhooks.app_state import state_of
from flask_webhooks.errors import InvalidEndpoint
from flask_webhooks.security.client_certificates import MAX_PEM_LENGTH
from flask_webhooks.stored_secrets import encrypted_values
from tests.cli.test_cli import run
from tests.support.api_calls import Api, make_app
from tests.support.delivering import close, endpoint, webhooks_of
from tests.support.helpers import accessing, activity, update

URL = "https://hooks.example.com/in"


@pytest.fixture
def app(database_url: str, redis_url: str) -> Iterator[Flask]:
    """A host with the API."""
    app = make_app(database_url, redis_url)
    with app.app_context():
        yield app
    close(app)


def certificate_and_key(name: str = "acme", **options: Any) -> tuple[str, str]:
    made = trustme.CA().issue_cert("acme.example.com", common_name=name, **options)
    chain = b"".join(blob.bytes() for blob in made.cert_chain_pems).decode()
    return chain, made.private_key_pem.bytes().decode()


@pytest.fixture(scope="module")
def pair() -> tuple[str, str]:
    return certificate_and_key()


def weak_key() -> str:
    return (
        rsa.generate_private_key(65537, 1024)
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode()
    )


def locked_key(key: str) -> str:
    return (
        serialization.load_pem_private_key(key.encode(), None)
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"hush"),
        )
        .decode()
    )


def test_unusable_certificates_are_refused_with_what_to_write(
    app: Flask, pair: tuple[str, str]
) -> None:
    certificate, key = pair
    _, other = certificate_and_key()
    past = datetime.now(UTC) - timedelta(days=2)
    old = "".join(certificate_and_key(not_before=past - timedelta(days=9), not_after=past))
    refused: list[tuple[Any, str]] = [
        (b"bytes", "in PEM"),
        ({"certificate": certificate}, "in PEM"),
        ("certificaté", "in PEM"),
        (certificate + key + " " * MAX_PEM_LENGTH, f"at most {MAX_PEM_LENGTH} characters"),
        ("nonsense", "-----BEGIN CERTIFICATE-----"),
        (key, "-----BEGIN CERTIFICATE-----"),
        (certificate[:300] + "\n-----END CERTIFICATE-----\n" + key, "-----BEGIN CERTIFICATE-----"),
        (certificate * 6 + key, "Up to 5 certificates"),
        (certificate, "Write the private key"),
        (certificate + locked_key(key), "without a passphrase"),
        (certificate + weak_key(), "2048 bits or more"),
        (certificate + other, "belong together"),
        (old, f"expired on {past:%Y-%m-%d}"),
    ]
    for given, words in refused:
        with pytest.raises(InvalidEndpoint) as caught:
            actions.create_endpoint(accessing(app), URL, client_certificate=given)
        assert caught.value.field == "client_certificate"
        assert words in caught.value.message
        assert key.splitlines()[1] not in caught.value.message
    assert activity(app) == []


def test_certificate_is_changed_kept_removed_and_gone_with_its_endpoint(
    app: Flask, pair: tuple[str, str]
) -> None:
    access = accessing(app)
    made = webhooks_of(app).create_endpoint(URL, client_certificate="".join(pair)).endpoint
    assert made.client_certificate is not None
    first = made.client_certificate["fingerprint"]
    actions.update_endpoint(access, made.id, name="Other")
    assert endpoint(app, made.id).client_certificate == made.client_certificate
    with pytest.raises(InvalidEndpoint):
        actions.update_endpoint(access, made.id, client_certificate=pair[0])
    second = certificate_and_key("second")
    # In any order; what libcurl is given begins with the certificate of the key.
    actions.update_endpoint(access, made.id, client_certificate=second[1] + second[0])
    after = endpoint(app, made.id)
    assert after.client_certificate is not None
    assert "second" in after.client_certificate["subject"]
    assert activity(app)[-1].changes == {
        "client_certificate": [first, after.client_certificate["fingerprint"]]
    }
    actions.update_endpoint(access, made.id, client_certificate=None)
    gone = endpoint(app, made.id)
    assert (gone.client_certificate, gone.certificate_sealed) == (None, None)
    actions.update_endpoint(access, made.id, client_certificate="".join(pair))
    actions.delete_endpoint(access, made.id)
    assert endpoint(app, made.id).certificate_sealed is None


def test_api_takes_and_shows_it_without_the_key(app: Flask, pair: tuple[str, str]) -> None:
    api = Api(app)
    made = api.post("/endpoints", {"url": URL, "client_certificate": "".join(pair)}, 201)
    shown = api.get(f"/endpoints/{made['id']}")["client_certificate"]
    assert shown == made["client_certificate"]
    assert shown.keys() == {"subject", "expires_at", "fingerprint"}
    assert shown["expires_at"].endswith("Z")
    assert "acme" in shown["subject"]
    assert "PRIVATE" not in str(made)
    problem = api.patch(f"/endpoints/{made['id']}", {"client_certificate": pair[0]}, 422)
    assert "private key" in str(problem)
    changed = api.patch(f"/endpoints/{made['id']}", {"client_certificate": None})
    assert changed["client_certificate"] is None


def test_commands_read_it_from_a_file(app: Flask, pair: tuple[str, str], tmp_path: Path) -> None:
    file = tmp_path / "acme.pem"
    file.write_text("".join(pair))
    result = run(app, "endpoints", "add", URL, "--client-certificate", str(file))
    assert (result.exit_code, result.stderr) == (0, "")
    endpoint_id = result.stdout.split()[1]
    told = run(app, "endpoints", "show", endpoint_id).stdout
    assert "acme" in told
    assert "SHA-256" in told
    expired = {"subject": "CN=acme", "expires_at": "2026-01-31T12:00:00+00:00", "fingerprint": "0"}
    update(app, "Endpoint", endpoint_id, client_certificate=expired)
    assert "CN=acme, EXPIRED 2026-01-31" in run(app, "endpoints", "show", endpoint_id).stdout
    file.write_text(pair[0])
    wrong = run(app, "endpoints", "edit", endpoint_id, "--client-certificate", str(file))
    assert wrong.exit_code == 1
    assert "private key" in wrong.stderr
    file.write_bytes(b"\xff\xfe")
    wrong = run(app, "endpoints", "edit", endpoint_id, "--client-certificate", str(file))
    assert wrong.exit_code != 0
    assert "UTF-8" in wrong.stderr
    file.unlink()
    missing = run(app, "endpoints", "edit", endpoint_id, "--client-certificate", str(file))
    assert missing.exit_code != 0
    assert "No such file" in missing.stderr
    assert "Traceback" not in missing.stderr
    reset = run(app, "endpoints", "edit", endpoint_id, "--reset", "client-certificate")
    assert reset.exit_code == 0
    assert "client_certificate" in reset.stdout
    assert endpoint(app, endpoint_id).client_certificate is None


def test_certificate_is_encrypted_anew_with_the_others(app: Flask, pair: tuple[str, str]) -> None:
    made = webhooks_of(app).create_endpoint(
        URL, client_certificate="".join(pair), format="aureva", secret=False
    )
    access = accessing(app)
    with access.read() as session:
        [found] = encrypted_values(session, access, "", 10)
    assert found.values.keys() == {"certificate_sealed"}
    sealed = endpoint(app, made.endpoint.id).certificate_sealed
    assert sealed is not None
    assert state_of(app).vault.decrypt(sealed).keys() == {"certificate", "key"}
