"""Requests that differ in nothing but their credential.

Law of this file: a frame is everything of a request but its credential, to the byte, as the parser has read it
once. What comes in the same frame is taken for the same request only if its credential, to the byte, has been
read by the parser and judged before; everything else goes to the parser. So nothing is believed here that was not
checked there, and a frame holds no secret: a request with any other header than a gateway's own makes none.

One other header may differ as well: a ``traceparent`` that comes last, right behind the credential, in its usual
length and of no other characters than it has. It says nothing that an answer depends on.
"""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from validator.pipeline import Pipeline, Route

if TYPE_CHECKING:
    import hashlib

# A route, and the values of Authorization and of the session cookie.
Asked = tuple[Route, bytes | None, bytes | None]

_AUTHORIZATION: Final = b"\r\nAuthorization: "
_AUTHORIZATION_BYTES: Final = len(_AUTHORIZATION)
_END: Final = b"\r\n\r\n"
_TRACED_END: Final = re.compile(rb"\r\ntraceparent: [0-9a-f-]{55}\r\n\r\n")
_TRACED_END_BYTES: Final = len(b"\r\ntraceparent: ") + 55 + len(_END)
# The tail of a frame that was seen with a trace: nothing ends in one of none, so that only for such a frame it is
# looked any further.
_TRACED: Final[tuple[bytes, ...]] = ()
_MAX_KNOWN: Final = 1000  # a gateway has one for each route
_MAX_BYTES: Final = 1024  # of the part before the credential, and of the one behind it
# Nothing behind the service: a gateway may append the path and the query of its own request.
_PLAIN: Final = re.compile(rb"[A-Z]+ /v1/authorize/[^/? ]+/[^/? ]+ HTTP/1\.1")
# What says nothing about the client or its request.
_HARMLESS: Final = re.compile(
    rb"(?:\r\n(?:host|connection|accept|accept-encoding|user-agent|content-length): [^\r\n]*)*", re.IGNORECASE
)


# Whom such requests are for, its seed for this kind of header, and everything behind the credential.
_Frame = tuple[Route, "hashlib._Hash", bytes | tuple[bytes, ...]]  # noqa: SLF001 - its type has no other name


class Frames:
    """The frames seen, by all that stands before the credential and the name of its header.

    Args:
        cookie_name: of the session cookie.
        max_bytes: the bound on a head; what is longer goes to the parser.
        now: seconds since the epoch.
    """

    __slots__ = ("_by_authorization", "_by_cookie", "_cookie", "_max_bytes", "_now", "_pipeline")

    def __init__(
        self, pipeline: Pipeline, cookie_name: bytes, *, max_bytes: int, now: Callable[[], float]
    ) -> None:
        self._pipeline = pipeline
        self._now = now
        self._by_authorization: dict[bytes, _Frame] = {}
        self._by_cookie: dict[bytes, _Frame] = {}
        self._cookie = b"\r\nCookie: " + cookie_name + b"="
        self._max_bytes = max_bytes

    def replay(self, data: bytes) -> bytes | None:
        """The answer to a request that is known but for its credential, and the credential too; ``None`` for the
        parser to read it. ``data`` is what came between two requests of a connection."""
        at = data.find(_AUTHORIZATION)
        if at >= 0:
            frame = self._by_authorization.get(data[:at])
            at += _AUTHORIZATION_BYTES
        else:
            at = data.find(self._cookie)
            if at < 0:
                return None
            frame = self._by_cookie.get(data[:at])
            at += len(self._cookie)
        if frame is None or len(data) > self._max_bytes:
            return None
        route, seed, tail = frame
        if not data.endswith(tail):
            if tail is not _TRACED or not data.endswith(_END):
                return None
            tail = data[-_TRACED_END_BYTES:]
            if _TRACED_END.fullmatch(tail) is None:
                tail = _END
        try:
            digest = seed.copy()
            digest.update(data[at : -len(tail)])
            return self._pipeline.replay(route, digest.digest() + route.name, self._now())
        except Exception:  # noqa: BLE001 - the long way meets it again, and says what it is
            return None

    def forget(self) -> None:
        """Every request goes to the parser until its frame is learnt again."""
        self._by_authorization.clear()
        self._by_cookie.clear()

    def learn(self, data: bytes, asked: Asked | None) -> None:
        """Remembers the frame of the one request that the parser has read from exactly these bytes, if nothing
        about it was out of the ordinary."""
        if asked is None:
            return
        route, authorization, session = asked
        if authorization is not None:
            seed = route.authorization_seed
            self._learn(self._by_authorization, data, _AUTHORIZATION, authorization, route, seed)
        elif session is not None:
            self._learn(self._by_cookie, data, self._cookie, session, route, route.session_seed)

    @staticmethod
    def _learn(
        known: dict[bytes, _Frame],
        data: bytes,
        marker: bytes,
        credential: bytes,
        route: Route,
        seed: "hashlib._Hash",
    ) -> None:
        before, found, behind = data.partition(marker)
        request_line, _, _ = before.partition(b"\r\n")
        tail = behind[len(credential) :]
        if (
            not found
            or not behind.startswith(credential + b"\r\n")
            or not tail.endswith(_END)
            or max(len(before), len(tail)) > _MAX_BYTES
            or not _PLAIN.fullmatch(request_line)
        ):
            return
        traced = _TRACED_END.fullmatch(tail) is not None
        others = before[len(request_line) :] + (b"" if traced else tail.removesuffix(_END))
        if not _HARMLESS.fullmatch(others):
            return
        if len(known) >= _MAX_KNOWN:
            known.clear()
        # Where some requests are traced, the others are found in the same frame.
        traced = traced or (tail == _END and before in known and known[before][2] is _TRACED)
        known[before] = route, seed, _TRACED if traced else tail
