"""What other plugins, the log and traces are told of a decision, in the test gateway.

Law of this file: they are told what was decided and why, for every outcome, and no credential.
"""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from gateway.builds import BUILDS
from gateway.gateway import Gateway, Neighbour, Route
from gateway.stage import CANARY, CLAIM, NOBODY, Answer, Places, open_stage
from gateway.stub import IDENTITY, StubSidecar, allowed, problem, reply

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.programs]

ALICE = {"id": "5d8f4a4e-3a57-4a5e-8a94-0d3c5a3f7a01", "username": "alice", "custom_id": "app-1"}
SEEN = [Neighbour("post-function")]
KEPT = "Cache-Control: private, max-age=60"
TOLD = ("X-Application-Groups: gold, internal", f"{CLAIM}: t-1", "X-Claim-Other: o", KEPT)
TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{SPAN_ID}-00"
CLIENT_KIND = 3  # OpenTelemetry's
ERROR_STATUS = 2

REQUEST = {"strategy": "plain", "service": "orders", "cached": False}
APPLICATION = {
    "application_id": "app-1",
    "application_name": "Orders mobile",
    "credential_identifier": "orders-mobile",
    "auth_method": "bearer",
}
ALLOWED = REQUEST | APPLICATION | {"outcome": "allowed", "status": 200}


def routes(places: Places) -> list[Route]:
    def route(path: str, service: str | None = "orders", /, **config: object) -> Route:
        return places.route(path, service, plugins=SEEN, log=True, **config)

    return [
        route("/open"),
        route("/cached", decision_cache_ttl_s=60),
        route("/mapped", consumer_by="custom_id"),
        route("/unmapped", consumer_by="username"),
        route("/anonymous", anonymous="nobody"),
        route("/lost", anonymous="missing"),
        route("/down", validator_url=places.down),
        route("/nameless", None),
        route("/several", additional_strategies=["okta"]),
        route("/preflight", run_on_preflight=False),
        places.route("/plain"),
        places.route("/traced", sampled=True),
        places.route("/traced-cached", sampled=True, decision_cache_ttl_s=60),
        places.route("/traced-down", sampled=True, validator_url=places.down),
        places.route("/unsampled", sampled=False),
    ]


@dataclass(frozen=True, slots=True)
class Scene:
    """A gateway whose requests can be told apart in its log."""

    ask: Any
    sidecar: StubSidecar
    gateway: Gateway

    async def entry(self, target: str) -> dict[str, Any]:
        """What logging plugins were given of the request with that target, which is written after its answer."""
        seen = 0
        while True:
            entries = await asyncio.to_thread(self.gateway.logged, seen + 1)
            found = [entry for entry in entries if entry["request"]["uri"] == target]
            if found:
                return found[0]
            seen = len(entries)

    async def span(self, span_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """That span, and the one above it."""
        seen = 0
        while True:
            spans = await asyncio.to_thread(self.gateway.spans, seen + 1)
            by_id = {span["span_id"]: span for span in spans}
            if span_id in by_id:
                return by_id[span_id], by_id[by_id[span_id]["parent_id"]]
            seen = len(spans)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=BUILDS)
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    async with open_stage(request.param, routes, consumers=[NOBODY, ALICE]) as opened:
        yield Scene(opened.client.get, opened.sidecar, opened.gateway)


_numbers = itertools.count()


async def facts_of(
    scene: Scene, path: str, *, credential: str = CANARY, method: str = "GET"
) -> tuple[Answer, dict[str, Any]]:
    """The answer, and what the log holds of the request."""
    target = f"{path}?{next(_numbers)}"
    headers = {"Authorization": f"Bearer {credential}", "Cookie": f"__Host-session={credential}; a=1"}
    answer = await scene.ask(target, headers, method=method)
    return answer, await scene.entry(target)


