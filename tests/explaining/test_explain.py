"""What ``validator explain`` says about one credential of each identity provider: the way to the decision in
words, and never a secret or a token."""

import pytest
from explain_support import (
    CLIENT,
    OTHER_TENANT,
    TENANT,
    Explainer,
    World,
    auth0,
    azure,
    basic,
    curity,
    introspection,
    okta,
    plain,
    says,
)

from validator.model import Endpoint
from validator.testing import ABSENT, Fault

# Microsoft Entra ID


async def test_a_v1_token_of_entra(world: World, explained: Explainer) -> None:
    told = await explained(world.entra.token(CLIENT), azure(world), client_id=CLIENT)
    says(
        told,
        0,
        f"1. credential: bearer: Microsoft Entra ID, v1.0 token, tenant {TENANT}",
        f"issuer https://sts.windows.net/{TENANT}/",
        "issued 5 minutes ago (2027-01-15 07:55:00 UTC)",
        "expires in 60 minutes (2027-01-15 09:00:00 UTC)",
        "for api://orders (`aud`)",
        f"application {CLIENT} (`appid`)",
        "signed with RS256, key ",
        "2. strategy azure: Microsoft Entra ID",
        f"trusts https://sts.windows.net/{TENANT}/ for v1.0 tokens",
        f"trusts https://login.microsoftonline.com/{TENANT}/v2.0 for v2.0 tokens",
        "ok it is no token for Microsoft Graph",
        f"(`iss`): https://sts.windows.net/{TENANT}/, its v1.0 tokens",
        "ok its version and tenant are that issuer's",
        "ok that issuer publishes the key",
        "ok the signature is that key's",
        "ok it is for this API (`aud`): api://orders",
        f"ok it names an application: {CLIENT}",
        "genuine: it speaks for the client",
        "4. application app-1 (Orders), from the configuration file, active",
        "5. registrations: svc (approved)",
        "decision: 200 allowed",
    )
    assert "what to do" not in told.text


async def test_a_v2_token_of_entra(world: World, explained: Explainer) -> None:
    told = await explained(world.entra.token(CLIENT, resource="api://orders2"), azure(world), client_id=CLIENT)
    says(told, 0, "v2.0 token, tenant", f"{CLIENT} (`azp`)", "its v2.0 tokens", "decision: 200 allowed")


async def test_a_token_for_graph_is_told_with_the_request_to_send_instead(
    world: World, explained: Explainer
) -> None:
    graph = world.entra.token(CLIENT, resource="https://graph.microsoft.com")
    told = await explained(graph, azure(world), client_id=CLIENT)
    says(
        told,
        1,
        "ok it is a signed token",
        "NO it is no token for Microsoft Graph",
        "decision: 401 token_for_graph",
        "what to do: ask for a token for your own API in place of Microsoft Graph: scope=api://orders/.default",
        f"curl {world.entra.token_endpoint_v2} -d grant_type=client_credentials -d client_id={CLIENT}",
        "'client_secret=<secret>' --data-urlencode scope=api://orders/.default",
    )


async def test_another_version_and_another_tenant_are_told_apart(world: World, explained: Explainer) -> None:
    v2 = world.entra.token(CLIENT, resource="api://orders2")
    says(
        await explained(v2, azure(world, idp="azure-v1"), client_id=CLIENT),
        1,
        "NO it comes from an issuer that the strategy trusts",
        "decision: 401 issuer_mismatch",
        f"the token's issuer: https://login.microsoftonline.com/{TENANT}/v2.0",
        f"the strategy's issuer: https://sts.windows.net/{TENANT}/",
        "the same tenant, but another version: the token is v2.0, and strategy azure (idp: azure-v1) takes v1.0",
        "set idp: azure",
    )
    foreign = world.entra.token(CLIENT, iss=f"https://sts.windows.net/{OTHER_TENANT}/")
    says(
        await explained(foreign, azure(world), client_id=CLIENT),
        1,
        f"another tenant: the token is of {OTHER_TENANT}, the strategy is for {TENANT}",
    )


async def test_a_pair_proved_by_a_graph_token(world: World, explained: Explainer) -> None:
    told = await explained(basic(CLIENT), azure(world, audience=[]), client_id=CLIENT)
    says(
        told,
        0,
        f"1. credential: client_credentials: the client id '{CLIENT}' and a secret",
        f"asks the token endpoint {world.entra.token_endpoint_v2}",
        "grant_type=client_credentials scope=https://graph.microsoft.com/.default",
        "it hands out a token, for 60 minutes: the client id and the secret are right",
        "for https://graph.microsoft.com (`aud`)",
        "ok the token just minted is for Microsoft Graph",
        "over TLS to whoever knew the secret, and that is the proof (trust_token_response)",
        "decision: 200 allowed",
    )
    told = await explained(basic(CLIENT), azure(world, audience=[], trust_token_response=False), client_id=CLIENT)
    says(told, 1, "decision: 401 token_for_graph", "api://<your API>/.default", "trust_token_response: true")


