"""What the bridge refuses, and how: always in Konnect's shape, with all that an admin needs and no secret."""

import asyncio
import io
import json

import pytest
from blockbuster import blockbuster_ctx
from bridge_support import ADDED, APPLICATION, EVENT, KEY, SERVED, alone
from control_support import raw
from plane_support import until
from structlog.testing import capture_logs

from validator.core.registration import RegistrationRefused
from validator.dcr.plan import BridgeRefused, Busy
from validator.errors import Unavailable
from validator.model import Reason
from validator.ports import Conflict, NotFound
from validator.server import bodies

JSON = {"Content-Type": "application/json"}
_HEAD = f"Host: 127.0.0.1\r\nX-API-KEY: {KEY}\r\nContent-Type: application/json\r\nConnection: close\r\n".encode()


@pytest.fixture(params=SERVED)
async def bridge(request):
    with blockbuster_ctx("validator"):
        async with SERVED[request.param]() as asking:
            yield asking


async def _sentence(bridge, path, body):
    status, refused = await bridge.ask("POST", path, body)
    assert (status, refused["error"]) == (400, "Bad Request")
    assert bridge.stub.asked == []
    return refused["error_description"]


class TestMistakes:
    async def test_all_in_one_sentence_each_with_its_place(self, bridge):
        body = {
            **APPLICATION,
            "client_name": 5,
            "redirect_uris": "https://a.test",
            "grant_types": ["bearer", None],
            "scopes": ["two scopes"],
            "portal_id": "",
        }
        del body["developer_id"]
        sentence = await _sentence(bridge, "/dcr/", body)
        assert sentence.startswith("The request has mistakes: /client_name: Input should be a valid string; ")
        for place in ("/redirect_uris: ", "/grant_types/1: ", "/scopes/0: ", "/portal_id: "):
            assert f"; {place}" in sentence
        assert "; /developer_id: Field required." in sentence
        assert "two scopes" not in sentence

    @pytest.mark.parametrize("member", sorted(APPLICATION))
    async def test_every_member_of_an_application_is_required(self, bridge, member):
        body = {name: value for name, value in APPLICATION.items() if name != member}
        assert await _sentence(bridge, "/dcr/", body) == f"The request has mistakes: /{member}: Field required."
        assert f"/{member}: " in await _sentence(bridge, "/dcr", {**APPLICATION, member: None})

    @pytest.mark.parametrize("member", sorted(set(ADDED) - {"api_product_version_id"}))
    async def test_every_member_of_an_event_is_required(self, bridge, member):
        body = {name: value for name, value in ADDED.items() if name != member}
        sentence = await _sentence(bridge, "/dcr/c1/event-hook", body)
        assert sentence == f"The request has mistakes: /{member}: Field required."

    @pytest.mark.parametrize(
        ("event", "member"),
        [
            ("update_application", "redirect_uris"),
            ("add_registration", "api_product_version_id"),
            ("remove_registration", "api_product_version_id"),
        ],
    )
    async def test_each_event_has_a_member_of_its_own(self, bridge, event, member):
        others = {"redirect_uris": ["https://a.test"], "api_product_version_id": "v1"}
        del others[member]
        for body in (
            {**EVENT, **others, "event_type": event},
            {**EVENT, **others, "event_type": event, member: None},
        ):
            sentence = await _sentence(bridge, "/dcr/c1/event-hook", body)
            assert sentence == f"The request has mistakes: /{member}: Field required, since event_type is {event}."

    async def test_an_event_of_another_client_and_of_no_known_type(self, bridge):
        body = {**ADDED, "client_id": "c2", "event_type": "explode"}
        sentence = await _sentence(bridge, "/dcr/c1/event-hook", body)
        assert "/event_type: Input should be 'update_application', 'add_registration' or " in sentence
        assert sentence.endswith("; /client_id: must be the client id of the path.")

    @pytest.mark.parametrize(
        ("change", "place"),
        [
            ({"client_name": "x" * 257}, "/client_name"),
            ({"client_name": "a\u0007b"}, "/client_name"),
            ({"application_description": "x" * 10_001}, "/application_description"),
            ({"redirect_uris": ["https://a.test"] * 101}, "/redirect_uris"),
            ({"redirect_uris": ["x" * 2049]}, "/redirect_uris/0"),
            ({"redirect_uris": [["https://a.test"]]}, "/redirect_uris/0"),
            ({"grant_types": ["x"] * 51}, "/grant_types"),
            ({"grant_types": ["x" * 129]}, "/grant_types/0"),
            ({"scopes": ["x"] * 201}, "/scopes"),
            ({"scopes": ["x" * 257]}, "/scopes/0"),
            ({"scopes": ['"']}, "/scopes/0"),
            ({"scopes": ["a\n"]}, "/scopes/0"),
            ({"token_endpoint_auth_method": "x" * 129}, "/token_endpoint_auth_method"),
            ({"dcr_provider_id": "x" * 257}, "/dcr_provider_id"),
            ({"auth_strategy_id": "a\nb"}, "/auth_strategy_id"),
            ({"organization_id": 7}, "/organization_id"),
        ],
    )
    async def test_bounds(self, bridge, change, place):
        sentence = await _sentence(bridge, "/dcr/", {**APPLICATION, **change})
        assert sentence.startswith(f"The request has mistakes: {place}: ")

    @pytest.mark.parametrize(
        ("change", "place"),
        [
            ({"application_id": "x" * 129}, "/application_id"),
            ({"application_id": ".."}, "/application_id"),
            ({"application_name": ""}, "/application_name"),
            ({"api_product_version_id": "x" * 257}, "/api_product_version_id"),
            ({"audience": "x" * 2049}, "/audience"),
            ({"audience": 5}, "/audience"),
            ({"event_type": ["add_registration"]}, "/event_type"),
        ],
    )
    async def test_bounds_of_events(self, bridge, change, place):
        sentence = await _sentence(bridge, "/dcr/c1/event-hook", {**ADDED, **change})
        assert sentence.startswith(f"The request has mistakes: {place}: ")

    @pytest.mark.parametrize("body", [[], "x", 5, [APPLICATION]])
    async def test_json_that_is_no_object(self, bridge, body):
        assert "the body: " in await _sentence(bridge, "/dcr/", body)
        assert "the body: " in await _sentence(bridge, "/dcr/c1/event-hook", body)

    @pytest.mark.parametrize("segment", ["x" * 257, "a%0Ab", "%00"])
    async def test_client_ids_that_cannot_be(self, bridge, segment):
        for method, path in (("DELETE", ""), ("POST", "/new-secret"), ("POST", "/event-hook")):
            head = f"{method} /dcr/{segment}{path} HTTP/1.1\r\n".encode() + _HEAD
            answer = await raw(bridge, head + b"Content-Length: 2\r\n\r\n{}")
            assert answer.split(b" ")[1] == b"400"
            assert b'"error":"Bad Request","error_description":"The request has mistakes: clientId: ' in answer
        assert bridge.stub.asked == []


