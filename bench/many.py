"""Very many credentials, and requests that wrk cannot send: each one different, or at a steady rate.

Law of this file: every answer is read and must have the one status that is right; it runs on the load core.
"""

import asyncio
import contextlib
import hashlib
import json
import re
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.subjects import AUDIENCE, CLIENT
from validator.adapters.clock import SystemClock
from validator.testing import FakeIdp

CONNECTIONS = 4
WINDOW = 32  # requests under way on a connection; a sidecar takes 64 by default
TICK_S = 0.01  # of a steady stream
ANSWER_WITHIN_S = 60.0
LIFETIME_S = 86_400  # outlasts every run

_HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_LENGTH = re.compile(rb"\r\n(?i:content-length): *(\d+)")


def quick_idp() -> FakeIdp:
    """An issuer whose tokens are cheap to make: a million RSA signatures would take a quarter of an hour."""
    return FakeIdp(clock=SystemClock(), alg="EdDSA", audience=AUDIENCE, lifetime_s=LIFETIME_S)


class Tokens:
    """Access tokens by their number: the same number and client make the same token, so none has to be kept.

    Raises:
        TypeError: the issuer does not sign with Ed25519.
    """

    def __init__(self, idp: FakeIdp) -> None:
        key = idp.mint.current
        if not isinstance(key.private, Ed25519PrivateKey):
            raise TypeError("the issuer's key is not Ed25519: use quick_idp()")
        self._sign = key.private.sign
        self._header = _b64({"alg": key.alg, "kid": key.kid, "typ": "at+jwt"}) + b"."
        self._claims = idp.mint.claims()

    def token(self, number: int, client_id: str = CLIENT) -> str:
        jti = f"{number:032x}"
        # wrk's LuaJIT tells strings apart by a few places, one of them in the middle: were all tokens alike there,
        # it would take minutes to read a hundred thousand.
        spread = _raw_b64(hashlib.blake2b(jti.encode()).digest()).decode()
        payload = _b64({"spread": spread, **self._claims, "sub": client_id, "client_id": client_id, "jti": jti})
        signed = self._header + payload
        return f"{signed.decode()}.{_raw_b64(self._sign(signed)).decode()}"

    def bearers(self, numbers: Iterable[int], client_id: str = CLIENT) -> Iterator[str]:
        return (f"Authorization: Bearer {self.token(number, client_id)}" for number in numbers)


def gets(path: str, headers: Iterable[str]) -> Iterator[bytes]:
    """The bytes of requests that carry one of the headers each."""
    start = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    return (f"{start}{header}\r\n\r\n".encode() for header in headers)


async def send_all(port: int, requests: Iterable[bytes], *, status: int = 200) -> int:
    """Sends each request once, pipelined over a few connections; returns how many were answered.

    Raises:
        SystemExit: another status, or a connection that broke.
    """
    left = iter(requests)

    async def work() -> int:
        answered = 0
        async with _pipe(port, status) as pipe:
            while batch := list(islice(left, WINDOW)):
                await pipe.ask(batch)
                answered += len(batch)
        return answered

    async with asyncio.TaskGroup() as group:
        workers = [group.create_task(work()) for _ in range(CONNECTIONS)]
    return sum(worker.result() for worker in workers)


class Stream:
    """Requests at a steady rate beside other load, as ``async with Stream(...) as stream:``.

    Args:
        requests: must not run out.
        rate: a second; what cannot be kept is not made up for, so look at ``answered``.

    Attributes:
        answered: how many have been; each with the right status.
    """

    def __init__(self, port: int, requests: Iterator[bytes], rate: float, *, status: int = 200) -> None:
        self.answered = 0
        self._port = port
        self._requests = requests
        self._rate = rate
        self._status = status
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Raises ``SystemExit`` where an answer was wrong."""
        if self._task is not None:
            if not self._task.done():
                self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        async with _pipe(self._port, self._status) as pipe:
            due, last = 0.0, loop.time()
            while True:
                now = loop.time()
                due, last = min(due + (now - last) * self._rate, WINDOW), now
                if batch := list(islice(self._requests, int(due))):
                    due -= len(batch)
                    await pipe.ask(batch)
                    self.answered += len(batch)
                await asyncio.sleep(TICK_S)


class _Pipe(asyncio.Protocol):
    """One connection: a batch of requests, then all of its answers."""

    def __init__(self, status: int) -> None:
        self._status = b"%d" % status
        self._buffer = b""
        self._missing = 0
        self._done: asyncio.Future[None] | None = None
        self._lost = False
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    async def ask(self, batch: Sequence[bytes]) -> None:
        self._missing = len(batch)
        self._done = asyncio.get_running_loop().create_future()
        if self._lost:
            raise SystemExit("the connection was closed between two requests")
        self._transport.write(b"".join(batch))
        async with asyncio.timeout(ANSWER_WITHIN_S):
            await self._done

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        at = 0
        while (head_end := self._buffer.find(b"\r\n\r\n", at)) >= 0:
            status = _HEAD.match(self._buffer, at)
            length = _LENGTH.search(self._buffer, at, head_end)
            if status is None or status[1] != self._status:
                said = self._buffer[at : at + 600].decode(errors="replace")
                return self._fail(f"not a {self._status.decode()}: {said}")
            end = head_end + 4 + (int(length[1]) if length else 0)
            if end > len(self._buffer):
                break
            at = end
            self._missing -= 1
        self._buffer = self._buffer[at:]
        if not self._missing and self._done is not None and not self._done.done():
            self._done.set_result(None)
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._fail(f"the connection broke: {exc or 'closed'}")

    def _fail(self, why: str) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(SystemExit(why))


@contextlib.asynccontextmanager
async def _pipe(port: int, status: int) -> AsyncIterator[_Pipe]:
    transport, pipe = await asyncio.get_running_loop().create_connection(lambda: _Pipe(status), "127.0.0.1", port)
    try:
        yield pipe
    finally:
        transport.abort()


def _b64(value: Mapping[str, Any]) -> bytes:
    return _raw_b64(json.dumps(value, separators=(",", ":")).encode())


def _raw_b64(value: bytes) -> bytes:
    return urlsafe_b64encode(value).rstrip(b"=")
