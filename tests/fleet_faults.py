"""Drills: a fleet under load, and a Redis that fails in one way.

Law of this file: a drill prepares what can be lost, lets Redis fail, writes meanwhile, lets it recover, and looks
whether everything that was told to anybody holds everywhere. It asserts nothing: it reports. No pytest.
"""

import asyncio
import http
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from fleet_load import ALLOWED, FORBIDDEN, OPEN_OR_SHUT, REFUSED, UNKNOWN, Asked, Tally
from fleet_probes import Seen
from fleet_processes import SERVICE, Answer, FleetError, Member
from fleet_scene import WITHIN_S, Scene, demanded, until

HEADING = (
    "fault",
    "requests",
    "wrong",
    "failed that needed no Redis",
    "writes meanwhile: done",
    "not done (503)",
    "longest wait of a new pair beyond the usual, ms",
    "healed after, s",
)
_OK, _UNAVAILABLE = http.HTTPStatus.OK, http.HTTPStatus.SERVICE_UNAVAILABLE
_DONE = (_OK, http.HTTPStatus.CREATED)


@dataclass(frozen=True)
class Fault:
    """One way to fail; ``begin`` and ``end`` block.

    Attributes:
        cut_off: nothing can be followed while it lasts; ``None``: that is not told.
        momentary: it has no end; healing is timed from its beginning.
    """

    name: str
    begin: Callable[[], object]
    end: Callable[[], object] = lambda: None
    cut_off: bool | None = None
    momentary: bool = False


@dataclass
class Row:
    """What came of one drill.

    Attributes:
        mistakes: in words, what should not have been; none is expected.
        usual_s, longest_s: how long a request with a new pair took: the median before, and the longest meanwhile.
        writes: the status of each that was posted meanwhile.
        longest_write_s: until the slowest of them was answered.
    """

    fault: str
    requests: int = 0
    wrong: int = 0
    failed: int = 0
    usual_s: float = 0.0
    longest_s: float = 0.0
    writes: list[int] = field(default_factory=list)
    longest_write_s: float = 0.0
    healed_s: float = 0.0
    mistakes: list[str] = field(default_factory=list)

    def cells(self) -> tuple[str, ...]:
        """As ``HEADING`` names them."""
        done = sum(status in _DONE for status in self.writes)
        wait_ms = max(0.0, self.longest_s - self.usual_s) * 1000
        numbers = (self.requests, self.wrong, self.failed, done, len(self.writes) - done)
        return (self.fault, *map(str, numbers), f"{wait_ms:.0f}", f"{self.healed_s:.1f}")

    def count(self, tally: Tally) -> None:
        """Of what was asked since the drill began."""
        self.requests, self.wrong, self.failed = tally.requests, len(tally.wrong), len(tally.failed)
        self.longest_s = max(tally.waits, default=0.0)
        for what, seen in (("wrong", tally.wrong), ("failed", tally.failed)):
            if seen:
                self.mistakes.append(f"{what}: {_told(seen)}")


def rows(drilled: Sequence[Row]) -> list[tuple[str, ...]]:
    """A table: the heading, and a line for each drill."""
    return [HEADING, *(row.cells() for row in drilled)]


async def drill(on: Scene, fault: Fault, meanwhile: Callable[[], Awaitable[None]] | None = None) -> Row:
    """Lets Redis fail, and waits until all is well again.

    Args:
        meanwhile: awaited while it lasts.
    """
    number, row, load = next(on.drills), Row(fault.name), on.load
    victim, closing = load.ask_for_client(f"victim-{number}", OPEN_OR_SHUT), f"closing-{number}"
    await demanded(on.create(0, closing), http.HTTPStatus.CREATED)
    load.ask_for_client(closing, ALLOWED | UNKNOWN)
    for member in on.members:
        await until(lambda m=member: on.known(m, closing), "an application is shared")
    load.tally = before = Tally()
    await load.next_round(2)
    row.usual_s = statistics.median(before.waits) if before.waits else 0.0
    load.tally = tally = Tally()
    said = [len(member.process.lines) for member in on.members]
    created = {f"last-{number}": await on.create(0, f"last-{number}")}  # and the fault begins at once
    await asyncio.to_thread(fault.begin)
    begun = time.monotonic()
    try:
        for client in created:
            load.ask_for_client(client, ALLOWED | UNKNOWN)
        await _write(on, row, number, created, victim)
        if fault.cut_off:
            await asyncio.gather(*(_says_so(member, row) for member in on.members))
        if meanwhile is not None:
            await meanwhile()
        await load.next_round(3)
    finally:
        ended = time.monotonic()
        await asyncio.to_thread(fault.end)
    await _heal(on, number)
    row.healed_s = time.monotonic() - (begun if fault.momentary else ended)
    await _agree(on, row, created, closing)
    await load.next_round(2)
    row.count(tally)
    if row.mistakes:
        row.mistakes += [_warned(member, after) for member, after in zip(on.members, said, strict=True)]
    return row


