"""What is shared in one Redis when that is not as it should be: restarted, a replica, full, spoilt, or guarded."""

import asyncio
import json
import time

import pytest
from redis_faults import Fault, FaultProxy
from redis_servers import RedisServer, one, wait_until
from redis_support import (
    BRIEF_S,
    PATIENT_S,
    PREFIX,
    appended,
    documented_acl,
    everything,
    healed,
    linked,
    logged,
    refused,
)
from structlog.testing import capture_logs

from validator.adapters.redis_link import RedisEndpoint
from validator.adapters.redis_log import RedisLog
from validator.errors import Unavailable
from validator.ports import LogEntry, Record
from validator.testing import ManualClock

pytestmark = pytest.mark.programs

RECORDS, LOG = f"{{{PREFIX}}}:records", f"{{{PREFIX}}}:log"
DAY_S = 86_400.0


async def test_a_flush_begins_a_new_age(server: RedisServer, log: RedisLog) -> None:
    await appended(log, None, ("a", "1"))
    await log.state()
    server.ask("HINCRBY", RECORDS, b"\0since", -5_000)
    state = await log.state()
    assert state.age_s >= 5.0
    server.flush()
    state = await log.state()
    assert state.position is None
    assert state.age_s < 5.0
    await appended(log, None, ("a", "1"))


async def test_so_does_a_restart() -> None:
    with one(appendonly=True) as server:
        async with logged(server.url) as log:
            position = await appended(log, None, ("a", "1"))
            await log.state()
            server.ask("HINCRBY", RECORDS, b"\0since", -5_000)
            assert (await log.state()).age_s >= 5.0
            server.restart()
            state = await healed(log.state)
            assert state.position == position
            assert state.age_s < 5.0
            assert await log.fetch(["a"]) == [Record("a", position.version, "1")]


async def test_a_clock_that_was_set_back_begins_a_new_age(server: RedisServer, log: RedisLog) -> None:
    await log.state()
    server.ask("HINCRBY", RECORDS, b"\0since", 3_600_000)
    assert (await log.state()).age_s == 0.0


async def test_a_replica_is_not_believed() -> None:
    with one() as master, one() as replica:
        async with logged(replica.url) as log:
            position = await appended(log, None, ("a", "1"))
            replica.ask("REPLICAOF", "127.0.0.1", master.port)
            await asyncio.to_thread(
                wait_until, lambda: replica.info("replication")["master_link_status"] == "up", "a replica"
            )
            await refused(log.state(), "read-only replica")
            await refused(log.since(position, wait_s=0.0), "read-only replica")
            await refused(log.append(position, [("a", "2")], version=0), "read-only replica")
            await refused(log.append(None, [("a", "2")], version=0), "read-only replica")
            await refused(log.fetch(["a"]), "read-only replica")
            await refused(everything(log), "read-only replica")
            replica.ask("REPLICAOF", "NO", "ONE")
            assert await healed(log.state)


async def test_out_of_memory_is_told_and_heals() -> None:
    with one() as server:
        async with logged(server.url) as log:
            position = await appended(log, None, ("a", "1"))
            await log.state()
            server.config_set("maxmemory", "1mb")
            await refused(log.append(position, [("a", "2" * 100)], version=0), "out of memory: raise maxmemory")
            assert (await log.state()).position == position  # what is there is still read
            server.config_set("maxmemory", "0")
            assert await log.append(position, [("a", "2")], version=0)


async def test_a_server_that_would_evict_the_registry_is_warned_of_once() -> None:
    clock = ManualClock()
    with one(maxmemory="100mb", settings={"maxmemory-policy": "volatile-lru"}) as server:
        async with linked(server.url) as link:
            log = RedisLog(link, PREFIX, clock, timeout_s=PATIENT_S)
            with capture_logs() as lines:
                await log.state()
                server.config_set("maxmemory-policy", "allkeys-lru")
                await log.state()
                assert lines == []  # it is looked at once a minute
                for _ in range(3):
                    clock.advance(60)
                    await log.state()
            (line,) = lines
            assert line["event"] == "redis_would_evict_the_registry"
            assert line["log_level"] == "warning"
            assert "noeviction" in line["remedy"]


NONSENSE = "answers what Redis would not"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "[]",
        "[1]",
        '["1",null]',
        "[1,2]",
        "[1,null,2]",
        "[-1,null]",
        "[1.5,null]",
        "[true,null]",
        "{}",
        "[1",
        "[" * 100_000,
    ],
)
async def test_a_record_that_is_none_is_not_believed(server: RedisServer, log: RedisLog, text: str) -> None:
    server.ask("HSET", RECORDS, "a", text)
    server.ask("HSET", RECORDS, "b", '[1,"x"]')
    (found, other) = await log.fetch(["a", "b"])
    assert other == Record("b", 1, "x")  # nor does it hide any other
    assert found is not None
    assert found.key == "a"
    assert found.content is not None
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(found.content)
    assert await everything(log) == {"a": found, "b": other}


