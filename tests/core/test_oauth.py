"""A token request proves exactly the pair that was presented, and its reply is judged by what it says and not by
its status alone (RFC 6749 sections 2.3.1, 4.4 and 5)."""

import base64
import json
from typing import Any, get_args
from urllib.parse import parse_qsl, unquote_plus

import pytest
from core_support import refused
from hypothesis import given, settings
from hypothesis import strategies as st

from validator.core.oauth import GrantOptions, MintedToken, grant_request, read_grant_reply
from validator.core.providers import PROVIDERS, TokenEndpointAuthMethod
from validator.errors import AuthError, Denied, Unavailable
from validator.model import ClientCredentials, Endpoint, HttpReply, HttpRequest, Reason

URL = "https://idp.example/token"
PAIRS = {
    "plain": ("orders", "s3cret"),
    "colon": ("or:ders", "a:b"),
    "percent": ("orders%3A", "100%"),
    "plus-and-space": ("or+ders", "a+b c"),
    "ampersand-and-equals": ("a&b=c", "x&client_id=other"),
    "utf-8": ("größe", "pässwörd-密-🔑"),
    "slash-and-hash": ("a/b", "c#d?e"),
    "tilde": ("a~b", "~"),
}


def request(pair: tuple[str, str], method: TokenEndpointAuthMethod, **options: Any) -> HttpRequest:
    return grant_request(URL, ClientCredentials(*pair), GrantOptions(method, **options))


def read_reply(answer: HttpReply, options: GrantOptions | None = None) -> MintedToken:
    return read_grant_reply(answer, options or GrantOptions("client_secret_post"))


def form(sent: HttpRequest) -> dict[str, str]:
    pairs = parse_qsl(sent.body.decode(), keep_blank_values=True, strict_parsing=True)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def basic_pair(sent: HttpRequest) -> tuple[str, str]:
    """As an authorization server reads it: base64, a colon, each side form-decoded."""
    scheme, _, encoded = sent.headers["Authorization"].partition(" ")
    assert scheme == "Basic"
    client_id, _, secret = base64.b64decode(encoded, validate=True).decode("ascii").partition(":")
    return unquote_plus(client_id), unquote_plus(secret)


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_basic_form_encodes_each_side_before_base64(pair: tuple[str, str]) -> None:
    sent = request(pair, "client_secret_basic")
    assert basic_pair(sent) == pair
    assert form(sent) == {"grant_type": "client_credentials"}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_post_puts_the_pair_into_the_form_and_nowhere_else(pair: tuple[str, str]) -> None:
    sent = request(pair, "client_secret_post")
    assert form(sent) == {"grant_type": "client_credentials", "client_id": pair[0], "client_secret": pair[1]}
    assert "Authorization" not in sent.headers


@pytest.mark.parametrize("method", get_args(TokenEndpointAuthMethod))
def test_the_request_is_a_form_posted_to_the_token_endpoint(method: TokenEndpointAuthMethod) -> None:
    sent = request(("orders", "s3cret"), method)
    assert (sent.endpoint, sent.method, sent.url) == (Endpoint.TOKEN, "POST", URL)
    assert sent.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert sent.headers["Accept"] == "application/json"
    assert "s3cret" not in sent.url
    assert "s3cret" not in repr(sent)


def test_scopes_and_parameters_are_sent_as_configured() -> None:
    sent = request(
        ("orders", "s"),
        "client_secret_basic",
        scopes=("read", "a:b/.default"),
        parameters={"audience": "api://o&p"},
    )
    assert form(sent) == {
        "grant_type": "client_credentials",
        "scope": "read a:b/.default",
        "audience": "api://o&p",
    }


def test_without_scopes_no_empty_scope_is_sent() -> None:
    """RFC 6749 section 3.3: an empty scope is no scope."""
    assert "scope" not in form(request(("orders", "s"), "client_secret_post"))


def test_a_parameter_cannot_take_the_place_of_the_pair() -> None:
    sent = request(("orders", "s"), "client_secret_post", parameters={"client_id": "other", "client_secret": "x"})
    assert (form(sent)["client_id"], form(sent)["client_secret"]) == ("orders", "s")


TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=40)


@given(TEXT, TEXT)
@settings(deadline=None, max_examples=300)
def test_any_pair_arrives_as_it_was_presented(client_id: str, secret: str) -> None:
    assert basic_pair(request((client_id, secret), "client_secret_basic")) == (client_id, secret)
    posted = form(request((client_id, secret), "client_secret_post"))
    assert (posted["client_id"], posted["client_secret"]) == (client_id, secret)


def reply(status: int, body: object) -> HttpReply:
    return HttpReply(status, {}, body if isinstance(body, bytes) else json.dumps(body).encode())


REJECTIONS = ("invalid_client", "unauthorized_client", "invalid_grant", "access_denied")


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 500, 503])
@pytest.mark.parametrize("code", REJECTIONS)
def test_a_rejection_is_known_by_its_code_whatever_the_status(code: str, status: int) -> None:
    with refused(Reason.CREDENTIALS_REJECTED, code):
        read_reply(reply(status, {"error": code}))


@pytest.mark.parametrize("status", [200, 400, 401, 403])
def test_a_scope_that_the_client_may_not_have_is_named(status: int) -> None:
    with refused(Reason.SCOPE_MISSING):
        read_reply(reply(status, {"error": "invalid_scope"}))


@pytest.mark.parametrize(
    "code",
    ["temporarily_unavailable", "server_error", "invalid_request", "unsupported_grant_type", "invalid_target",
     "slow_down", "too_many_requests", "", "Invalid_Client", "invalid_client "],
)  # fmt: skip
@pytest.mark.parametrize("status", [200, 400, 403, 429, 500])
def test_any_other_code_says_nothing_about_the_pair(code: str, status: int) -> None:
    with pytest.raises(Unavailable) as caught:
        read_reply(reply(status, {"error": code, "access_token": "t"}))
    assert caught.value.reason is Reason.IDP_UNAVAILABLE


@pytest.mark.parametrize("code", ["temporarily_unavailable", "server_error", "invalid_request"])
def test_a_401_with_another_code_is_judged_by_the_code(code: str) -> None:
    with pytest.raises(Unavailable):
        read_reply(reply(401, {"error": code}))


@pytest.mark.parametrize("body", [b"", b"<html>", {}, b"\xff"])
def test_a_401_without_a_code_is_a_rejection(body: object) -> None:
    with refused(Reason.CREDENTIALS_REJECTED, "401"):
        read_reply(reply(401, body))


UNAVAILABLE: dict[str, tuple[int, object]] = {
    "400-without-a-code": (400, {}),
    "400-of-a-proxy": (400, b"<html>Bad Request</html>"),
    "403-of-a-firewall": (403, b"<html>Forbidden</html>"),
    "404": (404, b""),
    "429": (429, b""),
    "500": (500, b""),
    "502-of-a-proxy": (502, b"<html>"),
    "302": (302, b""),
    "201-with-a-token": (201, {"access_token": "t"}),
    "204": (204, b""),
    "200-empty": (200, b""),
    "200-a-web-page": (200, b"<html>"),
    "200-without-a-token": (200, {"token_type": "Bearer"}),
    "200-an-empty-token": (200, {"access_token": ""}),
    "200-token-null": (200, {"access_token": None}),
    "200-token-a-number": (200, {"access_token": 7}),
    "200-token-too-long": (200, {"access_token": "t" * 65537}),
    "200-an-array": (200, ["t"]),
    "200-token-twice": (200, b'{"access_token":"t","access_token":"u"}'),
    "200-trailing-bytes": (200, b'{"access_token":"t"}x'),
    "200-not-utf-8": (200, b'{"access_token":"\xff"}'),
    "400-code-a-list": (400, {"error": ["invalid_client"]}),
    "200-code-null": (200, {"error": None, "access_token": "t"}),
    "500-with-a-token": (500, {"access_token": "t"}),
}


