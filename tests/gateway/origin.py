"""An origin server behind the gateway, whose responses a test words: headers, a body in pieces, WebSocket.

Law of this file: the query of a request says how it is answered; it judges nothing. It knows nothing of pytest.
"""

import asyncio
import json
from types import TracebackType
from typing import Any, Self

from aiohttp import web


def told(request: web.Request) -> dict[str, Any]:
    """What the request was, every header line by its own spelling."""
    lines = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.raw_headers]
    return {"method": request.method, "uri": request.raw_path, "headers": lines}


class Origin:
    """``async with Origin() as origin:`` listens on loopback.

    Arguments of the query: ``status``; ``others``, a number of headers; behind those ``set_cookie``,
    ``cache_control`` and ``x_cache_status``, a line for each that is given; ``slow``: half of the body, and the
    rest once ``release`` was called. A WebSocket handshake is always accepted.

    Attributes:
        url: ``http://127.0.0.1:port``.
        asked: every request so far, as it is told in a body.
    """

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[dict[str, Any]] = []
        self._released = asyncio.Event()
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        await self._runner.cleanup()

    def release(self) -> None:
        """Lets slow responses end."""
        self._released.set()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(told(request))
        if request.headers.get("Upgrade") == "websocket":
            return await self._converse(request)
        response = web.StreamResponse(status=int(request.query.get("status", "200")))
        response.content_type = "application/json"
        for number in range(int(request.query.get("others", "0"))):
            response.headers.add(f"X-{number}", "1")
        for name in ("Set-Cookie", "Cache-Control", "X-Cache-Status"):
            for value in request.query.getall(name.lower().replace("-", "_"), []):
                response.headers.add(name, value)
        body = json.dumps(self.asked[-1]).encode()
        if "slow" in request.query:
            response.headers["X-Accel-Buffering"] = "no"
            return await self._drip(request, response, body)
        response.content_length = len(body)
        await response.prepare(request)
        await response.write(body)
        await response.write_eof()
        return response

    async def _drip(self, request: web.Request, response: web.StreamResponse, body: bytes) -> web.StreamResponse:
        self._released.clear()
        await response.prepare(request)
        half = len(body) // 2
        await response.write(body[:half])
        await self._released.wait()
        await response.write(body[half:])
        await response.write_eof()
        return response

    async def _converse(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json(self.asked[-1])
        await socket.close()
        return socket
