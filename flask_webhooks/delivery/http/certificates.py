"""The trusted CA certificates."""

from __future__ import annotations

import functools
import hashlib
import os
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pycurl

#: The CA bundles of distributions.
_FILES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # macOS, BSD
)
#: The environment variables with which OpenSSL locates them.
_FILE_VARIABLE, _DIRECTORY_VARIABLE = "SSL_CERT_FILE", "SSL_CERT_DIR"
#: SHA-256 of certificates, some of which are in every public trust store.
PUBLIC_AUTHORITIES: Final = frozenset(
    {
        "96bcec06264976f37460779acf28c5a7cfe8a3c0aae11a8ffcee05c0bddf08c6",  # ISRG Root X1
        "69729b8e15a86efc177a57afb7171dfc64add28c2fca8cf1507e34453ccb1470",  # ISRG Root X2
        "cb3ccbb76031e5e0138f8dd39a23f9de47ffc35e43c1144cea27d46a5ab1cb5f",  # DigiCert Global Root G2
        "2cabeafe37d06ca22aba7391c0033d25982952c453647349763a3ab5ad6ccf69",  # GlobalSign Root R6
        "d947432abde7b7fa90fc2e6b59101b1280e0e1c7e4e40fa3c6887fff57a7f4cf",  # GTS Root R1
        "8ecde6884f3d87b1125ba31ac3fcb13d7016de7f57cc904fe1cb97c6ae98196e",  # Amazon Root CA 1
        "e793c9b02fd8aa13e21c31228accb08119643b749c898964b1746d46c3d4cbd2",  # USERTrust RSA
        "7bb647a62aeeac88bf257aa522d01ffea395e0ab45c73f93f65654ec38f25a06",  # Sectigo Root R46
    }
)


def authorities() -> tuple[str | None, str | None]:
    """Return the file and the directory with CA certificates; ``None`` for a missing one.

    They are those of ``SSL_CERT_FILE`` or ``SSL_CERT_DIR``, else the system's, else those of `certifi`.
    """
    if _FILE_VARIABLE in os.environ or _DIRECTORY_VARIABLE in os.environ:
        named, directory = os.environ.get(_FILE_VARIABLE), os.environ.get(_DIRECTORY_VARIABLE)
        return (
            named if named and _holds_certificates(named) else None,
            directory if directory and _has_certificates(directory) else None,
        )
    paths = ssl.get_default_verify_paths()
    for file in (paths.cafile, *_FILES):
        if file and _holds_certificates(file):
            return file, None
    if paths.capath and _has_certificates(paths.capath):
        return None, paths.capath
    try:
        import certifi
    except ImportError:
        return None, None
    return certifi.where(), None


def certificate_options() -> list[tuple[int, str]]:
    """Return the options of libcurl for the CA certificates; empty if there are none.

    The OpenSSL in libcurl's wheels uses the paths of its build machine.
    """
    file, directory = authorities()
    options = [(pycurl.CAINFO, file), (pycurl.CAPATH, directory)]
    return [(name, path) for name, path in options if path is not None]


def trusted_certificates() -> frozenset[str]:
    """Return the SHA-256 of each certificate of `authorities`; none for a damaged file, as in libcurl.

    Files are read again only after a change.

    :raises OSError: they cannot be read now.
    """
    file, directory = authorities()
    found: set[str] = set()
    for path in [*([Path(file)] if file else []), *(_in_directory(directory) if directory else [])]:
        try:
            state = path.stat()
            found |= _certificates_in(path, state.st_mtime_ns, state.st_size)
        except (ssl.SSLError, FileNotFoundError, PermissionError):
            continue
    return frozenset(found)


@functools.lru_cache(maxsize=1024)
def _certificates_in(path: Path, changed_at: int, size: int) -> frozenset[str]:
    store = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    store.load_verify_locations(path)
    return frozenset(hashlib.sha256(one).hexdigest() for one in store.get_ca_certs(True))


def _holds_certificates(file: str) -> bool:
    path = Path(file)
    return path.is_file() and path.stat().st_size > 0


def _has_certificates(directory: str) -> bool:
    """Return whether a directory has certificates with the names that OpenSSL uses."""
    try:
        return any(path.is_file() for path in _in_directory(directory))
    except OSError:  # no descriptor is left to look
        return True


def _in_directory(directory: str) -> Iterable[Path]:
    return Path(directory).glob("*.[0-9]")
