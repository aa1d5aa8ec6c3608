"""kill -9 of workers, sidecars and Redis at random moments, under writes and requests.

Law of this file: what was acknowledged holds, whoever is killed next: no registry write is lost, and nothing that
was closed is open again. ``run`` says what came; it raises only where the fleet does not heal. No pytest.
"""

import asyncio
import contextlib
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import redis_servers
from fleet_ledger import Late, Ledger, State, revocation_names, states
from fleet_measures import SOON_S
from fleet_probes import Probes
from fleet_processes import SERVICE, Fleet, FleetError, Member, configuration, fleet
from fleet_writers import Writer
from redis_process import RedisServer
from sidecar_process import SidecarProcessError

from validator.adapters.clock import SystemClock
from validator.testing import FakeIdp

WRITERS = 3
_HEALED_WITHIN_S = 60.0
_AGREED_WITHIN_S = 10.0
_DOWN_S = (0.0, 1.5)
_STARTS = 3
_WEIGHTS = {"worker": 3, "sidecar": 2, "redis": 2}


@dataclass
class Found:
    """What came of it.

    Attributes:
        kills: by what was killed.
        writes: by what was answered.
        closed: credentials whose end was acknowledged.
        answers: of the data planes, by status; 0: broken.
        late: allows that were asked for after the acknowledgement of the opposite.
        denied: answers that refused what was acknowledged as good a second before.
        lost: what was acknowledged, and was not so in the end.
        failed_starts: of sidecars that were started again.
        orphan_s: the longest time that a worker outlived its supervisor.
    """

    seed: int
    appendonly: bool
    seconds: float = 0.0
    kills: Counter[str] = field(default_factory=Counter)
    writes: Counter[str] = field(default_factory=Counter)
    closed: int = 0
    answers: Counter[int] = field(default_factory=Counter)
    late: list[Late] = field(default_factory=list)
    denied: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    failed_starts: list[str] = field(default_factory=list)
    orphan_s: float = 0.0

    @property
    def wrong(self) -> list[Late]:
        """Allows that must not have been."""
        return [each for each in self.late if each.wrong]

    @property
    def not_soon(self) -> list[Late]:
        """Later than should be, by whatever held them up."""
        return [each for each in self.late if each.after_s > SOON_S]

    @property
    def latest_s(self) -> float:
        return max((each.after_s for each in self.late), default=0.0)


async def run(
    seconds: float,
    seed: int,
    directory: Path,
    *,
    appendonly: bool,
    pause_s: tuple[float, float] = (0.5, 3.0),
    connections: int = 3,
) -> Found:
    """So many seconds of it, and the healing after.

    Args:
        appendonly: Redis has its data again after each start, or (every second time) has lost the files, too;
            otherwise it is empty after each.
        pause_s: between two kills.
        connections: of clients to each member.

    Raises:
        FleetError: it did not heal.
    """
    found = Found(seed, appendonly)
    rng = random.Random(seed)
    with redis_servers.one(appendonly=appendonly) as redis:
        async with FakeIdp({}, clock=SystemClock(), audience="api://default") as idp:
            config = configuration(idp.issuer, {"url": redis.url})
            async with fleet(config, directory) as members:
                await _run(found, members, redis, idp, rng, seconds, pause_s, connections)
    return found


async def _run(
    found: Found,
    members: Fleet,
    redis: RedisServer,
    idp: FakeIdp,
    rng: random.Random,
    seconds: float,
    pause_s: tuple[float, float],
    connections: int,
) -> None:
    ledger = Ledger()
    watched: dict[str, Mapping[str, str]] = {}
    began = time.monotonic()
    ports = [member.data for member in members.members]
    async with Probes(ports, watched, connections=connections, pause_s=0.004, keep=ledger.heard) as probes:
        async with _writing(found, members, ledger, watched, idp, rng):
            async with asyncio.TaskGroup() as starting:
                killer = Killer(found, members, redis, rng, starting)
                while time.monotonic() < began + seconds:
                    await asyncio.sleep(rng.uniform(*pause_s))
                    await killer.kill()
            found.seconds = time.monotonic() - began
            await _heal(members)
        await _begin_anew(members.members[0])
        await _agree(found, members, ledger)
        watched.clear()  # and at last everything that was ever closed, at each member
        watched |= {entry.id: entry.headers for entry in ledger.all_closed()}
        if watched:
            await probes.next_round()
    found.closed = len(ledger.all_closed())
    found.answers, found.late, found.denied = ledger.answers, ledger.late, ledger.denied


