"""The OpenAPI document is valid and says what is served, no more and no less."""

import json
import re

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from validator.server.control import control_application
from validator.testing import ManualClock


async def _ready(_excluded):
    return []


async def _metrics():
    return b"", "text/plain"


async def _clear():
    return None


@pytest.fixture
def application():
    return control_application(
        registry=None,
        clock=ManualClock(),
        strategies=list,
        ready=_ready,
        metrics=_metrics,
        clear_cache=_clear,
        token=lambda: None,
        session_ttl_s=lambda: 3600.0,
    )


@pytest.fixture
async def document(application):
    route = next(r for r in application.router.routes() if r.resource.canonical == "/openapi.json")
    return json.loads((await route.handler(None)).body)


def test_it_is_valid(document):
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []


def test_it_is_what_is_served(application, document):
    served = {(r.method, r.resource.canonical) for r in application.router.routes()}
    described = {(m.upper(), path) for path, methods in document["paths"].items() for m in methods}
    assert described == {(method, path) for method, path in served if method != "HEAD"}
    assert {path for method, path in served if method == "HEAD"} == {p for m, p in described if m == "GET"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", "/healthz"),
        ("get", "/readyz"),
        ("get", "/metrics"),
        ("get", "/v1/applications"),
        ("post", "/v1/applications"),
        ("get", "/v1/applications/{id}"),
        ("put", "/v1/applications/{id}"),
        ("delete", "/v1/applications/{id}"),
        ("put", "/v1/applications/{id}/registrations/{service}"),
        ("delete", "/v1/applications/{id}/registrations/{service}"),
        ("get", "/v1/revocations"),
        ("post", "/v1/revocations"),
        ("delete", "/v1/revocations"),
        ("delete", "/v1/cache"),
        ("get", "/openapi.json"),
    ],
)
def test_the_contract_is_in_it(document, method, path):
    assert method in document["paths"][path]


def test_parameters_bodies_and_references_are_whole(document):
    text = json.dumps(document)
    for name in set(re.findall(r'"#/components/schemas/([^"]+)"', text)):
        assert name in document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            named = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
            assert named == set(re.findall(r"\{(\w+)\}", path))
            takes_body = method in {"post", "put"} or (method, path) == ("delete", "/v1/revocations")
            assert ("requestBody" in operation) == takes_body
            assert operation.get("security") == ([] if path in {"/healthz", "/readyz"} else None)
            assert ("401" in operation["responses"]) == (path not in {"/healthz", "/readyz"})


def test_operation_ids_are_unique(document):
    ids = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(ids) == len(set(ids))


def test_a_bare_string_is_a_registration_in_what_is_written_and_not_in_what_is_read(document):
    schemas = document["components"]["schemas"]
    written = schemas["ApplicationBody"]["properties"]["registrations"]["items"]
    assert {"type": "string"} in written["anyOf"]
    assert "$ref" in schemas["ApplicationView"]["properties"]["registrations"]["items"]
    assert schemas["ApplicationBody"]["additionalProperties"] is False
    assert len(schemas["RevocationBody"]["oneOf"]) == 5
