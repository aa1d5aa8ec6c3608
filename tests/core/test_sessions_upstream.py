"""A cookie carries what the upstream is told, within its room; one from before there was any still opens."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from validator.core.extract import MAX_COOKIE_BYTES
from validator.core.sealing import KEY_BYTES, NONCE_BYTES, Sealer
from validator.core.sessions import MAX_CARRIED_BYTES, KeyRing, SessionRules, begin, fits, renewed
from validator.model import Session

NOW = 1_800_000_000.0
KEY = b"k" * KEY_BYTES
NONCE = bytes(range(NONCE_BYTES))
RING = KeyRing([KEY], bound_to="x")
RULES = SessionRules(900, 86400)


def session(*headers: tuple[str, str]) -> Session:
    return Session("s-1", "plain", "orders", NOW, NOW, NOW + 3600, "t-1", headers)


# Colons, quotes and what Python alone takes for a line break among them.
_values = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=40)
_names = st.from_regex(r"[A-Za-z0-9-]{1,64}", fullmatch=True)


@given(st.lists(st.tuples(_names, _values), max_size=16))
@settings(deadline=None, max_examples=200)
def test_headers_come_out_as_they_went_in(headers: list[tuple[str, str]]) -> None:
    sealed = session(*headers)
    assert RING.open(RING.seal(sealed, NONCE), "plain") == sealed


@pytest.mark.parametrize("value", ["a:b", "a\u2028b", "a\u2029b", ": ", '"\\'], ids=ascii)
def test_no_value_is_taken_for_two(value: str) -> None:
    sealed = session(("X-A", value), ("X-B", "b"))
    assert RING.open(RING.seal(sealed, NONCE), "plain") == sealed


def test_a_cookie_of_before_opens_and_one_without_headers_is_as_before() -> None:
    plain = json.dumps(["s-1", "orders", NOW, NOW, NOW + 3600, "t-1"], separators=(",", ":"))
    old = Sealer([KEY], purpose="session").seal(plain, bound_to=("plain", "x"), nonce=NONCE).encode()
    assert RING.open(old, "plain") == session()
    assert RING.seal(session(), NONCE) == old


def test_a_session_begins_and_goes_on_with_them() -> None:
    headers = (("X-Claim-Tenant", "acme"),)
    opened = begin("s", "plain", "orders", None, now=NOW, ends=NOW + 60, rules=RULES, upstream_headers=headers)
    assert opened.upstream_headers == headers
    assert renewed(opened, NOW + 1).upstream_headers == headers


def test_a_cookie_shows_nothing_of_them() -> None:
    assert b"acme" not in RING.seal(session(("X-Claim-Tenant", "acme")), NONCE)


@pytest.mark.parametrize("unit", ["a", "é", '"'])
def test_the_room_counts_the_bytes_of_all_values(unit: str) -> None:
    size = len(unit.encode())
    half = unit * (MAX_CARRIED_BYTES // size // 2)
    assert fits(session(("X-A", half), ("X-B", half)))
    assert not fits(session(("X-A", half), ("X-B", half), ("X-C", "c")))
    assert fits(session())


@pytest.mark.parametrize("unit", ["a", "é", '"', "\u2028"], ids=ascii)
def test_a_full_cookie_is_one_that_is_taken(unit: str) -> None:
    """The longest names, and as many bytes of values as there is room for, whatever they are made of."""
    each = unit * (MAX_CARRIED_BYTES // 16 // len(unit.encode()))
    headers = [(f"X-{number:02}-".ljust(64, "n"), each) for number in range(16)]
    full = Session("s" * 22, "plain", "c" * 36, NOW, NOW, NOW + 3600, "t" * 36, tuple(headers))
    assert fits(full)
    assert len(RING.seal(full, NONCE)) <= MAX_COOKIE_BYTES


@pytest.mark.parametrize("client_id", ["c" * 256, "é" * 256, "\U0001f600" * 256, "c" * 100], ids=ascii)
@pytest.mark.parametrize("token_id", [None, "t" * 36, "t" * 128, "t" * 4000, "\ud800" * 300, '"' * 90], ids=ascii)
@pytest.mark.parametrize("values", [0, 700, MAX_CARRIED_BYTES])
def test_what_fits_is_taken_back_and_what_does_not_would_not_be(
    client_id: str, token_id: str | None, values: int
) -> None:
    headers = (("X-Claim", "v" * values),) if values else ()
    opened = Session("s" * 22, "plain", client_id, NOW, NOW, NOW + 3600, token_id, headers)
    cookie = RING.seal(opened, NONCE)
    if fits(opened):
        assert len(cookie) <= MAX_COOKIE_BYTES
        assert RING.open(cookie, "plain") == opened
    else:
        assert len(cookie) > MAX_COOKIE_BYTES - 64
