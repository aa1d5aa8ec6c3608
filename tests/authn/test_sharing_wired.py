"""A strategy shares where the configuration gives a fleet a place and a secret, and only what is expensive."""

import base64
import dataclasses
from typing import Any

import pytest
from support_fleet import FakeShared
from support_http import ISSUER, CannedIdp

from validator.authn.throttle import Throttle
from validator.caching import Caches
from validator.core.sessions import KeyRing
from validator.issuers import Freshness, Issuer, IssuerPlace
from validator.model import BearerToken, ClientCredentials, Method
from validator.pipeline import Strategy
from validator.registry.index import MemoryRegistry
from validator.settings import Settings
from validator.testing import ManualClock
from validator.wiring.providers import Provider
from validator.wiring.strategies import Shared, build

KEY = base64.b64encode(b"1" * 32).decode()
PAIR = ClientCredentials("orders", "s3cret")


class Counted:
    """In place of metrics."""

    def verified(self, _strategy: str) -> None:
        return None


def built(clock: ManualClock, idp: CannedIdp, keys: str = KEY, **options: Any) -> Strategy:
    section = {"idp": "generic", "issuer": ISSUER, "audience": ["api://default"], "auth_methods": list(Method)}
    document: dict[str, Any] = {"strategies": {"plain": section}}
    if keys:
        document["session"] = {"keys": keys}
    settings = Settings.model_validate(document)
    caches = Caches(b"0123456789abcdef", max_entries=1000)
    registry = MemoryRegistry(clock=clock, epoch=caches.epoch, strategies=("plain",))
    throttle = Throttle(clock, max_failures=10, max_unregistered_failures=100, window_s=60.0)
    issuer = Issuer(
        IssuerPlace(ISSUER), http=idp, clock=clock, freshness=Freshness(), changed=caches.epoch.touch_all
    )
    metrics: Any = Counted()
    http: Any = idp
    shared = Shared(settings, clock, caches, registry, throttle, metrics)
    shared = dataclasses.replace(shared, **options)
    provider = Provider(issuer, http, http, http, http)
    return build("plain", settings.strategies["plain"], [provider], KeyRing([b"1" * 32]), shared)


async def prove(strategy: Strategy, pair: ClientCredentials = PAIR) -> str:
    return (await strategy.authenticators[Method.CLIENT_CREDENTIALS].prove(pair)).client_id


async def test_what_one_strategy_proved_the_same_one_elsewhere_knows(
    clock: ManualClock, idp: CannedIdp, shared: FakeShared
) -> None:
    for _ in range(2):
        assert await prove(built(clock, idp, proofs=shared)) == "orders"
    assert idp.calls[f"{ISSUER}/token"] == 1


async def test_what_was_forgotten_by_the_registry_is_asked_for_anew(
    clock: ManualClock, idp: CannedIdp, shared: FakeShared
) -> None:
    for mark in ("", "1", "1"):
        await prove(built(clock, idp, proofs=shared, forgotten_mark=lambda *about, m=mark: f"{m}{about}"))
    assert idp.calls[f"{ISSUER}/token"] == 2


async def test_without_a_secret_in_common_nothing_is_shared(
    clock: ManualClock, idp: CannedIdp, shared: FakeShared
) -> None:
    await prove(built(clock, idp, keys="", proofs=shared))
    assert not shared.calls


async def test_without_a_fleet_who_guesses_is_shut_out_at_once(clock: ManualClock, idp: CannedIdp) -> None:
    basic = built(clock, idp).authenticators[Method.CLIENT_CREDENTIALS]
    for n in range(10):
        with pytest.raises(Exception, match="credentials_rejected"):
            await basic.prove(ClientCredentials("orders", f"guess-{n}"))
    with pytest.raises(Exception, match="too_many_attempts"):
        basic.prove_now(PAIR, clock.now())


async def test_a_token_that_is_read_here_is_asked_of_nobody(
    clock: ManualClock, idp: CannedIdp, shared: FakeShared
) -> None:
    bearer = built(clock, idp, proofs=shared).authenticators[Method.BEARER]
    token = BearerToken(idp.mint.mint({"client_id": "orders"}).encode())
    assert (await bearer.prove(token)).client_id == "orders"
    assert not shared.calls
