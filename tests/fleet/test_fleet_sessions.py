"""Sessions belong to the fleet: to all its members, their workers, and whoever starts in their place."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis_servers
from fleet_load import open_session
from fleet_measures import everywhere
from fleet_processes import STRATEGY, Fleet, Member, basic, configuration, fleet, session_key
from fleet_visitors import Visitors

from validator.adapters.clock import SystemClock
from validator.testing import FakeIdp

pytestmark = [pytest.mark.programs, pytest.mark.timeout(240)]  # ten programs on two cores

CLIENTS = {f"c{n}": f"s{n}" for n in range(4)}
VISITORS = 6
IDLE_S = 900
SOON_IDLE_S = 30  # a cookie in use is replaced after three seconds


@dataclass
class Stage:
    fleet: Fleet
    config: dict[str, Any]

    async def opened(self, client: str, member: int) -> tuple[Mapping[str, str], str]:
        """Its cookie and its id."""
        port = self.fleet.members[member].data
        return await asyncio.to_thread(open_session, port, basic(client, CLIENTS[client]))

    async def revoke(self, member: int, **what: str) -> None:
        assert (await self.fleet.members[member].call("POST", "/v1/revocations", what)).status == 201

    async def are(self, status: int, cookies: Sequence[Mapping[str, str]]) -> None:
        """Returns when every worker answers each of them so."""
        for cookie in cookies:
            async with asyncio.timeout(20):
                while await everywhere(self.fleet, cookie) != {status}:
                    pass

    async def keys(self, *numbers: int) -> None:
        """One member after the other goes by these keys."""
        session = {**self.config["session"], "keys": [session_key(number) for number in numbers]}
        for member in self.fleet.members:
            await asyncio.to_thread(_reload, member, {**member.config, "session": session})


def _reload(member: Member, config: dict[str, Any]) -> None:
    before = member.process.reconfigure(config)
    member.process.wait_for(lambda event: event.get("event") == "reloaded", 20, after=before)
    member.config = config


@pytest.fixture
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    async with FakeIdp(CLIENTS, clock=SystemClock(), audience="api://default") as idp:
        with redis_servers.one() as redis:
            session = {"idle_ttl_s": getattr(request, "param", IDLE_S), "keys": [session_key(0)]}
            config = configuration(idp.issuer, {"url": redis.url}, list(CLIENTS), session=session)
            async with fleet(config, tmp_path) as running:
                yield Stage(running, config)


async def test_a_session_is_known_and_revoked_everywhere_and_outlives_every_restart(stage: Stage) -> None:
    (stays, _), (one, identity), (several, _), (blocked, _) = [
        await stage.opened(client, number % 3) for number, client in enumerate(CLIENTS)
    ]
    for cookie in (stays, one, several, blocked):
        assert await everywhere(stage.fleet, cookie) == {200}
    await stage.revoke(0, session_id=identity)
    await stage.revoke(1, sessions_of="c2", strategy=STRATEGY)
    await stage.revoke(2, client_id="c3")
    await stage.are(401, [one, several, blocked])
    for number, member in enumerate(stage.fleet.members):
        if number % 2:
            await member.stop()
        else:
            await member.kill()
        await member.start()
        await member.is_ready()
        assert await everywhere(stage.fleet, stays) == {200}
        for cookie in (one, several, blocked):
            assert await everywhere(stage.fleet, cookie) == {401}
    again, _ = await stage.opened("c2", 1)  # its sessions of before were ended, not the client
    assert await everywhere(stage.fleet, again) == {200}


@pytest.mark.parametrize("stage", [SOON_IDLE_S], indirect=True, ids=["soon idle"])
async def test_no_session_is_lost_while_the_keys_are_rotated_under_load(stage: Stage) -> None:
    pair = basic("c0", CLIENTS["c0"])
    async with Visitors(stage.fleet, pair, random.Random(0), count=VISITORS) as visitors:
        left, _ = await stage.opened("c1", 0)
        for numbers in ([0, 1], [1, 0], [1]):
            if numbers == [1]:  # by now all cookies in use are sealed by the new key
                await visitors.renewed([visitor.renewed for visitor in visitors.visitors[:VISITORS]])
                assert visitors.lost == []
            await stage.keys(*numbers)
            for member in stage.fleet.members:
                new = await visitors.another(member)
                for other in stage.fleet.members:
                    await visitors.ask(new, other)
        assert visitors.lost == []
        assert await everywhere(stage.fleet, left) == {401}  # the old key is gone, and with it who was away
