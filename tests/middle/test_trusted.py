"""A strategy of several issuers: each token is judged by the keys, claims and version of the one issuer that it
names, and while one of them is unknown nobody is called foreign."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from support_http import CannedHttp, CannedIdp, down, json_reply
from support_pipeline import RULES

from validator.authn.access_token import AccessTokens
from validator.authn.trusted import TrustedIssuer, TrustedIssuers
from validator.core.discovery import IssuerPlace
from validator.errors import Denied, Unavailable
from validator.issuers import Freshness, Issuer
from validator.model import HttpReply, Reason
from validator.testing import ManualClock, TokenMint

TID = "11111111-aaaa-4111-8111-111111111111"
BASE = f"https://login.test/{TID}"
V1, V2 = f"https://sts.test/{TID}/", f"{BASE}/v2.0"
WELL_KNOWN = "/.well-known/openid-configuration"


class Tenant(CannedHttp):
    """Both issuers of one tenant, each with its own document and keys."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self.mints = {
            "1.0": TokenMint(V1, clock, alg="ES256", audience="api://default", keyring="v1"),
            "2.0": TokenMint(V2, clock, alg="ES256", audience="api://default", keyring="v2"),
        }
        self.table = {
            BASE + WELL_KNOWN: json_reply({"issuer": V1, "jwks_uri": f"{BASE}/keys"}),
            V2 + WELL_KNOWN: json_reply({"issuer": V2, "jwks_uri": f"{V2}/keys"}),
            f"{BASE}/keys": lambda _: json_reply(self.mints["1.0"].jwks()),
            f"{V2}/keys": lambda _: json_reply(self.mints["2.0"].jwks()),
        }
        freshness = Freshness()
        first = IssuerPlace(BASE, document=BASE + WELL_KNOWN)
        second = IssuerPlace(V2, document=V2 + WELL_KNOWN, implied=True)
        self.issuers = {
            "1.0": Issuer(first, http=self, clock=clock, freshness=freshness),
            "2.0": Issuer(second, http=self, clock=clock, freshness=freshness),
        }
        trusted = TrustedIssuers(
            [
                TrustedIssuer(self.issuers["1.0"], (("appid",),), "1.0"),
                TrustedIssuer(self.issuers["2.0"], (("azp",),), "2.0"),
            ],
            replace(RULES, graph_instead="api://default/.default"),
        )
        self.tokens = AccessTokens(trusted, replace(RULES, graph_instead="api://default/.default"), clock)

    def token(self, version: str, /, signed_as: str | None = None, **claims: Any) -> bytes:
        mint = self.mints[signed_as or version]
        own = {"1.0": {"iss": V1, "appid": "orders"}, "2.0": {"iss": V2, "azp": "orders"}}[version]
        return mint.mint({"ver": version, "tid": TID, **own, **claims}, header={"typ": "JWT"}).encode()

    async def tend(self) -> None:
        for issuer in self.issuers.values():
            await issuer.tend()


@pytest.fixture
def tenant(clock: ManualClock) -> Tenant:
    return Tenant(clock)


async def reason(tenant: Tenant, token: bytes, clock: ManualClock) -> Reason:
    """Why it is refused, at once and after asking alike."""
    with pytest.raises((Denied, Unavailable)) as asked:
        await tenant.tokens.verify(token)
    with pytest.raises((Denied, Unavailable)) as at_once:
        tenant.tokens.verify_now(token, clock.now())
    assert at_once.value.reason is asked.value.reason
    return asked.value.reason


@pytest.mark.parametrize("version", ["1.0", "2.0"])
async def test_both_issuers_of_a_tenant_are_believed(tenant: Tenant, clock: ManualClock, version: str) -> None:
    token = tenant.token(version)
    assert tenant.tokens.verify_now(token, clock.now()) is None
    assert (await tenant.tokens.verify(token)).principal.client_id == "orders"
    verified = tenant.tokens.verify_now(token, clock.now())
    assert verified is not None
    assert tenant.tokens.still_holds(verified.key_id)
    tenant.mints[version].rotate(retire=True)
    clock.advance(3600)
    await tenant.tend()
    assert not tenant.tokens.still_holds(verified.key_id)


@pytest.mark.parametrize(
    ("version", "signed_as", "claims", "expected"),
    [
        ("1.0", "2.0", {}, Reason.KEY_UNKNOWN),
        ("2.0", "1.0", {}, Reason.KEY_UNKNOWN),
        ("1.0", "1.0", {"ver": "2.0"}, Reason.ISSUER_MISMATCH),
        ("2.0", "2.0", {"ver": "1.0"}, Reason.ISSUER_MISMATCH),
        ("1.0", "1.0", {"ver": None}, Reason.ISSUER_MISMATCH),
        ("1.0", "1.0", {"appid": None, "azp": "orders"}, Reason.CLAIM_MISSING),
        ("2.0", "2.0", {"azp": None, "appid": "orders"}, Reason.CLAIM_MISSING),
        ("1.0", "1.0", {"iss": "https://other.test"}, Reason.ISSUER_MISMATCH),
        ("1.0", "1.0", {"aud": "https://graph.microsoft.com"}, Reason.TOKEN_FOR_GRAPH),
    ],
)
async def test_neither_speaks_for_the_other(
    tenant: Tenant, clock: ManualClock, version: str, signed_as: str, claims: dict[str, Any], expected: Reason
) -> None:
    await tenant.tend()
    assert await reason(tenant, tenant.token(version, signed_as, **claims), clock) is expected


