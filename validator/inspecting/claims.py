"""Whether the claims that are to name the application are there at all, in the tokens of this identity provider.

Law of this file: it goes by what is known of the provider; no token is seen.
"""

from collections.abc import Sequence

from validator.core import trust
from validator.core.trust import TrustedPlace
from validator.inspecting.findings import Findings
from validator.model import Method
from validator.settings import Strategy
from validator.wiring import parts


def usable(strategy: Strategy, trusted: TrustedPlace) -> list[str]:
    """Those of an issuer's claims that its access tokens may carry."""
    # Entra's two names for one thing are each issuer's own here, whichever was written (``core.trust``).
    return [claim for claim in trusted.claims if claim not in strategy.provider.never_issues]


def judge(report: Findings, strategy: Strategy, places: Sequence[TrustedPlace]) -> None:
    """An introspection answer may name what a token does not; where it alone is believed, nothing is known."""
    if strategy.introspects and (parts.introspects_everything(strategy) or not _readable(strategy)):
        return
    if any(usable(strategy, trusted) for trusted in places):
        return
    provider = strategy.provider
    written = " or ".join(f"`{claim}`" for claim in dict.fromkeys(c for p in places for c in p.claims))
    why = (
        f"access tokens of {provider.title} do not carry {written}; write "
        f"credential_claim: [{', '.join(provider.claims)}]"
    )
    report.stops(Method.BEARER, why)
    if _readable(strategy) and not strategy.trust_token_response:
        report.stops(Method.CLIENT_CREDENTIALS, why)  # what is minted is read in the same way


def _readable(strategy: Strategy) -> bool:
    """Whether each of its access tokens is a JWT: nothing is looked for in opaque ones."""
    if strategy.idp == "auth0":
        return bool(strategy.audience)
    return strategy.idp in {"okta", "keycloak"} or trust.is_entra(strategy.idp)
