"""A strategy may be given as Konnect has it: what its documents print becomes a strategy that can work, and what
is changed on the way, or cannot work, is told at its line."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from validator.settings import Mistake, Settings, SettingsError, Strategy, read, read_konnect
from validator.settings.expansion import json_text, read_body
from validator.settings.konnect import convert, slug
from validator.settings.mistakes import Caution, Problem

PRINTED = Path(__file__).parent / "konnect"  # verbatim, as the documents print them
GUID = "11111111-1111-1111-1111-111111111111"


def printed(name: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((PRINTED / f"{name}.json").read_text())
    return body


def body(issuer: str = "https://idp.example.com", **config: Any) -> dict[str, Any]:
    """A body that names no identity provider, and nothing that is not asked for."""
    top = {name: config.pop(name) for name in ("name", "display_name", "strategy_type") if name in config}
    return {"name": "Orders", **top, "configs": {"openid-connect": {"issuer": issuer, **config}}}


def texts(found: tuple[Problem | Caution, ...]) -> list[str]:
    return [f"{'.'.join(map(str, item.path))}: {getattr(item, 'text', None) or item.expected}" for item in found]


def write(directory: Path, name: str, content: object) -> Path:
    path = directory / name
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1))
    path.chmod(0o600)
    return path


def mistakes(path: Path, **environ: str) -> tuple[Mistake, ...]:
    with pytest.raises(SettingsError) as caught:
        read(path, environ)
    return caught.value.mistakes


# The documents' own


def test_the_documents_azure_strategy_asks_for_graph_and_trusts_the_answer() -> None:
    converted = convert(printed("azure-auth"), {})
    assert converted.strategy == {
        "idp": "azure",
        "issuer": "https://sts.windows.net/YOUR_TENANT_ID",
        "credential_claim": ["client_id"],  # honoured, though Entra never issues it; check warns
        "scopes": ["https://graph.microsoft.com/.default"],
        "trust_token_response": True,
        "auth_methods": ["client_credentials", "bearer"],
    }
    left_out, graph = texts(converted.found)
    assert left_out == (
        "configs.openid-connect.scopes: openid, email: about a user, and client credentials have none; left out"
    )
    assert "https://graph.microsoft.com/.default is asked for, as Konnect's documents print it" in graph


def test_the_documents_okta_strategy_has_an_issuer_of_auth0() -> None:
    converted = convert(printed("okta-auth"), {})
    assert converted.strategy == {
        "idp": "auth0",
        "issuer": "https://my-issuer.auth0.com/",
        "credential_claim": ["client_id"],
        "auth_methods": ["client_credentials", "bearer"],
    }
    contradiction, audience, scopes = texts(converted.found)
    assert contradiction.startswith(
        "strategy_type: strategy_type 'okta' says okta, but the issuer's host says auth0"
    )
    assert "the audience of Auth0's Management API and no issuer" in audience
    assert scopes.startswith("configs.openid-connect.scopes: openid, email")


# Whose ways apply


@pytest.mark.parametrize(
    ("issuer", "idp"),
    [
        (f"https://sts.windows.net/{GUID}", "azure"),
        (f"https://login.microsoftonline.com/{GUID}/v2.0", "azure"),
        (f"https://login.microsoftonline.us/{GUID}/v2.0", "azure"),
        ("https://my-issuer.okta.com/oauth2/default", "okta"),
        ("https://my-issuer.oktapreview.com/oauth2/default", "okta"),
        ("https://my-issuer.okta-emea.com/oauth2/default", "okta"),
        ("https://agency.okta-gov.com/oauth2/default", "okta"),
        ("https://agency.okta.mil/oauth2/default", "okta"),
        ("https://my-issuer.eu.auth0.com", "auth0"),
        (f"http://127.0.0.1:9000/{GUID}/v2.0/.well-known/openid-configuration", "azure"),
        (f"http://127.0.0.1:9000/{GUID.upper()}/", "azure"),
        ("https://login.example.com/oauth2/aus123", "okta"),
        ("https://id.example.com/oauth/v2/oauth-anonymous/.well-known/openid-configuration", "curity"),
        ("https://id.example.com/profile/oauth-anonymous", "curity"),
        ("https://sso.example.com/realms/orders", "keycloak"),
        ("https://sso.example.com/auth/realms/orders/", "keycloak"),
        ("https://idp.example.com", "generic"),
        ("https://notokta.com", "generic"),
        ("https://okta.com.example.com", "generic"),
        ("http://[", "generic"),
        ("", "generic"),
    ],
)
def test_the_issuer_tells_whose_ways_apply(issuer: str, idp: str) -> None:
    converted = convert(body(issuer), {})
    assert converted.strategy["idp"] == idp
    said = [text for text in texts(converted.found) if "nothing here names the identity provider" in text]
    assert bool(said) is (idp == "generic")


@pytest.mark.parametrize(
    ("members", "idp"),
    [
        ({"strategy_type": "azureAd"}, "azure"),
        ({"strategy_type": "curity", "name": "Okta"}, "curity"),
        ({"strategy_type": "openid_connect", "name": "Our Keycloak"}, "keycloak"),
        ({"display_name": "Microsoft Entra ID"}, "azure"),
        ({"name": "Okta or Auth0"}, "generic"),
    ],
)
def test_where_the_issuer_does_not_tell_the_rest_does(members: dict[str, str], idp: str) -> None:
    assert convert(body(**members), {}).strategy["idp"] == idp


def test_what_says_another_one_is_told_once() -> None:
    converted = convert(body("https://x.okta.com/oauth2/default", strategy_type="auth0", name="Auth0"), {})
    (said,) = texts(converted.found)
    assert said == (
        "strategy_type: strategy_type 'auth0' says auth0, but the issuer's host says okta, which was taken; set "
        "idp if that is wrong"
    )


def test_what_stands_beside_it_wins_and_is_not_argued_with() -> None:
    beside = {"idp": "okta", "issuer": "https://x.okta.com/oauth2/default", "scopes": ["orders"]}
    converted = convert(printed("okta-auth"), beside)
    assert converted.strategy == {
        "credential_claim": ["client_id"],
        "auth_methods": ["client_credentials", "bearer"],
    }
    assert texts(converted.found) == []


# Claims, scopes, methods


def test_several_claims_are_one_path() -> None:
    assert convert(body(credential_claim=["ctx", "app", "id"]), {}).strategy["credential_claim"] == ["ctx.app.id"]
    url = "https://example.com/client.id"
    assert convert(body(credential_claim=[url]), {}).strategy["credential_claim"] == [url]
    assert "credential_claim" not in convert(body(credential_claim=[]), {}).strategy


@pytest.mark.parametrize("names", [["ctx.app_id"], ["ctx", "app.id"], ["ctx", "https://example.com/id"]], ids=str)
def test_a_dot_within_a_claims_name_is_a_mistake(names: list[str]) -> None:
    found = [item for item in convert(body(credential_claim=names), {}).found if isinstance(item, Problem)]
    assert [item.path for item in found] == [("configs", "openid-connect", "credential_claim")]
    assert "one for each level" in found[0].expected


AZURE = f"https://sts.windows.net/{GUID}"


@pytest.mark.parametrize(
    ("given", "beside", "strategy"),
    [
        ({"scopes": ["api://orders/.default", "openid"]}, {}, {"scopes": ["api://orders/.default"]}),
        ({"scopes": ["openid"]}, {"audience": ["api://orders"]}, {}),
        ({"scopes": ["openid"]}, {"scopes": ["api://orders/.default"]}, {}),
        ({"scopes": ["openid"], "auth_methods": ["bearer"]}, {}, {"auth_methods": ["bearer"]}),
        ({"scopes": ["openid"]}, {"auth_methods": ["bearer"]}, {}),
        ({}, {}, {"scopes": ["https://graph.microsoft.com/.default"], "trust_token_response": True}),
        (
            {"scopes": ["https://graph.microsoft.com/.default"]},
            {},
            {"scopes": ["https://graph.microsoft.com/.default"], "trust_token_response": True},
        ),
    ],
)
def test_graph_is_asked_for_only_where_no_api_is_named(
    given: dict[str, Any], beside: dict[str, Any], strategy: dict[str, Any]
) -> None:
    assert convert(body(AZURE, **given), beside).strategy == {"idp": "azure", "issuer": AZURE, **strategy}


def test_graph_is_that_of_the_tenants_cloud() -> None:
    converted = convert(body(f"https://login.microsoftonline.us/{GUID}/v2.0"), {})
    assert converted.strategy["scopes"] == ["https://graph.microsoft.us/.default"]


@pytest.mark.parametrize(
    ("idp", "kept"),
    [("okta", ["orders"]), ("auth0", ["orders"]), ("curity", ["orders"]), ("generic", ["openid", "orders"])],
)
def test_scopes_about_users_go_where_client_credentials_cannot_have_them(idp: str, kept: list[str]) -> None:
    converted = convert(body(scopes=["openid", "orders"]), {"idp": idp})
    assert converted.strategy["scopes"] == kept
    assert [text for text in texts(converted.found) if "openid" in text] == (
        []
        if "openid" in kept
        else ["configs.openid-connect.scopes: openid: about a user, and client credentials have none; left out"]
    )


def test_methods_that_are_not_ours_are_left_out_unless_nothing_remains() -> None:
    converted = convert(body(auth_methods=["bearer", "introspection"]), {"idp": "generic"})
    assert converted.strategy["auth_methods"] == ["bearer"]
    assert [item.path[2] for item in converted.found] == ["auth_methods"]
    (found,) = convert(body(auth_methods=["password"]), {"idp": "generic"}).found
    assert isinstance(found, Problem)


def test_members_that_are_not_read_are_named_without_their_values() -> None:
    config = {"additional_properties": {"client_secret": "canary"}, "token_endpoint": "https://canary"}
    found = texts(convert(body(**config), {"idp": "generic"}).found)
    assert [text.split(":")[0] for text in found] == [f"configs.openid-connect.{name}" for name in config]
    assert "client_secret" in found[0]
    assert all(
        text.endswith("; if it matters, write the setting of docs/configuration.md for it") for text in found
    )
    assert "canary" not in "".join(found)


@pytest.mark.parametrize(
    ("refused", "where", "words"),
    [
        (
            {"strategy_type": "key_auth", "configs": {"key-auth": {"key_names": ["k"]}}},
            "strategy_type",
            "key_auth",
        ),
        ({"name": "x", "dcr_config": {"dcr_token": "canary"}}, "dcr_config", "an application auth strategy"),
        ({"configs": {"key-auth": {}}}, "configs", "openid-connect"),
        ({"configs": []}, "configs", "openid-connect"),
        ({}, "configs", "found no application auth strategy, expected configs with the section openid-connect"),
        ({"a": 1}, "configs", "found no application auth strategy"),
        (
            {"data": [{"name": "x"}], "meta": {}},
            "data",
            "found a list of Konnect's GET, expected one strategy; save one element of data",
        ),
    ],
)
def test_what_is_no_openid_strategy_is_refused_in_one_sentence(
    refused: dict[str, Any], where: str, words: str
) -> None:
    for name in ("x", None):  # what is no strategy needs no name
        with pytest.raises(SettingsError) as caught:
            read_konnect(json.dumps(refused).encode(), "x.json", name=name)
        (found,) = caught.value.mistakes
        assert found.where == where
        assert words in str(found)
        assert "canary" not in str(found)


def test_the_name_becomes_one_that_a_path_can_hold() -> None:
    assert slug({"name": "Azure Auth"}) == "azure-auth"
    assert slug({"name": "  Ünser/Okta (prod)!  "}) == "nser-okta-prod"
    assert slug({"name": "x" * 100}) == "x" * 64
    assert slug({"name": 7}) == slug({}) == slug({"name": "日本"}) == ""


# How the text is read


def test_what_json_and_yaml_write_differently_is_read_as_json() -> None:
    text = '{\n\t"name":\t"\\ud83d\\ude00 \\/ x",\n\t"n": 1}'
    assert read_body(text)[0] == json.loads(text)
    assert json_text(text) == '{\n "name": "😀 \\/ x",\n "n": 1}'
    assert json_text("key:\tvalue") == "key:\tvalue"  # no JSON, so that a tab may be part of a text


@pytest.mark.parametrize("name", ["azure", "okta"])
def test_the_documents_whole_command_is_read_as_what_it_sends(name: str) -> None:
    text = (PRINTED / f"{name}-command.txt").read_text()
    found, duplicates = read_body(text)
    assert (found, duplicates) == (printed(f"{name}-auth"), [])
    assert found.lines["configs"] == next(
        number for number, line in enumerate(text.splitlines(), start=1) if '"configs"' in line
    )


@pytest.mark.parametrize(
    "command",
    [
        "curl https://x -d '{\"name\": \"the provider'\\''s\"}'",
        'curl https://x --data-raw "{\\"name\\": \\"the provider\'s\\"}"',
        "curl https://x --json='{\"name\": \"the provider'\\''s\"}' --header 'X: {y}'",
        'curl -d \'{"name": "cut off" && curl -d \'{"name": "the provider\'\\\'\'s", "configs": 1}\'',
    ],
)
def test_quotes_are_those_of_a_shell(command: str) -> None:
    assert read_body(command)[0]["name"] == "the provider's"


@pytest.mark.parametrize(
    "text", ["", "[1]", "curl https://x --data @file.json", "{", "curl -d '{'", '{"a": ' * 99]
)
def test_what_is_no_body_is_told(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_konnect(text.encode(), "x.json")
    assert caught.value.mistakes[0].source == "x.json"


# In the configuration


def as_file(directory: Path, beside: str = "") -> Path:
    write(directory, "azure-auth.json", (PRINTED / "azure-auth.json").read_text())
    return write(
        directory,
        "v.yaml",
        f"strategies:\n  azure:\n    konnect_file: azure-auth.json\n{beside}store: {{path: x}}\n",
    )


def expected(**settings: Any) -> Strategy:
    return Strategy.model_validate({**convert(printed("azure-auth"), {}).strategy, **settings})


def test_a_file_in_the_place_of_a_strategy(tmp_path: Path) -> None:
    path = as_file(tmp_path)
    settings = read(path, {})
    assert settings.strategies == {"azure": expected()}
    source = str(tmp_path / "azure-auth.json")
    lines = (PRINTED / "azure-auth.json").read_text().splitlines()
    told = {
        (warning.source, lines[(warning.line or 0) - 1].strip().rstrip("[ ").rstrip(":"))
        for warning in settings.warnings
        if warning.where.startswith("strategies.") and "audience" not in warning.where
    }
    issuer = '"issuer": "https://sts.windows.net/YOUR_TENANT_ID",'
    assert told == {(source, '"scopes"'), (source, '"credential_claim"'), (source, issuer)}


def test_settings_beside_the_file_win(tmp_path: Path) -> None:
    path = as_file(tmp_path, "    audience: [api://orders]\n    credential_claim: [appid]\n")
    settings = read(path, {})
    strategy = settings.strategies["azure"]
    assert strategy.audience == ("api://orders",)
    assert strategy.credential_claim == ("appid",)
    assert strategy.scopes == ()
    assert strategy.trust_token_response is False
    assert not any("raph" in warning.text for warning in settings.warnings)


def test_the_environment_wins_over_the_file_too(tmp_path: Path) -> None:
    environ = {
        "VALIDATOR__STRATEGIES__AZURE__ISSUER": AZURE,
        "VALIDATOR__STRATEGIES__AZURE__AUDIENCE": "api://orders",
    }
    strategy = read(as_file(tmp_path), environ).strategies["azure"]
    assert (strategy.issuer, strategy.audience) == (AZURE, ("api://orders",))


def test_the_file_may_be_named_by_the_environment(tmp_path: Path) -> None:
    as_file(tmp_path)
    path = write(tmp_path, "other.yaml", "log: {level: debug}\n")
    environ = {"VALIDATOR__STRATEGIES__AZURE__KONNECT_FILE": "azure-auth.json"}
    assert read(path, environ).strategies == {"azure": expected()}


def test_a_body_within_the_file(tmp_path: Path) -> None:
    text = (PRINTED / "azure-auth.json").read_text()
    path = write(tmp_path, "v.yaml", f"strategies: {{azure: {text}}}\n")
    assert read(path, {}).strategies == {"azure": expected()}


def test_a_body_within_the_file_forgives_no_misspelt_setting(tmp_path: Path) -> None:
    inline = {**printed("azure-auth"), "audiance": ["api://orders"]}
    (found,) = mistakes(write(tmp_path, "v.yaml", {"strategies": {"azure": inline}}))
    assert found.where == "strategies.azure.audiance"
    assert "did you mean audience?" in found.expected


def test_a_file_that_is_such_a_body_is_one_strategy(tmp_path: Path) -> None:
    settings = read(PRINTED / "azure-auth.json", {})
    assert settings.strategies == {"azure-auth": expected()}
    told = {warning.where: warning.line for warning in settings.warnings}
    assert told["strategies.azure-auth.configs.openid-connect.scopes"] == 11
    more = {**printed("azure-auth"), "audience": ["api://orders"], "partials": 1, "log": {"level": "debug"}}
    settings = read(write(tmp_path, "v.json", more), {"VALIDATOR__STRATEGIES__AZURE_AUTH__LEEWAY_S": "5"})
    assert settings.strategies["azure-auth"].audience == ("api://orders",)
    assert settings.strategies["azure-auth"].leeway_s == 5
    assert settings.log.level == "debug"
    assert [warning.text for warning in settings.warnings if warning.where == "partials"] == ["not read"]


@pytest.mark.parametrize("before", ["", "\n# as the page prints it\n\n$ "], ids=["as printed", "with a remark"])
def test_the_documents_command_is_a_configuration_too(tmp_path: Path, before: str) -> None:
    text = before + (PRINTED / "azure-command.txt").read_text().lstrip()
    settings = read(write(tmp_path, "azure-curl.txt", text), {})
    assert settings.strategies == {"azure-auth": expected()}
    lines = text.splitlines()
    told = {lines[(warning.line or 0) - 1].strip() for warning in settings.warnings if "scopes" in warning.where}
    assert told == {'"scopes": ['}


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (
            "curl https://x/v2/application-auth-strategies",
            1,
            "a command line that sends no JSON, expected the JSON",
        ),
        ('curl https://x -d \'{"name": "x"}\'', 1, "a curl command with no application auth strategy"),
        ('curl https://x \\\n -d \'{"name": "x"\n"configs": 1}\'', 3, "neither JSON nor YAML"),
        ('{"strategies": {}\n"log": {}}', 2, "expected valid JSON; look for a missing comma, brace or quote"),
    ],
)
def test_a_configuration_that_is_no_json_is_not_told_of_yaml(
    tmp_path: Path, text: str, line: int, words: str
) -> None:
    (found,) = mistakes(write(tmp_path, "v.txt", text))
    assert (found.line, found.where) == (line, "")
    assert words in str(found)


@pytest.mark.parametrize("key", ["curl", "curly"])
def test_yaml_that_names_a_tool_is_yaml(tmp_path: Path, key: str) -> None:
    text = f"{key}: https://x\nstrategies: {{p: {{idp: generic, issuer: 'https://idp.example.com'}}}}\n"
    (found,) = mistakes(write(tmp_path, "v.yaml", text))
    assert (found.where, found.line) == (key, 1)


def test_warnings_come_in_the_order_of_their_lines(tmp_path: Path) -> None:
    warnings = read(PRINTED / "azure-auth.json", {}).warnings
    assert [w.line for w in warnings] == sorted(w.line or 0 for w in warnings)
    # Those of a file that is named come after those of the file that names it.
    for name in ("b.json", "a.json"):
        write(tmp_path, name, printed("azure-auth"))
    text = "strategies: {b: {konnect_file: b.json}, a: {konnect_file: a.json}}\nlisten: {data: '0.0.0.0:1'}\n"
    path = write(tmp_path, "v.yaml", text)
    told = [(w.source != str(path), w.source, w.line or 0) for w in read(path, {}).warnings]
    assert told == sorted(told)
    assert {source for _, source, _ in told} == {str(path), str(tmp_path / "a.json"), str(tmp_path / "b.json")}


def test_the_documents_azure_strategy_lets_no_bearer_token_pass(tmp_path: Path) -> None:
    """Nor is it said that tokens for every audience do."""
    texts = [warning.text for warning in read(PRINTED / "azure-auth.json", {}).warnings]
    (claim,) = [text for text in texts if "credential_claim" in text]
    assert "but in appid or azp, so every bearer token is refused (claim_missing): write" in claim
    assert not any("every audience" in text for text in texts)


def test_a_file_with_both_is_a_configuration_with_an_unknown_key(tmp_path: Path) -> None:
    both = {**printed("azure-auth"), "strategies": {"p": {"idp": "generic", "issuer": "https://idp.example.com"}}}
    assert {found.where for found in mistakes(write(tmp_path, "v.json", both))} >= {"configs"}


BAD_FILES = {
    "missing": (None, 3, "konnect_file", "does not exist"),
    "no JSON": ('{\n"name": "x",\n]', 3, "konnect_file", "look for a missing comma, brace or quote"),
    "a list": ("[]", 1, "konnect_file", "a list"),
    "key auth": ('{\n"strategy_type": "key_auth"}', 2, "strategy_type", "no identity provider"),
    "issuer": (
        '{"configs": {"openid-connect": {\n"issuer": "nowhere"}}}',
        2,
        "issuer",
        "begins with https://",
    ),
    "no issuer": ('{"configs": {\n"openid-connect": {}}}', 2, "issuer", "found nothing"),
    "scopes": (
        '{"configs": {"openid-connect": {"issuer": "https://idp.example.com",\n"scopes": [1]}}}',
        2,
        "scopes.0",
        "put quotes around it",
    ),
    "twice": (
        '{"name": "a", "configs": {"openid-connect": {"issuer": "https://idp.example.com"}},\n"name": "b"}',
        2,
        "name",
        "a second time",
    ),
}


@pytest.mark.parametrize(("content", "line", "where", "words"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_is_told_at_its_own_line(
    tmp_path: Path, content: str | None, line: int, where: str, words: str
) -> None:
    if content is not None:
        write(tmp_path, "auth.json", content)
    path = write(tmp_path, "v.yaml", "strategies:\n  a:\n    konnect_file: auth.json\n")
    (found,) = mistakes(path)
    assert (found.line, found.where) == (line, f"strategies.a.{where}")
    assert found.source == str(path if content is None else tmp_path / "auth.json")
    assert words in str(found)


def test_a_file_and_a_body_at_once_are_a_mistake(tmp_path: Path) -> None:
    strategy = {"konnect_file": "a.json", **printed("azure-auth")}
    (found,) = mistakes(write(tmp_path, "v.yaml", {"strategies": {"a": strategy}}))
    assert found.found == "both konnect_file and configs"


def test_every_mistake_of_several_is_told_at_once(tmp_path: Path) -> None:
    write(tmp_path, "a.json", body(credential_claim=["a.b"]))
    strategies = {"a": {"konnect_file": "a.json"}, "b": {"konnect_file": "b.json"}, "c": {"konnect_file": 7}}
    found = mistakes(write(tmp_path, "v.yaml", {"strategies": strategies, "log": {"x": 1}}))
    assert {mistake.where for mistake in found} == {
        "strategies.a.configs.openid-connect.credential_claim",
        "strategies.b.konnect_file",
        "strategies.c.konnect_file",
        "log.x",
    }


def test_settings_in_code_take_no_file() -> None:
    with pytest.raises(ValueError, match="konnect_file"):
        Settings.model_validate({"strategies": {"a": {"konnect_file": "a.json"}}})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
ISSUER = st.sampled_from(["https://idp.example.com", AZURE, "https://x.auth0.com/api/v2/", "http://[", "{x}"])
CONFIG = st.fixed_dictionaries(
    {},
    optional={"issuer": ISSUER | JSON, **dict.fromkeys(("credential_claim", "scopes", "auth_methods", "x"), JSON)},
)
BODY = st.fixed_dictionaries(
    {"configs": st.fixed_dictionaries({"openid-connect": CONFIG}) | JSON},
    optional=dict.fromkeys(("name", "display_name", "strategy_type", "dcr_provider", "labels"), JSON),
)


@given(BODY, st.sampled_from([None, "azure", "okta", "auth0", "curity", "generic"]))
def test_whatever_a_body_holds_it_is_a_strategy_or_told(content: dict[str, Any], idp: str | None) -> None:
    with contextlib.suppress(SettingsError):
        found = read_konnect(json.dumps(content).encode(), "x.json", name="x", idp=idp)
        assert Strategy.model_validate(found.strategy)
