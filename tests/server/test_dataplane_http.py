"""The data plane speaks HTTP/1.1 as RFC 9112 has it: each request gets one answer, in order, whatever its method,
body, version or form of target; and what could be read in two ways is refused."""

import json

import pytest
from plane_support import TARGET, bearing, get

from validator.model import Reason

BEARER = b"Authorization: Bearer abc"
CHUNKED = b"Transfer-Encoding: chunked"
ANOTHER = bearing(b"another")
TRAILER = b"5\r\nhello\r\n0\r\nAuthorization: Bearer abc\r\nCookie: __Host-session=abc\r\nHost: other\r\n\r\n"


async def test_a_connection_is_kept(serve):
    peer = await (await serve()).peer()
    for turn in range(3):
        answer = await peer.ask(bearing(b"turn-%d" % turn))
        assert (answer.status, answer.seen, answer.body) == (200, f"turn-{turn}", b"ok")
        assert "connection" not in answer.fields
        assert answer.fields["cache-control"] == "private, max-age=30"


async def test_pipelined_requests_are_answered_in_order_behind_a_slow_first(serve):
    served = await serve()
    gate = served.pipeline.gate("first")
    peer = await served.peer()
    peer.send(bearing(b"slow first") + bearing(b"second") + get(b"Host: twice"))
    await served.connected(1)
    probe = await served.peer()
    assert (await probe.ask(bearing(b"elsewhere"))).status == 200  # nobody else waits
    assert not peer.reader._buffer
    gate.set()
    assert [(await peer.answer()).seen for _ in range(2)] == ["slow first", "second"]
    refused = await peer.answer()
    assert (refused.status, refused.closes) == (400, True)
    assert await peer.rest() == b""


async def test_an_answer_that_was_waited_for_counts_its_age_from_when_it_is_sent(serve):
    served = await serve()
    gate = served.pipeline.gate("first")
    peer = await served.peer()
    peer.send(bearing(b"slow first") + bearing(b"second"))
    await served.asked(2)
    served.clock.advance(12.5)
    gate.set()
    ages = [(await peer.answer()).fields["cache-control"] for _ in range(2)]
    assert ages == ["private, max-age=17", "private, max-age=17"]


@pytest.mark.parametrize(
    "method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "PURGE", "M-SEARCH"]
)
async def test_every_method_is_judged_alike(serve, method):
    peer = await (await serve()).peer()
    answer = await peer.ask(get(BEARER, method=method.encode()) + ANOTHER)
    assert (answer.status, answer.seen, answer.body) == (200, "Bearer abc", b"ok")
    assert (await peer.answer()).seen == "another"


async def test_head_is_answered_without_a_body(serve):
    served = await serve()
    peer = await served.peer()
    served.pipeline.gate("head").set()
    peer.send(get(BEARER, method=b"HEAD") + get(b"Authorization: slow head", method=b"HEAD") + ANOTHER)
    for _ in range(2):
        answer = await peer.answer(head=True)
        assert (answer.status, answer.fields["content-length"]) == (200, "2")
    assert (await peer.answer()).seen == "another"


