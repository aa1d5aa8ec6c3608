"""The trace of a request: read where it is well-formed, logged with a refusal, and of no consequence otherwise."""

import pytest
from plane_support import get, serving_plane
from sidecar_support import assembled, bearer
from structlog.testing import capture_logs

from validator.server.tracing import trace_id

ID = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{ID}-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    "value",
    [
        TRACEPARENT,
        f"00-{ID}-b7ad6b7169203331-00",
        f"00-{ID}-b7ad6b7169203331-ff",
        f"01-{ID}-b7ad6b7169203331-01",
        f"cc-{ID}-b7ad6b7169203331-01-what the future brings",
        f"01-{ID}-b7ad6b7169203331-01-",
    ],
)
def test_a_well_formed_value_has_an_id(value):
    assert trace_id(value.encode()) == ID


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x",
        TRACEPARENT[:-1],
        TRACEPARENT + "0",
        TRACEPARENT + "-",
        TRACEPARENT + "-00",
        TRACEPARENT + "\n",
        " " + TRACEPARENT,
        TRACEPARENT.upper(),
        TRACEPARENT.replace("-", "_"),
        f"ff-{ID}-b7ad6b7169203331-01",
        f"0-{ID}-b7ad6b7169203331-01",
        f"0g-{ID}-b7ad6b7169203331-01",
        f"01-{ID}-b7ad6b7169203331-01.more",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{ID}-{'0' * 16}-01",
        f"00-{ID[:-1]}-b7ad6b7169203331-01",
        f"00-{ID[:-1]}g-b7ad6b7169203331-01",
        "-" * 55,
        "0" * 55,
    ],
)
def test_any_other_has_none(value):
    assert trace_id(value.encode()) is None


@pytest.fixture
async def plane():
    async with serving_plane() as served:
        yield served


async def traces(plane, *lines, target=b"/v1/authorize/plain/orders"):
    peer = await plane.peer()
    assert (await peer.ask(get(*lines, target=target))).status in (200, 401, 404)
    return plane.pipeline.traces[-1]


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([], None),
        ([f"traceparent: {TRACEPARENT}"], ID),
        ([f"TraceParent:  {TRACEPARENT} "], ID),
        ([f"traceparent: {TRACEPARENT}", f"traceparent: {TRACEPARENT}"], None),
        (["traceparent: nonsense", f"traceparent: {TRACEPARENT}"], None),
        ([f"traceparent: {TRACEPARENT}", f"traceparent: {TRACEPARENT}", f"traceparent: {TRACEPARENT}"], None),
        (["traceparent:"], None),
        ([f"tracestate_: {TRACEPARENT}"], None),
    ],
)
async def test_the_connection_finds_it(plane, lines, found):
    assert await traces(plane, *(line.encode() for line in lines)) == found


async def test_it_is_handed_on_with_every_kind_of_refusal(plane):
    header = f"traceparent: {TRACEPARENT}".encode()
    assert await traces(plane, header, b"Authorization: a", b"Authorization: b") == ID
    assert await traces(plane, header, b"Cookie: __Host-session=a; __Host-session=b") == ID
    assert await traces(plane, header, target=b"/v1/authorize/none/orders") == ID
    assert await traces(plane, header, b"Connection: close") == ID


async def test_it_is_the_requests_own(plane):
    peer = await plane.peer()
    await peer.ask(get(f"traceparent: {TRACEPARENT}".encode()))
    await peer.ask(get())
    assert plane.pipeline.traces == [ID, None]


async def test_a_judged_refusal_is_logged_with_it_and_says_the_same():
    async with assembled() as running:
        seen = {}
        for number, headers in enumerate(({}, {"traceparent": TRACEPARENT}, {"traceparent": "nonsense"})):
            credential = bearer(f"nonsense-{number}")  # else the first answer is replayed
            answer = await running.ask({**credential, **headers})
            seen[answer.body, answer.headers["WWW-Authenticate"]] = answer.verdict
        assert list(seen.values()) == [(401, "token_malformed")]
        lines = [line for line in running.logs if line["event"] == "denied"]
        assert [line.get("trace_id", "none") for line in lines] == ["none", ID, "none"]
        unknown = {"Authorization": "Basic b3JkZXJzOndyb25n", "traceparent": TRACEPARENT}
        assert (await running.ask(unknown)).verdict == (401, "credentials_rejected")
        assert running.logs[-1]["trace_id"] == ID
        with capture_logs() as logs:
            assert (await running.ask({"traceparent": TRACEPARENT}, strategy="none")).status == 404
        assert logs[-1]["trace_id"] == ID
