"""Whose issuer it is, as its address alone tells, held against the ``idp`` of the strategy.

Law of this file: what an address gives away. A wrong ``idp`` is worth a warning and no refusal: a strategy that
says by hand what its provider does otherwise may well work.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from validator.core import entra, trust
from validator.core.providers import PROVIDERS
from validator.settings.mistakes import Caution, Path

_DOMAINS: Final = {
    "okta.com": "okta", "oktapreview.com": "okta", "okta-emea.com": "okta", "okta-gov.com": "okta",
    "okta.mil": "okta", "auth0.com": "auth0", "identity.konghq.com": "kong-identity",
}  # fmt: skip
_WELL_KNOWN: Final = "/.well-known/"
_REALMS: Final = "/realms/"


def provider_of_host(issuer: str) -> str | None:
    """The ``idp`` that an issuer's host belongs to, or ``None``: the host tells nothing.

    Raises:
        ValueError: it is no URL.
    """
    host = (urlsplit(issuer).hostname or "").lower()
    if entra.is_microsoft(issuer):
        return "azure"
    return next((idp for domain, idp in _DOMAINS.items() if f".{host}".endswith(f".{domain}")), None)


def issuer_findings(path: Path, strategy: Mapping[str, Any], *, asks_about_all: bool) -> Iterator[Caution]:
    """What the issuer of the strategy at ``path`` says against its ``idp``.

    Args:
        asks_about_all: whether every token is asked about by introspection.
    """
    idp, issuer = strategy.get("idp"), strategy.get("issuer")
    if not isinstance(idp, str) or not isinstance(issuer, str):
        return
    at: Path = (*path, "issuer")
    try:
        hosted, place = provider_of_host(issuer), urlsplit(issuer).path
    except ValueError:
        return
    if hosted and hosted != idp and not (hosted == "azure" and trust.is_entra(idp)):
        yield Caution(at, _text(hosted, org=_is_org_server(hosted, place) and not asks_about_all))
    elif idp == "keycloak" and _REALMS not in place:
        yield Caution(
            at, "no realm in it, and an issuer of Keycloak names one: https://{host}/realms/{realm}; compare it"
        )


def _is_org_server(hosted: str, place: str) -> bool:
    return hosted == "okta" and not place.partition(_WELL_KNOWN)[0].strip("/") and "/oauth2/" not in place


def _text(hosted: str, *, org: bool) -> str:
    provider = PROVIDERS[hosted]
    refuses = "" if provider.user_scopes else " and which scopes it refuses"
    text = f"this is an issuer of {provider.title}: write idp: {hosted}, which knows where it writes the client id"
    if not org:
        return f"{text}{refuses}"
    return (
        f"{text}{refuses}; another idp does not get round what is refused there: Okta has the tokens of its org "
        "authorization server treated as opaque, so take a custom one (https://{domain}/oauth2/{id}) or "
        "introspection with tokens: all"
    )
