"""A cookie speaks for whom it was sealed for, under one strategy, until it is idle or its end has come."""

import base64

import pytest

from validator.authn.session import SessionAuthenticator
from validator.core.sessions import KeyRing, SessionRules
from validator.errors import Denied
from validator.model import Method, Reason, Session, SessionCookie

NOW = 1_800_000_000.0
OLD_KEY, NEW_KEY, FOREIGN_KEY = (bytes([number]) * 32 for number in (1, 2, 3))
RULES = SessionRules(idle_ttl_s=900, absolute_ttl_s=86400)
NONCE = bytes(12)


def sealed(key: bytes = NEW_KEY, strategy: str = "plain", opened_s: float = 0, seen_s: float = 0) -> bytes:
    """The cookie of a session, opened and seen so many seconds after ``NOW``; its end is a day after ``NOW``."""
    session = Session("s-1", strategy, "orders", NOW + opened_s, NOW + seen_s, NOW + 86400, "jti-1")
    return KeyRing([key]).seal(session, NONCE)


def authenticator(*keys: bytes, strategy: str = "plain", rules: SessionRules = RULES) -> SessionAuthenticator:
    return SessionAuthenticator(strategy, KeyRing(keys or (NEW_KEY, OLD_KEY)), rules)


def refusal(cookie: bytes, judge: SessionAuthenticator, after_s: float = 1) -> Reason:
    with pytest.raises(Denied) as caught:
        judge.prove_now(SessionCookie(cookie), NOW + after_s)
    return caught.value.reason


def flipped(cookie: bytes, bit: int) -> bytes:
    raw = bytearray(base64.urlsafe_b64decode(cookie + b"=" * (-len(cookie) % 4)))
    raw[bit // 8] ^= 1 << bit % 8
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


@pytest.mark.parametrize("key", [NEW_KEY, OLD_KEY], ids=["the first key", "an older key"])
def test_a_cookie_of_any_key_of_the_ring_speaks_for_its_client(key: bytes) -> None:
    judge = authenticator()
    proof = judge.prove_now(SessionCookie(sealed(key)), NOW + 1)
    assert (proof.strategy, proof.method, proof.client_id) == ("plain", Method.SESSION, "orders")
    assert proof.session is not None
    assert (proof.session.id, proof.session.token_id) == ("s-1", "jti-1")
    assert (proof.token_id, proof.opens) == (None, None)
    assert judge.still_holds(proof)


@pytest.mark.parametrize("key", [FOREIGN_KEY, OLD_KEY], ids=["foreign", "retired"])
def test_a_cookie_of_a_key_outside_the_ring_is_invalid(key: bytes) -> None:
    assert refusal(sealed(key), authenticator(NEW_KEY)) is Reason.SESSION_INVALID


def test_a_cookie_of_another_strategy_is_invalid() -> None:
    assert refusal(sealed(strategy="other"), authenticator()) is Reason.SESSION_INVALID


def test_a_cookie_with_any_one_bit_flipped_is_invalid() -> None:
    cookie = sealed()
    judge = authenticator()
    for bit in range(len(base64.urlsafe_b64decode(cookie + b"=" * (-len(cookie) % 4))) * 8):
        assert refusal(flipped(cookie, bit), judge) is Reason.SESSION_INVALID, bit


@pytest.mark.parametrize(
    "cookie",
    [b"x", b"a" * 100, b"=", b"\xff", sealed()[:-4], sealed() + b"AAAA", sealed() + b"=", b" " + sealed(), b"AQ"],
    ids=["short", "no head", "padding", "bytes", "cut", "longer", "padded", "spaced", "one byte"],
)
def test_what_is_no_cookie_of_ours_is_invalid(cookie: bytes) -> None:
    assert refusal(cookie, authenticator()) is Reason.SESSION_INVALID


@pytest.mark.parametrize(
    ("seen_s", "rules", "lasts_s"),
    [
        (0, RULES, 900),
        (86000, RULES, 86400),
        (0, SessionRules(idle_ttl_s=900, absolute_ttl_s=600), 600),
    ],
    ids=["idle", "its end", "the bound was lowered since"],
)
def test_it_ends_to_the_moment(seen_s: float, rules: SessionRules, lasts_s: float) -> None:
    judge = authenticator(rules=rules)
    cookie = sealed(seen_s=seen_s)
    proof = judge.prove_now(SessionCookie(cookie), NOW + lasts_s - 0.001)
    assert proof.good_until == proof.ends_at == NOW + lasts_s
    assert refusal(cookie, judge, lasts_s) is Reason.SESSION_EXPIRED
