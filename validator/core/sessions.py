"""Sealing, opening, idle and absolute ends of session cookies.

Law of this file: everything that decides whether a cookie is a session of ours, and whether it still lasts,
lives here. How it is sealed, and how keys rotate without logging anyone out, is ``sealing``'s.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from validator.core.extract import MAX_COOKIE_BYTES
from validator.core.sealing import Sealer, SealError, sealed_chars
from validator.errors import Denied
from validator.model import Reason, Session, UpstreamHeaders

# A cookie is sealed anew once a tenth of the idle time has passed since it was sealed last: often enough that
# a session in use does not end, seldom enough that the cached answer of a cookie stays its answer.
_RENEW_FRACTION = 0.1
# Of all values for the upstream together: with them, and the names before them, a cookie stays below what browsers
# keep (RFC 6265 section 6.1).
MAX_CARRIED_BYTES = 1500
_SURELY_FITTING_CHARS = 200  # of client id and token id, of which JSON makes six or twelve bytes each at the most
_SLACK_CHARS = 32  # the times in a session get no shorter when it is renewed


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
        self._sealer = Sealer(keys, purpose="session")
        self._bound_to = bound_to

    def __repr__(self) -> str:
        return f"KeyRing({self._sealer!r})"

    def seal(self, session: Session, nonce: bytes) -> bytes:
        """The cookie's value. ``nonce``: 12 fresh random bytes, never used twice."""
        bound_to = (session.strategy, self._bound_to)
        return self._sealer.seal(_plain(session), bound_to=bound_to, nonce=nonce).encode()

    def open(self, cookie: bytes, strategy: str) -> Session:
        """The session in a cookie that was sealed for ``strategy`` by a key of this ring.

        Raises:
            Denied: ``session_invalid``.
        """
        try:
            plain = self._sealer.open(cookie.decode("ascii", "replace"), bound_to=(strategy, self._bound_to))
        except SealError as error:
            raise Denied(Reason.SESSION_INVALID, f"no cookie of this strategy's: {error}") from None
        first, *lines = plain.split("\n")
        identifier, client_id, opened_at, seen_at, ends_at, token_id = json.loads(first)
        session = Session(identifier, strategy, client_id, opened_at, seen_at, ends_at, token_id)
        if not lines:
            return session
        carried = (line.partition(":") for line in lines)
        return replace(session, upstream_headers=tuple((name, value) for name, _, value in carried))


def _plain(session: Session) -> str:
    first = [
        session.id,
        session.client_id,
        session.opened_at,
        session.seen_at,
        session.ends_at,
        session.token_id,
    ]
    plain = json.dumps(first, separators=(",", ":"))
    if session.upstream_headers:  # one line each below the first: no value has a line break, no name a colon
        plain = "\n".join((plain, *(f"{name}:{value}" for name, value in session.upstream_headers)))
    return plain


def fits(session: Session) -> bool:
    """Whether the session can be sealed into a cookie that browsers keep and that is taken back here, with no more
    of it spent on the upstream's headers than they may have."""
    ids = len(session.client_id) + len(session.token_id or "")
    if not session.upstream_headers and ids <= _SURELY_FITTING_CHARS:
        return True
    if sum(len(value.encode()) for _, value in session.upstream_headers) > MAX_CARRIED_BYTES:
        return False
    return sealed_chars(len(_plain(session).encode())) <= MAX_COOKIE_BYTES - _SLACK_CHARS


def begin(
    identifier: str,
    strategy: str,
    client_id: str,
    token_id: str | None,
    *,
    now: float,
    ends: float,
    rules: SessionRules,
    upstream_headers: UpstreamHeaders = (),
) -> Session:
    """A session opened at ``now`` by a credential that itself ends at ``ends``."""
    last = now + rules.absolute_ttl_s
    if not rules.outlive_token:
        last = min(last, ends)
    return Session(identifier, strategy, client_id, now, now, last, token_id, upstream_headers)


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
