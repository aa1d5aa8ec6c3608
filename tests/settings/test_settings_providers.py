"""What `check` says about a strategy because of whose it is: a mistake where it could not work or would let in
others, a warning where it likely means something else, and nothing about one that is right."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from validator.settings import Settings, SettingsError, read

TENANT = "https://login.microsoftonline.com/11111111-1111-1111-1111-111111111111"
API = {"audience": ["api://orders"]}
GRAPH = ["https://graph.microsoft.com/.default"]
SECRET = {"client_id": "gateway", "client_secret": "g4teway"}

AZURE = {"idp": "azure", "issuer": f"{TENANT}/v2.0", **API}
OKTA = {"idp": "okta", "issuer": "https://my-issuer.okta.com/oauth2/default", "scopes": ["orders"], **API}
AUTH0 = {"idp": "auth0", "issuer": "https://my-issuer.eu.auth0.com", **API}
CURITY = {"idp": "curity", "issuer": "https://id.example.com/oauth/v2/oauth-anonymous"}
CURITY_API = CURITY | API | {"credential_claim": ["client_id"]}
ISSUERS = {"azure-v1": f"{TENANT}/", "azure-v2": f"{TENANT}/v2.0"}


def told(directory: Path, strategy: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Mistakes and warnings about the one strategy of a file: each with its setting."""
    path = directory / "v.yaml"
    path.write_text(yaml.safe_dump({"strategies": {"s": strategy}}))
    path.chmod(0o600)
    try:
        settings = read(path, {})
    except SettingsError as error:
        return [f"{item.where.removeprefix('strategies.s.')}: {item}" for item in error.mistakes], []
    shown = (warning for warning in settings.warnings if warning.where.startswith("strategies."))
    return [], [f"{item.where.removeprefix('strategies.s.')}: {item.text}" for item in shown]


def without(strategy: dict[str, Any], *names: str, **settings: Any) -> dict[str, Any]:
    return {name: value for name, value in strategy.items() if name not in names} | settings


RIGHT = {
    "the contract's azure": {
        "idp": "azure",
        "issuer": "https://sts.windows.net/11111111-1111-1111-1111-111111111111",
        "credential_claim": ["appid"],
        "audience": ["api://orders"],
        "scopes": ["api://orders/.default"],
        "auth_methods": ["client_credentials", "bearer", "session"],
    },
    "azure by its audience alone": AZURE,
    "azure by a domain": AZURE | {"issuer": "https://login.microsoftonline.com/contoso.onmicrosoft.com/v2.0"},
    "azure's own keys": AZURE | {"issuer": f"{TENANT}/.well-known/openid-configuration?appid=x"},
    "azure-v1 with the other claim": AZURE | {"idp": "azure-v1", "credential_claim": ["azp"]},
    "azure-v1, said twice": AZURE | {"idp": "azure-v1", "token_endpoint_version": "v1"},
    "azure-v1, by an endpoint of its own": AZURE
    | {"idp": "azure-v1", "token_endpoint_version": "v2", "token_endpoint": f"{TENANT}/oauth2/v2.0/token"},
    "azure's first endpoint": AZURE | {"token_endpoint_version": "v1", "trust_token_response": False},
    "azure for bearer tokens alone": without(AZURE, "scopes", auth_methods=["bearer"]),
    "a resource by hand": without(
        AZURE, "audience", auth_methods="client_credentials", token_params={"resource": "api://o"}
    ),
    "okta": OKTA,
    "okta's guide's claim": OKTA | {"credential_claim": ["client_id"]},
    "okta by RFC 8414": OKTA
    | {"issuer": "https://x.okta.com/.well-known/oauth-authorization-server/oauth2/default"},
    "okta's org server, asked": OKTA
    | {"issuer": "https://my-issuer.okta.com", "introspection": {**SECRET, "tokens": "all"}},
    "auth0": AUTH0,
    "auth0's audience by hand": without(
        AUTH0, "audience", auth_methods=["client_credentials"], token_params={"audience": "api://orders"}
    ),
    "curity": CURITY,
    "curity, discovery URL": CURITY
    | {"issuer": "https://id.example.com/oauth/v2/oauth-anonymous/.well-known/openid-configuration"},
    "curity, opaque": CURITY_API | {"introspection": SECRET},
    "keycloak": {"idp": "keycloak", "issuer": "https://sso.example.com/realms/orders", **API},
    "kong identity": {
        "idp": "kong-identity",
        "issuer": "https://x.us.identity.konghq.com/auth",
        "scopes": ["openid"],
        **API,
    },
    "generic": {"idp": "generic", "issuer": "https://idp.example.com", "scopes": ["openid"], **API},
    "another name": AUTH0 | {"additional_issuers": ["https://login.example.com/"]},
}


