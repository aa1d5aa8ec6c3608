"""The way to one Redis: answers, time limits, faults, and what an operator is told."""

import asyncio
import contextlib
import socket
import time

import pytest
import uvloop
from redis.asyncio.connection import Connection
from redis_faults import Fault, FaultProxy
from redis_servers import RedisServer, one
from redis_support import BRIEF_S, KEY, believed, healed, linked, refused, said

from validator.adapters.redis_connections import Connections
from validator.adapters.redis_link import Script

pytestmark = pytest.mark.programs


@pytest.fixture(scope="module")
def server():
    with one() as running:
        yield running


@pytest.fixture
def proxy(server):
    with FaultProxy(("127.0.0.1", server.port)) as running:
        yield running


async def test_a_call_brings_what_its_work_returns(server: RedisServer) -> None:
    async with linked(server.url) as link:
        assert await said(link, "hello") == b"hello"
        replies = await link.call("two", lambda s: s.pipeline(("ECHO", "a"), ("ECHO", b"b")), key=KEY)
        assert replies == [b"a", b"b"]


async def test_a_socket_file_is_spoken_to_as_well(server: RedisServer) -> None:
    async with linked(f"unix://{server.unix_path}?db=3") as link:
        assert await said(link, "hello") == b"hello"
        info = await link.call("info", lambda s: s.command("CLIENT", "INFO"), key=KEY)
        assert b" db=3 " in info
        assert b" name=validator " in info


async def test_a_script_is_sent_whole_only_where_it_is_not_known(server: RedisServer) -> None:
    script = Script("return {KEYS[1], ARGV[1], 'test_a_script_is_sent_whole'}")
    async with linked(server.url) as link:
        for _ in range(2):
            reply = await link.call("script", lambda s: s.script(script, ("k",), ("v",)), key=KEY)
            assert reply == [b"k", b"v", b"test_a_script_is_sent_whole"]
        server.ask("SCRIPT", "FLUSH")
        assert (await link.call("script", lambda s: s.script(script, ("k",), ("v",)), key=KEY))[0] == b"k"


async def test_an_error_within_a_pipeline_leaves_the_connection_in_step(server: RedisServer) -> None:
    async with linked(server.url, connections=1) as link:
        failing = link.call("wrong", lambda s: s.pipeline(("ECHO", "a"), ("NONESUCH",), ("ECHO", "c")), key=KEY)
        await refused(failing, "does not know the command nonesuch")
        assert await said(link, "hello") == b"hello"


async def test_a_late_answer_never_answers_the_next_question(server: RedisServer, proxy: FaultProxy) -> None:
    async with linked(proxy.url, connections=1) as link:
        assert await said(link, "first") == b"first"
        proxy.set(Fault.STALL)
        error = await refused(said(link, "late", timeout_s=BRIEF_S), "no answer in time", proxy.host)
        assert error.sent
        proxy.set(Fault.PASS)
        for number in range(5):
            assert await healed(lambda n=number: said(link, f"next {n}")) == f"next {number}".encode()