@pytest.mark.parametrize(
    "wrong",
    [
        {"mark": ""},
        {"mark": "a b"},
        {"mark": "\xff"},
        {"mark": "x" * 65},
        {"previous": "a b"},
        {"version": ""},
        {"version": "-1"},
        {"version": "1e400"},
        {"version": str(2**53)},
        {"keys": ""},
        {"keys": "{}"},
        {"keys": "[1]"},
        {"keys": "[" * 5000},
        {"keys": "null"},
        {"keys": '["\\ud800"]'},
        {"previous": None},
        {"mark": None},
        {"keys": None},
    ],
)
async def test_an_entry_that_is_none_is_not_believed(server: RedisServer, log: RedisLog, wrong) -> None:
    fields = {"mark": "m", "previous": "", "version": "1", "keys": '["a"]', **wrong}
    words = [part for name, text in fields.items() if text is not None for part in (name, text.encode("latin-1"))]
    first = await appended(log, None, ("a", "1"))
    server.ask("XADD", LOG, "*", *words)
    second = await appended(log, first, ("a", "2"))
    found = await log.since(None, wait_s=0.0)
    assert [(entry.mark, entry.previous) for entry in found] == [
        (first.mark, ""),
        ("", "?"),
        (second.mark, first.mark),
    ]
    assert (found[1].version, list(found[1].keys)) == (0, [])
    assert (await log.state()).position == second
    assert await log.since(second, wait_s=0.0) == ()


@pytest.mark.parametrize(("name", "text"), [("\0head", "a b"), ("\0last", "x"), ("\0last", None)])
async def test_a_position_that_is_none_is_not_believed(server: RedisServer, log: RedisLog, name, text) -> None:
    await appended(log, None, ("a", "1"))
    server.ask(*(("HDEL", RECORDS, name) if text is None else ("HSET", RECORDS, name, text)))
    await refused(log.state(), NONSENSE)


FAR = [2**53 - 1, 2**52, 2**63, 10**400]


@pytest.mark.parametrize("text", [*map(str, FAR), "x", "-1", "nan", "inf", "", None])
async def test_no_version_is_counted_on_from_one_that_cannot_be(
    server: RedisServer, log: RedisLog, text: str | None
) -> None:
    first = await appended(log, None, ("a", "1"))
    server.ask(*(("HDEL", RECORDS, "\0version") if text is None else ("HSET", RECORDS, "\0version", text)))
    state = await log.state()
    assert state.position is not None
    assert (state.position.mark, state.position.version) == (first.mark, 0)
    second = await appended(log, state.position, ("a", "2"), version=first.version)
    assert first.version < second.version < time.time() * 1000 + DAY_S
    assert await log.fetch(["a"]) == [Record("a", second.version, "2")]
    assert (await log.state()).position == second


async def test_nor_from_what_a_writer_takes_for_the_highest(server: RedisServer, log: RedisLog) -> None:
    first = await appended(log, None, ("a", "1"), version=2**53 - 1)
    assert first.version < time.time() * 1000 + DAY_S


@pytest.mark.parametrize("version", FAR)
async def test_what_has_a_version_that_cannot_be_is_not_read(
    server: RedisServer, log: RedisLog, version: int
) -> None:
    server.ask("HSET", RECORDS, "a", f'[{version},"1"]', "b", f"[{version},null]", "c", '[1,"x"]')
    server.ask("XADD", LOG, "*", "mark", "m", "previous", "", "version", version, "keys", '["a"]')
    unreadable = [Record("a", 0, "?"), Record("b", 0, "?"), Record("c", 1, "x")]
    assert await log.fetch(["a", "b", "c"]) == unreadable
    assert await everything(log) == {record.key: record for record in unreadable}
    (entry,) = await log.since(None, wait_s=0.0)
    assert (entry.previous, entry.version) == ("?", 0)
    (entry,) = [LogEntry(entry.id, "m", "", 1, ["a"])]
    assert await log.written(entry, ["a"]) == [Record("a", 0, "?")]


async def test_one_that_ran_ahead_with_a_clock_is_read(server: RedisServer, log: RedisLog) -> None:
    ahead = int((time.time() + 50 * 365 * DAY_S) * 1000)
    first = await appended(log, None, ("a", "1"), version=ahead)
    assert await log.fetch(["a"]) == [Record("a", ahead + 1, "1")]
    (entry,) = await log.since(None, wait_s=0.0)
    assert (entry.mark, entry.version) == (first.mark, ahead + 1)


async def test_a_key_that_is_no_text_is_nobodys(server: RedisServer, log: RedisLog) -> None:
    server.ask("HSET", RECORDS, b"\xff", '[1,"x"]', "b", '[1,"x"]')
    assert await everything(log) == {"b": Record("b", 1, "x")}


