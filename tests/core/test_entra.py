"""One tenant of Entra has two issuers, each bound to its version, and tokens for Graph are Graph's alone."""

from typing import Any

import pytest
from core_support import refused

from validator.core import entra, trust
from validator.core.discovery import IssuerPlace, discovery_urls
from validator.core.jws import Jws
from validator.model import Reason

TID = "11111111-aaaa-4111-8111-111111111111"
OTHER = "22222222-aaaa-4222-8222-222222222222"
LOGIN = "https://login.microsoftonline.com"
V1 = f"https://sts.windows.net/{TID}/"
V2 = f"{LOGIN}/{TID}/v2.0"
V1_DOCUMENT = f"{LOGIN}/{TID}/.well-known/openid-configuration"
V2_DOCUMENT = f"{LOGIN}/{TID}/v2.0/.well-known/openid-configuration"
TYPED = [V1, V1.rstrip("/"), V2, V2 + "/", f"{LOGIN}/{TID}", f"{LOGIN}/{TID}/", V1_DOCUMENT, V2_DOCUMENT]


def places(idp: str, typed: str, *claims: str, **more: Any) -> tuple[trust.TrustedPlace, ...]:
    return trust.trusted_places(
        idp, IssuerPlace(typed, **more), claims=claims or ("appid", "azp"), required_claims={}
    )


@pytest.mark.parametrize("typed", TYPED)
def test_a_tenant_is_both_its_issuers_however_it_is_typed(typed: str) -> None:
    found = {trusted.version: trusted for trusted in places("azure", typed)}
    assert {version: discovery_urls(one.place) for version, one in found.items()} == {
        "1.0": (V1_DOCUMENT,),
        "2.0": (V2_DOCUMENT,),
    }
    assert {version: one.claims for version, one in found.items()} == {"1.0": ("appid",), "2.0": ("azp",)}


@pytest.mark.parametrize("typed", TYPED)
@pytest.mark.parametrize(("idp", "document"), [("azure-v1", V1_DOCUMENT), ("azure-v2", V2_DOCUMENT)])
def test_one_version_is_one_issuer(typed: str, idp: str, document: str) -> None:
    (found,) = places(idp, typed)
    assert discovery_urls(found.place) == (document,)
    assert not found.place.implied


@pytest.mark.parametrize(("path", "first"), [("", "1.0"), ("/", "1.0"), ("/v2.0", "2.0")])
@pytest.mark.parametrize(("host", "implied"), [(LOGIN, False), ("https://contoso.ciamlogin.com", True)])
def test_only_the_issuer_that_nobody_typed_may_be_missing_and_none_at_microsoft(
    path: str, first: str, host: str, implied: bool
) -> None:
    assert [(one.version, one.place.implied) for one in places("azure", f"{host}/{TID}{path}")] == [
        (first, False),
        ("2.0" if first == "1.0" else "1.0", implied),
    ]


@pytest.mark.parametrize(
    ("typed", "document"),
    [
        (f"https://login.microsoftonline.us/{TID}", f"https://login.microsoftonline.us/{TID}"),
        (f"https://sts.chinacloudapi.cn/{TID}/", f"https://login.partner.microsoftonline.cn/{TID}"),
        (f"https://contoso.ciamlogin.com/{TID}/v2.0", f"https://contoso.ciamlogin.com/{TID}"),
        (f"http://127.0.0.1:9400/{TID}", f"http://127.0.0.1:9400/{TID}"),
    ],
)
def test_every_cloud_has_its_own_documents(typed: str, document: str) -> None:
    assert {url for one in places("azure", typed) for url in discovery_urls(one.place)} == {
        f"{document}/.well-known/openid-configuration",
        f"{document}/v2.0/.well-known/openid-configuration",
    }


def test_the_keys_of_an_application_of_its_own_are_asked_for_in_both_versions() -> None:
    assert {url for one in places("azure", f"{V1_DOCUMENT}?appid=42") for url in discovery_urls(one.place)} == {
        f"{V1_DOCUMENT}?appid=42",
        f"{V2_DOCUMENT}?appid=42",
    }


@pytest.mark.parametrize("typed", ["http://127.0.0.1:9400", "https://idp.example/a/b"])
def test_an_address_that_names_no_tenant_is_taken_as_it_stands(typed: str) -> None:
    (found,) = places("azure", typed)
    assert (found.place.issuer, found.version, found.claims) == (typed, None, ("appid", "azp"))


@pytest.mark.parametrize("configured", [("appid",), ("azp",), ("appid", "azp")])
def test_naming_one_of_the_two_names_of_a_claim_names_both(configured: tuple[str, ...]) -> None:
    assert {one.version: one.claims for one in places("azure", V1, *configured)} == {
        "1.0": ("appid",),
        "2.0": ("azp",),
    }


