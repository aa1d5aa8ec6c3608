"""Which server holds a key: asked of Sentinels, or of the nodes of a Cluster.

Law of this file: all who may know are asked at once, and what most of those who answer in time say is believed:
one that was cut off from the others may still name a master of yesterday. When to ask again is the link's affair.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from redis.crc import key_slot

from validator.adapters.redis_connections import Reply, Session
from validator.core.redis_url import Host, RedisEndpoint, Topology

Address = Host | str  # of TCP, or the path of a Unix socket
Ask = Callable[[Host, Callable[[Session], Awaitable["Routes"]]], Awaitable["Routes"]]
"""Has a question put to one server, on a connection of its own, within a bounded time."""

_OTHERS_WITHIN_S: Final = 0.1  # after the first answer; healthy ones take milliseconds
_MAX_ASKED: Final = 16
_MAX_RANGES: Final = 16384  # slots of a Cluster
_MAX_PORT: Final = 65535


class Range(NamedTuple):
    """Slots from ``first`` to ``last``, and their master."""

    first: int
    last: int
    master: Host


class Routes(NamedTuple):
    """Who holds what.

    Attributes:
        only: the one server, where there is but one.
        ranges: of a Cluster; the first that fits counts.
    """

    only: Address | None
    ranges: tuple[Range, ...] = ()

    def address(self, key: str) -> Address | None:
        """Of the server that holds this key; ``None``: nobody does."""
        if self.only is not None:
            return self.only
        slot = key_slot(key.encode())
        return next((found.master for found in self.ranges if found.first <= slot <= found.last), None)

    def moved(self, key: str, master: Host) -> "Routes":
        """The same, but for the slot of this key."""
        slot = key_slot(key.encode())
        others = (found for found in self.ranges if not found.first == found.last == slot)
        return Routes(self.only, (Range(slot, slot, master), *others))

    @property
    def addresses(self) -> frozenset[Address]:
        if self.only is not None:
            return frozenset((self.only,))
        return frozenset(found.master for found in self.ranges)


class NobodyKnows(ConnectionError):
    """No Sentinel, or no node, has said where the master is."""


async def locate(endpoint: RedisEndpoint, known: Sequence[Host], ask: Ask) -> Routes:
    """Who holds what, as it is now.

    Args:
        known: nodes that were heard of earlier, asked beside those of the endpoint.

    Raises:
        NobodyKnows: none of those that answered does.
        Exception: what the last of those that were asked failed with, if none answered.
    """
    if endpoint.topology is Topology.STANDALONE:
        return Routes(endpoint.path if endpoint.path is not None else endpoint.hosts[0])
    asked = tuple(dict.fromkeys((*endpoint.hosts, *known)))[:_MAX_ASKED]
    if endpoint.topology is Topology.SENTINEL:
        name = endpoint.master or ""

        async def question(session: Session) -> Routes:
            return _named(await session.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name))

        answers = await _answers([ask(host, question) for host in asked])
        if not (found := _most(answers)).only:
            raise NobodyKnows(None, f"no Sentinel knows a master {name}")
        return found
    answers = await _answers([ask(host, _slots_at(host)) for host in asked])
    if not (found := _most(answers)).ranges:
        raise NobodyKnows(None, "the Cluster has no slots yet")
    return found


async def _answers(questions: Sequence[Awaitable[Routes]]) -> Sequence[Routes]:
    tasks = [asyncio.ensure_future(question) for question in questions]
    try:
        answered = await _some(tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return answered


async def _some(tasks: Sequence[asyncio.Future[Routes]]) -> Sequence[Routes]:
    waiting = set(tasks)
    answers: list[Routes] = []
    failure: BaseException | None = None
    while waiting:
        patience = _OTHERS_WITHIN_S if answers else None
        done, waiting = await asyncio.wait(waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            break
        for task in done:
            if (error := task.exception()) is None:
                answers.append(task.result())
            else:
                failure = error
    if not answers and failure is not None:
        raise failure
    return answers


def _most(answers: Sequence[Routes]) -> Routes:
    """Those that know nothing have no voice where others do."""
    knowing = [answer for answer in answers if answer.addresses] or list(answers)
    return Counter(knowing).most_common(1)[0][0]


def _named(reply: Reply) -> Routes:
    if reply is None:
        return Routes(None)
    name, port = reply
    return Routes(_host(name, int(port)))


def _slots_at(asked: Host) -> Callable[[Session], Awaitable[Routes]]:
    async def question(session: Session) -> Routes:
        reply = await session.command("CLUSTER", "SLOTS")
        if not isinstance(reply, list) or len(reply) > _MAX_RANGES:
            raise ValueError("no list of slots")
        ranges = []
        for first, last, master, *_replicas in reply:
            if not isinstance(first, int) or not isinstance(last, int):
                raise TypeError("no slots")
            # A node that does not know its own address says: the one that you asked.
            ranges.append(Range(first, last, _host(master[0] or asked[0].encode(), master[1])))
        return Routes(None, tuple(sorted(ranges)))

    return question


def _host(name: bytes, port: int) -> Host:
    if not isinstance(name, bytes) or not isinstance(port, int) or not 0 < port <= _MAX_PORT:
        raise TypeError("no address")
    return name.decode("ascii"), port
