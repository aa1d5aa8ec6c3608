"""What an identity provider may do wrong, as data. FOR DEVELOPMENT ONLY.

Law of this file: a fault says what is sent in place of the right answer, or when; its server decides where.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Fault:
    """In place of the right answer: this status, these headers, this body. With a ``gate``, the answer waits
    until the event is set, and without a ``status`` it is then the right one. When it is ``late``, the request
    first has its effect: a token is minted, a client created, and only the answer goes wrong. One that ``drops``
    closes the connection in place of an answer.

    A fault of its own make is as welcome as those below: ``Fault(status=418)``.
    """

    status: int | None = None
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    gate: asyncio.Event | None = None
    late: bool = False
    drops: bool = False

    def after_the_effect(self) -> "Fault":
        """The same, but the request takes effect before."""
        return replace(self, late=True)

    @classmethod
    def stall(cls) -> "Fault":
        """The request is read and never answered."""
        return cls(gate=asyncio.Event())

    @classmethod
    def reply_lost(cls) -> "Fault":
        """The request takes effect, and the connection closes in place of an answer."""
        return cls(500, late=True, drops=True)

    @classmethod
    def slow(cls, gate: asyncio.Event) -> "Fault":
        """The right answer, once ``gate`` is set."""
        return cls(gate=gate)

    @classmethod
    def garbage(cls, body: bytes = b"\x00\xff<html>not what you asked for") -> "Fault":
        """200, and a body that nobody can read."""
        return cls(200, body, {"Content-Type": "application/json"})

    @classmethod
    def server_error(cls, status: int = 500) -> "Fault":
        return cls(status, b"internal error", {"Content-Type": "text/plain"})

    @classmethod
    def rate_limited(cls, headers: Mapping[str, str] | None = None) -> "Fault":
        """429 with, for example, ``{"Retry-After": "7"}`` or ``{"X-Rate-Limit-Reset": "1800000007"}``."""
        return cls(429, b'{"error":"too_many_requests"}', {"Content-Type": "application/json", **(headers or {})})

    @classmethod
    def redirect(cls, location: str) -> "Fault":
        return cls(302, b"", {"Location": location})

    @classmethod
    def oversized(cls, size_bytes: int) -> "Fault":
        """200, and a body of that many bytes."""
        return cls(200, b" " * size_bytes, {"Content-Type": "application/json"})

    @classmethod
    def json_reply(cls, document: object, *, status: int = 200) -> "Fault":
        """A well-formed answer with wrong content, such as ``{"keys": []}``."""
        return cls(status, json.dumps(document).encode(), {"Content-Type": "application/json"})

    @classmethod
    def oauth_error(cls, error: str, description: str = "", *, status: int = 400) -> "Fault":
        """An error of the token endpoint (RFC 6749 section 5.2)."""
        return cls.json_reply({"error": error, "error_description": description}, status=status)
