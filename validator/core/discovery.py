"""Where an issuer's metadata stands, and what it says.

Law of this file: everything that is read out of a discovery document lives here (OpenID Connect Discovery 1.0
section 4, RFC 8414).
"""

from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from validator.core.jws import read_json_object

_WELL_KNOWN = "/.well-known/"
_OPENID = "/.well-known/openid-configuration"
_OAUTH = "/.well-known/oauth-authorization-server"


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is needed of an issuer. ``issuer`` is what tokens carry in ``iss``, to the letter."""

    issuer: str
    jwks_uri: str | None
    token_endpoint: str | None
    token_endpoint_auth_methods: tuple[str, ...] = ()


def discovery_urls(issuer: str) -> tuple[str, ...]:
    """Where to look, in order: the URL itself when it is a discovery URL as a person pastes it, else OpenID's
    place (appended to the path) and RFC 8414's (inserted before the path, section 3.1)."""
    if _WELL_KNOWN in issuer:
        return (issuer,)
    base = issuer.rstrip("/")
    parts = urlsplit(base)
    inserted = urlunsplit((parts.scheme, parts.netloc, _OAUTH + parts.path, "", ""))
    return (base + _OPENID, inserted)


def typed_issuer_differs(typed: str, found: str) -> bool:
    """Whether the configured issuer names another issuer than the document it led to; a slash at the end does
    not count, nor does a discovery URL."""
    return _WELL_KNOWN not in typed and typed.rstrip("/") != found.rstrip("/")


def parse_metadata(body: bytes) -> Metadata:
    """Reads a discovery document.

    Raises:
        ValueError: not one, or it names no issuer; the message is for an operator.
    """
    try:
        document = read_json_object(body)
    except ValueError as error:
        raise ValueError(f"not a discovery document: {error}") from None
    issuer = document.get("issuer")
    if not isinstance(issuer, str) or not issuer:
        raise ValueError("not a discovery document: it names no issuer")
    uris: dict[str, str | None] = {}
    for name in ("jwks_uri", "token_endpoint"):
        value = document.get(name)
        if value is not None and not isinstance(value, str):
            raise ValueError(f"its {name} is not a string")
        uris[name] = value or None
    methods = document.get("token_endpoint_auth_methods_supported")
    return Metadata(
        issuer,
        uris["jwks_uri"],
        uris["token_endpoint"],
        tuple(m for m in methods if isinstance(m, str)) if isinstance(methods, list) else (),
    )