@pytest.mark.parametrize(
    ("request_", "connection"),
    [
        pytest.param(get(version=b"HTTP/1.0"), "close", id="1.0"),
        pytest.param(b"GET %b HTTP/1.0\r\n\r\n" % TARGET, "close", id="1.0 needs no Host"),
        pytest.param(get(b"Connection: keep-alive", version=b"HTTP/1.0"), "keep-alive", id="1.0 keep-alive"),
        pytest.param(get(b"Connection: close"), "close", id="1.1 close"),
        pytest.param(get(b"connection: Close, te"), "close", id="1.1 close among others, in any case"),
        pytest.param(get(), None, id="1.1"),
    ],
)
@pytest.mark.parametrize("slow", [False, True], ids=["at once", "later"])
async def test_whether_the_connection_is_kept(serve, request_, connection, slow):
    served = await serve()
    served.pipeline.gate("a").set()
    peer = await served.peer()
    value = b"slow a" if slow else b"a"
    request_ = request_.replace(b"\r\n\r\n", b"\r\nAuthorization: %b\r\n\r\n" % value)
    answer = await peer.ask(request_ + ANOTHER)
    assert (answer.status, answer.fields.get("connection")) == (200, connection)
    if connection == "close":
        assert await peer.rest() == b""
    else:
        assert (await peer.answer()).seen == "another"


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(get(b"Content-Length: 5", body=b"hello"), id="a length"),
        pytest.param(get(b"Content-Length: 0"), id="a length of nothing"),
        pytest.param(get(CHUNKED, body=b"5;x=y\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"), id="chunked"),
        pytest.param(get(CHUNKED, body=b"0\r\n\r\n"), id="chunked and empty"),
        pytest.param(get(CHUNKED, body=TRAILER), id="trailers"),
        pytest.param(get(b"Content-Length: %d" % len(ANOTHER), body=ANOTHER), id="a request in the body"),
        pytest.param(get(b"Content-Length: 22", body=b"access_token=Bearer+ab"), id="a token in the body"),
        pytest.param(get(target=TARGET + b"?access_token=abc"), id="a token in the query"),
    ],
)
async def test_nothing_but_the_head_is_looked_at(serve, request_):
    """A body, its trailers and a query are read past: what follows is the next request, and no part of them is a
    credential."""
    served = await serve()
    peer = await served.peer()
    assert (await peer.ask(request_ + ANOTHER)).seen == "none"
    assert (await peer.answer()).seen == "another"
    assert served.pipeline.asked == [("orders", None, None), ("orders", b"another", None)]


async def test_a_body_is_waited_for_with_100_continue(serve):
    peer = await (await serve()).peer()
    asking = get(BEARER, b"Expect: 100-Continue", b"Content-Length: 5")
    assert (await peer.ask(asking)).status == 100
    assert (await peer.ask(b"hello")).seen == "Bearer abc"
    ignored = get(BEARER, b"Expect: 100-continue", b"Content-Length: 5", version=b"HTTP/1.0", body=b"hello")
    assert (await peer.ask(ignored)).status == 200  # RFC 9110 section 10.1.1: not to a client of HTTP/1.0


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(get(b"Upgrade: websocket", b"Connection: Upgrade"), id="bare"),
        pytest.param(get(b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings"), id="h2c"),
        pytest.param(
            get(b"Upgrade: a", b"Connection: Upgrade", b"Content-Length: %d" % len(ANOTHER)), id="with a body"
        ),
        pytest.param(get(b"Upgrade: a", b"Connection: Upgrade", CHUNKED), id="with a chunked body"),
        pytest.param(get(method=b"CONNECT"), id="CONNECT"),
    ],
)
async def test_an_upgrade_is_ignored_and_nothing_behind_it_is_taken_for_a_request(serve, request_):
    served = await serve()
    peer = await served.peer()
    answer = await peer.ask(request_ + ANOTHER * 3000)
    assert (answer.status, answer.closes) == (200, True)
    assert await peer.rest() == b""
    assert served.pipeline.asked == [("orders", None, None)]


async def test_the_header_upgrade_alone_asks_for_nothing(serve):
    peer = await (await serve()).peer()
    assert not (await peer.ask(get(b"Upgrade: websocket"))).closes


@pytest.mark.parametrize(
    ("target", "service"),
    [
        pytest.param(b"http://validator:8100/v1/authorize/plain/orders", "orders", id="absolute-form"),
        pytest.param(b"/v1/authorize/plain/orders?x=/y", "orders", id="query"),
        pytest.param(b"/v1/authorize/plain/orders/a/b/../c?x", "orders", id="path of Envoy"),
        pytest.param(b"/v1/authorize/plain/orders/", "orders", id="slash at the end"),
        pytest.param(b"/v1/authorize/%70lain/my%20%C3%BC", "my ü", id="percent-encoding"),
        pytest.param(b"/v1/authorize/plain/a%2Fb", "a/b", id="an encoded slash is no separator"),
        pytest.param(b"/v1/authorize/plain/%2e%2e", "..", id="dots mean nothing"),
        pytest.param(b"/v1/authorize/plain/ORDERS", "ORDERS", id="case counts"),
        pytest.param(b"/v1/authorize/other/orders", None, id="unknown strategy"),
        pytest.param(b"/v1/authorize/Plain/orders", None, id="case counts in strategies"),
        pytest.param(b"/v1/authorize/plain", None, id="no service"),
        pytest.param(b"/v1/authorize/plain/", None, id="empty service"),
        pytest.param(b"/v1/authorize//orders", None, id="empty strategy"),
        pytest.param(b"/v1/authorize/plain/%ff", None, id="not UTF-8"),
        pytest.param(b"/v1/authorize/plain/a%0d%0ab", None, id="control characters"),
        pytest.param(b"/v1/authorize/plain/" + b"a" * 257, None, id="too long a name"),
        pytest.param(b"//v1/authorize/plain/orders", None, id="two slashes"),
        pytest.param(b"/v1/Authorize/plain/orders", None, id="another path"),
        pytest.param(b"http://[/v1/authorize/plain/orders", None, id="a broken absolute-form"),
        pytest.param(b"*", None, id="asterisk-form"),
    ],
)
async def test_targets(serve, target, service):
    served = await serve()
    peer = await served.peer()
    for _ in range(2):  # the second time from memory
        answer = await peer.ask(get(target=target, method=b"OPTIONS"))
        if service is None and answer.status == 400:
            assert answer.closes
            return
        assert answer.status == (404 if service is None else 200)
    if service is None:
        assert json.loads(answer.body)["reason"] == "strategy_unknown"
        assert answer.fields["content-type"] == "application/problem+json"
    assert [asked[0] for asked in served.pipeline.asked] == ([] if service is None else [service] * 2)


