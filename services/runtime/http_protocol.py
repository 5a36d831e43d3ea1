"""HTTP/1.1 of our servers, bounded before anybody is known: uvicorn's protocol with limits that it does not have.

httptools keeps a header until it is complete, and copies it with each piece that comes. One header of 64 MB stops the
event loop for seconds. So a request ends with 431 as soon as its head is too large, and with 408 when its head or its
body does not come in time. A connection beyond the limit is answered with 503. Each of these answers is a problem
document (RFC 9457), and ends the connection.

An answer that nobody reads would keep its connection for ever, also one that was closed: closing waits until all of it
is sent. So a connection of whose answer nothing is taken for a while is cut.
"""

import asyncio
import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

AGAIN_SECONDS = 5  # nobody knows when a connection will be free

# A connection that is closed while the other side still sends loses the answer. So that much is read and dropped first.
LINGER_SECONDS = 1.0
LINGER_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may ask of a server that does not know yet who is there."""

    connections: int = 100
    head_bytes: int = 64 * 1024
    headers: int = 100
    # A body with its chunks and trailers. What it may have in itself is the application's to say, and is much less.
    rest_bytes: int = 16 * 1024 * 1024
    head_seconds: float = 10.0
    body_seconds: float = 60.0
    answered_seconds: float = 5.0  # for the rest of a body that nobody reads: its sender is to see the answer
    unread_seconds: float = 30.0  # at most twice as long an answer waits of which not a byte is taken


@dataclass(frozen=True, slots=True)
class RefusedRequest:
    """Why a connection ends."""

    status: HTTPStatus
    code: str
    detail: str


class TooLarge(Exception):
    """Ends the parsing of a request; httptools reports it as an error of the parser."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, limits: Limits, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._refused: RefusedRequest | None = None
        self._in_head = True  # of the request that comes, until it is complete
        self._turned = False  # something began or ended in the bytes that are being parsed
        self._head_bytes = 0  # that httptools has told us of
        self._open_bytes = 0  # received for the head or the rest, complete or not
        self._dropped = 0  # bytes, since it was refused
        self._due: float | None = None  # by when that has to be complete, by the loop's clock
        self._timer: asyncio.TimerHandle | None = None
        self._unread = 0  # bytes of an answer that waited when it was last looked at
        self._reader_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take it, or say that there are too many."""
        super().connection_made(transport)
        self._reader_timer = self.loop.call_later(self._limits.unread_seconds, self._look_at_the_reader)
        if len(self.connections) > self._limits.connections:
            detail = "this process has as many connections as it takes; try again in a moment"
            self._refuse(RefusedRequest(HTTPStatus.SERVICE_UNAVAILABLE, "busy", detail))
        else:
            self._wait_at_most(self._limits.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over, whoever ended it."""
        for timer in (self._timer, self._reader_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse a piece, unless it is one too many."""
        if self._refused is not None:
            self._linger(len(data))
            return
        self._turned = False
        super().data_received(data)
        if self._refused is not None or self.transport.is_closing() or self._turned:
            return
        # A piece of something that was open before: a header that has not ended is not told of, and a trailer neither.
        self._open_bytes += len(data)
        if self._in_head and self._open_bytes > self._limits.head_bytes:
            self._refuse(self._head_too_large())
        elif not self._in_head and self._open_bytes > self._limits.rest_bytes:
            detail = f"a body has at most {self._limits.rest_bytes} bytes with all that is around it"
            self._refuse(RefusedRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", detail))

    def on_message_begin(self) -> None:
        """Its first byte."""
        super().on_message_begin()
        self._turned = True
        self._head_bytes = self._open_bytes = 0
        self._wait_at_most(self._limits.head_seconds)

    def on_url(self, url: bytes) -> None:
        """A piece of the address."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A whole header, or a trailer.

        Raises:
            TooLarge: it is one too many.
        """
        self._count(len(name) + len(value) + len(b": \r\n"))
        if len(self.headers) >= self._limits.headers:
            self._refused = RefusedRequest(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large",
                f"a request has at most {self._limits.headers} headers",
            )  # fmt: skip
            raise TooLarge
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The application begins."""
        self._in_head, self._open_bytes, self._turned = False, 0, True
        self._wait_at_most(self._limits.body_seconds)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Nothing is awaited until the next request begins; how long that may take is uvicorn's keep-alive."""
        self._in_head, self._open_bytes, self._turned, self._due = True, 0, True, None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The application has said all, perhaps before the body came to its end."""
        if not self._in_head and self.cycle.response_complete:
            self._wait_at_most(self._limits.answered_seconds)
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """The parser has stopped: at a limit of ours, or at what is no HTTP."""
        del msg
        self._refuse(self._refused or RefusedRequest(HTTPStatus.BAD_REQUEST, "bad_request", "this is not HTTP/1.1"))

    def _count(self, more: int) -> None:
        self._head_bytes += more
        if self._head_bytes > self._limits.head_bytes:
            self._refused = self._head_too_large()
            raise TooLarge

    def _head_too_large(self) -> RefusedRequest:
        detail = f"address and headers of a request have at most {self._limits.head_bytes} bytes in all"
        return RefusedRequest(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large", detail)

    def _wait_at_most(self, seconds: float) -> None:
        self._due = self.loop.time() + seconds
        if self._timer is not None and self._timer.when() > self._due:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self.loop.call_later(seconds, self._look_at_the_clock)

    def _look_at_the_clock(self) -> None:
        """One timer for all requests of a connection: moving it with each would cost more than the look."""
        self._timer = None
        if self._due is None or self.transport.is_closing():
            return
        rest = self._due - self.loop.time()
        if self.flow.read_paused:  # it is the application that lets the rest wait
            rest = max(rest, 1.0)
        if rest > 0:
            self._timer = self.loop.call_later(rest, self._look_at_the_clock)
            return
        detail = (
            f"address and headers have to come within {self._limits.head_seconds:g} seconds"
            if self._in_head
            else f"a body has to come within {self._limits.body_seconds:g} seconds"
        )
        self._refuse(RefusedRequest(HTTPStatus.REQUEST_TIMEOUT, "too_slow", detail))

    def _look_at_the_reader(self) -> None:
        """Cut a connection on which an answer waits, no less of it than at the last look."""
        waits = self.flow.write_paused or self.transport.is_closing()  # nothing is written meanwhile
        unread = self.transport.get_write_buffer_size() if waits else 0
        if unread and unread == self._unread:
            self.transport.abort()
            return
        self._unread = unread
        self._reader_timer = self.loop.call_later(self._limits.unread_seconds, self._look_at_the_reader)

    def _refuse(self, why: RefusedRequest) -> None:
        self._refused = why
        answered = self.cycle is not None and self.cycle.response_started and not self._in_head
        answering = self.cycle is not None and not self.cycle.response_complete
        if answered or (answering and self._in_head):
            self.transport.close()  # there is an answer already, or one that has not ended
            return
        if answering:  # the application waits for a rest that will not come
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self.flow.resume_reading()
        self.transport.write(_answer(why))
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _linger(self, more: int) -> None:
        self._dropped += more
        if self._dropped > LINGER_BYTES:
            self.transport.close()


def _answer(why: RefusedRequest) -> bytes:
    problem = {"title": why.status.phrase, "status": why.status.value, "code": why.code, "detail": why.detail}
    body = json.dumps(problem).encode()
    again = f"retry-after: {AGAIN_SECONDS}\r\n" if why.status is HTTPStatus.SERVICE_UNAVAILABLE else ""
    head = (
        f"HTTP/1.1 {why.status.value} {why.status.phrase}\r\ncontent-type: application/problem+json\r\n"
        f"content-length: {len(body)}\r\n{again}connection: close\r\n\r\n"
    )
    return head.encode() + body
