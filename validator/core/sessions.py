"""Sealing, opening, idle and absolute ends of session cookies.

Law of this file: everything that decides whether a cookie is a session of ours, and whether it still lasts,
lives here. A cookie is ``base64url(version | key id | nonce | AES-256-GCM(session))``; the key id picks the one
key that may open it, so that the ring can rotate without logging anyone out.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from validator.core.jws import decode_base64url
from validator.errors import Denied
from validator.model import Reason, Session

KEY_BYTES = 32
NONCE_BYTES = 12  # random: NIST SP 800-38D section 8.3 allows 2**32 seals under one key
_VERSION = b"\x01"
_KEY_ID_BYTES = 4
_HEAD_BYTES = len(_VERSION) + _KEY_ID_BYTES + NONCE_BYTES
# A cookie is sealed anew once a tenth of the idle time has passed since it was sealed last: often enough that
# a session in use does not end, seldom enough that the cached answer of a cookie stays its answer.
_RENEW_FRACTION = 0.1


@dataclass(frozen=True, slots=True)
class SessionRules:
    """How long sessions last, in seconds."""

    idle_ttl_s: float
    absolute_ttl_s: float
    outlive_token: bool = False


class KeyRing:
    """The keys of the session cookies: the first seals, all open.

    Args:
        keys: 32 bytes each.
        bound_to: what a session depends on besides its strategy's name: who may vouch for it, and for what.
    """

    def __init__(self, keys: Sequence[bytes], *, bound_to: str = "") -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"a ring is made of keys of {KEY_BYTES} bytes, at least one")
        self._keys = {_key_id(key): AESGCM(key) for key in reversed(keys)}
        self._first = _key_id(keys[0])
        self._bound_to = bound_to

    def _bound(self, head: bytes, strategy: str) -> bytes:
        return b"\0".join((head, strategy.encode(), self._bound_to.encode()))

    def __repr__(self) -> str:
        return f"KeyRing({len(self._keys)} keys)"

    def seal(self, session: Session, nonce: bytes) -> bytes:
        """The cookie's value. ``nonce``: 12 fresh random bytes, never used twice."""
        head = _VERSION + self._first + nonce
        plain = json.dumps(
            [
                session.id,
                session.client_id,
                session.opened_at,
                session.seen_at,
                session.ends_at,
                session.token_id,
            ],
            separators=(",", ":"),
        ).encode()
        sealed = self._keys[self._first].encrypt(nonce, plain, self._bound(head, session.strategy))
        return base64.urlsafe_b64encode(head + sealed).rstrip(b"=")

    def open(self, cookie: bytes, strategy: str) -> Session:
        """The session in a cookie that was sealed for ``strategy`` by a key of this ring.

        Raises:
            Denied: ``session_invalid``.
        """
        try:
            raw = decode_base64url(cookie)
        except (ValueError, binascii.Error):
            raise Denied(Reason.SESSION_INVALID, "the cookie is not one of ours") from None
        head, sealed = raw[:_HEAD_BYTES], raw[_HEAD_BYTES:]
        key = self._keys.get(head[1 : 1 + _KEY_ID_BYTES])
        if raw[:1] != _VERSION or len(head) != _HEAD_BYTES or key is None:
            raise Denied(Reason.SESSION_INVALID, "the cookie was sealed by no key of this ring")
        try:
            plain = key.decrypt(head[1 + _KEY_ID_BYTES :], sealed, self._bound(head, strategy))
        except InvalidTag:
            raise Denied(
                Reason.SESSION_INVALID, "the cookie was altered, or sealed for another strategy"
            ) from None
        identifier, client_id, opened_at, seen_at, ends_at, token_id = json.loads(plain)
        return Session(identifier, strategy, client_id, opened_at, seen_at, ends_at, token_id)


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"session key id" + key).digest()[:_KEY_ID_BYTES]


def begin(
    identifier: str,
    strategy: str,
    client_id: str,
    token_id: str | None,
    *,
    now: float,
    ends: float,
    rules: SessionRules,
) -> Session:
    """A session opened at ``now`` by a credential that itself ends at ``ends``."""
    last = now + rules.absolute_ttl_s
    if not rules.outlive_token:
        last = min(last, ends)
    return Session(identifier, strategy, client_id, now, now, last, token_id)


def last_moment(session: Session, rules: SessionRules) -> float:
    """When the session ends if nothing more happens. The configured absolute bound counts also for sessions
    that were opened under a longer one."""
    return min(session.seen_at + rules.idle_ttl_s, session.ends_at, session.opened_at + rules.absolute_ttl_s)


def check_alive(session: Session, rules: SessionRules, now: float) -> None:
    """Raises:
    Denied: ``session_expired``.
    """
    if now >= last_moment(session, rules):
        idle = now >= session.seen_at + rules.idle_ttl_s
        raise Denied(
            Reason.SESSION_EXPIRED,
            f"session {session.id}: {'unused for too long' if idle else 'its end has come'}",
        )


def renew_at(session: Session, rules: SessionRules) -> float:
    """From when on a request has the cookie sealed anew."""
    return session.seen_at + rules.idle_ttl_s * _RENEW_FRACTION


def renewed(session: Session, now: float) -> Session:
    """The same session, seen at ``now``."""
    return replace(session, seen_at=now)
