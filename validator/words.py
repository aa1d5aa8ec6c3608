"""What a token says of itself, in words for a person who does not know this code.

Law of this file: it reads and believes nothing, and it shows claims by name: what is not listed here, and the
token itself, is never printed.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from validator.core import entra
from validator.core.durations import duration
from validator.core.jws import Jws
from validator.core.providers import PROVIDERS

# The claims in which identity providers write a client id; `sub` last, since it is more often a person.
CLIENT_CLAIMS = ("client_id", "azp", "appid", "cid", "clientId", "app_id", "application_id", "sub")

_LATEST = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
_MAX_SHOWN = 200
_GUESSES = (
    ("okta", re.compile(r"(^|\.)okta(preview|-emea|-gov)?\.com$|(^|\.)okta\.mil$")),
    ("auth0", re.compile(r"(^|\.)auth0\.com$")),
)


def clean(text: object, *, most: int = _MAX_SHOWN) -> str:
    """A value of somebody else's, fit for a terminal: no control characters, and not too long."""
    shown = "".join(char if char.isprintable() else "?" for char in str(text)[: most + 1])
    return shown if len(shown) <= most else shown[:most] + "..."


def moment(at: float, now: float) -> str:
    """``12 minutes ago (2026-03-01 10:00:00 UTC)``; both are seconds since the epoch."""
    relative = f"{duration(now - at)} ago" if at <= now else f"in {duration(at - now)}"
    relative = "now" if abs(now - at) < 1 else relative
    if not 0 <= at < _LATEST:
        return relative
    return f"{relative} ({datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC)"


def listed(value: object) -> str:
    """A claim that is one string or a list of them."""
    values = value if isinstance(value, list) else [value]
    return ", ".join(clean(item) for item in values) or "(an empty list)"


def host(url: str) -> str:
    """Host and port in lower case; "" where this is no URL."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2].lower()
    except ValueError:
        return ""


def whose(token: Jws, idp: str | None) -> str:
    """Whose token this is by its own word: the provider, and what tells one of its issuers from another.

    Args:
        idp: of the strategy whose issuer the token names; ``None``: it names no known issuer.
    """
    payload = token.payload
    issuer = payload["iss"] if isinstance(payload.get("iss"), str) else ""
    name = idp if idp not in (None, "generic") else _guessed(issuer, payload)
    if name is None:
        return "an OAuth 2.0 access token (RFC 9068)" if _is_rfc9068(token) else "a signed token (JWT)"
    title = "Microsoft Entra ID" if name.startswith("azure") else PROVIDERS[name].title
    return ", ".join([title, *_particulars(name, issuer, token)])


def _guessed(issuer: str, payload: Mapping[str, Any]) -> str | None:
    where = host(issuer)
    if where and entra.is_microsoft(issuer):
        return "azure"
    for name, hosts in _GUESSES:
        if hosts.search(where.partition(":")[0]):
            return name
    if "/realms/" in issuer:
        return "keycloak"
    if "delegationId" in payload:
        return "curity"
    return "okta" if "cid" in payload else None


def _particulars(name: str, issuer: str, token: Jws) -> list[str]:
    payload = token.payload
    if name.startswith("azure"):
        tenant = entra.GUID.search(issuer)
        of = tenant[0] if tenant else clean(payload.get("tid", "unknown"))
        return [f"v{clean(payload.get('ver', '?'))} token", f"tenant {of}"]
    if name == "okta":
        _, found, server = issuer.partition("/oauth2/")
        return [f"authorization server {clean(server)!r}" if found else "the org authorization server"]
    if name == "auth0":
        profile = "RFC 9068 token profile" if _is_rfc9068(token) else "Auth0's own token profile"
        return [f"domain {clean(host(issuer) or 'unknown')}", profile]
    if name == "keycloak":
        return [f"realm {clean(issuer.rpartition('/realms/')[2])!r}"] if "/realms/" in issuer else []
    return []


def _is_rfc9068(token: Jws) -> bool:
    return (token.typ or "").lower().removeprefix("application/") == "at+jwt"


def client_claim(payload: Mapping[str, Any], paths: Sequence[tuple[str, ...]]) -> tuple[str, str] | None:
    """The first of these paths that is there, dotted, and its value for a person."""
    for path in paths:
        value: Any = payload
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        if value is not None:
            return ".".join(path), clean(value)
    return None


def look_alikes(payload: Mapping[str, Any]) -> list[str]:
    """The claims of this token that may hold a client id."""
    return [name for name in CLIENT_CLAIMS if isinstance(payload.get(name), str)]


def facts(
    payload: Mapping[str, Any],
    paths: Sequence[tuple[str, ...]],
    now: float,
    scope_claims: Sequence[str],
    *,
    people: bool = False,
) -> list[tuple[str, str]]:
    """What a token, or an introspection answer about one, says of itself: a label and a value for each line.

    Args:
        people: whether `sub` names a user here.
    """
    found: list[tuple[str, str]] = []
    if "iss" in payload:
        found.append(("issuer", clean(payload["iss"])))
    found += _moments(payload, now)
    found.append(("for", f"{listed(payload['aud'])} (`aud`)" if "aud" in payload else "nobody in particular"))
    client = client_claim(payload, paths)
    names = " or ".join(f"`{'.'.join(path)}`" for path in paths)
    if client and client[0] == "sub" and people:
        found.append(("named by sub", client[1]))
    else:
        found.append(("application", f"{client[1]} (`{client[0]}`)" if client else f"not named by {names}"))
    scopes = next((name for name in scope_claims if payload.get(name)), None)
    if scopes is not None:
        found.append(("scopes", f"{listed(payload[scopes])} (`{scopes}`)"))
    if isinstance(payload.get("roles"), list):
        found.append(("roles", listed(payload["roles"])))
    return found


def _moments(payload: Mapping[str, Any], now: float) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for label, name in (("issued", "iat"), ("valid from", "nbf"), ("expires", "exp")):
        at = payload.get(name)
        if name == "nbf" and at == payload.get("iat"):
            continue
        if isinstance(at, int | float) and not isinstance(at, bool) and abs(at) < _LATEST:
            over = name == "exp" and at <= now
            found.append(("expired" if over else label, moment(float(at), now)))
        elif name in payload:
            found.append((label, f"not in seconds since 1970 (`{name}`)"))
        elif name == "exp":
            found.append((label, "not said (`exp` is missing)"))
    return found
