"""Introspection: what a token means, told to those who may ask. FOR DEVELOPMENT ONLY.

Law of this file: the answers of RFC 7662, of RFC 9701 and of phantom tokens, and the memory of opaque and revoked
tokens, live here; how the question reached us does not matter.
"""

import json
import secrets
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from typing import Any, Final

import jwt
from aiohttp import web

from validator.ports import Clock
from validator.testing.clients import FakeClient, OAuthError, authenticate, form_of
from validator.testing.mint import ABSENT, TokenMint
from validator.testing.serving import error_reply

INTROSPECTION_JWT: Final = "application/token-introspection+jwt"
PHANTOM_JWT: Final = "application/jwt"
_REMEMBERED_MAX: Final = 100_000  # more opaque tokens than any test asks for; the oldest are forgotten
_DESCRIBED: Final = ("client_id", "sub", "scope", "exp", "nbf", "iat", "iss", "aud", "jti")

Describe = Callable[[Mapping[str, Any]], dict[str, Any]]


def rfc7662_members(claims: Mapping[str, Any]) -> dict[str, Any]:
    """What section 2.2 of RFC 7662 names, taken from a token's claims."""
    return {name: claims[name] for name in _DESCRIBED if name in claims} | {"token_type": "Bearer"}


class Introspection:
    """One introspection endpoint.

    Args:
        mint: its keys verify the JWTs that are asked about, and sign the answers that are signed.
        clients: those that may ask.
        clock: when a token has expired.
        describe: the members of an active token's answer beside ``active``.

    Attributes:
        authenticates: whether a client must prove itself, as at the token endpoint.
        signs: whether ``Accept: application/token-introspection+jwt`` is honoured (RFC 9701); else JSON.
        phantom: whether ``Accept: application/jwt`` brings the access token itself as a signed JWT, and 204 for
            one that is not active; else JSON.
        cache_control: of every answer; ``None`` sends none.
        members: changes to the members of every answer, also the inactive; ``ABSENT`` removes one.
        envelope: changes to the claims of the RFC 9701 JWT.
        envelope_header: changes to its header.
    """

    def __init__(
        self,
        mint: TokenMint,
        clients: Mapping[str, FakeClient],
        clock: Clock,
        *,
        describe: Describe = rfc7662_members,
    ) -> None:
        self.authenticates = True
        self.signs = True
        self.phantom = False
        self.cache_control: str | None = None
        self.members: dict[str, Any] = {}
        self.envelope: dict[str, Any] = {}
        self.envelope_header: dict[str, Any] = {}
        self._mint = mint
        self._clients = clients
        self._clock = clock
        self._describe = describe
        self._opaque: dict[str, Mapping[str, Any]] = {}
        self._revoked: set[str] = set()
        self._gone: set[str] = set()

    def opaque(self, claims: Mapping[str, Any], *, prefix: str = "") -> str:
        """A random token that stands for these claims."""
        token = prefix + secrets.token_urlsafe(32)
        self._opaque[token] = dict(claims)
        if len(self._opaque) > _REMEMBERED_MAX:
            del self._opaque[next(iter(self._opaque))]
        return token

    def revoke(self, token: str) -> None:
        """Not active from now on, for good."""
        self._revoked.add(token)

    def revoke_client(self, client_id: str) -> None:
        """All tokens of this client, also later ones."""
        self._gone.add(client_id)

    def claims_of(self, token: str) -> Mapping[str, Any] | None:
        """What an active token says; ``None``: unknown, forged, expired or revoked."""
        claims = self._opaque.get(token) or self._verified(token)
        if claims is None or token in self._revoked or claims.get("client_id") in self._gone:
            return None
        now, expires_at, not_before = self._clock.now(), claims.get("exp"), claims.get("nbf", 0)
        if not isinstance(expires_at, int | float) or expires_at <= now or not_before > now:
            return None
        return claims

    async def answer(self, request: web.Request) -> web.Response:
        """One call of the endpoint (RFC 7662 section 2)."""
        try:
            form = form_of(request.content_type, await request.read())
            asker = None
            if self.authenticates:
                authorization = request.headers.get("Authorization")
                asker, _ = authenticate(self._clients, authorization, form, failure_status=401)
            if "token" not in form:
                raise OAuthError("invalid_request", "the parameter token is missing")  # noqa: TRY301  one way out
        except OAuthError as error:
            return error_reply(request, error)
        return self._reply(form["token"], asker, request.headers.get("Accept", ""))

    def _reply(self, token: str, asker: str | None, accept: str) -> web.Response:
        claims = self.claims_of(token)
        headers = self.headers_of(claims)
        if self.phantom and PHANTOM_JWT in accept:
            if claims is None:
                return web.Response(status=204, headers=headers)
            body = token if token not in self._opaque else self.phantom_of(claims)
            return _jwt_reply(PHANTOM_JWT, body, headers)
        document = {"active": False} if claims is None else {"active": True, **self._describe(claims)}
        document = {name: value for name, value in (document | self.members).items() if value is not ABSENT}
        if self.signs and INTROSPECTION_JWT in accept:
            body = self._enveloped(document, asker)
            return _jwt_reply(INTROSPECTION_JWT, body, headers)
        return web.json_response(document, headers=headers)

    def headers_of(self, _claims: Mapping[str, Any] | None) -> dict[str, str]:
        """What the answer about an active token, or about another (``None``), carries."""
        return {} if self.cache_control is None else {"Cache-Control": self.cache_control}

    def phantom_of(self, claims: Mapping[str, Any]) -> str:
        """The JWT that stands behind an opaque token."""
        only_these = dict.fromkeys(self._mint.claims(), ABSENT)
        return self._mint.mint({**only_these, **claims})

    def _enveloped(self, document: Mapping[str, Any], asker: str | None) -> str:
        """RFC 9701 section 5: no ``exp``, no ``sub``; what is said of the token is one member."""
        claims = {
            "aud": ABSENT if asker is None else asker,
            "exp": ABSENT,
            "jti": ABSENT,
            "token_introspection": document,
        }
        header = {"typ": "token-introspection+jwt", **self.envelope_header}
        return self._mint.mint({**claims, **self.envelope}, header=header)

    def _verified(self, token: str) -> Mapping[str, Any] | None:
        """The claims of a JWT that one of the published keys has signed."""
        try:
            header, payload, signature = (_decoded(part) for part in token.split("."))
            kid = json.loads(header).get("kid")
            claims = json.loads(payload)
        except (ValueError, AttributeError):
            return None
        signed = token.rpartition(".")[0].encode()
        for key in self._mint.keys:
            algorithm = jwt.get_algorithm_by_name(key.alg)
            if key.kid == kid and algorithm.verify(signed, key.private.public_key(), signature):
                return claims if isinstance(claims, dict) else None
        return None


def _jwt_reply(content_type: str, token: str, headers: Mapping[str, str]) -> web.Response:
    """As bytes: to text aiohttp would add a charset, which these types do not have."""
    return web.Response(body=token.encode(), headers={**headers, "Content-Type": content_type})


def _decoded(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))
