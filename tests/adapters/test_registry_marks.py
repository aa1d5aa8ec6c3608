"""What was forgotten is never believed again: not by a mark told twice, not by one that had to be dropped."""

import pytest
from registry_support import RecordingEpoch

from validator.core.changes import Forgotten
from validator.registry import marks
from validator.registry.index import MemoryRegistry
from validator.registry.marks import KEPT_S, Marks
from validator.testing import ManualClock


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def made(clock):
    return Marks(clock)


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(marks, "_MAX_MARKS", 3)


few_only = pytest.mark.usefixtures("few")


class TestMarks:
    def test_nobody_was_forgotten(self, made):
        assert made.of("plain", "c1") == ""

    def test_of_one_client_under_one_strategy(self, made):
        made.add(Forgotten("plain", "c1", "1"))
        assert made.of("plain", "c1") not in ("", made.of("plain", "c2"))
        assert made.of("plain", "c2") == made.of("azure", "c1") == ""

    def test_each_time_another(self, made):
        seen = {made.of("plain", "c1")}
        for number, place in enumerate([("plain", "c1"), (None, None)] * 3):
            made.add(Forgotten(*place, str(number)))
            assert made.of("plain", "c1") not in seen
            seen.add(made.of("plain", "c1"))

    def test_told_once_more_changes_nothing(self, made):
        told = [Forgotten("plain", "c1", "1"), Forgotten(None, None, "2")]
        for one in told:
            made.add(one)
        before = made.of("plain", "c1")
        for one in told:
            made.add(one)
        assert made.of("plain", "c1") == before

    @few_only
    def test_elsewhere_they_are_the_same(self, made, clock):
        for number in range(5):
            made.add(Forgotten("plain", f"c{number}", f"m{number}"))
        made.add(Forgotten(None, None, "all"))
        other = Marks(clock)
        for one in list(made.known()):
            other.add(one)
        assert [other.of("plain", f"c{n}") for n in range(6)] == [made.of("plain", f"c{n}") for n in range(6)]


class TestBounds:
    def test_one_client_is_dropped_after_a_day(self, made, clock):
        made.add(Forgotten("plain", "c1", "1"))
        clock.advance(KEPT_S - 1)
        made.add(Forgotten("plain", "c2", "2"))
        assert made.of("plain", "c1") != ""
        clock.advance(1)
        made.add(Forgotten("plain", "c3", "3"))
        assert (made.of("plain", "c1"), len(list(made.known()))) == ("", 2)

    @few_only
    def test_too_many_make_everybodys_another(self, made):
        seen = {made.of("plain", f"c{number}") for number in range(9)}
        for number in range(4):
            made.add(Forgotten("plain", f"c{number}", f"m{number}"))
            for client in range(4):
                if number in {3, client}:
                    assert made.of("plain", f"c{client}") not in seen
            seen |= {made.of("plain", f"c{client}") for client in range(9)}
        assert made.of("plain", "never") != ""
        assert len(list(made.known())) == 1

    @few_only
    def test_not_undone_by_everybodys_told_once_more(self, made):
        made.add(Forgotten(None, None, "all"))
        before = made.of("plain", "c1")
        for number in range(4):
            made.add(Forgotten("plain", f"c{number}", f"m{number}"))
        made.add(Forgotten(None, None, "all"))
        assert made.of("plain", "c1") != before

    @few_only
    def test_what_is_renewed_is_no_further_one(self, made):
        for number in range(9):
            made.add(Forgotten("plain", "c1", f"m{number}"))
        assert made.of("plain", "never") == ""


def test_the_index_goes_by_them(clock):
    index = MemoryRegistry(clock=clock, epoch=RecordingEpoch(), strategies=["plain"])
    index.load_stored([], [], [Forgotten("plain", "c1", "1")])
    first = index.forgotten_mark("plain", "c1")
    index.apply_changes([Forgotten("plain", "c1", "2")])
    assert len({"", first, index.forgotten_mark("plain", "c1")}) == 3
    assert list(index.stored()) == [Forgotten("plain", "c1", "2")]
