"""What ``validator check --online`` says of each identity provider's imitation: issuers, keys, endpoints, whether
each method can work, and the mismatch where an issuer calls itself otherwise than it was typed."""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
from imitations import Auth0Api, Auth0Imitation, CurityImitation, EntraImitation, EntraResource, OktaImitation

from validator import checking
from validator.adapters.clock import SystemClock
from validator.model import Endpoint
from validator.settings import Settings
from validator.testing import ABSENT, FakeIdp, Fault

TENANT = "11111111-1111-1111-1111-111111111111"
SECRET = "s3cret-of-the-client"
CLOCK = SystemClock()
NO_MISTAKES = "f.yaml: no mistakes ("
NOT_EVERYTHING = "f.yaml: no mistakes in the file ("


@pytest.fixture(autouse=True)
def _quiet_log() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


@dataclass(frozen=True)
class Checked:
    """``lines`` are those of one strategy, without what they are indented by."""

    code: int
    text: str

    def has(self, *lines: str) -> None:
        found = [line.strip() for line in self.text.splitlines()]
        for line in lines:
            assert line in found, self.text

    def says(self, *phrases: str) -> None:
        for phrase in phrases:
            assert phrase in self.text, self.text


class Checker:
    """Runs the command for one strategy, or for several."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    async def __call__(
        self, strategy: dict[str, Any], *, dcr: dict[str, Any] | None = None, **others: dict[str, Any]
    ) -> Checked:
        bridge = {} if dcr is None else {"dcr": dcr}
        settings = Settings.model_validate({"strategies": {"main": strategy, **others}, **bridge})
        self._capsys.readouterr()
        code = await checking.report(settings, Path("f.yaml"), online=True)
        printed = self._capsys.readouterr().out
        assert SECRET not in printed
        return Checked(code, printed)


@pytest.fixture
def checked(capsys: pytest.CaptureFixture[str]) -> Checker:
    return Checker(capsys)


@pytest.fixture
async def idp() -> AsyncIterator[FakeIdp]:
    async with FakeIdp({"orders": SECRET}, clock=CLOCK) as running:
        yield running


def generic(idp: FakeIdp, **changes: Any) -> dict[str, Any]:
    return {"idp": "generic", "issuer": idp.issuer, "audience": ["api://default"], **changes}


# Each provider


async def test_a_tenant_of_entra_has_two_issuers(checked: Checker) -> None:
    resources = {"api://orders": EntraResource()}
    async with EntraImitation({"orders": SECRET}, tenant=TENANT, clock=CLOCK, resources=resources) as entra:
        azure = {"idp": "azure", "issuer": entra.base, "audience": ["api://orders"]}
        told = await checked(azure)
        (v1,) = (key["kid"] for key in entra.keys.v1.jwks()["keys"])
        v2 = entra.keys.v2_jwks()["keys"][0]["kid"]
    assert told.code == 0
    told.has(
        "strategy main: Microsoft Entra ID (azure)",
        f"issuer https://sts.windows.net/{TENANT}/",
        "v1.0 tokens carry exactly this `iss`, and `appid` names the application",
        f"read from {entra.discovery_url}",
        f"1 key at {entra.base}/discovery/keys: {v1} (any RSA algorithm)",
        f"issuer https://login.microsoftonline.com/{TENANT}/v2.0",
        "v2.0 tokens carry exactly this `iss`, and `azp` names the application",
        f"read from {entra.discovery_url_v2}",
        f"1 key at {entra.base}/discovery/v2.0/keys: {v2} (any RSA algorithm)",
        "note: ignored key 1: bound to another issuer",
        f"token endpoint {entra.token_endpoint_v2}, by client_secret_post",
        "a client id and secret are tried there with grant_type=client_credentials scope=api://orders/.default",
        "client_credentials: ready",
        "bearer: ready, tokens for api://orders",
        "session: ready, opened by client_credentials or bearer",
    )
    assert "MISMATCH" not in told.text  # a tenant has several names
    assert entra.calls[Endpoint.TOKEN] == 0


async def test_the_other_version_of_a_tenant_need_not_exist(checked: Checker) -> None:
    async with EntraImitation(tenant=TENANT, clock=CLOCK) as entra:
        entra.fail(Fault(404), f"/{TENANT}/v2.0/.well-known/openid-configuration")
        told = await checked({"idp": "azure", "issuer": entra.base, "audience": ["api://orders"]})
    assert told.code == 0
    told.says("note: there is no issuer of v2.0 tokens here (404 for ", "v2.0 tokens are refused")
    told.has(
        f"token endpoint {entra.token_endpoint}, by client_secret_post", "bearer: ready, tokens for api://orders"
    )


@pytest.mark.parametrize(("trusts", "code"), [(True, 0), (False, 1)])
async def test_client_credentials_proved_by_graph(checked: Checker, trusts: bool, code: int) -> None:
    async with EntraImitation(tenant=TENANT, clock=CLOCK) as entra:
        told = await checked({"idp": "azure", "issuer": entra.base, "trust_token_response": trusts})
    assert told.code == code
    told.says(
        "the answer of the token endpoint over TLS is the proof (trust_token_response)"
        if trusts
        else "client_credentials: NOT READY because what is minted is for Microsoft Graph"
    )


@pytest.mark.parametrize("trusts", [True, False])
@pytest.mark.parametrize("demand", [{"required_scopes": ["orders"]}, {"required_claims": {"tid": TENANT}}])
async def test_what_cannot_be_looked_for_in_a_token_for_graph(
    checked: Checker, demand: dict[str, Any], trusts: bool
) -> None:
    async with EntraImitation(tenant=TENANT, clock=CLOCK) as entra:
        told = await checked({"idp": "azure", "issuer": entra.base, "trust_token_response": trusts, **demand})
    assert told.code == 1
    told.has(
        "client_credentials: NOT READY because what is minted is for Microsoft Graph, and "
        f"{next(iter(demand))} cannot be looked for in it; ask for your own API in `scopes`"
    )


async def test_another_tenant_is_a_mismatch(checked: Checker) -> None:
    other = TENANT.replace("1", "2")
    async with EntraImitation(tenant=TENANT, clock=CLOCK, v1_host="https://sts.windows.net") as entra:
        entra.keys.v1.issuer = f"https://sts.windows.net/{other}/"
        told = await checked({"idp": "azure-v1", "issuer": entra.base, "audience": ["api://orders"]})
    told.says(
        f"ISSUER MISMATCH: the file says {entra.base}, the issuer calls itself https://sts.windows.net/{other}/; "
        "tokens must carry the latter"
    )


async def test_okta(checked: Checker) -> None:
    async with OktaImitation({"orders": SECRET}, clock=CLOCK) as okta:
        custom = {"idp": "okta", "issuer": okta.issuer, "audience": ["api://default"], "scopes": ["orders.read"]}
        told = await checked(custom)
        assert told.code == 0
        told.has(
            f"issuer {okta.issuer}",
            "tokens carry exactly this `iss`, and `cid` names the application",
            f"1 key at {okta.issuer}/v1/keys: {okta.mint.current.kid} (RS256)",
            f"token endpoint {okta.token_endpoint}, by client_secret_basic",
            "a client id and secret are tried there with grant_type=client_credentials scope=orders.read",
            "bearer: ready, tokens for api://default",
        )
        told = await checked({**custom, "issuer": okta.org_issuer})
        assert told.code == 1
        told.says(
            f"bearer: NOT READY because {okta.org_issuer} is Okta's org authorization server: tokens of Okta's "
            "org authorization server are opaque to all but Okta",
            "session: NOT READY because no other method is",
            f"{NOT_EVERYTHING}1 strategy, 0 applications), but not everything would work: main",
        )


async def test_auth0_with_a_custom_domain(checked: Checker) -> None:
    apis = {"https://orders.example/": Auth0Api()}
    async with Auth0Imitation({"orders": SECRET}, clock=CLOCK, apis=apis) as auth0:
        strategy = {
            "idp": "auth0",
            "issuer": auth0.issuer.rstrip("/"),
            "additional_issuers": [auth0.custom_issuer],
            "audience": ["https://orders.example/"],
        }
        told = await checked(strategy)
        assert told.code == 0
        told.has(
            f"issuer {auth0.issuer}",
            f"issuer {auth0.custom_issuer}",
            "tokens carry exactly this `iss`, and `azp` or `client_id` names the application",
            "a client id and secret are tried there with grant_type=client_credentials "
            "audience=https://orders.example/",
            "client_credentials: ready",
        )
        assert "MISMATCH" not in told.text  # the slash at the end
        told = await checked({**strategy, "algorithms": ["ES256"]})
    assert told.code == 1
    told.has("bearer: NOT READY because the keys are for RS256, but the strategy's algorithms are ES256")


@pytest.mark.parametrize("response", ["json", "phantom"])
async def test_curity_with_introspection(checked: Checker, response: str) -> None:
    async with CurityImitation(
        {"orders": SECRET}, clock=CLOCK, introspection_clients={"gateway": SECRET}
    ) as curity:
        asked = {"client_id": "gateway", "client_secret": SECRET, "response": response}
        strategy = {"idp": "curity", "issuer": curity.discovery_url, "introspection": asked}
        told = await checked(strategy)
        assert told.code == 0
        told.has(
            f"issuer {curity.issuer}",
            f"read from {curity.discovery_url}",
            f"1 key at {curity.issuer}/jwks: -1725417167 (RS256)",
            f"introspection endpoint {curity.introspection_endpoint}, as 'gateway' by client_secret_basic, "
            f"answers as {response}",
            "tried with a made-up token: inactive, as it should be",
            "bearer: ready, tokens for any audience, opaque ones by introspection",
        )
        told = await checked({**strategy, "introspection": {**asked, "client_secret": "another"}})
    assert told.code == 1
    told.says(
        "INTROSPECTION FAILS: the introspection endpoint answered 401; it refuses us: check "
        "introspection.client_id",
        "bearer: NOT READY because introspection fails",
    )


async def test_signed_introspection_answers(checked: Checker, idp: FakeIdp) -> None:
    asked = {"client_id": "orders", "client_secret": SECRET, "response": "jwt"}
    told = await checked(generic(idp, introspection=asked))
    assert told.code == 0
    told.has("tried with a made-up token: inactive, as it should be")


async def test_an_introspection_endpoint_that_calls_everything_active(checked: Checker, idp: FakeIdp) -> None:
    asked = {"client_id": "orders", "client_secret": SECRET}
    idp.fail(Fault.json_reply({"active": True, "client_id": "orders"}), Endpoint.INTROSPECTION)
    told = await checked(generic(idp, introspection=asked))
    assert told.code == 1
    told.says("INTROSPECTION CALLS A MADE-UP TOKEN ACTIVE", "bearer: NOT READY")


# Claims that a provider never issues


@pytest.mark.parametrize(
    ("idp", "claims", "works"),
    [
        ("azure", ["client_id"], False),
        ("azure", ["azp"], True),
        ("azure-v1", ["azp"], True),
        ("azure", ["client_id", "appid"], True),
    ],
)
async def test_a_claim_that_entra_does_not_issue(
    checked: Checker, idp: str, claims: list[str], works: bool
) -> None:
    async with EntraImitation(tenant=TENANT, clock=CLOCK) as entra:
        strategy = {"idp": idp, "issuer": entra.base, "audience": ["api://orders"], "credential_claim": claims}
        told = await checked(strategy)
    assert "`client_id` names" not in told.text
    assert "`client_id` or" not in told.text
    assert told.code == (0 if works else 1), told.text
    if works:
        told.has("v1.0 tokens carry exactly this `iss`, and `appid` names the application")
        return
    told.has("v1.0 tokens carry exactly this `iss`", "v2.0 tokens carry exactly this `iss`")
    why = "access tokens of Microsoft Entra ID do not carry `client_id`; write credential_claim: [appid, azp]"
    told.has(f"bearer: NOT READY because {why}", f"client_credentials: NOT READY because {why}")


async def test_a_claim_that_is_not_in_what_may_be_opaque(checked: Checker) -> None:
    async with CurityImitation({}, clock=CLOCK, introspection_clients={"gateway": SECRET}) as curity:
        strategy = {"idp": "curity", "issuer": curity.issuer, "credential_claim": ["azp"]}
        told = await checked(strategy)
        assert told.code == 1
        told.has(
            "bearer: NOT READY because access tokens of Curity Identity Server do not carry `azp`; write "
            "credential_claim: [sub, client_id]",
            "client_credentials: ready",  # the answer of the token endpoint is the proof
        )
        asked = {"client_id": "gateway", "client_secret": SECRET}
        assert (await checked({**strategy, "introspection": asked})).code == 0  # whose answers may carry it


# What only the provider's administrator can see


async def test_client_credentials_that_rest_on_a_default(checked: Checker) -> None:
    async with Auth0Imitation({}, clock=CLOCK, apis={}) as auth0, OktaImitation({}, clock=CLOCK) as okta:
        strategy = {"idp": "auth0", "issuer": auth0.issuer}
        told = await checked(strategy)
        assert told.code == 0
        told.has("client_credentials: ready, if the tenant has a default audience")
        told = await checked({**strategy, "token_params": {"audience": "https://orders.example/"}})
        told.has("client_credentials: ready")
        strategy = {"idp": "okta", "issuer": okta.issuer, "audience": ["api://default"], "scopes": ["openid"]}
        told = await checked(strategy)  # openid is never sent
        assert told.code == 0
        told.has("client_credentials: ready, if the authorization server has a default scope")
        told = await checked({**strategy, "scopes": [], "token_params": {"scope": "orders.read"}})
        told.has("client_credentials: ready")


# The HTTP DCR bridge

KEYS = {"api_keys": ["k" * 40]}


async def test_where_the_bridge_registers_clients(checked: Checker, idp: FakeIdp) -> None:
    endpoint = f"{idp.issuer}/register"
    idp.metadata["registration_endpoint"] = endpoint
    told = await checked(generic(idp), dcr=KEYS)
    assert told.code == 0
    told.has(f"registration endpoint {endpoint}, by rfc7591, without an initial access token")
    given = {"registration": {"initial_access_token": SECRET, "endpoint": f"{idp.issuer}/other"}}
    told = await checked(generic(idp, **given), dcr=KEYS)
    told.has(f"registration endpoint {idp.issuer}/other, by rfc7591, with an initial access token")
    assert "egistration endpoint" not in (await checked(generic(idp))).text
    told = await checked(generic(idp), dcr={**KEYS, "strategy": "second"}, second=generic(idp))
    assert told.text.count("registration endpoint") == 1


async def test_a_provider_at_which_nobody_can_register(checked: Checker, idp: FakeIdp) -> None:
    idp.metadata["registration_endpoint"] = ABSENT
    told = await checked(generic(idp), dcr=KEYS)
    assert told.code == 1
    told.has(
        "REGISTRATION: its metadata names no registration_endpoint: switch dynamic registration on there, or set "
        "registration.endpoint",
        "bearer: ready, tokens for api://default",
    )
    told.says("but not everything would work: main")


async def test_clients_of_okta_are_registered_at_the_org(checked: Checker) -> None:
    async with OktaImitation({}, clock=CLOCK) as okta:
        told = await checked(
            {
                "idp": "okta",
                "issuer": okta.issuer,
                "scopes": ["orders.read"],
                "registration": {"initial_access_token": SECRET},
            },
            dcr=KEYS,
        )
    assert told.code == 0
    told.has(f"registration endpoint {okta.org_issuer}/oauth2/v1/clients, by okta, with an API token")


# Mismatches and failures, whoever it is


async def test_an_issuer_that_calls_itself_otherwise(checked: Checker, idp: FakeIdp) -> None:
    idp.metadata = {"issuer": "https://other.example"}
    told = await checked(generic(idp))
    assert told.code == 0
    told.has(
        "issuer https://other.example",
        f"ISSUER MISMATCH: the file says {idp.issuer}, the issuer calls itself https://other.example; tokens must "
        "carry the latter",
    )
    told.says(NO_MISTAKES)


async def test_what_the_metadata_does_not_list_is_noted(checked: Checker, idp: FakeIdp) -> None:
    idp.metadata = {
        "grant_types_supported": ["authorization_code"],
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
    }
    told = await checked(generic(idp))
    assert told.code == 0
    told.has(
        "note: its metadata does not list the grant client_credentials, only authorization_code",
        "note: the issuer says that it supports private_key_jwt; see token_endpoint_auth_method",
    )


ROWS: list[tuple[str, Callable[[FakeIdp], None], tuple[str, ...]]] = [
    (
        "errors",
        lambda idp: idp.fail(Fault.server_error()),
        ("NOT REACHED: ", "bearer: NOT READY because ", " was not reached"),
    ),
    ("garbage", lambda idp: idp.fail(Fault.garbage()), ("NOT REACHED: ", "not a discovery document")),
    (
        "no keys",
        lambda idp: idp.fail(Fault.json_reply({"keys": []}), Endpoint.JWKS),
        ("NO KEYS: ", "bearer: NOT READY because no token of ", "client_credentials: NOT READY"),
    ),
    (
        "no token endpoint",
        lambda idp: idp.metadata.update(token_endpoint=ABSENT),
        ("NO TOKEN ENDPOINT: ", "client_credentials: NOT READY", "session: ready, opened by bearer"),
    ),
]


@pytest.mark.parametrize(("fail", "phrases"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
async def test_what_cannot_work_is_said_and_ends_with_1(
    checked: Checker, idp: FakeIdp, fail: Callable[[FakeIdp], None], phrases: tuple[str, ...]
) -> None:
    fail(idp)
    told = await checked(generic(idp))
    assert told.code == 1
    told.says(*phrases, NOT_EVERYTHING)


async def test_a_method_that_is_off_need_not_work(checked: Checker, idp: FakeIdp) -> None:
    idp.metadata = {"token_endpoint": ABSENT}
    told = await checked(generic(idp, auth_methods=["bearer"]))
    assert told.code == 0
    assert "client_credentials" not in told.text


async def test_all_strategies_are_told_in_the_order_of_the_file(checked: Checker, idp: FakeIdp) -> None:
    down = {**generic(idp), "issuer": "http://127.0.0.1:9"}
    told = await checked(down, second=generic(idp), third=down)
    assert told.code == 1
    at = [told.text.index(f"strategy {name}: ") for name in ("main", "second", "third")]
    assert at == sorted(at)
    told.says("would work: main, third")


async def test_a_certificate_bundle_that_is_none(checked: Checker, idp: FakeIdp, tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("nonsense")
    told = await checked(generic(idp, ca_file=str(bundle)))
    assert told.code == 1
    told.says(f"NOT REACHED: ca_file {bundle}: ")