async def test_what_stands_between_a_pair_and_its_proof_by_graph(world: World, explained: Explainer) -> None:
    demands = azure(world, audience=[], required_scopes=["orders"])
    told = await explained(basic(CLIENT), demands, client_id=CLIENT)
    says(
        told,
        1,
        "decision: 401 token_for_graph",
        "or remove required_scopes: they cannot be looked for in a token for Graph",
    )
    assert "trust_token_response: true" not in told.text
    demands["azure"]["trust_token_response"] = False
    told = await explained(basic(CLIENT), demands, client_id=CLIENT)
    says(told, 1, "or remove required_scopes: ", "; and let ", "trust_token_response: true")


async def test_a_claim_that_entra_does_not_issue(world: World, explained: Explainer) -> None:
    told = await explained(world.entra.token(CLIENT), azure(world, credential_claim=["client_id"]))
    says(told, 1, "the token has `appid`: set in strategy azure credential_claim: [appid, azp]")


# Okta


async def test_a_token_of_okta(world: World, explained: Explainer) -> None:
    says(
        await explained(world.okta.token("orders"), okta(world)),
        0,
        "bearer: Okta, authorization server 'default'",
        "application orders (`cid`)",
        "scopes orders.read (`scp`)",
        "decision: 200 allowed",
    )


async def test_a_token_of_oktas_org_server(world: World, explained: Explainer) -> None:
    says(
        await explained(world.okta.org_token("orders"), okta(world)),
        1,
        "bearer: Okta, the org authorization server",
        "decision: 401 issuer_mismatch",
        f"the token's issuer: {world.okta.org_issuer}",
        "org authorization server, which all but Okta must treat as opaque",
    )


async def test_a_refused_pair_of_okta(world: World, explained: Explainer) -> None:
    told = await explained(basic("orders", "wrong"), okta(world, scopes=["orders.read"]))
    says(
        told,
        1,
        "scope=orders.read, the client id and the secret (by client_secret_basic; not shown)",
        "NO it hands out a token for them",
        "decision: 401 credentials_rejected",
        "check the client id 'orders' and its secret",
        "-u 'orders:<secret>'",
        "access policy",
    )


async def test_a_pair_of_okta_for_which_no_scope_is_asked(world: World, explained: Explainer) -> None:
    told = await explained(basic("orders"), okta(world))
    says(
        told,
        1,
        "what to do: the strategy asks for no scope, and the identity provider has no default one: name a scope "
        "of yours in scopes of strategy okta",
    )


# Auth0


@pytest.mark.parametrize(
    ("audience", "profile", "claim"),
    [
        ("https://orders.example/", "Auth0's own token profile", "azp"),
        ("https://rfc.example/", "RFC 9068 token profile", "client_id"),
    ],
)
async def test_a_token_of_auth0(
    world: World, explained: Explainer, audience: str, profile: str, claim: str
) -> None:
    says(
        await explained(world.auth0.token("orders", audience=audience), auth0(world, audience)),
        0,
        f"bearer: Auth0, domain 127.0.0.1:{world.auth0.issuer.split(':')[2][:-1]}, {profile}",
        "expires in 24 hours",
        f"application orders (`{claim}`)",
        "decision: 200 allowed",
    )


@pytest.mark.parametrize(
    ("kind", "reason", "advice"),
    [
        ("hs", "algorithm_not_allowed", "set the signing algorithm to RS256 in the API's settings in Auth0"),
        ("jwe", "token_encrypted", "switch token encryption off for this API in Auth0"),
        ("opaque", "token_malformed", "when the request names no API: send `audience`"),
    ],
)
async def test_tokens_of_auth0_that_cannot_be_judged(
    world: World, explained: Explainer, kind: str, reason: str, advice: str
) -> None:
    audience = f"https://{kind}.example/"
    opaque = kind == "opaque"
    token = world.auth0.tokens.opaque() if opaque else world.auth0.token("orders", audience=audience)
    told = await explained(token, auth0(world, audience))
    says(told, 1, "1. credential: bearer: ", f"decision: 401 {reason}", "what to do: ", advice)
    if kind == "opaque":
        says(told, 1, f"curl {world.auth0.token_endpoint} ", f"audience={audience}")


