"""What is peculiar to each provider, from its own mouth to the operator's log: its tokens for others, its
refusals, its limits and its ways of being configured wrongly."""

from typing import Any

import pytest
from identity_providers.gate import gate
from identity_providers.rows import API, API_GUID, GRAPH, GUID, SECRET, TENANT, granted
from imitations import Auth0Api, Auth0Imitation, CurityImitation, EntraImitation, EntraResource, OktaImitation
from sidecar_support import basic, bearer, until

from validator.model import Endpoint
from validator.testing import Fault, ManualClock

RESOURCES = {API: EntraResource(version=1), "api://new": EntraResource(version=2, audience=API_GUID)}
PAIR = basic("orders", SECRET)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def entra(clock: ManualClock, **more: Any) -> EntraImitation:
    return EntraImitation({GUID: SECRET}, **{"tenant": TENANT, "clock": clock, "resources": RESOURCES, **more})


def asked(provider: Any, endpoint: Endpoint = Endpoint.TOKEN) -> list[dict[str, str]]:
    """The forms that arrived there."""
    return [dict(seen.parameters) for seen in provider.requests if seen.endpoint is endpoint]


# Entra


@pytest.mark.parametrize("audience", [[API, API_GUID], []], ids=["an API", "none"])
async def test_a_token_for_graph_is_told_from_others_before_its_signature(
    clock: ManualClock, audience: list[str]
) -> None:
    async with entra(clock) as tenant:
        strategy = {"idp": "azure", "issuer": tenant.base, "audience": audience}
        async with gate({"s": strategy}, GUID, clock=clock) as at:
            form = {"client_id": GUID, "client_secret": SECRET, "scope": GRAPH}
            token = await granted(tenant.token_endpoint_v2, form)
            tenant.fail(Fault.server_error())  # nothing has to be asked for that
            status, reason, detail = await at.refusal(bearer(token))
            assert (status, reason) == (401, "token_for_graph")
            assert f"scope={API if audience else 'api://<your API>'}/.default" in detail


async def test_whether_a_graph_token_proves_its_client_is_the_operators_choice(clock: ManualClock) -> None:
    async with entra(clock) as tenant:
        documents = {"idp": "azure", "issuer": tenant.base, "scopes": [GRAPH]}
        strategies = {"s": documents | {"trust_token_response": False}, "on": documents}
        async with gate(strategies, GUID, clock=clock) as at:
            pair = basic(GUID, SECRET)
            status, reason, detail = await at.refusal(pair)
            assert (status, reason) == (401, "token_for_graph")
            assert "trust_token_response" in detail
            assert (await at.ask(pair, strategy="on")).verdict == (200, "")
            assert (await at.ask(basic(GUID, "wrong"), strategy="on")).verdict == (401, "credentials_rejected")


async def test_scopes_cannot_be_required_of_what_cannot_be_read(clock: ManualClock) -> None:
    async with entra(clock) as tenant:
        strategy = {"idp": "azure", "issuer": tenant.base, "scopes": [GRAPH], "required_scopes": ["orders.read"]}
        async with gate({"s": strategy}, GUID, clock=clock) as at:
            assert (await at.refusal(basic(GUID, SECRET)))[1] == "token_for_graph"


@pytest.mark.parametrize(
    ("strategy", "path", "form"),
    [
        ({"idp": "azure"}, "/oauth2/v2.0/token", {"scope": f"{API}/.default"}),
        ({"idp": "azure", "token_endpoint_version": "v1"}, "/oauth2/token", {"resource": API}),
        ({"idp": "azure-v1"}, "/oauth2/token", {"resource": API}),
        ({"idp": "azure-v2"}, "/oauth2/v2.0/token", {"scope": f"{API}/.default"}),
        (
            {"idp": "azure", "scopes": ["api://new/.default"]},
            "/oauth2/v2.0/token",
            {"scope": "api://new/.default"},
        ),
        ({"idp": "azure", "scopes": ["openid"]}, "/oauth2/v2.0/token", {"scope": f"{API}/.default"}),
    ],
    ids=repr,
)
async def test_each_token_endpoint_gets_what_it_takes(
    clock: ManualClock, strategy: dict[str, Any], path: str, form: dict[str, str]
) -> None:
    async with entra(clock) as tenant:
        configured = {"issuer": tenant.base, "audience": [API, API_GUID], **strategy}
        async with gate({"s": configured}, GUID, clock=clock) as at:
            await at.ask(basic(GUID, SECRET))
            (sent,) = asked(tenant)
            assert {name: sent[name] for name in sent if name in ("scope", "resource")} == form
            assert tenant.paths[f"/{TENANT}{path}"] == 1


