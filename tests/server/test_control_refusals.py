"""Mistakes and failures at the control plane: all at once, each with its place, as problem documents."""

import asyncio
import contextlib
import io
import json

import pytest
from blockbuster import blockbuster_ctx
from control_support import A_NEW, Running, raw, serving, with_registry
from structlog.testing import capture_logs

from validator.errors import Unavailable
from validator.model import Reason
from validator.ports import NotFound
from validator.server import bodies


@pytest.fixture
async def control():
    with blockbuster_ctx("validator"):
        async with serving(Running()) as running:
            yield running


class TestMistakes:
    async def test_all_at_once_each_with_its_place(self, control):
        body = {
            "id": "x" * 129,
            "name": "a\u0007b",
            "strategy": "nope",
            "registrations": ["orders", {"service": "", "status": "yes"}, "orders", 7, {"service": "a"}],
            "colour/shade~": "blue",
        }
        assert set(await control.mistakes("POST", "/v1/applications", body)) == {
            "/id",
            "/name",
            "/strategy",
            "/client_id",
            "/registrations/1/service",
            "/registrations/1/status",
            "/registrations/2",
            "/registrations/3",
            "/registrations/4/status",
            "/colour~1shade~0",
        }
        assert control.registry.list() == []

    @pytest.mark.parametrize(
        ("member", "longest"), [("id", 128), ("name", 256), ("client_id", 256), ("service", 256)]
    )
    async def test_bounds(self, control, member, longest):
        def body(value):
            if member == "service":
                return {**A_NEW, "registrations": [value]}
            return {**A_NEW, member: value}

        pointer = "/registrations/0/service" if member == "service" else f"/{member}"
        assert set(await control.mistakes("POST", "/v1/applications", body("x" * (longest + 1)))) == {pointer}
        assert set(await control.mistakes("POST", "/v1/applications", body(""))) == {pointer}
        for control_character in ("\x00", "\n", "\x7f", "\x85", "\u2028"):
            found = await control.mistakes("POST", "/v1/applications", body(f"a{control_character}b"))
            assert found == {pointer: "must not contain control characters"}
        assert (await control.ask("POST", "/v1/applications", body("x" * longest)))[0] == 201

    @pytest.mark.parametrize(
        ("change", "pointer"),
        [
            ({"id": 5}, "/id"),
            ({"id": ".."}, "/id"),
            ({"status": "ACTIVE"}, "/status"),
            ({"status": True}, "/status"),
            ({"client_id": ["c"]}, "/client_id"),
            ({"registrations": "orders"}, "/registrations"),
            ({"registrations": {"orders": "approved"}}, "/registrations"),
            ({"registrations": [f"s{n}" for n in range(1001)]}, "/registrations"),
            ({"origin": "file"}, "/origin"),
            ({"strategy": "PLAIN"}, "/strategy"),
        ],
    )
    async def test_nothing_is_converted(self, control, change, pointer):
        assert set(await control.mistakes("POST", "/v1/applications", {**A_NEW, **change})) == {pointer}

    async def test_the_configured_strategies_are_asked_for_each_time(self, control):
        found = await control.mistakes("POST", "/v1/applications", {**A_NEW, "strategy": "okta"})
        assert found["/strategy"] == "no such strategy is configured; configured: azure, plain"
        control.strategies = ["okta"]
        assert (await control.ask("POST", "/v1/applications", {**A_NEW, "strategy": "okta"}))[0] == 201

    async def test_put_judges_the_paths_id(self, control):
        body = {"strategy": "plain", "client_id": "c"}
        assert set(await control.mistakes("PUT", "/v1/applications/x", {**body, "id": "y"})) == {"/id"}
        assert set(await control.mistakes("PUT", "/v1/applications/" + "x" * 129, body)) == {"id"}
        assert set(await control.mistakes("PUT", "/v1/applications/a%0Db", body)) == {"id"}
        assert control.registry.list() == []

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            (b"", "not JSON"),
            (b"{", "line 1, column 2"),
            (b'{"a":1}x', "not JSON"),
            (b'{"strategy":"plain","client_id":"a","client_id":"b"}', '"client_id" twice'),
            (b'{"registrations":[{"service":"a","service":"b"}]}', '"service" twice'),
            (b'{"client_id":NaN}', "NaN"),
            (b'{"client_id":-Infinity}', "-Infinity"),
            (b'\xff{"a":1}', "UTF-8"),
            (b'\xef\xbb\xbf{"a":1}', "not JSON"),
            (b'{"client_id":"\\ud800"}', "surrogate"),
            (b'{"\\udfff":1}', "surrogate"),
            (b"[" * 100_000, "nested too deep"),
            (b"1" * 10_000, "too long a number"),
        ],
    )
    async def test_malformed_json(self, control, body, words):
        status, problem = await control.ask(
            "POST", "/v1/applications", data=body, headers={"Content-Type": "application/json"}
        )
        assert status == 400
        assert words in problem["detail"]

    @pytest.mark.parametrize("body", [b"[]", b"null", b'"x"', b"5"])
    async def test_json_that_is_no_object(self, control, body):
        headers = {"Content-Type": "application/json"}
        assert set(await control.mistakes("POST", "/v1/applications", data=body, headers=headers)) == {""}

    @pytest.mark.parametrize(
        "headers",
        [
            {"Content-Type": "text/plain"},
            {"Content-Type": "application/x-www-form-urlencoded"},
            {"Content-Type": "application/json; charset=latin-1"},
            {"Content-Type": "application/json", "Content-Encoding": "gzip"},
        ],
    )
    async def test_other_media_types(self, control, headers):
        body = json.dumps(A_NEW).encode()
        assert (await control.ask("POST", "/v1/applications", data=body, headers=headers))[0] == 415
        assert control.registry.list() == []

    async def test_too_large_by_its_length_and_by_its_chunks(self, control):
        headers = {"Content-Type": "application/json"}
        padded = b'{"strategy":"plain","client_id":"c"}'.ljust(bodies.MAX_BODY_BYTES)

        async def chunks(body):
            for start in range(0, len(body), 65536):
                yield body[start : start + 65536]

        for data in (io.BytesIO(padded + b" "), chunks(padded + b" ")):
            assert (await control.ask("POST", "/v1/applications", data=data, headers=headers))[0] == 413
        assert (await control.ask("POST", "/v1/applications", data=chunks(padded), headers=headers))[0] == 201

    async def test_a_body_that_never_arrives(self, control, monkeypatch):
        monkeypatch.setattr(bodies, "BODY_TIMEOUT_S", 0.05)
        reply = await raw(
            control,
            b"POST /v1/applications HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 10\r\n\r\n{",
        )
        assert reply.startswith(b"HTTP/1.1 408 ")


