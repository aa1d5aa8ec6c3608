"""What several share in one Redis: one truth for each key, and a log in order."""

import asyncio
import contextlib
import json
import time
from dataclasses import replace

import pytest
from redis_servers import RedisServer, wait_until
from redis_support import PATIENT_S, PREFIX, appended, everything, logged, refused

from validator.adapters.redis_log import MAX_APPENDED, MAX_RECORD_BYTES, RedisLog
from validator.adapters.redis_scripts import ENTRIES_KEPT
from validator.ports import LogEntry, Position, Record

pytestmark = pytest.mark.programs

RECORDS, LOG = f"{{{PREFIX}}}:records", f"{{{PREFIX}}}:log"
DAY_S = 86_400.0


async def test_an_empty_server_has_no_position(log: RedisLog) -> None:
    assert (await log.state()).position is None
    assert await log.since(None, wait_s=0.0) == ()
    assert await log.fetch(["a"]) == [None]
    assert await everything(log) == {}


async def test_what_is_appended_is_there_for_all(server: RedisServer, log: RedisLog) -> None:
    key, text = "application\0größe", '{"name":"\\" \\u0000 ä 🗝"}'
    first = await appended(log, None, (key, text), ("b", None))
    second = await appended(log, first, ("b", "1"))
    async with logged(server.url) as other:
        assert (await other.state()).position == second
        assert await other.since(None, wait_s=0.0) == [
            LogEntry(first.entry, first.mark, "", first.version, [key, "b"]),
            LogEntry(second.entry, second.mark, first.mark, second.version, ["b"]),
        ]
        assert [entry.mark for entry in await other.since(first, wait_s=0.0)] == [second.mark]
        assert await other.fetch([key, "c", "b"]) == [
            Record(key, first.version, text),
            None,
            Record("b", second.version, "1"),
        ]
        assert await everything(other) == {
            key: Record(key, first.version, text),
            "b": Record("b", second.version, "1"),
        }


async def test_what_is_no_more_is_known_to_be_so(log: RedisLog) -> None:
    position = await appended(log, None, ("a", None))
    assert await log.fetch(["a"]) == [Record("a", position.version, None)]


async def test_what_is_restored_is_no_newer_than_it_was(server: RedisServer, log: RedisLog) -> None:
    old, gone = Record("old", 1_700_000_000_000, '"é"'), Record("gone", 3, None)
    first = await appended(log, None, ("new", "1"), restored=[old, gone], version=1_700_000_000_000)
    assert await log.fetch(["new", "old", "gone"]) == [Record("new", first.version, "1"), old, gone]
    (entry,) = await log.since(None, wait_s=0.0)
    assert (entry.keys, entry.version) == (["new", "old", "gone"], first.version)
    assert first.version > old.version
    second = await appended(log, first, restored=[old], version=first.version)
    assert second.version > first.version
    assert await log.fetch(["old"]) == [old]


async def test_only_the_last_entry_may_be_written_behind(server: RedisServer, log: RedisLog) -> None:
    first = await appended(log, None, ("a", "1"))
    assert await log.append(None, [("a", "2")], version=0) is None
    second = await appended(log, first, ("a", "3"))
    assert await log.append(first, [("a", "4")], version=0) is None
    assert await log.append(Position(second.entry, "another", second.version), [("a", "5")], version=0) is None
    assert await log.fetch(["a"]) == [Record("a", second.version, "3")]
    assert len(await log.since(None, wait_s=0.0)) == 2


async def test_what_was_written_is_read_only_where_the_entry_still_is(server: RedisServer, log: RedisLog) -> None:
    first = await appended(log, None, ("a", "1"))
    before = server.raw("DUMP", RECORDS), server.raw("DUMP", LOG)
    second = await appended(log, first, ("a", "2"), ("b", None))
    (entry, last) = await log.since(None, wait_s=0.0)
    newest = [Record("a", second.version, "2"), Record("b", second.version, None), None]
    assert await log.written(entry, ["a", "b", "c"]) == newest
    assert await log.written(last, ["a", "b", "c"]) == newest
    assert await log.written(replace(last, mark="another"), ["a"]) is None
    for key, dump in zip((RECORDS, LOG), before, strict=True):
        server.ask("RESTORE", key, "0", dump, "REPLACE")
    assert await log.written(last, ["a"]) is None
    assert await log.written(entry, ["a"]) == [Record("a", first.version, "1")]
    server.ask("FLUSHALL")
    assert await log.written(entry, ["a"]) is None