async def test_the_clouds_of_nations_have_other_issuers(clock: ManualClock) -> None:
    hosts = {"v1_host": "https://sts.chinacloudapi.cn", "v2_host": "https://login.partner.microsoftonline.cn"}
    async with entra(clock, **hosts) as tenant:
        strategy = {"idp": "azure", "issuer": tenant.base, "audience": [API, API_GUID]}
        async with gate({"s": strategy}, GUID, clock=clock) as at:
            for resource in RESOURCES:
                assert (await at.ask(bearer(tenant.token(GUID, resource=resource)))).status == 200
        async with entra(clock, tenant=tenant.tenant) as public, gate({"s": strategy}, GUID, clock=clock) as at:
            assert (await at.refusal(bearer(public.token(GUID))))[1] == "issuer_mismatch"


async def test_a_key_of_the_apis_own_is_unknown_without_its_id(clock: ManualClock) -> None:
    resources = {API: EntraResource(version=2, audience=API_GUID, own_key=True)}
    async with entra(clock, resources=resources) as tenant:
        strategy = {"idp": "azure", "issuer": tenant.base, "audience": [API_GUID]}
        async with gate({"s": strategy}, GUID, clock=clock) as at:
            assert (await at.refusal(bearer(tenant.token(GUID))))[1] == "key_unknown"


@pytest.mark.parametrize("client_id", [GUID, GUID.upper()])
async def test_the_case_of_a_guid_does_not_count(clock: ManualClock, client_id: str) -> None:
    async with entra(clock) as tenant:
        strategy = {"idp": "azure", "issuer": tenant.base, "audience": [API]}
        async with gate({"s": strategy}, client_id, clock=clock) as at:
            assert (await at.ask(bearer(tenant.token(GUID)))).status == 200
            assert (await at.ask(basic(GUID.upper(), SECRET))).status == 200


async def test_an_unknown_application_is_a_wrong_secret_whatever_the_status(clock: ManualClock) -> None:
    async with entra(clock) as tenant:
        strategy = {"idp": "azure", "issuer": tenant.base, "audience": [API]}
        async with gate({"s": strategy}, GUID, clock=clock) as at:
            assert (await at.refusal(basic("another", SECRET)))[:2] == (401, "credentials_rejected")


async def test_an_issuer_that_follows_from_another_need_not_exist(clock: ManualClock) -> None:
    async with entra(clock) as tenant:
        tenant.fail(Fault.server_error(404), f"/{TENANT}/v2.0/.well-known/openid-configuration")
        strategy = {"idp": "azure", "issuer": tenant.base, "audience": [API]}
        async with gate({"s": strategy}, GUID, clock=clock) as at:

            async def ready() -> bool:
                return (await at.readiness())[0] == 200

            await until(ready)
            assert (await at.ask(bearer(tenant.token(GUID)))).status == 200
            assert (await at.ask(basic(GUID, SECRET))).status == 200
            assert asked(tenant)[0]["resource"] == API


# Okta


async def test_scopes_about_users_are_never_sent_to_okta(clock: ManualClock) -> None:
    async with OktaImitation({"orders": SECRET}, clock=clock, default_scopes=("orders.read",)) as org:
        strategy = {
            "idp": "okta",
            "issuer": org.issuer,
            "audience": ["api://default"],
            "scopes": ["openid", "email"],
        }
        async with gate({"s": strategy}, "orders", clock=clock) as at:
            assert (await at.ask(PAIR)).verdict == (200, "")
            assert "scope" not in asked(org)[0]


