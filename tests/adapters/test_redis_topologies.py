"""Sentinel and Cluster: whoever is the master now is the one that is asked."""

import asyncio
import contextlib
import re

import pytest
from redis_faults import Fault, FaultProxy
from redis_servers import Cluster, RedisServer, Sentinels, cluster, one, sentinels, wait_until
from redis_support import BRIEF_S, KEY, PREFIX, documented_acl, healed, linked, logged, refused, said

from validator.adapters.redis_link import RedisEndpoint
from validator.adapters.redis_log import RedisLog
from validator.errors import Unavailable
from validator.ports import Position

pytestmark = [pytest.mark.programs, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def watched():
    with sentinels(password="s3cret") as running:
        yield running


@pytest.fixture(scope="module")
def sharded():
    with cluster() as running:
        yield running


async def written(log: RedisLog, text: str) -> Position:
    """Behind whatever is there, as often as it takes."""

    async def once() -> Position:
        while True:
            position = (await log.state()).position
            if (after := await log.append(position, [("a", text)], version=0)) is not None:
                return after

    return await healed(once)


async def believed(log: RedisLog) -> str | None:
    (record,) = await healed(lambda: log.fetch(["a"]))
    return None if record is None else record.content


async def test_sentinel_names_the_master_through_failovers(watched: Sentinels) -> None:
    await asyncio.to_thread(watched.wait_for_replicas, 2)
    old = watched.master
    async with logged(watched.endpoint, timeout_s=1.0) as log:
        before = await written(log, "before")
        assert old.ask("WAIT", 2, 5000) == 2  # it is replicated
        old.kill()
        with pytest.raises(Unavailable):
            await log.fetch(["a"])
        new = await asyncio.to_thread(watched.wait_for_failover, old)
        state = await healed(log.state)
        assert state.position == before
        assert await believed(log) == "before"
        after = await written(log, "after")
        assert [entry.mark for entry in await healed(lambda: log.since(before, wait_s=0.1))] == [after.mark]
        assert new.ask("HGET", f"{{{PREFIX}}}:records", b"\0head") == after.mark.encode()
    old.restart()
    await asyncio.to_thread(watched.wait_for_replicas, 2)


async def test_a_master_that_was_made_a_replica_is_left(watched: Sentinels) -> None:
    await asyncio.to_thread(watched.wait_for_replicas, 2)
    old = watched.master
    async with logged(watched.endpoint, timeout_s=1.0) as log:
        position = await written(log, "1")
        reading = asyncio.create_task(log.since(position, wait_s=60.0))
        await asyncio.to_thread(wait_until, lambda: old.info("clients")["blocked_clients"] == 1, "a reader")
        await asyncio.to_thread(watched.fail_over)
        await refused(reading)  # it is told, long before its time is over
        await written(log, "2")
        assert await believed(log) == "2"
    await asyncio.to_thread(watched.wait_for_replicas, 2)


async def test_one_sentinel_of_three_is_not_missed(watched: Sentinels) -> None:
    await asyncio.to_thread(watched.wait_for_replicas, 2)
    first = watched.sentinels[0]
    first.stall()
    try:
        async with logged(watched.endpoint, timeout_s=5.0) as log:
            await log.state()
    finally:
        first.resume()


async def test_one_sentinel_with_a_memory_of_its_own_is_outvoted(watched: Sentinels) -> None:
    await asyncio.to_thread(watched.wait_for_replicas, 2)
    with (
        one() as yesterday,
        one(settings={"monitor": f"mymaster 127.0.0.1 {yesterday.port} 2"}, sentinel=True) as lost,
    ):
        hosts = ",".join(server.host for server in (lost, *watched.sentinels))
        async with linked(f"redis+sentinel://:s3cret@{hosts}/mymaster") as link:
            info = await link.call("info", lambda s: s.command("INFO", "server"), key=KEY)
            assert f"tcp_port:{watched.master.port}".encode() in info


async def test_sentinels_that_do_not_answer_or_do_not_know(watched: Sentinels) -> None:
    hosts = ",".join(server.host for server in watched.sentinels)
    async with linked(f"redis+sentinel://:s3cret@{hosts}/another") as link:
        await refused(said(link, "x"), "no Sentinel knows a master another")
    async with linked("redis+sentinel://127.0.0.1:1,127.0.0.1:2/mymaster") as link:
        await refused(said(link, "x"), "Connection refused", "127.0.0.1:1,127.0.0.1:2")
    async with linked(f"redis+sentinel://:wr0ng@{hosts}/mymaster") as link:
        error = await refused(said(link, "x"), "does not accept the user or password", "sentinel_password")
        assert "wr0ng" not in error.detail
    async with linked(f"redis+sentinel://:s3cret@{watched.servers[0].host}/mymaster") as link:
        await refused(said(link, "x"))  # a server, and no Sentinel


async def test_a_sentinel_that_names_a_replica_is_not_followed() -> None:
    with one() as master, one() as replica, FaultProxy(("127.0.0.1", master.port)) as sentinel:
        replica.ask("REPLICAOF", "127.0.0.1", master.port)
        sentinel.set(Fault.GARBAGE, garbage=naming(replica))
        async with linked(f"redis+sentinel://{sentinel.host}/mymaster") as link:
            await refused(said(link, "x"), "read-only replica")
            sentinel.set(Fault.GARBAGE, garbage=naming(master))
            assert await said(link, "hello") == b"hello"


def naming(server: RedisServer | FaultProxy) -> bytes:
    """A Sentinel's answer."""
    return f"*2\r\n$9\r\n127.0.0.1\r\n${len(str(server.port))}\r\n{server.port}\r\n".encode()


async def test_a_master_that_says_nothing_is_left_when_another_one_is_named() -> None:
    with one() as master:
        target = ("127.0.0.1", master.port)
        with FaultProxy(target) as sentinel, FaultProxy(target) as silent:
            silent.set(Fault.STALL)
            sentinel.set(Fault.GARBAGE, garbage=naming(silent))
            url = f"redis+sentinel://{sentinel.host}/mymaster"
            async with linked(url, timeout_s=0.01, connect_timeout_s=BRIEF_S, look_every_s=1e9) as link:
                for _ in range(3):
                    await refused(said(link, "x"), "in time")
                sentinel.set(Fault.GARBAGE, garbage=naming(master))
                assert await healed(lambda: said(link, "hello")) == b"hello"


async def test_a_master_that_was_replaced_in_silence_is_left_too() -> None:
    with one() as old, one() as new, FaultProxy(("127.0.0.1", old.port)) as sentinel:
        sentinel.set(Fault.GARBAGE, garbage=naming(old))
        async with linked(f"redis+sentinel://{sentinel.host}/mymaster", look_every_s=0.0) as link:

            async def port() -> int:
                info = await link.call("info", lambda s: s.command("INFO", "server"), key=KEY)
                return int(re.findall(rb"tcp_port:([0-9]+)", info)[0])

            assert await port() == old.port
            sentinel.set(Fault.GARBAGE, garbage=naming(new))
            async with asyncio.timeout(30):
                while await port() != new.port:
                    pass
            sentinel.set(Fault.REFUSE)
            for _ in range(10):
                assert await port() == new.port  # that nobody can be asked is no reason to leave


async def test_sentinels_have_a_password_of_their_own() -> None:
    with one() as master:
        watch = {"monitor": f"mymaster 127.0.0.1 {master.port} 1"}
        with one(settings=watch, sentinel=True, password="w4tch") as sentinel:
            url = f"redis+sentinel://{sentinel.host}/mymaster/2"
            async with linked(RedisEndpoint.parse(url, sentinel_password="w4tch")) as link:
                assert await said(link, "hello") == b"hello"
            async with linked(url) as link:
                await refused(said(link, "x"), "asks for a password", "sentinel_password")


async def test_a_user_for_sentinels_needs_one_right() -> None:
    user = "user watcher on >w4tch resetchannels -@all +sentinel|get-master-addr-by-name"
    with one() as master:
        watch = {"monitor": f"mymaster 127.0.0.1 {master.port} 1"}
        with one(settings=watch, sentinel=True, acl=[user]) as sentinel:
            url = f"redis+sentinel://{sentinel.host}/mymaster"
            parts = {"sentinel_username": "watcher", "sentinel_password": "w4tch"}
            async with linked(RedisEndpoint.parse(url, **parts)) as link:
                assert await said(link, "hello") == b"hello"


async def test_the_documented_user_needs_one_more_right_on_a_cluster(sharded: Cluster) -> None:
    await asyncio.to_thread(sharded.wait_for_agreement)
    for node in sharded.nodes:
        node.ask("ACL", "SETUSER", "validator", "reset", *documented_acl()[2:], "+cluster|slots")
    endpoint = RedisEndpoint.parse(sharded.url, username="validator", password="s3cret")
    async with logged(endpoint) as log:
        await written(log, "1")
        assert await believed(log) == "1"
    for node in sharded.nodes:
        node.ask("ACL", "SETUSER", "validator", "-cluster|slots")
    async with logged(endpoint) as log:
        await refused(log.state(), "permit the command cluster|slots")


async def test_a_cluster_is_followed_through_a_failover(sharded: Cluster) -> None:
    await asyncio.to_thread(sharded.wait_for_agreement)
    old = sharded.master_of(KEY)
    async with logged(sharded.endpoint, timeout_s=1.0) as log:
        before = await written(log, "before")
        assert old.ask("WAIT", 1, 5000) == 1  # it is replicated
        old.kill()
        with pytest.raises(Unavailable):
            await log.fetch(["a"])
        new = await asyncio.to_thread(sharded.wait_for_failover, KEY, old)
        assert (await healed(log.state)).position == before
        after = await written(log, "after")
        assert await believed(log) == "after"
        assert [entry.mark for entry in await healed(lambda: log.since(before, wait_s=0.1))] == [after.mark]
        assert new.ask("HGET", KEY, b"\0head") == after.mark.encode()
    old.restart()
    await asyncio.to_thread(sharded.wait_for_agreement)


async def test_keys_of_all_slots_are_found(sharded: Cluster) -> None:
    await asyncio.to_thread(sharded.wait_for_agreement)
    async with linked(sharded.endpoint, connections=2) as link:
        for number in range(30):
            key = f"{{k{number}}}:x"
            assert await link.call("set", lambda s, k=key: s.command("SET", k, "1"), key=key) == b"OK"
            assert await link.call("get", lambda s, k=key: s.command("GET", k), key=key) == b"1"
    assert sum(node.ask("DBSIZE") > 0 for node in sharded.nodes) > 1


async def test_a_slot_that_has_moved_is_followed_without_a_failure(sharded: Cluster) -> None:
    await asyncio.to_thread(sharded.wait_for_agreement)
    key = "{moved}:x"
    source = sharded.master_of(key)
    target = next(
        node for node in sharded.nodes if node is not source and node.info("replication")["role"] == "master"
    )
    slot, identities = source.ask("CLUSTER", "KEYSLOT", key), {}
    for node in (source, target):
        with contextlib.closing(node.client()) as client:
            client.response_callbacks.clear()
            identities[node] = client.execute_command("CLUSTER", "MYID")
    async with linked(sharded.endpoint) as link:
        await link.call("get", lambda s: s.command("GET", key), key=key)
        try:
            for node in (target, source):
                node.ask("CLUSTER", "SETSLOT", slot, "NODE", identities[target])
            for number in range(5):
                words = ("SET", key, number)
                assert await link.call("set", lambda s, w=words: s.command(*w), key=key) == b"OK"
            assert target.ask("GET", key) == b"4"
        finally:
            target.ask("DEL", key)
            for node in (source, target):
                node.ask("CLUSTER", "SETSLOT", slot, "NODE", identities[source])
    await asyncio.to_thread(sharded.wait_for_agreement)


async def test_a_url_that_says_nothing_of_the_cluster_is_corrected(sharded: Cluster) -> None:
    await asyncio.to_thread(sharded.wait_for_agreement)
    other = next(node for node in sharded.nodes if node is not sharded.master_of(KEY))
    async with logged(f"redis://{other.host}") as log:
        await refused(log.fetch(["a"]), "write redis+cluster:// in redis.url")
    async with linked(f"redis://{other.host}/1") as link:
        await refused(said(link, "x"), "write redis+cluster:// in redis.url")
    with one() as alone:
        async with linked(f"redis+cluster://{alone.host}") as link:
            await refused(said(link, "x"), "write redis:// in redis.url")


async def test_a_node_that_is_down_is_not_missed_at_the_start(sharded: Cluster) -> None:
    await asyncio.to_thread(sharded.wait_for_agreement)
    url = f"redis+cluster://127.0.0.1:1,{sharded.nodes[1].host}"
    async with logged(url) as log:
        await log.state()


async def test_a_cluster_that_stalls_costs_each_call_its_time(sharded: Cluster) -> None:
    await asyncio.to_thread(sharded.wait_for_agreement)
    async with logged(sharded.endpoint, timeout_s=BRIEF_S, connect_timeout_s=BRIEF_S) as log:
        await written(log, "1")
        for node in sharded.nodes:
            node.stall()
        try:
            for _ in range(3):
                await refused(log.fetch(["a"]), "in time")
        finally:
            for node in sharded.nodes:
                node.resume()
        await asyncio.to_thread(sharded.wait_for_agreement)
        assert await believed(log) == "1"