async def test_nor_does_one_whose_caller_was_cancelled(proxy: FaultProxy) -> None:
    async with linked(proxy.url, connections=1) as link:
        assert await said(link, "first") == b"first"
        proxy.set(Fault.STALL)
        call = asyncio.create_task(said(link, "late"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        proxy.set(Fault.PASS)
        for number in range(5):
            assert await said(link, f"next {number}") == f"next {number}".encode()


async def test_what_nobody_asked_for_is_no_answer_either(proxy: FaultProxy) -> None:
    async with linked(proxy.url, connections=1) as link:
        assert await said(link, "first") == b"first"
        proxy.set(Fault.GARBAGE, garbage=b"+one\r\n+too many\r\n")
        assert await said(link, "second") == b"one"
        proxy.set(Fault.PASS)
        assert await said(link, "third") == b"third"


async def _answered_by_a_busy_loop(proxy: FaultProxy) -> bytes:
    """The answer arrives while another socket's callback keeps the loop, beyond the end of the call's time."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        async with linked(proxy.url) as link:
            await said(link, "first")
            proxy.set(Fault.STALL)
            call = asyncio.create_task(said(link, "second", timeout_s=BRIEF_S))
            await asyncio.sleep(0)

            def busy() -> None:
                loop.remove_reader(ours)
                proxy.set(Fault.PASS)
                time.sleep(2 * BRIEF_S)

            loop.add_reader(ours, busy)
            theirs.send(b".")
            return await call


async def test_time_that_the_own_loop_was_busy_is_not_the_servers(proxy: FaultProxy) -> None:
    assert await _answered_by_a_busy_loop(proxy) == b"second"


async def test_nor_on_the_loop_of_the_data_plane(proxy: FaultProxy) -> None:
    assert await asyncio.to_thread(uvloop.run, _answered_by_a_busy_loop(proxy)) == b"second"


async def test_a_restart_between_two_calls_costs_neither(tmp_path) -> None:
    with one() as server:
        async with linked(server.url) as link:
            await said(link, "first")
            await asyncio.to_thread(server.restart)
            assert await said(link, "second") == b"second"


async def test_after_trouble_on_one_connection_none_of_them_is_used_again(proxy: FaultProxy) -> None:
    async with linked(proxy.url, connections=4) as link:
        await asyncio.gather(*(said(link, str(number)) for number in range(4)))
        proxy.set(Fault.CUT)
        await refused(said(link, "x"))
        proxy.set(Fault.PASS)
        await asyncio.gather(*(said(link, str(number)) for number in range(4)))
        assert proxy.accepted == 8


class Forgetful(Connection):
    """Leaves an answer where it is."""

    async def read_response(self, **_options: object) -> None:
        raise ValueError("forgotten")


async def test_a_connection_that_owes_an_answer_is_not_lent_again(server: RedisServer) -> None:
    opened: list[Connection] = []

    async def open_() -> Connection:
        connection = Forgetful(port=server.port) if not opened else Connection(port=server.port)
        opened.append(connection)
        await Connection._connect(connection)
        connection._parser.on_connect(connection)
        return connection

    pool = Connections(open_, limit=1)
    with pytest.raises(ValueError, match="forgotten"):
        await pool.run(lambda session: session.command("ECHO", "first"))
    assert await pool.run(lambda session: session.command("ECHO", "second")) == b"second"
    pool.clear()


@pytest.mark.parametrize(
    ("fault", "garbage", "words"),
    [
        (Fault.REFUSE, None, ()),
        (Fault.RESET, None, ()),
        (Fault.CUT, None, ("connection was lost",)),
        (Fault.STALL, None, ("in time",)),
        (Fault.GARBAGE, None, ()),
        (Fault.GARBAGE, b"*-7\r\n$x\r\n", ()),
        (Fault.GARBAGE, b"*1\r\n" * 2000, ("answers what Redis would not",)),
        (Fault.GARBAGE, b"$-9\r\n\r\n", ()),
        (Fault.GARBAGE, b":1x\r\n", ("answers what Redis would not",)),
        (Fault.GARBAGE, b"%1\r\n+a\r\n+b\r\n", ("answers what Redis would not",)),
        (Fault.GARBAGE, b"HTTP/1.1 400 Bad Request\r\n\r\n", ("answers what Redis would not",)),
        (Fault.GARBAGE, b"-LOADING Redis is loading the dataset in memory\r\n", ("still loading",)),
        (Fault.GARBAGE, b"-MASTERDOWN Link with MASTER is down\r\n", ("lost its master",)),
        (Fault.GARBAGE, b"-MOVED nonsense\r\n", ()),
        (Fault.GARBAGE, b"-MOVED 1 10.0.0.1:1\r\n", ("write redis+cluster:// in redis.url",)),
        (Fault.GARBAGE, b"-ERR unknown command 'x', with args beginning with: 's3cret'\r\n", ("the command x",)),
        (Fault.GARBAGE, b"-ERR s3cret\r\n", ("the error ERR",)),
        (Fault.GARBAGE, b"-ERR Error running script (call to f_1): @user_script: 1: -OOM no\r\n", ("maxmemory",)),
        (Fault.GARBAGE, b"-ERR max number of clients reached\r\n", ("maxclients",)),
    ],
)
@pytest.mark.parametrize("warm", [True, False])
async def test_each_fault_ends_in_time_and_heals(proxy, fault, garbage, words, warm) -> None:
    seen: list[tuple[str, str]] = []
    observe = lambda call, outcome, _seconds: seen.append((call, outcome))  # noqa: E731
    timeout_s = BRIEF_S if fault is Fault.STALL else 5.0
    async with linked(proxy.url, timeout_s=timeout_s, connect_timeout_s=timeout_s, observe=observe) as link:
        if warm:
            await healed(lambda: believed(link, "first"))
        proxy.set(fault, garbage=garbage)
        for _ in range(3):
            error = await refused(believed(link, "x"), *(words if warm else ()))
            assert "s3cret" not in error.detail
        assert {outcome for call, outcome in seen[-3:]} <= {
            "timeout",
            "unreachable",
            "refused",
            "nonsense",
            "busy",
        }
        proxy.set(Fault.PASS)
        assert await healed(lambda: believed(link, "again")) == b"again"
        assert seen[-1] == ("echo", "ok")


async def test_one_that_is_slow_is_waited_for_until_the_time_is_over(proxy: FaultProxy) -> None:
    async with linked(proxy.url) as link:
        proxy.set(Fault.SLOW)
        assert await said(link, "patience") == b"patience"
        await refused(said(link, "haste", timeout_s=0.01), "no answer in time")


async def test_opening_goes_on_when_the_caller_has_gone(proxy: FaultProxy) -> None:
    async with linked(proxy.url) as link:
        proxy.set(Fault.STALL)
        for _ in range(5):
            error = await refused(said(link, "x", timeout_s=0.01), "no connection in time")
            assert not error.sent
        proxy.set(Fault.PASS)
        assert await said(link, "hello") == b"hello"
        assert proxy.accepted == 1


async def test_whoever_finds_all_connections_in_use_is_told_so(proxy: FaultProxy) -> None:
    async with linked(proxy.url, connections=1) as link:
        assert await said(link, "first") == b"first"
        proxy.set(Fault.STALL)
        long = asyncio.create_task(said(link, "long"))
        await asyncio.sleep(0)
        await refused(said(link, "x", timeout_s=0.01), "all connections are in use")
        proxy.set(Fault.PASS)
        assert await long == b"long"


async def test_what_waits_on_the_server_keeps_nobody_else_waiting(server: RedisServer) -> None:
    async with linked(server.url, connections=1) as link:
        words = ("XREAD", "BLOCK", 60_000, "STREAMS", "never", "0-0")
        waiting = asyncio.create_task(link.call("wait", lambda s: s.command(*words), key=KEY, waiting=True))
        for number in range(3):
            assert await said(link, str(number)) == str(number).encode()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_closing_cuts_calls_under_way_and_nothing_opens_again(proxy: FaultProxy) -> None:
    async with linked(proxy.url) as link:
        assert await said(link, "first") == b"first"
        proxy.set(Fault.STALL)
        call = asyncio.create_task(said(link, "x"))
        await asyncio.sleep(0)
        await link.close()
        await refused(call, "connection was lost")
        await refused(said(link, "y"), "closed")


async def test_a_server_that_ends_and_comes_back(tmp_path) -> None:
    with one() as server:
        async with linked(server.url, timeout_s=1.0) as link:
            await asyncio.gather(*(said(link, str(number)) for number in range(8)))  # several connections
            server.kill()
            await refused(said(link, "x"))
            await refused(said(link, "x"), "Connection refused", server.host)
            server.restart()
            assert await said(link, "again") == b"again"  # no dead connection is lent


async def test_a_stalled_server_costs_each_call_its_time_and_no_more() -> None:
    with one() as server:
        async with linked(server.url, connect_timeout_s=BRIEF_S) as link:
            await said(link, "first")
            server.stall()
            for _ in range(3):
                await refused(said(link, "x", timeout_s=BRIEF_S), "in time")
            server.resume()
            assert await healed(lambda: said(link, "again", timeout_s=1.0)) == b"again"


async def test_cancelling_many_calls_leaves_every_slot_free(proxy: FaultProxy) -> None:
    async with linked(proxy.url, connections=4) as link:
        for _ in range(3):
            proxy.set(Fault.STALL)
            calls = [asyncio.create_task(said(link, str(number))) for number in range(20)]
            await asyncio.sleep(0.01)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            proxy.set(Fault.PASS)
        answers = await asyncio.gather(*(said(link, str(number)) for number in range(20)))
        assert answers == [str(number).encode() for number in range(20)]


async def test_an_error_of_the_work_itself_frees_the_connection(server: RedisServer) -> None:
    async def failing(_session: object) -> None:
        raise RuntimeError("ours")

    async with linked(server.url, connections=1) as link:
        for _ in range(2):
            with contextlib.suppress(RuntimeError):
                await link.call("x", failing, key=KEY)
        assert await said(link, "hello") == b"hello"
