"""Microsoft Entra ID's ways that no table can hold: one tenant with two issuers, and tokens for Graph.

Law of this file: everything that is decided by knowing that the issuer is Entra lives here. Facts are Microsoft's
own (access-tokens, access-token-claims-reference, v2-oauth2-client-creds-grant-flow, signing-key-rollover).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlsplit, urlunsplit

from validator.core import jws
from validator.core.jws import Jws
from validator.errors import Denied
from validator.model import Reason

TokenVersion = Literal["1.0", "2.0"]
TokenEndpointVersion = Literal["v1", "v2"]

CLAIM_OF_VERSION: Final[Mapping[TokenVersion, str]] = {"1.0": "appid", "2.0": "azp"}

# An issuer's name is no place to read from everywhere: where its documents stand.
_LOGIN_HOSTS: Final = {
    "sts.windows.net": "login.microsoftonline.com",
    "sts.microsoftonline.us": "login.microsoftonline.us",
    "sts.chinacloudapi.cn": "login.partner.microsoftonline.cn",
}
_MICROSOFT: Final = (
    "login.microsoftonline.com", "login.microsoftonline.us", "login.microsoft.com", "login.windows.net",
    "login.partner.microsoftonline.cn", "login.chinacloudapi.cn", "login-us.microsoftonline.com",
)  # fmt: skip
MANY_TENANTS: Final = frozenset({"common", "organizations", "consumers"})

_GRAPH_OF_LOGIN_HOST: Final = {
    "login.microsoftonline.us": "https://graph.microsoft.us",
    "login.partner.microsoftonline.cn": "https://microsoftgraph.chinacloudapi.cn",
    "login.chinacloudapi.cn": "https://microsoftgraph.chinacloudapi.cn",
}
_GRAPH: Final = "https://graph.microsoft.com"
_GRAPH_AUDIENCES: Final = frozenset(
    {
        _GRAPH,
        "https://graph.microsoft.us",
        "https://dod-graph.microsoft.us",
        "https://microsoftgraph.chinacloudapi.cn",
        "00000003-0000-0000-c000-000000000000",
    }
)
_DEFAULT: Final = "/.default"
_METADATA: Final = "/.well-known/openid-configuration"
_V2: Final = "/v2.0"
GUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Tenant:
    """Where a tenant is found.

    Attributes:
        base: scheme, host and tenant: ``https://login.microsoftonline.com/{tenant}``.
        query: ``?appid={id}`` for the keys of an application that has its own, or "".
        typed_version: the version that the issuer, as it was typed, belongs to.
    """

    base: str
    query: str
    typed_version: TokenVersion

    @property
    def name(self) -> str:
        return self.base.rpartition("/")[2]

    def issuer_base(self, version: TokenVersion) -> str:
        return self.base + (_V2 if version == "2.0" else "")

    def metadata_url(self, version: TokenVersion) -> str:
        """The document of this version; "discovery must match ``ver``"."""
        return self.issuer_base(version) + _METADATA + self.query


def tenant(typed: str) -> Tenant | None:
    """The tenant that an issuer names, typed as its v1 or v2 issuer, with or without a slash, as a tenant's URL
    or as a discovery URL. ``None``: the path names no tenant and nothing else."""
    parts = urlsplit(typed)
    host = (parts.hostname or "").lower()
    path = parts.path.removesuffix(_METADATA).rstrip("/")
    version: TokenVersion = "2.0" if path.endswith(_V2) else "1.0"
    name = path.removesuffix(_V2).strip("/")
    if not name or "/" in name:
        return None
    netloc = _LOGIN_HOSTS.get(host, parts.netloc)
    query = f"?{parts.query}" if parts.query else ""
    return Tenant(urlunsplit((parts.scheme, netloc, f"/{name}", "", "")), query, version)


def is_microsoft(typed: str) -> bool:
    """Whether the host is one of Microsoft's own, and not a stand-in."""
    host = (urlsplit(typed).hostname or "").lower()
    return host in _MICROSOFT or host in _LOGIN_HOSTS


def check_version(payload: Mapping[str, Any], version: TokenVersion, issuer: str) -> None:
    """Each of a tenant's two issuers mints tokens of one version, for that tenant alone.

    Raises:
        Denied: ``issuer_mismatch``.
    """
    found = payload.get("ver")
    if found != version:
        shown = repr(found[:20]) if isinstance(found, str) else "missing or no string"
        raise Denied(Reason.ISSUER_MISMATCH, f"ver is {shown}, but {issuer} mints tokens of version {version!r}")
    named, tid = GUID.search(issuer), payload.get("tid")
    if tid is not None and named and (not isinstance(tid, str) or tid.lower() != named[0].lower()):
        raise Denied(Reason.ISSUER_MISMATCH, "tid is not the tenant that iss names")


# Graph


def graph(base: str) -> str:
    """The resource that is Microsoft Graph in the cloud of this tenant's URL."""
    return _GRAPH_OF_LOGIN_HOST.get((urlsplit(base).hostname or "").lower(), _GRAPH)


def is_graph(resource: str) -> bool:
    """Whether a resource, an audience or a ``/.default`` scope is Microsoft Graph's."""
    return resource.lower().removesuffix(_DEFAULT).rstrip("/") in _GRAPH_AUDIENCES


def refuse_graph(token: Jws, instead: str) -> None:
    """Nobody but Graph can verify Graph's tokens: what is signed is not what is sent. Told before any key is
    looked for.

    Args:
        instead: the scope to ask for.

    Raises:
        Denied: ``token_for_graph``.
    """
    aud = token.payload.get("aud")
    values = [aud] if isinstance(aud, str) else aud if isinstance(aud, list) else []
    by = "aud" if any(isinstance(value, str) and is_graph(value) for value in values) else ""
    by = by or ("the header's nonce" if "nonce" in token.header else "")
    if by:
        raise Denied(
            Reason.TOKEN_FOR_GRAPH,
            f"by {by} a token for Microsoft Graph, which only Graph can verify; ask for scope={instead}",
        )


def scope_instead(audiences: Sequence[str], scopes: Sequence[str]) -> str:
    """The scope that brings a token for the strategy's own API."""
    for scope in scopes:
        if scope.endswith(_DEFAULT) and not is_graph(scope):
            return scope
    own = next((audience for audience in audiences if not is_graph(audience)), "api://<your API>")
    return own.rstrip("/") + _DEFAULT


def graph_client(token: bytes) -> str | None:
    """The application that a token for Graph names by its own word: good to contradict, not to believe."""
    payload = jws.parse(token, max_bytes=len(token)).payload
    found = payload.get("appid", payload.get("azp"))
    return found if isinstance(found, str) else None


# The client credentials grant


def grant_resource(base: str, audiences: Sequence[str], scopes: Sequence[str]) -> str:
    """The one resource that a token is asked for: that of the configured ``/.default`` scope, else the first
    audience, else Graph, which any application of the tenant may ask for and which Konnect's documents print."""
    for scope in scopes:
        if scope.endswith(_DEFAULT):
            return scope.removesuffix(_DEFAULT)
    return audiences[0] if audiences else graph(base)


def grant_parameters(version: TokenEndpointVersion, resource: str) -> Mapping[str, str]:
    """What the two token endpoints want: ``resource`` the first, ``scope`` the second."""
    return {"resource": resource} if version == "v1" else {"scope": resource + _DEFAULT}
