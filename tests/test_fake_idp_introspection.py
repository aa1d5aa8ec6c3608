"""The development provider's introspection answers as RFC 7662 and RFC 9701 say, and misbehaves as told."""

from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest
from imitation_support import Http, Reply, basic_header, claims_of, header_of, verified

from validator.model import Endpoint
from validator.testing import ABSENT, FakeClient, FakeIdp, Fault, ManualClock

SIGNED, PHANTOM = "application/token-introspection+jwt", "application/jwt"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def idp(clock: ManualClock) -> AsyncIterator[FakeIdp]:
    clients = {"orders": FakeClient("s3cret", opaque=True), "plain": FakeClient("s3cret")}
    async with FakeIdp({**clients, "gateway": "s3cret"}, clock=clock) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        yield Http(session)


async def ask(idp: FakeIdp, http: Http, token: str, accept: str = "application/json") -> Reply:
    headers = basic_header("gateway") | {"Accept": accept}
    return await http.post(idp.introspection_endpoint, data={"token": token}, headers=headers)


@pytest.mark.parametrize("client_id", ["orders", "plain"])
async def test_what_the_token_endpoint_mints_is_active_until_it_expires(
    idp: FakeIdp, http: Http, clock: ManualClock, client_id: str
) -> None:
    _, granted = await http.grant(idp.token_endpoint, client_id, scope="read write", audience="api://orders")
    token = granted["access_token"]
    assert ("." in token) == (client_id == "plain")
    status, document = await ask(idp, http, token)
    assert status == 200
    assert document.pop("jti")
    assert document == {
        "active": True,
        "client_id": client_id,
        "sub": client_id,
        "scope": "read write",
        "iss": idp.issuer,
        "aud": "api://orders",
        "iat": 1_800_000_000,
        "exp": 1_800_003_600,
        "token_type": "Bearer",
    }
    clock.advance(3599)
    assert (await ask(idp, http, token))[1]["active"] is True
    clock.advance(1)
    assert await ask(idp, http, token) == (200, {"active": False})


@pytest.mark.parametrize(
    "make",
    [
        lambda _idp: "never-seen",
        lambda _idp: "a.b.c",
        lambda idp: idp.mint.mint_alg_none({"client_id": "plain"}),
        lambda idp: idp.mint.mint_key_confused({"client_id": "plain"}),
        lambda idp: idp.token("plain")[:-8] + "AAAAAAAA",
        lambda idp: idp.token("plain", nbf=1_800_000_001),
        lambda idp: idp.token("plain", exp=ABSENT),
    ],
)
async def test_whatever_else_is_not_active(idp: FakeIdp, http: Http, make: Callable[[FakeIdp], str]) -> None:
    assert await ask(idp, http, make(idp)) == (200, {"active": False})


async def test_a_revoked_token_is_not_active(idp: FakeIdp, http: Http) -> None:
    for token in (idp.opaque_token("orders", scope="x"), idp.token("orders"), idp.token("plain")):
        assert (await ask(idp, http, token))[1]["active"] is True
        idp.revoke(token)
        assert await ask(idp, http, token) == (200, {"active": False})


async def test_the_asker_must_prove_itself_unless_told_otherwise(idp: FakeIdp, http: Http) -> None:
    data = {"token": idp.token("plain")}
    url = idp.introspection_endpoint
    status, document = await http.post(url, data=data)
    assert (status, document["error"]) == (401, "invalid_client")
    status, _ = await http.post(url, data=data, headers=basic_header("gateway", "wrong"))
    assert status == 401
    assert http.headers["WWW-Authenticate"].startswith("Basic ")
    assert (await http.post(url, data={**data, "client_id": "gateway", "client_secret": "s3cret"}))[0] == 200
    assert (await http.post(url, data={}, headers=basic_header("gateway")))[0] == 400
    idp.introspection.authenticates = False
    assert (await http.post(url, data=data))[1]["active"] is True
    assert data["token"] not in repr(idp.requests)


async def test_a_signed_answer_is_one_of_rfc_9701(idp: FakeIdp, http: Http, clock: ManualClock) -> None:
    token = idp.token("orders")
    await ask(idp, http, token, SIGNED)
    assert http.headers["Content-Type"] == SIGNED
    claims = verified(http.text, idp.mint.jwks())
    assert header_of(http.text)["typ"] == "token-introspection+jwt"
    inner = claims.pop("token_introspection")
    assert claims == {"iss": idp.issuer, "aud": "gateway", "iat": clock.now()}
    assert (inner["active"], inner["client_id"]) == (True, "orders")
    idp.revoke(token)
    await ask(idp, http, token, SIGNED)
    assert claims_of(http.text)["token_introspection"] == {"active": False}
    idp.introspection.signs = False
    assert await ask(idp, http, token, SIGNED) == (200, {"active": False})


async def test_a_signed_answer_can_be_made_wrong(idp: FakeIdp, http: Http) -> None:
    idp.introspection.envelope = {"aud": "another"}
    idp.introspection.envelope_header = {"typ": "JWT"}
    await ask(idp, http, idp.token("orders"), SIGNED)
    assert claims_of(http.text)["aud"] == "another"
    assert header_of(http.text)["typ"] == "JWT"


async def test_the_phantom_token_where_it_is_switched_on(idp: FakeIdp, http: Http) -> None:
    opaque, signed = idp.token("orders"), idp.token("plain")
    assert (await ask(idp, http, opaque, PHANTOM))[1]["active"] is True
    idp.introspection.phantom = True
    await ask(idp, http, opaque, PHANTOM)
    assert http.headers["Content-Type"] == PHANTOM
    claims = verified(http.text, idp.mint.jwks())
    assert (claims["client_id"], claims["iss"], claims["exp"]) == ("orders", idp.issuer, 1_800_003_600)
    await ask(idp, http, signed, PHANTOM)
    assert http.text == signed
    idp.revoke(opaque)
    assert (await ask(idp, http, opaque, PHANTOM))[0] == 204
    assert http.text == ""


async def test_the_answer_can_be_changed_and_cached(idp: FakeIdp, http: Http) -> None:
    token = idp.token("orders")
    await ask(idp, http, token)
    assert "Cache-Control" not in http.headers
    idp.introspection.cache_control = "max-age=7"
    idp.introspection.members = {"active": "true", "exp": ABSENT}
    _, document = await ask(idp, http, token)
    assert document["active"] == "true"
    assert "exp" not in document
    assert http.headers["Cache-Control"] == "max-age=7"


async def test_the_endpoint_is_announced_counted_and_fails_as_told(idp: FakeIdp, http: Http) -> None:
    assert (await http.get(idp.discovery_url))["introspection_endpoint"] == idp.introspection_endpoint
    idp.fail(Fault.server_error(), Endpoint.INTROSPECTION)
    assert (await ask(idp, http, "x"))[0] == 500
    assert idp.calls == {Endpoint.DISCOVERY: 1, Endpoint.INTROSPECTION: 1}
    assert idp.paths["/introspect"] == 1
