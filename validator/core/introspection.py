"""Introspection requests and their replies.

Law of this file: everything that decides how an identity provider is asked about a token, and what its answer
means, lives here (RFC 7662, RFC 9701). Nothing is sent from here, and no signature is checked here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlencode

from validator.core.jws import Jws, read_json_object
from validator.core.oauth import basic_authorization
from validator.core.providers import TokenEndpointAuthMethod
from validator.errors import AuthError, Denied, Unavailable
from validator.model import ClientCredentials, Endpoint, HttpReply, HttpRequest, Reason

ResponseKind = Literal["json", "jwt", "phantom"]

STATEMENT_TYPE: Final = "token-introspection+jwt"
_ACCEPT: Final[Mapping[ResponseKind, str]] = {
    "json": "application/json",
    "jwt": f"application/{STATEMENT_TYPE}",
    "phantom": "application/jwt",
}
_OK, _NO_CONTENT, _REFUSED = 200, 204, (400, 401, 403)
_MAX_AGE: Final = re.compile(r"(?:^|[,\s])(?:s-maxage|max-age)\s*(?:=\s*\"?([^\s,\";]*))?")
_STATEMENT_AGE_S: Final = 60.0


@dataclass(frozen=True, slots=True, repr=False)
class IntrospectionOptions:
    """How a strategy asks about tokens.

    Attributes:
        client: with what we authenticate ourselves (RFC 7662 section 2.1); ``None``: not at all.
        response: ``json``; ``jwt``: a signed statement about the token (RFC 9701); ``phantom``: the JWT that the
            opaque token stands for.
        ttl_s: seconds for which an answer is believed at most.
        ignore_no_store: whether ``Cache-Control: no-store``, which many put on everything, is passed over.
    """

    client: ClientCredentials | None
    auth_method: TokenEndpointAuthMethod = "client_secret_basic"
    response: ResponseKind = "json"
    ttl_s: float = 60.0
    ignore_no_store: bool = False

    def __repr__(self) -> str:
        return f"IntrospectionOptions(client={self.client!r}, response={self.response!r})"


def introspection_request(url: str, token: bytes, options: IntrospectionOptions) -> HttpRequest:
    """RFC 7662 section 2.1."""
    form = {"token": token.decode("utf-8", "replace"), "token_type_hint": "access_token"}
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": _ACCEPT[options.response]}
    if options.client is not None and options.auth_method == "client_secret_basic":
        headers["Authorization"] = basic_authorization(options.client)
    elif options.client is not None:
        form |= {"client_id": options.client.client_id, "client_secret": options.client.client_secret}
    return HttpRequest(Endpoint.INTROSPECTION, "POST", url, headers, urlencode(form).encode())


def read_reply(reply: HttpReply, response: ResponseKind) -> Mapping[str, Any] | bytes:
    """What the introspection endpoint said: the members of its answer, or the JWT that it sent in place of them.

    Raises:
        Denied: ``token_inactive``.
        Unavailable: anything that says nothing about the token.
    """
    if reply.status == _NO_CONTENT and response == "phantom":  # what Curity answers for a token that is none
        raise _inactive()
    if reply.status != _OK:
        raise _no_answer(reply.status)
    kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    if response != "json":
        if kind != _ACCEPT[response]:
            raise Unavailable(
                Reason.IDP_UNAVAILABLE,
                f"the introspection endpoint answered {kind[:60] or 'without a type'} where {_ACCEPT[response]} "
                "was asked for; correct introspection.response",
            )
        return reply.body.strip()
    try:
        return active(read_json_object(reply.body))
    except ValueError:
        raise Unavailable(Reason.IDP_UNAVAILABLE, "the introspection endpoint's answer is not JSON") from None


def active(members: Mapping[str, Any]) -> Mapping[str, Any]:
    """The members of an answer about an active token (RFC 7662 section 2.2).

    Raises:
        Denied: ``token_inactive``.
        Unavailable: the answer does not say.
    """
    found = members.get("active")
    if found is True:
        return members
    if found is False:
        raise _inactive()
    raise Unavailable(Reason.IDP_UNAVAILABLE, "the introspection endpoint's answer does not say `active`")


def statement(token: Jws, client_id: str | None, issuer: str, now: float) -> Mapping[str, Any]:
    """The answer within a signed statement whose signature holds (RFC 9701 section 5): made for us, and just now,
    for nothing in it names the token that was asked about.

    Args:
        now: seconds since the epoch.

    Raises:
        Denied: ``token_inactive``.
        Unavailable: it is none, or for somebody else, or of another time.
    """
    payload = token.payload
    typ = (token.typ or "").lower().removeprefix("application/")
    inner = payload.get("token_introspection")
    if typ != STATEMENT_TYPE or payload.get("iss") != issuer or not isinstance(inner, dict):
        raise Unavailable(Reason.IDP_UNAVAILABLE, "the signed introspection answer is none of RFC 9701")
    aud = payload.get("aud")
    if client_id is None or client_id not in (aud if isinstance(aud, list) else [aud]):
        raise Unavailable(Reason.IDP_UNAVAILABLE, "the signed introspection answer is meant for another client")
    made = payload.get("iat")
    if isinstance(made, bool) or not isinstance(made, int | float) or not abs(now - made) <= _STATEMENT_AGE_S:
        raise Unavailable(Reason.IDP_UNAVAILABLE, "the signed introspection answer was not made just now (iat)")
    return active(inner)


def lifetime_s(cache_control: str, options: IntrospectionOptions) -> float:
    """Seconds for which an answer may be believed: what is configured and what the provider allows, whichever is
    less (RFC 9111 section 5.2.2). What cannot be read allows nothing."""
    lowered = cache_control.lower()
    ages = [float(age) if age.isascii() and age.isdigit() else 0.0 for age in _MAX_AGE.findall(lowered)]
    if "no-store" in lowered or "no-cache" in lowered:
        if not options.ignore_no_store:
            return 0.0
        ages = [age for age in ages if age]  # max-age=0 says the same once more
    return min([options.ttl_s, *ages])


def _inactive() -> Denied:
    return Denied(
        Reason.TOKEN_INACTIVE,
        "the identity provider calls the token inactive (expired, revoked, or none of its own)",
    )


def _no_answer(status: int) -> AuthError:
    who = (
        "; it refuses us: check introspection.client_id, introspection.client_secret and introspection.auth_method"
        if status in _REFUSED
        else ""
    )
    return Unavailable(Reason.IDP_UNAVAILABLE, f"the introspection endpoint answered {status}{who}")