@pytest.mark.parametrize("fault", ["records deleted", "records of earlier", "somebody else's entry"])
async def test_a_log_that_does_not_fit_the_records_is_given_up(
    server: RedisServer, log: RedisLog, fault: str
) -> None:
    earlier = await appended(log, None, ("a", "1"))
    dump = server.raw("DUMP", RECORDS)
    last = await appended(log, earlier, ("b", "2"))
    match fault:
        case "records deleted":
            server.ask("DEL", RECORDS)
            position = None
        case "records of earlier":
            server.raw("RESTORE", RECORDS, 0, dump, "REPLACE")
            position = earlier
        case _:
            server.ask("XADD", LOG, "*", "hello", "world")
            position = last
    assert (await log.state()).position == position
    assert list(await log.since(position, wait_s=0.0)) == []
    after = await appended(log, position, ("c", "3"))
    (entry,) = await log.since(position, wait_s=0.0)
    assert (entry.mark, entry.previous) == (after.mark, "" if position is None else position.mark)


async def test_what_fits_is_kept(server: RedisServer, log: RedisLog) -> None:
    position = await appended(log, None, ("a", "1"))
    await appended(log, position, ("b", "2"))
    await log.state()
    assert len(await log.since(None, wait_s=0.0)) == 2


async def test_a_prefix_that_somebody_else_uses(server: RedisServer, log: RedisLog) -> None:
    server.ask("SET", RECORDS, "theirs")
    await refused(log.fetch(["a"]), "redis.prefix in use by another program")
    await refused(log.state(), "redis.prefix in use by another program")


@pytest.fixture(scope="module")
def guarded():
    with one(acl=[" ".join(documented_acl())], password="admin") as running:
        yield running


async def use_all_of(log: RedisLog) -> None:
    await log.state()
    position = await appended(log, None, ("a", None), ("b", "1"))
    assert (await log.state()).position == position
    (entry,) = await log.since(None, wait_s=0.01)
    assert await log.written(entry, ["c"]) == [None]
    assert await log.since(position, wait_s=0.01) == ()
    assert [record is not None for record in await log.fetch(["a", "b"])] == [True, True]
    assert len(await everything(log)) == 2
    assert await log.purge(-DAY_S) == 1


async def test_the_documented_user_may_do_what_is_needed(guarded: RedisServer) -> None:
    guarded.flush()
    endpoint = RedisEndpoint.parse(f"redis://{guarded.host}", username="validator", password="s3cret")
    async with logged(endpoint) as log:
        await use_all_of(log)


@pytest.mark.parametrize("right", [word for word in documented_acl() if word.startswith("+")] + ["~{validator}:*"])
async def test_and_each_right_is_needed(guarded: RedisServer, right: str) -> None:
    guarded.flush()
    words = [word for word in documented_acl() if word != right]
    guarded.ask("ACL", "SETUSER", "less", "reset", *words[2:])
    endpoint = RedisEndpoint.parse(f"redis://{guarded.host}", username="less", password="s3cret")
    async with logged(endpoint) as log:
        with pytest.raises(Unavailable, match="ACL") as caught:
            await use_all_of(log)
        if right.startswith("~"):
            assert "redis.prefix" in caught.value.detail
        else:
            assert f"the command {right[1:]}" in caught.value.detail or "a script of ours" in caught.value.detail


CALLS = {
    "state": lambda log: log.state(),
    "append": lambda log: log.append(None, [("a", "1")], version=0),
    "since": lambda log: log.since(None, wait_s=0.0),
    "fetch": lambda log: log.fetch(["a"]),
    "written": lambda log: log.written(LogEntry("1-1", "mark", "", 1, ["a"]), ["a"]),
    "scan": everything,
    "purge": lambda log: log.purge(DAY_S),
}


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault not in (Fault.PASS, Fault.SLOW)])
@pytest.mark.parametrize("call", CALLS)
async def test_each_call_meets_each_fault_and_works_again(server: RedisServer, fault: Fault, call: str) -> None:
    with FaultProxy(("127.0.0.1", server.port)) as proxy:
        timeout_s = BRIEF_S if fault is Fault.STALL else 1.0
        async with logged(proxy.url, timeout_s=timeout_s, connect_timeout_s=1.0) as log:
            for warm in (False, True):
                server.flush()
                if warm:
                    await healed(log.state)
                proxy.set(fault)
                await refused(asyncio.wait_for(CALLS[call](log), PATIENT_S))
                proxy.set(Fault.PASS)
                await healed(lambda: CALLS[call](log))
                await healed(log.state)


async def test_an_append_whose_answer_is_lost_shows_in_the_log(server: RedisServer) -> None:
    with FaultProxy(("127.0.0.1", server.port)) as proxy:
        async with logged(proxy.url, timeout_s=BRIEF_S) as log:
            first = await healed(lambda: appended(log, None, ("a", "1")))
            proxy.set(Fault.STALL)
            error = await refused(log.append(first, [("b", "1")], version=0), "no answer in time")
            assert error.sent
            proxy.set(Fault.PASS)
            (entry,) = await healed(lambda: log.since(first, wait_s=PATIENT_S))
            assert entry.keys == ["b"]
