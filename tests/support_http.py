"""An identity provider without a socket: ``ports.HttpClient`` from a table, and every call counted.

Law of this file: it answers as the table says and judges nothing.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

from validator.errors import AuthError, Unavailable
from validator.model import HttpReply, HttpRequest, Reason
from validator.testing import ABSENT, ManualClock, TokenMint

ISSUER = "https://idp.test"
DISCOVERY = f"{ISSUER}/.well-known/openid-configuration"
OAUTH_DISCOVERY = f"{ISSUER}/.well-known/oauth-authorization-server"
JWKS = f"{ISSUER}/jwks"
TOKEN = f"{ISSUER}/token"

Answer = HttpReply | AuthError | Callable[[HttpRequest], HttpReply]


def json_reply(document: object, status: int = 200, **headers: str) -> HttpReply:
    """Headers by keyword, with ``_`` for ``-``."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpReply(status, named, json.dumps(document).encode())


def oauth_error(error: str, status: int = 400) -> HttpReply:
    return json_reply({"error": error}, status)


def down(detail: str = "connection refused") -> Unavailable:
    return Unavailable(Reason.IDP_UNAVAILABLE, detail)


async def until(condition: Callable[[], bool], *, turns: int = 2000) -> None:
    """Lets the loop turn until the condition holds; all that runs here is in this process."""
    for _ in range(turns):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("the condition never held")


async def turns(count: int = 20) -> None:
    """Lets whatever can go on go on."""
    for _ in range(count):
        await asyncio.sleep(0)


class CannedHttp:
    """``ports.HttpClient`` over a table by URL; what is not in it is 404.

    Attributes:
        table: may be changed at any time.
        gates: a reply to that URL waits for the event, and is what the table says then.
        calls: by URL, counted on arrival.
    """

    def __init__(self, table: Mapping[str, Answer] | None = None) -> None:
        self.table: dict[str, Answer] = dict(table or {})
        self.gates: dict[str, asyncio.Event] = {}
        self.calls: Counter[str] = Counter()
        self.requests: list[HttpRequest] = []

    async def send(self, request: HttpRequest) -> HttpReply:
        self.calls[request.url] += 1
        self.requests.append(request)
        await asyncio.sleep(0)  # as any real one, it never answers in the same turn
        gate = self.gates.get(request.url)
        if gate is not None:
            await gate.wait()
        answer = self.table.get(request.url, HttpReply(404, {}, b""))
        if isinstance(answer, AuthError):
            raise answer
        return answer if isinstance(answer, HttpReply) else answer(request)

    def form(self) -> dict[str, str]:
        """The parameters of the last request."""
        return {name: values[0] for name, values in parse_qs(self.requests[-1].body.decode()).items()}


class CannedIdp(CannedHttp):
    """A table that holds discovery, the keys of a mint, and a token endpoint for ``clients``.

    Attributes:
        grant: changes to the token reply; ``ABSENT`` removes a member.
        claims: changes to the claims of minted tokens.
        opaque: mints random strings.
    """

    def __init__(self, clock: ManualClock, clients: Mapping[str, str] | None = None, **mint: Any) -> None:
        super().__init__()
        self.mint = TokenMint(ISSUER, clock, **{"alg": "ES256", "keyring": ISSUER, **mint})
        self.clients = dict(clients or {"orders": "s3cret"})
        self.grant: dict[str, Any] = {}
        self.claims: dict[str, Any] = {}
        self.opaque = False
        self.metadata: dict[str, Any] = {"issuer": ISSUER, "jwks_uri": JWKS, "token_endpoint": TOKEN}
        self.well()

    def well(self) -> None:
        """The right answers again."""
        self.table = {
            DISCOVERY: lambda _: json_reply(self.metadata),
            JWKS: lambda _: json_reply(self.mint.jwks()),
            TOKEN: self._grant,
        }

    def fail(self, *urls: str) -> None:
        """Nobody answers there, or at all."""
        self.table.update(dict.fromkeys(urls or (DISCOVERY, OAUTH_DISCOVERY, JWKS, TOKEN), down()))

    def _grant(self, request: HttpRequest) -> HttpReply:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        client_id = form["client_id"]
        if self.clients.get(client_id) != form["client_secret"]:
            return oauth_error("invalid_client", 401)
        token = "opaque-token" if self.opaque else self.mint.mint({"client_id": client_id, **self.claims})
        reply = {"access_token": token, "expires_in": self.mint.lifetime_s, **self.grant}
        return json_reply({name: value for name, value in reply.items() if value is not ABSENT})