class TestBodies:
    @pytest.mark.parametrize(
        ("body", "words"),
        [
            (b"", "not JSON"),
            (b'{"client_name":"a","client_name":"b"}', '"client_name" twice'),
            (b'{"client_name":NaN}', "NaN"),
            (b"\xff", "UTF-8"),
            (b"[" * 100_000, "nested too deep"),
        ],
    )
    async def test_malformed_json(self, bridge, body, words):
        for path in ("/dcr/", "/dcr/c1/event-hook"):
            status, refused = await bridge.ask("POST", path, data=body, headers=JSON)
            assert (status, refused["error"]) == (400, "Bad Request")
            assert words in refused["error_description"]

    @pytest.mark.parametrize(
        "headers",
        [
            {"Content-Type": "text/plain"},
            {"Content-Type": "application/json; charset=latin-1"},
            {**JSON, "Content-Encoding": "gzip"},
        ],
    )
    async def test_other_media_types(self, bridge, headers):
        status, refused = await bridge.ask("POST", "/dcr/", data=json.dumps(APPLICATION).encode(), headers=headers)
        assert (status, refused["error"]) == (415, "Unsupported Media Type")
        assert bridge.stub.asked == []

    async def test_too_large(self, bridge):
        padded = json.dumps(APPLICATION).encode().ljust(bodies.MAX_BODY_BYTES)
        status, _ = await bridge.ask("POST", "/dcr/", data=io.BytesIO(padded + b" "), headers=JSON)
        assert status == 413
        assert bridge.stub.asked == []
        assert (await bridge.ask("POST", "/dcr/", data=io.BytesIO(padded), headers=JSON))[0] == 201

    async def test_one_that_does_not_arrive_in_time(self, bridge, monkeypatch):
        monkeypatch.setattr(bodies, "BODY_TIMEOUT_S", 0.05)
        answer = await raw(bridge, b"POST /dcr/ HTTP/1.1\r\n" + _HEAD + b"Content-Length: 9\r\n\r\n{")
        assert answer.split(b" ")[1] == b"408"
        assert b'{"error":"Request Timeout","error_description":"' in answer

    async def test_one_whose_sender_goes_away_is_no_mistake_of_ours(self, bridge):
        with capture_logs() as lines:
            _, writer = await asyncio.open_connection("127.0.0.1", int(bridge.url.rpartition(":")[2]))
            writer.write(b"POST /dcr/ HTTP/1.1\r\n" + _HEAD + b"Content-Length: 9\r\n\r\n{")
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            await until(lambda: lines)
        assert [(line["event"], line["status"]) for line in lines] == [("dcr_call", 400)]
        assert bridge.stub.asked == []


