"""Decision -> the bytes on the wire.

Law of this file: everything that a gateway reads in an answer is written here (RFC 9110, RFC 9457, and for the
challenges RFC 6750 section 3 and RFC 7617 section 2). What a client is told in words depends on the status
alone. No Date is sent: whoever receives an answer without one takes the time of receipt (RFC 9110 section
6.6.1), which is what ``max-age`` is meant to count from.
"""

import json
import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from validator.model import Application, Method, Proof, Reason

_PHRASES: Final = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    408: "Request Timeout",
    413: "Content Too Large",
    414: "URI Too Long",
    417: "Expectation Failed",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}
_SENTENCES: Final = {
    401: "A valid credential is required.",
    403: "The application is not allowed to call this service.",
    404: "The gateway asked for something that is not configured here.",
    429: "Too many failed tries for this client; try again later.",
    503: "The credential cannot be judged at the moment; try again later.",
}
MAX_AGE_S: Final = 3600  # the longest decision_ttl_s that can be configured
_CACHE_CONTROL_NAME: Final = b"Cache-Control: "
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
# By the whole seconds for which a gateway may reuse an answer: the header's value.
CACHE_CONTROL: Final = (b"no-store", *(b"private, max-age=%d" % left for left in range(1, MAX_AGE_S + 1)))
# The same of an answer that holds a token (RFC 6749 section 5.1): only we may give it again.
NO_STORE: Final = (b"no-store",) * (MAX_AGE_S + 1)
_END: Final = b"\r\n\r\n"


@dataclass(frozen=True, slots=True, repr=False)
class Rendered:
    """An answer but for the one thing in it that changes with time: ``head``, then ``Cache-Control``'s value,
    then ``rest``, which is the empty line and the body.

    Attributes:
        cache_control: that value by the seconds left; ``CACHE_CONTROL`` or ``NO_STORE``.
    """

    head: bytes
    rest: bytes = _END
    cache_control: tuple[bytes, ...] = CACHE_CONTROL

    def __repr__(self) -> str:
        return f"Rendered({self.head[:12]!r}, <headers and body redacted>)"

    def wire(self, left_s: float, *, without_body: bool = False, connection: bytes = b"") -> bytes:
        """The whole answer.

        Args:
            left_s: seconds for which a gateway may reuse it; below one: not at all.
            without_body: for HEAD (RFC 9110 section 9.3.2).
            connection: ``close`` or ``keep-alive`` where HTTP/1.1's default does not hold.
        """
        option = b"\r\nConnection: " + connection if connection else b""
        left = int(min(left_s, MAX_AGE_S)) if left_s >= 1 else 0
        return self.head + self.cache_control[left] + option + (_END if without_body else self.rest)


def facts(application: Application, method: Method) -> bytes:
    """How every 200 begins: with what the upstream is told about the application.

    Raises:
        ValueError: a fact holds a control character and cannot stand in a header.
    """
    groups = b"X-Application-Groups: %b\r\n" % _value(", ".join(application.groups)) if application.groups else b""
    return (
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Application-Id: %b\r\nX-Application-Name: %b\r\n"
        b"X-Credential-Identifier: %b\r\nX-Auth-Method: %b\r\n"
        % (
            _value(application.id),
            _value(application.name),
            _value(application.client_id),
            method.value.encode(),
        )
        + groups
    )


def proof_lines(proof: Proof) -> bytes:
    """What the upstream is told of this very credential, behind the facts: claims, and the minted token.

    Raises:
        ValueError: as ``facts``.
    """
    lines = b"".join(b"%b: %b\r\n" % (_value(name), _value(value)) for name, value in proof.upstream_headers)
    if proof.minted is not None:
        lines += b"X-Access-Token: %b\r\n" % _value(proof.minted.token.decode())
    return lines


def allowed(
    told: bytes, *, session: bytes = b"", set_cookie: bytes | None = None, holds_token: bool = False
) -> Rendered:
    """200.

    Args:
        told: see ``facts`` and ``proof_lines``.
        session: see ``session_line``.
        holds_token: whether ``told`` has the minted token, so that no gateway may keep the answer.
    """
    cookie = b"" if set_cookie is None else b"Set-Cookie: " + set_cookie + b"\r\n"
    head = told + session + cookie + _CACHE_CONTROL_NAME
    return Rendered(head, cache_control=NO_STORE) if holds_token else Rendered(head)


def session_line(session_id: str) -> bytes:
    """The header that names the session, so that it can be revoked.

    Raises:
        ValueError: as ``facts``.
    """
    return b"X-Session-Id: " + _value(session_id) + b"\r\n"


def refused(reason: Reason, *, challenge: bytes = b"", retry_after_s: float | None = None) -> Rendered:
    """Everything but 200, as a problem document with the member ``reason``."""
    return _problem(reason.status, reason.value, challenge, retry_after_s)


def bad_request(status: int) -> Rendered:
    """What is not a request that could be judged: 400, 408, 413, 414, 417 or 431."""
    return _problem(status, None, b"", None)


def challenge(methods: Collection[Method], strategy: str, reason: Reason, presented: Method | None) -> bytes:
    """``WWW-Authenticate``: one challenge for each method that is on, in one field.

    RFC 6750 section 3.1: no ``error`` where no credential came; one in the Bearer challenge where a token did.
    """
    parts: list[str] = []
    realm = strategy.replace("\\", "").replace('"', "")
    if Method.BEARER in methods:
        error = reason.oauth_error if presented is not Method.CLIENT_CREDENTIALS else ""
        if presented is Method.SESSION:
            error = ""
        parts.append(f'Bearer realm="{realm}"' + (f', error="{error}"' if error else ""))
    if Method.CLIENT_CREDENTIALS in methods:
        parts.append(f'Basic realm="{realm}", charset="UTF-8"')
    return ", ".join(parts).encode()


def set_cookie(name: str, value: bytes) -> bytes:
    """RFC 6265 section 4.1; without ``Max-Age``, since the seal itself says when it ends."""
    return name.encode() + b"=" + value + b"; Path=/; Secure; HttpOnly; SameSite=Lax"


def _problem(status: int, reason: str | None, challenge_: bytes, retry_after_s: float | None) -> Rendered:
    document = {
        "type": "about:blank",
        "title": _PHRASES[status],
        "status": status,
        "detail": _SENTENCES.get(status, "The request could not be read."),
    }
    if reason is not None:
        document["reason"] = reason
    body = json.dumps(document, separators=(",", ":")).encode()
    fields = [(b"Content-Type", b"application/problem+json"), (b"Content-Length", b"%d" % len(body))]
    if challenge_:
        fields.append((b"WWW-Authenticate", challenge_))
    if retry_after_s is not None:
        fields.append((b"Retry-After", b"%d" % max(1, math.ceil(retry_after_s))))
    return Rendered(_head(status, fields), _END + body)


def _head(status: int, fields: list[tuple[bytes, bytes]]) -> bytes:
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
    return b"HTTP/1.1 %d %b\r\n%b%b" % (status, _PHRASES[status].encode(), lines, _CACHE_CONTROL_NAME)


def _value(text: str) -> bytes:
    if _CONTROL.search(text):
        raise ValueError("a control character in a header's value")
    return text.encode()