@pytest.mark.parametrize(
    ("lines", "asked"),
    [
        pytest.param([BEARER], (b"Bearer abc", None), id="Authorization"),
        pytest.param([b"AUTHORIZATION:Bearer abc"], (b"Bearer abc", None), id="any case, no space"),
        pytest.param([b"Authorization:"], (b"", None), id="an empty one"),
        pytest.param([BEARER, BEARER], (Reason.MULTIPLE_CREDENTIALS, None), id="two Authorization"),
        pytest.param([BEARER, b"Authorization:"], (Reason.MULTIPLE_CREDENTIALS, None), id="two, one empty"),
        pytest.param([b"Cookie: __Host-session=s"], (None, b"s"), id="session"),
        pytest.param([b"Cookie: a=b; __Host-session=s; c=d"], (None, b"s"), id="among others"),
        pytest.param([b"Cookie: a=b", b"Cookie: __Host-session=s"], (None, b"s"), id="two Cookie headers"),
        pytest.param([b"Cookie: a=b; x__Host-session=s; __host-session=t"], (None, None), id="unrelated cookies"),
        pytest.param(
            [b"Cookie: __Host-session=s; __Host-session=s"], (Reason.MULTIPLE_CREDENTIALS, None), id="twice"
        ),
        pytest.param(
            [b"Cookie: __Host-session=s", b"Cookie: __Host-session=t"],
            (Reason.MULTIPLE_CREDENTIALS, None),
            id="twice in two headers",
        ),
        pytest.param(
            [BEARER, b"Cookie: __Host-session=s; __Host-session=t"], (b"Bearer abc", None), id="beside a bearer"
        ),
        pytest.param([b"Proxy-Authorization: Bearer abc", b"X-Api-Key: abc"], (None, None), id="no other header"),
    ],
)
async def test_the_one_credential_is_found(serve, lines, asked):
    served = await serve()
    peer = await served.peer()
    answer = await peer.ask(get(*lines))
    assert served.pipeline.asked == [("orders", *asked)]
    if isinstance(asked[0], Reason):
        assert (answer.status, json.loads(answer.body)["reason"]) == (401, "multiple_credentials")


async def test_nothing_of_a_request_is_left_for_the_next(serve):
    served = await serve()
    peer = await served.peer()
    peer.send(get(BEARER, BEARER, b"Cookie: __Host-session=s") + get(b"Cookie: __Host-session=s") + get())
    for _ in range(3):
        await peer.answer()
    assert served.pipeline.asked[1:] == [("orders", None, b"s"), ("orders", None, None)]


async def test_a_failing_pipeline_is_503_and_never_an_allow(serve):
    served = await serve()
    served.pipeline.error = RuntimeError("broken")
    peer = await served.peer()
    answer = await peer.ask(bearing(b"a"))
    assert (answer.status, answer.closes, answer.fields["retry-after"]) == (503, True, "1")
    assert json.loads(answer.body)["reason"] == "store_unavailable"