@pytest.mark.parametrize(("status", "body"), UNAVAILABLE.values(), ids=UNAVAILABLE)
def test_what_says_nothing_about_the_pair_is_neither_a_denial_nor_an_allow(status: int, body: object) -> None:
    with pytest.raises(Unavailable) as caught:
        read_reply(reply(status, body))
    assert caught.value.reason is Reason.IDP_UNAVAILABLE
    assert caught.value.retry_after_s


def test_what_the_identity_provider_writes_beside_the_code_is_not_repeated() -> None:
    canary = "canary-7f3a"
    for code in ("invalid_client", "invalid_scope", "server_error", canary, f"{canary}\n"):
        with pytest.raises(AuthError) as caught:
            read_reply(reply(400, {"error": code, "error_description": canary, canary: canary}))
        assert canary not in f"{caught.value} {caught.value!r}"


@pytest.mark.parametrize(
    ("expires_in", "lifetime_s"),
    [
        ('"expires_in":3600', 3600),
        ('"expires_in":3599.5', 3599.5),
        ('"expires_in":"3599"', 3599),
        ('"expires_in":" 3599 "', 3599),
        ('"x":0', None),
        ('"expires_in":null', None),
        ('"expires_in":0', 0),
        ('"expires_in":"0"', 0),
        ('"expires_in":-1', 0),
        ('"expires_in":"-3600"', 0),
        ('"expires_in":""', 0),
        ('"expires_in":"soon"', 0),
        ('"expires_in":"nan"', 0),
        ('"expires_in":"inf"', 0),
        ('"expires_in":1e999', 0),
        ('"expires_in":-1e999', 0),
        ('"expires_in":' + "9" * 400, 0),
        ('"expires_in":-' + "9" * 400, 0),
        ('"expires_in":"' + "9" * 400 + '"', 0),
        ('"expires_in":true', 0),
        ('"expires_in":[3600]', 0),
        ('"expires_in":{"s":3600}', 0),
    ],
)
def test_the_lifetime_is_read_in_every_form_and_an_unusable_one_is_none(
    expires_in: str, lifetime_s: float | None
) -> None:
    """``0``: the token counts for this request alone; ``None``: the reply does not say."""
    minted = read_reply(reply(200, b'{"access_token":"t",' + expires_in.encode() + b"}"))
    assert minted.lifetime_s == lifetime_s
    assert type(minted.lifetime_s) in (float, type(None))


def test_a_token_of_the_greatest_length_is_taken() -> None:
    minted = read_reply(reply(200, {"access_token": "t" * 65536}))
    assert len(minted.access_token) == 65536


def test_a_minted_token_shows_in_no_repr() -> None:
    answer = reply(200, {"access_token": "canary-7f3a", "expires_in": 60})
    assert "canary" not in f"{read_reply(answer)!r} {answer!r}"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
DOCUMENTS = st.dictionaries(st.sampled_from(["access_token", "expires_in", "error"]), JSON, max_size=3)


@given(st.sampled_from([200, 400, 401, 500]), st.binary(max_size=100) | DOCUMENTS)
@settings(deadline=None, max_examples=500)
def test_any_reply_ends_in_a_token_a_denial_or_unavailable(status: int, body: object) -> None:
    try:
        minted = read_reply(reply(status, body))
    except (Denied, Unavailable):
        return
    assert status == 200
    assert isinstance(body, dict)
    assert minted.access_token == body["access_token"]
    assert minted.lifetime_s is None or minted.lifetime_s >= 0


def test_each_provider_is_a_whole_row_of_the_table() -> None:
    assert set(PROVIDERS) == {
        "azure", "azure-v1", "azure-v2", "okta", "auth0", "curity", "keycloak", "kong-identity", "generic",
    }  # fmt: skip
    for name, provider in PROVIDERS.items():
        assert provider.name == name
        assert provider.claims
        assert provider.token_endpoint_auth_method in get_args(TokenEndpointAuthMethod)


@pytest.mark.parametrize("name", sorted(set(PROVIDERS) - {"curity", "kong-identity"}))
def test_a_claim_that_names_a_user_names_no_client(name: str) -> None:
    """``sub`` exists everywhere and is a user's in user tokens."""
    assert "sub" not in PROVIDERS[name].claims
