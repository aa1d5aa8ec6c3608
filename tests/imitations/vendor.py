"""What the vendors' imitations have in common.

Law of this file: nothing of any one vendor. Clients, their proof, and a rate limit by the clock; the server and
its faults come from ``validator.testing``.
"""

import hmac
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from validator.ports import Clock
from validator.testing import FakeClient, LoopbackServer
from validator.testing.clients import basic_pair, method_of, registered

WINDOW_S = 60


class Refusal(Exception):
    """An error in the vendor's own words.

    Attributes:
        document: the JSON body.
        headers: beside those that every answer has.
    """

    def __init__(self, status: int, document: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        super().__init__(document)
        self.status = status
        self.document = document
        self.headers = dict(headers or {})

    def reply(self) -> web.Response:
        return web.json_response(self.document, status=self.status, headers=self.headers)


class Vendor(LoopbackServer):
    """A provider's imitation.

    Args:
        clients: client id -> secret, or -> ``FakeClient``.
        clock: times tokens and rate limits.

    Attributes:
        clients: may be changed at any time.
    """

    def __init__(
        self, clients: Mapping[str, str | FakeClient] | None = None, *, clock: Clock, port: int = 0
    ) -> None:
        super().__init__(port=port)
        self.clients: dict[str, FakeClient] = registered(clients)
        self._clock = clock

    def proved(self, client_id: str | None, authorization: str | None, form: Mapping[str, str]) -> bool:
        """Whether the request shows the secret of that client, in a way that the client is registered for."""
        client = self.clients.get(client_id or "")
        _, method = method_of(authorization, form)
        secret = form.get("client_secret") if authorization is None else basic_pair(authorization)[1]
        known = client is not None and method in client.auth_methods
        matches = hmac.compare_digest((client.secret if client else "").encode(), (secret or "").encode())
        return known and bool(secret) and matches


class RateLimit:
    """Requests in windows of a minute by the clock.

    Attributes:
        allowed: per window; ``None``: any number.
    """

    def __init__(self, clock: Clock, allowed: int | None = None) -> None:
        self.allowed = allowed
        self._clock = clock
        self._window = -1
        self._used = 0

    def count(self) -> tuple[bool, dict[str, int]]:
        """Counts one request: whether it may pass, and ``limit``, ``remaining`` and ``reset`` (in seconds since
        the epoch) for the vendor's headers."""
        window = int(self._clock.now() // WINDOW_S)
        if window != self._window:
            self._window, self._used = window, 0
        self._used += 1
        limit = 600 if self.allowed is None else self.allowed
        facts = {
            "limit": limit,
            "remaining": max(0, limit - self._used),
            "reset": (window + 1) * WINDOW_S,
        }
        return self.allowed is None or self._used <= self.allowed, facts