@contextlib.asynccontextmanager
async def _writing(
    found: Found,
    members: Fleet,
    ledger: Ledger,
    watched: dict[str, Mapping[str, str]],
    idp: FakeIdp,
    rng: random.Random,
) -> AsyncIterator[None]:
    """What is under way when the block ends is waited for."""
    stopped = asyncio.Event()

    def token(client: str, jti: str) -> str:
        return idp.token(client, jti=jti)

    async with asyncio.TaskGroup() as writing:
        for number in range(WRITERS):
            own = random.Random(rng.random())
            writer = Writer(number, members, ledger, watched, token, own, found.writes)
            writing.create_task(writer.run(stopped))
        yield
        stopped.set()


class Killer:
    """One kill after the other, and for each a new start."""

    def __init__(
        self, found: Found, members: Fleet, redis: RedisServer, rng: random.Random, starting: asyncio.TaskGroup
    ) -> None:
        self._found = found
        self._members = members
        self._redis = redis
        self._rng = rng
        self._starting = starting
        self._down: set[str] = set()

    async def kill(self) -> None:
        up = [member for member in self._members.members if member.name not in self._down]
        what = self._rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        if what == "redis":
            await self._kill_redis()
        elif what == "worker" and up:
            if await self._rng.choice(up).kill_worker(self._rng.randrange(2)):
                self._found.kills["a worker"] += 1
        elif up:
            member = self._rng.choice(up)
            self._down.add(member.name)
            self._starting.create_task(self._kill_sidecar(member, self._rng.uniform(*_DOWN_S)))

    async def _kill_redis(self) -> None:
        empty = not self._found.appendonly or self._rng.random() < 0.5
        self._redis.kill()
        if empty:
            shutil.rmtree(self._redis.directory / "appendonlydir", ignore_errors=True)
        await asyncio.to_thread(self._redis.restart)
        self._found.kills["Redis, which lost everything" if empty else "Redis"] += 1

    async def _kill_sidecar(self, member: Member, down_s: float) -> None:
        workers = member.worker_pids()
        killed_at = time.monotonic()
        await member.kill()
        self._found.kills["a sidecar"] += 1
        while time.monotonic() < killed_at + _HEALED_WITHIN_S:
            if not any(_lives(pid) for pid in workers):
                break
            await asyncio.sleep(0.01)
        self._found.orphan_s = max(self._found.orphan_s, time.monotonic() - killed_at)
        await asyncio.sleep(down_s)
        for _ in range(_STARTS):
            try:
                await member.start()
                break
            except SidecarProcessError as error:
                self._found.failed_starts.append(str(error)[-1000:])
        self._down.discard(member.name)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


async def _heal(members: Fleet) -> None:
    """Until each is ready, and acknowledges a write. Raises ``FleetError``."""
    await asyncio.gather(*(member.is_ready(_HEALED_WITHIN_S) for member in members.members))
    for member in members.members:
        deadline = time.monotonic() + _HEALED_WITHIN_S
        while (answer := await member.call("DELETE", "/v1/cache")).status != 204:
            if time.monotonic() > deadline:
                raise FleetError(f"{member.name} takes no writes: {answer}\n{member.process.said()[-3000:]}")
            await asyncio.sleep(0.05)


async def _begin_anew(member: Member) -> None:
    """Without anything of its own: what it knows then, Redis knows, and would tell any other."""
    await member.stop()
    path = Path(str(member.config["store"]["path"]))
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    await member.start()
    await member.is_ready(_HEALED_WITHIN_S)


async def _agree(found: Found, members: Fleet, ledger: Ledger) -> None:
    """Notes what is not as it was acknowledged, at any member, once they agree; or that they do not."""
    deadline = time.monotonic() + _AGREED_WITHIN_S
    while True:
        held = [await _held(member) for member in members.members]
        agreed = all(each == held[0] for each in held)
        if agreed or time.monotonic() > deadline:
            break
        await asyncio.sleep(0.1)
    for member, (applications, revocations, _) in zip(members.members, held, strict=True):
        found.lost += [f"{member.name}: {what}" for what in ledger.lost(applications, revocations)]
    if not agreed:
        found.lost.append("the members do not agree")


async def _held(member: Member) -> tuple[dict[str, State], set[tuple[str, str]], str]:
    """Applications and revocations, and all of it as it is written."""
    pages: list[dict[str, object]] = []
    after: str | None = ""
    while after is not None:
        answer = await member.call("GET", f"/v1/applications?limit=1000&after={after}")
        pages += answer.body["applications"]
        after = answer.body["next"]
    listed = (await member.call("GET", "/v1/revocations?limit=1000")).body["revocations"]
    written = sorted(map(repr, pages)) + sorted(map(repr, listed))
    return states(pages, SERVICE), revocation_names(listed), "\n".join(written)
