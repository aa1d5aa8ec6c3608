"""Whether the HTTP DCR bridge finds where to register clients.

Law of this file: no client is registered.
"""

from validator.inspecting.findings import Findings, Visit
from validator.settings import Settings
from validator.wiring.bridge import registered_by, served
from validator.words import clean


def tell(report: Findings, name: str, settings: Settings, visit: Visit) -> None:
    """Nothing for a strategy that the bridge does not serve.

    Args:
        visit: to the issuer that the strategy names first, whose metadata counts.
    """
    if name not in served(settings):
        return
    strategy = settings.strategies[name]
    adapter, endpoint = registered_by(strategy)
    metadata = visit.issuer.metadata
    endpoint = endpoint or (metadata.registration_endpoint if metadata else None)
    if endpoint is None:
        report.bridge_works = False
        report.say(
            "REGISTRATION: its metadata names no registration_endpoint: switch dynamic registration on there, or "
            "set registration.endpoint"
            if metadata
            else f"REGISTRATION: {visit.trusted.place.issuer} was not reached, and its metadata says where"
        )
        return
    section = strategy.registration
    token = "an API token" if adapter == "okta" else "an initial access token"
    given = "with" if section is not None and section.initial_access_token is not None else "without"
    report.say(f"registration endpoint {clean(endpoint)}, by {adapter}, {given} {token}")
