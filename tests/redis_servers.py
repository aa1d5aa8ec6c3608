"""Real Redis servers on loopback: one, three with Sentinel, a Cluster of six.

Law of this file: what it hands out is ready for a failover, and gone again when its ``with`` ends. As in
``redis_process``, everything blocks.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from urllib.parse import quote

import redis
from redis_process import RedisServer, RedisServerError, free_port, one, wait_until

from validator.core.redis_url import RedisEndpoint

__all__ = [
    "Cluster",
    "RedisServer",
    "RedisServerError",
    "Sentinels",
    "cluster",
    "free_port",
    "one",
    "sentinels",
    "wait_until",
]

MASTER = "mymaster"
DOWN_AFTER_MS = 500
NODE_TIMEOUT_MS = 1000
_SLOTS = 16384


@contextlib.contextmanager
def _group(count: int, **options: object) -> Iterator[list[RedisServer]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(one(**options)) for _ in range(count)]


class Sentinels:
    """A master, two replicas, and three Sentinels that watch them.

    Attributes:
        servers: the first was the master in the beginning.
    """

    def __init__(self, servers: Sequence[RedisServer], sentinels: Sequence[RedisServer]) -> None:
        self.servers = servers
        self.sentinels = sentinels

    @property
    def url(self) -> str:
        hosts = ",".join(sentinel.host for sentinel in self.sentinels)
        password = self.servers[0].password
        return f"redis+sentinel://{f':{quote(password)}@' if password else ''}{hosts}/{MASTER}"

    @property
    def endpoint(self) -> RedisEndpoint:
        return RedisEndpoint.parse(self.url)

    @property
    def master(self) -> RedisServer:
        """Which one most Sentinels name."""
        ports = [self._named(sentinel) for sentinel in self.sentinels]
        named = max(set(ports), key=ports.count)
        return next(server for server in self.servers if server.port == named)

    def fail_over(self) -> RedisServer:
        """Another one becomes the master, without any failure."""
        old = self.master

        def moved() -> bool:
            if self._has_moved(old):
                return True
            # Refused while one is under way or being tidied up; one that it has given up does not begin again.
            if self._named(self.sentinels[0]) == old.port:
                self.sentinels[0].ask("SENTINEL", "FAILOVER", MASTER)
            return False

        wait_until(moved, "a failover", 50.0)
        return self.wait_for_failover(old)

    def wait_for_failover(self, old: RedisServer) -> RedisServer:
        """Another one is the master, all Sentinels say so, and it takes writes."""
        wait_until(lambda: self._has_moved(old), "a failover", 30.0)
        return self.master

    def _has_moved(self, old: RedisServer) -> bool:
        named = {self._named(sentinel) for sentinel in self.sentinels}
        return len(named) == 1 and old.port not in named and self.master.info("replication")["role"] == "master"

    def wait_for_replicas(self, count: int) -> None:
        """So many follow the master, and the Sentinels know them."""

        def followed() -> bool:
            master = self.master
            if master.info("replication")["connected_slaves"] < count:
                return False
            return all(self._knows(sentinel, count) for sentinel in self.sentinels)

        wait_until(followed, "replicas that follow", 30.0)

    def _named(self, sentinel: RedisServer) -> int:
        return int(sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)[1])

    def _knows(self, sentinel: RedisServer, replicas: int) -> bool:
        with contextlib.closing(sentinel.client()) as client:
            state = client.sentinel_master(MASTER)
            alive = [replica for replica in client.sentinel_slaves(MASTER) if not replica["is_sdown"]]
        others = len(self.sentinels) - 1
        return state["num-other-sentinels"] == others and len(alive) >= replicas and not state["is_sdown"]


@contextlib.contextmanager
def sentinels(**options: object) -> Iterator[Sentinels]:
    """Ready for a failover; the arguments are those of ``RedisServer``, for the three that hold data."""
    with _group(3, **options) as servers:
        master, *replicas = servers
        for replica in replicas:
            replica.ask("REPLICAOF", "127.0.0.1", master.port)
        watch = {
            "monitor": f"{MASTER} 127.0.0.1 {master.port} 2",
            "down-after-milliseconds": f"{MASTER} {DOWN_AFTER_MS}",
            "failover-timeout": f"{MASTER} 1000",
        }
        if master.password is not None:
            watch["auth-pass"] = f"{MASTER} {master.password}"
        with _group(3, settings=watch, sentinel=True) as watchers:
            for watcher in watchers:
                with contextlib.suppress(redis.ResponseError):  # version 6 takes ten seconds where 7 can be told
                    watcher.ask("SENTINEL", "DEBUG", "info-period", 200, "publish-period", 200, "ping-period", 100)
            together = Sentinels(servers, watchers)
            together.wait_for_replicas(2)
            yield together


class Cluster:
    """Six nodes: three masters, and a replica of each."""

    def __init__(self, nodes: Sequence[RedisServer]) -> None:
        self.nodes = nodes

    @property
    def url(self) -> str:
        """Of the first two."""
        password = self.nodes[0].password
        userinfo = f":{quote(password)}@" if password else ""
        return f"redis+cluster://{userinfo}{','.join(node.host for node in self.nodes[:2])}"

    @property
    def endpoint(self) -> RedisEndpoint:
        return RedisEndpoint.parse(self.url)

    def master_of(self, key: str, asked: RedisServer | None = None) -> RedisServer:
        """Of the slot in which the key is."""
        asked = asked or next(node for node in self.nodes if node._process is not None)
        slot = asked.ask("CLUSTER", "KEYSLOT", key)
        for first, last, master, *_ in asked.raw("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == master[1])
        raise RedisServerError(f"nobody holds slot {slot}")

    def wait_for_agreement(self) -> None:
        """All that run say that all is well."""
        wait_until(self._agrees, "a Cluster that agrees", 30.0)

    def wait_for_failover(self, key: str, old: RedisServer) -> RedisServer:
        """Another node holds the slot of this key, and all that run say so."""
        running = [node for node in self.nodes if node is not old]
        wait_until(lambda: all(self.master_of(key, node) is not old for node in running), "a failover", 30.0)
        wait_until(lambda: all(_well(node) for node in running), "a Cluster that is well again", 30.0)
        return self.master_of(key, running[0])

    def _agrees(self) -> bool:
        return all(_well(node) and len(node.raw("CLUSTER", "SLOTS")) == 3 for node in self.nodes) and all(
            len(entry) == 4 for node in self.nodes for entry in node.raw("CLUSTER", "SLOTS")
        )


def _well(node: RedisServer) -> bool:
    return b"cluster_state:ok" in node.raw("CLUSTER", "INFO")


@contextlib.contextmanager
def cluster(**options: object) -> Iterator[Cluster]:
    """Ready for a failover; the arguments are those of ``RedisServer``."""
    settings = {
        "cluster-enabled": "yes",
        "cluster-node-timeout": str(NODE_TIMEOUT_MS),
        "cluster-replica-validity-factor": "0",
    }
    with _group(6, settings=settings, **options) as nodes:
        masters, replicas = nodes[:3], nodes[3:]
        bounds = [_SLOTS * part // 3 for part in range(4)]
        for number, node in enumerate(nodes):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for number, master in enumerate(masters):
            master.ask("CLUSTER", "ADDSLOTS", *range(bounds[number], bounds[number + 1]))
        for node, other in itertools.combinations(nodes, 2):  # by hearsay they would meet seconds later
            node.ask("CLUSTER", "MEET", "127.0.0.1", other.port, other.cluster_port)
        for master, replica in zip(masters, replicas, strict=True):
            identity = master.raw("CLUSTER", "MYID")
            wait_until(
                lambda r=replica, i=identity: bool(r.ask("CLUSTER", "REPLICATE", i)), "nodes that met", 30.0
            )
        together = Cluster(nodes)
        together.wait_for_agreement()
        yield together
