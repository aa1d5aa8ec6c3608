"""The imitation of Microsoft Entra ID behaves as its documentation says."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import jwt
import pytest
from imitation_support import Http, claims_of, header_of, verified
from imitations import EntraImitation, EntraResource
from imitations.entra_tokens import GRAPH_NONCE

from validator.model import Endpoint
from validator.testing import Fault, ManualClock
from validator.testing.mint import b64url

TENANT = "11111111-1111-4111-8111-111111111111"
APP = "22222222-2222-4222-8222-222222222222"
API_ID = "33333333-3333-4333-8333-333333333333"
OWN_ID = "44444444-4444-4444-8444-444444444444"
V1, V2, OWN, GRAPH = "api://orders", "api://billing", "api://saml", "https://graph.microsoft.com"
RESOURCES = {
    V1: EntraResource(1, roles={APP: ("Orders.Read",)}),
    V2: EntraResource(2, audience=API_ID),
    OWN: EntraResource(2, audience=OWN_ID, own_key=True),
}


@pytest.fixture
async def entra() -> AsyncIterator[EntraImitation]:
    async with EntraImitation({APP: "s3cret"}, tenant=TENANT, clock=ManualClock(), resources=RESOURCES) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        yield Http(session)


async def test_each_version_has_its_own_document_issuer_and_keys(entra: EntraImitation, http: Http) -> None:
    base = f"{entra.origin}/{TENANT}"
    v1 = await http.get(f"{base}/.well-known/openid-configuration")
    v2 = await http.get(f"{base}/v2.0/.well-known/openid-configuration")
    assert v1["issuer"] == entra.issuer == f"https://sts.windows.net/{TENANT}/"
    assert v2["issuer"] == entra.issuer_v2 == f"https://login.microsoftonline.com/{TENANT}/v2.0"
    assert (v1["jwks_uri"], v1["token_endpoint"]) == (f"{base}/discovery/keys", f"{base}/oauth2/token")
    assert (v2["jwks_uri"], v2["token_endpoint"]) == (f"{base}/discovery/v2.0/keys", f"{base}/oauth2/v2.0/token")
    keys = [(await http.get(document["jwks_uri"]))["keys"] for document in (v1, v2)]
    assert not {key["kid"] for key in keys[0]} & {key["kid"] for key in keys[1]}
    assert all(key["x5t"] == key["kid"] and "alg" not in key for key in keys[0] + keys[1])
    assert entra.calls == {Endpoint.DISCOVERY: 2, Endpoint.JWKS: 2}


async def test_a_v2_key_names_the_issuer_that_may_use_it(entra: EntraImitation, http: Http) -> None:
    keys = (await http.get(f"{entra.base}/discovery/v2.0/keys"))["keys"]
    template = "https://login.microsoftonline.com/{tenantid}/v2.0"
    assert [key["issuer"] == template for key in keys] == [True, False]
    assert keys[1]["kid"] == entra.keys.other_tenant.kid
    assert "{tenantid}" not in keys[1]["issuer"]
    assert TENANT not in keys[1]["issuer"]
    assert all("issuer" not in key for key in (await http.get(f"{entra.base}/discovery/keys"))["keys"])


async def test_the_issuers_can_be_on_loopback(http: Http) -> None:
    async with EntraImitation(tenant=TENANT.upper(), clock=ManualClock(), loopback_issuers=True) as entra:
        for issuer in (f"{entra.origin}/{TENANT}/", f"{entra.origin}/{TENANT}/v2.0"):
            document = await http.get(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
            assert document["issuer"] == issuer
        status, _ = await http.call("GET", f"{entra.origin}/{TENANT.upper()}/discovery/keys")
        assert status == 200


async def test_another_tenant_is_not_here(entra: EntraImitation, http: Http) -> None:
    other = TENANT.replace("1", "9")
    status, document = await http.call("GET", f"{entra.origin}/{other}/.well-known/openid-configuration")
    assert (status, document["error"]) == (400, "invalid_tenant")


# -- grants --------------------------------------------------------------------------------------------------


async def test_v1_takes_resource_and_answers_in_strings(entra: EntraImitation, http: Http) -> None:
    status, document = await http.grant(entra.token_endpoint, APP, resource=V1)
    now = 1_800_000_000
    assert status == 200
    token = document.pop("access_token")
    assert document == {
        "token_type": "Bearer",
        "expires_in": "3599",
        "ext_expires_in": "3599",
        "expires_on": str(now + 3599),
        "not_before": str(now - 300),
        "resource": V1,
    }
    claims = verified(token, await http.get(f"{entra.base}/discovery/keys"))
    assert claims.keys() == {
        *(
            "aud",
            "iss",
            "iat",
            "nbf",
            "exp",
            "aio",
            "appid",
            "appidacr",
            "idp",
            "oid",
            "rh",
            "roles",
            "sub",
            "tid",
        ),
        *("uti", "ver"),
    }
    assert claims["iss"] == entra.issuer
    assert (claims["aud"], claims["appid"], claims["appidacr"], claims["ver"]) == (V1, APP, "1", "1.0")
    assert (claims["tid"], claims["roles"]) == (TENANT, ["Orders.Read"])
    assert claims["sub"] == claims["oid"] != APP
    header = header_of(token)
    assert header == {"typ": "JWT", "alg": "RS256", "kid": header["kid"], "x5t": header["kid"]}


async def test_v2_takes_scope_and_answers_in_numbers(entra: EntraImitation, http: Http) -> None:
    status, document = await http.grant(entra.token_endpoint_v2, APP, basic=True, scope=f"{V2}/.default")
    token = document.pop("access_token")
    assert (status, document) == (200, {"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599})
    claims = verified(token, await http.get(f"{entra.base}/discovery/v2.0/keys"))
    assert claims["iss"] == entra.issuer_v2
    assert (claims["aud"], claims["azp"], claims["azpacr"], claims["ver"]) == (API_ID, APP, "1", "2.0")
    assert not {"appid", "appidacr", "roles", "scp", "jti"} & claims.keys()
    assert claims["sub"] == claims["oid"]


async def test_the_resource_decides_the_version_and_not_the_endpoint(entra: EntraImitation, http: Http) -> None:
    _, by_v1 = await http.grant(entra.token_endpoint, APP, resource=V2)
    _, by_v2 = await http.grant(entra.token_endpoint_v2, APP, scope=f"{V1}/.default")
    assert claims_of(by_v1["access_token"])["ver"] == "2.0"
    assert claims_of(by_v2["access_token"])["ver"] == "1.0"
    _, by_id = await http.grant(entra.token_endpoint_v2, APP, scope=f"{API_ID}/.default")
    assert claims_of(by_id["access_token"])["aud"] == API_ID


@pytest.mark.parametrize(
    ("endpoint", "change", "status", "error", "code"),
    [
        ("token_endpoint", {"scope": f"{V1}/.default"}, 400, "invalid_request", 900144),
        ("token_endpoint", {"resource": "api://nowhere"}, 400, "invalid_resource", 500011),
        ("token_endpoint_v2", {"resource": V1}, 400, "invalid_request", 900144),
        ("token_endpoint_v2", {"scope": "openid"}, 400, "invalid_scope", 1002012),
        ("token_endpoint_v2", {"scope": f"{V2}/.default openid"}, 400, "invalid_scope", 1002012),
        ("token_endpoint_v2", {"scope": f"{V2}/.default {V1}/.default"}, 400, "invalid_scope", 28000),
        ("token_endpoint_v2", {"scope": f"{V2}/read"}, 400, "invalid_scope", 1002012),
        ("token_endpoint_v2", {"client_secret": "wrong"}, 401, "invalid_client", 7000215),
        ("token_endpoint_v2", {"client_id": TENANT}, 400, "unauthorized_client", 700016),
        ("token_endpoint", {"grant_type": "password"}, 400, "unsupported_grant_type", 70003),
    ],
)
async def test_errors_are_entras_own(
    entra: EntraImitation, http: Http, endpoint: str, change: dict[str, str], status: int, error: str, code: int
) -> None:
    form: dict[str, Any] = {"grant_type": "client_credentials", "client_id": APP, "client_secret": "s3cret"}
    answered, document = await http.post(getattr(entra, endpoint), data={**form, **change})
    assert (answered, document["error"], document["error_codes"]) == (status, error, [code])
    assert document["error_description"].startswith(f"AADSTS{code}: ")
    assert {"timestamp", "trace_id", "correlation_id"} <= document.keys()


async def test_the_token_endpoint_is_for_posts_of_forms(entra: EntraImitation, http: Http) -> None:
    status, document = await http.call("GET", entra.token_endpoint)
    assert (status, document["error_codes"]) == (400, [900561])
    status, document = await http.post(entra.token_endpoint, json={"grant_type": "client_credentials"})
    assert (status, document["error_codes"]) == (400, [900144])


# -- peculiar tokens -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", ["token_endpoint", "token_endpoint_v2"])
async def test_nobody_else_can_verify_a_graph_token(entra: EntraImitation, http: Http, endpoint: str) -> None:
    asked = {"resource": GRAPH} if endpoint == "token_endpoint" else {"scope": f"{GRAPH}/.default"}
    _, document = await http.grant(getattr(entra, endpoint), APP, **asked)
    token = document["access_token"]
    assert header_of(token)["nonce"]
    claims = claims_of(token)
    assert (claims["aud"], claims["iss"], claims["ver"]) == (GRAPH, entra.issuer, "1.0")
    keys = await http.get(f"{entra.base}/discovery/keys")
    with pytest.raises(jwt.InvalidSignatureError):  # though its key is published
        verified(token, keys)
    undone = json.dumps(header_of(token) | {"nonce": GRAPH_NONCE}, separators=(",", ":")).encode()
    assert verified(f"{b64url(undone)}.{token.partition('.')[2]}", keys) == claims


async def test_an_apis_own_key_is_shown_by_appid_alone(entra: EntraImitation, http: Http) -> None:
    token = entra.token(APP, resource=OWN)
    metadata = await http.get(entra.discovery_url_v2)
    with pytest.raises(KeyError):
        verified(token, await http.get(metadata["jwks_uri"]))
    metadata = await http.get(f"{entra.discovery_url_v2}?appid={OWN_ID}")
    assert metadata["jwks_uri"].endswith(f"/discovery/v2.0/keys?appid={OWN_ID}")
    assert verified(token, await http.get(metadata["jwks_uri"]))["aud"] == OWN_ID
    metadata = await http.get(f"{entra.discovery_url}?appid={OWN_ID}")
    assert metadata["jwks_uri"].endswith(f"/discovery/keys?appid={OWN_ID}")
    normal = await http.get(f"{entra.base}/discovery/keys")
    assert await http.get(f"{entra.base}/discovery/keys?appid={API_ID}") == normal
    assert len((await http.get(metadata["jwks_uri"]))["keys"]) == len(normal["keys"]) + 1


async def test_a_persons_token_has_scp_and_a_subject_of_its_own(entra: EntraImitation) -> None:
    claims = claims_of(entra.user_token(APP, resource=V2))
    assert (claims["scp"], claims["azp"]) == ("access_as_user", APP)
    assert claims["sub"] != claims["oid"]
    assert "roles" not in claims


async def test_a_token_without_http_obeys(entra: EntraImitation) -> None:
    claims = claims_of(entra.token(APP, exp=5, tid="x"))
    assert (claims["appid"], claims["exp"], claims["tid"], claims["aud"]) == (APP, 5, "x", V1)
    assert entra.calls.total() == 0


async def test_tenants_share_keys_and_rotate_alike(entra: EntraImitation, http: Http) -> None:
    async with EntraImitation(tenant=APP, clock=ManualClock(), resources=RESOURCES) as other:
        assert other.keys.v2.current.kid == entra.keys.v2.current.kid
    old = entra.token(APP)
    entra.keys.v1.rotate()
    jwks = await http.get(f"{entra.base}/discovery/keys")
    assert verified(old, jwks)["appid"] == verified(entra.token(APP), jwks)["appid"]
    assert header_of(old)["kid"] != header_of(entra.token(APP))["kid"]


async def test_a_fault_may_hold_at_one_path(entra: EntraImitation, http: Http) -> None:
    entra.fail(Fault.server_error(503), f"/{TENANT}/discovery/keys")
    assert (await http.call("GET", f"{entra.base}/discovery/keys"))[0] == 503
    assert (await http.call("GET", f"{entra.base}/discovery/v2.0/keys"))[0] == 200
    entra.heal()
    assert (await http.call("GET", f"{entra.base}/discovery/keys"))[0] == 200
    assert entra.paths[f"/{TENANT}/discovery/keys"] == 2