def without_latency(entry: dict[str, Any]) -> dict[str, Any]:
    told = dict(entry["credential_validator"])
    latency_ms = told.pop("latency_ms")
    assert isinstance(latency_ms, int)
    assert 0 <= latency_ms < 10_000
    assert entry["shared"]["credential_validator"] == entry["credential_validator"]
    return told


# Facts


async def test_facts_of_an_allowed_request(scene: Scene) -> None:
    scene.sidecar.play(allowed(*TOLD))
    answer, entry = await facts_of(scene, "/open")
    told = ALLOWED | {"groups": ["gold", "internal"], "headers": {CLAIM: "t-1"}}
    assert without_latency(entry) == told
    assert entry["shared"]["authenticated_groups"] == ["gold", "internal"]
    assert entry["authenticated_entity"]["id"] == "orders-mobile"
    seen = json.loads(answer.upstream_headers["gateway-shared"])  # by a plugin that runs later
    assert seen == entry["shared"]


async def test_facts_of_an_application_with_neither_groups_nor_claims(scene: Scene) -> None:
    scene.sidecar.play(allowed())
    _, entry = await facts_of(scene, "/open")
    assert without_latency(entry) == ALLOWED
    assert entry["shared"]["authenticated_groups"] == {}  # it is in none: for acl, that is known


async def test_facts_of_a_cached_decision(scene: Scene) -> None:
    scene.sidecar.play(allowed(*TOLD, "X-Session-Id: s-1"))
    told = ALLOWED | {"groups": ["gold", "internal"], "headers": {CLAIM: "t-1"}}
    for cached in (False, True, True):
        _, entry = await facts_of(scene, "/cached", credential=f"cached-{CANARY}")
        # A session is one credential's own, and what is kept is an application's.
        session = {} if cached else {"session_id": "s-1"}
        assert without_latency(entry) == told | session | {"cached": cached}
        assert entry["shared"]["authenticated_groups"] == ["gold", "internal"]
    assert len(scene.sidecar.asked) == 1


async def test_facts_of_a_session_and_of_a_consumer(scene: Scene) -> None:
    session = (*IDENTITY[:3], "X-Auth-Method: session", "X-Session-Id: s-1")
    scene.sidecar.play(reply("200 OK", *session, "Set-Cookie: __Host-session=sealed"))
    _, entry = await facts_of(scene, "/mapped")
    told = {"auth_method": "session", "session_id": "s-1", "consumer_id": ALICE["id"]}
    assert without_latency(entry) == ALLOWED | told
    assert entry["consumer"]["username"] == "alice"
    assert entry["response"]["headers"]["set-cookie"] == "REDACTED"
    assert "sealed" not in json.dumps(entry)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("401 Unauthorized", "token_expired"),
        ("403 Forbidden", "not_registered"),
        ("429 Too Many Requests", "too_many_attempts"),
    ],
)
async def test_facts_of_a_refusal(scene: Scene, status: str, reason: str) -> None:
    scene.sidecar.play(problem(status, reason, KEPT, "X-Application-Groups: gold"))
    told = REQUEST | {"outcome": "denied", "status": int(status[:3]), "reason": reason}
    _, entry = await facts_of(scene, "/open")
    assert without_latency(entry) == told
    assert "authenticated_groups" not in entry["shared"]
    for cached in (False, True):
        _, entry = await facts_of(scene, "/cached", credential=reason)
        assert without_latency(entry) == told | {"cached": cached}


async def test_facts_of_an_application_without_a_consumer(scene: Scene) -> None:
    scene.sidecar.play(allowed())
    answer, entry = await facts_of(scene, "/unmapped")
    assert answer.status == 403
    assert without_latency(entry) == REQUEST | APPLICATION | {"outcome": "denied", "status": 403}
    assert "authenticated_groups" not in entry["shared"]


