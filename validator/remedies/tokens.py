"""What to do about a token that was refused.

Law of this file: advice by reason and identity provider; it decides nothing.
"""

from collections.abc import Mapping
from typing import Any

from validator.core import entra, trust
from validator.core.durations import duration
from validator.core.jws import looks_opaque
from validator.model import BearerToken, ClientCredentials
from validator.remedies.situation import Situation, token_request
from validator.settings import Strategy
from validator.words import listed, look_alikes


def malformed(situation: Situation) -> list[str]:
    if isinstance(situation.credential, BearerToken) and looks_opaque(situation.credential.token):
        return _opaque(situation)
    if situation.token is not None:
        return ["have the identity provider issue tokens as RFC 7519 says; the reason names what is wrong"]
    return ["copy the whole token, three parts with a dot between them; if it is whole, ask for a new one"]


def _opaque(situation: Situation) -> list[str]:
    strategy = situation.strategy
    if strategy.idp == "auth0":
        return [
            (
                "Auth0 hands out an opaque token, good for its /userinfo alone, when the request names no API: "
                "send `audience` with the API's identifier"
            ),
            token_request(situation),
        ]
    if strategy.idp == "okta":
        return [strategy.provider.opaque_because, token_request(situation)]
    by_introspection = [
        f"have the identity provider asked about opaque tokens (introspection): add to strategy {situation.name}",
        (
            "  introspection: {client_id: <a client that may introspect>, client_secret_file: <a file with its "
            "secret>}"
        ),
    ]
    if strategy.idp == "curity":
        return [*by_introspection, "or switch on `Use Access Token as JWT` in Curity's token issuer"]
    return [*by_introspection, "or have the identity provider issue signed tokens (JWT)"]


def encrypted(situation: Situation) -> list[str]:
    where = "for this API in Auth0" if situation.strategy.idp == "auth0" else "at the identity provider"
    text = "only the holder of a private key can read this token (JWE), and the sidecar holds none"
    return [f"{text}: switch token encryption off {where}, so that tokens are signed alone, and ask for a new one"]


def algorithm(situation: Situation) -> list[str]:
    alg = situation.token.alg if situation.token is not None else ""
    if alg.upper().startswith("HS"):
        where = "the API's settings in Auth0" if situation.strategy.idp == "auth0" else "the identity provider"
        return [
            f"set the signing algorithm to RS256 in {where}, and ask for a new token",
            token_request(situation),
        ]
    if alg.lower() == "none":
        return ["this token is not signed, so anyone could have written it: ask the identity provider for one"]
    accepted = ", ".join(situation.strategy.algorithms)
    return [f"have the identity provider sign with one of {accepted}, or change `algorithms` of the strategy"]


def key_unknown(situation: Situation) -> list[str]:
    lines = [
        (
            "the issuer does not publish the key that this token names: ask for a new token; if that one fails "
            "too, it comes from another environment than the strategy's"
        ),
        token_request(situation),
    ]
    if trust.is_entra(situation.strategy.idp):
        lines.append(
            "an API of Entra with a signing key of its own (SAML sign-on, claims mapping) shows it in its own "
            "document alone: set issuer to https://login.microsoftonline.com/<tenant>/v2.0/.well-known/"
            "openid-configuration?appid=<the API's client id>"
        )
    return lines


def signature(situation: Situation) -> list[str]:
    text = "the token is not what the issuer signed (cut, altered or forged): copy it whole, or ask for a new one"
    return [text, token_request(situation)]


def expired(situation: Situation) -> list[str]:
    exp = situation.claim("exp")
    since = f"it expired {duration(situation.now - exp)} ago: " if isinstance(exp, int | float) else ""
    ask = "ask for a new one, and from then on whenever `expires_in` of the reply is nearly over"
    return [since + ask, token_request(situation)]


def not_yet_valid(situation: Situation) -> list[str]:
    return [
        (
            "the clocks of the identity provider and of this machine differ: set this machine's clock (NTP), or "
            f"allow some seconds with leeway_s in strategy {situation.name}"
        )
    ]


def audience(situation: Situation) -> list[str]:
    found, wanted = situation.claim("aud"), situation.strategy.audience
    lines = [
        f"the token is for:              {listed(found) if found is not None else 'nobody (no `aud`)'}",
        f"the strategy takes tokens for: {', '.join(wanted)}",
    ]
    if trust.is_entra(situation.strategy.idp) and situation.claim("ver") == "2.0":
        lines.append("a v2.0 token of Entra names the API by its client id (a GUID), never by its URI")
    return [
        *lines,
        "if that is this API under another name, add the name to `audience`; if not, ask for a token for this API",
        token_request(situation),
    ]


