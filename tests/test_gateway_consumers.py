"""Kong's consumers for applications and for nobody, and what a refusal says, in the test gateway.

Law of this file: a consumer is the one that the configuration maps an application to, or there is none; what
cannot be looked up lets nobody through.
"""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
import pytest_asyncio
from gateway.builds import BUILDS
from gateway.gateway import Gateway, Route
from gateway.stage import BEARER, NOBODY, Answer, Client, Places, Stage, is_unavailable, open_stage
from gateway.stub import IDENTITY, StubSidecar, allowed, problem, reply

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.programs]

ALICE = {"id": "5d8f4a4e-3a57-4a5e-8a94-0d3c5a3f7a01", "username": "alice", "custom_id": "app-1"}
CAROL = {"id": "5d8f4a4e-3a57-4a5e-8a94-0d3c5a3f7a02", "username": "orders-mobile"}
# Each other's: what is looked up in one field must not be found in the other.
DAVE = {"id": "5d8f4a4e-3a57-4a5e-8a94-0d3c5a3f7a03", "username": "app-2", "custom_id": "app-3"}
OF_ALICE = {"x-consumer-id": ALICE["id"], "x-consumer-username": "alice", "x-consumer-custom-id": "app-1"}
OF_NOBODY = {
    "x-anonymous-consumer": "true",
    "x-consumer-id": NOBODY["id"],
    "x-consumer-username": "nobody",
    "x-consumer-custom-id": "nobody-1",
}
FACTS = {
    "x-application-id": "app-1",
    "x-application-name": "Orders mobile",
    "x-credential-identifier": "orders-mobile",
    "x-auth-method": "bearer",
}


def routes(places: Places) -> list[Route]:
    route = places.route
    optional: dict[str, object] = {"consumer_by": "custom_id", "consumer_optional": True}
    client_id: dict[str, object] = {"consumer_value": "credential_identifier"}
    return [
        route("/custom-id", consumer_by="custom_id"),
        route("/custom-id-cached", consumer_by="custom_id", decision_cache_ttl_s=60),
        route("/custom-id-client", consumer_by="custom_id", **client_id),
        route("/custom-id-anonymous", consumer_by="custom_id", anonymous="nobody"),
        route("/username", consumer_by="username"),
        route("/username-client", consumer_by="username", **client_id),
        route("/optional", **optional),
        route("/nobody", anonymous="nobody"),
        route("/nobody-by-id", anonymous=NOBODY["id"]),
        route("/nobody-shown", anonymous="nobody", hide_credentials=False),
        route("/nobody-unknown", anonymous="dave"),
        route("/realm", realm="50% of (it)"),
        route("/realm-cached", realm="ours", decision_cache_ttl_s=60),
        route("/several", strategy="azure", additional_strategies=["okta", "é/"]),
        route("/several-cached", strategy="azure", additional_strategies=["okta"], decision_cache_ttl_s=60),
        route("/preflight", run_on_preflight=False, consumer_by="custom_id"),
        route("/preflight-shown", run_on_preflight=False, hide_credentials=False),
        route("/of-the-gateway-service", "a b"),
        route("/of-the-configuration", "a b", service="billing"),
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=BUILDS)
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async with open_stage(request.param, routes, consumers=[NOBODY, ALICE, CAROL, DAVE]) as opened:
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


@contextmanager
def broken(gateway: Gateway) -> Iterator[None]:
    gateway.break_database("[postgres] connection refused")
    try:
        yield
    finally:
        gateway.break_database(None)


def application(name: str, client_id: str = "orders-mobile") -> bytes:
    facts = (f"X-Application-Id: {name}", IDENTITY[1], f"X-Credential-Identifier: {client_id}", IDENTITY[3])
    return reply("200 OK", *facts, "Cache-Control: private, max-age=60")


def is_refusal(answer: Answer, status: int) -> bool:
    """Whether it is a problem of the gateway's own making."""
    problem_body = json.loads(answer.body)
    typed = answer.headers["Content-Type"] == "application/problem+json"
    return (
        typed
        and answer.status == problem_body["status"] == status
        and set(problem_body)
        == {
            "type",
            "title",
            "status",
            "detail",
        }
    )


# An application's consumer


@pytest.mark.parametrize("path", ["/custom-id", "/custom-id-cached", "/custom-id-anonymous", "/optional"])
async def test_consumer_of_an_application(client: Client, sidecar: StubSidecar, path: str) -> None:
    sidecar.play(application("app-1"))
    for _ in range(2):
        answer = await client.get(path)
        assert answer.identity == FACTS | OF_ALICE
        assert (answer.upstream["consumer"], answer.upstream["credential"]) == ("alice", "orders-mobile")


