"""``validator explain`` takes a value of ``Authorization`` as the sidecar takes it: one table through both."""

import pytest
from explain_support import SECRET, Explainer, World, basic, plain, says

from validator.core.extract import extract
from validator.errors import Denied
from validator.model import BearerToken, ClientCredentials

WORD = "opaque-token"
VALUES = [
    "",
    "Bearer",
    "Bearer ",
    "bearer",
    "Bearer  x",
    "Bearer\tx",
    "Bearer a b",
    "BEARER x",
    "Bearer a:b",
    "Basic",
    "Basic ",
    "Basic %%%",
    "Basic orders:wrong",
    "basic orders:wrong",
    "Basic orders:",
    "Basic b3JkZXJz",
    basic("orders", "wrong"),
    "Basic x y:z",
    "Digest x",
    "Digest username=x",
    "DPoP x",
    "orders-mobile:secret",
    "orders:se cret",
    "__Host-session=x y",
    "Cookie: __Host-session=x",
    "Bearer x; __Host-session=y",
    "Bearerx",
    WORD,
]
_FIRST = {BearerToken: "1. credential: bearer: ", ClientCredentials: "1. credential: client_credentials: "}


@pytest.mark.parametrize("value", VALUES)
async def test_both_take_the_same_credential_from_a_header(world: World, explained: Explainer, value: str) -> None:
    told = await explained(f"Authorization: {value}", plain(world))
    try:
        credential = extract(value.encode(), None, max_token_bytes=16384)
    except Denied as denied:
        says(
            told,
            1,
            "1. credential: none that could be judged",
            f"decision: {denied.reason.status} {denied.reason}",
        )
        assert "genuine" not in told.text
    else:
        says(told, 1, _FIRST[type(credential)])


# Empty input is no header; a cookie and a single word are taken for what they look like.
BARE = [
    value
    for value in VALUES
    if value and not value.startswith(("__Host", "Cookie")) and value not in {WORD, "Bearerx"}
]


@pytest.mark.parametrize("value", BARE)
async def test_the_name_of_the_header_may_be_left_out(world: World, explained: Explainer, value: str) -> None:
    told = await explained(value, plain(world))
    assert told == await explained(f"Authorization: {value}", plain(world))


async def test_a_word_alone_is_taken_for_a_token(world: World, explained: Explainer) -> None:
    says(await explained(WORD, plain(world)), 1, "1. credential: bearer: an opaque token")
    says(await explained(world.plain.token("orders"), plain(world)), 0, "decision: 200 allowed")


@pytest.mark.parametrize("header", ["", "Authorization: ", "authorization:"])
async def test_a_pair_without_its_scheme_is_recognized(world: World, explained: Explainer, header: str) -> None:
    told = await explained(f"{header}orders-mobile:{SECRET}", plain(world))
    says(
        told,
        1,
        "decision: 401 method_not_enabled",
        "this looks like a client id and secret: write `Basic ` before it",
    )


async def test_a_token_without_its_scheme_is_recognized(world: World, explained: Explainer) -> None:
    told = await explained(f"Authorization: {world.plain.token('orders')}", plain(world))
    says(told, 1, "decision: 401 method_not_enabled", "if this is a token, write `Bearer ` before it")


async def test_cookies_without_ours_are_no_credential(world: World, explained: Explainer) -> None:
    says(await explained("Cookie: theme=dark", plain(world)), 1, "decision: 401 no_credential")
