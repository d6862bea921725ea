"""The certificates of authorities that sign those of receivers."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

import pycurl

from flask_webhooks.errors import WebhooksError

#: Where distributions have the certificates of authorities in one file.
_CERTIFICATE_FILES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # macOS, BSD
)


class NoCertificates(WebhooksError):
    """Neither the system nor `certifi` has the certificates of authorities that sign those of receivers."""


def certificate_options() -> list[tuple[int, str]]:
    """Where the certificates of authorities are: the system's, or those of `certifi`.

    libcurl's wheels come with an OpenSSL that looks where the machine they were built on had them.

    :raises NoCertificates: there are none.
    """
    paths = ssl.get_default_verify_paths()
    for file in (paths.cafile, *_CERTIFICATE_FILES):
        if file and Path(file).is_file() and Path(file).stat().st_size:
            return [(pycurl.CAINFO, file)]
    if paths.capath and any(Path(paths.capath).glob("*.0")):
        return [(pycurl.CAPATH, paths.capath)]
    try:
        import certifi
    except ImportError:
        raise NoCertificates(
            "There are no certificates of authorities on this machine, so that no HTTPS receiver can be trusted. "
            "Install the package ca-certificates of the system, or 'pip install certifi'."
        ) from None
    return [(pycurl.CAINFO, certifi.where())]