async def test_consumer_without_a_custom_id(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(application("app-9"))
    answer = await client.get("/username-client", {**BEARER, "X-Consumer-Custom-ID": "app-1"})
    told = {"x-consumer-id": CAROL["id"], "x-consumer-username": "orders-mobile"}
    assert answer.identity == FACTS | {"x-application-id": "app-9"} | told


@pytest.mark.parametrize(
    ("path", "value", "client_id"),
    [
        ("/username", "app-2", "nobody-knows"),
        ("/username-client", "nobody-knows", "app-2"),
        ("/custom-id", "app-3", "nobody-knows"),
        ("/custom-id-client", "nobody-knows", "app-3"),
    ],
)
async def test_field_and_value_are_those_of_the_configuration(
    client: Client, sidecar: StubSidecar, path: str, value: str, client_id: str
) -> None:
    sidecar.play(application(value, client_id))
    assert (await client.get(path)).identity["x-consumer-id"] == DAVE["id"]
    sidecar.play(application(client_id, value))  # the other way round there is no such consumer
    assert is_refusal(await client.get(path), 403)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/custom-id", "app-2"),  # a username
        ("/username", "app-3"),  # a custom_id
        ("/custom-id", ALICE["id"]),
        ("/username", ALICE["id"]),
        ("/custom-id", "App-1"),
        ("/custom-id", "custom_id:app-1"),
    ],
)
async def test_what_is_no_consumer_in_that_field(
    client: Client, sidecar: StubSidecar, gateway: Gateway, path: str, value: str
) -> None:
    sidecar.play(application(value))
    for _ in range(2):  # what was not found before is not found either
        assert is_refusal(await client.get(path), 403)
    by = "custom_id" if path == "/custom-id" else "username"
    assert f"denied: no consumer with the {by} of application {value}" in gateway.error_log()
    optional = await client.get("/optional")
    assert optional.status == 200
    if value == ALICE["id"]:
        assert "x-consumer-id" not in optional.identity
        assert (optional.upstream["consumer"], optional.upstream["credential"]) == ("", "orders-mobile")


