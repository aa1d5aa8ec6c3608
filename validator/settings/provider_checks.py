"""What is known of an identity provider, held against a strategy as it was written.

Law of this file: a rule here follows from how one provider behaves and says so; it skips what is not of the right
shape.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from validator.core import entra, trust
from validator.core.providers import PROVIDERS, USER_SCOPES, Provider
from validator.settings.introspection_checks import asks_about_all, introspects
from validator.settings.issuer_checks import issuer_findings
from validator.settings.mistakes import Caution, Path, Problem, shown
from validator.settings.values import is_loopback

Finding = Problem | Caution
Document = Mapping[str, Any]

_DEFAULT: Final = "/.default"
_TENANT_URL: Final = "https://login.microsoftonline.com/11111111-1111-1111-1111-111111111111/v2.0"
_OKTA_URL: Final = "https://my-issuer.okta.com/oauth2/default"
_MANAGEMENT_API: Final = "/api/v2"
_ENDPOINT_OF_IDP: Final = {"azure-v1": "v1", "azure-v2": "v2"}


def provider_findings(path: Path, strategy: Document, methods: tuple[str, ...]) -> Iterator[Finding]:
    """Everything about the strategy at ``path`` that its identity provider would not go along with.

    Args:
        methods: its ``auth_methods``, with the default where none are written.
    """
    idp = strategy.get("idp")
    provider = PROVIDERS.get(idp) if isinstance(idp, str) else None
    if provider is None:
        return
    yield from issuer_findings(path, strategy, asks_about_all=asks_about_all(strategy))
    yield from _claims(path, strategy, provider, methods)
    yield from _other_names(path, strategy, provider)
    by_secret = "client_credentials" in methods
    if trust.is_entra(provider.name):
        yield from _entra_issuers(path, strategy)
        yield from _entra_versions(path, strategy, provider)
        yield from _entra_resources(path, strategy, methods)
        return
    for name in ("token_endpoint_version", "trust_token_response"):
        if strategy.get(name) is not None:
            yield Problem((*path, name), shown((*path, name), strategy[name]), "it with Entra alone (idp: azure)")
    if by_secret:
        yield from _user_scopes(path, strategy, provider)
    if provider.name == "okta":
        yield from _okta(path, strategy, by_secret=by_secret)
    elif provider.name == "auth0":
        yield from _auth0(path, strategy)
    elif provider.name == "curity":
        yield from _curity(path, strategy, provider)


def audience_findings(path: Path, strategy: Document, methods: tuple[str, ...]) -> Iterator[Finding]:
    """What follows where no audience is set: one sentence of all of it."""
    if strategy.get("audience"):
        return
    idp = strategy.get("idp")
    provider = PROVIDERS.get(idp) if isinstance(idp, str) else None
    follows = []
    params = strategy.get("token_params")
    if (
        provider is not None
        and provider.audience_parameter
        and "client_credentials" in methods
        and not (isinstance(params, Mapping) and provider.audience_parameter in params)
    ):
        follows.append(
            f"without the identifier of an API, {provider.title} refuses client credentials or answers with an "
            "opaque token, unless the tenant has a default audience"
        )
    none_passes = provider is not None and _foreign_claims(strategy, provider)[1] and _gets_graph_alone(strategy)
    if "bearer" in methods and not reads_own_subject(strategy) and not none_passes:
        follows.append("tokens for every audience of this issuer pass")
    if follows:
        yield Caution((*path, "audience"), f"audience is not set: {'; and '.join(follows)}")


def reads_own_subject(strategy: Document) -> bool:
    """Whether tokens count only where ``aud`` names the client itself: ``sub`` without an audience."""
    provider = PROVIDERS.get(str(strategy.get("idp")))
    if provider is None:
        return False
    claims = _texts(strategy, "credential_claim") or provider.claims
    return provider.people and claims[0] == "sub" and not introspects(strategy)


def _texts(strategy: Document, name: str) -> tuple[str, ...]:
    value = strategy.get(name)
    value = value.split() if isinstance(value, str) else value
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list | tuple) else ()


def _host_and_path(url: object) -> tuple[str, str] | None:
    """Host and path of an issuer, however its discovery document was pasted; ``None``: it is no URL."""
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
    except ValueError:
        return None
    if parts is None or not parts.hostname:
        return None
    before, well_known, after = parts.path.partition("/.well-known/")
    # RFC 8414 section 3.1 puts the issuer's path behind.
    inserted = f"/{after.partition('/')[2]}" if well_known and not before and "/" in after else before
    return parts.hostname.lower(), inserted.rstrip("/")


def _authority(url: object) -> str:
    """Host and port, of what is a URL."""
    return urlsplit(str(url)).netloc.lower()


def _user_scopes(path: Path, strategy: Document, provider: Provider) -> Iterator[Finding]:
    about_users = [scope for scope in _texts(strategy, "scopes") if scope in USER_SCOPES]
    if about_users and not provider.user_scopes:
        yield Caution(
            (*path, "scopes"),
            f"{', '.join(about_users)}: about a user, and client credentials have none; never sent to "
            f"{provider.title}",
        )


# All


def _foreign_claims(strategy: Document, provider: Provider) -> tuple[list[str], bool]:
    """Those in which the provider never issues the client id, and whether no other is left."""
    # Whoever names either of Entra's two claims means both.
    same = set(entra.CLAIM_OF_VERSION.values()) if trust.is_entra(provider.name) else set()
    claims = _texts(strategy, "credential_claim")
    foreign = [claim for claim in claims if claim in provider.never_issues - same]
    return foreign, bool(foreign) and len(foreign) == len(claims)


def _claims(path: Path, strategy: Document, provider: Provider, methods: tuple[str, ...]) -> Iterator[Finding]:
    foreign, alone = _foreign_claims(strategy, provider)
    # A sub is there and names somebody else; and an answer about a token has claims of its own (RFC 7662).
    refused = alone and "bearer" in methods and "sub" not in foreign and not introspects(strategy)
    so = ", so every bearer token is refused (claim_missing)" if refused else ""
    for claim in foreign:
        right = " or ".join(provider.claims)
        yield Caution(
            (*path, "credential_claim"),
            f"access tokens of {provider.title} do not carry the client id in {claim} but in {right}{so}: write "
            f"credential_claim: [{', '.join(provider.claims)}], or leave it out",
        )


def _other_names(path: Path, strategy: Document, provider: Provider) -> Iterator[Finding]:
    issuer = strategy.get("issuer")
    first = _host_and_path(issuer)
    for index, other in enumerate(_texts(strategy, "additional_issuers")):
        at: Path = (*path, "additional_issuers", index)
        if first is not None and _host_and_path(other) == first and _authority(other) == _authority(issuer):
            yield Problem(at, shown(at, other), "another name than the issuer itself has")
        elif trust.is_entra(provider.name) and _tenant_name(other).lower() == _tenant_name(issuer).lower() != "":
            yield Problem(
                at,
                shown(at, other),
                "another tenant's: both issuers of the tenant are trusted already (for the keys of one API, paste "
                "the discovery URL with ?appid= as the issuer of a strategy of its own)",
            )


# Microsoft Entra ID


def _tenant_name(url: object) -> str:
    try:
        tenant = entra.tenant(url) if isinstance(url, str) else None
    except ValueError:
        return ""
    return tenant.name if tenant else ""


def _entra_issuers(path: Path, strategy: Document) -> Iterator[Finding]:
    named: list[tuple[Path, object]] = [((*path, "issuer"), strategy.get("issuer"))]
    for index, other in enumerate(_texts(strategy, "additional_issuers")):
        named.append(((*path, "additional_issuers", index), other))
    for at, url in named:
        if not isinstance(url, str) or _host_and_path(url) is None:
            continue
        tenant = _tenant_name(url)
        if tenant.lower() in entra.MANY_TENANTS:
            expected = "the issuer of your own tenant: this one stands for many, and would let in all of them"
            yield Problem(at, shown(at, url), expected, _TENANT_URL)
        elif not tenant and entra.is_microsoft(url):
            expected = "the tenant's issuer and nothing else: the host, the tenant's id, and /v2.0 or nothing"
            yield Problem(at, shown(at, url), expected, _TENANT_URL)
        elif not tenant:
            text = "no tenant in it, so that nothing binds a token's version and tenant to this issuer"
            yield Caution(at, text)
        elif not entra.GUID.fullmatch(tenant) and "." not in tenant:
            yield Caution(at, f"{tenant[:60]!r} looks like no tenant's id or domain; put yours in its place")


def _entra_versions(path: Path, strategy: Document, provider: Provider) -> Iterator[Finding]:
    only = _ENDPOINT_OF_IDP.get(provider.name)
    version = strategy.get("token_endpoint_version")
    if only and version in {"v1", "v2"} and version != only and strategy.get("token_endpoint") is None:
        at: Path = (*path, "token_endpoint_version")
        yield Problem(
            at,
            shown(at, version),
            f"{only} with idp {provider.name}; idp: azure accepts the tokens of both, whichever endpoint is asked",
            f"token_endpoint_version: {only}",
        )
    if introspects(strategy) and strategy.get("introspection_endpoint") is None:
        yield Caution((*path, "introspection"), "Entra has no introspection endpoint; nothing can be asked")


def _entra_resources(path: Path, strategy: Document, methods: tuple[str, ...]) -> Iterator[Finding]:
    audience, scopes = _texts(strategy, "audience"), _texts(strategy, "scopes")
    for index, value in enumerate(audience):
        if entra.is_graph(value):
            text = "Microsoft Graph's: its tokens can be verified by Graph alone and are refused as bearer tokens"
            yield Caution((*path, "audience", index), text)
    if "client_credentials" not in methods:
        return
    at: Path = (*path, "scopes")
    unsent = [scope for scope in scopes if not scope.endswith(_DEFAULT)]
    if unsent:
        yield Caution(
            at,
            f"{', '.join(unsent)[:100]}: left out; to client credentials Entra grants nothing but the /.default "
            "of one API, as in api://orders/.default",
        )
    resources = {scope.lower().removesuffix(_DEFAULT).rstrip("/") for scope in scopes if scope not in unsent}
    if len(resources) > 1:
        expected = "one API's: Entra refuses a request for two at once"
        yield Problem(at, f"the /.default of {len(resources)} APIs", expected, "scopes: [api://orders/.default]")
        return
    params = strategy.get("token_params")
    if isinstance(params, Mapping) and {"scope", "resource"} & params.keys():
        return
    if _gets_graph_alone(strategy):
        untrusted = strategy.get("trust_token_response") is False
        refused = "trust_token_response: false" if untrusted else ""
        unseen = [name for name in ("required_scopes", "required_claims") if strategy.get(name)]
        if not refused and unseen:
            refused = f"{' and '.join(unseen)} cannot be looked for in it"
        yield Caution(at, _graph_text(refused))


def _gets_graph_alone(strategy: Document) -> bool:
    """Whether the one token that a client of Entra is told to ask for is Microsoft Graph's."""
    issuer = strategy.get("issuer")
    base = str(issuer) if _host_and_path(issuer) is not None else ""
    asked = entra.grant_resource(base, _texts(strategy, "audience"), _texts(strategy, "scopes"))
    return trust.is_entra(str(strategy.get("idp"))) and entra.is_graph(asked)


