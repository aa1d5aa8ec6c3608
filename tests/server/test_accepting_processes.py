"""Several processes accept from one socket: each gets its share, and whoever hangs or dies holds nobody up."""

import pytest
from accepting_support import Workers

pytestmark = pytest.mark.programs

COUNT = 4


@pytest.mark.parametrize("at_once", [False, True], ids=["one after another", "at once"])
def test_each_gets_its_share(at_once: bool) -> None:
    with Workers(COUNT) as workers:
        shares = workers.spread(400, at_once=at_once)
        assert workers.board is not None
        assert workers.board.total() == 400
    assert sorted(shares) == list(range(COUNT))
    assert all(0.15 <= share / 400 <= 0.35 for share in shares.values()), shares


def test_who_hangs_gets_nobody() -> None:
    """All others have more than their share then, for the one that hangs has nothing: that delays them, and
    whoever connects is served all the same."""
    with Workers(COUNT) as workers:
        workers.freeze(2)
        assert sorted(workers.spread(60, at_once=False)) == [0, 1, 3]
        assert sorted(workers.spread(60, at_once=True)) == [0, 1, 3]


def test_what_waits_is_served_by_whoever_is_left() -> None:
    with Workers(COUNT) as workers:
        for slot in range(COUNT):
            workers.freeze(slot)
        waiting = [workers.connect() for _ in range(20)]
        for slot in range(3):
            workers.kill(slot)
        workers.resume(3)
        assert {workers.ask(client) for client in waiting} == {3}


def test_what_waits_is_served_by_a_successor() -> None:
    with Workers(1) as workers:
        workers.freeze(0)
        waiting = [workers.connect() for _ in range(20)]
        workers.kill(0)
        assert workers.board is not None
        assert workers.board.total() == 0
        workers.replace(0)
        assert {workers.ask(client) for client in waiting} == {0}


def test_a_successor_takes_until_it_has_as_many_as_the_others() -> None:
    with Workers(COUNT) as workers:
        workers.spread(200, at_once=False)
        workers.kill(0)
        workers.replace(0)
        # 70 of the 280 are its share; did nobody let it go first, it would get a quarter of these, which is 32.
        assert workers.spread(130, at_once=False)[0] >= 45
