"""TLS of the data plane over real sockets, with asyncio's loop and with the one that the program runs on."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop
from plane_support import TIMEOUT_S, bearing, get, until
from tls_plane_support import GATEWAYS, NAME, OTHERS, OURS, running

from validator.server.tls import TlsFiles


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., None]:
    return running(request.param, tmp_path)


def test_many_requests_over_one_connection(run):
    async def test(served):
        peer = await served.peer()
        for number in range(500):
            answer = await peer.ask(bearing(b"number %d" % number))
            assert (answer.status, answer.seen) == (200, f"number {number}")
        assert len(served.plane.connections) == 1
        assert peer.writer.get_extra_info("ssl_object").version() == "TLSv1.3"

    run(test)


def test_pipelined_requests_are_answered_in_order(run):
    async def test(served):
        peer = await served.peer()
        gate = served.pipeline.gate("first")
        peer.send(bearing(b"slow first") + bearing(b"second"))
        await until(lambda: len(served.pipeline.asked) == 2)
        gate.set()
        assert [(await peer.answer()).seen for _ in range(2)] == ["slow first", "second"]

    run(test)


def test_only_http_1_1_is_offered_and_nothing_before_tls_1_2(run):
    async def test(served):
        context = served.client()
        context.set_alpn_protocols(["h2", "http/1.1"])
        peer = await served.peer(context)
        assert peer.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        context = served.client()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        peer = await served.peer(context)
        assert peer.writer.get_extra_info("ssl_object").version() == "TLSv1.2"
        assert (await peer.ask(get())).status == 200
        files = OURS.issue(NAME).write(served.directory, "other")
        assert TlsFiles(str(files.certificate), str(files.key)).context().minimum_version == ssl.TLSVersion.TLSv1_2

    run(test)


def test_with_a_ca_only_its_clients_are_served(run):
    async def test(served):
        ca = served.directory / "ca.crt"
        ca.write_bytes(GATEWAYS.certificate)
        served.renew(OURS.issue(NAME).write(served.directory, "data"), ca)
        kong = GATEWAYS.issue("kong").write(served.directory, "kong")
        assert (await (await served.peer(served.client(kong))).ask(get())).status == 200
        asked = len(served.pipeline.asked)
        assert await served.is_refused(served.client())
        assert await served.is_refused(served.client(OTHERS.issue("kong").write(served.directory, "stranger")))
        old = served.client()
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        assert await served.is_refused(old)
        assert len(served.pipeline.asked) == asked

    run(test)


def test_another_certificate_is_for_new_connections(run):
    async def test(served):
        before = await served.peer()
        assert (await before.ask(get())).status == 200
        served.renew(OTHERS.issue(NAME).write(served.directory, "next"))
        after = await served.peer(served.client(ca=OTHERS))
        with pytest.raises(ssl.SSLCertVerificationError):
            await served.peer()
        assert (await before.ask(get())).status == 200
        assert (await after.ask(get())).status == 200

    run(test)


def test_no_connection_is_refused_while_certificates_change(run):
    """Each is served by the one before or the one behind, and answered."""

    async def test(served):
        pair = OURS.issue(NAME).write(served.directory, "data")

        async def ask() -> int:
            peer = await served.peer()
            status = (await peer.ask(get())).status
            peer.writer.transport.abort()
            return status

        for _ in range(10):
            asking = [asyncio.ensure_future(ask()) for _ in range(5)]
            await asyncio.sleep(0)
            served.renew(pair)
            assert await asyncio.gather(*asking) == [200] * 5

    run(test)


def test_clear_text_is_hung_up_on(run):
    async def test(served):
        reader, writer = await asyncio.open_connection(*served.address)
        writer.write(bearing(b"any"))
        async with asyncio.timeout(TIMEOUT_S):
            with contextlib.suppress(ConnectionError):
                assert b"HTTP" not in await reader.read()
        writer.close()
        assert served.pipeline.asked == []

    run(test)


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01"], ids=["nothing", "half a hello"])
def test_a_handshake_that_stalls_is_cut(run, sent):
    async def test(served):
        served.renew(OURS.issue(NAME).write(served.directory, "data"), handshake_s=0.05)
        reader, writer = await asyncio.open_connection(*served.address)
        writer.write(sent)
        async with asyncio.timeout(TIMEOUT_S):
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        writer.close()

    run(test)


def test_a_client_that_closes_its_side_ends_the_connection(run, caplog):
    """Also while an answer is due, and without a word of asyncio's in the log."""

    async def test(served):
        peer = await served.peer()
        served.pipeline.gate("never")
        peer.send(bearing(b"slow never"))
        await until(lambda: served.pipeline.asked)
        peer.writer.close()
        await until(lambda: not served.plane.connections)
        await until(lambda: served.pipeline.cancelled)

    run(test)
    assert caplog.records == []


def test_what_is_not_http_is_refused_and_the_connection_closed(run):
    async def test(served):
        peer = await served.peer()
        answer = await peer.ask(b"nothing like it\r\n\r\n")
        assert (answer.status, answer.closes) == (400, True)
        assert await peer.rest() == b""

    run(test)


def test_draining_ends_every_connection(run):
    async def test(served):
        peer = await served.peer()
        await peer.ask(get())
        served.listeners.close()
        await asyncio.wait_for(served.plane.drain(TIMEOUT_S), TIMEOUT_S)
        assert await peer.rest() == b""
        assert not served.plane.connections
        with pytest.raises(ConnectionRefusedError):
            await served.peer()

    run(test)


def test_a_client_that_is_reset_in_its_handshake_harms_nobody(run):
    async def test(served):
        for _ in range(20):
            client = socket.create_connection(served.address)
            client.send(b"\x16\x03\x01\x02\x00\x01")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        assert (await (await served.peer()).ask(get())).status == 200

    run(test)


def replaced(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda directory: (directory / name).write_bytes(content)


@pytest.mark.parametrize(
    ("done", "words"),
    [
        (
            lambda d: OURS.issue(NAME).write(d, "other").key.rename(d / "data.key"),
            "key is not the certificate's",
        ),
        (lambda d: (d / "data.key").unlink(), "No such file"),
        (replaced("data.crt", b"x"), "cannot be used together"),
        (replaced("data.key", b"x"), "cannot be used together"),
        (replaced("ca.crt", b"x"), "client_ca_file cannot be used"),
        (lambda d: (d / "ca.crt").unlink(), "client_ca_file cannot be used: No such file"),
    ],
)
def test_bad_files_give_one_clear_sentence(tmp_path, done, words):
    pair = OURS.issue(NAME).write(tmp_path, "data")
    (tmp_path / "ca.crt").write_bytes(GATEWAYS.certificate)
    files = TlsFiles(str(pair.certificate), str(pair.key), str(tmp_path / "ca.crt"))
    files.context()
    done(tmp_path)
    with pytest.raises(ValueError, match=words):
        files.context()