def _graph_text(refused: str) -> str:
    better = "better: register an API, and write audience: [api://orders] and scopes: [api://orders/.default]"
    asked = "only a token for Microsoft Graph can be asked for, which nobody but Graph can verify"
    if not refused:
        return (
            f"{asked}; so a client id and secret are proved by the token endpoint's answer alone, over TLS "
            f"(trust_token_response), and as a bearer token it is refused; {better}"
        )
    return f"{asked}; so every client id and secret is refused ({refused}); {better}"


# Okta


def _okta(path: Path, strategy: Document, *, by_secret: bool) -> Iterator[Finding]:
    yield from _okta_issuer(path, strategy)
    params = strategy.get("token_params")
    scopes = [scope for scope in _texts(strategy, "scopes") if scope not in USER_SCOPES]
    if by_secret and not scopes and not (isinstance(params, Mapping) and "scope" in params):
        yield Caution(
            (*path, "scopes"),
            "no scope to ask for: Okta refuses client credentials without one, unless the authorization server "
            "has a default scope; name a custom scope of it",
        )


def _okta_issuer(path: Path, strategy: Document) -> Iterator[Finding]:
    at: Path = (*path, "issuer")
    found = _host_and_path(strategy.get("issuer"))
    if found is None or trust.is_custom_okta_server(found[1]):
        return
    why = (
        "Okta has the tokens of its org authorization server treated as opaque, and does not offer it for API "
        "gateways"
        if not found[1]
        else "a custom authorization server of Okta stands under /oauth2/"
    )
    form = "the issuer of a custom authorization server: https://{domain}/oauth2/{id}"
    if asks_about_all(strategy):
        return
    if is_loopback(found[0]):
        yield Caution(at, f"no issuer that Okta has ({why}); right would be {form}")
    elif introspects(strategy):
        where: Path = (*path, "introspection", "tokens")
        section = strategy.get("introspection")
        asked = section.get("tokens") if isinstance(section, Mapping) else None
        yield Problem(where, shown(where, asked or "opaque"), f"all: {why}", "tokens: all")
    else:
        yield Problem(at, shown(at, strategy["issuer"]), f"{form} ({why}; or configure introspection)", _OKTA_URL)


# Auth0


def _auth0(path: Path, strategy: Document) -> Iterator[Finding]:
    found = _host_and_path(strategy.get("issuer"))
    if found is not None and found[1] == _MANAGEMENT_API:
        at: Path = (*path, "issuer")
        expected = "the tenant's own issuer: this is the audience of Auth0's Management API"
        yield Problem(at, shown(at, strategy["issuer"]), expected, f"https://{found[0]}/")


# Curity


def _curity(path: Path, strategy: Document, provider: Provider) -> Iterator[Finding]:
    claims = _texts(strategy, "credential_claim") or provider.claims
    required = strategy.get("required_claims")
    guarded = isinstance(required, Mapping) and bool(required.keys() - provider.required_claims.keys())
    if "sub" in claims and not guarded and strategy.get("audience"):
        # Without an audience aud is the client itself, and tells it from a user.
        yield Caution(
            (*path, "credential_claim"),
            "sub is the user in a user's token, and a user's token for this audience looks like an application's: "
            "have Curity issue client_id and set credential_claim: [client_id], or set required_claims that only "
            "applications' tokens have, so that nobody passes by taking an application's name",
        )