async def _write(on: Scene, row: Row, number: int, created: dict[str, int], victim: Asked) -> None:
    """What is answered here is looked at when all is well again."""
    last = len(on.members) - 1

    async def timed(write: Awaitable[int]) -> int:
        begun = time.monotonic()
        status = await write
        row.longest_write_s = max(row.longest_write_s, time.monotonic() - begun)
        row.writes.append(status)
        if status not in (*_DONE, _UNAVAILABLE):
            row.mistakes.append(f"a write was answered {status}")
        return status

    async def create(member: int) -> None:
        client = f"during-{number}-{member}"
        on.load.ask_for_client(client, ALLOWED | UNKNOWN)
        created[client] = await timed(on.create(member, client))

    async def revoke() -> None:
        await timed(on.revoke(last, client_id=f"victim-{number}"))
        victim.closed[last] = time.monotonic()  # whatever was answered: it is in force here
        if not await on.answers(on.members[last], f"victim-{number}", REFUSED):
            row.mistakes.append("a revocation is not in force where it was posted")

    async def close() -> None:
        path = f"/v1/applications/app-closing-{number}/registrations/{SERVICE}"

        async def put() -> int:
            return (await on.members[0].call("PUT", path, {"status": "revoked"})).status

        if await timed(put()) == _OK:
            on.load.asked[f"closing-{number}"].closed[0] = time.monotonic()

    await asyncio.gather(create(0), create(last), revoke(), close())


async def _says_so(member: Member, row: Row) -> None:
    """That it is stale is told, and an orchestrator can ask without."""
    answer: list[Answer] = []

    async def stale() -> bool:
        answer[:] = [await member.call("GET", "/readyz")]
        return answer[0].status == _UNAVAILABLE and "redis" in str(answer[0].body)

    await until(stale, f"{member.name} says that it is stale")
    without = await member.call("GET", "/readyz?exclude=redis")
    up = await _metric(member, "validator_redis_up")
    stale_s = await _metric(member, "validator_redis_stale_seconds")
    if without.status != _OK:
        row.mistakes.append(f"{member.name} is not ready without redis: {without}")
    if up != 0 or stale_s <= 1:
        row.mistakes.append(f"{member.name} measures validator_redis_up {up}, stale {stale_s}")


async def _heal(on: Scene, number: int) -> None:
    """Returns when every member takes a write that all get to know, refuses what was revoked, and says so."""
    for index, member in enumerate(on.members):
        client = ""

        async def written(index: int = index) -> bool:
            nonlocal client
            client = f"healed-{number}-{on.number()}"  # whether the one before was written is not known
            return await on.create(index, client) == http.HTTPStatus.CREATED

        await until(written, f"{member.name} takes a write")
        on.load.ask_for_client(client, ALLOWED | UNKNOWN)
        for other in on.members:
            await until(lambda m=other, c=client: on.known(m, c), f"a write is known at {other.name}")
        on.load.asked[client].right = ALLOWED
    for member in on.members:
        await until(
            lambda m=member: on.answers(m, f"victim-{number}", REFUSED), f"{member.name} knows the revocation"
        )
        await until(lambda m=member: on.answers(m, "unknown", FORBIDDEN), f"{member.name} denies the unknown")
        await member.is_ready(WITHIN_S)
        await until(lambda m=member: _is_up(m), f"{member.name} measures that it follows")
    on.shut(f"victim-{number}")


async def _agree(on: Scene, row: Row, created: Mapping[str, int], closing: str) -> None:
    """What was acknowledged holds everywhere, and of all else everybody says the same."""
    await on.load.next_round()
    for client, status in created.items():
        found = {(await m.call("GET", f"/v1/applications/app-{client}")).status for m in on.members}
        if len(found) != 1 or (status in _DONE and found != {_OK}):
            row.mistakes.append(f"{client}, answered {status}, is {sorted(found)} at the members")
        on.load.asked[client].right = ALLOWED if found == {_OK} else UNKNOWN
    bodies = [(await m.call("GET", f"/v1/applications/app-{closing}")).body for m in on.members]
    if any(body != bodies[0] for body in bodies):
        row.mistakes.append(f"{closing} is not the same at all members: {bodies}")
    asked = on.load.asked[closing]
    is_closed = "revoked" in str(bodies[0])
    if asked.closed and not is_closed:
        row.mistakes.append(f"{closing} was closed, and is open again")
    if is_closed:
        asked.closed = dict.fromkeys(range(len(on.members)), time.monotonic())
    asked.right = FORBIDDEN if is_closed else ALLOWED


async def _is_up(member: Member) -> bool:
    up, stale_s = "validator_redis_up", "validator_redis_stale_seconds"
    return await _metric(member, up) == 1 and await _metric(member, stale_s) == 0


async def _metric(member: Member, name: str) -> float:
    for line in (await member.call("GET", "/metrics")).body.splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[1])
    raise FleetError(f"{member.name} does not measure {name}")


def _warned(member: Member, after: int) -> str:
    """What it said of itself, not of requests."""
    said = [each for each in member.process.events(after) if each.get("level") != "info" and "service" not in each]
    return f"{member.name} said {said}"


def _told(seen: Sequence[Seen]) -> str:
    counts: dict[tuple[str, int, int], int] = {}
    for each in seen:
        key = (each.credential, each.member, each.status)
        counts[key] = counts.get(key, 0) + 1
    return ", ".join(f"{count} x {name!r} at {at}: {status}" for (name, at, status), count in counts.items())
