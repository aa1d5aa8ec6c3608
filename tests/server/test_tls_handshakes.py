"""TLS handshakes of the data plane: how many there may be, what is told of those that fail, and how accepting ends
and goes on."""

import asyncio
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop
from plane_support import TIMEOUT_S, Peer, Scripted, get, until
from structlog.testing import capture_logs
from tls_plane_support import GATEWAYS, NAME, OTHERS, OURS, is_cut, running

from validator.server import accepting, tls
from validator.server.dataplane import Bounds, Plane
from validator.server.tls import Listeners
from validator.testing import ManualClock


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., None]:
    return running(request.param, tmp_path)


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01"], ids=["nothing", "half a hello"])
def test_handshakes_count_under_the_bound_on_connections(run, sent):
    async def test(served):
        peer = await served.peer()
        for _ in range(2):
            await served.stall(sent)
        assert (len(served.plane.connections), len(served.plane.arriving)) == (1, 2)
        assert await is_cut(await served.stall(sent))
        assert served.plane.refused_connections == 1
        assert len(served.plane.arriving) == 2
        assert (await peer.ask(get())).status == 200

    run(test, max_connections=3)


def test_connections_are_not_counted_twice(run):
    async def test(served):
        for _ in range(3):
            peers = await asyncio.gather(*(served.peer() for _ in range(3)))
            for peer in peers:
                assert (await peer.ask(get())).status == 200
            assert not served.plane.arriving
            for peer in peers:
                peer.writer.transport.abort()
            await until(lambda: not served.plane.connections)
        assert served.plane.refused_connections == 0

    run(test, max_connections=3)


def test_a_connection_is_counted_once_from_the_moment_it_is_made():
    plane = Plane(Scripted(), "__Host-session", bounds=Bounds(), clock=ManualClock())  # type: ignore[arg-type]
    connection = plane.admit()
    assert (connection is not None, plane.count) == (True, 1)
    connection.connection_made(asyncio.Transport())
    assert (plane.count, plane.connections) == (1, {connection})


def test_a_failed_handshake_gives_its_place_back(run):
    async def test(served):
        for _ in range(5):
            reader = await served.stall(b"GET / HTTP/1.1\r\n\r\n")
            await is_cut(reader)
            await until(lambda: not served.plane.arriving)
        assert (await (await served.peer()).ask(get())).status == 200
        assert served.plane.refused_connections == 0

    run(test, max_connections=1)


def test_handshakes_that_stall_do_not_keep_others_out(run):
    """One that has had its time gives way, the oldest first; one that has just begun does not."""

    async def test(served):
        oldest, younger = await served.stall(), await served.stall()
        served.clock.advance(tls._DISPLACED_AFTER_S - 0.01)
        assert await is_cut(await served.stall())
        served.clock.advance(0.01)
        assert (await (await served.peer()).ask(get())).status == 200
        assert await is_cut(oldest)
        assert served.listeners.failures["displaced"] == 1
        assert not younger.at_eof()
        assert len(served.plane.arriving) == 1
        assert served.plane.refused_connections == 2

    run(test, max_connections=2)


def test_a_connection_is_never_displaced(run):
    async def test(served):
        peer = await served.peer()
        assert (await peer.ask(get())).status == 200
        served.clock.advance(100)
        assert await is_cut(await served.stall())
        assert (await peer.ask(get())).status == 200

    run(test, max_connections=1)


def test_without_descriptors_accepting_pauses_and_goes_on(run, monkeypatch):
    monkeypatch.setattr(accepting, "_PAUSE_S", 0.01)

    async def test(served):
        before = await served.peer()
        served.listener.missing = 2
        with capture_logs() as logs:
            after = await served.peer()
        assert [line["event"] for line in logs] == ["accepting pauses"] * 2
        assert logs[0]["error"] == "Too many open files"
        assert (await after.ask(get())).status == 200
        assert (await before.ask(get())).status == 200

    run(test)