@pytest.mark.parametrize(
    ("path", "bytes_", "reason"),
    [
        ("/open", b"garbage", None),
        ("/open", problem("503 Service Unavailable", "idp_unavailable"), "idp_unavailable"),
        ("/open", problem("404 Not Found", "strategy_unknown"), None),
        ("/anonymous", problem("503 Service Unavailable", "store_unavailable"), "store_unavailable"),
        ("/cached", b"garbage", None),
        ("/down", b"", None),
    ],
)
async def test_facts_of_no_decision(scene: Scene, path: str, bytes_: bytes, reason: str | None) -> None:
    scene.sidecar.play(bytes_)
    answer, entry = await facts_of(scene, path, credential="undecided")
    assert answer.status == 503
    told = REQUEST | {"outcome": "unavailable", "status": 503}
    assert without_latency(entry) == (told | {"reason": reason} if reason else told)


async def test_facts_of_a_route_that_lacks_a_service(scene: Scene) -> None:
    _, entry = await facts_of(scene, "/nameless")
    told = {"strategy": "plain", "outcome": "unavailable", "status": 503, "cached": False, "latency_ms": 0}
    assert entry["credential_validator"] == told


async def test_facts_of_an_anonymous_request(scene: Scene) -> None:
    scene.sidecar.play(problem("401 Unauthorized", "token_expired", "X-Application-Groups: gold"))
    _, entry = await facts_of(scene, "/anonymous")
    told = {"outcome": "anonymous", "status": 200, "reason": "token_expired", "consumer_id": NOBODY["id"]}
    assert without_latency(entry) == REQUEST | told
    assert "authenticated_groups" not in entry["shared"]
    answer, entry = await facts_of(scene, "/lost")
    assert answer.status == 500
    told = {"outcome": "unavailable", "status": 500, "reason": "token_expired"}
    assert without_latency(entry) == REQUEST | told


async def test_facts_of_several_strategies(scene: Scene) -> None:
    scene.sidecar.play(allowed())
    _, entry = await facts_of(scene, "/several")
    assert without_latency(entry) == ALLOWED | {"strategy": "plain,okta"}


async def test_preflight_that_is_not_judged_has_no_facts(scene: Scene) -> None:
    _, entry = await facts_of(scene, "/preflight", method="OPTIONS")
    assert "credential_validator" not in entry
    assert "shared" not in entry
    scene.sidecar.play(allowed())
    _, entry = await facts_of(scene, "/preflight")
    assert without_latency(entry) == ALLOWED


async def test_credential_is_in_no_entry(scene: Scene) -> None:
    for bytes_ in (allowed(*TOLD), problem("401 Unauthorized", "token_expired"), b"garbage"):
        scene.sidecar.play(bytes_)
        for path in ("/open", "/cached", "/anonymous", "/unmapped", "/lost", "/nameless", "/down"):
            _, entry = await facts_of(scene, path)
            assert CANARY not in json.dumps(entry)
    _, entry = await facts_of(scene, "/preflight", method="OPTIONS")
    assert CANARY not in json.dumps(entry)


# Traces


async def traceparent(scene: Scene, path: str, *sent: tuple[str, str]) -> str | None:
    """What the sidecar was told, as the last line."""
    await scene.ask(path, dict([("Authorization", f"Bearer {CANARY}"), *sent]))
    (asked,) = scene.sidecar.asked
    names = [name for name, _ in asked.headers]
    assert "traceparent" not in names or names[-2:] == ["Authorization", "traceparent"]
    return asked.header("traceparent")


async def test_clients_traceparent_is_passed_on(scene: Scene) -> None:
    scene.sidecar.play(allowed())
    assert await traceparent(scene, "/plain", ("traceparent", TRACEPARENT)) == TRACEPARENT
    scene.sidecar.play(allowed())
    assert await traceparent(scene, "/plain") is None


