"""A Redis that fails, under a fleet of real sidecars that goes on."""

from pathlib import Path

import pytest
from fleet_faults import Fault, Row, drill
from fleet_faults_ways import down_at_start, of_the_server, of_the_way, start_without
from fleet_load import ALLOWED
from fleet_processes import Member, application
from fleet_scene import Scene, scene, until
from redis_faults import FaultProxy
from redis_process import one

pytestmark = [pytest.mark.programs, pytest.mark.timeout(300)]  # three dozen programs on two cores


async def mistakes(on: Scene, faults: list[Fault]) -> dict[str, list[str]]:
    """By fault, where there are any; they are told together."""
    rows: list[Row] = [await drill(on, fault) for fault in faults]
    return {row.fault: row.mistakes for row in rows if row.mistakes}


async def knows_everything(on: Scene, member: Member) -> None:
    await member.is_ready()
    assert await on.mistakes_of(member) == []


async def test_whatever_befalls_the_way_to_redis_nobody_notices_who_does_not_need_it(tmp_path: Path) -> None:
    with one() as server, FaultProxy(("127.0.0.1", server.port)) as proxy:
        async with scene(proxy.url, tmp_path) as on:
            assert await mistakes(on, of_the_way(proxy)) == {}


async def test_whatever_befalls_redis_itself_what_was_acknowledged_is_restored(tmp_path: Path) -> None:
    with one() as server:
        async with scene(server.url, tmp_path) as on:
            assert await mistakes(on, of_the_server(server)) == {}
            # Twice it had lost everything: a sidecar that has only Redis to go by finds all of it there again.
            async with on.another(workers=2) as fresh:
                await knows_everything(on, fresh)


async def test_redis_is_down_when_sidecars_start(tmp_path: Path) -> None:
    with one() as server:
        async with scene(server.url, tmp_path, watched=1) as on:
            restarted = on.members[1]

            async def begin_without() -> None:
                assert await start_without(on) == []  # what is durable there is as good as before
                assert await restarted.ask(on.load.asked["unknown"].headers()) == 503
                assert (await restarted.call("GET", "/readyz?exclude=redis")).status == 200
                async with on.another() as empty:
                    await serves_the_file_alone(on, empty)
                    server.restart()
                    await until(lambda: on.answers(empty, "shared", ALLOWED), "it has caught up")
                    await knows_everything(on, empty)

            row = await drill(on, down_at_start(server), begin_without)
            assert row.mistakes == []


async def serves_the_file_alone(on: Scene, empty: Member) -> None:
    """Nothing is denied that others may know."""
    for name, status in {"cached token": 200, "cached pair": 200, "session": 200, "unregistered": 403}.items():
        assert await empty.ask(on.load.asked[name].headers()) == status, name
    for name in ("shared", "unknown"):
        assert await empty.ask(on.load.asked[name].headers()) == 503, name
    assert (await empty.call("POST", "/v1/applications", application("nowhere"))).status == 503


async def test_whoever_is_told_to_refuse_when_stale_answers_nobody_until_redis_is_back(tmp_path: Path) -> None:
    with one() as server:
        async with scene(server.url, tmp_path, size=1, workers=2) as on, on.another(when_stale="refuse") as strict:
            await knows_everything(on, strict)
            server.kill()
            names = ("cached token", "cached pair", "session", "shared", "unregistered", "banned")
            everything = frozenset({503})
            for name in names:
                await until(lambda n=name: on.answers(strict, n, everything), f"{name} is refused")
            assert (await strict.call("GET", "/readyz")).status == 503
            server.restart()
            await until(lambda: on.answers(strict, "cached token", ALLOWED), "it serves again")
            await knows_everything(on, strict)
            assert on.load.tally.wrong == []
            assert on.load.tally.failed == []
