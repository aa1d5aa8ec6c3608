"""What is trusted of one identity provider is trusted of it alone: no token of one issuer, tenant, version or
strategy passes under another, and no provider's token is read by another's claims.

All strategies stand in one sidecar, and the same client ids are registered under each, so that nothing but the
token itself keeps them apart."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imitations import (
    Auth0Api,
    Auth0Imitation,
    CurityImitation,
    EntraImitation,
    EntraResource,
    OktaImitation,
)

from validator.errors import AuthError
from validator.model import BearerToken, Method, Proof
from validator.settings import Settings
from validator.testing import ABSENT, FakeIdp, ManualClock
from validator.wiring import Sidecar

TENANT, OTHER = "11111111-aaaa-4111-8111-111111111111", "22222222-aaaa-4222-8222-222222222222"
OWN, VICTIM = "0wn-client", "victim-client"
CLIENTS = {OWN: "s", VICTIM: "s"}
V1, V2 = "api://one", "api://two"
AUDIENCES = [V1, V2, "99999999-aaaa-4999-8999-999999999999", "api://default"]
RESOURCES = {V1: EntraResource(version=1), V2: EntraResource(version=2, audience=AUDIENCES[2])}

Mint = Callable[..., str]


@dataclass(frozen=True)
class Source:
    """Something that mints: one issuer in one version.

    Attributes:
        claim: where its tokens name their client.
        strategies: those under which its tokens may pass.
    """

    name: str
    mint: Mint
    claim: str
    strategies: frozenset[str]


@dataclass
class World:
    """The sidecar, all sources, and a way to run what must be awaited."""

    run: Callable[..., Any]
    sidecar: Sidecar
    sources: list[Source]
    issuers: list[str]
    kids: list[str]

    def prove(self, token: str, strategy: str) -> Proof | AuthError:
        async def ask() -> Proof | AuthError:
            authenticator = self.sidecar.strategies[strategy].authenticators[Method.BEARER]
            try:
                return await authenticator.prove(BearerToken(token.encode("utf-8", "surrogatepass")))
            except AuthError as error:
                return error

        outcome: Proof | AuthError = self.run(ask())
        return outcome

    def source(self, name: str) -> Source:
        return next(source for source in self.sources if source.name == name)


async def _start(stack: contextlib.AsyncExitStack) -> tuple[Sidecar, list[Source], list[str], list[str]]:
    clock = ManualClock()
    entra = [
        # Tenants of one cloud sign with the same keys; only what a token says keeps them apart.
        await stack.enter_async_context(
            EntraImitation(CLIENTS, tenant=tenant, clock=clock, resources=RESOURCES, keyring="microsoft")
        )
        for tenant in (TENANT, OTHER)
    ]
    okta = [
        await stack.enter_async_context(
            OktaImitation(CLIENTS, clock=clock, authorization_server=server, keyring=f"okta {server}")
        )
        for server in ("default", "partners")
    ]
    apis = {V1: Auth0Api(profile="auth0"), V2: Auth0Api(profile="rfc9068")}
    auth0 = await stack.enter_async_context(Auth0Imitation(CLIENTS, clock=clock, apis=apis))
    curity = await stack.enter_async_context(CurityImitation(CLIENTS, clock=clock, jwt_access_tokens=True))
    generic = [
        await stack.enter_async_context(
            FakeIdp(CLIENTS, clock=clock, path=path, audience="api://default", keyring=f"generic {path}")
        )
        for path in ("", "/realms/orders")
    ]
    strategies: dict[str, dict[str, Any]] = {
        **{
            f"{idp}-{index}": {"idp": idp, "issuer": tenant.base}
            for idp in ("azure", "azure-v1", "azure-v2")
            for index, tenant in enumerate(entra)
        },
        "okta-0": {"idp": "okta", "issuer": okta[0].issuer},
        "okta-1": {"idp": "okta", "issuer": okta[1].issuer},
        "auth0": {"idp": "auth0", "issuer": auth0.issuer},
        "curity": {"idp": "curity", "issuer": curity.discovery_url},
        "generic": {"idp": "generic", "issuer": generic[0].issuer},
        "keycloak": {"idp": "keycloak", "issuer": generic[1].issuer},
    }
    for name, strategy in strategies.items():
        if name != "curity":  # its tokens are for their own client
            strategy["audience"] = AUDIENCES
    settings_ = Settings.model_validate(
        {
            "strategies": strategies,
            "applications": [
                {"id": f"{client}.{name}", "client_id": client, "strategy": name, "registrations": ["svc"]}
                for name in strategies
                for client in CLIENTS
            ],
        }
    )
    sidecar = Sidecar(settings_, clock=clock)
    await sidecar.prepare()
    stack.push_async_callback(sidecar.stop)

    def tenant_mint(tenant: EntraImitation, resource: str) -> Mint:
        return lambda **more: tenant.token(OWN, resource=resource, **more)

    sources = [
        source
        for index, tenant in enumerate(entra)
        for source in (
            Source(
                f"entra-v1-{index}",
                tenant_mint(tenant, V1),
                "appid",
                frozenset({f"azure-{index}", f"azure-v1-{index}"}),
            ),
            Source(
                f"entra-v2-{index}",
                tenant_mint(tenant, V2),
                "azp",
                frozenset({f"azure-{index}", f"azure-v2-{index}"}),
            ),
        )
    ]
    sources += [
        Source("okta-0", lambda **more: okta[0].token(OWN, **more), "cid", frozenset({"okta-0"})),
        Source("okta-1", lambda **more: okta[1].token(OWN, **more), "cid", frozenset({"okta-1"})),
        Source("auth0", lambda **more: auth0.token(OWN, audience=V1, **more), "azp", frozenset({"auth0"})),
        Source(
            "auth0-9068", lambda **more: auth0.token(OWN, audience=V2, **more), "client_id", frozenset({"auth0"})
        ),
        Source("curity", lambda **more: curity.token(OWN, **more), "sub", frozenset({"curity"})),
        Source(
            "generic",
            lambda **more: generic[0].token(OWN, **{"azp": ABSENT, **more}),
            "client_id",
            frozenset({"generic"}),
        ),
        Source(
            "keycloak",
            lambda **more: generic[1].token(OWN, **{"client_id": ABSENT, "sub": "5e6f", **more}),
            "azp",
            frozenset({"keycloak"}),
        ),
    ]
    mints = [tenant.keys.v1 for tenant in entra] + [tenant.keys.v2 for tenant in entra]
    mints += [*(org.mint for org in okta), auth0.mint, curity.mint, *(idp.mint for idp in generic)]
    return sidecar, sources, sorted({mint.issuer for mint in mints}), [mint.current.kid for mint in mints]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()
        sidecar, sources, issuers, kids = runner.run(_start(stack))
        yield World(runner.run, sidecar, sources, issuers, kids)
        runner.run(stack.aclose())


NAMES = [
    "entra-v1-0", "entra-v2-0", "entra-v1-1", "entra-v2-1", "okta-0", "okta-1", "auth0", "auth0-9068", "curity",
    "generic", "keycloak",
]  # fmt: skip
CLIENT_CLAIMS = ["appid", "azp", "cid", "client_id", "sub", "aud", "oid"]


def test_every_source_passes_where_it_belongs_and_nowhere_else(world: World) -> None:
    assert [source.name for source in world.sources] == NAMES
    for source in world.sources:
        token = source.mint()
        passed = {s for s in world.sidecar.strategies if isinstance(world.prove(token, s), Proof)}
        assert passed == source.strategies, source.name


@settings(deadline=None, max_examples=300)
@given(
    name=st.sampled_from(NAMES),
    claims=st.dictionaries(
        st.sampled_from([*CLIENT_CLAIMS, "ver", "tid", "idtyp", "scp", "purpose", "iss", "typ"]),
        st.one_of(
            st.sampled_from([VICTIM, OWN, "1.0", "2.0", TENANT, OTHER, "access_token", *AUDIENCES]),
            st.integers(1, 2),
            st.none(),
        ),
    ),
    issuer=st.one_of(st.none(), st.integers(0, 40)),
    kid=st.one_of(st.none(), st.integers(0, 40)),
)
def test_a_hostile_issuer_speaks_for_nobody_elses_strategy(
    world: World, name: str, claims: Mapping[str, Any], issuer: int | None, kid: int | None
) -> None:
    """Whoever runs one of the issuers may write whatever he likes: the names, claims and key ids of all others."""
    source = world.source(name)
    written = dict(claims)
    if issuer is not None:
        written["iss"] = world.issuers[issuer % len(world.issuers)]
    if name.startswith("entra"):  # one hand signs for all tenants, and it does not lie about these
        for honest in ("iss", "tid", "ver"):
            written.pop(honest, None)
    header = {"kid": world.kids[kid % len(world.kids)]} if kid is not None else {}
    token = source.mint(header=header, **written)
    for strategy in world.sidecar.strategies.keys() - source.strategies:
        outcome = world.prove(token, strategy)
        assert isinstance(outcome, AuthError), (name, strategy, written, header, outcome)


@settings(deadline=None, max_examples=300)
@given(
    name=st.sampled_from(NAMES),
    foreign=st.dictionaries(st.sampled_from(CLIENT_CLAIMS[:5]), st.just(VICTIM), min_size=1),
)
def test_a_providers_token_is_read_by_its_own_claim(world: World, name: str, foreign: Mapping[str, str]) -> None:
    """Claims by which other providers name the client are no names here, whatever stands in them; where a claim of
    the provider's own chain contradicts, the first decides, or nobody is let in."""
    source = world.source(name)
    others = {claim: value for claim, value in foreign.items() if claim != source.claim}
    token = source.mint(**others)
    for strategy in source.strategies:
        outcome = world.prove(token, strategy)
        if isinstance(outcome, Proof):
            first = world.sidecar.strategies[strategy].authenticators[Method.BEARER]
            assert first is not None
            chain = {"auth0-9068": ["azp", "client_id"], "generic": ["client_id", "azp"]}.get(name, [source.claim])
            expected = next((VICTIM for claim in chain if claim in others and chain[0] == claim), OWN)
            assert outcome.client_id == expected, (name, others)


@settings(deadline=None, max_examples=100)
@given(name=st.sampled_from(NAMES), dropped=st.booleans())
def test_without_its_own_claim_a_token_names_nobody(world: World, name: str, dropped: bool) -> None:
    source = world.source(name)
    others = dict.fromkeys({"appid", "azp", "cid", "client_id", "sub"} - {source.claim}, VICTIM)
    own_chain = {"auth0": {"client_id"}, "auth0-9068": {"azp"}, "generic": {"azp"}, "keycloak": {"client_id"}}
    others |= dict.fromkeys(own_chain.get(name, set()), ABSENT)
    if name == "curity":
        others["client_id"] = ABSENT
    token = source.mint(**{**others, source.claim: ABSENT if dropped else None})
    for strategy in source.strategies:
        assert isinstance(world.prove(token, strategy), AuthError), (name, strategy)


def test_a_proof_is_of_the_strategy_that_was_asked(world: World) -> None:
    source = world.source("entra-v1-0")
    token = source.mint()
    proofs = [world.prove(token, strategy) for strategy in sorted(source.strategies)]
    assert [proof.strategy for proof in proofs if isinstance(proof, Proof)] == sorted(source.strategies)
    assert len({proof for proof in proofs if isinstance(proof, Proof)}) == 2
