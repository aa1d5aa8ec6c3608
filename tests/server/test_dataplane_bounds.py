"""Whatever a peer sends, sends half, does not read or does not close costs the data plane a bounded amount, and
costs the other peers nothing."""

import asyncio
import gc
import json

import pytest
from plane_support import TARGET, bearing, get, until
from structlog.testing import capture_logs

from validator.server.connection import MAX_HEADERS, Connection

BOUND = 4096
KIB = 1024
BODY = b"Transfer-Encoding: chunked"


def head_of(length, name=b"X-Fill"):
    """A request whose head has exactly this length."""
    return get(name + b": " + b"a" * (length - len(get(name + b": "))))


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        pytest.param(head_of(BOUND), 200, id="a head of the bound"),
        pytest.param(head_of(BOUND + 1), 431, id="one octet more"),
        pytest.param(get(target=TARGET + b"?" + b"a" * 3900), 200, id="a long target"),
        pytest.param(get(target=TARGET + b"?" + b"a" * BOUND), 431, id="the target counts"),
        pytest.param(get(target=TARGET + b"?" + b"a" * 8192), 414, id="a target too long"),
        pytest.param(get(*[b"X: y"] * (MAX_HEADERS - 1)), 200, id="many headers"),
        pytest.param(get(*[b"X: y"] * MAX_HEADERS), 431, id="one header more"),
        pytest.param(head_of(100 * KIB), 431, id="one huge header"),
        pytest.param(get(b"a" * 100 * KIB + b": b"), 431, id="one huge name"),
        pytest.param(head_of(BOUND + 100, b"Authorization"), 401, id="a credential beyond the bound"),
        pytest.param(head_of(1024 * KIB, b"AUTHORIZATION"), 401, id="a credential of 1 MiB"),
        pytest.param(get(b"Authorization: a", b"X: " + b"a" * BOUND), 431, id="a credential, then a huge header"),
        pytest.param(get(b"X-Authorization: " + b"a" * BOUND), 431, id="a header of a like name"),
        pytest.param(get(b"X: Authorization: " + b"a" * BOUND), 431, id="a value of a like name"),
        pytest.param(get(b"Content-Length: 2000", body=b"b" * 2000), 200, id="a body of the bound"),
        pytest.param(get(b"Content-Length: 2001", body=b"b" * 2001), 413, id="a body beyond"),
        pytest.param(get(BODY, body=b"1;x=y\r\nb\r\n" * 2000 + b"0\r\n\r\n"), 200, id="chunks of the bound"),
        pytest.param(get(BODY, body=b"1\r\nb\r\n" * 2001 + b"0\r\n\r\n"), 413, id="chunks beyond"),
        pytest.param(get(BODY, body=b"0\r\n" + b"Cookie: aaaa\r\n" * 300), 413, id="trailers beyond"),
        pytest.param(get(BODY, body=b"0\r\nCookie: " + b"a" * 300 * KIB), 431, id="one huge trailer"),
        pytest.param(get(BODY, body=b"1;" + b"a" * 300 * KIB), 431, id="one huge chunk extension"),
    ],
)
async def test_bounds_on_what_is_read(serve, request_, status):
    served = await serve(max_header_bytes=BOUND, max_body_bytes=2000)
    peer = await served.peer()
    answer = await peer.ask(request_)
    assert (answer.status, answer.closes) == (status, status != 200)
    if status == 401:
        assert json.loads(answer.body)["reason"] == "token_malformed"
    if status != 200:
        assert await peer.rest() == b""
        assert served.pipeline.asked == []


class Recorder:
    """A transport without a network: what is written, and nothing else."""

    def __init__(self):
        self.written = b""
        self.closed = False
        self.reading = True

    def write(self, data):
        self.written += data

    def is_closing(self):
        return self.closed

    def can_write_eof(self):
        return False

    def close(self):
        self.closed = True

    abort = close

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True


def fed(served, *pieces):
    """What is answered to these pieces, one after another."""
    connection, transport = Connection(served.plane), Recorder()
    connection.connection_made(transport)
    for piece in pieces:
        connection.data_received(piece)
    connection.connection_lost(None)
    return transport.written


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(get(b"Authorization: Bearer abc", b"Cookie: a=b"), id="a request"),
        pytest.param(bearing(b"a") + get(b"Content-Length: 3", body=b"abc") + bearing(b"b"), id="pipelined"),
        pytest.param(get(BODY, body=b"3\r\nabc\r\n0\r\nX: y\r\n\r\n") + bearing(b"b"), id="chunked"),
        pytest.param(get(b"Content-Length: 1", BODY), id="refused"),
        pytest.param(head_of(512), id="at the bound"),
        pytest.param(head_of(513), id="one beyond"),
        pytest.param(head_of(2048), id="far beyond"),
        pytest.param(head_of(2048, b"Authorization"), id="a credential beyond"),
        pytest.param(get(b"Authorization: a", b"X: " + b"a" * 2048), id="a credential, then beyond"),
        pytest.param(get(b"Upgrade: a", b"Connection: upgrade", b"Content-Length: 1", body=b"a"), id="upgrade"),
    ],
)
async def test_where_the_network_cuts_makes_no_difference(serve, octets):
    served = await serve(max_header_bytes=512)
    whole = fed(served, octets)
    assert whole.startswith(b"HTTP/1.1 ")
    assert fed(served, *(octets[i : i + 1] for i in range(len(octets)))) == whole
    for cut in range(1, len(octets)):
        assert fed(served, octets[:cut], octets[cut:]) == whole, cut