async def test_application_without_a_consumer_is_not_nobody(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(application("app-8"))
    assert is_refusal(await client.get("/custom-id-anonymous"), 403)


@pytest.mark.parametrize("path", ["/custom-id", "/optional", "/username-client", "/custom-id-anonymous"])
async def test_database_that_fails_lets_nobody_through(
    client: Client, sidecar: StubSidecar, gateway: Gateway, path: str
) -> None:
    name = f"new{path.replace('/', '-')}"
    sidecar.play(application(name, name))
    with broken(gateway):
        assert is_unavailable(await client.get(path))
    said = "the consumer could not be looked up: failed to get from node cache: [postgres] connection refused"
    assert said in gateway.error_log()
    answer = await client.get(path)  # the failure is not remembered
    assert answer.status == (200 if path == "/optional" else 403)


async def test_consumer_that_kong_remembers_needs_no_database(
    client: Client, sidecar: StubSidecar, gateway: Gateway
) -> None:
    sidecar.play(application("app-1"))
    await client.get("/custom-id")
    with broken(gateway):
        assert (await client.get("/custom-id")).identity == FACTS | OF_ALICE


# Nobody's consumer


@pytest.mark.parametrize("path", ["/nobody", "/nobody-by-id"])
async def test_nobody_by_name_and_by_id(client: Client, sidecar: StubSidecar, path: str) -> None:
    sidecar.play(problem("401 Unauthorized", "token_expired", "Set-Cookie: __Host-session=; Max-Age=0"))
    answer = await client.get(path, {**BEARER, "Cookie": "a=1; __Host-session=s"})
    assert answer.identity == OF_NOBODY
    assert (answer.upstream["consumer"], answer.upstream["credential"]) == ("nobody", "")
    assert "authorization" not in answer.upstream_headers
    assert answer.upstream_headers["cookie"] == "a=1"


async def test_nobodys_credential_is_hidden_unless_told_otherwise(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(problem("401 Unauthorized", "token_expired"))
    answer = await client.get("/nobody-shown")
    assert answer.upstream_headers["authorization"] == BEARER["Authorization"]


async def test_nobody_cannot_be_looked_up(client: Client, sidecar: StubSidecar, gateway: Gateway) -> None:
    sidecar.play(problem("401 Unauthorized", "no_credential", 'WWW-Authenticate: Bearer realm="plain"'))
    with broken(gateway):
        assert is_unavailable(await client.get("/nobody-unknown", {}))
    said = "the anonymous consumer could not be loaded: failed to get from node cache: [postgres]"
    assert said in gateway.error_log()
    assert is_refusal(await client.get("/nobody-unknown", {}), 500)
    assert "anonymous consumer 'dave' is configured but does not exist" in gateway.error_log()


@pytest.mark.parametrize(
    ("authorization", "hidden"),
    [("Bearer x", True), ("bEARER x", True), ("BASIC x", True), ("nonsense", True), ("hmac id=1", False)],
)
async def test_credential_of_another_scheme_is_left_to_the_plugin_that_judges_it(
    client: Client, sidecar: StubSidecar, authorization: str, *, hidden: bool
) -> None:
    sidecar.play(problem("401 Unauthorized", "malformed_credential"))
    seen = (await client.get("/nobody", {"Authorization": authorization})).upstream_headers
    assert seen.get("authorization") == (None if hidden else authorization)


# What a refusal says


@pytest.mark.parametrize(
    ("challenges", "said"),
    [
        (['Bearer realm="plain"'], 'Bearer realm="{}"'),
        (['Bearer realm="plain", error="invalid_token"'], 'Bearer realm="{}", error="invalid_token"'),
        (
            ['Bearer realm="plain", error="invalid_token"', 'Basic realm="plain", charset="UTF-8"'],
            'Bearer realm="{}", error="invalid_token", Basic realm="{}", charset="UTF-8"',
        ),
        (['Bearer realm="a", Basic realm=""'], 'Bearer realm="{}", Basic realm="{}"'),
        (["Bearer", 'Basic realm="plain"'], 'Bearer, Basic realm="{}"'),  # where there is none, none is needed
    ],
)
async def test_realm_is_the_operators_to_name(
    client: Client, sidecar: StubSidecar, challenges: list[str], said: str
) -> None:
    headers = [f"WWW-Authenticate: {challenge}" for challenge in challenges]
    sidecar.play(problem("401 Unauthorized", "token_expired", *headers, "Cache-Control: private, max-age=60"))
    answer = await client.get("/realm")
    assert answer.headers.getall("WWW-Authenticate") == [said.format(*["50% of (it)"] * 2)]
    for _ in range(2):
        answer = await client.get("/realm-cached", {"Authorization": f"Bearer {challenges}"})
        assert answer.headers.getall("WWW-Authenticate") == [said.format("ours", "ours")]
    answer = await client.get("/custom-id")
    assert answer.headers.getall("WWW-Authenticate") == [", ".join(challenges)]


async def test_realm_in_the_gateways_own_challenge(client: Client, sidecar: StubSidecar) -> None:
    sidecar.play(allowed())
    padding = {f"X-Pad-{number}": "1" for number in range(100)}
    answer = await client.get("/realm", {**BEARER, **padding})
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="50% of (it)", error="invalid_request"'
    assert sidecar.asked == []


# What is asked


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/several", "azure,okta,%C3%A9%2F/orders"),
        ("/several-cached", "azure,okta/orders"),
        ("/of-the-gateway-service", "plain/a%20b"),
        ("/of-the-configuration", "plain/billing"),
    ],
)
async def test_strategies_and_service_of_a_route(
    client: Client, sidecar: StubSidecar, path: str, asked: str
) -> None:
    sidecar.play(allowed())
    assert (await client.get(path)).status == 200
    assert [one.line for one in sidecar.asked] == [f"GET /v1/authorize/{asked} HTTP/1.1"]


async def test_unknown_strategy_among_several(client: Client, sidecar: StubSidecar, gateway: Gateway) -> None:
    sidecar.play(problem("404 Not Found", "strategy_unknown"))
    assert is_unavailable(await client.get("/several"))
    assert "the sidecar does not know every strategy of 'azure,okta," in gateway.error_log()


@pytest.mark.parametrize(("path", "hidden"), [("/preflight", True), ("/preflight-shown", False)])
async def test_preflight_passes_unasked_as_nobody(
    client: Client, sidecar: StubSidecar, path: str, *, hidden: bool
) -> None:
    sidecar.play(problem("403 Forbidden", "not_registered"))
    answer = await client.get(path, {**BEARER, "Cookie": "a=1; __Host-session=s"}, method="OPTIONS")
    assert (answer.status, answer.identity, sidecar.asked) == (200, {}, [])
    assert (answer.upstream["consumer"], answer.upstream["credential"]) == ("", "")
    assert ("authorization" not in answer.upstream_headers) == hidden
    assert answer.upstream_headers["cookie"] == ("a=1" if hidden else "a=1; __Host-session=s")
    assert (await client.get(path, method="POST")).status == 403
    assert (await client.get("/custom-id", method="OPTIONS")).status == 403  # asked about, unless told otherwise
