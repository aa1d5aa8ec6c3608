"""The board that several processes see, and who goes first by it; the bound on all their connections together."""

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from plane_support import TARGET, TIMEOUT_S, Peer, Scripted, until

from validator.server import accepting
from validator.server.accepting import Acceptor
from validator.server.dataplane import Bounds, Plane
from validator.server.sharing import Board
from validator.server.tls import Listeners
from validator.testing import ManualClock

GET = b"GET %b HTTP/1.1\r\nHost: v\r\n\r\n" % TARGET


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Any], None]:
    def running(test: Any) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(test)

    return running


# The board


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=20))
def test_everybody_sees_what_each_has(held: list[int]) -> None:
    board = Board.create(len(held))
    other = Board(os.dup(board.fd))
    for slot, connections in enumerate(held):
        seat = board.seat(slot)
        seat.accept(True)
        seat.hold(connections)
    assert other.total() == sum(held)
    assert other.fair_share(0) == sum(held) / len(held) + 1
    for slot in range(len(held)):
        other.clear(slot)
    assert board.total() == 0
    other.close()
    board.close()


def test_only_those_that_accept_have_a_share() -> None:
    board = Board.create(3)
    one, two, three = (board.seat(slot) for slot in range(3))
    one.accept(True)
    one.hold(4)
    assert not one.has_more_than_its_share(), "it is alone"
    two.accept(True)
    assert one.has_more_than_its_share()
    two.hold(3)
    assert not one.has_more_than_its_share(), "one more than the mean is no more than its share"
    three.hold(100)
    three.accept(True)
    assert three.has_more_than_its_share()
    three.accept(False)  # it drains
    assert (board.fair_share(0), board.total()) == (4.5, 107)
    board.clear(2)
    assert board.total() == 7
    board.close()


def test_a_slot_that_is_not_there() -> None:
    board = Board.create(2)
    for slot in (-1, 2):
        with pytest.raises(ValueError, match="a board of 2 slots"):
            board.seat(slot)
    board.close()


def test_a_board_is_not_inherited_unasked() -> None:
    board = Board.create(1)
    assert not os.get_inheritable(board.fd)
    board.close()


# Who goes first


class Timers:
    """``loop.call_later`` by hand."""

    def __init__(self) -> None:
        self.set: list[tuple[float, Callable[[], None]]] = []

    def __call__(self, seconds: float, then: Callable[[], None]) -> Any:
        self.set.append((seconds, then))
        return asyncio.get_running_loop().call_soon(lambda: None)

    def fire(self) -> None:
        ((_, then),) = self.set
        self.set.clear()
        then()


class Scene:
    """An acceptor beside another process that has ``others`` connections."""

    def __init__(self, others: int) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.listener.setblocking(False)
        self.address = self.listener.getsockname()
        self.board = Board.create(2)
        self.seat = self.board.seat(0)
        other = self.board.seat(1)
        other.accept(True)
        other.hold(others)
        self.taken: list[socket.socket] = []
        self.clients: list[socket.socket] = []
        self.timers = Timers()
        self.acceptor = Acceptor([self.listener], self.take, seat=self.seat, later=self.timers)

    def take(self, accepted: socket.socket) -> None:
        self.taken.append(accepted)
        self.seat.hold(len(self.taken))

    def connect(self, count: int) -> None:
        """So many more wait in the kernel."""
        self.clients += [socket.create_connection(self.address) for _ in range(count)]

    def close(self) -> None:
        self.acceptor.close(rest=False)
        for one in (*self.taken, *self.clients):
            one.close()
        self.board.close()


def test_who_has_less_than_the_others_takes_at_once(run: Any) -> None:
    async def test() -> None:
        scene = Scene(others=50)
        scene.acceptor.begin()
        scene.connect(20)
        await until(lambda: len(scene.taken) == 20)
        assert not scene.timers.set
        scene.close()

    run(test())


def test_a_burst_is_taken_a_few_at_a_turn(run: Any) -> None:
    """So that the others, who look at the same moment, have something left."""

    async def test() -> None:
        scene = Scene(others=50)
        turns: list[int] = []
        scene.connect(10)
        scene.acceptor.begin()
        while len(scene.taken) < 10:
            before = len(scene.taken)
            await asyncio.sleep(0)
            turns.append(len(scene.taken) - before)
        assert max(turns) == accepting._SHARED_AT_A_TURN
        scene.close()

    run(test())


