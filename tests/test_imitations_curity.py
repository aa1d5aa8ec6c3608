"""The imitation of the Curity Identity Server behaves as its samples and modules say."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from imitation_support import Http, Reply, basic_header, claims_of, header_of, verified
from imitations import CurityImitation

from validator.model import Endpoint
from validator.testing import ManualClock

CLAIMS = {"jti", "delegationId", "exp", "nbf", "scope", "iss", "sub", "aud", "iat", "purpose"}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def curity(clock: ManualClock) -> AsyncIterator[CurityImitation]:
    async with CurityImitation(
        {"app": "s3cret"}, clock=clock, introspection_clients={"gateway": "s3cret"}
    ) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        yield Http(session)


async def introspect(curity: CurityImitation, http: Http, token: str, accept: str = "application/json") -> Reply:
    headers = basic_header("gateway") | {"Accept": accept}
    return await http.post(curity.introspection_endpoint, data={"token": token}, headers=headers)


async def test_its_addresses(curity: CurityImitation, http: Http) -> None:
    base = f"{curity.origin}/oauth/v2"
    document = await http.get(f"{base}/oauth-anonymous/.well-known/openid-configuration")
    assert document["issuer"] == curity.issuer == f"{base}/oauth-anonymous"
    assert document["jwks_uri"] == f"{base}/oauth-anonymous/jwks"
    assert document["token_endpoint"] == f"{base}/oauth-token"
    assert document["introspection_endpoint"] == f"{base}/oauth-introspect"
    keys = (await http.get(document["jwks_uri"]))["keys"]
    assert [key["kid"] for key in keys] == ["-1725417167"]


async def test_access_tokens_are_opaque_until_told_otherwise(curity: CurityImitation, http: Http) -> None:
    _, document = await http.grant(curity.token_endpoint, "app")
    assert document["access_token"].startswith("_0XBPWQQ_")
    assert "." not in document["access_token"]
    curity.jwt_access_tokens = True
    _, document = await http.grant(curity.token_endpoint, "app", basic=True)
    token = document.pop("access_token")
    assert document == {"scope": "", "token_type": "bearer", "expires_in": 300}
    claims = verified(token, curity.mint.jwks())
    assert claims.keys() == CLAIMS
    assert (claims["sub"], claims["aud"], claims["purpose"]) == ("app", "app", "access_token")
    assert (claims["iss"], claims["exp"] - claims["iat"]) == (curity.issuer, 300)
    assert header_of(token) == {"alg": "RS256", "kid": "-1725417167", "typ": "JWT"}
    curity.api_audience = "https://api.example"
    assert claims_of(curity.token("app"))["aud"] == "https://api.example"


@pytest.mark.parametrize(
    ("change", "status", "error"),
    [
        ({"scope": "openid"}, 400, "invalid_scope"),
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_id": "nobody"}, 401, "invalid_client"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
    ],
)
async def test_refusals(
    curity: CurityImitation, http: Http, change: dict[str, str], status: int, error: str
) -> None:
    form = {"grant_type": "client_credentials", "client_id": "app", "client_secret": "s3cret"}
    answered, document = await http.post(curity.token_endpoint, data={**form, **change})
    assert (answered, document["error"]) == (status, error)


async def test_a_persons_tokens_have_the_same_shape(curity: CurityImitation) -> None:
    user = claims_of(curity.user_token("app", "app", opaque=False))
    application = claims_of(curity.token("app", opaque=False, scope="openid"))
    assert user.keys() == application.keys() == CLAIMS
    assert (user["sub"], application["sub"]) == ("app", "app")
    identity = verified(curity.id_token("app", "ada"), curity.mint.jwks())
    assert (identity["purpose"], identity["aud"], identity["sub"]) == ("id", "app", "ada")


@pytest.mark.parametrize("as_jwt", [False, True])
async def test_introspection_names_the_client(
    curity: CurityImitation, http: Http, clock: ManualClock, as_jwt: bool
) -> None:
    curity.jwt_access_tokens = as_jwt
    _, granted = await http.grant(curity.token_endpoint, "app")
    status, document = await introspect(curity, http, granted["access_token"])
    assert (status, document.keys()) == (200, CLAIMS | {"active", "client_id", "token_type"})
    assert (document["active"], document["client_id"], document["sub"]) == (True, "app", "app")
    _, document = await introspect(curity, http, curity.user_token("app", "ada"))
    assert (document["client_id"], document["sub"]) == ("app", "ada")
    clock.advance(300)
    assert await introspect(curity, http, granted["access_token"]) == (200, {"active": False})


async def test_introspection_is_for_its_own_clients_by_basic(curity: CurityImitation, http: Http) -> None:
    token = curity.token("app")
    for options in (
        {"data": {"token": token}},
        {"data": {"token": token}, "headers": basic_header("app")},
        {"data": {"token": token, "client_id": "gateway", "client_secret": "s3cret"}},
    ):
        status, document = await http.post(curity.introspection_endpoint, **options)
        assert (status, document["error"]) == (401, "invalid_client")
    assert curity.calls[Endpoint.INTROSPECTION] == 3


async def test_the_phantom_token_is_the_jwt_behind(
    curity: CurityImitation, http: Http, clock: ManualClock
) -> None:
    token = curity.token("app")
    clock.advance(100)
    status, _ = await introspect(curity, http, token, "application/jwt")
    assert (status, http.headers["Content-Type"]) == (200, "application/jwt")
    assert http.headers["Cache-Control"] == "max-age=200"
    claims = verified(http.text, curity.mint.jwks())
    assert (claims.keys(), claims["sub"]) == (CLAIMS, "app")
    curity.revoke(token)
    status, _ = await introspect(curity, http, token, "application/jwt")
    assert (status, http.text) == (204, "")


async def test_an_id_token_is_not_active(curity: CurityImitation, http: Http) -> None:
    assert await introspect(curity, http, curity.id_token("app")) == (200, {"active": False})