async def test_of_many_who_write_at_once_one_gets_through(server: RedisServer) -> None:
    async with contextlib.AsyncExitStack() as stack:
        logs = [await stack.enter_async_context(logged(server.url)) for _ in range(4)]
        calls = [log.append(None, [("a", str(number))], version=0) for number, log in enumerate(logs * 5)]
        outcomes = await asyncio.gather(*calls)
        (winner,) = [outcome for outcome in outcomes if outcome is not None]
        assert (await logs[0].state()).position == winner


async def test_versions_only_grow(server: RedisServer, log: RedisLog) -> None:
    before = time.time() * 1000 - 1
    first = await appended(log, None, ("a", "1"))
    assert before <= first.version <= time.time() * 1000 + 1
    ahead = first.version + 10**9
    second = await appended(log, first, ("a", "2"), version=ahead)
    assert second.version == ahead + 1
    third = await appended(log, second, ("a", "3"))
    assert third.version == second.version + 1
    assert (await log.state()).position == third


async def test_reading_waits_for_an_entry(server: RedisServer, log: RedisLog) -> None:
    first = await appended(log, None, ("a", "1"))
    async with logged(server.url) as other:
        reading = asyncio.create_task(other.since(first, wait_s=PATIENT_S))
        await asyncio.to_thread(wait_until, lambda: b"cmd=xread" in _clients(server), "a reader that waits")
        second = await appended(log, first, ("a", "2"))
        assert [entry.mark for entry in await reading] == [second.mark]
        assert await other.since(second, wait_s=0.001) == ()


def _clients(server: RedisServer) -> bytes:
    with contextlib.closing(server.client()) as client:
        client.response_callbacks.clear()
        return client.execute_command("CLIENT", "LIST")


async def test_a_reading_is_bounded_and_goes_on(log: RedisLog) -> None:
    position, marks = None, []
    for number in range(600):
        position = await appended(log, position, ("a", str(number)))
        marks.append(position.mark)
    found: list[str] = []
    at: Position | None = None
    while entries := await log.since(at, wait_s=0.0):
        assert len(entries) <= 500
        found += [entry.mark for entry in entries]
        at = Position(entries[-1].id, entries[-1].mark, entries[-1].version)
    assert found == marks


async def test_the_log_keeps_its_last_entries(server: RedisServer, log: RedisLog) -> None:
    with contextlib.closing(server.client()) as client, client.pipeline(transaction=False) as pipe:
        for _ in range(2 * ENTRIES_KEPT):
            pipe.xadd(LOG, {"mark": "m", "previous": "m", "version": 1, "keys": "[]"})
        pipe.execute()
        last = await appended(log, None, ("a", "1"))
        assert ENTRIES_KEPT <= client.xlen(LOG) < 2 * ENTRIES_KEPT
    assert (await log.state()).position == last


async def test_a_scan_reads_everything_in_portions(log: RedisLog) -> None:
    position = None
    for start in range(0, 5000, 1000):
        records = [(f"k{number}", str(number)) for number in range(start, start + 1000)]
        position = await appended(log, position, *records)
    portions = [portion async for portion in log.scan()]
    assert len(portions) > 1
    assert {record.key: record.content for portion in portions for record in portion} == {
        f"k{number}": str(number) for number in range(5000)
    }
    assert [record and record.content for record in await log.fetch([f"k{number}" for number in range(2500)])] == [
        str(number) for number in range(2500)
    ]


@pytest.mark.parametrize(
    "records", [[], [("k", "")] * (MAX_APPENDED + 1), [("k", "x" * MAX_RECORD_BYTES)], [("k", "x" * 900_000)] * 10]
)
async def test_too_much_at_once_is_refused_here(log: RedisLog, records) -> None:
    await refused(log.append(None, records, version=0), "shared")
    assert (await log.state()).position is None


async def test_what_is_large_but_permitted_passes(log: RedisLog) -> None:
    text = "x" * (MAX_RECORD_BYTES - 2)
    await appended(log, None, ("k", text))
    ((record,),) = [portion async for portion in log.scan()]
    assert record.content == text


async def test_what_is_stored_is_as_described(server: RedisServer, log: RedisLog) -> None:
    position = await appended(log, None, ("a", "1"))
    await log.state()
    with contextlib.closing(server.client()) as client:
        assert sorted(client.keys("*")) == [LOG.encode(), RECORDS.encode()]
        stored = client.hgetall(RECORDS)
    assert json.loads(stored.pop(b"a")) == [position.version, "1"]
    assert stored.keys() == {b"\0head", b"\0last", b"\0version", b"\0incarnation", b"\0since"}
