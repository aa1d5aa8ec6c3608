"""A clock that stands still, an identity provider without a socket, and a fleet over both."""

from collections.abc import AsyncIterator

import pytest
from support_fleet import FakeShared, Member, close_all, fleet
from support_http import CannedIdp
from support_pipeline import app

from validator.testing import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def idp(clock: ManualClock) -> CannedIdp:
    return CannedIdp(clock, {"orders": "s3cret", "billing": "b1lling"})


@pytest.fixture
def shared(clock: ManualClock) -> FakeShared:
    return FakeShared(clock)


@pytest.fixture
async def members(clock: ManualClock, idp: CannedIdp, shared: FakeShared) -> AsyncIterator[list[Member]]:
    """Six; ``orders`` and ``billing`` may call ``svc``."""
    made = fleet(6, clock, idp, lambda: shared, [app(), app("billing")])
    yield made
    await close_all(made)
