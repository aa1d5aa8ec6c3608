"""Sealing and opening what only we may read: session cookies, and what is kept on a disk.

Law of this file: everything that decides whether a sealed text is ours, and for what it was sealed, lives here. A
text is ``base64url(version | key id | nonce | AES-256-GCM(content))``, bound to what it belongs to, so that it
cannot be moved to another place; the key id picks the one key that may open it, so that keys can be rotated.
"""

import base64
import binascii
import hashlib
import math
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from validator.core.jws import decode_base64url

KEY_BYTES = 32
NONCE_BYTES = 12  # random: NIST SP 800-38D section 8.3 allows 2**32 seals under one key
_VERSION = b"\x01"
_KEY_ID_BYTES = 4
_HEAD_BYTES = len(_VERSION) + _KEY_ID_BYTES + NONCE_BYTES
_TAG_BYTES = 16


class SealError(Exception):
    """A sealed text that no key here opens, or that was sealed for something else; holds none of it."""


class Sealer:
    """The first key seals, all open.

    Args:
        keys: 32 bytes each.
        purpose: what is sealed; another purpose opens nothing of this one.
    """

    def __init__(self, keys: Sequence[bytes], *, purpose: str) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"sealing takes keys of {KEY_BYTES} bytes, at least one")
        self._keys = {_key_id(key): AESGCM(key) for key in reversed(keys)}
        self._first = _key_id(keys[0])
        self._purpose = purpose

    def __repr__(self) -> str:
        return f"Sealer({self._purpose}, {len(self._keys)} keys)"

    def seal(self, content: str, *, bound_to: Sequence[str], nonce: bytes) -> str:
        """``content`` for whoever names the same ``bound_to``. ``nonce``: 12 fresh random bytes, for once."""
        if len(nonce) != NONCE_BYTES:
            raise ValueError(f"a nonce has {NONCE_BYTES} bytes")
        head = _VERSION + self._first + nonce
        sealed = self._keys[self._first].encrypt(nonce, content.encode(), self._bound(head, bound_to))
        return base64.urlsafe_b64encode(head + sealed).rstrip(b"=").decode()

    def open(self, text: str, *, bound_to: Sequence[str]) -> str:
        """Raises ``SealError``."""
        try:
            raw = decode_base64url(text.encode())
        except (ValueError, binascii.Error):
            raise SealError("what was sealed is damaged") from None
        head, sealed = raw[:_HEAD_BYTES], raw[_HEAD_BYTES:]
        key = self._keys.get(head[1 : 1 + _KEY_ID_BYTES])
        if raw[:1] != _VERSION or len(head) != _HEAD_BYTES or key is None:
            raise SealError("it was sealed by a key that is not configured any more")
        try:
            return key.decrypt(head[1 + _KEY_ID_BYTES :], sealed, self._bound(head, bound_to)).decode()
        except InvalidTag:
            raise SealError("what was sealed is damaged, or belongs to something else") from None

    def _bound(self, head: bytes, bound_to: Sequence[str]) -> bytes:
        parts = [part.encode() for part in (self._purpose, *bound_to)]
        return head + b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def sealed_chars(content_bytes: int) -> int:
    """How long the text is that so much content is sealed into."""
    return math.ceil((_HEAD_BYTES + content_bytes + _TAG_BYTES) * 4 / 3)


def derived_key(key: bytes, purpose: str) -> bytes:
    """A key of its own for ``purpose`` out of one for something else (HKDF, RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=purpose.encode()).derive(key)


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"sealing key id" + key).digest()[:_KEY_ID_BYTES]