@pytest.mark.parametrize("strategy", RIGHT.values(), ids=RIGHT)
def test_a_right_strategy_is_not_talked_about(tmp_path: Path, strategy: dict[str, Any]) -> None:
    assert told(tmp_path, strategy) == ([], [])


# Each: a strategy -> the setting at fault and words of the sentence.
MISTAKES = {
    "everybody's tenant": (
        AZURE | {"issuer": "https://login.microsoftonline.com/common/v2.0"},
        "issuer",
        "your own",
    ),
    "every organisation": (AZURE | {"issuer": "https://login.microsoftonline.com/organizations"}, "issuer", "own"),
    "private accounts": (AZURE | {"issuer": "https://login.microsoftonline.com/Consumers/v2.0"}, "issuer", "own"),
    "everybody's, second": (
        AZURE | {"additional_issuers": ["https://login.microsoftonline.com/common/v2.0"]},
        "additional_issuers.0",
        "your own",
    ),
    "no tenant": (AZURE | {"issuer": "https://login.microsoftonline.com"}, "issuer", "the tenant's id"),
    "a token endpoint": (AZURE | {"issuer": f"{TENANT}/oauth2/v2.0/token"}, "issuer", "nothing else"),
    "the same tenant": (AZURE | {"additional_issuers": [TENANT]}, "additional_issuers.0", "trusted already"),
    "two APIs": (
        AZURE | {"scopes": ["api://a/.default", "api://b/.default"]},
        "scopes",
        "refuses a request for two",
    ),
    "v1 by v2": (AZURE | {"idp": "azure-v1", "token_endpoint_version": "v2"}, "token_endpoint_version", "v1 with"),
    "v2 by v1": (AZURE | {"idp": "azure-v2", "token_endpoint_version": "v1"}, "token_endpoint_version", "v2 with"),
    "a version elsewhere": (OKTA | {"token_endpoint_version": "v2"}, "token_endpoint_version", "Entra alone"),
    "trust elsewhere": (AUTH0 | {"trust_token_response": False}, "trust_token_response", "Entra alone"),
    "okta's org server": (OKTA | {"issuer": "https://my-issuer.okta.com"}, "issuer", "treated as opaque"),
    "okta, half a path": (OKTA | {"issuer": "https://my-issuer.okta.com/default"}, "issuer", "under /oauth2/"),
    "okta's token endpoint": (
        OKTA | {"issuer": "https://x.okta.com/oauth2/default/v1/token"},
        "issuer",
        "/oauth2/",
    ),
    "okta's org server, half asked": (
        OKTA | {"issuer": "https://my-issuer.okta.com", "introspection": SECRET},
        "introspection.tokens",
        "all",
    ),
    "auth0's management": (AUTH0 | {"issuer": "https://x.auth0.com/api/v2/"}, "issuer", "https://x.auth0.com/"),
}


