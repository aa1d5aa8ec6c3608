"""``validator explain --strategy S,T``: whose a credential is on a route under several, and why."""

import pytest
from explain_support import SECRET, World, basic, introspection, okta, plain, says


@pytest.fixture
def both(world: World):
    return {**okta(world), **plain(world)}


async def test_it_says_which_is_chosen_and_goes_on_with_it(explained, world, both):
    told = await explained(f"Bearer {world.plain.token('orders')}", both, strategy="okta,plain")
    says(told, 1, "2. strategy plain:", "chosen as the first of okta, plain", "3. checks", "4. application: none")


async def test_a_pair_of_nobodys_is_shown_to_nobody(explained, world, both):
    calls = dict(world.plain.calls)
    told = await explained(basic("stranger"), both, strategy="okta,plain")
    says(told, 1, "not for any of okta, plain", "no identity provider is asked", "credentials_rejected")
    assert SECRET not in told.text
    assert {name: count for name, count in world.plain.calls.items() if "token" in str(name)} == {
        name: count for name, count in calls.items() if "token" in str(name)
    }


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("okta,none", "there is no strategy 'none'"),
        ("okta,", "there is no strategy ''"),
        ("okta,okta", "no strategy twice and at most 8"),
    ],
)
async def test_names_that_no_route_has(explained, both, names, words):
    says(await explained("Bearer x", both, strategy=names), 2, words)


async def test_a_method_that_is_off_everywhere(explained, world, both):
    strategies = {name: {**strategy, "auth_methods": ["bearer"]} for name, strategy in both.items()}
    told = await explained(basic("orders"), strategies, strategy="plain,okta")
    says(told, 1, "client_credentials is off under all of plain, okta", "method_not_enabled")


async def test_while_an_issuer_does_not_say_its_name_a_token_is_shown_to_nobody(explained, world):
    silent = {"idp": "generic", "issuer": f"{world.plain.issuer}/nobody", "audience": ["api://default"]}
    strategies = {"silent": {**silent, **introspection(tokens="all")}, **plain(world)}
    told = await explained(f"Bearer {world.okta.token('orders')}", strategies, strategy="plain,silent")
    says(told, 1, "2. strategy silent:", "before the issuer of silent says", "CANNOT BE REACHED", "503")
    told = await explained(f"Bearer {world.plain.token('orders')}", strategies, strategy="silent,plain")
    says(told, 1, "2. strategy plain:", "chosen as the first of silent, plain")