@pytest.mark.parametrize(
    "half",
    [
        pytest.param(b"G", id="one octet"),
        pytest.param(get(b"Authorization: Bearer abc")[:-2], id="a head without its end"),
        pytest.param(get(b"Content-Length: 5", body=b"hell"), id="a body without its end"),
        pytest.param(get(BODY, body=b"5\r\nhello\r\n"), id="chunks without an end"),
    ],
)
async def test_half_a_request_is_408_after_header_timeout_s(serve, half):
    served = await serve(header_timeout_s=10)
    peer = await served.peer()
    assert (await peer.ask(bearing(b"a") + half)).status == 200
    served.plane.sweep()
    served.clock.advance(9.99)
    served.plane.sweep()
    assert not peer.reader._buffer
    served.clock.advance(0.01)
    served.plane.sweep()
    answer = await peer.answer()
    assert (answer.status, answer.closes) == (408, True)
    assert await peer.rest() == b""


async def test_a_trickle_buys_no_time(serve):
    served = await serve(header_timeout_s=10)
    peer = await served.peer()
    await served.connected(1)
    connection = next(iter(served.plane.connections))
    for count, octet in enumerate(get()[:9], 1):
        peer.send(bytes([octet]))
        await until(lambda count=count: len(connection._held) == count)
        served.plane.sweep()
        served.clock.advance(1.25)
    served.plane.sweep()
    assert (await peer.answer()).status == 408


async def test_an_idle_connection_is_closed_after_idle_timeout_s(serve):
    served = await serve(idle_timeout_s=75)
    peer, silent = await served.peer(), await served.peer()
    await served.connected(2)
    await peer.ask(bearing(b"a"))
    for wait in (74.99, 74.99):
        served.plane.sweep()
        served.clock.advance(wait)
        served.plane.sweep()
        assert (await peer.ask(bearing(b"a"))).status == 200  # in use: never idle
    assert await silent.rest() == b""
    await served.connected(1)
    served.plane.sweep()
    served.clock.advance(75)
    served.plane.sweep()
    assert await peer.rest() == b""


async def test_a_connection_that_waits_for_its_answer_is_not_idle(serve):
    served = await serve(idle_timeout_s=75)
    gate = served.pipeline.gate("a")
    peer = await served.peer()
    peer.send(bearing(b"slow a"))
    await served.asked(1)
    for _ in range(5):
        served.plane.sweep()
        served.clock.advance(1000)
    gate.set()
    assert (await peer.answer()).status == 200


async def stuffed(served):
    """A peer that reads nothing, its connection once no more can be written to it, and the requests sent."""
    peer = await served.peer(limit=KIB)
    await served.connected(1)
    connection = next(iter(served.plane.connections))
    sent = 0
    async with asyncio.timeout(5):
        while not connection._write_paused:
            peer.send(b"".join(bearing(b"%d" % turn) for turn in range(sent, sent + 50)))
            sent += 50
            await asyncio.sleep(0.0001)
    return peer, connection, sent


async def test_a_peer_that_does_not_read_is_not_read_from(serve):
    """What waits to be sent stays below a bound, and the connection does not outlive its idle time."""
    served = await serve(idle_timeout_s=75)
    peer, connection, _ = await stuffed(served)
    asked = len(served.pipeline.asked)
    peer.send(bearing(b"a") * 500)
    for _ in range(20):
        await asyncio.sleep(0.001)
        served.plane.sweep()
    assert len(served.pipeline.asked) == asked
    assert connection._transport.get_write_buffer_size() < 4 * KIB * KIB
    served.clock.advance(74.99)
    served.plane.sweep()
    await served.connected(1)
    served.clock.advance(0.01)
    served.plane.sweep()
    await served.connected(0)


async def test_a_peer_that_reads_late_gets_every_answer(serve):
    served = await serve(header_timeout_s=1)
    peer, _, sent = await stuffed(served)
    for _ in range(3):  # a request that was half read when reading stopped is not the peer's delay
        served.clock.advance(2)
        served.plane.sweep()
    for turn in range(sent):
        assert (await peer.answer()).seen == str(turn)


