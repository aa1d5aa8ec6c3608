"""How the control plane's listeners run.

Law of this file: what aiohttp would answer by itself, before any route or middleware, follows the control
plane's rules here: problem documents for what cannot be parsed, no decompression, a bound on connections, no
access log beside our own lines.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from validator.server.problems import PROBLEMS, RENDERING

_MAX_CONNECTIONS = 256  # people, Prometheus and probes; a flood here must not take the data plane's descriptors
_KEEPALIVE_S = 75.0  # a minute's scrape interval reuses its connection; idle and silent ones are closed
_UNREADABLE = "The request is not HTTP that can be read."

_log = structlog.get_logger(__name__)


class ControlRunner(web.AppRunner):
    """``web.AppRunner`` for ``control_application`` and ``bridge_application``; add sites to it (TCP or Unix).

    Args:
        application: the control plane, or the bridge alone.
        shutdown_timeout: seconds that requests under way may take when it stops.
        max_connections: enough for people, Prometheus and probes; a flood here must not take the descriptors
            that the data plane needs.
    """

    def __init__(
        self, application: web.Application, *, shutdown_timeout: float = 5.0, max_connections: int = 256
    ) -> None:
        super().__init__(application, shutdown_timeout=shutdown_timeout)
        self._max_connections = max_connections

    async def _make_server(self) -> web.Server:
        # aiohttp has no public hook for the protocol's class; this is the one its subclasses implement.
        made = await super()._make_server()
        rendering = self.app.get(RENDERING, PROBLEMS)
        return _Server(
            self._max_connections,
            rendering.unreadable,
            partial(rendering.answer, made.request_handler),  # Expect is judged outside the middlewares
            request_factory=made.request_factory,
            access_log=None,
            auto_decompress=False,  # a compressed body is refused, not unpacked
            keepalive_timeout=_KEEPALIVE_S,
            lingering_time=1.0,
        )


class _Server(web.Server):
    def __init__(
        self,
        max_connections: int,
        unreadable: Callable[[int, str], web.Response],
        *arguments: Any,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self.max_connections = max_connections
        self.unreadable = unreadable

    def __call__(self) -> web.RequestHandler:
        return _Protocol(self, loop=self._loop, **self._kwargs)


class _Protocol(web.RequestHandler):
    __slots__ = ()

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        server = self._manager
        if isinstance(server, _Server) and len(server.connections) > server.max_connections:
            _log.warning("control_connections_exhausted", most=server.max_connections)
            self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What the parser refuses; its own words repeat what was sent, so they are not passed on."""
        del message
        _log.info("control_bad_request", remote=request.remote, status=status, error=type(exc).__name__)
        detail = _UNREADABLE if isinstance(exc, HttpProcessingError) else "The sidecar made a mistake."
        server = self._manager
        unreadable = server.unreadable if isinstance(server, _Server) else PROBLEMS.unreadable
        response = unreadable(status, detail)
        response.force_close()
        return response
