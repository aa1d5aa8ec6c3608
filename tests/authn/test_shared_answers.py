"""What members tell each other opens for nobody else, in no other place, and not beyond its time."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from validator.authn.shared_answers import (
    MAX_TEXT_CHARS,
    Answers,
    FleetSecret,
    Question,
    Refused,
    Unbelievable,
)
from validator.core.sealing import NONCE_BYTES
from validator.model import BearerToken, Method, Proof, Reason
from validator.ports import Slot

NOW = 1_800_000_000.0
OLD, NEW = b"1" * 32, b"2" * 32
SLOT = Slot("tag", "name")
QUESTION = Question(SLOT, Method.CLIENT_CREDENTIALS, "orders", 300.0)
PROOF = Proof("plain", Method.CLIENT_CREDENTIALS, "orders", NOW + 300, NOW + 3600, "jti-1")


def answers(*keys: bytes, strategy: str = "plain", mark: str = "m") -> Answers:
    return Answers(strategy, FleetSecret(keys or (OLD,)), lambda _client_key: mark)


def sealed(answer: Proof | Refused = PROOF, question: Question = QUESTION, **options: Any) -> str:
    text = answers(**options).sealed(question, answer)
    assert text is not None
    return text


def handmade(content: object) -> str:
    """Sealed with the right key, whatever it says."""
    text = content if isinstance(content, str) else json.dumps(content)
    return FleetSecret([OLD]).sealer.seal(text, bound_to=(SLOT.tag, SLOT.name), nonce=b"n" * NONCE_BYTES)


TEXT = st.text(max_size=40)


@given(
    client_id=TEXT,
    token_id=st.none() | TEXT,
    key_id=st.none() | TEXT,
    headers=st.lists(st.tuples(TEXT, TEXT), max_size=3),
    minted=st.none() | st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=40),
    good_s=st.floats(0.001, 300),
)
def test_what_comes_out_is_what_went_in(
    client_id: str,
    token_id: str | None,
    key_id: str | None,
    headers: list[tuple[str, str]],
    minted: str | None,
    good_s: float,
) -> None:
    proof = PROOF._replace(
        method=Method.BEARER,
        client_id=client_id,
        token_id=token_id,
        key_id=key_id,
        good_until=NOW + good_s,
        upstream_headers=tuple(headers),
        minted=None if minted is None else BearerToken(minted.encode()),
    )
    question = Question(SLOT, Method.BEARER, None, 300.0)
    assert answers().opened(question, sealed(proof, question), NOW) == proof


@pytest.mark.parametrize("reason", list(Reason))
def test_a_refusal_says_why_and_until_when(reason: Reason) -> None:
    refused = Refused(reason, NOW + 5)
    assert answers().opened(QUESTION, sealed(refused), NOW + 4.9) == refused
    with pytest.raises(Unbelievable):
        answers().opened(QUESTION, sealed(refused), NOW + 5)


@pytest.mark.parametrize("slot", [Slot("tag", "other"), Slot("other", "name"), Slot("tagn", "ame")])
def test_what_was_moved_opens_nothing(slot: Slot) -> None:
    with pytest.raises(Unbelievable):
        answers().opened(Question(slot, QUESTION.method, "orders", 300.0), sealed(), NOW)


@pytest.mark.parametrize("at", range(0, len(sealed()), 7))
def test_what_was_altered_opens_nothing(at: int) -> None:
    text = sealed()
    altered = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
    with pytest.raises(Unbelievable):
        answers().opened(QUESTION, altered, NOW)


def test_a_member_with_other_keys_opens_nothing() -> None:
    with pytest.raises(Unbelievable):
        answers(NEW).opened(QUESTION, sealed(), NOW)


def test_all_keys_open_and_the_first_one_seals() -> None:
    assert answers(NEW, OLD).opened(QUESTION, sealed(), NOW) == PROOF
    text = answers(NEW, OLD).sealed(QUESTION, PROOF)
    assert text is not None
    assert answers(NEW).opened(QUESTION, text, NOW) == PROOF
    with pytest.raises(Unbelievable):
        answers(OLD).opened(QUESTION, text, NOW)


@pytest.mark.parametrize(
    "proof",
    [
        PROOF._replace(strategy="other"),
        PROOF._replace(method=Method.BEARER),
        PROOF._replace(method=Method.SESSION),
        PROOF._replace(client_id="billing"),
        PROOF._replace(client_id="Orders"),
        PROOF._replace(good_until=NOW),
        PROOF._replace(good_until=NOW - 1),
        PROOF._replace(good_until=float("inf")),
        PROOF._replace(ends_at=float("nan")),
    ],
)
def test_a_proof_of_something_else_is_not_believed(proof: Proof) -> None:
    with pytest.raises(Unbelievable):
        answers().opened(QUESTION, sealed(proof), NOW)


@pytest.mark.parametrize(
    "answer", [PROOF, Refused(Reason.CREDENTIALS_REJECTED, NOW + 5)], ids=["proof", "refused"]
)
def test_what_was_found_out_before_its_client_was_forgotten_is_not_believed(answer: Proof | Refused) -> None:
    with pytest.raises(Unbelievable):
        answers(mark="other").opened(QUESTION, sealed(answer), NOW)


def test_a_proof_that_does_not_stand_here_is_not_believed() -> None:
    question = Question(SLOT, QUESTION.method, "orders", 300.0, still_holds=lambda _: False)
    with pytest.raises(Unbelievable):
        answers().opened(question, sealed(), NOW)


def test_a_guid_is_the_same_in_either_case() -> None:
    guid = "3F0C1C9E-AAAA-4000-8000-00000000000B"
    question = Question(SLOT, QUESTION.method, guid.lower(), 300.0)
    proof = PROOF._replace(client_id=guid)
    assert answers().opened(question, sealed(proof, question), NOW).client_id == guid  # type: ignore[union-attr]


def test_no_clock_that_is_ahead_makes_it_last_longer() -> None:
    ahead = PROOF._replace(good_until=NOW + 9000, ends_at=NOW + 9999)
    found = answers().opened(QUESTION, sealed(ahead), NOW)
    assert isinstance(found, Proof)
    assert (found.good_until, found.ends_at) == (NOW + 300, NOW + 9999)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "no json",
        [],
        {},
        None,
        ["proof", "m"],
        ["proof", "m", []],
        ["proof", "m", None],
        ["proof", "m", ["plain", "client_credentials", "orders", "soon", NOW, None, None, [], None]],
        ["proof", "m", ["plain", "client_credentials", "orders", True, NOW, None, None, [], None]],
        ["proof", "m", ["plain", "nothing", "orders", NOW + 9, NOW + 9, None, None, [], None]],
        ["proof", "m", ["plain", ["x"], "orders", NOW + 9, NOW + 9, None, None, [], None]],
        ["proof", "m", ["plain", "client_credentials", 7, NOW + 9, NOW + 9, None, None, [], None]],
        ["proof", "m", ["plain", "client_credentials", "orders", NOW + 9, NOW + 9, 1, None, [], None]],
        ["proof", "m", ["plain", "client_credentials", "orders", NOW + 9, NOW + 9, None, 1, [], None]],
        ["proof", "m", ["plain", "client_credentials", "orders", NOW + 9, NOW + 9, None, None, [["a"]], None]],
        ["proof", "m", ["plain", "client_credentials", "orders", NOW + 9, NOW + 9, None, None, [["a", 1]], None]],
        ["proof", "m", ["plain", "client_credentials", "orders", NOW + 9, NOW + 9, None, None, [], "é"]],
        ["refused", "m", ["nothing", NOW + 9]],
        ["refused", "m", [["x"], NOW + 9]],
        ["refused", "m", ["credentials_rejected"]],
        ["refused", "m", ["credentials_rejected", "soon"]],
        ["other", "m", ["nothing"]],
    ],
    ids=repr,
)
def test_what_reads_otherwise_is_not_believed(content: object) -> None:
    with pytest.raises(Unbelievable):
        answers().opened(QUESTION, handmade(content), NOW)


def test_what_is_too_long_is_neither_shared_nor_opened() -> None:
    longest = PROOF._replace(upstream_headers=(("x", "v" * (MAX_TEXT_CHARS * 3 // 4)),))
    assert answers().sealed(QUESTION, longest) is None
    with pytest.raises(Unbelievable):
        answers().opened(QUESTION, "A" * (MAX_TEXT_CHARS + 1), NOW)


def test_the_most_that_a_proof_may_carry_is_shared() -> None:
    headers = tuple((f"x-{n}", "\u20ac" * 341) for n in range(16))  # 1 kB each in UTF-8
    proof = PROOF._replace(upstream_headers=headers, minted=BearerToken(b"t" * 8192))
    assert answers().sealed(QUESTION, proof) is not None


def test_names_tell_nothing_and_do_not_run_together() -> None:
    one, other = FleetSecret([OLD]), FleetSecret([NEW])
    names = {one.name(b"ab", b"c"), one.name(b"a", b"bc"), one.name(b"abc"), one.name(b"abc", b"")}
    assert len(names) == 4
    assert one.name(b"ab", b"c") == FleetSecret([OLD, NEW]).name(b"ab", b"c")
    assert other.name(b"ab", b"c") not in names
    assert "1" * 32 not in repr(one)
