"""A sealed text opens for whom it was sealed, by a key that is configured, and says nothing otherwise."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from validator.core.sealing import Sealer, SealError, derived_key

ONE, TWO, THREE = (bytes([number]) * 32 for number in (1, 2, 3))
NONCE = bytes(12)
PLACE = ("plain", "client")
CONTENT = "management-canary"


def sealer(*keys: bytes, purpose: str = "clients") -> Sealer:
    return Sealer(keys or (ONE,), purpose=purpose)


@given(st.text(max_size=200), st.lists(st.text(max_size=20), max_size=4), st.binary(min_size=12, max_size=12))
def test_what_is_sealed_opens_for_the_same(content: str, bound_to: list[str], nonce: bytes) -> None:
    content = content.encode("utf-8", "replace").decode()
    bound_to = [part.encode("utf-8", "replace").decode() for part in bound_to]
    sealed = sealer().seal(content, bound_to=bound_to, nonce=nonce)
    assert sealed.isascii()
    assert sealer().open(sealed, bound_to=bound_to) == content


def test_nothing_of_it_shows() -> None:
    sealed = sealer().seal(CONTENT, bound_to=PLACE, nonce=NONCE)
    raw = base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
    assert CONTENT.encode() not in raw
    assert ONE.hex() not in repr(sealer())
    assert repr(ONE) not in repr(sealer())


@pytest.mark.parametrize(
    "bound_to",
    [("plain", "client2"), ("azure", "client"), ("plainc", "lient"), ("plain",), (), ("plain", "client", "")],
    ids=repr,
)
def test_it_cannot_be_moved(bound_to: tuple[str, ...]) -> None:
    sealed = sealer().seal(CONTENT, bound_to=PLACE, nonce=NONCE)
    with pytest.raises(SealError, match="belongs to something else"):
        sealer().open(sealed, bound_to=bound_to)


def test_another_purpose_opens_nothing() -> None:
    sealed = sealer().seal(CONTENT, bound_to=PLACE, nonce=NONCE)
    with pytest.raises(SealError):
        sealer(purpose="answers").open(sealed, bound_to=PLACE)


def test_keys_are_rotated_by_putting_a_new_one_first() -> None:
    sealed = sealer(ONE).seal(CONTENT, bound_to=PLACE, nonce=NONCE)
    rotated = sealer(TWO, ONE)
    assert rotated.open(sealed, bound_to=PLACE) == CONTENT
    again = rotated.seal(CONTENT, bound_to=PLACE, nonce=NONCE)
    assert sealer(TWO).open(again, bound_to=PLACE) == CONTENT
    for keys in ((TWO,), (THREE, TWO)):
        with pytest.raises(SealError, match="not configured any more"):
            sealer(*keys).open(sealed, bound_to=PLACE)


def test_no_bit_can_be_changed() -> None:
    sealed = sealer().seal(CONTENT, bound_to=PLACE, nonce=NONCE)
    raw = base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
    for position in range(len(raw)):
        changed = bytearray(raw)
        changed[position] ^= 1
        with pytest.raises(SealError):
            sealer().open(base64.urlsafe_b64encode(bytes(changed)).rstrip(b"=").decode(), bound_to=PLACE)


@given(st.text(max_size=100))
def test_no_text_does_anything_else_than_open_or_be_refused(text: str) -> None:
    with pytest.raises(SealError) as caught:
        sealer().open(text, bound_to=PLACE)
    assert not text.strip() or len(text) < 20 or text not in str(caught.value)


@pytest.mark.parametrize("length", range(0, 60, 7))
def test_what_is_cut_off_is_refused(length: int) -> None:
    sealed = sealer().seal(CONTENT, bound_to=PLACE, nonce=NONCE)
    with pytest.raises(SealError):
        sealer().open(sealed[:length], bound_to=PLACE)


@pytest.mark.parametrize("keys", [(), (b"short",), (ONE, b"")], ids=repr)
def test_keys_have_their_length(keys: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Sealer(keys, purpose="clients")


def test_a_nonce_has_its_length() -> None:
    with pytest.raises(ValueError, match="12 bytes"):
        sealer().seal(CONTENT, bound_to=PLACE, nonce=b"short")


def test_a_derived_key_is_another_for_each_purpose() -> None:
    keys = {derived_key(ONE, "clients"), derived_key(ONE, "answers"), derived_key(TWO, "clients"), ONE}
    assert len(keys) == 4
    assert {len(key) for key in keys} == {32}
    assert derived_key(ONE, "clients") == derived_key(ONE, "clients")
