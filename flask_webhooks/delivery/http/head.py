"""The headers of a response, line by line from libcurl, with limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

#: Maximum total size of interim responses, headers and trailers in bytes. libcurl accepts at most 5,000 lines, and
#: 100 KB per line.
MAX_HEAD_BYTES: Final = 256 * 1024
#: Maximum number of interim responses (RFC 9110, 15.2).
MAX_INTERIM_RESPONSES: Final = 16


class Head:
    """Status, headers and trailers; reused for consecutive responses."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start with another response."""
        #: The status and the headers of the response itself, not of an interim response.
        self.status: int | None = None
        self.headers: list[tuple[str, str]] = []
        #: The headers are complete; trailers may follow.
        self.complete = False
        #: The part that was too long: ``head`` or ``interim``; or ``status``, if it is not three digits.
        self.too_much: str | None = None
        self._bytes = self._interim = 0
        #: Lines of the current headers, and the last one after the body.
        self._lines: list[bytes] = []
        self._trailer = b""

    def take(self, line: bytes) -> int | None:
        """Process the next line; -1 ends the transfer."""
        self._bytes += len(line)
        if self._bytes > MAX_HEAD_BYTES:
            self._trailer = line
            return self._end("head")
        if self.complete:
            self._trailer = line
            return None
        self._lines.append(line)
        if line.strip():
            return None
        self._read()
        if self.status is None:
            return self._end("status")
        if not _is_interim(self.status):
            self.complete = True
            return None
        self.status, self.headers = None, []
        self._lines.clear()
        self._interim += 1
        return self._end("interim") if self._interim > MAX_INTERIM_RESPONSES else None

    def break_off(self) -> None:
        """Parse possibly incomplete headers, which may be sufficient."""
        if self.complete or not self._lines:
            return
        self._read()
        if _is_interim(self.status):
            self.status, self.headers = None, []

    @property
    def last_header(self) -> str | None:
        """The name of the last received header; if the headers are too long, of the one that exceeded the limit."""
        lines = reversed([*self._lines, self._trailer])
        names = (_header(line) for line in lines if not line[:1].isspace())
        return next((found[0] for found in names if found is not None), None)

    def _end(self, too_much: str) -> int:
        self.too_much = too_much
        return -1

    def _read(self) -> None:
        self.status = _status(self._lines[0])
        self.headers = [pair for pair in map(_header, self._lines[1:]) if pair is not None]


def header_lines(headers: Sequence[tuple[str, str]], unwanted: Sequence[str]) -> list[bytes]:
    """Return the headers of a request for libcurl, without its own additions.

    :param unwanted: headers that libcurl would add.
    :raises ValueError: a header contains a line break.
    """
    lines = [f"{name}: {value}" if value else f"{name};" for name, value in headers]
    given = {name.lower() for name, _ in headers}
    lines += [f"{name}:" for name in unwanted if name not in given]
    text = "\n".join(lines)
    if text.count("\n") != len(lines) - 1 or "\r" in text or "\0" in text:
        raise ValueError("a header with a line break")
    return text.encode().split(b"\n")


def _status(line: bytes) -> int | None:
    """Return the status of ``HTTP/1.1 200 OK``: libcurl accepts any number, a database column does not."""
    words = line.split(None, 2)
    return int(words[1]) if len(words) > 1 and len(words[1]) == 3 and words[1].isdigit() else None


def _is_interim(status: int | None) -> bool:
    """Return whether other headers follow.

    After a 101 there are none, because no request asks for another protocol.
    """
    return status is not None and status < 200 and status != 101


def _header(line: bytes) -> tuple[str, str] | None:
    name, colon, value = line.decode(errors="replace").partition(":")
    return (name.strip(), value.strip()) if colon else None
