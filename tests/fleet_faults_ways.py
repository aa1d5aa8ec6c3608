"""The ways in which Redis fails, as drills.

Law of this file: what a fault breaks, its end mends. No pytest.
"""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from fleet_faults import Fault, Row, drill
from fleet_scene import Scene, scene
from redis.exceptions import OutOfMemoryError
from redis_faults import Fault as Way
from redis_faults import FaultProxy
from redis_servers import Cluster, RedisServer, RedisServerError, Sentinels, cluster, free_port, one, sentinels

_FILLER = "filler:"
_FILLER_BYTES = 100_000
_ROOM_BYTES = 2_000_000
_TRUTH = "{validator}:records"  # stands in the slot of all that is not to be lost


def of_the_way(proxy: FaultProxy) -> list[Fault]:
    """Those between the sidecars and Redis."""

    def way(name: str, kind: Way, *, cut_off: bool | None = None, delay_s: float = 0.1) -> Fault:
        return Fault(name, lambda: proxy.set(kind, delay_s=delay_s), lambda: proxy.set(Way.PASS), cut_off)

    return [
        way("refused", Way.REFUSE, cut_off=True),
        way("stalled on the way", Way.STALL, cut_off=True),
        way("slow: 20 ms", Way.SLOW, delay_s=0.02),
        way("slow: 300 ms", Way.SLOW, delay_s=0.3),
        way("garbage", Way.GARBAGE, cut_off=True),
        way("cut in mid-reply", Way.CUT, cut_off=True),
    ]


def of_the_server(server: RedisServer) -> list[Fault]:
    """Those of Redis itself; it keeps nothing on its disk."""
    return [
        Fault("stalled (SIGSTOP)", server.stall, server.resume, cut_off=True),
        Fault("read-only", lambda: _demote(server), lambda: server.ask("REPLICAOF", "NO", "ONE"), cut_off=True),
        Fault("out of memory", lambda: _fill(server), lambda: _empty(server)),
        Fault("flushed", server.flush, momentary=True),
        Fault("killed, restarted empty", server.kill, server.restart, cut_off=True),
    ]


def sentinels_lose(servers: Sentinels) -> Fault:
    """The master dies; timed from there, the time in which nobody is master included."""
    return Fault("failing over (Sentinel)", servers.master.kill, momentary=True)


def cluster_loses(nodes: Cluster) -> Fault:
    """The same, of the slot in which the truth is."""
    return Fault("failing over (Cluster)", lambda: nodes.master_of(_TRUTH).kill(), momentary=True)


def down_at_start(server: RedisServer) -> Fault:
    """Drill it with ``start_without``, where the load does not ask the last member."""
    return Fault("down at start", server.kill, server.restart, cut_off=True)


async def start_without(on: Scene) -> list[str]:
    """Starts the last member anew; what it answers otherwise than it should."""
    member = on.members[-1]
    await member.stop()
    await member.start()
    return await on.mistakes_of(member)


async def every_fault(
    directory: Path, *, size: int = 3, workers: int = 2, told: Callable[[Row], object] = lambda _: None
) -> list[Row]:
    """A drill of each: some two minutes.

    Args:
        told: called with each row as soon as it is there.
    """
    done: list[Row] = []

    async def drilled(url: str, name: str, faults: Sequence[Fault]) -> None:
        async with scene(url, directory / name, size=size, workers=workers) as on:
            for fault in faults:
                done.append(await drill(on, fault))
                told(done[-1])

    with one() as server:
        found: list[str] = []
        async with scene(server.url, directory / "start", size=size, workers=workers, watched=size - 1) as on:

            async def meanwhile() -> None:
                found.extend(await start_without(on))

            done.append(await drill(on, down_at_start(server), meanwhile))
            done[-1].mistakes += found
            told(done[-1])
    with one() as server, FaultProxy(("127.0.0.1", server.port)) as proxy:
        await drilled(proxy.url, "way", of_the_way(proxy))
    with one() as server:
        await drilled(server.url, "server", of_the_server(server))
    with sentinels() as servers:
        await drilled(servers.url, "sentinels", [sentinels_lose(servers)])
    with cluster() as nodes:
        await drilled(nodes.url, "cluster", [cluster_loses(nodes)])
    return done


def _demote(server: RedisServer) -> None:
    server.ask("REPLICAOF", "127.0.0.1", free_port())  # of nobody: it keeps what it has


def _fill(server: RedisServer) -> None:
    """Takes nothing more, however small, and drops nothing."""
    server.config_set("maxmemory-policy", "noeviction")
    limit = int(str(server.info("memory")["used_memory"])) + _ROOM_BYTES
    server.config_set("maxmemory", str(limit))
    with contextlib.closing(server.client()) as client, contextlib.suppress(OutOfMemoryError):
        for number in range(2 * _ROOM_BYTES // _FILLER_BYTES):
            client.set(f"{_FILLER}{number}", b"x" * _FILLER_BYTES)
        raise RedisServerError("it takes more than it has room for")
    server.config_set("maxmemory", str(limit - _ROOM_BYTES // 2))


def _empty(server: RedisServer) -> None:
    server.config_set("maxmemory", "0")
    with contextlib.closing(server.client()) as client:
        for key in client.scan_iter(f"{_FILLER}*"):
            client.delete(key)
