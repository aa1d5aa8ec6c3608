"""The way to the identity provider carries what it is given, and survives whatever comes back."""

import asyncio

import pytest
from idp_calls import (
    MakeClient,
    Observed,
    jwks_request,
    raw_server,
    refusal,
    token_request,
)

from validator.model import Endpoint, HttpRequest
from validator.testing import FakeIdp, Fault

# -- carrying ------------------------------------------------------------------------------------------------


async def test_it_carries_the_request_and_the_reply(idp: FakeIdp, make: MakeClient, observed: Observed) -> None:
    client = make()
    reply = await client.send(token_request(idp))
    assert reply.status == 200
    assert b'"access_token"' in reply.body
    assert reply.headers["cache-control"] == "no-store"
    seen = idp.requests[-1]
    assert (seen.method, seen.client_id, seen.auth_method) == ("POST", "orders", "client_secret_post")
    assert seen.headers["user-agent"].startswith("kong-credential-validator/")
    assert seen.headers["accept-encoding"] == "identity"
    assert set(seen.headers) == {
        "accept", "accept-encoding", "content-length", "content-type", "host", "user-agent",
    }  # fmt: skip
    assert observed == [(Endpoint.TOKEN, "ok")]


async def test_an_error_status_is_handed_back(idp: FakeIdp, make: MakeClient, observed: Observed) -> None:
    idp.fail(Fault.oauth_error("invalid_client", status=401))
    reply = await make().send(token_request(idp))
    assert reply.status == 401
    assert b"invalid_client" in reply.body
    assert observed == [(Endpoint.TOKEN, "error_status")]


async def test_a_redirect_is_handed_back_and_not_followed(
    idp: FakeIdp, make: MakeClient, observed: Observed
) -> None:
    idp.fail(Fault.redirect(idp.discovery_url), Endpoint.JWKS)
    reply = await make().send(jwks_request(idp.jwks_uri))
    assert (reply.status, reply.headers["location"]) == (302, idp.discovery_url)
    assert idp.calls[Endpoint.DISCOVERY] == 0
    assert observed == [(Endpoint.JWKS, "error_status")]


async def test_repeated_fields_join_and_names_are_lowered(idp: FakeIdp, make: MakeClient) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nCache-Control: public\r\nCACHE-CONTROL: max-age=5\r\n\r\n"
        )

    async with raw_server(handler) as url:
        reply = await make().send(jwks_request(url))
    assert reply.headers["cache-control"] == "public, max-age=5"


async def test_a_cookie_is_not_kept(idp: FakeIdp, make: MakeClient) -> None:
    requests: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")

    async with raw_server(handler) as url:
        client = make()
        for _ in range(2):
            await client.send(jwks_request(url))
    assert len(requests) == 2
    assert not any(b"ookie" in request for request in requests)


async def test_the_environment_names_no_proxy(
    idp: FakeIdp, make: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert (await make().send(jwks_request(idp.jwks_uri))).status == 200


# -- no complete reply ---------------------------------------------------------------------------------------


async def test_a_stalled_provider_runs_into_the_timeout(
    idp: FakeIdp, make: MakeClient, observed: Observed
) -> None:
    idp.fail(Fault.stall())
    error = await refusal(make(total_timeout_s=0.05), jwks_request(idp.jwks_uri))
    assert error.detail == "jwks endpoint at 127.0.0.1: no complete reply within 0.05 s"
    assert observed == [(Endpoint.JWKS, "timeout")]


async def test_a_trickling_body_runs_into_the_timeout(make: MakeClient, observed: Observed) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        while not writer.is_closing():  # each byte in time, the whole never
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with raw_server(handler) as url:
        await refusal(make(total_timeout_s=0.1), jwks_request(url))
    assert observed == [(Endpoint.JWKS, "timeout")]


async def test_a_refused_connection_is_unreachable(idp: FakeIdp, make: MakeClient, observed: Observed) -> None:
    await idp.take_down()
    error = await refusal(make(), jwks_request(idp.jwks_uri))
    assert "refused" in error.detail
    assert observed == [(Endpoint.JWKS, "unreachable")]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (b"", "closed without a reply"),
        (b"SMTP ready\r\n\r\n", "not valid HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "broke off"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", "not valid HTTP"),
    ],
)
async def test_a_broken_reply_is_unreachable(
    make: MakeClient, observed: Observed, reply: bytes, kind: str
) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)

    async with raw_server(handler) as url:
        error = await refusal(make(), jwks_request(url))
    assert kind in error.detail
    assert observed == [(Endpoint.JWKS, "unreachable")]


async def test_a_name_that_does_not_resolve_is_unreachable(make: MakeClient) -> None:
    client = make(allow_insecure_http=True)
    error = await refusal(client, jwks_request("http://no-such-host.invalid/keys"))  # RFC 6761 section 6.4
    assert error.detail == "jwks endpoint at no-such-host.invalid: its name could not be resolved"


@pytest.mark.parametrize(("size", "fits"), [(4096, True), (4097, False)])
async def test_the_announced_size_is_bounded(
    idp: FakeIdp, make: MakeClient, observed: Observed, size: int, fits: bool
) -> None:
    idp.fail(Fault.oversized(size))
    client = make(max_reply_bytes=4096)
    if fits:
        assert len((await client.send(jwks_request(idp.jwks_uri))).body) == size
    else:
        assert "longer than 4096 bytes" in (await refusal(client, jwks_request(idp.jwks_uri))).detail
    assert observed == [(Endpoint.JWKS, "ok" if fits else "too_large")]


async def test_an_endless_body_is_aborted(make: MakeClient, observed: Observed) -> None:
    hung_up = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while not writer.is_closing():
                writer.write(b"1000\r\n" + b" " * 4096 + b"\r\n")
                await writer.drain()
        finally:
            hung_up.set()

    async with raw_server(handler) as url:
        await refusal(make(max_reply_bytes=50_000), jwks_request(url))
        async with asyncio.timeout(5):
            await hung_up.wait()
    assert observed == [(Endpoint.JWKS, "too_large")]


async def test_a_pooled_connection_that_was_just_closed_is_replaced(make: MakeClient, observed: Observed) -> None:
    connections = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")  # and then hangs up on the second request

    async with raw_server(handler) as url:
        client = make()
        request = HttpRequest(Endpoint.TOKEN, "POST", url)
        for _ in range(3):
            assert (await client.send(request)).status == 200
    assert connections == 3
    assert observed == [(Endpoint.TOKEN, "ok")] * 3


async def test_a_fresh_connection_that_is_closed_is_not_tried_again(make: MakeClient) -> None:
    connections = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")

    async with raw_server(handler) as url:
        await refusal(make(), HttpRequest(Endpoint.TOKEN, "POST", url))
    assert connections == 1
