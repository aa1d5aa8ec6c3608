"""Links and logs for tests, closed again, and calls that are made until they succeed."""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

import pytest

from validator.adapters import redis_log
from validator.adapters.clock import SystemClock
from validator.adapters.redis_link import RedisEndpoint, RedisLink, Session
from validator.adapters.redis_log import RedisLog
from validator.errors import Unavailable
from validator.model import Reason
from validator.ports import Position, Record

PREFIX = "validator"
KEY = f"{{{PREFIX}}}:records"
PATIENT_S = 10.0  # a timeout that no test is meant to reach
BRIEF_S = 0.05  # one that a test reaches on purpose
HEALED_WITHIN_S = 30.0

T = TypeVar("T")


@contextlib.asynccontextmanager
async def linked(endpoint: RedisEndpoint | str, **options: Any) -> AsyncIterator[RedisLink]:
    if isinstance(endpoint, str):
        endpoint = RedisEndpoint.parse(endpoint)
    link = RedisLink(endpoint, **{"timeout_s": PATIENT_S, "connect_timeout_s": PATIENT_S, **options})
    try:
        yield link
    finally:
        await link.close()


@contextlib.asynccontextmanager
async def logged(
    endpoint: RedisEndpoint | str, *, timeout_s: float = PATIENT_S, **options: Any
) -> AsyncIterator[RedisLog]:
    async with linked(endpoint, **options) as link:
        yield RedisLog(link, PREFIX, SystemClock(), timeout_s=timeout_s)


async def said(link: RedisLink, text: str, **options: Any) -> bytes:
    """What ECHO answers: the answer to another question would be another one."""
    answer: bytes = await link.call("echo", lambda session: session.command("ECHO", text), key=KEY, **options)
    return answer


async def believed(link: RedisLink, text: str) -> bytes:
    """The same, by one that looks before it believes."""

    async def work(session: Session) -> bytes:
        answer: bytes = await session.command("ECHO", text)
        if answer != text.encode():
            raise ValueError("another answer")
        return answer

    return await link.call("echo", work, key=KEY)


async def refused(call: Awaitable[object], *words: str) -> Unavailable:
    """The call fails as it should, and its detail has these words."""
    with pytest.raises(Unavailable) as caught:
        await call
    assert caught.value.reason is Reason.STORE_UNAVAILABLE
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    for word in words:
        assert word in caught.value.detail, caught.value.detail
    return caught.value


async def healed(call: Callable[[], Awaitable[T]]) -> T:
    """What it returns once it succeeds again."""
    deadline = time.monotonic() + HEALED_WITHIN_S
    while True:
        try:
            return await call()
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.01)


async def appended(
    log: RedisLog,
    position: Position | None,
    *records: tuple[str, str | None],
    version: int = 0,
    restored: Sequence[Record] = (),
    restoring: bool = False,
) -> Position:
    after = await log.append(position, records, version=version, restored=restored, restoring=restoring)
    assert after is not None
    return after


async def everything(log: RedisLog) -> dict[str, Record]:
    return {record.key: record async for portion in log.scan() for record in portion}


def documented_acl() -> list[str]:
    """The user as the module's own text describes it."""
    found = re.search(r"^    (user .*?)\n\n", redis_log.__doc__ or "", re.MULTILINE | re.DOTALL)
    assert found is not None
    return " ".join(found[1].split()).replace("PASSWORD", "s3cret").split()
