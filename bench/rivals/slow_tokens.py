"""A token endpoint as far away as a real one: every grant takes 50 ms, and which pairs asked is kept.

Law of this file: it spends as little CPU as it can, since it shares a core with the load: tokens are minted
beforehand, one for each client, and nothing of HTTP is here but what the sidecar sends.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import parse_qsl

import httptools

LATENCY_S = 0.05
GRANTED = b"200 OK"
REFUSED = b"401 Unauthorized"


class SlowTokens:
    """Use it as ``async with`` block. A client's right secrets are all that begin with its id and a slash.

    Args:
        granted: client id -> its access token.

    Attributes:
        asked: (client id, secret) -> how often.
    """

    def __init__(self, granted: Mapping[str, str]) -> None:
        self.asked: Counter[tuple[str, str]] = Counter()
        self._replies = {client_id: _reply(GRANTED, _grant(token)) for client_id, token in granted.items()}
        self._refusal = _reply(REFUSED, {"error": "invalid_client"})
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, backlog=1024)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    @property
    def token_endpoint(self) -> str:
        if self._server is None:
            raise RuntimeError("not started")
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/token"

    def judge(self, form: bytes) -> bytes:
        """What is answered to a request's form."""
        fields = dict(parse_qsl(form.decode()))
        client_id, secret = fields.get("client_id", ""), fields.get("client_secret", "")
        self.asked[client_id, secret] += 1
        return self._replies.get(client_id, self._refusal) if secret.startswith(f"{client_id}/") else self._refusal


class _Connection(asyncio.Protocol):
    def __init__(self, tokens: SlowTokens) -> None:
        self._tokens = tokens
        self._form = b""
        self._transport: Any = None
        self._parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        self._form += data

    def on_message_complete(self) -> None:
        reply, self._form = self._tokens.judge(self._form), b""
        asyncio.get_running_loop().call_later(LATENCY_S, self._write, reply)

    def _write(self, reply: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(reply)


def _grant(token: str) -> dict[str, object]:
    return {"access_token": token, "token_type": "Bearer", "expires_in": 3600}


def _reply(status: bytes, document: object) -> bytes:
    body = json.dumps(document).encode()
    head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n" % status
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