async def test_no_more_than_max_pipelined_requests_wait(serve):
    served = await serve(max_pipelined=4)
    gate = served.pipeline.gate("a")
    peer = await served.peer()
    peer.send(bearing(b"slow a"))
    for turn in range(3):
        await served.asked(turn + 1)
        peer.send(bearing(b"%d" % turn))
    await served.asked(4)
    for turn in range(3, 20):
        peer.send(bearing(b"%d" % turn))
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(served.pipeline.asked) == 4  # the rest is not even read
    gate.set()
    assert [(await peer.answer()).seen for _ in range(21)] == ["slow a", *(str(turn) for turn in range(20))]


async def test_connections_beyond_the_bound_are_told_so(serve):
    served = await serve(max_connections=2)
    kept = [await served.peer() for _ in range(2)]
    await served.connected(2)
    surplus = await served.peer()
    answer = await surplus.answer()
    assert (answer.status, answer.closes, answer.fields["retry-after"]) == (503, True, "1")
    assert await surplus.rest() == b""
    assert (served.plane.refused_connections, len(served.plane.connections)) == (1, 2)
    assert (await kept[0].ask(bearing(b"a"))).status == 200
    kept[1].reset()
    await served.connected(1)
    assert (await (await served.peer()).ask(bearing(b"a"))).status == 200


async def test_a_peer_that_goes_away_takes_its_own_questions_along(serve):
    served = await serve()
    gate = served.pipeline.gate("a")
    gone, stays = await served.peer(), await served.peer()
    with capture_logs() as logs:
        gone.send(bearing(b"slow a") * 3)
        stays.send(bearing(b"slow a"))
        await served.asked(4)
        gone.reset()
        await served.connected(1)
        await until(lambda: len(served.pipeline.cancelled) == 1)  # the two behind it had not begun
        gate.set()
        assert (await stays.answer()).status == 200
    assert logs == []


async def test_a_peer_that_goes_before_its_question_begins_leaves_nothing(serve):
    """Not even a coroutine that was never awaited."""
    served = await serve()
    served.pipeline.gate("a")
    assert fed(served, bearing(b"slow a") + bearing(b"slow a")) == b""
    gc.collect()  # would tell of a coroutine that was never awaited
    assert served.pipeline.cancelled == []


async def test_a_peer_that_closes_its_side_still_gets_its_answers(serve):
    served = await serve()
    gate = served.pipeline.gate("a")
    peer = await served.peer()
    peer.send(bearing(b"b") + bearing(b"slow a") + bearing(b"c") + get()[:10])
    peer.writer.write_eof()
    await served.asked(3)
    gate.set()
    assert [(await peer.answer()).seen for _ in range(3)] == ["b", "slow a", "c"]
    assert await peer.rest() == b""


async def test_a_peer_that_goes_on_sending_after_its_refusal_is_cut(serve):
    served = await serve()
    peer = await served.peer()
    assert (await peer.ask(b"nonsense\r\n\r\n")).status == 400
    async with asyncio.timeout(10):
        while not peer.writer.transport.is_closing():
            peer.send(b"a" * 256 * KIB)
            await asyncio.sleep(0.001)
    await served.connected(0)


@pytest.mark.parametrize("late", [False, True], ids=["sent before", "sent while draining"])
async def test_a_drain_answers_everything_accepted(serve, late):
    served = await serve()
    gate = served.pipeline.gate("a")
    idle, busy, half = [await served.peer() for _ in range(3)]
    busy.send(bearing(b"slow a") + bearing(b"b"))
    request = get(b"Content-Length: 5", body=b"hello")
    half.send(request[:-1])
    await served.asked(2)
    drained = asyncio.create_task(served.plane.drain(10))
    await until(lambda: served.plane.draining)
    if late:
        answer = await idle.ask(bearing(b"c"))
        assert (answer.status, answer.closes) == (200, True)
    assert await idle.rest() == b""
    gate.set()
    assert [(await busy.answer()).seen for _ in range(2)] == ["slow a", "b"]
    assert await busy.rest() == b""
    answer = await half.ask(request[-1:])
    assert (answer.status, answer.closes) == (200, True)
    for peer in (idle, busy, half):
        peer.writer.close()
    await asyncio.wait_for(drained, 5)


async def test_a_drain_ends_in_time_whoever_is_left(serve):
    served = await serve()
    served.pipeline.gate("never")
    peer = await served.peer()
    peer.send(bearing(b"slow never"))
    await served.asked(1)
    await asyncio.wait_for(served.plane.drain(0.01), 5)
    assert await peer.rest() == b""
    await served.connected(0)


async def test_a_replaced_pipeline_judges_the_next_request_of_every_connection(serve):
    served = await serve()
    gate = served.pipeline.gate("a")
    peer = await served.peer()
    peer.send(bearing(b"slow a"))
    await served.asked(1)
    other = type(served.pipeline)()
    served.plane.replace(other, "sid")
    peer.send(get(b"Cookie: __Host-session=old; sid=new"))
    gate.set()
    assert [(await peer.answer()).seen for _ in range(2)] == ["slow a", "none"]
    assert other.asked == [("orders", None, b"new")]
