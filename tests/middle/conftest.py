"""A clock that stands still, an identity provider without a socket, and a pipeline over both."""

import pytest
from support_http import CannedIdp
from support_issuers import issuer_over
from support_pipeline import Kitchen, app

from validator.issuers import Issuer
from validator.testing import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def idp(clock: ManualClock) -> CannedIdp:
    return CannedIdp(clock, {"orders": "s3cret", "billing": "b1lling"})


@pytest.fixture
def kitchen(clock: ManualClock, idp: CannedIdp) -> Kitchen:
    """``orders`` and ``billing`` may both call ``svc``, and ``orders`` the service ``more`` as well."""
    return Kitchen(clock, idp, applications=[app("orders", "svc", "more"), app("billing")])


@pytest.fixture
async def issuer(idp: CannedIdp, clock: ManualClock) -> Issuer:
    """One that has its keys."""
    made = issuer_over(idp, clock)
    await made.tend()
    assert made.missing() is None
    return made
