"""One connection of the data plane: bytes in, rendered reply out.

Law of this file: HTTP/1.1 as RFC 9112 has it, strict and bounded, with one question behind it. Nothing here
decides anything about a credential; it finds the two headers that may hold one and the route, and hands them to
the pipeline. A body is read and ignored, and every method is judged alike.
"""

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Coroutine
from typing import TYPE_CHECKING, Any, Final

import httptools
import structlog

from validator.caching import Reply, Tally
from validator.core import reply as replies
from validator.core.extract import session_cookie
from validator.core.reply import Rendered
from validator.errors import Denied
from validator.model import Reason
from validator.server.frames import Asked
from validator.server.tracing import trace_id

if TYPE_CHECKING:  # the plane makes connections, and they know it by its type alone
    from validator.server.dataplane import Plane

MAX_HEADERS: Final = 100  # nginx's default for what it parses, and Kong's for what it hands to plugins
_MAX_TARGET_BYTES: Final = 8192  # RFC 9110 section 4.1 asks for 8000 at least
# What the count of a complete head leaves out: spaces around values, the method's length.
_SLACK_BYTES: Final = 1024
_FIELD_BYTES: Final = len(": \r\n")
_REQUEST_LINE_BYTES: Final = len("GET  HTTP/1.1\r\n\r\n")
_LINGER_BYTES: Final = 4 * 1024 * 1024
_LINGER_S: Final = 2.0
_BAD_REQUEST, _UNAUTHORIZED, _REQUEST_TIMEOUT, _CONTENT_TOO_LARGE = 400, 401, 408, 413
_TARGET_TOO_LONG, _EXPECTATION_FAILED, _HEAD_TOO_LARGE, _UNAVAILABLE = 414, 417, 431, 503
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_AUTHORIZATION_LINE: Final = re.compile(rb"(?i)authorization:")

log = structlog.get_logger(__name__)


