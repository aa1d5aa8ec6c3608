"""A Redis that fails over while a fleet of real sidecars is asked: a master dies, another one takes its place."""

from pathlib import Path

import pytest
from fleet_faults import drill
from fleet_faults_ways import cluster_loses, sentinels_lose
from fleet_scene import scene
from redis_servers import cluster, sentinels

pytestmark = [pytest.mark.programs, pytest.mark.timeout(300)]  # a dozen programs on two cores


async def test_the_master_that_sentinels_watch_is_killed(tmp_path: Path) -> None:
    with sentinels() as servers:
        async with scene(servers.url, tmp_path) as on:
            row = await drill(on, sentinels_lose(servers))
            assert row.mistakes == []
            async with on.another() as fresh:
                await fresh.is_ready()
                assert await on.mistakes_of(fresh) == []


async def test_the_master_of_the_slot_in_a_cluster_is_killed(tmp_path: Path) -> None:
    with cluster() as nodes:
        async with scene(nodes.url, tmp_path) as on:
            row = await drill(on, cluster_loses(nodes))
            assert row.mistakes == []
            async with on.another() as fresh:
                await fresh.is_ready()
                assert await on.mistakes_of(fresh) == []