@pytest.mark.parametrize(
    "value",
    [
        "",
        "nonsense",
        TRACEPARENT[:-1],
        TRACEPARENT + "0",
        TRACEPARENT + "-00",
        TRACEPARENT.replace("7", "g"),
        TRACEPARENT.replace("-", "_"),
        f"00-{TRACE_ID[1:]}-{SPAN_ID}0-00",
        f"00-{TRACE_ID}0-{SPAN_ID[1:]}-00",
        f"00-{TRACE_ID}-{SPAN_ID[:-1]}\t-00",
        f"ff-{TRACE_ID}-{SPAN_ID}-00",
        f"00-{'0' * 32}-{SPAN_ID}-00",
        f"00-{TRACE_ID}-{'0' * 16}-00",
        TRACEPARENT.upper(),
    ],
)
@pytest.mark.parametrize("path", ["/plain", "/unsampled", "/traced"])
async def test_malformed_traceparent_is_dropped(scene: Scene, value: str, path: str) -> None:
    scene.sidecar.play(allowed())
    told = await traceparent(scene, path, ("traceparent", value))
    if path != "/plain":
        assert told is not None
        assert TRACE_ID not in told.lower()
    else:
        assert told is None


async def test_repeated_traceparent_is_dropped(scene: Scene) -> None:
    scene.sidecar.play(allowed())
    reader, writer = await asyncio.open_connection("127.0.0.1", scene.gateway.port)
    lines = f"traceparent: {TRACEPARENT}\r\n" * 2
    writer.write(f"GET /plain HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lines}\r\n".encode())
    assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
    writer.close()
    await writer.wait_closed()
    assert scene.sidecar.asked[0].header("traceparent") is None


@pytest.mark.parametrize("sent", [None, TRACEPARENT[:-1] + "0", TRACEPARENT[:-1] + "1"])
@pytest.mark.parametrize(("path", "own"), [("/traced", "01"), ("/unsampled", "00")])
async def test_span_of_the_call(scene: Scene, path: str, own: str, sent: str | None) -> None:
    scene.sidecar.play(problem("403 Forbidden", "not_registered"))
    told = await traceparent(scene, path, *([("traceparent", sent)] if sent else []))
    assert told is not None
    version, trace_id, span_id, flags = told.split("-")
    span, parent = await scene.span(span_id)
    assert (span["name"], span["kind"], span["ended"]) == ("credential-validator", CLIENT_KIND, True)
    assert parent["name"] == "kong.access.plugin.credential-validator"
    assert (version, trace_id) == ("00", TRACE_ID if sent else span["trace_id"])
    assert flags == (sent[-2:] if sent else own)
    assert span["attributes"] == {"http.status_code": 403}
    assert "status" not in span


@pytest.mark.parametrize("path", ["/traced", "/traced-cached"])
async def test_span_of_a_call_without_a_decision(scene: Scene, path: str) -> None:
    scene.sidecar.play(b"garbage")
    told = await traceparent(scene, path)
    assert told is not None
    span, _ = await scene.span(told.split("-")[2])
    assert span["status"] == ERROR_STATUS
    assert span["attributes"]["error.message"].endswith("the reply is not well-formed: not HTTP/1.1")
    assert span["ended"]
    assert CANARY not in json.dumps(await asyncio.to_thread(scene.gateway.spans))


async def test_span_of_a_sidecar_that_is_down(scene: Scene) -> None:
    before = len(scene.gateway.spans())
    assert (await scene.ask("/traced-down", {})).status == 503
    spans = (await asyncio.to_thread(scene.gateway.spans, before + 3))[before:]
    (span,) = [span for span in spans if span["name"] == "credential-validator"]
    assert (span["status"], span["ended"]) == (ERROR_STATUS, True)
    assert "connecting failed" in span["attributes"]["error.message"]


async def test_request_that_is_not_sampled_is_no_trace_of_ours(scene: Scene) -> None:
    scene.sidecar.play(allowed())
    before = len(scene.gateway.spans())
    await traceparent(scene, "/unsampled")
    spans = (await asyncio.to_thread(scene.gateway.spans, before + 2))[before:]
    assert not any(span["sampled"] for span in spans)
