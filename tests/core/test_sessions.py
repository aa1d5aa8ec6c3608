"""A session cookie is ours to the last bit or it is nothing, and it lasts no moment longer than its rules say."""

import base64
import dataclasses

import pytest
from core_support import refused
from hypothesis import given, settings
from hypothesis import strategies as st

from validator.core.sealing import KEY_BYTES, NONCE_BYTES
from validator.core.sessions import (
    KeyRing,
    SessionRules,
    begin,
    check_alive,
    last_moment,
    renew_at,
    renewed,
)
from validator.model import Reason, Session

NOW = 1_800_000_000.0
EPSILON = 1e-3
OLD, NEW, FOREIGN = b"o" * KEY_BYTES, b"n" * KEY_BYTES, b"f" * KEY_BYTES
NONCE = bytes(range(NONCE_BYTES))
RULES = SessionRules(idle_ttl_s=900, absolute_ttl_s=86400)
RING = KeyRing([NEW, OLD])
SESSION = Session("s-1", "plain", "orders", NOW, NOW + 5, NOW + 3600, "t-1")
COOKIE = RING.seal(SESSION, NONCE)


def test_what_is_sealed_opens_to_the_same_session() -> None:
    assert RING.open(COOKIE, "plain") == SESSION


@given(st.text(), st.text(), st.none() | st.text(), st.text(st.characters(exclude_categories=("Cs",))))
@settings(deadline=None, max_examples=200)
def test_any_session_survives_its_cookie(identifier: str, client: str, token: str | None, strategy: str) -> None:
    session = Session(identifier, strategy, client, NOW, NOW + 0.25, NOW + 1 / 3, token)
    assert RING.open(RING.seal(session, NONCE), strategy) == session


def test_a_cookie_is_made_of_characters_that_a_cookie_may_hold_and_shows_nothing() -> None:
    assert all(chr(byte).isalnum() or byte in b"-_" for byte in COOKIE)
    raw = base64.urlsafe_b64decode(COOKIE + b"=" * (-len(COOKIE) % 4))
    for fact in (b"orders", b"plain", b"s-1", b"t-1"):
        assert fact not in COOKIE
        assert fact not in raw


def test_the_nonce_is_the_only_thing_that_two_cookies_of_one_session_differ_by() -> None:
    assert RING.seal(SESSION, NONCE) == COOKIE
    assert RING.seal(SESSION, bytes(NONCE_BYTES)) != COOKIE


@pytest.mark.parametrize("length", range(3), ids="client-{}".format)
def test_every_bit_of_a_cookie_counts(length: int) -> None:
    """Of the bytes that are sealed, and of the text that is sent, at each length that base64url can end with."""
    session = dataclasses.replace(SESSION, client_id="c" * (length + 1))
    cookie = RING.seal(session, NONCE)
    raw = base64.urlsafe_b64decode(cookie + b"=" * (-len(cookie) % 4))
    for position in range(len(raw)):
        for bit in range(8):
            altered = bytearray(raw)
            altered[position] ^= 1 << bit
            with refused(Reason.SESSION_INVALID):
                RING.open(base64.urlsafe_b64encode(altered).rstrip(b"="), "plain")
    for position in range(len(cookie)):
        for other in set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/") - {
            cookie[position]
        }:
            with refused(Reason.SESSION_INVALID):
                RING.open(cookie[:position] + bytes([other]) + cookie[position + 1 :], "plain")


@given(st.binary(max_size=150))
@settings(deadline=None, max_examples=500)
def test_arbitrary_bytes_are_no_session(cookie: bytes) -> None:
    with refused(Reason.SESSION_INVALID):
        RING.open(cookie, "plain")


@given(st.integers(0, len(COOKIE)), st.integers(0, len(COOKIE)), st.binary(max_size=8))
@settings(deadline=None, max_examples=500)
def test_a_cookie_with_a_piece_replaced_is_no_session(start: int, end: int, piece: bytes) -> None:
    altered = COOKIE[:start] + piece + COOKIE[end:]
    if altered != COOKIE:
        with refused(Reason.SESSION_INVALID):
            RING.open(altered, "plain")