class TestNowhere:
    @pytest.mark.parametrize("path", ["/dcr/c1/nothing", "/dcr/c1/new-secret/", "/dcr//", "/dcr/c1/"])
    async def test_unknown_paths(self, bridge, path):
        status, refused = await bridge.ask("POST", path)
        assert (status, refused["error"]) == (404, "Not Found")

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            ("GET", "/dcr/", "POST"),
            ("GET", "/dcr", "POST"),
            ("HEAD", "/dcr/", "POST"),
            ("PATCH", "/dcr/c1", "DELETE"),
            ("DELETE", "/dcr/c1/new-secret", "POST"),
        ],
    )
    async def test_wrong_methods(self, bridge, method, path, allowed):
        assert (await bridge.ask(method, path))[0] == 405
        assert bridge.headers["Allow"] == allowed

    async def test_other_expectations(self, bridge):
        status, refused = await bridge.ask("POST", "/dcr/", APPLICATION, headers={"Expect": "a-miracle"})
        assert (status, refused["error"]) == (417, "Expectation Failed")
        assert bridge.stub.asked == []

    @pytest.mark.parametrize("path", ["/", "/healthz", "/metrics", "/openapi.json", "/v1/applications", "/dcrx"])
    async def test_alone_it_serves_nothing_else(self, path):
        async with alone() as bridge:
            assert (await bridge.ask("GET", path, key=None))[0] == 401
            assert (await bridge.ask("GET", path))[0] == 404

    async def test_alone_it_answers_in_its_shape_what_is_no_http(self):
        async with alone() as bridge:
            answer = await raw(bridge, b"NONSENSE\r\n\r\n")
            assert answer.split(b" ")[1] == b"400"
            assert b'{"error":"Bad Request","error_description":"' in answer
            assert b"no-store" in answer


CALLS = [
    ("POST", "/dcr/", APPLICATION),
    ("DELETE", "/dcr/c1", None),
    ("POST", "/dcr/c1/new-secret", None),
    ("POST", "/dcr/c1/event-hook", ADDED),
]


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
class TestErrorsOfTheBridge:
    @pytest.mark.parametrize("status", [400, 404, 409])
    async def test_refused_by_the_bridge(self, bridge, method, path, body, status):
        bridge.stub.error = BridgeRefused(status, "another_application", "do this")
        expected = {"error": "another_application", "error_description": "do this"}
        assert await bridge.ask(method, path, body) == (status, expected)

    async def test_refused_by_the_identity_provider(self, bridge, method, path, body):
        bridge.stub.error = RegistrationRefused("invalid_redirect_uri", "change it")
        expected = {"error": "invalid_redirect_uri", "error_description": "change it"}
        assert await bridge.ask(method, path, body) == (400, expected)

    @pytest.mark.parametrize(
        ("reason", "words"),
        [
            (Reason.IDP_UNAVAILABLE, "The identity provider could not be reached"),
            (Reason.STORE_UNAVAILABLE, "The sidecar's store could not be read or written"),
        ],
    )
    async def test_nobody_could_say(self, bridge, method, path, body, reason, words):
        bridge.stub.error = Unavailable(reason, "idp.test timed out", retry_after_s=6.2)
        with capture_logs() as lines:
            status, refused = await bridge.ask(method, path, body)
        assert (status, refused["error"]) == (503, "temporarily_unavailable")
        assert refused["error_description"].startswith(words)
        assert "(idp.test timed out). Try again in 7 s" in refused["error_description"]
        assert bridge.headers["Retry-After"] == "7"
        assert [(line["event"], line["outcome"]) for line in lines] == [("dcr_call", "temporarily_unavailable")]

    async def test_a_bridge_that_is_busy_blames_no_store(self, bridge, method, path, body):
        bridge.stub.error = Busy("the sidecar is stopping")
        status, refused = await bridge.ask(method, path, body)
        assert status == 503
        assert refused["error_description"].startswith("The sidecar cannot answer now (the sidecar is stopping)")

    @pytest.mark.parametrize(("error", "status"), [(NotFound("gone"), 404), (Conflict("taken"), 409)])
    async def test_refused_by_the_registry(self, bridge, method, path, body, error, status):
        bridge.stub.error = error
        got, refused = await bridge.ask(method, path, body)
        assert (got, refused["error_description"]) == (status, str(error))

    async def test_a_bug(self, bridge, method, path, body):
        bridge.stub.error = RuntimeError("canary")
        with capture_logs() as lines:
            status, refused = await bridge.ask(method, path, body)
        assert (status, refused["error"]) == (500, "Internal Server Error")
        assert "canary" not in refused["error_description"]
        assert [line["event"] for line in lines] == ["dcr_error", "dcr_call"]
        assert lines[0]["exc_info"] is bridge.stub.error
