"""The development identity provider answers as the RFCs say, and misbehaves as it is told."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote_plus

import aiohttp
import jwt
import pytest

from validator.model import Endpoint
from validator.testing import ABSENT, FakeClient, FakeIdp, Fault, ManualClock

SECRETS = ["plain", "with:colon", "per%cent%41", "plus+plus", "späce and ünicode €", "a=b&c"]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def idp(clock: ManualClock) -> AsyncIterator[FakeIdp]:
    async with FakeIdp({"orders": "s3cret"}, clock=clock) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        yield session


def verified(token: str, jwks: dict[str, Any], **options: Any) -> dict[str, Any]:
    """By PyJWT's own high-level path, which the product does not use."""
    keys = jwt.PyJWKSet.from_dict(jwks)
    header = jwt.get_unverified_header(token)
    return jwt.decode(
        token,
        keys[header["kid"]],
        algorithms=[header["alg"]],
        options={"verify_aud": False, "verify_exp": False, "verify_iat": False, **options},
    )


async def ask(http: aiohttp.ClientSession, idp: FakeIdp, **form: str) -> tuple[int, dict[str, Any]]:
    form = {"grant_type": "client_credentials", "client_id": "orders", "client_secret": "s3cret", **form}
    async with http.post(idp.token_endpoint, data=form) as reply:
        return reply.status, await reply.json()


# -- FakeIdp: documents --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "/", "/oauth2/default", "/tenant/"])
async def test_discovery_answers_at_both_well_known_places(
    clock: ManualClock, http: aiohttp.ClientSession, path: str
) -> None:
    async with FakeIdp(clock=clock, path=path) as idp:
        assert idp.issuer == f"{idp.origin}{path}"
        oidc = f"{idp.issuer.rstrip('/')}/.well-known/openid-configuration"
        rfc8414 = f"{idp.origin}/.well-known/oauth-authorization-server{path.rstrip('/')}"
        assert idp.discovery_url == oidc
        for url in (oidc, rfc8414):
            async with http.get(url) as reply:
                document = await reply.json()
            assert document["issuer"] == idp.issuer
            async with http.get(document["jwks_uri"]) as reply:
                assert await reply.json() == idp.mint.jwks()
        assert idp.calls == {Endpoint.DISCOVERY: 2, Endpoint.JWKS: 2}


async def test_a_well_known_document_can_be_missing(idp: FakeIdp, http: aiohttp.ClientSession) -> None:
    idp.well_known = {"oauth-authorization-server"}
    async with http.get(idp.discovery_url) as reply:
        assert reply.status == 404
    async with http.get(f"{idp.origin}/.well-known/oauth-authorization-server") as reply:
        assert reply.status == 200


async def test_documents_can_be_made_wrong(idp: FakeIdp, http: aiohttp.ClientSession) -> None:
    idp.metadata.update(issuer="https://other.example", token_endpoint=ABSENT)
    async with http.get(idp.discovery_url) as reply:
        document = await reply.json()
    assert document["issuer"] == "https://other.example"
    assert "token_endpoint" not in document
    idp.jwks_document, idp.jwks_cache_control = {"keys": []}, "max-age=60"
    async with http.get(idp.jwks_uri) as reply:
        assert await reply.json() == {"keys": []}
        assert reply.headers["Cache-Control"] == "max-age=60"


