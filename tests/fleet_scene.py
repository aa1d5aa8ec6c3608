"""A fleet of real sidecars under load, where everything that can be lost is in place.

Law of this file: it sets the stage, and looks whether one member answers as all should. No pytest.
"""

import asyncio
import contextlib
import http
import http.client
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from fleet_load import (
    ALLOWED,
    FORBIDDEN,
    OPEN_OR_SHUT,
    REFUSED,
    UNKNOWN,
    Load,
    file_clients,
    open_session,
    secrets_of,
    unregistered,
)
from fleet_processes import Fleet, FleetError, Member, application, basic, configuration, fleet

from validator.adapters.clock import SystemClock
from validator.testing import FakeIdp

WITHIN_S = 45.0  # a busy machine with two cores; what is measured is told, not judged
_ASKS = 6  # over a connection each: with two workers, hardly ever all at one


class Scene:
    """A fleet under load; made by ``scene``."""

    def __init__(
        self, running: Fleet, idp: FakeIdp, load: Load, config: Mapping[str, Any], directory: Path
    ) -> None:
        self.fleet = running
        self.idp = idp
        self.load = load
        self.config = config
        self.directory = directory
        self._numbers = itertools.count()
        self.drills = itertools.count()

    @property
    def members(self) -> list[Member]:
        return self.fleet.members

    def number(self) -> int:
        """Another one each time."""
        return next(self._numbers)

    async def create(self, member: int, client: str) -> int:
        """Posts an application; the status."""
        return (await self.members[member].call("POST", "/v1/applications", application(client))).status

    async def revoke(self, member: int, **what: str) -> int:
        """Posts a revocation; the status."""
        return (await self.members[member].call("POST", "/v1/revocations", what)).status

    async def prepare(self) -> None:
        """Fills the load with what can be lost, and waits until it is hot everywhere."""
        load, port = self.load, self.members[-1].data
        await demanded(self.create(0, "shared"), http.HTTPStatus.CREATED)
        await demanded(self.revoke(0, client_id="banned"), http.HTTPStatus.CREATED)
        secret = secrets_of(file_clients())
        for client, right in (("session", ALLOWED), ("leaving", OPEN_OR_SHUT)):
            cookie, identity = await asyncio.to_thread(open_session, port, basic(client, secret[client]))
            load.ask_for(client, cookie, right)
            if client == "leaving":
                await demanded(self.revoke(0, session_id=identity), http.HTTPStatus.CREATED)
        load.ask_for("cached token", load.bearer("cached"))
        load.ask_for("cached pair", basic("cached", secret["cached"]))
        load.ask_for("banned pair", basic("banned", secret["banned"]), OPEN_OR_SHUT)
        load.ask_for_client("banned", OPEN_OR_SHUT)
        load.ask_for_client("unregistered", FORBIDDEN)
        load.ask_for_client("unknown", UNKNOWN)
        load.ask_for_client("shared", ALLOWED | FORBIDDEN)
        for member in self.members:
            await until(lambda m=member: self.known(m, "shared"), "an application is shared")
            for name in ("banned", "banned pair", "leaving"):
                await until(lambda m=member, n=name: self.answers(m, n, REFUSED), f"{name} is refused")
        for name in ("banned", "banned pair", "leaving"):
            self.shut(name)
        load.asked["shared"].right = ALLOWED

    def shut(self, name: str) -> None:
        """From now on it is refused everywhere."""
        asked = self.load.asked[name]
        asked.closed = dict.fromkeys(range(len(self.members)), time.monotonic())
        asked.right = REFUSED

    async def answers(self, member: Member, name: str, right: frozenset[int]) -> bool:
        """Whether all of several requests over new connections are answered so."""
        headers = self.load.asked[name].headers()
        with contextlib.suppress(OSError, http.client.HTTPException):
            return all([await member.ask(headers) in right for _ in range(_ASKS)])
        return False

    async def known(self, member: Member, client: str) -> bool:
        """Whether its application is in the registry, and lets pass."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            found = await member.call("GET", f"/v1/applications/app-{client}")
            return found.status == http.HTTPStatus.OK and await self.answers(member, client, ALLOWED)
        return False

    async def mistakes_of(self, member: Member) -> list[str]:
        """What it answers otherwise than it should, asked once for everything that the load asks for."""
        found = []
        for name, asked in list(self.load.asked.items()):
            status = await member.ask(asked.headers())
            if status not in asked.right:
                found.append(f"{member.name} answers {name!r} with {status}")
        return found

    @contextlib.asynccontextmanager
    async def another(self, *, workers: int = 1, **redis: object) -> AsyncIterator[Member]:
        """A member that knows nothing yet: its store is empty. The load does not ask it."""
        name = f"late-{self.number()}"
        config = {**self.config, "redis": {**self.config["redis"], **redis}}
        member = Member(name, config, self.directory / name, workers)
        try:
            await member.start()
            yield member
        finally:
            await member.stop()


@contextlib.asynccontextmanager
async def scene(
    url: str, directory: Path, *, size: int = 2, workers: int = 2, watched: int | None = None
) -> AsyncIterator[Scene]:
    """Everything is hot when it begins.

    Args:
        watched: how many members the load asks; by default all.
    """
    clients = file_clients()
    async with FakeIdp(secrets_of(clients), clock=SystemClock(), audience="api://default") as idp:
        redis = {"url": url, "max_stale_s": 1, "start_timeout_s": 1}
        config = configuration(idp.issuer, redis, clients, log={"level": "info", "format": "json"})
        config["applications"].append(unregistered())
        async with fleet(config, directory, size=size, workers=workers) as running:
            load = Load(idp, [member.data for member in running.members[:watched]])
            async with load.running():
                made = Scene(running, idp, load, config, directory)
                await made.prepare()
                await load.next_round(2)
                yield made


async def demanded(write: Awaitable[int], status: int) -> None:
    """Raises ``FleetError`` where it is answered otherwise."""
    got = await write
    if got != status:
        raise FleetError(f"answered {got} instead of {status}")


async def until(reached: Callable[[], Awaitable[bool]], what: str, within_s: float = WITHIN_S) -> None:
    """Asks until it is so; who gives no answer has not reached anything. Raises ``FleetError``."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if await reached():
                return
        await asyncio.sleep(0.02)
    raise FleetError(f"not within {within_s:g} s: {what}")
