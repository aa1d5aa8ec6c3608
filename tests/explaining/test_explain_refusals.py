"""What ``validator explain`` advises after a refusal, whoever the provider is, which strategy it picks, and what
it makes of input of any kind."""

from typing import Any

import pytest
from explain_support import CLOCK, Explainer, World, azure, basic, okta, plain, says

from validator.testing import ABSENT


async def test_what_is_wrong_with_a_token_and_what_to_do(world: World, explained: Explainer) -> None:
    now = CLOCK.now()
    rows: list[tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]] = [
        (
            {"exp": int(now - 7200)},
            {},
            (
                "expired 2 hours ago",
                "NO it has an end",
                "401 token_expired",
                "exp was 2 hours ago",
                "2 hours ago: ask",
            ),
        ),
        (
            {"aud": "api://elsewhere"},
            {},
            (
                "NO it is for this API",
                "401 audience_mismatch",
                "the token is for: api://elsewhere",
                "the strategy takes tokens for: api://default",
            ),
        ),
        (
            {"client_id": ABSENT, "azp": ABSENT, "appid": "orders"},
            {},
            (
                "application not named by `client_id` or `azp`",
                "NO it names an application",
                "401 claim_missing",
                "the token has `appid`: set in strategy plain",
                "credential_claim: [appid]",
            ),
        ),
        (
            {"nbf": int(now + 900)},
            {},
            ("NO it is valid already", "401 token_not_yet_valid", "nbf is 15 minutes ahead", "leeway_s"),
        ),
        (
            {},
            {"required_scopes": ["orders:read"]},
            (
                "ok whoever bears it may use it",
                "NO it has the required scopes (orders:read)",
                "403 scope_missing",
                "scope=orders:read",
            ),
        ),
        ({"iss": f"{world.plain.issuer}/"}, {}, ("401 issuer_mismatch", "the slash at the end alone")),
        ({"typ": "ID"}, {"token_types": ["JWT"]}, ("NO it is marked as an access token", "token_types")),
        (
            {"cnf": {"jkt": "x"}},
            {},
            (
                "ok no scopes are required NO whoever bears it may use it, without a key beside it (`cnf`)",
                "without DPoP",
            ),
        ),
    ]
    for claims, changes, phrases in rows:
        told = await explained(world.plain.token("orders", **claims), plain(world, **changes))
        says(told, 1, *phrases[:1])
        says(told, 1, *phrases[1:])


async def test_a_forged_token(world: World, explained: Explainer) -> None:
    head, payload, signature = world.plain.token("orders").split(".")
    forged = f"{head}.{payload}.{signature[::-1]}"
    told = await explained(forged, plain(world))
    assert told.code == 1
    assert "decision: 401 signature_invalid" in told.text or "decision: 401 token_malformed" in told.text
    key = world.okta.mint.current
    says(
        await explained(world.plain.token("orders", key=key), plain(world)),
        1,
        "NO that issuer publishes the key",
        "decision: 401 key_unknown",
        "comes from another environment",
    )


async def test_unknown_applications_and_missing_registrations(world: World, explained: Explainer) -> None:
    token = world.plain.token("orders")
    says(
        await explained(token, plain(world), registered=False),
        1,
        "4. application: none has the client id 'orders'",
        "decision: 403 application_unknown",
        "curl -X POST http://127.0.0.1:8101/v1/applications",
        '"client_id": "orders", "registrations": ["svc"]',
    )
    shared: dict[str, Any] = {"redis": {"url": "rediss://redis.example.com"}, "registered": False}
    not_looked_at = "what is shared through Redis was not looked at: only a sidecar with store.path has a copy"
    says(await explained(token, plain(world), **shared), 1, "4. application: none", not_looked_at)
    says(
        await explained(token, plain(world), service="billing"),
        1,
        "decision: 403 not_registered",
        "the application app-1 stands in the configuration file",
        "registrations: [svc, billing]",
    )
    says(
        await explained(token, plain(world), service=None),
        0,
        "5. registrations: svc (approved)",
        "name a service with --service",
    )


async def test_an_issuer_that_cannot_be_reached(world: World, explained: Explainer) -> None:
    token = world.plain.token("orders")
    await world.plain.take_down()
    says(
        await explained(token, plain(world)),
        1,
        "application orders (`client_id`)",
        f"the issuer {world.plain.issuer} CANNOT BE REACHED: ",
        "ok it is signed by an algorithm",
        "?? it comes from an issuer that the strategy trusts",
        "decision: 503 idp_unavailable and is not cached",
        "validator check --config",
    )


