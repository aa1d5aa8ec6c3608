"""The imitation of Okta behaves as its documentation says."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from imitation_support import Http, basic_header, claims_of, header_of, verified
from imitations import OktaImitation

from validator.model import Endpoint
from validator.testing import FakeClient, Fault, ManualClock

SSWS = {"Authorization": "SSWS 00-okta-api-token"}
SERVICE = {
    "client_name": "Orders",
    "application_type": "service",
    "grant_types": ["client_credentials"],
    "token_endpoint_auth_method": "client_secret_basic",
}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def okta(clock: ManualClock) -> AsyncIterator[OktaImitation]:
    post = FakeClient("s3cret", auth_methods=frozenset({"client_secret_post"}))
    async with OktaImitation(
        {"app": "s3cret", "post": post}, clock=clock, custom_claims=("client_id",)
    ) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        yield Http(session)


# -- documents -----------------------------------------------------------------------------------------------


async def test_the_custom_server_is_found_at_each_well_known_place(okta: OktaImitation, http: Http) -> None:
    assert okta.issuer == f"{okta.origin}/oauth2/default"
    for url in (
        okta.discovery_url,
        f"{okta.issuer}/.well-known/oauth-authorization-server",
        f"{okta.origin}/.well-known/oauth-authorization-server/oauth2/default",
    ):
        document = await http.get(url)
        assert document["issuer"] == okta.issuer
        assert document["jwks_uri"] == f"{okta.issuer}/v1/keys"
        assert document["token_endpoint"] == f"{okta.issuer}/v1/token"
        assert document["introspection_endpoint"] == f"{okta.issuer}/v1/introspect"
    await http.get(document["jwks_uri"])
    assert http.headers["Cache-Control"] == "max-age=3600, must-revalidate"
    okta.jwks_cache_control = "max-age=60"
    await http.get(document["jwks_uri"])
    assert http.headers["Cache-Control"] == "max-age=60"


async def test_the_org_publishes_no_key_of_its_access_tokens(okta: OktaImitation, http: Http) -> None:
    document = await http.get(f"{okta.origin}/.well-known/openid-configuration")
    assert document["issuer"] == okta.org_issuer == okta.origin
    assert document["token_endpoint"] == f"{okta.origin}/oauth2/v1/token"
    status, granted = await http.grant(document["token_endpoint"], "app", basic=True, scope="okta.users.read")
    assert status == 200
    for published in (document["jwks_uri"], f"{okta.issuer}/v1/keys"):
        with pytest.raises(KeyError):
            verified(granted["access_token"], await http.get(published))
    _, answer = await http.post(
        document["introspection_endpoint"], data={"token": granted["access_token"]}, headers=basic_header("app")
    )
    assert (answer["active"], answer["client_id"], answer["iss"]) == (True, "app", okta.origin)


# -- the grant -----------------------------------------------------------------------------------------------


async def test_the_token_has_oktas_claims(okta: OktaImitation, http: Http) -> None:
    status, document = await http.grant(okta.token_endpoint, "app", basic=True, scope="orders.read orders.write")
    assert status == 200
    token = document.pop("access_token")
    assert document == {"token_type": "Bearer", "expires_in": 3600, "scope": "orders.read orders.write"}
    claims = verified(token, await http.get(f"{okta.issuer}/v1/keys"))
    assert claims.pop("jti").startswith("AT.")
    assert claims == {
        "ver": 1,
        "iss": okta.issuer,
        "aud": "api://default",
        "iat": 1_800_000_000,
        "exp": 1_800_003_600,
        "cid": "app",
        "sub": "app",
        "scp": ["orders.read", "orders.write"],
        "client_id": "app",
    }
    assert header_of(token).keys() == {"kid", "alg"}


@pytest.mark.parametrize(
    ("scope", "part"), [("", "default scopes"), ("openid", "not configured"), ("unknown", "not configured")]
)
async def test_a_scope_of_the_servers_own_is_demanded(
    okta: OktaImitation, http: Http, scope: str, part: str
) -> None:
    asked = {"scope": scope} if scope else {}
    status, document = await http.grant(okta.token_endpoint, "app", basic=True, **asked)
    assert (status, document["error"]) == (400, "invalid_scope")
    assert part in document["error_description"]


async def test_a_default_scope_makes_it_optional(okta: OktaImitation, http: Http) -> None:
    okta.default_scopes = ("orders.read",)
    status, document = await http.grant(okta.token_endpoint, "app", basic=True)
    assert (status, claims_of(document["access_token"])["scp"]) == (200, ["orders.read"])


async def test_without_a_policy_nobody_gets_in(okta: OktaImitation, http: Http) -> None:
    okta.policy = False
    status, document = await http.grant(okta.token_endpoint, "app", basic=True, scope="orders.read")
    assert (status, document["error"]) == (400, "access_denied")


@pytest.mark.parametrize(
    ("client_id", "secret", "basic", "status"),
    [
        ("app", "s3cret", True, 200),
        ("app", "s3cret", False, 401),
        ("post", "s3cret", False, 200),
        ("post", "s3cret", True, 401),
        ("app", "wrong", True, 401),
        ("nobody", "s3cret", True, 401),
    ],
)
async def test_the_registered_way_of_authentication_is_the_only_one(
    okta: OktaImitation, http: Http, client_id: str, secret: str, basic: bool, status: int
) -> None:
    answered, document = await http.grant(okta.token_endpoint, client_id, secret, basic=basic, scope="orders.read")
    assert answered == status
    assert status == 200 or document["error"] == "invalid_client"


async def test_introspection_calls_cid_client_id(okta: OktaImitation, http: Http, clock: ManualClock) -> None:
    token = okta.token("app", scopes=("orders.read", "orders.write"))
    ask = {"data": {"token": token}, "headers": basic_header("app")}
    _, document = await http.post(f"{okta.issuer}/v1/introspect", **ask)
    assert (document["active"], document["client_id"]) == (True, "app")
    assert document["scope"] == "orders.read orders.write"
    clock.advance(3600)
    assert await http.post(f"{okta.issuer}/v1/introspect", **ask) == (200, {"active": False})
    status, _ = await http.post(f"{okta.issuer}/v1/introspect", data={"token": token})
    assert status == 401


async def test_the_rate_limit_is_announced_and_kept(okta: OktaImitation, http: Http, clock: ManualClock) -> None:
    okta.rate_limit.allowed = 2
    seen = []
    for _ in range(3):
        status, document = await http.call("GET", f"{okta.issuer}/v1/keys")
        seen.append((status, http.headers["X-Rate-Limit-Limit"], http.headers["X-Rate-Limit-Remaining"]))
    assert seen == [(200, "2", "1"), (200, "2", "0"), (429, "2", "0")]
    assert document["errorCode"] == "E0000047"
    reset = int(http.headers["X-Rate-Limit-Reset"])
    assert 0 < reset - clock.now() <= 60
    clock.set_now(reset - 1)
    assert (await http.call("GET", f"{okta.issuer}/v1/keys"))[0] == 429
    clock.set_now(reset)
    assert (await http.call("GET", f"{okta.issuer}/v1/keys"))[0] == 200


async def test_a_persons_token_has_uid(okta: OktaImitation) -> None:
    claims = claims_of(okta.user_token("app"))
    assert (claims["cid"], claims["sub"], claims["scp"]) == ("app", "ada@example.com", ["openid"])
    assert claims["uid"]


# -- the clients API -----------------------------------------------------------------------------------------


async def test_a_client_lives_and_dies(okta: OktaImitation, http: Http) -> None:
    status, created = await http.post(okta.clients_endpoint, json=SERVICE, headers=SSWS)
    assert status == 201
    client_id, first = created["client_id"], created["client_secret"]
    place = f"{okta.clients_endpoint}/{client_id}"
    assert (created["client_secret_expires_at"], created["client_id_issued_at"]) == (0, 1_800_000_000)

    async def grant(secret: str) -> int:
        return (await http.grant(okta.token_endpoint, client_id, secret, basic=True, scope="orders.read"))[0]

    assert await grant(first) == 200
    shown = await http.get(place, headers=SSWS)
    assert shown["client_name"] == "Orders"
    assert "client_secret" not in shown
    status, renamed = await http.call("PUT", place, json={**SERVICE, "client_name": "Renamed"}, headers=SSWS)
    assert (status, renamed["client_name"], await grant(first)) == (200, "Renamed", 200)
    status, renewed = await http.post(f"{place}/lifecycle/newSecret", headers=SSWS)
    assert status == 200
    assert (await grant(first), await grant(renewed["client_secret"])) == (401, 200)
    assert (await http.call("DELETE", place, headers=SSWS))[0] == 204
    assert await grant(renewed["client_secret"]) == 401
    status, document = await http.call("GET", place, headers=SSWS)
    assert (status, document["errorCode"]) == (404, "E0000007")
    assert [kind for kind, _ in okta.client_api.events] == ["created", "updated", "newSecret", "deleted"]


@pytest.mark.parametrize(
    "header", [{}, {"Authorization": "SSWS wrong"}, {"Authorization": "Bearer 00-okta-api-token"}]
)
async def test_the_clients_api_wants_its_token(okta: OktaImitation, http: Http, header: dict[str, str]) -> None:
    status, document = await http.post(okta.clients_endpoint, json=SERVICE, headers=header)
    assert (status, document["errorCode"], document["errorCauses"]) == (401, "E0000011", [])
    assert okta.client_api.metadata == {}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"client_name": ""}, "client_name"),
        ({"grant_types": ["authorization_code"]}, "grant_types"),
        ({"application_type": "web", "grant_types": ["authorization_code"]}, "redirect_uris"),
        ({"token_endpoint_auth_method": "magic"}, "token_endpoint_auth_method"),
    ],
)
async def test_mistakes_are_named(okta: OktaImitation, http: Http, change: dict[str, object], field: str) -> None:
    status, document = await http.post(okta.clients_endpoint, json={**SERVICE, **change}, headers=SSWS)
    assert (status, document["errorCode"]) == (400, "E0000001")
    assert document["errorSummary"] == f"Api validation failed: {field}"
    assert document["errorCauses"][0]["errorSummary"].startswith(f"{field}: ")


async def test_a_lost_reply_leaves_a_client_behind(okta: OktaImitation, http: Http) -> None:
    okta.fail(Fault.reply_lost(), Endpoint.REGISTRATION)
    with pytest.raises(aiohttp.ClientError):
        await http.post(okta.clients_endpoint, json=SERVICE, headers=SSWS)
    assert len(okta.client_api.metadata) == 1
