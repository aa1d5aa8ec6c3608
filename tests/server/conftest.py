"""The data plane is tested on both event loops that it may run on."""

import asyncio
import contextlib

import pytest
import uvloop
from plane_support import serving_plane


def pytest_asyncio_loop_factories(item):
    if item.path.name.startswith("test_dataplane_"):
        return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


@pytest.fixture
async def serve():
    """``await serve(**bounds)``: a data plane for the length of the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def serving(**bounds):
            return await stack.enter_async_context(serving_plane(**bounds))

        yield serving
