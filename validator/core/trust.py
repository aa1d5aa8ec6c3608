"""Which issuers a strategy trusts, and what the tokens of each must say.

Law of this file: an issuer is trusted for its own tokens alone: its own keys, its own claims, its own version.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from validator.core import entra
from validator.core.discovery import IssuerPlace
from validator.core.entra import CLAIM_OF_VERSION, Tenant, TokenVersion

_ENTRA: Mapping[str, tuple[TokenVersion, ...]] = {
    "azure": ("1.0", "2.0"),
    "azure-v1": ("1.0",),
    "azure-v2": ("2.0",),
}


@dataclass(frozen=True, slots=True)
class TrustedPlace:
    """One issuer and what its tokens must say.

    Attributes:
        claims: paths of the claims that may hold the client id, in order.
        version: Entra's ``ver``; ``None`` where there is no such thing.
    """

    place: IssuerPlace
    claims: tuple[str, ...]
    version: TokenVersion | None = None
    required_claims: Mapping[str, str] = field(default_factory=dict)


def is_entra(idp: str) -> bool:
    return idp in _ENTRA


def is_custom_okta_server(path: str) -> bool:
    """Whether the path of an issuer of Okta names a custom authorization server; else it is the org's own, whose
    tokens are opaque to all but Okta."""
    before, slash, identifier = path.rstrip("/").partition("/oauth2/")
    return not before and bool(slash) and bool(identifier) and "/" not in identifier


def trusted_places(
    idp: str,
    place: IssuerPlace,
    *,
    additional: Sequence[str] = (),
    claims: tuple[str, ...],
    required_claims: Mapping[str, str],
) -> tuple[TrustedPlace, ...]:
    """The issuers of a strategy, the typed one first.

    Args:
        additional: further issuers of the same tenant, such as a custom domain.
    """
    typed = _entra_places(idp, place, claims, required_claims)
    if not typed:
        typed = (TrustedPlace(place, claims, None, required_claims),)
    others = (
        _entra_places(idp, IssuerPlace(issuer), claims, required_claims)
        or (TrustedPlace(IssuerPlace(issuer), claims, None, required_claims),)
        for issuer in additional
    )
    return (*typed, *(trusted for pair in others for trusted in pair))


def _entra_places(
    idp: str, place: IssuerPlace, claims: tuple[str, ...], required: Mapping[str, str]
) -> tuple[TrustedPlace, ...]:
    """Both issuers of the tenant, or the one of the ``idp``'s version, each with its own claim: ``appid`` and
    ``azp`` are one thing under two names, so that whoever configures either means both."""
    tenant = entra.tenant(place.issuer)
    versions = _ENTRA.get(idp, ())
    if tenant is None or not versions:
        return ()
    if not place.discovery:
        version = tenant.typed_version if tenant.typed_version in versions else versions[0]
        return (TrustedPlace(place, _claims(version, claims), version, required),)
    order = sorted(versions, key=lambda version: version != tenant.typed_version)
    return tuple(_entra_place(tenant, version, order[0], place, claims, required) for version in order)


def _entra_place(
    tenant: Tenant,
    version: TokenVersion,
    first: TokenVersion,
    place: IssuerPlace,
    claims: tuple[str, ...],
    required: Mapping[str, str],
) -> TrustedPlace:
    base = IssuerPlace("") if version != first else place  # what was configured was configured for the typed one
    found = replace(
        base,
        issuer=tenant.issuer_base(version) + tenant.query,
        document=tenant.metadata_url(version),
        # At Microsoft's both exist, so that one which cannot be found there is an outage.
        implied=version != first and not entra.is_microsoft(place.issuer),
    )
    return TrustedPlace(found, _claims(version, claims), version, required)


def _claims(version: TokenVersion, configured: tuple[str, ...]) -> tuple[str, ...]:
    own = CLAIM_OF_VERSION[version]
    named = (own if path in CLAIM_OF_VERSION.values() else path for path in configured)
    return tuple(dict.fromkeys(named))
