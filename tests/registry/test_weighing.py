"""Which of two records holds, and which are not read at all."""

import pytest
from fake_log import FakeServer, unavailable
from fleet_support import KEY

from validator.core.changes import ApplicationChange, Forgotten, content
from validator.ports import Position, Record
from validator.registry.weighing import read, weighed


def _of(version: int, text: str | None, key: str = "jti\0\0x") -> Record:
    return Record(f"revocation\0{key}", version, text)


@pytest.mark.parametrize(
    ("mine", "theirs", "holds"),
    [
        ((5, "[1.0,100.0]"), (6, "[2.0,50.0]"), (6, "[2.0,100.0]")),  # the later end, and the later word
        ((6, "[2.0,50.0]"), (5, "[1.0,null]"), (6, "[2.0,null]")),
        ((5, "[1.0,50.0]"), (6, "[2.0,100.0]"), (6, "[2.0,100.0]")),
        ((5, None), (6, "[1.0,100.0]"), (6, "[1.0,100.0]")),
        ((7, None), (6, "[1.0,100.0]"), (7, None)),
        ((5, "[1.0,null]"), (6, None), (6, None)),
        ((6, "[1.0,null]"), (6, None), (6, "[1.0,null]")),  # what is closed stays closed
        ((6, None), (6, "[1.0,null]"), (6, "[1.0,null]")),
        ((0, "[1.0,null]"), (6, None), (7, "[1.0,null]")),  # who lifted it could not know of it
    ],
)
def test_of_two_records_of_a_revocation(
    mine: tuple[int, str | None], theirs: tuple[int, str | None], holds: tuple[int, str | None]
) -> None:
    assert weighed(_of(*mine), _of(*theirs)) == _of(*holds)


@pytest.mark.parametrize(
    ("mine", "theirs", "holds"),
    [
        ((5, "[1.0,null]"), (8, None), (9, "[1.0,null]")),  # who lifted it could not know of it
        ((8, "[1.0,null]"), (5, None), (8, "[1.0,null]")),
        ((5, "[1.0,50.0]"), (8, "[2.0,100.0]"), (8, "[2.0,100.0]")),
        ((5, None), (8, "[1.0,null]"), (8, "[1.0,null]")),
    ],
)
def test_of_two_records_of_a_revocation_of_which_nobody_else_knows(
    mine: tuple[int, str | None], theirs: tuple[int, str | None], holds: tuple[int, str | None]
) -> None:
    assert weighed(_of(*mine), _of(*theirs), untold=True) == _of(*holds)


def test_an_application_of_which_nobody_else_knows_holds_against_nothing_newer() -> None:
    mine, theirs = Record(KEY, 5, "{}"), Record(KEY, 6, None)
    assert weighed(mine, theirs, untold=True) is theirs


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("nonsense", "{}"),
        ("revocation\0jti\0\0x", "[NaN,null]"),
        ("revocation\0jti\0\0x", "[0.0,NaN]"),
        ("revocation\0jti\0plain\0x", "[0.0,null]"),
        ("revocation\0elsewhere\0\0x", "[0.0,null]"),
        ("revocation\0client_id\0\0ABCDEF01-0000-4000-8000-000000000001", "[0.0,null]"),
        (KEY, "[" * 100_000),
        (
            KEY,
            '{"name":1,"strategy":"s","client_id":"c","registrations":{},"active":true,"groups":[]}',
        ),
        (KEY, "null "),
        (KEY, '{"name":"\\ud800","strategy":"s","client_id":"c","registrations":{},"active":true,"groups":[]}'),
        (KEY + "\ud800", None),
        ("revocation\0jti\0\0x", f"[1{400 * '0'},null]"),
        ("client\0s\0c", '["c","app-1",{},false,null]'),
        ("client\0s\0c", '[1,"app-1","sealed",false,null]'),
        ("client\0s\0c", f'["c","app-1","sealed",false,1{30 * "0"}]'),
        ("client\0s\0c", '["c","app-1","sealed",false,"now"]'),
        ("forgotten\0\0", None),
        ("forgotten\0\0", '"\\uDFFF"'),
    ],
)
def test_what_makes_no_sense_is_not_read(key: str, text: str | None) -> None:
    if text == "null ":
        assert read(Record(key, 1, text)) == ApplicationChange("app-1", None)
        return
    with pytest.raises(ValueError, match=r"."):
        read(Record(key, 1, text))


def test_times_that_are_written_as_text_are_weighed_all_the_same() -> None:
    assert weighed(_of(5, "[1.0,100.0]"), _of(6, '["2.0","50.0"]')) == _of(6, "[2.0,100.0]")


def test_a_whole_pair_of_surrogates_is_a_character() -> None:
    change = Forgotten("plain", "orders", "\U0001f600")
    assert read(Record(change.key, 1, content(change))) == change


def test_what_makes_sense_is_read() -> None:
    change = Forgotten("plain", "orders", "mark")
    assert read(Record(change.key, 1, content(change))) == change


async def test_the_log_refuses_a_position_that_is_not_the_last(server: FakeServer) -> None:
    """The fake, for all others go by it."""
    assert server.append(None, [("a", "1")], 0) == Position("1-0", server.mark, 1)
    assert server.append(None, [("a", "2")], 0) is None
    assert unavailable().retry_after_s
