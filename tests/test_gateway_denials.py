"""Requests that do not pass, in whatever protocol they come, in the test gateway.

Law of this file: a denial is a whole answer in the form that its protocol knows, and reaches nobody behind the
gateway. Over HTTP/2 it is asked by curl.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest
import pytest_asyncio
from gateway.builds import BUILDS
from gateway.drill import Connection
from gateway.gateway import Route
from gateway.origin import Origin
from gateway.stage import BEARER, SPOOFED, Answer, Client, Places, Stage, open_stage
from gateway.stub import StubSidecar, allowed, problem, reply
from multidict import CIMultiDict, CIMultiDictProxy

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.programs]

CHALLENGE = 'Bearer realm="plain", error="invalid_token"'
GRPC = {"Content-Type": "application/grpc"}
HEAD_BYTES = b"\r\n\r\n"


def routes(places: Places) -> list[Route]:
    return [
        places.route("/open"),
        places.route("/anonymous", anonymous="nobody"),
        places.route("/lost", anonymous="missing"),
        places.route("/mapped", consumer_by="custom_id"),
        places.route("/down", validator_url=places.down),
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=BUILDS)
async def stage(request: pytest.FixtureRequest, origin: Origin) -> AsyncIterator[Stage]:
    async with open_stage(request.param, routes, upstream_url=origin.url) as opened:
        yield opened


@pytest.fixture
def client(stage: Stage) -> Client:
    return stage.client


@pytest.fixture
def sidecar(stage: Stage) -> StubSidecar:
    return stage.sidecar


# Every way in which a request does not pass


@dataclass(frozen=True, slots=True)
class Denial:
    """How a request comes to be denied, and what the client is told.

    Attributes:
        said: what the sidecar answers.
        status: of the denial.
        sentence: what a gRPC client reads.
        grpc_status: what a gRPC client switches on.
        reason: in the problem body, where there is one.
        carries: headers that come in every protocol.
    """

    path: str
    said: bytes
    status: int
    grpc_status: int
    sentence: str
    reason: str | None = None
    carries: tuple[tuple[str, str], ...] = ()
    sent: tuple[tuple[str, str], ...] = tuple(BEARER.items())


REQUIRED = "A valid credential is required."
FORBIDDEN = "The application is not allowed to call this service."
TOO_MANY = "Too many failed tries for this client; try again later."
NOT_SET_UP = "The gateway is not set up to answer this request."
UNJUDGED = "The request could not be judged; try again later."
EXPIRED = problem("401 Unauthorized", "token_expired", f"WWW-Authenticate: {CHALLENGE}")

DENIALS = {
    "401": Denial("/open", EXPIRED, 401, 16, REQUIRED, "token_expired", (("WWW-Authenticate", CHALLENGE),)),
    "403": Denial("/open", problem("403 No", "not_registered"), 403, 7, FORBIDDEN, "not_registered"),
    "429": Denial(
        "/open",
        problem("429 Slow", "too_many_attempts", "Retry-After: 17"),
        429,
        8,
        TOO_MANY,
        "too_many_attempts",
        (("Retry-After", "17"),),
    ),
    "503 of the identity provider": Denial(
        "/open",
        problem("503 Off", "idp_unavailable", "Retry-After: 9"),
        503,
        14,
        UNJUDGED,
        "idp_unavailable",
        (("Retry-After", "9"),),
    ),
    "503 of the store": Denial("/open", problem("503 Off", "store_unavailable"), 503, 14, UNJUDGED),
    "404": Denial("/open", problem("404 No", "strategy_unknown"), 503, 14, UNJUDGED),
    "no decision": Denial("/down", b"", 503, 14, UNJUDGED, None, (("Retry-After", "5"),)),
    "403 despite anonymous": Denial(
        "/anonymous", problem("403 No", "not_registered"), 403, 7, FORBIDDEN, "not_registered"
    ),
    "no consumer": Denial("/mapped", allowed(), 403, 7, FORBIDDEN),
    "no anonymous consumer": Denial("/lost", EXPIRED, 500, 13, NOT_SET_UP),
    "too many headers": Denial(
        "/open",
        allowed(),
        401,
        16,
        REQUIRED,
        "malformed_credential",
        (("WWW-Authenticate", 'Bearer error="invalid_request"'),),
        tuple((f"X-{number}", "1") for number in range(120)),
    ),
}


@pytest.fixture(params=DENIALS)
def denial(request: pytest.FixtureRequest, sidecar: StubSidecar, origin: Origin) -> Denial:
    found = DENIALS[request.param]
    sidecar.play(found.said)
    origin.asked.clear()
    return found


def assert_problem(denial: Denial, answer: Answer) -> None:
    body = json.loads(answer.body)
    assert answer.status == body["status"] == denial.status
    assert body.get("reason") == denial.reason
    assert answer.headers.getall("Content-Type") == ["application/problem+json"]
    assert answer.headers.getall("Content-Length") == [str(len(answer.body))]
    assert "Transfer-Encoding" not in answer.headers
    for name, value in denial.carries:
        assert answer.headers.getall(name) == [value]


async def test_denial_is_a_problem_document(client: Client, origin: Origin, denial: Denial) -> None:
    answer = await client.get(denial.path, CIMultiDict(denial.sent))
    assert_problem(denial, answer)
    assert not any(name.lower().startswith("grpc-") for name in answer.headers)
    assert origin.asked == []


async def test_denial_of_a_head_is_that_of_a_get_without_its_body(client: Client, denial: Denial) -> None:
    got = await client.get(denial.path, CIMultiDict(denial.sent))
    head = await client.get(denial.path, CIMultiDict(denial.sent), method="HEAD")
    assert head.body == b""
    told = [CIMultiDict(answer.headers) for answer in (got, head)]
    for headers in told:
        headers.popall("Date")
    assert (head.status, told[1]) == (got.status, told[0])


@pytest.mark.parametrize("kind", ["application/grpc", "application/grpc+proto"])
async def test_grpc_content_type_over_http_1_changes_nothing(client: Client, denial: Denial, kind: str) -> None:
    answer = await client.get(denial.path, CIMultiDict([*denial.sent, ("Content-Type", kind)]), method="POST")
    assert_problem(denial, answer)
    assert "grpc-status" not in answer.headers


async def test_body_that_is_not_ascii_is_measured_in_bytes(client: Client, sidecar: StubSidecar) -> None:
    text = '{"status":403,"reason":"not_registered","detail":"nicht verfügbar: 不可"}'.encode()
    sidecar.play(reply("403 Forbidden", "Content-Type: application/problem+json", body=text))
    answer = await client.get("/open")
    assert (answer.body, answer.headers["Content-Length"]) == (text, str(len(text)))


async def test_connection_lives_on_after_a_denial(stage: Stage, sidecar: StubSidecar) -> None:
    sidecar.play(EXPIRED, problem("403 Forbidden", "not_registered"), allowed())
    connection = await Connection.open(stage.gateway.port)
    answers = [await connection.ask("/open", BEARER) for _ in range(3)]
    await connection.close()
    assert [answer.status for answer in answers] == [401, 403, 200]


async def test_denied_request_with_a_long_body_is_answered(stage: Stage, sidecar: StubSidecar) -> None:
    sidecar.play(EXPIRED)
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{stage.gateway.url}/open", data=b"x" * 200_000, headers=BEARER) as got,
    ):
        assert (got.status, (await got.json(content_type=None))["reason"]) == (401, "token_expired")


# gRPC


async def over_http_2(stage: Stage, path: str, headers: CIMultiDict[str], *options: str) -> Answer:
    reach = ["--http2-prior-knowledge", "--unix-socket", str(stage.gateway.http2_socket)]
    lines = [option for name, value in headers.items() for option in ("-H", f"{name}: {value}")]
    curl = await asyncio.create_subprocess_exec(
        "curl", "-sS", "-i", "--max-time", "10", *reach, *lines, *options, f"http://gateway{path}",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    told, _ = await curl.communicate()
    head, _, body = told.partition(HEAD_BYTES)
    first, *fields = head.decode("latin-1").split("\r\n")
    assert first.startswith("HTTP/2 ")
    found = CIMultiDict(field.partition(": ")[::2] for field in fields)
    return Answer(int(first.split()[1]), CIMultiDictProxy(found), body)


@pytest.mark.parametrize("kind", ["application/grpc", "application/grpc+proto", "application/grpc-web"])
async def test_grpc_request_is_denied_in_its_own_words(
    stage: Stage, origin: Origin, denial: Denial, kind: str
) -> None:
    headers = CIMultiDict([("Content-Type", kind), *denial.sent])
    answer = await over_http_2(stage, denial.path, headers, "--request", "POST")
    assert answer.status == denial.status
    assert answer.headers.getall("grpc-status") == [str(denial.grpc_status)]
    assert answer.headers.getall("grpc-message") == [denial.sentence]
    assert answer.body == b""
    assert answer.headers.getall("Content-Length") == ["0"]
    assert "Content-Type" not in answer.headers
    for name, value in denial.carries:
        assert answer.headers.getall(name) == [value]
    assert origin.asked == []


@pytest.mark.parametrize(
    "kind", ["application/json", "text/application/grpc", "Application/JSON; x=application/grpc"]
)
async def test_other_request_over_http_2_gets_a_problem_document(stage: Stage, denial: Denial, kind: str) -> None:
    answer = await over_http_2(stage, denial.path, CIMultiDict([*denial.sent, ("Content-Type", kind)]))
    assert_problem(denial, answer)
    assert "grpc-status" not in answer.headers


async def test_grpc_request_that_passes(stage: Stage, sidecar: StubSidecar, origin: Origin) -> None:
    sidecar.play(allowed("Set-Cookie: __Host-session=1"))
    origin.asked.clear()
    answer = await over_http_2(
        stage, "/open", CIMultiDict({**BEARER, **GRPC, **SPOOFED}), "--data-binary", "message"
    )
    assert answer.status == 200
    assert answer.headers.getall("Set-Cookie") == ["__Host-session=1"]
    (seen,) = origin.asked
    assert ["X-Application-Id", "app-1"] in seen["headers"]
    assert "evil" not in str(seen)


async def test_grpc_request_without_a_credential_passes_as_anonymous(stage: Stage, sidecar: StubSidecar) -> None:
    sidecar.play(EXPIRED)
    answer = await over_http_2(stage, "/anonymous", CIMultiDict(GRPC), "--data-binary", "message")
    assert answer.upstream_headers["x-consumer-username"] == "nobody"