async def test_a_pair_of_which_nothing_could_be_asked(world: World, explained: Explainer) -> None:
    await world.plain.take_down()
    says(await explained(basic("orders"), plain(world)), 1, "3. checks ?? its issuer can be reached decision: 503")


async def test_a_cookie_of_somebody_else(world: World, explained: Explainer) -> None:
    told = await explained("Cookie: a=b; __Host-session=sealed-elsewhere", plain(world))
    phrase = "NO the cookie is one that this sidecar sealed for this strategy decision: 401 session_invalid"
    says(told, 1, phrase)


async def test_a_client_of_another_provider_is_not_told_to_this_one(world: World, explained: Explainer) -> None:
    told = await explained(world.okta.token("of-another"), plain(world))
    says(told, 1, "decision: 401 issuer_mismatch", "'client_id=<client id>'")
    assert "client_id=of-another" not in told.text
    told = await explained(world.plain.token("orders", aud="api://elsewhere"), plain(world))
    says(told, 1, "-d client_id=orders")


# Which strategy


async def test_the_strategy_is_chosen_by_the_issuer_that_the_token_names(
    world: World, explained: Explainer
) -> None:
    strategies = {**okta(world), **plain(world), **azure(world)}
    told = await explained(world.okta.token("orders"), strategies)
    says(told, 0, "2. strategy okta: Okta", "chosen because it alone trusts the issuer that the token names")
    told = await explained(world.plain.token("orders"), strategies)
    says(told, 1, "2. strategy plain", "403 application_unknown")


async def test_a_choice_that_cannot_be_made_is_left_to_the_person(world: World, explained: Explainer) -> None:
    strategies = {**okta(world), "twice": okta(world)["okta"], **plain(world)}
    names = "name one of the strategies with --strategy: okta, twice, plain"
    told = await explained(world.okta.token("orders"), strategies)
    says(told, 2, f"names the issuer {world.okta.issuer}; the strategies okta, twice trust it", names)
    told = await explained(world.auth0.token("orders"), strategies)
    says(
        told,
        2,
        "no strategy trusts it",
        names,
        f"plain: an OAuth 2.0 identity provider, issuer {world.plain.issuer}",
    )
    says(await explained(basic("orders"), strategies), 2, "a client id and secret does not tell", names)
    says(await explained(world.okta.token("orders"), strategies, strategy="nowhere"), 2, "'nowhere'", names)
    assert world.plain.calls.total() < 20


# Input of any kind


@pytest.mark.parametrize(
    ("given", "phrases"),
    [
        ("", ("decision: 401 no_credential", "send `Authorization: Bearer <token>`")),
        ("Basic %%%", ("decision: 401 malformed_credential", "curl -u")),
        ("Digest x", ("decision: 401 method_not_enabled", "what strategy plain takes")),
        ("Bearer a b", ("decision: 401 malformed_credential",)),
    ],
)
async def test_what_is_no_credential(
    world: World, explained: Explainer, given: str, phrases: tuple[str, ...]
) -> None:
    says(await explained(given, plain(world)), 1, "1. credential: none that could be judged", *phrases)


async def test_a_method_that_is_off(world: World, explained: Explainer) -> None:
    told = await explained(world.plain.token("orders"), plain(world, auth_methods=["client_credentials"]))
    says(told, 1, "decision: 401 method_not_enabled", "or add bearer to its auth_methods")


async def test_claims_cannot_write_to_the_terminal(world: World, explained: Explainer) -> None:
    token = world.plain.token(
        "orders", aud=["api://default", "\x1b[31mred\n\u202edehsrever"], scope="\x07bell", roles=["x" * 999]
    )
    told = await explained(token, plain(world))
    assert told.code == 0
    assert "\x1b" not in told.text
    assert "\x07" not in told.text
    assert "\u202e" not in told.text
    assert "x" * 201 not in told.text


@pytest.mark.parametrize(
    "issuer", ["http://[", "http://a\u2100b", "", 7, ABSENT, "https://x.okta.com/oauth2/default"]
)
async def test_an_issuer_of_any_shape(world: World, explained: Explainer, issuer: object) -> None:
    told = await explained(world.plain.token("orders", iss=issuer), plain(world))
    says(told, 1, "decision: 401 issuer_mismatch", "the token's issuer: ")
    told = await explained(world.plain.token("orders", iss=issuer), {**plain(world), **okta(world)})
    assert told.code == 2
