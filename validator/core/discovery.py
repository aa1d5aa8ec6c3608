"""Where an issuer's metadata stands, and what it says.

Law of this file: everything that is read out of a discovery document lives here (OpenID Connect Discovery 1.0
section 4, RFC 8414).
"""

from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from validator.core.entra import GUID
from validator.core.jws import read_json_object

_WELL_KNOWN = "/.well-known/"
_OPENID = "/.well-known/openid-configuration"
_OAUTH = "/.well-known/oauth-authorization-server"
_MAX_URL = 2048
_ENDPOINTS = ("jwks_uri", "token_endpoint", "introspection_endpoint", "registration_endpoint")


@dataclass(frozen=True, slots=True)
class IssuerPlace:
    """Where an issuer is found, as configured.

    Attributes:
        issuer: as typed: the issuer, or its full discovery URL.
        jwks_uri, token_endpoint, introspection_endpoint, registration_endpoint: what is given wins over the
            discovery document.
        discovery: without it nothing is asked for but the keys, and ``issuer`` is what tokens carry to the letter.
        document: where the discovery document stands, where ``issuer`` does not tell.
        implied: nobody has typed this one, it follows from another: that it does not exist is no failure.
    """

    issuer: str
    jwks_uri: str | None = None
    token_endpoint: str | None = None
    introspection_endpoint: str | None = None
    registration_endpoint: str | None = None
    discovery: bool = True
    document: str | None = None
    implied: bool = False


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is needed of an issuer. ``issuer`` is what tokens carry in ``iss``, to the letter.

    Attributes:
        grant_types: as it says; empty where it does not.
        document: where this was read; ``None``: it was configured.
    """

    issuer: str
    jwks_uri: str | None
    token_endpoint: str | None
    token_endpoint_auth_methods: tuple[str, ...] = ()
    introspection_endpoint: str | None = None
    registration_endpoint: str | None = None
    grant_types: tuple[str, ...] = ()
    document: str | None = None


def discovery_urls(place: IssuerPlace) -> tuple[str, ...]:
    """Where to look, in order: the URL itself when it is a discovery URL as a person pastes it, else OpenID's
    place (appended to the path) and RFC 8414's (inserted before the path, section 3.1)."""
    if place.document is not None:
        return (place.document,)
    if _WELL_KNOWN in place.issuer:
        return (place.issuer,)
    base = place.issuer.rstrip("/")
    parts = urlsplit(base)
    inserted = urlunsplit((parts.scheme, parts.netloc, _OAUTH + parts.path, "", ""))
    return (base + _OPENID, inserted)


def typed_issuer_differs(typed: str, found: str) -> bool:
    """Whether the configured issuer names another issuer than the document it led to. A slash at the end does not
    count, nor the discovery document's place, nor by which of its names a tenant of Entra is called."""
    named = _issuer_in(typed)
    if is_called(typed, found):
        return False
    tenant, other = GUID.search(named), GUID.search(found)
    return not (tenant and other and tenant[0].lower() == other[0].lower())


def is_called(typed: str, found: str) -> bool:
    """Whether the configured issuer has that name, a slash at its end and the discovery document's place apart."""
    return _issuer_in(typed).rstrip("/") == found.rstrip("/")


def _issuer_in(typed: str) -> str:
    before, well_known, after = typed.partition(_WELL_KNOWN)
    if not well_known:
        return typed
    _, _, path = after.partition("/")  # RFC 8414 puts the issuer's path behind
    return f"{before}/{path}" if path else before


def parse_metadata(body: bytes, *, secure: bool = False) -> Metadata:
    """Reads a discovery document.

    Args:
        secure: it came by https, so that nothing in it may lead to where secrets and keys travel in clear.

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
    if len(issuer) > _MAX_URL:
        raise ValueError(f"its issuer is longer than {_MAX_URL} characters")
    if "{" in issuer:
        raise ValueError(f"its issuer {issuer[:200]!r} stands for many tenants; configure the issuer of your own")
    uris: dict[str, str | None] = {}
    for name in _ENDPOINTS:
        value = document.get(name)
        if value is not None and not isinstance(value, str):
            raise ValueError(f"its {name} is not a string")
        if value and len(value) > _MAX_URL:
            raise ValueError(f"its {name} is longer than {_MAX_URL} characters")
        if value and secure and not value.lower().startswith("https:"):
            raise ValueError(f"its {name} is no https URL")
        uris[name] = value or None
    return Metadata(
        issuer=issuer,
        token_endpoint_auth_methods=_strings(document.get("token_endpoint_auth_methods_supported")),
        grant_types=_strings(document.get("grant_types_supported")),
        **uris,
    )


def _strings(value: object) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()
