"""The certificates of authorities that sign those of receivers."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Final

import pycurl

#: Where distributions have the certificates of authorities in one file.
_FILES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # macOS, BSD
)
#: The variables by which OpenSSL is told where they are.
_FILE_VARIABLE, _DIRECTORY_VARIABLE = "SSL_CERT_FILE", "SSL_CERT_DIR"


def authorities() -> tuple[str | None, str | None]:
    """The file and the directory with the certificates of authorities; ``None`` for what there is not.

    They are those that ``SSL_CERT_FILE`` or ``SSL_CERT_DIR`` names, else the system's, else those of `certifi`.
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
    """Options of libcurl that say where the certificates of authorities are; empty where there are none.

    libcurl's wheels come with an OpenSSL that looks where the machine they were built on had them.
    """
    file, directory = authorities()
    options = [(pycurl.CAINFO, file), (pycurl.CAPATH, directory)]
    return [(name, path) for name, path in options if path is not None]


def _holds_certificates(file: str) -> bool:
    path = Path(file)
    return path.is_file() and path.stat().st_size > 0


def _has_certificates(directory: str) -> bool:
    """Whether there are certificates under the names by which OpenSSL finds them."""
    try:
        return any(Path(directory).glob("*.[0-9]"))
    except OSError:  # no descriptor is left to look
        return True