async def test_a_token_for_graph_is_known_before_anybody_is_asked(tenant: Tenant, clock: ManualClock) -> None:
    with pytest.raises(Denied) as caught:
        tenant.tokens.verify_now(tenant.token("1.0", aud="https://graph.microsoft.com/"), clock.now())
    assert caught.value.reason is Reason.TOKEN_FOR_GRAPH
    assert not tenant.calls


@pytest.mark.parametrize("version", ["1.0", "2.0"])
async def test_while_one_issuer_is_unknown_nobody_is_foreign(
    tenant: Tenant, clock: ManualClock, version: str
) -> None:
    other = {"1.0": "2.0", "2.0": "1.0"}[version]
    tenant.table[(BASE if other == "1.0" else V2) + WELL_KNOWN] = down()
    await tenant.tend()
    assert (await tenant.tokens.verify(tenant.token(version))).principal.client_id == "orders"
    assert await reason_of(tenant, tenant.token(other)) is Reason.IDP_UNAVAILABLE
    assert await reason_of(tenant, tenant.token(version, iss="https://other.test")) is Reason.IDP_UNAVAILABLE


async def reason_of(tenant: Tenant, token: bytes) -> Reason:
    with pytest.raises((Denied, Unavailable)) as caught:
        await tenant.tokens.verify(token)
    return caught.value.reason


async def test_an_issuer_that_only_follows_from_another_need_not_exist(tenant: Tenant, clock: ManualClock) -> None:
    tenant.table[V2 + WELL_KNOWN] = HttpReply(404, {}, b"")
    await tenant.tend()
    assert tenant.issuers["2.0"].absent
    assert (await tenant.tokens.verify(tenant.token("1.0"))).principal.client_id == "orders"
    assert await reason(tenant, tenant.token("2.0"), clock) is Reason.ISSUER_MISMATCH


async def test_the_typed_issuer_has_to_exist(tenant: Tenant) -> None:
    tenant.table[BASE + WELL_KNOWN] = HttpReply(404, {}, b"")
    await tenant.tend()
    assert not tenant.issuers["1.0"].absent
    assert await reason_of(tenant, tenant.token("1.0")) is Reason.IDP_UNAVAILABLE


async def test_it_is_found_again_when_it_comes_to_exist(tenant: Tenant, clock: ManualClock) -> None:
    document = tenant.table[V2 + WELL_KNOWN]
    tenant.table[V2 + WELL_KNOWN] = HttpReply(404, {}, b"")
    await tenant.tend()
    tenant.table[V2 + WELL_KNOWN] = document
    clock.advance(60)
    await tenant.tend()
    assert (await tenant.tokens.verify(tenant.token("2.0"))).principal.client_id == "orders"


async def test_a_template_for_many_tenants_is_no_issuer(idp: CannedIdp, clock: ManualClock) -> None:
    idp.metadata["issuer"] = "https://login.microsoftonline.com/{tenantid}/v2.0"
    issuer = Issuer(IssuerPlace("https://idp.test"), http=idp, clock=clock, freshness=Freshness())
    with pytest.raises(Unavailable, match="many tenants"):
        await issuer.known()


async def test_nobody_waits_for_an_issuer_that_is_not_his(tenant: Tenant, clock: ManualClock) -> None:
    gate = tenant.gates[BASE + WELL_KNOWN] = asyncio.Event()
    verified = await asyncio.wait_for(tenant.tokens.verify(tenant.token("2.0")), 5)
    assert verified.principal.client_id == "orders"
    gate.set()
    assert (await tenant.tokens.verify(tenant.token("1.0"))).principal.client_id == "orders"
    for issuer in tenant.issuers.values():
        await issuer.close()


async def test_an_issuer_that_is_called_otherwise_vouches_anew(tenant: Tenant, clock: ManualClock) -> None:
    await tenant.tend()
    verified = tenant.tokens.verify_now(tenant.token("1.0"), clock.now())
    assert verified is not None
    assert tenant.tokens.still_holds(verified.key_id)
    tenant.table[BASE + WELL_KNOWN] = json_reply({"issuer": "https://renamed.test/", "jwks_uri": f"{BASE}/keys"})
    clock.advance(3600)
    await tenant.tend()
    assert not tenant.tokens.still_holds(verified.key_id)
    assert await reason_of(tenant, tenant.token("1.0", exp=clock.now() + 60)) is Reason.ISSUER_MISMATCH


async def test_a_known_issuer_is_there_though_its_document_is_not(tenant: Tenant, clock: ManualClock) -> None:
    await tenant.tend()
    tenant.table[V2 + WELL_KNOWN] = HttpReply(404, {}, b"")
    clock.advance(3600)
    await tenant.tend()
    assert not tenant.issuers["2.0"].absent