def headed(version: bytes, *, keep: int | None = None) -> bytes:
    raw = version + base64.urlsafe_b64decode(COOKIE + b"=" * (-len(COOKIE) % 4))[1:]
    return base64.urlsafe_b64encode(raw[:keep]).rstrip(b"=")


@pytest.mark.parametrize(
    "cookie",
    [
        pytest.param(b"", id="empty"),
        pytest.param(headed(b"\x00"), id="version-0"),
        pytest.param(headed(b"\x02"), id="version-2"),
        *(pytest.param(headed(b"\x01", keep=size), id=f"cut-to-{size}") for size in (1, 4, 5, 16, 17, 18, 32, 33)),
        pytest.param(COOKIE + b"=", id="padded"),
        pytest.param(COOKIE + b"\n", id="line-break"),
        pytest.param(b'"' + COOKIE + b'"', id="quoted"),
        pytest.param(COOKIE + COOKIE, id="twice"),
        pytest.param(b"not-a-session", id="a-word"),
        pytest.param(b"\xff\xfe", id="not-ascii"),
    ],
)
def test_what_is_not_of_our_shape_is_no_session(cookie: bytes) -> None:
    with refused(Reason.SESSION_INVALID):
        RING.open(cookie, "plain")


def test_what_belongs_to_another_strategy_is_no_session() -> None:
    for strategy in ("other", "plai", "plain2", "PLAIN", ""):
        with refused(Reason.SESSION_INVALID):
            RING.open(COOKIE, strategy)


@pytest.mark.parametrize(
    ("sealing", "opening", "opens"),
    [
        pytest.param([OLD], [OLD], True, id="one-key"),
        pytest.param([OLD], [NEW, OLD], True, id="rotated"),
        pytest.param([OLD], [NEW, FOREIGN, OLD], True, id="rotated-twice"),
        pytest.param([NEW, OLD], [NEW], True, id="the-first-seals"),
        pytest.param([NEW, OLD], [OLD], False, id="the-second-does-not-seal"),
        pytest.param([NEW, OLD], [OLD, NEW], True, id="sealed-ahead-of-the-others'-rotation"),
        pytest.param([OLD], [NEW], False, id="retired"),
        pytest.param([FOREIGN], [NEW, OLD], False, id="a-stranger's"),
        pytest.param([OLD, OLD], [OLD], True, id="a-key-given-twice"),
    ],
)
def test_the_first_key_seals_and_all_open(sealing: list[bytes], opening: list[bytes], opens: bool) -> None:
    cookie = KeyRing(sealing).seal(SESSION, NONCE)
    if opens:
        assert KeyRing(opening).open(cookie, "plain") == SESSION
    else:
        with refused(Reason.SESSION_INVALID):
            KeyRing(opening).open(cookie, "plain")


@pytest.mark.parametrize(
    ("sealed_for", "opened_for"),
    [
        pytest.param(("plain", "https://a.example"), ("plain", "https://b.example"), id="another-issuer"),
        pytest.param(("plain", "https://a.example"), ("plain", ""), id="no-issuer"),
        pytest.param(("plain", "x"), ("plainx", ""), id="the-border-between-them-moved"),
        pytest.param(("pl", "ainx"), ("plain", "x"), id="moved-the-other-way"),
    ],
)
def test_what_another_issuer_vouched_for_is_no_session(
    sealed_for: tuple[str, str], opened_for: tuple[str, str]
) -> None:
    """A strategy of the same name that was pointed at another issuer starts without sessions."""
    session = dataclasses.replace(SESSION, strategy=sealed_for[0])
    cookie = KeyRing([NEW], bound_to=sealed_for[1]).seal(session, NONCE)
    assert KeyRing([NEW], bound_to=sealed_for[1]).open(cookie, sealed_for[0]) == session
    with refused(Reason.SESSION_INVALID):
        KeyRing([NEW], bound_to=opened_for[1]).open(cookie, opened_for[0])


