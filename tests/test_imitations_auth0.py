"""The imitation of Auth0 behaves as its documentation says."""

from collections.abc import AsyncIterator

import aiohttp
import jwt
import pytest
from imitation_support import Http, claims_of, header_of, verified
from imitations import Auth0Api, Auth0Imitation

from validator.model import Endpoint
from validator.testing import FakeClient, Fault, ManualClock

OWN, RFC, CLOSED = "https://own.example/", "https://rfc9068.example/", "https://closed.example/"
SYMMETRIC, ENCRYPTED, LISTED = "https://hs256.example/", "https://jwe.example/", "https://list.example/"
APIS = {
    OWN: Auth0Api(scopes=("read", "write")),
    RFC: Auth0Api(profile="rfc9068"),
    CLOSED: Auth0Api(granted_to=frozenset({"somebody-else"})),
    SYMMETRIC: Auth0Api(alg="HS256", secret="x" * 32),
    ENCRYPTED: Auth0Api(encrypted=True),
    LISTED: Auth0Api(audience_list=True, gty=False),
}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def auth0(clock: ManualClock) -> AsyncIterator[Auth0Imitation]:
    basic = FakeClient("s3cret", auth_methods=frozenset({"client_secret_basic"}))
    async with Auth0Imitation({"app": "s3cret", "basic": basic}, clock=clock, apis=APIS) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        yield Http(session)


async def test_each_domain_is_an_issuer_with_a_slash(auth0: Auth0Imitation, http: Http) -> None:
    assert auth0.issuer == f"{auth0.origin}/"
    assert auth0.custom_issuer == auth0.issuer.replace("127.0.0.1", "localhost")
    for issuer in (auth0.issuer, auth0.custom_issuer):
        metadata = await http.get(f"{issuer}.well-known/openid-configuration")
        assert metadata["issuer"] == issuer
        assert metadata["jwks_uri"] == f"{issuer}.well-known/jwks.json"
        status, document = await http.grant(metadata["token_endpoint"], "app", audience=OWN)
        assert status == 200
        claims = verified(document["access_token"], await http.get(metadata["jwks_uri"]))
        assert claims["iss"] == issuer


async def test_auth0s_own_profile(auth0: Auth0Imitation, http: Http) -> None:
    _, document = await http.grant(auth0.token_endpoint, "app", audience=OWN)
    token = document.pop("access_token")
    assert document == {"expires_in": 86400, "token_type": "Bearer", "scope": "read write"}
    assert verified(token, auth0.mint.jwks()) == {
        "iss": auth0.issuer,
        "sub": "app@clients",
        "aud": OWN,
        "iat": 1_800_000_000,
        "exp": 1_800_086_400,
        "scope": "read write",
        "gty": "client-credentials",
        "azp": "app",
    }
    assert header_of(token)["typ"] == "JWT"


async def test_the_profile_of_rfc_9068(auth0: Auth0Imitation, http: Http) -> None:
    _, document = await http.grant(auth0.token_endpoint, "app", audience=RFC)
    claims = verified(document["access_token"], auth0.mint.jwks())
    assert claims.keys() == {"iss", "sub", "aud", "iat", "exp", "client_id", "jti"}
    assert (claims["client_id"], claims["sub"]) == ("app", "app@clients")
    assert header_of(document["access_token"])["typ"] == "at+jwt"


async def test_the_audience_may_be_a_list(auth0: Auth0Imitation) -> None:
    claims = claims_of(auth0.token("app", audience=LISTED))
    assert claims["aud"] == [LISTED, f"{auth0.issuer}userinfo"]
    assert "gty" not in claims
    person = claims_of(auth0.user_token("app", audience=OWN))
    assert (person["aud"], person["azp"]) == ([OWN, f"{auth0.issuer}userinfo"], "app")
    assert person["sub"].startswith("auth0|")
    assert "openid" in person["scope"]


async def test_hs256_tokens_verify_under_the_apis_secret(auth0: Auth0Imitation, http: Http) -> None:
    _, document = await http.grant(auth0.token_endpoint, "app", audience=SYMMETRIC)
    token = document["access_token"]
    assert header_of(token) == {"alg": "HS256", "typ": "JWT"}
    off = dict.fromkeys(("verify_aud", "verify_exp", "verify_iat"), False)
    assert jwt.decode(token, "x" * 32, algorithms=["HS256"], options=off)["azp"] == "app"