async def test_a_custom_domain_of_auth0(world: World, explained: Explainer) -> None:
    token = world.auth0.token("orders", iss=world.auth0.custom_issuer)
    says(
        await explained(token, auth0(world, "https://orders.example/")),
        1,
        "decision: 401 issuer_mismatch",
        f"additional_issuers: ['{world.auth0.custom_issuer}']",
    )


# Curity


async def test_tokens_of_curity(world: World, explained: Explainer) -> None:
    says(
        await explained(world.curity.token("orders", opaque=False), curity(world)),
        0,
        "bearer: Curity Identity Server",
        "application orders (`sub`)",
        "ok it says of itself what the strategy requires: purpose=access_token",
        "decision: 200 allowed",
    )
    says(
        await explained(world.curity.user_token("orders", opaque=False), curity(world)),
        1,
        "named by sub ada",
        "NO it names an application",
        "decision: 401 token_type_wrong",
        "because: sub names a user, not an application: the token has ",
        "`sub`, and that is a person here: ask for a token by the client credentials grant",
    )


@pytest.mark.parametrize("grant", [["password"], {}, 7])
async def test_a_grant_of_any_shape(world: World, explained: Explainer, grant: object) -> None:
    token = world.curity.token("orders", opaque=False, grant_type=grant)
    says(await explained(token, curity(world)), 1, "named by sub orders", "decision: 401 token_type_wrong")


async def test_opaque_tokens_of_curity(world: World, explained: Explainer) -> None:
    token = world.curity.token("orders", opaque=True)
    says(
        await explained(token, curity(world)),
        1,
        "bearer: an opaque token, which only its issuer can read",
        "decision: 401 token_malformed",
        "introspection: {client_id: ",
        "Use Access Token as JWT",
    )
    says(
        await explained(token, curity(world, **introspection())),
        0,
        f"asks the identity provider about it (introspection): {world.curity.introspection_endpoint}",
        "the answer: active; it says of the token:",
        "application orders (`client_id`)",
        "decision: 200 allowed",
    )
    says(
        await explained(token, curity(world, **introspection(response="phantom"))),
        0,
        "the answer is the token that it stands for: Curity Identity Server",
        "ok the signature is that key's",
        "decision: 200 allowed",
    )
    says(
        await explained(basic("orders"), curity(world, **introspection(response="phantom"))),
        0,
        "it hands out a token",
        "the token is opaque",
        "asks the identity provider about it (introspection)",
        "the answer is the token that it stands for: Curity Identity Server",
        "application orders (`sub`)",
        "decision: 200 allowed",
    )
    world.curity.revoke(token)
    says(
        await explained(token, curity(world, **introspection())),
        1,
        "NO it calls the token active",
        "decision: 401 token_inactive",
        "ask for a new one",
    )


# Any other


async def test_a_token_of_keycloaks_shape(world: World, explained: Explainer) -> None:
    token = world.plain.token("orders", client_id=ABSENT, sub="f81d4fae", typ="Bearer")
    says(
        await explained(token, plain(world, "keycloak")),
        0,
        "bearer: Keycloak",
        "application orders (`azp`)",
        "decision: 200 allowed",
    )


async def test_a_token_of_kong_identitys_shape(world: World, explained: Explainer) -> None:
    token = world.plain.token("orders", client_id=ABSENT, azp=ABSENT)
    says(
        await explained(token, plain(world, "kong-identity")),
        0,
        "bearer: Kong Identity",
        "application orders (`sub`)",
        "decision: 200 allowed",
    )


async def test_a_token_of_a_generic_provider(world: World, explained: Explainer) -> None:
    told = await explained(f"Authorization: Bearer {world.plain.token('orders')}", plain(world))
    says(
        told,
        0,
        "bearer: an OAuth 2.0 access token (RFC 9068)",
        "application orders (`client_id`)",
        "200 allowed",
    )


async def test_keys_that_cannot_be_read(world: World, explained: Explainer) -> None:
    world.plain.fail(Fault.server_error(), Endpoint.JWKS)
    says(
        await explained(world.plain.token("orders"), plain(world)),
        1,
        "its keys CANNOT BE READ: ",
        "ok it has an end",
        "?? that issuer publishes the key",
        "decision: 503 idp_unavailable",
    )


async def test_a_pair_at_a_generic_provider(world: World, explained: Explainer) -> None:
    says(
        await explained(basic("orders"), plain(world)),
        0,
        f"asks the token endpoint {world.plain.token_endpoint}",
        "application orders (`client_id`)",
        "ok the token just minted was verified, and it names this client",
        "decision: 200 allowed",
    )
