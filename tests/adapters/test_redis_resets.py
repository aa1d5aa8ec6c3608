"""Connections to Redis that are reset, over the event loop that the sidecar runs on."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import uvloop
from redis_faults import Fault, FaultProxy
from redis_process import one

from validator.adapters.redis_connections import Session
from validator.adapters.redis_link import RedisLink
from validator.core.redis_url import RedisEndpoint
from validator.errors import Unavailable

pytestmark = pytest.mark.programs


async def ping(session: Session) -> None:
    assert await session.command("PING") == b"PONG"


async def reset(session: Session, proxy: FaultProxy) -> None:
    """Returns when the loop knows of it, and nobody has read that yet."""
    writer = session._connection._writer
    proxy.set(Fault.RESET)
    while not writer.transport.is_closing():  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.001)
    proxy.set(Fault.PASS)


def over_uvloop(scenario: Callable[[RedisLink, FaultProxy], Awaitable[None]]) -> None:
    async def main(proxy: FaultProxy) -> None:
        link = RedisLink(RedisEndpoint.parse(proxy.url), timeout_s=5.0)
        try:
            await scenario(link, proxy)
        finally:
            await link.close()

    with one() as server, FaultProxy(("127.0.0.1", server.port)) as proxy:
        uvloop.run(main(proxy))


def test_a_connection_that_was_reset_while_idle_is_not_used_again() -> None:
    async def scenario(link: RedisLink, proxy: FaultProxy) -> None:
        lent: list[Session] = []

        async def work(session: Session) -> None:
            lent.append(session)
            await ping(session)

        await link.call("ping", work, key="k")
        await reset(lent[0], proxy)
        await link.call("ping", work, key="k")
        assert lent[0]._connection is not lent[1]._connection

    over_uvloop(scenario)


def test_one_that_is_reset_in_the_middle_of_a_call_is_lost_like_any_other() -> None:
    async def scenario(link: RedisLink, proxy: FaultProxy) -> None:
        async def work(session: Session) -> None:
            await ping(session)
            await reset(session, proxy)
            await ping(session)

        with pytest.raises(Unavailable):
            await link.call("ping", work, key="k")
        await link.call("ping", ping, key="k")

    over_uvloop(scenario)