def test_who_has_more_lets_the_others_go_first_and_then_takes_what_waits(run: Any) -> None:
    async def test() -> None:
        scene = Scene(others=0)
        scene.acceptor.begin()
        scene.connect(30)
        await until(lambda: bool(scene.timers.set))
        assert len(scene.taken) == 4  # the third is one more than its share, and was taken beside the fourth
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(scene.taken) == 4, "it does not look before its time"
        ((seconds, _),) = scene.timers.set
        assert seconds == accepting._WAY_S
        scene.timers.fire()  # and the other has taken none
        assert len(scene.taken) == 4 + accepting._BEHIND_OTHERS
        await until(lambda: bool(scene.timers.set))
        assert len(scene.taken) == 4 + accepting._BEHIND_OTHERS, "again it lets them go first"
        scene.board.seat(1).accept(True)
        scene.board.clear(1)  # it is dead: nobody is to go first
        scene.timers.fire()
        await until(lambda: len(scene.taken) == 30)
        scene.close()

    run(test())


def test_others_may_have_taken_all_meanwhile(run: Any) -> None:
    async def test() -> None:
        scene = Scene(others=0)
        scene.seat.hold(10)
        scene.acceptor.begin()
        scene.connect(1)
        await until(lambda: bool(scene.timers.set))
        other, _ = scene.listener.accept()
        scene.timers.fire()
        assert not scene.taken
        other.close()
        scene.close()

    run(test())


def test_a_stop_while_others_go_first(run: Any) -> None:
    async def test() -> None:
        for rest, taken in ((True, 1), (False, 0)):
            scene = Scene(others=0)
            scene.seat.hold(10)
            scene.acceptor.begin()
            shared = scene.listener.dup()
            scene.connect(1)
            await until(lambda scene=scene: bool(scene.timers.set))
            scene.acceptor.close(rest=rest)
            assert len(scene.taken) == taken
            if not rest:
                accepted, _ = shared.accept()  # it waits for another process
                accepted.close()
            shared.close()
            scene.close()

    run(test())


# The plane and its listeners


async def peer(address: Any) -> Peer:
    async with asyncio.timeout(TIMEOUT_S):
        return Peer(*await asyncio.open_connection(*address))


def test_connections_of_all_processes_are_bounded_together(run: Any) -> None:
    async def test() -> None:
        board = Board.create(2)
        others = board.seat(1)
        others.hold(3)
        bounds = Bounds(max_connections=5)
        plane = Plane(
            Scripted(),  # type: ignore[arg-type]
            "__Host-session",
            bounds=bounds,
            clock=ManualClock(),
            seat=board.seat(0),
        )
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        address = listener.getsockname()
        listeners = Listeners(plane, [listener])
        await listeners.serve(None, TIMEOUT_S)
        one, two = await peer(address), await peer(address)
        assert [(await p.ask(GET)).status for p in (one, two)] == [200, 200]
        assert board.total() == 5
        refused = await peer(address)
        answer = await refused.answer()
        assert (answer.status, answer.closes, await refused.rest()) == (503, True, b"")
        assert (plane.refused_connections, board.total()) == (1, 5)
        others.hold(2)
        three = await peer(address)
        assert (await three.ask(GET)).status == 200
        one.writer.transport.abort()
        await until(lambda: board.total() == 4)
        four = await peer(address)
        assert (await four.ask(GET)).status == 200
        assert (plane.count, plane.refused_connections) == (3, 1)
        for open_one in (two, three, four):
            open_one.writer.transport.abort()
        await until(lambda: board.total() == 2)
        assert not plane.arriving
        listeners.close()
        await listeners.finish(TIMEOUT_S)
        refused.writer.transport.abort()
        board.close()

    run(test())


@pytest.mark.parametrize("alone", [False, True], ids=["among several", "alone"])
def test_what_the_kernel_has_accepted_is_served_when_listening_ends(run: Any, alone: bool) -> None:
    async def test() -> None:
        board = Board.create(1)
        plane = Plane(
            Scripted(),  # type: ignore[arg-type]
            "__Host-session",
            bounds=Bounds(),
            clock=ManualClock(),
            seat=None if alone else board.seat(0),
        )
        listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        listener.setblocking(False)
        address = listener.getsockname()
        listeners = Listeners(plane, [listener])
        await listeners.serve(None, TIMEOUT_S)
        clients = [socket.create_connection(address) for _ in range(40)]  # no turn of the loop between
        listeners.close()
        assert plane.count == 40
        await listeners.finish(TIMEOUT_S)
        assert len(plane.connections) == 40
        for client in clients:
            client.setblocking(False)
        peers = [Peer(*await asyncio.open_connection(sock=client)) for client in clients]
        assert [(await one.ask(GET)).status for one in peers] == [200] * 40
        for one in peers:
            one.writer.transport.abort()
        await until(lambda: plane.count == 0)
        board.close()

    run(test())
