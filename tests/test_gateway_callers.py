"""Who calls, as Kong, its other plugins and the upstream are told of it, in the test gateway.

Law of this file: groups, claims, tokens and consumers come from a well-formed 200 and from Kong's own database, or
the request does not pass.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio
from gateway.builds import BUILDS
from gateway.gateway import Gateway, Neighbour, Route
from gateway.stage import BEARER, NOBODY, Client, Places, Stage, is_unavailable, open_stage
from gateway.stub import IDENTITY, StubSidecar, allowed, problem, reply

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.programs]

TOKEN = "minted-canary-77c1"
BASIC = {"Authorization": "Basic b3JkZXJzLW1vYmlsZTpz"}
GROUPS = "X-Application-Groups: gold, internal"
ALICE = {"id": "5d8f4a4e-3a57-4a5e-8a94-0d3c5a3f7a01", "username": "alice", "custom_id": "app-1"}
FACTS = {
    "x-application-id": "app-1",
    "x-application-name": "Orders mobile",
    "x-credential-identifier": "orders-mobile",
    "x-auth-method": "bearer",
}
GOLD = Neighbour("acl", {"allow": ["gold"]})
NOT_SILVER = Neighbour("acl", {"deny": ["silver"]})
OF_ALICE = {"allow": ["gold"], "consumer_groups": {ALICE["id"]: ["silver"]}}


def routes(places: Places) -> list[Route]:
    route = places.route
    claims = ["X-Claim-Tenant", "X-Claim-Role"]
    mapped: dict[str, object] = {"consumer_by": "custom_id"}
    always = OF_ALICE | {"always_use_authenticated_groups": True}
    return [
        route("/open"),
        route("/gold", plugins=[GOLD]),
        route("/not-silver", plugins=[NOT_SILVER]),
        route("/gold-anonymous", plugins=[GOLD], anonymous="nobody"),
        route("/gold-alice", plugins=[Neighbour("acl", OF_ALICE)], **mapped),
        route("/gold-always", plugins=[Neighbour("acl", always)], **mapped),
        route("/limited", plugins=[Neighbour("rate-limiting", {"minute": 1, "limit_by": "credential"})]),
        route("/claims", upstream_headers=claims),
        route("/claims-cached", upstream_headers=claims, decision_cache_ttl_s=60),
        route("/no-claims", upstream_headers=[]),
        route("/minted", forward_minted_token=True, log=True),
        route("/minted-visible", forward_minted_token=True, hide_credentials=False),
        route("/minted-cached", forward_minted_token=True, decision_cache_ttl_s=60, log=True, sampled=True),
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=BUILDS)
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async with open_stage(request.param, routes, consumers=[NOBODY, ALICE]) as opened:
        yield opened


@pytest.fixture
def client(stage: Stage) -> Client:
    return stage.client


@pytest.fixture
def sidecar(stage: Stage) -> StubSidecar:
    return stage.sidecar


@pytest.fixture
def gateway(stage: Stage) -> Gateway:
    return stage.gateway


def application(
    name: str = "app-1", client_id: str = "orders-mobile", method: str = "bearer", *more: str
) -> bytes:
    facts = (f"X-Application-Id: {name}", IDENTITY[1], f"X-Credential-Identifier: {client_id}")
    return reply("200 OK", *facts, f"X-Auth-Method: {method}", *more)


def minted(*headers: str) -> bytes:
    return application("app-1", "orders-mobile", "client_credentials", "Cache-Control: no-store", *headers)


# Groups


@pytest.mark.parametrize(
    ("path", "groups", "status"),
    [
        ("/gold", ["X-Application-Groups: gold"], 200),
        ("/gold", [GROUPS], 200),
        ("/gold", ["X-Application-Groups: silver, golden"], 403),
        ("/gold", ["X-Application-Groups: Gold"], 403),
        ("/gold", [], 403),
        ("/not-silver", [GROUPS], 200),
        ("/not-silver", ["X-Application-Groups: gold, silver"], 403),
        ("/not-silver", [], 200),
    ],
)
async def test_acl_knows_the_applications_groups(
    client: Client, sidecar: StubSidecar, path: str, groups: Sequence[str], status: int
) -> None:
    sidecar.play(allowed(*groups))
    answer = await client.get(path)
    assert answer.status == status
    if status == 200 and groups:
        told = groups[0].partition(": ")[2]
        assert answer.identity == FACTS | {"x-application-groups": told, "x-authenticated-groups": told}


@pytest.mark.parametrize("path", ["/gold", "/gold-anonymous"])
async def test_groups_of_a_refusal_are_nobodys(client: Client, sidecar: StubSidecar, path: str) -> None:
    sidecar.play(problem("401 Unauthorized", "token_expired", GROUPS))
    answer = await client.get(path)
    assert answer.status == 401
    assert b"upstream" not in answer.body


@pytest.mark.parametrize(("path", "status"), [("/gold-alice", 403), ("/gold-always", 200)])
async def test_acl_takes_a_consumers_own_groups_unless_told_otherwise(
    client: Client, sidecar: StubSidecar, path: str, status: int
) -> None:
    sidecar.play(allowed(GROUPS))
    answer = await client.get(path)
    assert answer.status == status
    if status == 200:
        assert answer.identity["x-consumer-id"] == ALICE["id"]
        assert answer.identity["x-authenticated-groups"] == "gold, internal"


@pytest.mark.parametrize("groups", ["", "gold,,silver", "gold, ", ", gold", "go ld", "a\tb", "a" * 4225])
async def test_groups_that_are_malformed_are_no_decision(
    client: Client, sidecar: StubSidecar, groups: str
) -> None:
    sidecar.play(allowed(f"X-Application-Groups: {groups}"))
    assert is_unavailable(await client.get("/open"))


async def test_as_many_groups_as_there_may_be(client: Client, sidecar: StubSidecar) -> None:
    groups = ", ".join(f"{number:0128}" for number in range(32))
    sidecar.play(allowed(f"X-Application-Groups: {groups}"))
    assert (await client.get("/not-silver")).identity["x-authenticated-groups"] == groups


async def test_requests_are_counted_by_credential(client: Client, sidecar: StubSidecar) -> None:
    statuses = []
    for client_id in ("first", "first", "second", "first", "second"):
        sidecar.play(application("app-1", client_id))
        statuses.append((await client.get("/limited")).status)
    assert statuses == [200, 429, 200, 429, 429]


# Claims


async def test_claims_reach_the_upstream(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(allowed("x-claim-tenant: t-1", "X-Claim-Role: réd,2", "X-Claim-Other: o"))
    seen = (await client.get("/claims", {**BEARER, "X_Claim-Role": "evil"})).upstream_headers
    claims = {name: value for name, value in seen.items() if name.startswith("x-claim")}
    assert claims == {"x-claim-tenant": "t-1", "x-claim-role": "réd,2".encode().decode("latin-1")}


async def test_claim_that_the_reply_lacks_is_the_clients_to_say_nowhere(
    client: Client, sidecar: StubSidecar
) -> None:
    sidecar.play(allowed("X-Claim-Tenant: t-1"))
    answer = await client.get("/claims", {**BEARER, "X-Claim-Role": "evil", "X_Claim_Role": "evil"})
    assert "x-claim-role" not in answer.upstream_headers
    assert answer.identity["x-claim-tenant"] == "t-1"


async def test_claims_of_a_cached_decision(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(allowed("X-Claim-Tenant: t-1", "X-Claim-Role: red", GROUPS, "Cache-Control: private, max-age=60"))
    answers = [await client.get("/claims-cached", {"Authorization": "Bearer claims"}) for _ in range(3)]
    assert len(sidecar.asked) == 1
    for answer in answers:
        assert answer.upstream_headers["x-claim-role"] == "red"
        assert answer.identity == FACTS | {"x-claim-tenant": "t-1", "x-application-groups": "gold, internal"}


ILL_CLAIMS = {
    "repeated": ["X-Claim-Role: a", "X-Claim-Role: a"],
    "repeated in other cases": ["X-Claim-Role: a", "x-claim-ROLE: b"],
    "repeated thrice": ["X-Claim-Role: a", "X-Claim-Role: b", "X-Claim-Role: c"],
    "oversized": [f"X-Claim-Role: {'a' * 1025}"],
    "a tab inside": ["X-Claim-Role: a\tb"],
}


@pytest.mark.parametrize("path", ["/claims", "/claims-cached"])
@pytest.mark.parametrize("name", ILL_CLAIMS)
async def test_claim_in_a_form_that_nobody_may_be_told(
    client: Client, sidecar: StubSidecar, gateway: Gateway, name: str, path: str
) -> None:
    sidecar.play(allowed(*ILL_CLAIMS[name], "Cache-Control: private, max-age=60"))
    for _ in range(2):
        assert is_unavailable(await client.get(path, {"Authorization": f"Bearer ill-{name}"}))
    assert "not well-formed: a repeated or oversized X-Claim-Role" in gateway.error_log()
    assert (await client.get("/no-claims")).status == 200  # there it has no meaning


async def test_claim_that_is_not_configured_is_not_passed_on(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(allowed("X-Claim-Tenant: t-1", "X-Other: 1"))
    seen = (await client.get("/no-claims")).upstream_headers
    assert not {"x-claim-tenant", "x-other"} & set(seen)


async def test_claim_as_long_as_it_may_be(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(allowed(f"X-Claim-Role: {'a' * 1024}"))
    assert (await client.get("/claims")).upstream_headers["x-claim-role"] == "a" * 1024


# A minted token


@pytest.mark.parametrize("path", ["/minted", "/minted-visible", "/minted-cached"])
async def test_minted_token_takes_the_place_of_client_id_and_secret(
    client: Client, sidecar: StubSidecar, path: str
) -> None:
    sidecar.play(minted(f"X-Access-Token: {TOKEN}"))
    seen = (await client.get(path, {**BASIC, "Cookie": "a=1"})).upstream_headers
    assert seen["authorization"] == f"Bearer {TOKEN}"
    assert seen["cookie"] == "a=1"
    assert "x-access-token" not in seen


@pytest.mark.parametrize("headers", [BEARER, {"Cookie": "a=1; __Host-session=s"}], ids=["bearer", "session"])
async def test_other_credentials_are_what_they_were(
    client: Client, sidecar: StubSidecar, headers: dict[str, str]
) -> None:
    method = "bearer" if "Authorization" in headers else "session"
    sidecar.play(application("app-1", "orders-mobile", method, f"X-Access-Token: {TOKEN}"))
    hidden = (await client.get("/minted", headers)).upstream_headers
    assert "authorization" not in hidden
    assert hidden.get("cookie") == ("a=1" if method == "session" else None)
    visible = (await client.get("/minted-visible", headers)).upstream_headers
    assert visible.get("authorization") == headers.get("Authorization")
    assert visible.get("cookie") == headers.get("Cookie")


@pytest.mark.parametrize("path", ["/minted", "/minted-visible", "/minted-cached"])
async def test_without_its_token_a_client_id_and_secret_do_not_pass(
    client: Client, sidecar: StubSidecar, gateway: Gateway, path: str
) -> None:
    sidecar.play(application("app-1", "orders-mobile", "client_credentials", "Cache-Control: max-age=60"))
    for _ in range(2):
        assert is_unavailable(await client.get(path, {"Authorization": "Basic bm9uZTpz"}))
    said = "no decision: the sidecar gave no minted token; does the strategy set forward_minted_token?"
    assert said in gateway.error_log()


@pytest.mark.parametrize("token", ["", "a b", "a,b", "tökén", "a\tb", "a" * 8193, "=a"])
async def test_malformed_token_is_no_decision(client: Client, sidecar: StubSidecar, token: str) -> None:
    sidecar.play(minted(f"X-Access-Token: {token}"))
    assert is_unavailable(await client.get("/minted", BASIC))


async def test_token_as_long_as_it_may_be(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(minted(f"X-Access-Token: {'a' * 8192}"))
    assert (await client.get("/minted", BASIC)).upstream_headers["authorization"] == "Bearer " + "a" * 8192


@pytest.mark.parametrize("kept", ["no-store", "private, max-age=60"])
async def test_decision_with_a_token_is_never_kept(client: Client, sidecar: StubSidecar, kept: str) -> None:
    for number in range(3):
        token = f"X-Access-Token: {TOKEN}-{number}"
        sidecar.play(application("app-1", "orders-mobile", "client_credentials", f"Cache-Control: {kept}", token))
        answer = await client.get("/minted-cached", {"Authorization": f"Basic {kept[0]}kept"})
        assert len(sidecar.asked) == 1
        assert answer.upstream_headers["authorization"] == f"Bearer {TOKEN}-{number}"


async def test_token_that_is_not_asked_for_goes_nowhere(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(minted(f"X-Access-Token: {TOKEN}"))
    answer = await client.get("/open", BASIC)
    assert answer.status == 200
    assert TOKEN.encode() not in answer.body


async def test_token_is_in_no_log_no_span_and_no_fact(
    client: Client, sidecar: StubSidecar, gateway: Gateway
) -> None:
    before = len(gateway.logged())
    plays = [minted(f"X-Access-Token: {TOKEN}"), minted(f"X-Access-Token: {TOKEN} {TOKEN}")]
    for bytes_ in (*plays, *(play.replace(b"200 OK", b"403 Forbidden") for play in plays)):
        sidecar.play(bytes_)
        for path in ("/minted", "/minted-cached"):
            await client.get(path, BASIC)
    entries = await asyncio.to_thread(gateway.logged, before + 8)
    assert entries[-1]["credential_validator"]
    spans = await asyncio.to_thread(gateway.spans, 4)
    assert any(span["name"] == "credential-validator" for span in spans)
    assert TOKEN not in gateway.error_log() + json.dumps(entries) + json.dumps(spans)