@pytest.mark.parametrize(("strategy", "where", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_strategy_that_cannot_work_is_a_mistake(
    tmp_path: Path, strategy: dict[str, Any], where: str, words: str
) -> None:
    (found,), _ = told(tmp_path, strategy)
    assert found.split(":")[0] == where
    assert words in found


# Each: a strategy -> the setting that is talked about and words of the sentence.
WARNINGS = {
    "a placeholder": (AZURE | {"issuer": "https://sts.windows.net/YOUR_TENANT_ID"}, "issuer", "'YOUR_TENANT_ID'"),
    "no tenant elsewhere": (AZURE | {"issuer": "https://idp.example.com/a/b"}, "issuer", "no tenant"),
    "scopes that are not sent": (AZURE | {"scopes": ["openid", "api://orders/read"]}, "scopes", "left out"),
    "Graph as the audience": (AZURE | {"audience": ["api://orders", GRAPH[0][:-9]]}, "audience.1", "Graph alone"),
    "Graph, trusted": (AZURE | {"scopes": GRAPH}, "scopes", "token endpoint's answer alone, over TLS"),
    "Graph, not trusted": (AZURE | {"scopes": GRAPH, "trust_token_response": False}, "scopes", "is refused"),
    "Graph, scopes required": (AZURE | {"scopes": GRAPH, "required_scopes": "read"}, "scopes", "is refused (req"),
    "Entra cannot be asked": (AZURE | {"introspection": SECRET}, "introspection", "no introspection endpoint"),
    "azure's claim": (AZURE | {"credential_claim": ["client_id"]}, "credential_claim", "[appid, azp]"),
    "auth0's claim": (AUTH0 | {"credential_claim": "sub"}, "credential_claim", "[azp, client_id]"),
    "okta's claim": (OKTA | {"credential_claim": ["azp"]}, "credential_claim", "[cid]"),
    "okta without a scope": (without(OKTA, "scopes"), "scopes", "no scope to ask for"),
    "okta's users": (OKTA | {"scopes": ["orders", "openid"]}, "scopes", "openid: about a user"),
    "okta, imitated": (OKTA | {"issuer": "http://127.0.0.1:9400/default"}, "issuer", "no issuer that Okta has"),
    "curity's users": (CURITY | {"scopes": ["openid"]}, "scopes", "openid: about a user"),
    "introspection by nobody": (CURITY_API | {"introspection": {}}, "introspection", "RFC 7662"),
    "introspection by nobody, no section": (
        CURITY_API | {"introspection_endpoint": "https://id.example.com/introspect"},
        "introspection_endpoint",
        "RFC 7662",
    ),
}


@pytest.mark.parametrize(("strategy", "where", "words"), WARNINGS.values(), ids=WARNINGS)
def test_a_strategy_that_likely_means_something_else_is_worth_one_warning(
    tmp_path: Path, strategy: dict[str, Any], where: str, words: str
) -> None:
    mistakes, (warning,) = told(tmp_path, strategy)
    assert mistakes == []
    assert warning.split(":")[0] == where
    assert words in warning


EVERY = "tokens for every audience of this issuer pass"


def test_without_an_audience_entra_is_asked_for_graph(tmp_path: Path) -> None:
    strategy = without(AZURE, "audience")
    mistakes, (graph, audience) = told(tmp_path, strategy)
    assert mistakes == []
    assert "only a token for Microsoft Graph can be asked for" in graph
    assert audience == f"audience: audience is not set: {EVERY}"
    # With a claim that no token has, none passes; with a scope of an API's, its tokens are the next worry.
    for more, there in (({}, False), ({"scopes": ["api://orders/.default"]}, True)):
        _, warnings = told(tmp_path, strategy | {"credential_claim": ["client_id"]} | more)
        assert any(EVERY in warning for warning in warnings) is there


@pytest.mark.parametrize(
    ("methods", "opaque", "every"),
    [
        (["client_credentials", "bearer"], True, True),
        (["client_credentials"], True, False),
        (["bearer"], False, True),
    ],
    ids=str,
)
def test_without_an_audience_auth0_is_told_of_in_one_line(
    tmp_path: Path, methods: list[str], opaque: bool, every: bool
) -> None:
    mistakes, (warning,) = told(tmp_path, without(AUTH0, "audience", auth_methods=methods))
    assert mistakes == []
    assert warning.startswith("audience: audience is not set: ")
    assert ("opaque token, unless the tenant has a default audience" in warning) is opaque
    assert (EVERY in warning) is every


@pytest.mark.parametrize(
    ("strategy", "refused"),
    [
        (AZURE | {"credential_claim": ["client_id"]}, True),
        (OKTA | {"credential_claim": ["azp"]}, True),
        (AZURE | {"credential_claim": ["client_id", "appid"]}, False),
        (AUTH0 | {"credential_claim": ["sub"]}, False),  # is there, and names nobody
        (AZURE | {"credential_claim": ["client_id"], "auth_methods": ["client_credentials"]}, False),
        (OKTA | {"credential_claim": ["azp"], "introspection": {**SECRET, "tokens": "all"}}, False),
    ],
    ids=["azure", "okta", "another is right", "sub", "no bearer tokens", "asked about"],
)
def test_a_claim_that_is_never_issued_is_told_with_what_follows(
    tmp_path: Path, strategy: dict[str, Any], refused: bool
) -> None:
    _, (warning,) = told(tmp_path, strategy)
    assert ("so every bearer token is refused (claim_missing)" in warning) is refused


ORG = {"idp": "generic", "issuer": "https://my-issuer.okta.com", **API}
# Each: a strategy whose issuer is somebody else's -> the idp that is right.
HOSTS = {
    "okta": (without(OKTA, idp="generic"), "an issuer of Okta: write idp: okta, which"),
    "okta's org server": (ORG, "does not get round what is refused there"),
    "okta's org server, discovery URL": (
        ORG | {"issuer": "https://x.okta.com/.well-known/openid-configuration"},
        "does not get round",
    ),
    "auth0": (without(AUTH0, idp="generic"), "an issuer of Auth0: write idp: auth0, which knows where"),
    "entra": (without(AZURE, idp="generic"), "write idp: azure, which"),
    "kong identity": (
        {"idp": "generic", "issuer": "https://x.us.identity.konghq.com/auth", **API},
        "write idp: kong-identity, which knows where it writes the client id",
    ),
    "auth0 as keycloak": (without(AUTH0, idp="keycloak"), "write idp: auth0"),
    "keycloak without a realm": (
        {"idp": "keycloak", "issuer": "https://sso.example.com/auth", **API},
        "no realm in it",
    ),
}


@pytest.mark.parametrize(("strategy", "words"), HOSTS.values(), ids=HOSTS)
def test_an_issuer_that_is_somebody_elses_is_worth_a_warning(
    tmp_path: Path, strategy: dict[str, Any], words: str
) -> None:
    mistakes, (warning,) = told(tmp_path, strategy)
    assert mistakes == []
    assert warning.startswith("issuer: ")
    assert words in warning
    assert ("get round" in words) is ("get round" in warning)


def test_an_org_server_whose_tokens_are_all_asked_about_is_no_way_round(tmp_path: Path) -> None:
    _, (warning,) = told(tmp_path, ORG | {"introspection": {**SECRET, "tokens": "all"}})
    assert "write idp: okta" in warning
    assert "get round" not in warning


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_example_of_a_wrong_version_is_one_of_that_setting(tmp_path: Path, version: str) -> None:
    other = {"v1": "v2", "v2": "v1"}[version]
    (found,), _ = told(tmp_path, AZURE | {"idp": f"azure-{version}", "token_endpoint_version": other})
    assert found.endswith(f"for example token_endpoint_version: {version}")


def test_a_claim_that_only_applications_have_guards_curitys_subject(tmp_path: Path) -> None:
    """Without an audience, aud is the client itself, and tells it from a user."""
    for_api = CURITY | API
    guards: list[dict[str, Any]] = [
        {"required_claims": {"kind": "application"}},
        {"credential_claim": ["client_id"]},
    ]
    for guard in guards:
        assert told(tmp_path, for_api | guard) == ([], [])
    for unguarded in (for_api, for_api | {"required_claims": {"purpose": "access_token"}}):
        assert ["client_id" in warning for warning in told(tmp_path, unguarded)[1]] == [True]


@pytest.mark.parametrize("idp", ["azure", "okta", "auth0", "curity", "keycloak", "kong-identity", "generic"])
@pytest.mark.parametrize("value", [7, True, None, [], {}, [7], [[]], {"a": 1}, "http://[", "a b"], ids=repr)
def test_whatever_stands_there_nothing_breaks(tmp_path: Path, idp: str, value: object) -> None:
    names = ("issuer", "additional_issuers", "credential_claim", "scopes", "audience", "required_claims")
    more = ("introspection", "introspection_endpoint", "token_params", "auth_methods", "token_endpoint_version")
    mistakes, _ = told(tmp_path, {"idp": idp} | dict.fromkeys((*names, *more), value))
    assert mistakes


def test_settings_in_code_are_not_held_to_defaults_that_nobody_wrote() -> None:
    settings = Settings.model_validate(
        {"strategies": {"okta": OKTA, "auth0": AUTH0, "v1": RIGHT["azure-v1, said twice"]}}
    )
    assert [warning.where for warning in settings.warnings] == ["session", "store"]
    with pytest.raises(ValueError, match="Entra alone"):
        Settings.model_validate({"strategies": {"okta": OKTA | {"token_endpoint_version": "v2"}}})


@pytest.mark.parametrize("demand", ["required_scopes", "required_claims"])
def test_what_cannot_be_looked_for_in_a_graph_token_refuses_every_pair(tmp_path: Path, demand: str) -> None:
    value: object = ["Orders.Read"] if demand == "required_scopes" else {"tenant": "acme"}
    strategy = without(AZURE, "audience", scopes=GRAPH, **{demand: value})
    assert any(f"{demand} cannot be looked for in it" in warning for warning in told(tmp_path, strategy)[1])
