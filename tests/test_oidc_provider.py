"""The real identity provider runs as other tests rely on: tokens, keys, counts, and nothing left behind."""

import base64
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_plus, urlencode

import jwt
import pytest
from oidc_provider.provider import Client, OidcProvider, ProviderError, Resource

pytestmark = pytest.mark.programs

SECRET = "s3cret:with%and+ or so"
JWT, OPAQUE = Resource(), Resource(indicator="https://api.example/opaque", format="opaque", ttl_s=60)


@pytest.fixture(scope="module")
def provider() -> Iterator[OidcProvider]:
    clients = [
        Client("orders", SECRET),
        Client("by-post", SECRET, auth_method="client_secret_post"),
        Client("narrow", SECRET, scope="read", auth_method="client_secret_post"),
        Client("opaque", SECRET, auth_method="client_secret_post", default_resource=OPAQUE.indicator),
    ]
    with OidcProvider(clients, resources=[JWT, OPAQUE]) as running:
        yield running


def fetch(url: str, form: dict[str, str] | None = None, **headers: str) -> tuple[int, dict[str, Any]]:
    data = urlencode(form).encode() if form else None
    request = urllib.request.Request(url, data, headers)  # noqa: S310  the provider's own http URL
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310  same
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def grant(provider: OidcProvider, client_id: str, **form: str) -> tuple[int, dict[str, Any]]:
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": SECRET, **form}
    return fetch(provider.token_endpoint, form)


def verified(provider: OidcProvider, token: str) -> dict[str, Any]:
    keys = jwt.PyJWKSet.from_dict(fetch(provider.jwks_uri)[1])
    header = jwt.get_unverified_header(token)
    assert header["typ"] == "at+jwt"
    return jwt.decode(token, keys[header["kid"]], algorithms=[header["alg"]], audience=JWT.audience)


def test_discovery_names_what_the_others_use(provider: OidcProvider) -> None:
    status, document = fetch(provider.discovery_url)
    assert status == 200
    assert document["issuer"] == provider.issuer
    assert document["jwks_uri"] == provider.jwks_uri
    assert document["token_endpoint"] == provider.token_endpoint
    assert "client_credentials" in document["grant_types_supported"]
    assert {"introspection_endpoint", "registration_endpoint"} <= set(document)


def test_a_jwt_by_basic_verifies_against_its_keys(provider: OidcProvider) -> None:
    pair = base64.b64encode(f"orders:{quote_plus(SECRET)}".encode()).decode()
    status, document = fetch(
        provider.token_endpoint, {"grant_type": "client_credentials"}, Authorization=f"Basic {pair}"
    )
    assert status == 200
    claims = verified(provider, document["access_token"])
    assert (claims["iss"], claims["sub"], claims["client_id"]) == (provider.issuer, "orders", "orders")
    assert document["expires_in"] == 3600


def test_scopes_are_granted_within_the_clients_own(provider: OidcProvider) -> None:
    _, document = grant(provider, "by-post", scope="read write")
    assert verified(provider, document["access_token"])["scope"] == "read write"
    status, document = grant(provider, "narrow", scope="write")
    assert (status, document["error"]) == (400, "invalid_scope")


def test_an_opaque_token_by_client_or_by_resource_and_its_introspection(provider: OidcProvider) -> None:
    _, by_client = grant(provider, "opaque")
    _, by_resource = grant(provider, "by-post", resource=OPAQUE.indicator)
    for document in (by_client, by_resource):
        assert "." not in document["access_token"]
        assert document["expires_in"] == 60
    form = {"token": by_client["access_token"], "client_id": "by-post", "client_secret": SECRET}
    status, document = fetch(f"{provider.issuer}/token/introspection", form)
    assert (status, document["active"], document["client_id"]) == (200, True, "opaque")


def test_a_wrong_secret_and_an_unknown_client_are_refused(provider: OidcProvider) -> None:
    for client_id, secret in (("by-post", "wrong"), ("orders", ""), ("nobody", SECRET)):
        status, document = grant(provider, client_id, client_secret=secret)
        assert (status, document["error"]) in {(401, "invalid_client"), (400, "invalid_request")}


def test_rotation_publishes_the_new_key_and_forgets_no_client() -> None:
    with OidcProvider([Client("orders", SECRET, auth_method="client_secret_post")], alg="ES256") as provider:
        first, old_token = provider.kid, grant(provider, "orders")[1]["access_token"]
        second = provider.rotate()
        assert {key["kid"] for key in fetch(provider.jwks_uri)[1]["keys"]} == {first, second}
        new_token = grant(provider, "orders")[1]["access_token"]
        assert jwt.get_unverified_header(new_token)["kid"] == second
        assert verified(provider, old_token)
        assert verified(provider, new_token)
        assert provider.retire(first) == [second]
        third = provider.rotate("EdDSA", retire=True)
        assert [key["kid"] for key in fetch(provider.jwks_uri)[1]["keys"]] == [third]
        assert verified(provider, grant(provider, "orders")[1]["access_token"])


def test_a_client_registered_at_run_time_survives_a_rotation() -> None:
    with OidcProvider(alg="ES256", initial_access_token="let-me-in") as provider:
        metadata = {
            "grant_types": ["client_credentials"], "response_types": [], "redirect_uris": [],
            "token_endpoint_auth_method": "client_secret_post",
        }  # fmt: skip
        headers = {"Content-Type": "application/json", "Authorization": "Bearer let-me-in"}
        request = urllib.request.Request(f"{provider.issuer}/reg", json.dumps(metadata).encode(), headers)  # noqa: S310  same
        with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310  same
            client = json.load(reply)
        provider.rotate()
        status, document = grant(provider, client["client_id"], client_secret=client["client_secret"])
        assert status == 200
        assert verified(provider, document["access_token"])["client_id"] == client["client_id"]


def test_it_counts_its_calls() -> None:
    with OidcProvider([Client("orders", SECRET, auth_method="client_secret_post")], alg="ES256") as provider:
        assert set(provider.counts().values()) == {0}
        for _ in range(3):
            grant(provider, "orders")
        fetch(provider.jwks_uri)
        counts = provider.counts()
    assert (counts["token"], counts["jwks"], counts["discovery"]) == (3, 1, 0)


def test_stop_leaves_no_process_and_may_be_repeated() -> None:
    provider = OidcProvider(alg="ES256")
    provider.start()
    os.kill(provider.pid, 0)
    provider.stop()
    provider.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(provider.pid, 0)
    with pytest.raises(ProviderError, match="not running"):
        provider.rotate()


def test_a_bad_set_up_says_why() -> None:
    with pytest.raises(ProviderError, match="must be unique"):
        OidcProvider([Client("orders", SECRET), Client("orders", SECRET)]).start()