def token_type(situation: Situation) -> list[str]:
    detail = situation.error.detail
    if detail.startswith("an ID token"):
        return ["send `access_token` of the token endpoint's reply, not `id_token`"]
    if detail.startswith("typ is"):
        return ["if the identity provider marks its access tokens so, add it to token_types of the strategy"]
    if detail.startswith("the token is bound"):
        return ["ask for a plain bearer token: without DPoP, and without a client certificate"]
    if detail.startswith("sub names a user"):
        return [
            (
                "the strategy finds applications by `sub`, and that is a person here: ask for a token by the "
                "client credentials grant, without openid"
            ),
            token_request(situation),
            (
                "or have the identity provider write the client id into a claim of its own, and name that in "
                "credential_claim"
            ),
        ]
    return ["send an access token that was made for an API; the strategy's required_claims say how it is marked"]


def scope(situation: Situation) -> list[str]:
    required = " ".join(situation.strategy.required_scopes)
    if isinstance(situation.credential, ClientCredentials):
        options, where = situation.grant[1], f"in scopes of strategy {situation.name}"
        sent = (*options.scopes, *options.parameters.get("scope", "").split())
        if not sent and "resource" not in options.parameters:  # which Entra's v1 has instead
            if required:
                return [f"the strategy asks for no scope: name {required} {where}, and grant it to this client"]
            text = "the strategy asks for no scope, and the identity provider has no default one: name a scope of"
            return [f"{text} yours {where}"]
        asked = " ".join(dict.fromkeys((*sent, *situation.strategy.required_scopes)))
        return [f"grant this client at the identity provider what the strategy asks for: {asked}"]
    return [
        f"every token must have {required}: grant that to the client at the identity provider, and ask for it",
        token_request(situation, {**situation.grant[1].parameters, "scope": required}),
    ]


def claim(situation: Situation) -> list[str]:
    token = situation.token
    if token is None:
        return ["the reason names what is missing; have the identity provider put it into its answer"]
    if "exp" not in token.payload:
        return ["have the identity provider issue tokens that end (`exp`)"]
    if not situation.error.detail.startswith("none of the claims"):
        return ["the strategy's required_claims or credential_claim ask for what the reason names"]
    names, written = _naming(situation.strategy, token.payload)
    if not names:
        return [
            (
                "the token has no claim that looks like a client id: have the identity provider add one, and name "
                "it in credential_claim"
            )
        ]
    unless = " (if a person's token never has the name of an application there)" if names[0] == "sub" else ""
    return [
        f"the token has {', '.join(f'`{name}`' for name in names)}: set in strategy {situation.name}{unless}",
        f"  credential_claim: [{', '.join(written)}]",
    ]


def _naming(strategy: Strategy, payload: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Claims of a token that may hold the client id, and what to write: as `validator check` has it, where the
    provider's own are among them."""
    provider = strategy.provider
    found = look_alikes(payload)
    if usual := [name for name in found if name in provider.claims and name != "sub"]:
        return usual, list(provider.claims)
    found = [name for name in found if name != "sub" or "sub" not in provider.never_issues]
    found = [name for name in found if name != "sub"] or found  # which is more often a person
    return found, found[:1]


def graph(situation: Situation) -> list[str]:
    strategy = situation.strategy
    instead = entra.scope_instead(strategy.audience, strategy.scopes)
    v1 = "resource" in situation.grant[1].parameters
    parameters = {"resource": instead.removesuffix("/.default")} if v1 else {"scope": instead}
    asked = " ".join(f"{name}={value}" for name, value in parameters.items())
    lines = [f"ask for a token for your own API in place of Microsoft Graph: {asked}"]
    lines.append(token_request(situation, parameters))
    if "<" in instead:
        lines.append("the API's URI stands in the Azure portal: App registrations, your API, Expose an API")
    if isinstance(situation.credential, ClientCredentials):
        lines.append(_graph_as_proof(strategy))
    return lines


def _graph_as_proof(strategy: Strategy) -> str:
    unseen = " and ".join(strategy.unseen_by_graph)
    proof = "let the token endpoint's answer be the proof of a client id and secret: trust_token_response: true"
    if not unseen:
        return f"or {proof}"
    remove = f"or remove {unseen}: they cannot be looked for in a token for Graph"
    return remove if strategy.trust_token_response else f"{remove}; and {proof}"


def inactive(situation: Situation) -> list[str]:
    return [
        "the identity provider does not know this token, or not any more: ask for a new one",
        token_request(situation),
    ]