@pytest.mark.parametrize("keys", [[], [b""], [b"k" * 31], [b"k" * 33], [NEW, b"k" * 16]])
def test_a_ring_of_no_keys_or_of_wrong_ones_is_refused(keys: list[bytes]) -> None:
    with pytest.raises(ValueError, match="32 bytes") as caught:
        KeyRing(keys)
    assert "kkk" not in str(caught.value)


def test_a_ring_shows_no_key() -> None:
    assert repr(RING) == "KeyRing(Sealer(session, 2 keys))"


@pytest.mark.parametrize(
    ("rules", "token_ends", "ends"),
    [
        pytest.param(RULES, NOW + 3600, NOW + 3600, id="with-the-token"),
        pytest.param(RULES, NOW + 86401, NOW + 86400, id="at-the-absolute-bound"),
        pytest.param(
            SessionRules(900, 86400, outlive_token=True), NOW + 60, NOW + 86400, id="outliving-the-token"
        ),
    ],
)
def test_a_session_ends_with_its_token_or_at_the_absolute_bound(
    rules: SessionRules, token_ends: float, ends: float
) -> None:
    session = begin("s-1", "plain", "orders", "t-1", now=NOW, ends=token_ends, rules=rules)
    assert session == Session("s-1", "plain", "orders", NOW, NOW, ends, "t-1")


ALIVE = {
    "idle": (NOW, NOW + 86400, NOW + 900, "unused"),
    "seen-later": (NOW + 500, NOW + 86400, NOW + 1400, "unused"),
    "absolute": (NOW + 3000, NOW + 3600, NOW + 3600, "end has come"),
    "absolute-bound-lowered-since": (NOW + 86000, NOW + 999_999, NOW + 86400, "end has come"),
}


@pytest.mark.parametrize(("seen_at", "ends_at", "end", "words"), ALIVE.values(), ids=ALIVE)
def test_a_session_lives_up_to_its_end_and_not_at_it(
    seen_at: float, ends_at: float, end: float, words: str
) -> None:
    session = dataclasses.replace(SESSION, seen_at=seen_at, ends_at=ends_at)
    assert last_moment(session, RULES) == end
    check_alive(session, RULES, end - EPSILON)
    for moment in (end, end + EPSILON, end + 1e6):
        with refused(Reason.SESSION_EXPIRED):
            check_alive(session, RULES, moment)
    with refused(Reason.SESSION_EXPIRED, "s-1", words):
        check_alive(session, RULES, end)


def test_renewal_is_due_after_a_tenth_of_the_idle_time() -> None:
    assert renew_at(SESSION, RULES) == SESSION.seen_at + 90


def test_renewal_moves_the_idle_end_and_never_the_absolute_one() -> None:
    session = begin("s-1", "plain", "orders", None, now=NOW, ends=NOW + 1000, rules=RULES)
    assert last_moment(session, RULES) == NOW + 900
    later = renewed(session, NOW + 500)
    assert dataclasses.replace(later, seen_at=session.seen_at) == session
    assert last_moment(later, RULES) == NOW + 1000
    assert last_moment(renewed(later, NOW + 999), RULES) == NOW + 1000
    with refused(Reason.SESSION_EXPIRED):
        check_alive(renewed(later, NOW + 999), RULES, NOW + 1000)


@given(st.lists(st.floats(0, 2000), max_size=10))
@settings(deadline=None, max_examples=200)
def test_no_chain_of_renewals_outlives_the_absolute_end(steps: list[float]) -> None:
    session, now = begin("s-1", "plain", "orders", None, now=NOW, ends=NOW + 5000, rules=RULES), NOW
    for step in steps:
        now += step
        if now >= last_moment(session, RULES):
            break
        session = renewed(session, now)
    assert last_moment(session, RULES) <= NOW + 5000
