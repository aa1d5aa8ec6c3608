"""What to do about a token of an issuer that the strategy does not trust.

Law of this file: both names are shown, and what tells them apart is named.
"""

from collections.abc import Sequence

from validator.core import entra, trust
from validator.remedies.situation import Situation, token_request
from validator.words import clean, host


def issuer_mismatch(situation: Situation) -> list[str]:
    """Also where the issuer is right and the version or the tenant beside it is not."""
    found = situation.claim("iss")
    trusted = [metadata.issuer if metadata else trusted.place.issuer for trusted, metadata in situation.issuers]
    lines = [f"the token's issuer:    {clean(found) if found is not None else 'none (no `iss`)'}"]
    lines += [f"the strategy's issuer: {clean(issuer)}" for issuer in trusted]
    if not isinstance(found, str) or not host(found):
        return [*lines, "this is no access token of such an issuer: ask for one there", token_request(situation)]
    if found in trusted:
        return [
            *lines,
            "they are the same, but the token contradicts itself: see the reason, and ask for a new one",
        ]
    if trust.is_entra(situation.strategy.idp):
        difference = _tenant(situation, found, trusted)
    elif situation.strategy.idp == "okta" and "/oauth2/" not in found:
        difference = _org_server()
    else:
        difference = []
    return [*lines, *(difference or _spelling(found, trusted) or _elsewhere(situation, found, trusted))]


def _tenant(situation: Situation, found: str, trusted: Sequence[str]) -> list[str]:
    ours = sorted({match[0].lower() for issuer in trusted if (match := entra.GUID.search(issuer))})
    theirs = entra.GUID.search(found)
    if theirs is None or not ours:
        return []
    if theirs[0].lower() not in ours:
        return [
            (
                f"another tenant: the token is of {theirs[0].lower()}, the strategy is for {', '.join(ours)}; ask "
                "for a token in the strategy's tenant, or name the other in additional_issuers if its "
                "applications may call too"
            )
        ]
    takes = " and ".join(f"v{place.version}" for place, _ in situation.issuers if place.version)
    version = situation.claim("ver")
    return [
        (
            f"the same tenant, but another version: the token is v{clean(version)}, and strategy {situation.name} "
            f"(idp: {situation.strategy.idp}) takes {takes}"
        ),
        (
            "the API's manifest decides the version, not the endpoint: change requestedAccessTokenVersion there "
            "(accessTokenAcceptedVersion in older ones), or set idp: azure, which takes both"
        ),
    ]


def _org_server() -> list[str]:
    return [
        (
            "this is a token of Okta's org authorization server, which all but Okta must treat as opaque; ask a "
            "custom authorization server (https://{domain}/oauth2/{id}) for one, the one that the strategy names"
        )
    ]


def _spelling(found: str, trusted: Sequence[str]) -> list[str]:
    for issuer in trusted:
        if found.rstrip("/") == issuer.rstrip("/"):
            return [
                (
                    "they differ in the slash at the end alone, and `iss` must be what the issuer's metadata says "
                    "to the letter: correct the issuer at the identity provider, where the two contradict each "
                    "other"
                )
            ]
        if found.lower() == issuer.lower():
            return ["they differ in upper and lower case alone: correct it at the identity provider"]
        if found.partition("://")[2] == issuer.partition("://")[2]:
            return ["they differ in http and https alone: correct it at the identity provider or in the strategy"]
    return []


def _listed(issuers: Sequence[str]) -> str:
    """The whole list: what is pasted replaces the one that is there."""
    return "[" + ", ".join("'" + issuer.replace("'", "''") + "'" for issuer in issuers) + "]"


def _elsewhere(situation: Situation, found: str, trusted: Sequence[str]) -> list[str]:
    where = host(found)
    if where in map(host, trusted):
        return [
            (
                "the same host, but another issuer there (authorization server, realm or profile): ask for a "
                f"token where strategy {situation.name} looks for it, or change its issuer"
            ),
            token_request(situation),
        ]
    if situation.strategy.idp == "auth0":
        return [
            (
                "Auth0 writes into a token the domain at which it was asked for; if this is a custom domain of "
                f"the same tenant, add to strategy {situation.name}"
            ),
            f"  additional_issuers: {_listed([*situation.strategy.additional_issuers, clean(found)])}",
            "or ask for the token at the strategy's domain",
            token_request(situation),
        ]
    return [
        f"another identity provider: ask for a token at the strategy's, or use the strategy for {clean(where)}",
        token_request(situation),
    ]
