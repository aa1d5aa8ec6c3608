"""Token requests and their replies.

Law of this file: everything that decides how an identity provider is asked for a token, and what its answer
means, lives here (RFC 6749 sections 2.3.1, 4.4 and 5). Nothing is sent from here.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus, urlencode

from validator.core.jws import read_json_object
from validator.core.providers import TokenEndpointAuthMethod
from validator.errors import AuthError, Denied, Unavailable
from validator.model import ClientCredentials, Endpoint, HttpReply, HttpRequest, Reason

# RFC 6749 section 5.2, judged by `error` and never by 400 versus 401: providers differ. access_denied is what
# Auth0 answers to a wrong secret and Okta where no policy lets the client in.
_REJECTED = frozenset({"invalid_client", "unauthorized_client", "invalid_grant", "access_denied"})
_OK, _UNAUTHORIZED, _FORBIDDEN = 200, 401, 403
_MAX_TOKEN_CHARS = 65536
_MAX_LIFETIME_S = 1e11  # some 3,000 years: whatever lies beyond is no lifetime


@dataclass(frozen=True, slots=True)
class GrantOptions:
    """How a strategy asks for a token by the client credentials grant.

    Attributes:
        audience_parameter: the parameter that the provider wants the audience in; ``None``: it wants none.
    """

    auth_method: TokenEndpointAuthMethod
    scopes: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    audience_parameter: str | None = None

    @property
    def asked_scopes(self) -> frozenset[str]:
        """What the reply grants where it does not say otherwise (RFC 6749 section 5.1)."""
        return frozenset(self.scopes) | frozenset(self.parameters.get("scope", "").split())


@dataclass(frozen=True, slots=True, repr=False)
class MintedToken:
    """A successful reply (RFC 6749 section 5.1). ``lifetime_s`` is ``None`` where the reply names none, and 0
    where it names none that could be used: then the token counts for this request alone. ``scopes`` are those
    granted, ``None`` where the reply does not say."""

    access_token: str
    lifetime_s: float | None
    scopes: frozenset[str] | None = None

    def __repr__(self) -> str:
        return f"MintedToken(<redacted>, lifetime_s={self.lifetime_s})"


def grant_request(url: str, pair: ClientCredentials, options: GrantOptions) -> HttpRequest:
    """The client credentials grant (RFC 6749 section 4.4.2) that proves ``pair``."""
    form = {"grant_type": "client_credentials", **options.parameters}
    if options.scopes:
        form["scope"] = " ".join(options.scopes)
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    if options.auth_method == "client_secret_basic":
        headers["Authorization"] = basic_authorization(pair)
    else:
        form |= {"client_id": pair.client_id, "client_secret": pair.client_secret}
    return HttpRequest(Endpoint.TOKEN, "POST", url, headers, urlencode(form).encode())


def basic_authorization(pair: ClientCredentials) -> str:
    """RFC 6749 section 2.3.1: form-urlencoded first, then base64."""
    joined = f"{quote_plus(pair.client_id)}:{quote_plus(pair.client_secret)}"
    return "Basic " + base64.b64encode(joined.encode()).decode()


def read_grant_reply(reply: HttpReply, options: GrantOptions) -> MintedToken:
    """What the token endpoint said to a request that was made with ``options``.

    Raises:
        Denied: ``credentials_rejected``, or ``scope_missing`` when the client may not have the scope.
        Unavailable: anything that says nothing about the pair.
    """
    try:
        document = read_json_object(reply.body)
    except ValueError:
        document = {}
    if reply.status == _OK and "error" not in document:
        token = document.get("access_token")
        if not isinstance(token, str) or not 0 < len(token) <= _MAX_TOKEN_CHARS:
            raise Unavailable(Reason.IDP_UNAVAILABLE, "the token endpoint answered 200 without an access_token")
        scope = document.get("scope")
        return MintedToken(
            token, _lifetime(document), frozenset(scope.split()) if isinstance(scope, str) else None
        )
    raise _refusal(reply.status, document, options)


def _refusal(status: int, document: Mapping[str, Any], options: GrantOptions) -> AuthError:
    error = document.get("error")
    code = error if isinstance(error, str) else ""
    if status == _FORBIDDEN and code == "access_denied" and (ours := _wrong_audience(document, options)):
        return Unavailable(Reason.IDP_UNAVAILABLE, f"the token endpoint answered 403 access_denied: {ours}")
    if code in _REJECTED or (status == _UNAUTHORIZED and not code):
        return Denied(Reason.CREDENTIALS_REJECTED, f"the identity provider answered {code or status}")
    if code == "invalid_scope":
        return Denied(
            Reason.SCOPE_MISSING, "the identity provider grants this client none of the strategy's scopes"
        )
    # The texts beside `error` can quote ids and are left out; `error` itself is a short code.
    shown = code[:40] if code.isidentifier() else "no error code"
    return Unavailable(
        Reason.IDP_UNAVAILABLE,
        f"the token endpoint answered {status} ({shown}), which says nothing about the client; "
        "check the strategy's scopes, audience, token_params and token_endpoint",
    )


def _wrong_audience(document: Mapping[str, Any], options: GrantOptions) -> str:
    """Auth0 proves the client first and says with the same code, but 403, that the request names no API or none
    that exists: the strategy's mistake and not the caller's."""
    name = options.audience_parameter
    if name is None:
        return ""
    if name not in options.parameters:
        return f"the request named no API; set the strategy's audience, which is sent as `{name}`"
    description = document.get("error_description")
    if isinstance(description, str) and description.startswith("Service not found"):
        return f"there is no such API; correct the strategy's audience, which is sent as `{name}`"
    return ""


def _lifetime(document: Mapping[str, Any]) -> float | None:
    """``expires_in`` as a number, or as Entra's v1 endpoint writes it, in a string."""
    value = document.get("expires_in")
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    # Compared, not converted: an integer of JSON can be too large for a float.
    return float(value) if 0 < value <= _MAX_LIFETIME_S else 0.0