class Connection(asyncio.Protocol):
    """One gateway's connection: requests in order, answers in the same order."""

    def __init__(self, plane: "Plane") -> None:
        self._plane = plane
        self._parser: Any = httptools.HttpRequestParser(self)
        self._transport: Any = None
        self._waiting: deque[tuple[Reply | Awaitable[Reply], bool, bytes]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._closing = False  # nothing more is read as a request
        self._peer_done = False
        self._lingered = 0
        self._reading_paused = False
        self._write_paused = False
        # Ages are stamped by the sweep, so that the request's way reads no clock for them.
        self._partial = False
        self._partial_since: float | None = None
        self._active = True
        self._idle_since = 0.0
        self._held = bytearray()  # what was fed since the parser last completed anything
        self._asked: Asked | None = None  # by the last request in these bytes, where nothing else was unusual
        self._completed = 0  # requests in these bytes
        self._progressed = False  # whether the bytes now being fed completed a head, a piece of body or a request
        self._reset()

    def _reset(self) -> None:
        self._target = b""
        self._authorization: bytes | None = None
        self._cookie: bytes | None = None
        self._repeated = False
        self._traceparent: bytes | None = None
        self._hosts = 0
        self._headers = 0
        self._head_bytes = 0
        self._head_read = False
        self._body_bytes = 0
        self._expect: bytes | None = None
        self._http_1_1 = True

    # Connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        if not self._plane.enter(self):
            self._closing = True
            self._transport.write(turned_away())
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's shape
        self._plane.lost(self)
        self._closing = True
        if self._task is not None:
            self._task.cancel()
            self._task.add_done_callback(lambda _: self._drop_waiting())  # also where it never began

    def eof_received(self) -> bool:
        """A client may close its side and still wait for its answers; over TLS asyncio has both sides closed."""
        self._closing = self._peer_done = True
        return self._task is not None and self._transport.can_write_eof()

    def pause_writing(self) -> None:
        self._write_paused = True
        self._pause_reading()

    def resume_writing(self) -> None:
        self._write_paused = False
        self._resume_reading()

    def check_age(self, now: float) -> None:
        """Called by the sweep."""
        bounds = self._plane.bounds
        if self._partial and not self._reading_paused:
            if self._partial_since is None:
                self._partial_since = now
            elif now - self._partial_since >= bounds.header_timeout_s:
                self._refuse_request(_REQUEST_TIMEOUT)
            return
        self._partial_since = None  # while we do not read, the delay is ours
        if self._active or self._task is not None:
            self._active = False
            self._idle_since = now
        elif now - self._idle_since >= bounds.idle_timeout_s:
            self._transport.abort()  # close() would wait for ever for a peer that does not read

    def close_when_idle(self) -> None:
        """A connection between two requests is closed at once; else after the answers due."""
        if self._task is None and not self._partial:
            self._finish()

    def abort(self) -> None:
        self._transport.abort()

    # Bytes

    def data_received(self, data: bytes) -> None:
        if self._closing:
            self._lingered += len(data)
            if self._lingered > _LINGER_BYTES:
                self._transport.abort()
            return
        at_rest = not self._partial and self._task is None
        if at_rest and (wire := self._plane.frames.replay(data)) is not None:
            self._active = True
            self._transport.write(wire)
            return
        self._progressed = False
        self._asked = None
        self._completed = 0
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return  # answered, with the word that the connection closes
        except httptools.HttpParserError as error:
            self._refuse_unreadable(error.__context__, data)
            return
        if not self._partial:
            if at_rest and self._completed == 1:
                self._plane.frames.learn(data, self._asked)
            return
        if self._progressed:
            self._held.clear()  # how many of these bytes belong to what is incomplete is not known
            return
        self._held += data
        if len(self._held) > self._plane.bounds.max_header_bytes + _SLACK_BYTES:
            self._refuse_unreadable(_Refused(_HEAD_TOO_LARGE), b"")

    def _refuse_unreadable(self, cause: BaseException | None, data: bytes) -> None:
        if isinstance(cause, _Refused):
            if cause.status == _HEAD_TOO_LARGE and self._ends_in_authorization(self._held + data):
                # The bound on the head is reached inside a credential: that is what is wrong with it.
                self._refuse_request(_UNAUTHORIZED, replies.refused(Reason.TOKEN_MALFORMED))
            else:
                self._refuse_request(cause.status)
        elif cause is None:
            self._refuse_request(_BAD_REQUEST)
        else:
            log.error("request failed", exc_info=cause)
            self._refuse_request(_UNAVAILABLE, replies.refused(Reason.STORE_UNAVAILABLE, retry_after_s=1))

    def _ends_in_authorization(self, head: bytes | bytearray) -> bool:
        """Whether the bound on the head lies within the line of an ``Authorization`` header."""
        bound = self._plane.bounds.max_header_bytes
        line = head.rfind(b"\n", 0, bound + 1) + 1
        return len(head) > bound and _AUTHORIZATION_LINE.match(head, line) is not None

    # What httptools calls, in the order of the bytes

    def on_message_begin(self) -> None:
        self._partial = True
        self._partial_since = None
        self._reset()

    def on_url(self, url: bytes) -> None:
        self._target += url
        if len(self._target) > _MAX_TARGET_BYTES:
            raise _Refused(_TARGET_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_read:
            # A trailer is ignored like the body before it, and never a credential (RFC 9110 section 6.5.1).
            self.on_body(name + value)
            return
        self._headers += 1
        length = len(name)
        self._head_bytes += length + len(value)
        if length == 13:  # noqa: PLR2004 - len(b"authorization"), looked at first to spare a lower()
            if name.lower() == b"authorization":
                if self._authorization is not None:
                    self._repeated = True
                self._authorization = value
        elif length == 6:  # noqa: PLR2004 - len(b"cookie"), len(b"expect")
            lowered = name.lower()
            if lowered == b"cookie":
                self._cookie = value if self._cookie is None else self._cookie + b"; " + value
            elif lowered == b"expect":
                self._expect = value.lower()
        elif length == 4 and name.lower() == b"host":  # noqa: PLR2004 - len(b"host")
            self._hosts += 1
        elif length == 11 and name.lower() == b"traceparent":  # noqa: PLR2004 - len(b"traceparent")
            # Of two neither is believed.
            self._traceparent = value if self._traceparent is None else b""

    def on_headers_complete(self) -> None:
        length = _REQUEST_LINE_BYTES + len(self._target) + self._head_bytes + self._headers * _FIELD_BYTES
        if self._headers > MAX_HEADERS or length > self._plane.bounds.max_header_bytes:
            raise _Refused(_HEAD_TOO_LARGE)
        self._head_read = self._progressed = True
        version = self._parser.get_http_version()
        self._http_1_1 = version == "1.1"
        if not self._http_1_1 and version != "1.0":
            raise _Refused(_BAD_REQUEST)
        if self._hosts != 1 and (self._hosts or self._http_1_1):
            raise _Refused(_BAD_REQUEST)  # RFC 9112 section 3.2
        if self._expect is not None and self._http_1_1:
            if self._expect != b"100-continue":
                raise _Refused(_EXPECTATION_FAILED)
            if self._task is None:
                self._transport.write(_CONTINUE)

    def on_chunk_header(self) -> None:
        if not self._http_1_1:
            raise _Refused(_BAD_REQUEST)  # its framing is faulty (RFC 9112 section 6.1)

    def on_body(self, body: bytes) -> None:
        self._progressed = True
        self._body_bytes += len(body)
        if self._body_bytes > self._plane.bounds.max_body_bytes:
            raise _Refused(_CONTENT_TOO_LARGE)

    def on_message_complete(self) -> None:
        if self._closing:
            return
        self._partial = False
        self._active = self._progressed = True
        self._completed += 1
        self._held.clear()
        plane = self._plane
        now = plane.now()
        parser = self._parser
        without_body = parser.get_method() == b"HEAD"
        connection = b""
        # Asking for another protocol may be ignored (RFC 9110 section 7.8), but the parser does not tell where
        # the body of such a request ends, so nothing behind it is read.
        if plane.draining or not parser.should_keep_alive() or parser.should_upgrade():
            connection = b"close"
            self._closing = True
        elif not self._http_1_1:
            connection = b"keep-alive"
        usual = self._task is None and not (connection or without_body)
        answer = self._answer(now, usual=usual)
        if isinstance(answer, bytes):
            self._transport.write(answer)
            return
        if self._task is None and isinstance(answer, Reply):
            self._transport.write(
                answer.rendered.wire(answer.deadline - now, without_body=without_body, connection=connection)
            )
            if self._closing:
                self._finish()
            return
        self._waiting.append((answer, without_body, connection))
        if self._task is None:
            self._task = asyncio.ensure_future(self._answer_in_order())
        if len(self._waiting) >= plane.bounds.max_pipelined:
            self._pause_reading()

    def _answer(self, now: float, *, usual: bool) -> bytes | Reply | Awaitable[Reply]:
        """The answer; whole, if it is known and wanted in the ``usual`` form."""
        plane = self._plane
        pipeline = plane.pipeline
        route = plane.routes.find(self._target)
        if route is None:
            return pipeline.strategy_unknown(plane.routes.strategy(self._target), self._trace_id())
        if self._repeated:
            error = Denied(Reason.MULTIPLE_CREDENTIALS, "Authorization occurs twice")
            return pipeline.refuse(route, error, self._trace_id())
        authorization, session = self._authorization, None
        if self._cookie is not None and authorization is None:
            try:
                session = session_cookie(self._cookie, plane.cookie_name)
            except Denied as error:
                return pipeline.refuse(route, error, self._trace_id())
        if usual:
            if not self._body_bytes:
                self._asked = route, authorization, session
            key = route.key(authorization, session)
            return pipeline.replay(route, key, now) or pipeline.judge(
                route, key, authorization, session, now, self._trace_id()
            )
        return pipeline.answer(route, authorization, session, now, self._trace_id())

    def _trace_id(self) -> str | None:
        return trace_id(self._traceparent) if self._traceparent else None

    # Answers that somebody had to be asked for, and those behind them

    async def _answer_in_order(self) -> None:
        try:
            while self._waiting:
                pending, without_body, connection = self._waiting[0]
                answer = pending if isinstance(pending, Reply) else await pending
                self._waiting.popleft()
                left_s = answer.deadline - self._plane.now()
                self._transport.write(
                    answer.rendered.wire(left_s, without_body=without_body, connection=connection)
                )
                self._resume_reading()
        finally:
            self._task = None
            self._active = True
            if self._waiting:  # one place is lost, and with it the order: no answer may move up
                self._drop_waiting()
                self._transport.abort()
            elif self._closing or (self._plane.draining and not self._partial):
                self._finish()

    def _drop_waiting(self) -> None:
        """The connection is gone; nobody waits for these."""
        for pending, _, _ in self._waiting:
            if isinstance(pending, Coroutine):
                pending.close()
        self._waiting.clear()

    def _refuse_request(self, status: int, rendered: Rendered | None = None) -> None:
        """Answers what is no request, after the answers that are due, and reads no more."""
        if self._closing:
            return
        self._closing = True
        self._partial = False
        self._plane.bad_requests += 1
        log.info("request refused", status=status)
        rendered = rendered or replies.bad_request(status)
        if self._task is not None:
            self._waiting.append((Reply(rendered, Tally()), False, b"close"))
            return
        self._transport.write(rendered.wire(0, connection=b"close"))
        self._finish()

    def _finish(self) -> None:
        """Closes after what was written. A peer that still sends gets a moment to read its answer, since bytes
        that are unread at a close make the system throw the answer away (RFC 9112 section 9.6)."""
        self._closing = True
        if self._transport.is_closing():
            return
        if self._peer_done or not self._transport.can_write_eof():
            self._transport.close()
            return
        self._transport.write_eof()
        self._resume_reading()
        asyncio.get_running_loop().call_later(_LINGER_S, self._transport.close)

    def _pause_reading(self) -> None:
        if not self._reading_paused and not self._transport.is_closing():
            self._reading_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if not self._reading_paused or self._write_paused or self._transport.is_closing():
            return
        if self._closing or len(self._waiting) < self._plane.bounds.max_pipelined:
            self._reading_paused = False
            self._transport.resume_reading()


def turned_away() -> bytes:
    """What a connection is told for which there is no room."""
    return replies.refused(Reason.STORE_UNAVAILABLE, retry_after_s=1).wire(0, connection=b"close")


class _Refused(Exception):
    """What is no request that could be judged."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status
