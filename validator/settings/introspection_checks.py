"""What the settings of introspection say about each other.

Law of this file: a rule here follows from how tokens are asked about, whoever issues them; it skips what is not of
the right shape.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from validator.settings.mistakes import Caution, Path, Problem

Finding = Problem | Caution
Document = Mapping[str, Any]


def introspects(strategy: Document) -> bool:
    """Whether a strategy's opaque tokens are asked about."""
    return strategy.get("introspection") is not None or strategy.get("introspection_endpoint") is not None


def asks_about_all(strategy: Document) -> bool:
    """Whether all of them are, and not those alone that cannot be read here."""
    section = strategy.get("introspection")
    return isinstance(section, Mapping) and section.get("tokens") == "all"


def introspection_findings(path: Path, strategy: Document) -> Iterator[Finding]:
    """What the settings of introspection say about each other."""
    if not introspects(strategy):
        return
    section = strategy.get("introspection")
    at: Path = (*path, "introspection" if section is not None else "introspection_endpoint")
    if section is not None and not isinstance(section, Mapping):
        return
    settings: Document = section or {}
    client = settings.get("client_id") is not None
    secret = any(settings.get(name) is not None for name in ("client_secret", "client_secret_file"))
    if client and not secret:
        yield Problem(
            (*at, "client_id"),
            "no secret with it",
            "client_secret_file or client_secret beside it",
            "client_secret_file: /run/secrets/introspection-secret",
        )
    elif secret and not client:
        name = "client_secret" if settings.get("client_secret") is not None else "client_secret_file"
        yield Problem((*at, name), "no client_id with it", "client_id beside it", "client_id: gateway")
    elif not client and settings.get("response") == "jwt":
        yield Problem(
            (*at, "response"),
            "jwt without client_id",
            "client_id and its secret beside it: a signed answer says for whom it was made (RFC 9701 section 5)",
            "client_id: gateway",
        )
    elif not client:
        yield Caution(
            at,
            "introspection.client_id is not set: we ask about tokens without saying who we are, which RFC 7662 "
            "section 2.1 forbids identity providers to answer",
        )