REFUSED = [
    pytest.param(b"GET %b HTTP/1.1\r\n\r\n" % TARGET, id="no Host"),
    pytest.param(get(b"host: validator"), id="two Host"),
    pytest.param(get(b"Host: a", version=b"HTTP/1.0"), id="two Host in HTTP/1.0"),
    pytest.param(get(b"Content-Length: 5", CHUNKED, body=b"0\r\n\r\n"), id="length and chunked"),
    pytest.param(get(CHUNKED, b"Content-Length: 5", body=b"0\r\n\r\n"), id="chunked and length"),
    pytest.param(get(b"Content-Length: 5", b"Content-Length: 6", body=b"hello!"), id="two lengths"),
    pytest.param(get(b"Content-Length: 5, 5", body=b"hello"), id="a list of lengths"),
    pytest.param(get(b"Content-Length: +5", body=b"hello"), id="length with a sign"),
    pytest.param(get(b"Content-Length: 0x5", body=b"hello"), id="length in hex"),
    pytest.param(get(b"Content-Length: -1"), id="negative length"),
    pytest.param(get(b"Content-Length: 99999999999999999999999"), id="length beyond any number"),
    pytest.param(get(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"), id="unknown coding"),
    pytest.param(get(b"Transfer-Encoding: gzip", body=b"0\r\n\r\n"), id="not chunked at the end"),
    pytest.param(get(b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n"), id="chunked and more"),
    pytest.param(get(CHUNKED, version=b"HTTP/1.0", body=b"0\r\n\r\n"), id="chunked in HTTP/1.0"),
    pytest.param(get(CHUNKED, body=b"5\nhello\n0\n\n"), id="chunks ended by bare LF"),
    pytest.param(get(CHUNKED, body=b"5\r\nhelloX\r\n0\r\n\r\n"), id="chunk longer than it says"),
    pytest.param(get(CHUNKED, body=b"-5\r\nhello\r\n0\r\n\r\n"), id="chunk of negative length"),
    pytest.param(b"GET %b HTTP/1.1\nHost: validator\n\n" % TARGET, id="bare LF"),
    pytest.param(get(b"X: a\nAuthorization: Bearer abc"), id="bare LF between headers"),
    pytest.param(get(b"X: a\rAuthorization: Bearer abc"), id="bare CR"),
    pytest.param(get(b"X: a\r\n Bearer abc"), id="folded line"),
    pytest.param(get(b"X: a\0b"), id="NUL in a value"),
    pytest.param(get(b"X\0: a"), id="NUL in a name"),
    pytest.param(get(b"Authorization : Bearer abc"), id="space before the colon"),
    pytest.param(get(b" Authorization: Bearer abc"), id="space before the name"),
    pytest.param(get(b": a"), id="no name"),
    pytest.param(get(b"Authorization"), id="no colon"),
    pytest.param(get(target=TARGET + b" x"), id="space in the target"),
    pytest.param(get(target=TARGET + b"\xff"), id="octets beyond ASCII in the target"),
    pytest.param(get(target=TARGET + b"\0"), id="NUL in the target"),
    pytest.param(get(method=b"get"), id="method in lower case"),
    pytest.param(get(version=b"HTTP/2.0"), id="HTTP/2"),
    pytest.param(get(version=b"HTTP/1.2"), id="HTTP/1.2"),
    pytest.param(get(version=b"http/1.1"), id="version in lower case"),
    pytest.param(b"GET %b\r\n\r\n" % TARGET, id="HTTP/0.9"),
    pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2's preface"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="TLS"),
    pytest.param(b"\0" * 100, id="zeros"),
]


@pytest.mark.parametrize("request_", REFUSED)
async def test_what_could_be_read_in_two_ways_is_refused(serve, request_):
    """400, the connection ends, and nothing of it nor behind it reaches the pipeline."""
    served = await serve()
    peer = await served.peer()
    answer = await peer.ask(request_ + ANOTHER)
    assert (answer.status, answer.closes) == (400, True)
    assert answer.fields["content-type"] == "application/problem+json"
    assert "reason" not in json.loads(answer.body)
    assert await peer.rest() == b""
    assert served.pipeline.asked == []
    assert served.plane.bad_requests == 1


async def test_an_unknown_expectation_is_417(serve):
    served = await serve()
    peer = await served.peer()
    answer = await peer.ask(get(b"Expect: 200-ok"))
    assert (answer.status, answer.closes, served.pipeline.asked) == (417, True, [])
