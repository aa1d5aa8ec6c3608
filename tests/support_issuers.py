"""One issuer over a canned identity provider, and how a token's key is asked of it.

Law of this file: nothing here judges.
"""

from collections.abc import Callable

import pytest
from support_http import ISSUER, CannedHttp, CannedIdp

from validator.core.jwks import VerificationKey
from validator.errors import Denied, Unavailable
from validator.issuers import Freshness, Issuer, IssuerPlace
from validator.testing import ManualClock

FRESHNESS = Freshness(refresh_s=600, min_refresh_s=60, unknown_key_cooldown_s=30, last_known_good_s=3600)
ALG = "ES256"


def issuer_over(
    http: CannedHttp,
    clock: ManualClock,
    place: IssuerPlace | None = None,
    changed: Callable[[], None] = lambda: None,
) -> Issuer:
    return Issuer(place or IssuerPlace(ISSUER), http=http, clock=clock, freshness=FRESHNESS, changed=changed)


def known(idp: CannedIdp) -> str:
    return idp.mint.current.kid


async def refusal(issuer: Issuer, kid: str = "nobody's") -> Denied | Unavailable:
    """How a token of that key is refused, asking the issuer where that is worth it."""
    with pytest.raises((Denied, Unavailable)) as caught:
        await _asked(issuer, kid)
    return caught.value


async def _asked(issuer: Issuer, kid: str) -> VerificationKey:
    return issuer.key(kid, ALG) or await issuer.fetch_key(kid, ALG)
