"""The control plane's document describes the bridge where it is served, and only there."""

import json

import pytest
from bridge_support import APPLICATION, EVENT, on_control
from control_support import TOKEN, Running, serving
from openapi_spec_validator import OpenAPIV31SpecValidator

AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
OPERATIONS = {
    ("/dcr/", "post"): "201",
    ("/dcr", "post"): "201",
    ("/dcr/{clientId}", "delete"): "204",
    ("/dcr/{clientId}/new-secret", "post"): "200",
    ("/dcr/{clientId}/event-hook", "post"): "200",
}


@pytest.fixture
async def document():
    async with on_control() as bridge:
        return (await bridge.control.ask("GET", "/openapi.json", headers=AUTHORIZED))[1]


async def test_it_is_valid_and_whole(document):
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []
    described = {(p, m) for p, methods in document["paths"].items() for m in methods if p.startswith("/dcr")}
    assert described == set(OPERATIONS)
    ids = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(ids) == len(set(ids))


async def test_each_operation_takes_the_key_and_refuses_in_one_shape(document):
    scheme = document["components"]["securitySchemes"]["APIKEY"]
    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "X-API-KEY")
    for (path, method), success in OPERATIONS.items():
        operation = document["paths"][path][method]
        assert operation["security"] == [{"APIKEY": []}]
        assert {success, "400", "401", "503"} <= set(operation["responses"])
        assert "403" not in operation["responses"]
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                schema = response["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/BridgeError"}


async def test_bodies_and_replies(document):
    schemas = document["components"]["schemas"]
    assert set(schemas["ApplicationPayload"]["required"]) == set(APPLICATION)
    assert set(schemas["EventHook"]["required"]) == {*EVENT, "event_type"}
    assert [each["required"] for each in schemas["EventHook"]["anyOf"]] == [
        ["redirect_uris"],
        ["api_product_version_id"],
        ["api_product_version_id"],
    ]
    assert set(schemas["ClientCredentials"]["required"]) == {
        "client_id",
        "client_secret",
        "client_id_issued_at",
        "client_secret_expires_at",
    }
    assert "client_id_issued_at" not in schemas["NewSecret"]["required"]
    assert set(schemas["BridgeError"]["required"]) == {"error", "error_description"}


async def test_other_operations_are_as_they_were(document):
    operation = document["paths"]["/v1/applications"]["post"]
    assert "security" not in operation
    assert "application/problem+json" in operation["responses"]["401"]["content"]


async def test_with_a_listener_of_its_own_the_control_plane_knows_nothing_of_it():
    running = Running()
    running.token = TOKEN
    async with serving(running) as control:
        for method, path in (("POST", "/dcr/"), ("POST", "/dcr"), ("DELETE", "/dcr/c1")):
            assert (await control.ask(method, path))[0] == 401
            assert (await control.ask(method, path, headers=AUTHORIZED))[0] == 404
        text = json.dumps((await control.ask("GET", "/openapi.json", headers=AUTHORIZED))[1])
    assert "dcr" not in text
    assert "APIKEY" not in text
