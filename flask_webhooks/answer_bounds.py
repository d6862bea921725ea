"""Bounds on what a receiver may send: one answer for each request, and no more of it than can be read in time.

aiohttp queues whatever a peer sends, and lets go of an answer when it cannot read the bytes after it. So the
bytes are counted, and given to its parser one head at a time.
"""

from __future__ import annotations

import re
import select
import time
from asyncio import AbstractEventLoop
from typing import Any

from aiohttp import ClientPayloadError
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.streams import StreamReader

#: Bytes that come before the body at most, interim answers among them.
MAX_HEAD = 256 * 1024
#: Headers of an answer at most.
MAX_HEADERS = 2000
#: Interim answers (1xx) at most; a receiver that works on a request for long may send some.
MAX_INTERIM = 32
#: Bytes that come with the body at most, beside the body: lengths and extensions of chunks, trailers.
MAX_FRAMING = 256 * 1024
#: Bytes that are given to the parser at once: of a head whose end is not in sight, and of a body.
_PIECE, _BODY_PIECE = 1024, 16 * 1024

_END_OF_HEAD = b"\r\n\r\n"
_STATUS_LINE = re.compile(rb"\s*HTTP/1\.[01] ([2-9]\d\d)(?: [^\n]*)?\n")


class BoundedHandler(ResponseHandler):
    """The protocol of one connection.

    :param max_body: bytes of a body that are wanted.
    """

    def __init__(self, loop: AbstractEventLoop, max_body: int) -> None:
        super().__init__(loop)
        self.opened_at = time.monotonic()
        self._max_body = max_body
        # A body may come in chunks of one byte.
        self._most = MAX_HEAD + MAX_FRAMING + 8 * max_body
        self._begin()

    def _begin(self) -> None:
        #: The status that the answer begins with, also where the rest of it cannot be read.
        self.status: int | None = None
        self._received = 0
        self._heads = self._interim = 0
        self._body: StreamReader | None = None
        #: The beginning of the head that is being read, and of the line of it.
        self._first_line = self._line = b""
        #: The last bytes that came.
        self._last = b""

    def set_response_params(self, **options: Any) -> None:
        """Get ready for the answer to a request."""
        self._begin()
        super().set_response_params(**options)

    @property
    def quiet(self) -> bool:
        """Nothing has come since the last answer, not even the end of the connection."""
        if self.transport is None:
            return False
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not poll.poll(0)

    def data_received(self, data: bytes) -> None:
        """Give the parser what belongs to the answer, and close the connection on what does not."""
        if self._parser is None or self._upgraded or not data:
            super().data_received(data)
            return
        at = 0
        while self._body is None:
            if self._exception is not None or at == len(data):
                return
            end = self._end_of_piece(data, at)
            self._feed_head(data[at:end])
            at = end
        while at < len(data) and self._exception is None:
            if self._body.is_eof():
                # The answer is complete: this belongs to none of our requests.
                self._break_off()
                return
            if self._body.total_bytes > self._max_body:
                # The reader has enough, and is about to close the connection.
                return
            piece = data[at : at + _BODY_PIECE]
            at += len(piece)
            self._received += len(piece)
            if self._received > self._most:
                self._give_up(f"more than {self._most} bytes")
                return
            super().data_received(piece)

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Take a head that the parser has read."""
        message, body = data
        if self._body is not None:
            self.force_close()
            return
        if 100 <= message.code < 200 and message.code != 101:
            self._interim += 1
            self._first_line = b""
            self.status = None
            if self._interim > MAX_INTERIM:
                self._give_up(f"more than {MAX_INTERIM} interim answers")
                return
        else:
            self._body = body
        super().feed_data(data, size)

    def _end_of_piece(self, data: bytes, at: int) -> int:
        overlap = self._last[-3:] if at == 0 else b""
        found = (overlap + data[at:]).find(_END_OF_HEAD) if overlap else data.find(_END_OF_HEAD, at)
        if found < 0:
            return min(at + _PIECE, len(data))
        return found + len(_END_OF_HEAD) - len(overlap)

    def _feed_head(self, piece: bytes) -> None:
        allowed = piece[: MAX_HEAD - self._received]
        self._note_lines(allowed)
        self._received += len(piece)
        self._last = piece[-3:]
        self._heads += piece.endswith(_END_OF_HEAD)
        if self._heads > MAX_INTERIM + 1:
            self._give_up(f"more than {MAX_INTERIM} interim answers or empty lines")
            return
        if len(allowed) < len(piece):
            self._give_up(f"more than {MAX_HEAD} bytes before the body, the last in {self._header}")
            return
        super().data_received(piece)

    def _note_lines(self, piece: bytes) -> None:
        if self.status is None and b"\n" not in self._first_line:
            self._first_line += piece[:_PIECE]
            found = _STATUS_LINE.match(self._first_line)
            self.status = int(found[1]) if found else None
        _, newline, rest = piece.rpartition(b"\n")
        self._line = (rest if newline else self._line + piece)[:100]

    @property
    def _header(self) -> str:
        name = self._line.partition(b":")[0].decode("ascii", "replace")
        return f"the header {name}" if name else "the headers"

    def _give_up(self, why: str) -> None:
        self.set_exception(BadHttpMessage(f"it has {why}"))
        if self._body is not None:
            self._body.set_exception(ClientPayloadError(f"The answer has {why}"))
        self._break_off()

    def _break_off(self) -> None:
        self.force_close()
        if self.transport is not None:
            self.transport.abort()