async def test_oktas_rate_limit_is_kept_to_until_it_is_reset(clock: ManualClock) -> None:
    async with OktaImitation({"orders": SECRET}, clock=clock, default_scopes=("orders.read",)) as org:
        strategy = {"idp": "okta", "issuer": org.issuer, "audience": ["api://default"]}
        async with gate({"s": strategy}, "orders", clock=clock) as at:
            org.rate_limit.allowed = 0
            answer = await at.ask(PAIR)
            assert answer.verdict == (503, "idp_unavailable")
            assert 1 <= int(answer.headers["Retry-After"]) <= 60
            calls = org.calls[Endpoint.TOKEN]
            for _ in range(3):
                assert (await at.ask(PAIR)).status == 503
            assert org.calls[Endpoint.TOKEN] == calls
            org.rate_limit.allowed = None
            clock.advance(61)
            assert (await at.ask(PAIR)).status == 200


async def test_without_an_access_policy_nobody_is_let_in(clock: ManualClock) -> None:
    async with OktaImitation({"orders": SECRET}, clock=clock, default_scopes=("orders.read",)) as org:
        org.policy = False
        strategy = {"idp": "okta", "issuer": org.issuer, "audience": ["api://default"]}
        async with gate({"s": strategy}, "orders", clock=clock) as at:
            assert (await at.refusal(PAIR))[:2] == (401, "credentials_rejected")


async def test_a_token_of_the_org_is_not_one_of_the_custom_server(clock: ManualClock) -> None:
    async with OktaImitation({"orders": SECRET}, clock=clock) as org:
        strategy = {"idp": "okta", "issuer": org.issuer}
        async with gate({"s": strategy}, "orders", clock=clock) as at:
            assert (await at.refusal(bearer(org.org_token("orders"))))[1] == "issuer_mismatch"


# Auth0


def auth0(clock: ManualClock, **apis: Auth0Api) -> Auth0Imitation:
    return Auth0Imitation({"orders": SECRET}, clock=clock, apis={API: Auth0Api(), **apis})


async def test_a_missing_audience_is_the_operators_mistake_and_said_so(clock: ManualClock) -> None:
    async with auth0(clock) as tenant:
        strategies = {
            "s": {"idp": "auth0", "issuer": tenant.issuer},
            "wrong": {"idp": "auth0", "issuer": tenant.issuer, "audience": ["api://nothing"]},
        }
        async with gate(strategies, "orders", clock=clock) as at:
            status, reason, detail = await at.refusal(PAIR)
            assert (status, reason) == (503, "idp_unavailable")
            assert "audience" in detail
            assert (await at.ask(PAIR, strategy="wrong")).status == 503
            assert "no such API" in at.logs[-1]["detail"]
            assert (await at.ask(basic("orders", "wrong"))).verdict == (401, "credentials_rejected")


async def test_a_client_that_was_not_granted_the_api_is_rejected(clock: ManualClock) -> None:
    async with auth0(clock, **{"api://closed": Auth0Api(granted_to=frozenset())}) as tenant:
        strategy = {"idp": "auth0", "issuer": tenant.issuer, "audience": ["api://closed"]}
        async with gate({"s": strategy}, "orders", clock=clock) as at:
            assert (await at.refusal(PAIR))[:2] == (401, "credentials_rejected")


@pytest.mark.parametrize(
    ("api", "reason", "words"),
    [
        (Auth0Api(alg="HS256"), "algorithm_not_allowed", "RS256"),
        (Auth0Api(encrypted=True), "token_encrypted", "encrypted"),
    ],
)
async def test_tokens_that_only_the_api_could_check_are_refused_with_the_remedy(
    clock: ManualClock, api: Auth0Api, reason: str, words: str
) -> None:
    async with auth0(clock, **{"api://other": api}) as tenant:
        strategy = {"idp": "auth0", "issuer": tenant.issuer, "audience": ["api://other"]}
        async with gate({"s": strategy}, "orders", clock=clock) as at:
            found = await at.refusal(bearer(tenant.token("orders", audience="api://other")))
            assert found[:2] == (401, reason)
            assert words in found[2]