def test_a_claim_of_the_operators_own_is_read_in_both_versions() -> None:
    assert all(one.claims[0] == "ext_app" for one in places("azure", V1, "ext_app", "appid"))


def test_without_discovery_the_typed_issuer_is_the_only_one() -> None:
    (found,) = places("azure", V2, jwks_uri=f"{LOGIN}/{TID}/keys", discovery=False)
    assert (found.version, found.place.issuer, found.claims) == ("2.0", V2, ("azp",))


def test_what_was_configured_for_the_typed_issuer_is_not_used_for_the_other() -> None:
    typed, implied = places("azure", V1, jwks_uri="https://keys.example", token_endpoint="https://token.example")
    assert typed.place.jwks_uri == "https://keys.example"
    assert (implied.place.jwks_uri, implied.place.token_endpoint) == (None, None)


# Versions


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("ver", ["1.0", "2.0", "1", "", None, 1, 2.0, ["2.0"], True])
def test_an_issuer_mints_one_version_only(version: entra.TokenVersion, ver: object) -> None:
    if ver == version and isinstance(ver, str):
        entra.check_version({"ver": ver, "tid": TID}, version, V1)
        return
    with refused(Reason.ISSUER_MISMATCH, "ver", version):
        entra.check_version({"ver": ver, "tid": TID}, version, V1)


@pytest.mark.parametrize("tid", [OTHER, "", 7, [TID]])
def test_the_tenant_of_the_token_is_the_issuers(tid: object) -> None:
    with refused(Reason.ISSUER_MISMATCH, "tid"):
        entra.check_version({"ver": "1.0", "tid": tid}, "1.0", V1)


def test_the_case_of_a_tenant_does_not_count() -> None:
    entra.check_version({"ver": "1.0", "tid": TID.upper()}, "1.0", V1)


# Graph


def token(aud: object, **header: object) -> Jws:
    return Jws("RS256", "k", "JWT", dict(header), {"aud": aud}, b"", b"")


@pytest.mark.parametrize(
    "aud",
    [
        "https://graph.microsoft.com",
        "https://graph.microsoft.com/",
        "https://graph.microsoft.us",
        "https://dod-graph.microsoft.us/",
        "00000003-0000-0000-c000-000000000000",
        "00000003-0000-0000-C000-000000000000",
        ["api://orders", "https://graph.microsoft.com"],
    ],
)
def test_a_token_for_graph_is_known_by_its_audience(aud: object) -> None:
    with refused(Reason.TOKEN_FOR_GRAPH, "aud", "scope=api://orders/.default"):
        entra.refuse_graph(token(aud), "api://orders/.default")


def test_a_token_for_graph_is_known_by_the_nonce_in_its_header() -> None:
    with refused(Reason.TOKEN_FOR_GRAPH, "nonce"):
        entra.refuse_graph(token("api://orders", nonce="x"), "api://orders/.default")


@pytest.mark.parametrize(
    "aud", ["api://orders", "https://graph.microsoft.com.attacker.example", "graph.microsoft.com", None, 7, [7]]
)
def test_any_other_token_is_not(aud: object) -> None:
    entra.refuse_graph(token(aud), "api://orders/.default")


@pytest.mark.parametrize(
    ("audiences", "scopes", "instead"),
    [
        (["api://orders"], [], "api://orders/.default"),
        (["api://orders/"], ["openid"], "api://orders/.default"),
        (["guid"], ["api://orders/.default"], "api://orders/.default"),
        ([], ["https://graph.microsoft.com/.default"], "api://<your API>/.default"),
        (["https://graph.microsoft.com"], [], "api://<your API>/.default"),
    ],
)
def test_the_scope_to_ask_for_instead_is_that_of_the_own_api(
    audiences: list[str], scopes: list[str], instead: str
) -> None:
    assert entra.scope_instead(audiences, scopes) == instead


# The grant


@pytest.mark.parametrize(
    ("base", "audiences", "scopes", "resource"),
    [
        (LOGIN, ["api://orders"], [], "api://orders"),
        (LOGIN, ["guid"], ["api://orders/.default"], "api://orders"),
        (LOGIN, ["api://orders"], ["openid", "email"], "api://orders"),
        (LOGIN, [], ["openid", "email"], "https://graph.microsoft.com"),
        (LOGIN, [], ["https://graph.microsoft.com/.default"], "https://graph.microsoft.com"),
        ("https://login.microsoftonline.us/t", [], [], "https://graph.microsoft.us"),
        ("https://login.partner.microsoftonline.cn/t", [], [], "https://microsoftgraph.chinacloudapi.cn"),
    ],
)
def test_one_resource_is_asked_for(base: str, audiences: list[str], scopes: list[str], resource: str) -> None:
    assert entra.grant_resource(base, audiences, scopes) == resource
    assert entra.grant_parameters("v1", resource) == {"resource": resource}
    assert entra.grant_parameters("v2", resource) == {"scope": f"{resource}/.default"}
