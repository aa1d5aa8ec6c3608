"""A service that answers with what it was sent. FOR DEVELOPMENT ONLY.

Law of this file: every header line is told by its own spelling and in its own order, credentials included, since
what a gateway lets through is the question. It stands behind the gateway of a development set-up and nowhere else.
"""

import socket
from typing import Final, Self

from aiohttp import web

from validator.testing.serving import LOOPBACK

_MAX_BODY_BYTES: Final = 16 * 1024 * 1024
_OK: Final = 200


class Echo:
    """Use it as ``async with Echo() as echo:``.

    The query of a request may ask for a ``status`` and for cookies (``set_cookie``, which may be repeated). A
    WebSocket gets the same answer as its first message, and is closed.

    Args:
        host: see ``validator.testing.serving.LoopbackServer``.
        port: 0 takes a free one.

    Attributes:
        requests: how many have arrived.
    """

    def __init__(self, *, host: str = LOOPBACK, port: int = 0) -> None:
        self.requests = 0
        self._host = host
        self._port = port
        self._runner: web.AppRunner | None = None

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"{self._host}:{self._port}"

    @property
    def origin(self) -> str:
        return f"http://{self.address}"

    async def start(self) -> None:
        """Binds the port and listens.

        Raises:
            OSError: the port is taken.
        """
        application = web.Application(client_max_size=_MAX_BODY_BYTES)
        application.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        bound = socket.create_server((self._host, self._port))
        self._port = bound.getsockname()[1]
        await web.SockSite(runner, bound).start()
        self._runner = runner

    async def stop(self) -> None:
        """Closes every connection and gives the port back."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        seen = {
            "method": request.method,
            "uri": request.raw_path,
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.raw_headers],
        }
        socket_ = web.WebSocketResponse()
        if socket_.can_prepare(request):
            await socket_.prepare(request)
            await socket_.send_json(seen)
            await socket_.close()
            return socket_
        status = request.query.get("status", "")
        answer = web.json_response(
            {**seen, "body_bytes": len(await request.read())}, status=int(status) if status.isdecimal() else _OK
        )
        for cookie in request.query.getall("set_cookie", []):
            answer.headers.add("Set-Cookie", cookie)
        return answer
