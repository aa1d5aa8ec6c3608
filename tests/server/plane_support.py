"""A data plane on a port of its own, behind it a pipeline that answers by script, before it a raw peer.

Law of this file: what must hold for every answer of the data plane is asserted in ``Peer.answer``.
"""

import asyncio
import contextlib
import hashlib
import socket
import struct
from dataclasses import dataclass

from validator.caching import Reply, Tally
from validator.core.reply import Rendered, refused
from validator.model import Reason
from validator.server.dataplane import Bounds, Plane
from validator.testing import ManualClock

TIMEOUT_S = 10.0  # nothing here takes longer than that on the slowest machine
TARGET = b"/v1/authorize/plain/orders"


@dataclass(frozen=True)
class ScriptedRoute:
    strategy: str
    service: str
    name = b"name"
    authorization_seed = hashlib.sha256(b"authorization")
    session_seed = hashlib.sha256(b"session")

    def key(self, _authorization, _session):
        return b"key"


class Scripted:
    """Stands in for the pipeline: knows the strategy ``plain``, answers 200 and names what it was asked.

    An ``Authorization`` of ``slow NAME`` is answered once the event ``gates[NAME]`` is set.
    """

    def __init__(self):
        self.asked = []
        self.traces = []
        self.gates = {}
        self.cancelled = []
        self.error = None

    def gate(self, name):
        self.gates[name] = asyncio.Event()
        return self.gates[name]

    def route(self, strategy, service):
        return ScriptedRoute(strategy, service) if strategy == "plain" else None

    def answer(self, route, authorization, session, now, trace_id=None):
        if self.error is not None:
            raise self.error
        self.asked.append((route.service, authorization, session))
        self.traces.append(trace_id)
        if authorization is not None and authorization.startswith(b"slow "):
            return self._later(authorization, now)
        return self._allowed(authorization, now)

    def replay(self, _route, _key, _now):
        return None  # every request is to go through the parser

    def judge(self, route, _key, authorization, session, now, trace_id=None):
        return self.answer(route, authorization, session, now, trace_id)

    def refuse(self, route, error, trace_id=None):
        self.traces.append(trace_id)
        self.asked.append((route.service, error.reason, None))
        return Reply(refused(error.reason), Tally())

    def strategy_unknown(self, _name=None, trace_id=None):
        self.traces.append(trace_id)
        return Reply(refused(Reason.STRATEGY_UNKNOWN), Tally())

    def _allowed(self, authorization, now):
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Seen: %b\r\nCache-Control: " % (
            authorization or b"none"
        )
        return Reply(Rendered(head, b"\r\n\r\nok"), Tally(), deadline=now + 30)

    async def _later(self, authorization, now):
        try:
            await self.gates[authorization.removeprefix(b"slow ").decode()].wait()
        except asyncio.CancelledError:
            self.cancelled.append(authorization)
            raise
        return self._allowed(authorization, now)


@dataclass(frozen=True)
class Answer:
    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def seen(self):
        return self.fields.get("x-seen", "")

    @property
    def closes(self):
        return self.fields.get("connection") == "close"


class Peer:
    """One raw connection to the data plane."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer

    def send(self, data):
        self.writer.write(data)

    async def answer(self, *, head=False):
        """The next answer; every one has a length and a ``Cache-Control``, none is chunked."""
        async with asyncio.timeout(TIMEOUT_S):
            octets = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = octets[:-4].decode().split("\r\n")
            version, status, _ = first.split(" ", 2)
            assert version == "HTTP/1.1"
            if status == "100":
                return Answer(100, {}, b"")
            fields = {}
            for line in lines:
                name, value = line.split(": ", 1)
                assert name.lower() not in fields
                fields[name.lower()] = value
            assert fields["cache-control"]
            assert "transfer-encoding" not in fields
            body = b"" if head else await self.reader.readexactly(int(fields["content-length"]))
            return Answer(int(status), fields, body)

    async def rest(self):
        """What comes until the server has closed its side."""
        async with asyncio.timeout(TIMEOUT_S):
            return await self.reader.read()

    async def ask(self, data, **more):
        self.send(data)
        return await self.answer(**more)

    def reset(self):
        """Goes away without a word: the system sends RST."""
        connection = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class Served:
    """The plane, its pipeline, its clock, and peers that are closed with it."""

    def __init__(self, **bounds):
        self.pipeline = Scripted()
        self.clock = ManualClock()
        self.plane = Plane(self.pipeline, "__Host-session", bounds=Bounds(**bounds), clock=self.clock)
        self.address = ("", 0)
        self._peers = []

    async def peer(self, **more):
        peer = Peer(*await asyncio.open_connection(*self.address, **more))
        self._peers.append(peer)
        return peer

    async def connected(self, count):
        """Once so many connections are open."""
        await until(lambda: len(self.plane.connections) == count)

    async def asked(self, count):
        """Once the pipeline has been asked so often."""
        await until(lambda: len(self.pipeline.asked) == count)

    def close(self):
        for peer in self._peers:
            peer.writer.transport.abort()


@contextlib.asynccontextmanager
async def serving_plane(**bounds):
    """A plane in service; at the end no connection and no task of its own is left."""
    served = Served(**bounds)
    before = asyncio.all_tasks()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)  # little hides in the system's own buffers
    server = await asyncio.get_running_loop().create_server(served.plane.connection, sock=listener)
    served.address = listener.getsockname()
    try:
        yield served
    finally:
        server.close()
        served.close()
        for connection in list(served.plane.connections):
            connection.abort()
    await until(lambda: not served.plane.connections)
    await until(lambda: asyncio.all_tasks() <= before | {asyncio.current_task()})


async def until(condition):
    """Once the condition holds; fails after ``TIMEOUT_S``."""
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():  # noqa: ASYNC110 - any condition, not one that sets an event
            await asyncio.sleep(0.001)


def get(*lines, target=TARGET, method=b"GET", version=b"HTTP/1.1", body=b""):
    """A request as a gateway writes it."""
    head = [b"%b %b %b" % (method, target, version), b"Host: validator", *lines]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def bearing(value):
    return get(b"Authorization: " + value)
