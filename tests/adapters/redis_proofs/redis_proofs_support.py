"""One slot, and short ways to ask about it.

Law of this file: helpers without fixtures and without tests.
"""

import asyncio
from collections.abc import Callable

from redis_servers import RedisServer
from support_pipeline import basic

from validator.adapters.redis_proofs import RedisProofs
from validator.ports import Slot, Standing

SLOT = Slot("tag", "name", (("client", 2), ("all", 5)), 60.0)
PREFIX = "validator"
NEVER_S = 30.0  # a timeout that no test is meant to reach
RIGHT, WRONG = basic("orders", "s3cret"), basic("orders", "guess")

Make = Callable[..., RedisProofs]
"""Makes one with a link of its own: the server, and how long it may be silent."""


async def begin(
    proofs: RedisProofs, owner: str = "me", *, guess: bool = True, since: int | None = None, lease_s: float = 6.0
) -> Standing:
    return await proofs.begin(SLOT, owner, lease_s=lease_s, guess=guess, since=since)


async def left_ms(server: RedisServer, ending: str) -> int:
    """Until the one key whose name ends so is gone; negative: it is, or never will be (-1)."""
    names = await asyncio.to_thread(server.ask, "KEYS", f"*{ending}")
    assert isinstance(names, list)
    if not names:
        return -2
    assert len(names) == 1
    left = await asyncio.to_thread(server.ask, "PTTL", names[0])
    assert isinstance(left, int)
    return left


async def counted(server: RedisServer) -> int:
    """The tries that count against the client."""
    found = await asyncio.to_thread(server.raw, "HGET", f"{PREFIX}:proofs:{{tag}}:client:tries", "n")
    return int(found or 0)