class TestRefusals:
    async def test_unknown_paths_and_methods(self, control):
        assert (await control.ask("GET", "/"))[0] == 404
        assert (await control.ask("GET", "/v1/applications/a/b"))[0] == 404
        assert (await control.ask("GET", "/v1/applications/%FF"))[0] == 404
        assert (await control.ask("PATCH", "/v1/applications"))[0] == 405
        assert set(control.headers["Allow"].replace(" ", "").split(",")) == {"GET", "HEAD", "POST"}

    async def test_what_is_not_http(self, control):
        for request in (
            b"\x16\x03\x01 hello\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
            b"GET " + b"x" * 20000,
        ):
            reply = await raw(control, request + b"\r\n\r\n")
            head, _, body = reply.partition(b"\r\n\r\n")
            assert head.split()[1] == b"400"
            assert b"application/problem+json" in head
            assert b"aiohttp" not in head
            assert b"hello" not in body
            assert json.loads(body)["status"] == 400

    async def test_an_unknown_expectation(self, control):
        reply = await raw(
            control, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nExpect: gold\r\nConnection: close\r\n\r\n"
        )
        assert reply.startswith(b"HTTP/1.1 417 ")
        assert b"application/problem+json" in reply
        assert b"gold" not in reply

    async def test_an_unavailable_store(self):
        class Broken:
            async def create(self, _):
                raise Unavailable(Reason.STORE_UNAVAILABLE, "disk full", retry_after_s=1.2)

        async with serving(with_registry(Broken())) as broken:
            status, problem = await broken.ask("POST", "/v1/applications", A_NEW)
        assert (status, problem["reason"], problem["detail"]) == (503, "store_unavailable", "disk full")
        assert broken.headers["Retry-After"] == "2"

    async def test_a_bug_is_a_bare_500_and_a_log_line(self):
        class Buggy:
            def get(self, _):
                raise ZeroDivisionError("canary-in-a-bug")

        with capture_logs() as lines:
            async with serving(with_registry(Buggy())) as buggy:
                status, problem = await buggy.ask("GET", "/v1/applications/x", headers={"Accept": "text/html"})
        assert status == 500
        assert "canary" not in json.dumps(problem)
        assert [line["event"] for line in lines] == ["control_error"]

    async def test_a_put_that_always_loses_ends(self, control):
        class Contended:
            async def replace(self, _):
                raise NotFound("not there")

            async def create(self, application):
                await control.registry.create(application)

            def get(self, application_id):
                return control.registry.get(application_id)

        await control.ask("POST", "/v1/applications", A_NEW)
        async with serving(with_registry(Contended())) as contended:
            assert (await contended.ask("PUT", "/v1/applications/app-1", A_NEW))[0] == 409

    async def test_connections_are_bounded(self):
        async with serving(Running(), max_connections=3) as control, contextlib.AsyncExitStack() as stack:
            address = ("127.0.0.1", int(control.url.rpartition(":")[2]))
            held = []
            for _ in range(3):
                reader, writer = await asyncio.open_connection(*address)
                stack.callback(writer.close)
                writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert (await reader.readline()).startswith(b"HTTP/1.1 200")
                held.append(reader)
            reader, writer = await asyncio.open_connection(*address)
            stack.callback(writer.close)
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 10) == b""
