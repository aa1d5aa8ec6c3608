"""An issuer is found from what a person pastes, and its document is believed to the letter or not at all
(OpenID Connect Discovery 1.0 section 4, RFC 8414 section 3)."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from validator.core.discovery import IssuerPlace, Metadata, discovery_urls, parse_metadata, typed_issuer_differs

DOCUMENT = {
    "issuer": "https://idp.example/t/",
    "jwks_uri": "https://idp.example/keys",
    "token_endpoint": "https://idp.example/token",
    "token_endpoint_auth_methods_supported": ["client_secret_basic", "private_key_jwt"],
}

TENANT, OTHER_TENANT = "11111111-aaaa-1111-1111-111111111111", "22222222-aaaa-1111-1111-111111111111"


def parsed(**changes: Any) -> Metadata:
    document = {name: value for name, value in {**DOCUMENT, **changes}.items() if value is not ...}
    return parse_metadata(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("typed", "urls"),
    [
        pytest.param(
            "https://idp.example",
            (
                "https://idp.example/.well-known/openid-configuration",
                "https://idp.example/.well-known/oauth-authorization-server",
            ),
            id="without-a-path",
        ),
        pytest.param(
            "https://idp.example/",
            (
                "https://idp.example/.well-known/openid-configuration",
                "https://idp.example/.well-known/oauth-authorization-server",
            ),
            id="with-a-slash",
        ),
        pytest.param(
            "https://idp.example:8443/oauth2/default/",
            (
                "https://idp.example:8443/oauth2/default/.well-known/openid-configuration",
                "https://idp.example:8443/.well-known/oauth-authorization-server/oauth2/default",
            ),
            id="appended-for-openid-inserted-for-rfc-8414",
        ),
        pytest.param(
            "https://idp.example/t/.well-known/openid-configuration",
            ("https://idp.example/t/.well-known/openid-configuration",),
            id="a-discovery-url",
        ),
        pytest.param(
            "https://idp.example/.well-known/oauth-authorization-server/t",
            ("https://idp.example/.well-known/oauth-authorization-server/t",),
            id="a-discovery-url-of-rfc-8414",
        ),
        pytest.param(
            "https://idp.example/t/.well-known/openid-configuration?appid=1",
            ("https://idp.example/t/.well-known/openid-configuration?appid=1",),
            id="a-discovery-url-with-a-query",
        ),
    ],
)
def test_a_document_is_looked_for_where_the_specifications_put_it(typed: str, urls: tuple[str, ...]) -> None:
    assert discovery_urls(IssuerPlace(typed)) == urls


def test_what_is_needed_is_read_to_the_letter() -> None:
    assert parsed(extra={"a": [1]}) == Metadata(
        "https://idp.example/t/",
        "https://idp.example/keys",
        "https://idp.example/token",
        ("client_secret_basic", "private_key_jwt"),
    )


@pytest.mark.parametrize("name", ["jwks_uri", "token_endpoint"])
@pytest.mark.parametrize("value", [..., None, ""], ids=["absent", "null", "empty"])
def test_an_endpoint_may_be_absent(name: str, value: object) -> None:
    """A strategy may configure it, or need none."""
    assert getattr(parsed(**{name: value}), name) is None


@pytest.mark.parametrize("methods", [..., None, [], "client_secret_basic", {"a": 1}, [1, None]])
def test_methods_that_are_not_listed_are_none(methods: object) -> None:
    assert parsed(token_endpoint_auth_methods_supported=methods).token_endpoint_auth_methods == ()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(b"", "not a discovery document", id="empty"),
        pytest.param(b"<html></html>", "not a discovery document", id="a-web-page"),
        pytest.param(b"[]", "not an object", id="an-array"),
        pytest.param(b"{}", "names no issuer", id="no-issuer"),
        pytest.param(b'{"issuer":null}', "names no issuer", id="issuer-null"),
        pytest.param(b'{"issuer":""}', "names no issuer", id="issuer-empty"),
        pytest.param(b'{"issuer":["https://idp.example"]}', "names no issuer", id="issuer-a-list"),
        pytest.param(b'{"issuer":"a","issuer":"b"}', "duplicated", id="two-issuers"),
        pytest.param(b'{"issuer":"a","jwks_uri":7}', "jwks_uri is not a string", id="jwks-uri-a-number"),
        pytest.param(b'{"issuer":"a","jwks_uri":["b"]}', "jwks_uri is not a string", id="jwks-uri-a-list"),
        pytest.param(
            b'{"issuer":"a","token_endpoint":{}}', "token_endpoint is not", id="token-endpoint-an-object"
        ),
        pytest.param(b'{"issuer":"\xff"}', "not a discovery document", id="not-utf-8"),
        pytest.param(b'{"issuer":"a"}{}', "not a discovery document", id="trailing-bytes"),
        pytest.param(b'{"a":' + b"[" * 100_000, "nested too deep", id="deep"),
    ],
)
def test_what_is_no_document_says_why(body: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_metadata(body)


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=200)
def test_arbitrary_bytes_are_no_document(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a discovery document"):
        parse_metadata(body)


@pytest.mark.parametrize(
    ("typed", "found", "differs"),
    [
        ("https://idp.example", "https://idp.example", False),
        ("https://idp.example/", "https://idp.example", False),
        ("https://idp.example", "https://idp.example/", False),
        ("https://idp.example/a", "https://idp.example/b", True),
        ("https://idp.example", "https://IDP.example", True),
        ("https://idp.example", "https://idp.example.attacker", True),
        ("https://a.example/.well-known/openid-configuration", "https://b.example", True),
        ("https://a.example/t/.well-known/openid-configuration", "https://a.example/t/", False),
        ("https://a.example/.well-known/oauth-authorization-server/t", "https://a.example/t", False),
        (f"https://sts.windows.net/{TENANT}", f"https://sts.windows.net/{TENANT}/", False),
        (f"https://login.microsoftonline.com/{TENANT.upper()}", f"https://sts.windows.net/{TENANT}/", False),
        (f"https://login.microsoftonline.com/{TENANT}", f"https://sts.windows.net/{OTHER_TENANT}/", True),
    ],
)
def test_an_operator_is_warned_where_another_issuer_answers(typed: str, found: str, differs: bool) -> None:
    assert typed_issuer_differs(typed, found) is differs