async def test_an_opaque_token_of_auth0_says_that_no_api_was_asked_for(clock: ManualClock) -> None:
    async with auth0(clock) as tenant:
        tenant.opaque_without_audience = True
        strategy = {"idp": "auth0", "issuer": tenant.issuer, "audience": [API]}
        async with gate({"s": strategy}, "orders", clock=clock) as at:
            form = {"client_id": "orders", "client_secret": SECRET}
            status, reason, detail = await at.refusal(bearer(await granted(tenant.token_endpoint, form)))
            assert (status, reason) == (401, "token_malformed")
            assert "audience" in detail


async def test_a_domain_that_is_not_configured_is_another_issuer(clock: ManualClock) -> None:
    async with auth0(clock) as tenant:
        strategy = {"idp": "auth0", "issuer": tenant.issuer, "audience": [API]}
        async with gate({"s": strategy}, "orders", clock=clock) as at:
            form = {"client_id": "orders", "client_secret": SECRET, "audience": API}
            token = await granted(f"{tenant.custom_issuer}oauth/token", form)
            assert (await at.refusal(bearer(token)))[1] == "issuer_mismatch"


# Curity


@pytest.fixture
def curity(clock: ManualClock) -> CurityImitation:
    clients = {"orders": SECRET, "demo-client": SECRET}
    return CurityImitation(
        clients, clock=clock, jwt_access_tokens=True, introspection_clients={"gateway": "g4teway"}
    )


async def test_a_user_may_be_called_like_an_application(clock: ManualClock, curity: CurityImitation) -> None:
    async with curity as server:
        strategy = {"idp": "curity", "issuer": server.discovery_url}
        async with gate({"s": strategy}, "orders", "demo-client", clock=clock) as at:
            assert (await at.ask(bearer(server.token("orders")))).status == 200
            for token in (
                server.user_token("demo-client", "orders"),
                server.user_token("demo-client", "orders", scope="orders:read"),
                server.id_token("orders", "orders"),
                server.token("orders", purpose="id"),
            ):
                assert (await at.refusal(bearer(token)))[:2] == (401, "token_type_wrong")


async def test_an_opaque_token_of_curity_says_what_to_configure(
    clock: ManualClock, curity: CurityImitation
) -> None:
    async with curity as server:
        strategy = {"idp": "curity", "issuer": server.discovery_url}
        async with gate({"s": strategy}, "orders", clock=clock) as at:
            _, reason, detail = await at.refusal(bearer(server.token("orders", opaque=True)))
            assert reason == "token_malformed"
            assert "introspection" in detail


@pytest.mark.parametrize("response", ["json", "phantom"])
async def test_a_revoked_opaque_token_ends_with_the_servers_own_cache_time(
    clock: ManualClock, curity: CurityImitation, response: str
) -> None:
    async with curity as server:
        server.introspection.cache_control = "max-age=10"
        strategy = {
            "idp": "curity",
            "issuer": server.discovery_url,
            "introspection_endpoint": server.introspection_endpoint,
            "introspection": {"client_id": "gateway", "client_secret": "g4teway", "response": response},
        }
        async with gate({"s": strategy}, "orders", clock=clock) as at:
            token = server.token("orders", opaque=True)
            assert (await at.ask(bearer(token))).status == 200
            server.revoke(token)
            clock.advance(9)
            assert (await at.ask(bearer(token))).status == 200
            clock.advance(1)
            assert (await at.refusal(bearer(token)))[:2] == (401, "token_inactive")