# -- FakeIdp: tokens -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", SECRETS)
async def test_any_secret_passes_by_basic_and_by_post(
    idp: FakeIdp, http: aiohttp.ClientSession, secret: str
) -> None:
    client_id = "client:with+all%of ü"
    idp.clients[client_id] = FakeClient(secret)
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()
    basic = {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    form = {"grant_type": "client_credentials"}
    async with http.post(idp.token_endpoint, data=form, headers=basic) as reply:
        by_basic = await reply.json()
    async with http.post(
        idp.token_endpoint, data={**form, "client_id": client_id, "client_secret": secret}
    ) as reply:
        assert reply.headers["Cache-Control"] == "no-store"
        by_post = await reply.json()
    for document in (by_basic, by_post):
        claims = verified(document["access_token"], idp.mint.jwks())
        assert {claims["sub"], claims["client_id"], claims["azp"]} == {client_id}
    assert [seen.auth_method for seen in idp.requests] == ["client_secret_basic", "client_secret_post"]
    assert [seen.client_id for seen in idp.requests] == [client_id, client_id]
    assert secret == "plain" or secret not in repr((idp.requests, idp.clients))
    assert base64.b64encode(pair).decode() not in repr(idp.requests)


async def test_a_secret_that_was_not_urlencoded_fails_by_basic(idp: FakeIdp, http: aiohttp.ClientSession) -> None:
    idp.clients["orders"].secret = "plus+plus"
    pair = base64.b64encode(b"orders:plus+plus").decode()
    async with http.post(
        idp.token_endpoint,
        data={"grant_type": "client_credentials"},
        headers={"Authorization": f"Basic {pair}"},
    ) as reply:
        assert reply.status == 401
        assert reply.headers["WWW-Authenticate"].startswith("Basic ")
        assert (await reply.json())["error"] == "invalid_client"


@pytest.mark.parametrize("status", [400, 401])
@pytest.mark.parametrize("form", [{"client_secret": "wrong"}, {"client_secret": ""}, {"client_id": "nobody"}])
async def test_a_wrong_pair_is_invalid_client(
    idp: FakeIdp, http: aiohttp.ClientSession, form: dict[str, str], status: int
) -> None:
    idp.invalid_client_status = status
    answer, document = await ask(http, idp, **form)
    assert (answer, document["error"]) == (status, "invalid_client")


async def test_the_registered_method_is_demanded(idp: FakeIdp, http: aiohttp.ClientSession) -> None:
    idp.clients["orders"].auth_methods = frozenset({"client_secret_basic"})
    assert (await ask(http, idp))[1]["error"] == "invalid_client"


@pytest.mark.parametrize(
    ("form", "error"),
    [({"grant_type": "password"}, "unsupported_grant_type"), ({"scope": "read write"}, "invalid_scope")],
)
async def test_other_errors_of_rfc_6749(
    idp: FakeIdp, http: aiohttp.ClientSession, form: dict[str, str], error: str
) -> None:
    idp.clients["orders"].scopes = ("read",)
    status, document = await ask(http, idp, **form)
    assert (status, document["error"]) == (400, error)


async def test_two_ways_of_authentication_or_a_repeated_parameter_are_refused(
    idp: FakeIdp, http: aiohttp.ClientSession
) -> None:
    form = [("grant_type", "client_credentials"), ("client_id", "orders"), ("client_secret", "s3cret")]
    async with http.post(idp.token_endpoint, data=form, headers={"Authorization": "Basic eDp5"}) as reply:
        assert (await reply.json())["error"] == "invalid_request"
    async with http.post(idp.token_endpoint, data=[*form, ("scope", "a"), ("scope", "b")]) as reply:
        assert (await reply.json())["error"] == "invalid_request"
    async with http.post(idp.token_endpoint, json=dict(form)) as reply:
        assert (await reply.json())["error"] == "invalid_request"


@pytest.mark.parametrize(
    ("said", "expected"),
    [(None, 3600), (60, 60), ("60", "60"), (0, 0), (-5, -5), (1.5, 1.5), (ABSENT, None)],
)
async def test_expires_in_says_what_it_is_told(
    idp: FakeIdp, http: aiohttp.ClientSession, said: Any, expected: Any
) -> None:
    idp.clients["orders"].expires_in = said
    _, document = await ask(http, idp)
    assert document.get("expires_in") == expected
    assert verified(document["access_token"], idp.mint.jwks())["exp"] == 1_800_003_600


async def test_scope_and_audience_reach_the_token(idp: FakeIdp, http: aiohttp.ClientSession) -> None:
    _, document = await ask(http, idp, scope="read write", audience="api://orders")
    claims = verified(document["access_token"], idp.mint.jwks())
    assert (claims["scope"], claims["aud"], document["scope"]) == ("read write", "api://orders", "read write")
    _, document = await ask(http, idp, resource="api://other")
    claims = verified(document["access_token"], idp.mint.jwks())
    assert "scope" not in claims
    assert claims["aud"] == "api://other"


async def test_a_client_may_have_claims_of_its_own(idp: FakeIdp, http: aiohttp.ClientSession) -> None:
    idp.clients["orders"].claims = {"appid": "orders", "azp": ABSENT, "aud": "api://mine"}
    _, document = await ask(http, idp, audience="api://asked")
    for token in (document["access_token"], idp.token("orders")):
        claims = verified(token, idp.mint.jwks())
        assert claims["appid"] == "orders"
        assert claims["aud"] == "api://mine"
        assert "azp" not in claims


async def test_an_opaque_token_is_no_jwt(idp: FakeIdp, http: aiohttp.ClientSession) -> None:
    idp.clients["orders"].opaque = True
    _, document = await ask(http, idp)
    assert "." not in document["access_token"]


async def test_a_token_without_http(idp: FakeIdp, clock: ManualClock) -> None:
    clock.advance(100)
    claims = verified(idp.token("unregistered", scope="x", exp=5), idp.mint.jwks())
    assert (claims["client_id"], claims["iss"]) == ("unregistered", idp.issuer)
    assert (claims["iat"], claims["exp"], claims["scope"]) == (1_800_000_100, 5, "x")
    assert idp.calls.total() == 0


# -- FakeIdp: faults -----------------------------------------------------------------------------------------


async def test_a_fault_holds_at_its_endpoint_until_healed(idp: FakeIdp, http: aiohttp.ClientSession) -> None:
    idp.fail(Fault.server_error(), Endpoint.TOKEN)
    idp.fail(Fault.rate_limited({"Retry-After": "7"}), Endpoint.JWKS)
    async with http.post(idp.token_endpoint) as reply:
        assert reply.status == 500
    async with http.get(idp.jwks_uri) as reply:
        assert (reply.status, reply.headers["Retry-After"]) == (429, "7")
    async with http.get(idp.discovery_url) as reply:
        assert reply.status == 200
    idp.heal()
    assert (await ask(http, idp))[0] == 200
    assert idp.calls == {Endpoint.TOKEN: 2, Endpoint.JWKS: 1, Endpoint.DISCOVERY: 1}


@pytest.mark.parametrize(
    ("fault", "status", "body"),
    [
        (Fault.garbage(b"\xff"), 200, b"\xff"),
        (Fault.redirect("https://elsewhere.example/"), 302, b""),
        (Fault.oversized(100_000), 200, b" " * 100_000),
        (Fault.json_reply({"keys": []}), 200, b'{"keys": []}'),
        (
            Fault.oauth_error("access_denied", status=403),
            403,
            b'{"error": "access_denied", "error_description": ""}',
        ),
        (Fault(status=418), 418, b""),
    ],
)
async def test_each_fault_is_served_as_named(
    idp: FakeIdp, http: aiohttp.ClientSession, fault: Fault, status: int, body: bytes
) -> None:
    idp.fail(fault)
    async with http.get(idp.jwks_uri, allow_redirects=False) as reply:
        assert (reply.status, await reply.read()) == (status, body)


async def test_slow_answers_rightly_once_the_gate_opens(idp: FakeIdp, http: aiohttp.ClientSession) -> None:
    gate = asyncio.Event()
    idp.fail(Fault.slow(gate), Endpoint.TOKEN)
    asking = asyncio.create_task(ask(http, idp))
    await idp.wait_for_calls(Endpoint.TOKEN, 1)
    assert not asking.done()
    gate.set()
    assert (await asking)[0] == 200


async def test_stalled_requests_do_not_keep_it_from_stopping(
    clock: ManualClock, http: aiohttp.ClientSession
) -> None:
    async with FakeIdp(clock=clock) as idp:
        idp.fail(Fault.stall())
        asking = asyncio.create_task(http.get(idp.jwks_uri))
        await idp.wait_for_calls(Endpoint.JWKS, 1)
    with pytest.raises(aiohttp.ClientError):
        await asking


async def test_down_refuses_connections_and_comes_back_on_the_same_port(
    idp: FakeIdp, http: aiohttp.ClientSession
) -> None:
    before = idp.jwks_uri
    async with http.get(before) as reply:
        assert reply.status == 200
    await idp.take_down()
    with pytest.raises(aiohttp.ClientConnectorError):
        await http.get(before)
    await idp.bring_back()
    await idp.bring_back()
    async with http.get(before) as reply:
        assert reply.status == 200
    assert idp.jwks_uri == before


async def test_waiting_for_calls_gives_up(idp: FakeIdp) -> None:
    with pytest.raises(TimeoutError):
        await idp.wait_for_calls(Endpoint.TOKEN, 1, timeout_s=0.01)


async def test_it_says_that_it_is_for_development_and_binds_loopback(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with FakeIdp(clock=clock) as idp:
        assert "DEVELOPMENT" in caplog.text
        assert idp.origin.startswith("http://127.0.0.1:")


async def test_a_failed_start_gives_the_port_back(clock: ManualClock) -> None:
    idp = FakeIdp(clock=clock, alg="HS256")
    with pytest.raises(ValueError, match="HS256"):
        await idp.start()
    assert idp._held is None


async def test_two_providers_with_different_keyrings_do_not_know_each_other(clock: ManualClock) -> None:
    async with (
        FakeIdp(clock=clock, alg="ES256", keyring="a") as one,
        FakeIdp(clock=clock, alg="ES256", keyring="b") as two,
    ):
        with pytest.raises(KeyError):
            verified(one.token("x"), two.mint.jwks())


async def test_a_tls_context_makes_it_https(clock: ManualClock) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    async with FakeIdp(clock=clock, ssl_context=context) as idp:
        assert idp.issuer.startswith("https://127.0.0.1:")