def test_a_pause_ends_with_the_listening(run):
    """The timer must not listen on a socket that is closed, or on another with its number."""

    async def test(served):
        served.listener.missing = 1
        _, writer = await asyncio.open_connection(*served.address)
        await until(lambda: served.listeners._acceptor.paused)
        served.listeners.close()
        assert not served.listeners._acceptor.paused
        writer.close()

    run(test)


def test_failures_are_counted_by_cause_and_told_once_in_a_while(run):
    async def test(served):
        ca = served.directory / "ca.crt"
        ca.write_bytes(GATEWAYS.certificate)
        pair = OURS.issue(NAME).write(served.directory, "data")
        served.renew(pair, ca)
        with capture_logs() as logs:
            for number in range(1, 4):
                assert await served.is_refused(served.client())
                await until(lambda expected=number: served.listeners.failures["tls"] == expected)
            stranger = served.client(OTHERS.issue("kong").write(served.directory, "stranger"))
            served.clock.advance(tls._TOLD_EVERY_S)
            assert await served.is_refused(stranger)
            await until(lambda: served.listeners.failures["tls"] == 4)
            await served.stall()
            served.peers[-1].writer.close()
            await until(lambda: served.listeners.failures["closed"] == 1)
            served.renew(pair, handshake_s=0.05)
            await served.stall()
            await until(lambda: served.listeners.failures["timeout"] == 1)
        assert served.listeners.failures == {"tls": 4, "closed": 1, "timeout": 1, "displaced": 0}
        told = [(line["cause"], line["why"], line["count"]) for line in logs]
        assert [(cause, count) for cause, _, count in told] == [
            ("tls", 1),
            ("tls", 3),
            ("closed", 1),
            ("timeout", 1),
        ]
        assert told[0][1] == "PEER_DID_NOT_RETURN_A_CERTIFICATE"
        assert told[1][1].startswith("CERTIFICATE_VERIFY_FAILED: ")
        assert told[3][1] == "not done within 0.05 s"

    run(test)


def test_what_the_kernel_has_accepted_is_served_when_listening_ends(run, monkeypatch):
    monkeypatch.setattr(tls, "_LAST_HANDSHAKES_S", TIMEOUT_S)

    async def test(served):
        clients = [socket.create_connection(served.address) for _ in range(40)]  # no turn of the loop between
        served.listeners.close()
        assert len(served.plane.arriving) == 40
        for client in clients:
            client.setblocking(False)
        context = served.client()
        async with asyncio.timeout(TIMEOUT_S):
            pairs = [
                await asyncio.open_connection(sock=client, ssl=context, server_hostname=NAME) for client in clients
            ]
            await served.listeners.finish(TIMEOUT_S)
        served.peers += [Peer(*pair) for pair in pairs]
        assert [(await peer.ask(get())).status for peer in served.peers] == [200] * 40

    run(test)


def test_a_handshake_that_stalls_does_not_hold_a_stop_up(run):
    async def test(served):
        reader = await served.stall()
        served.listeners.close()
        await served.listeners.finish(0.01)
        assert await is_cut(reader)
        assert not served.plane.arriving

    run(test)


@pytest.mark.parametrize("run", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_in_clear_the_queue_keeps_its_length(run, monkeypatch):
    monkeypatch.setattr(tls, "BACKLOG", 1)

    async def whole() -> None:
        plane = Plane(Scripted(), "__Host-session", bounds=Bounds(), clock=ManualClock())  # type: ignore[arg-type]
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        listeners = Listeners(plane, [listener])
        await listeners.serve(None, TIMEOUT_S)
        # tcpi_sacked: of a listening socket, the length that its queue may have.
        assert struct.unpack_from("I", listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 28) == (1,)
        listeners.close()

    with asyncio.Runner(loop_factory=run) as runner:
        runner.run(whole())
