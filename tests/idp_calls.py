"""Requests to an identity provider, and what is expected of their refusal; shared by the tests of the client.

Law of this file: helpers without fixtures and without tests.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import pytest

from validator.adapters.idp import IdpClient
from validator.errors import Unavailable
from validator.model import Endpoint, HttpRequest, Reason
from validator.testing import FakeIdp

THRESHOLD: Final = 3  # of the breaker that the fixture makes
RESET_S: Final = 10.0

Observed = list[tuple[Endpoint, str]]
MakeClient = Callable[..., IdpClient]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw_server(handler: Handler) -> AsyncIterator[str]:
    """A server that says exactly what it is told to, for replies that no HTTP library would send."""

    serving: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving[asyncio.current_task()] = writer
        with suppress(ConnectionError, asyncio.IncompleteReadError):  # the client hangs up when it has enough
            await handler(reader, writer)
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        for writer in serving.values():
            writer.transport.abort()
        await asyncio.gather(*(task for task in serving if task))


def jwks_request(url: str) -> HttpRequest:
    return HttpRequest(Endpoint.JWKS, "GET", url, {"Accept": "application/json"})


def token_request(idp: FakeIdp) -> HttpRequest:
    body = b"grant_type=client_credentials&client_id=orders&client_secret=s3cret"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return HttpRequest(Endpoint.TOKEN, "POST", idp.token_endpoint, headers, body)


async def refusal(client: IdpClient, request: HttpRequest) -> Unavailable:
    """The ``Unavailable`` that must come, and must drag no foreign exception along."""
    with pytest.raises(Unavailable) as caught:
        await client.send(request)
    assert caught.value.reason is Reason.IDP_UNAVAILABLE
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
    return caught.value
