"""What a client id and secret would be tried with, and what stands in the way of that.

Law of this file: nobody's secret is tried.
"""

from collections.abc import Mapping, Sequence

from validator.core import entra
from validator.core.oauth import GrantOptions
from validator.inspecting.findings import Findings, Visit
from validator.model import Method
from validator.settings import Strategy
from validator.wiring import parts
from validator.words import clean

_GRANT = "client_credentials"


def tell(report: Findings, strategy: Strategy, visits: Sequence[Visit]) -> None:
    """The token endpoint, what it is sent, and whether a token that comes of it could count."""
    method = Method.CLIENT_CREDENTIALS
    if not strategy.allows(method):
        return
    order = [visits[index] for index in parts.grant_order(strategy, [visit.trusted for visit in visits])]
    visit = next((visit for visit in order if not visit.issuer.absent), order[-1])
    metadata = visit.issuer.metadata
    if metadata is None:
        report.stops(method, f"{visit.trusted.place.issuer} was not reached")
        return
    if metadata.token_endpoint is None:
        report.say("NO TOKEN ENDPOINT: the discovery document names none; configure token_endpoint")
        report.stops(method, "there is no token endpoint at which a client id and secret could be proved")
        return
    options = parts.grant_options(strategy, visit.trusted)
    report.say(f"token endpoint {metadata.token_endpoint}, by {options.auth_method}")
    sent = [f"{name}={value}" for name, value in _parameters(options.scopes, options.parameters).items()]
    report.say(f"a client id and secret are tried there with {' '.join(['grant_type=' + _GRANT, *sent])}", 2)
    if any(entra.is_graph(value) for value in options.parameters.values()):
        _tell_graph(report, strategy)
    report.conditions |= _conditions(strategy, options)
    supported = metadata.token_endpoint_auth_methods
    if supported and options.auth_method not in supported:
        report.say(
            f"note: the issuer says that it supports {clean(', '.join(supported))}; "
            "see token_endpoint_auth_method",
            2,
        )
    elif supported:
        report.say(f"it supports {clean(', '.join(supported))}", 2)
    if metadata.grant_types and _GRANT not in metadata.grant_types:
        report.say(
            f"note: its metadata does not list the grant client_credentials, only "
            f"{clean(', '.join(metadata.grant_types))}",
            2,
        )


def _tell_graph(report: Findings, strategy: Strategy) -> None:
    minted = "what is minted is for Microsoft Graph"
    unseen = strategy.unseen_by_graph
    if unseen:
        report.stops(
            Method.CLIENT_CREDENTIALS,
            f"{minted}, and {' and '.join(unseen)} cannot be looked for in it; ask for your own API in `scopes`",
        )
    elif strategy.trust_token_response:
        report.say(
            f"{minted}, which alone can verify it: the answer of the token endpoint over TLS is the proof "
            "(trust_token_response)",
            2,
        )
    else:
        report.stops(
            Method.CLIENT_CREDENTIALS,
            f"{minted}, which alone can verify it; ask for your own API in `scopes`, or set "
            "trust_token_response: true",
        )


def _conditions(strategy: Strategy, options: GrantOptions) -> Mapping[Method, str]:
    """What only the identity provider's administrator can see."""
    if strategy.idp == "auth0" and "audience" not in options.parameters:
        return {Method.CLIENT_CREDENTIALS: "if the tenant has a default audience"}
    if strategy.idp == "okta" and not options.asked_scopes:
        return {Method.CLIENT_CREDENTIALS: "if the authorization server has a default scope"}
    return {}


def _parameters(scopes: Sequence[str], parameters: Mapping[str, str]) -> dict[str, str]:
    return {**parameters, **({"scope": " ".join(scopes)} if scopes else {})}