async def test_encrypted_tokens_have_five_parts(auth0: Auth0Imitation, http: Http) -> None:
    _, document = await http.grant(auth0.token_endpoint, "app", audience=ENCRYPTED)
    assert document["access_token"].count(".") == 4
    header = header_of(document["access_token"])
    assert (header["alg"], header["enc"], header["cty"]) == ("RSA-OAEP-256", "A256GCM", "JWT")


# -- the grant -----------------------------------------------------------------------------------------------


async def test_a_json_body_is_as_good_as_a_form(auth0: Auth0Imitation, http: Http) -> None:
    body = {"grant_type": "client_credentials", "client_id": "app", "client_secret": "s3cret", "audience": OWN}
    status, document = await http.post(auth0.token_endpoint, json=body)
    assert (status, claims_of(document["access_token"])["azp"]) == (200, "app")
    assert auth0.requests[-1].parameters["audience"] == OWN
    assert "s3cret" not in repr(auth0.requests)
    status, _ = await http.post(auth0.token_endpoint, json=["no", "object"])
    assert status == 400


@pytest.mark.parametrize(
    ("change", "status", "text"),
    [
        (
            {"audience": ""},
            403,
            "No audience parameter was provided, and no default audience has been configured",
        ),
        ({"audience": "https://nowhere.example/"}, 403, "Service not found: https://nowhere.example/"),
        ({"audience": CLOSED}, 403, f'Client is not authorized to access "{CLOSED}"'),
        ({"client_secret": "wrong"}, 401, "Unauthorized"),
        ({"client_id": "nobody"}, 401, "Unauthorized"),
        ({"scope": "admin"}, 403, "Client has not been granted scopes: admin"),
    ],
)
async def test_every_refusal_is_called_access_denied(
    auth0: Auth0Imitation, http: Http, change: dict[str, str], status: int, text: str
) -> None:
    form = {"grant_type": "client_credentials", "client_id": "app", "client_secret": "s3cret", "audience": OWN}
    answered, document = await http.post(auth0.token_endpoint, data={**form, **change})
    assert (answered, document["error"]) == (status, "access_denied")
    assert document["error_description"].startswith(text)


async def test_the_registered_way_of_authentication_is_demanded(auth0: Auth0Imitation, http: Http) -> None:
    assert (await http.grant(auth0.token_endpoint, "basic", audience=OWN))[0] == 401
    assert (await http.grant(auth0.token_endpoint, "basic", basic=True, audience=OWN))[0] == 200


async def test_a_tenant_may_have_a_default_audience(auth0: Auth0Imitation, http: Http) -> None:
    auth0.default_audience = RFC
    _, document = await http.grant(auth0.token_endpoint, "app")
    assert claims_of(document["access_token"])["aud"] == RFC


async def test_without_an_audience_the_token_may_be_opaque(auth0: Auth0Imitation, http: Http) -> None:
    auth0.opaque_without_audience = True
    status, document = await http.grant(auth0.token_endpoint, "app")
    assert status == 200
    assert "." not in document["access_token"]


async def test_the_rate_limit_is_announced_and_kept(auth0: Auth0Imitation, http: Http, clock: ManualClock) -> None:
    auth0.rate_limit.allowed = 1
    assert (await http.grant(auth0.token_endpoint, "app", audience=OWN))[0] == 200
    assert http.headers["X-RateLimit-Remaining"] == "0"
    status, document = await http.grant(auth0.token_endpoint, "app", audience=OWN)
    assert (status, document["error"]) == (429, "too_many_requests")
    clock.set_now(int(http.headers["X-RateLimit-Reset"]))
    assert (await http.grant(auth0.token_endpoint, "app", audience=OWN))[0] == 200


async def test_it_misbehaves_as_told(auth0: Auth0Imitation, http: Http) -> None:
    auth0.fail(Fault.server_error(), Endpoint.JWKS)
    assert (await http.call("GET", f"{auth0.issuer}.well-known/jwks.json"))[0] == 500
    assert (await http.call("GET", auth0.discovery_url))[0] == 200