async def test_an_opaque_token_of_a_user_is_the_clients(clock: ManualClock, curity: CurityImitation) -> None:
    """What the server says of a token names the client beside the user."""
    async with curity as server:
        strategy = {
            "idp": "curity",
            "issuer": server.discovery_url,
            "introspection_endpoint": server.introspection_endpoint,
            "introspection": {"client_id": "gateway", "client_secret": "g4teway"},
        }
        async with gate({"s": strategy}, "orders", "demo-client", clock=clock) as at:
            answer = await at.ask(bearer(server.user_token("demo-client", "orders", opaque=True)))
            assert answer.headers["X-Credential-Identifier"] == "demo-client"


async def test_an_introspection_client_that_is_refused_is_the_operators_mistake(
    clock: ManualClock, curity: CurityImitation
) -> None:
    async with curity as server:
        strategy = {
            "idp": "curity",
            "issuer": server.discovery_url,
            "introspection_endpoint": server.introspection_endpoint,
            "introspection": {"client_id": "gateway", "client_secret": "wrong"},
        }
        async with gate({"s": strategy}, "orders", clock=clock) as at:
            status, reason, detail = await at.refusal(bearer(server.token("orders", opaque=True)))
            assert (status, reason) == (503, "idp_unavailable")
            assert "introspection.client_id" in detail
            assert "wrong" not in repr(at.logs)


# What a session rests on


@pytest.mark.parametrize(
    ("changes", "lasts"),
    [
        ({}, True),
        ({"leeway_s": 5}, True),
        ({"additional_issuers": []}, False),
        ({"audience": [API, "api://more"]}, False),
        ({"required_claims": {"tenant": "acme"}}, False),
        ({"required_scopes": ["orders.read"]}, False),
        ({"credential_claim": ["client_id"]}, False),
    ],
    ids=repr,
)
async def test_a_session_ends_with_the_trust_that_opened_it(
    clock: ManualClock, changes: dict[str, Any], lasts: bool
) -> None:
    async with auth0(clock) as tenant:
        strategy = {
            "idp": "auth0",
            "issuer": tenant.issuer,
            "audience": [API],
            "additional_issuers": [tenant.custom_issuer],
        }
        async with gate({"s": strategy}, "orders", clock=clock) as at:
            cookie = (await at.ask(PAIR)).cookie
            assert (await at.ask(cookie)).status == 200
            await at.reload({"s": strategy | changes})
            assert (await at.ask(cookie)).verdict == ((200, "") if lasts else (401, "session_invalid"))


async def test_what_the_operator_demands_of_a_token_is_not_taken_on_trust(
    clock: ManualClock, curity: CurityImitation
) -> None:
    """Neither of an opaque minted token nor of one for Graph, which nobody here can read."""
    async with curity as server, entra(clock) as tenant:
        server.jwt_access_tokens = False
        strategies = {
            "s": {"idp": "curity", "issuer": server.discovery_url, "required_claims": {"tenant": "acme"}},
            "graph": {"idp": "azure", "issuer": tenant.base, "required_claims": {"tenant": "acme"}},
        }
        async with gate(strategies, "orders", GUID, clock=clock) as at:
            assert (await at.refusal(PAIR))[:2] == (401, "claim_missing")
            assert (await at.ask(basic(GUID, SECRET), strategy="graph")).verdict == (401, "token_for_graph")


async def test_an_applications_roles_at_entra_are_its_scopes(clock: ManualClock) -> None:
    resources = {API: EntraResource(version=1, roles={GUID: ("Orders.Read",)})}
    async with entra(clock, resources=resources) as tenant:
        strategies = {
            "s": {"idp": "azure", "issuer": tenant.base, "audience": [API], "required_scopes": ["Orders.Read"]},
            "more": {
                "idp": "azure",
                "issuer": tenant.base,
                "audience": [API],
                "required_scopes": ["Orders.Write"],
            },
        }
        async with gate(strategies, GUID, clock=clock) as at:
            token = bearer(tenant.token(GUID))
            assert (await at.ask(token)).status == 200
            assert (await at.ask(token, strategy="more")).verdict == (403, "scope_missing")
