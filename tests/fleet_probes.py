"""Clients that ask a fleet the same questions all the time, and remember when each was answered how.

Law of this file: a connection asks again as soon as it was answered, and connects again when it is cut. It judges
nothing: what came, and when, is looked at afterwards. No pytest.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from fleet_processes import AUTHORIZE

BROKEN = 0  # the status of a request that was not answered
_RECONNECT_S = 0.01
_ANSWER_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One request: who was asked with what, and when; monotonic seconds.

    Attributes:
        connection: its number, of those to this member; as long as it is not cut, one worker answers on it.
    """

    member: int
    credential: str
    sent_at: float
    answered_at: float
    status: int
    connection: int = 0


@dataclass
class Probes:
    """Use it as ``async with Probes(ports, credentials) as probes:``; it asks while the block runs.

    Args:
        ports: data planes, one a member.
        credentials: name -> headers; each connection goes through them in turn, and looks anew each time.
        connections: to each member.
        pause_s: between an answer and the next request of a connection.
        keep: which answers are remembered; all are counted.
    """

    ports: Sequence[int]
    credentials: Mapping[str, Mapping[str, str]]
    connections: int = 4
    pause_s: float = 0.0
    keep: Callable[[Seen], bool] = lambda _: True
    path: str = AUTHORIZE
    seen: list[Seen] = field(default_factory=list)
    counts: dict[tuple[str, int], int] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._ask_on(member, port, number))
            for member, port in enumerate(self.ports)
            for number in range(self.connections)
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        for ended in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended

    def answers(self) -> int:
        """How many requests have ended so far."""
        return sum(self.counts.values())

    async def next_round(self, times: int = 1) -> None:
        """Until every connection can have gone through all credentials again."""
        wanted = self.answers() + times * len(self._tasks) * max(1, len(self.credentials))
        while self.answers() < wanted:  # noqa: ASYNC110 - what is waited for is counted, not told
            await asyncio.sleep(0.005)

    async def _ask_on(self, member: int, port: int, number: int) -> None:
        turn = number
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                self._note(Seen(member, "", time.monotonic(), time.monotonic(), BROKEN))
                await asyncio.sleep(_RECONNECT_S)
                continue
            try:
                while True:
                    names = list(self.credentials)
                    if not names:
                        await asyncio.sleep(_RECONNECT_S)
                        continue
                    name = names[turn % len(names)]
                    turn += 1
                    if not await self._ask(member, number, name, reader, writer):
                        break
                    if self.pause_s:
                        await asyncio.sleep(self.pause_s)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    async def _ask(
        self, member: int, number: int, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        lines = "".join(f"{header}: {value}\r\n" for header, value in self.credentials[name].items())
        sent_at = time.monotonic()
        status, closing = BROKEN, True
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                writer.write(f"GET {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                length = _length(head.split(b"\r\n"))
                if length:
                    await reader.readexactly(length)
                status = int(head[9:12])
                closing = b"\r\nconnection: close\r\n" in head.lower()
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            status = BROKEN
        self._note(Seen(member, name, sent_at, time.monotonic(), status, number))
        return status != BROKEN and not closing

    def _note(self, seen: Seen) -> None:
        key = (seen.credential, seen.status)
        self.counts[key] = self.counts.get(key, 0) + 1
        if self.keep(seen):
            self.seen.append(seen)


def _length(lines: Iterable[bytes]) -> int:
    for line in lines:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0
