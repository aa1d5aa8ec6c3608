"""A server that several share, and sidecars that follow it; time stands still unless a test moves it."""

from typing import Any

import pytest
from fake_log import FakeServer
from fleet_support import Sidecar, Start
from support_http import CannedIdp

from validator.testing import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def server(clock: ManualClock) -> FakeServer:
    return FakeServer(clock)


@pytest.fixture
def start(clock: ManualClock, server: FakeServer) -> Start:
    async def begin(name: str = "one", *, follow: bool = True, **options: Any) -> Sidecar:
        sidecar = Sidecar(name, server, clock, CannedIdp(clock))
        await sidecar.start(**options)
        if follow:
            await sidecar.replica.step()
        return sidecar

    return begin
