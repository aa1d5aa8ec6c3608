"""Three strategies, each with an identity provider of its own that remembers all it was shown."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qs

from support_http import CannedHttp, down, json_reply, oauth_error
from support_issuers import issuer_over
from support_pipeline import ALL_METHODS, RING, Kitchen

from validator.core.introspection import IntrospectionOptions
from validator.issuers import Issuer, IssuerPlace
from validator.model import Application, ClientCredentials, HttpReply, HttpRequest, Method, Session
from validator.testing import ManualClock, TokenMint

NAMES = ("plain", "other", "third")
SECRET = "s3cret"
ASKING = IntrospectionOptions(ClientCredentials("gateway", "g4teway"))


class Idp(CannedHttp):
    """Proves every pair with ``SECRET`` and knows the opaque tokens that begin with its name.

    Attributes:
        place: where it is said to be.
    """

    def __init__(self, name: str, clock: ManualClock, *, called: str | None = None) -> None:
        base = f"https://{name}.test"
        self.name = name
        self.place = IssuerPlace(base)
        self.called = called or base
        self.clock = clock
        self.mint = TokenMint(self.called, clock, alg="ES256", keyring=base)
        metadata = {
            "issuer": self.called,
            "jwks_uri": f"{base}/jwks",
            "token_endpoint": f"{base}/token",
            "introspection_endpoint": f"{base}/introspect",
        }
        super().__init__(
            {
                f"{base}/.well-known/openid-configuration": json_reply(metadata),
                f"{base}/jwks": lambda _: json_reply(self.mint.jwks()),
                f"{base}/token": self._grant,
                f"{base}/introspect": self._inspect,
            }
        )

    def token(self, client_id: str = "orders", **claims: Any) -> bytes:
        return b"Bearer " + self.mint.mint({"client_id": client_id, **claims}).encode()

    def spelled(self, header: str, client_id: str = "orders", **claims: Any) -> bytes:
        """The same with the header as it is written here, where ALG and KID stand for the key's."""
        key = self.mint.current
        head = header.replace("ALG", key.alg).replace("KID", key.kid)
        payload = json.dumps(self.mint.claims({"client_id": client_id, **claims}))
        return b"Bearer " + self.mint.mint_raw(head.encode(), payload.encode(), key=key).encode()

    def opaque(self, rest: str = "1") -> bytes:
        return f"Bearer {self.name}-opaque-{rest}".encode()

    def was_shown(self, credential: bytes) -> bool:
        """Whether any request to it holds the credential, or its secret part."""
        return any(credential in request.body for request in self.requests)

    def asked(self) -> int:
        """Calls beside those for its metadata and keys."""
        return sum(count for url, count in self.calls.items() if url.endswith(("/token", "/introspect")))

    def _grant(self, request: HttpRequest) -> HttpReply:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        if not form["client_secret"].startswith(SECRET):
            return oauth_error("invalid_client", 401)
        minted = self.mint.mint({"client_id": form["client_id"], "jti": "minted"})
        return json_reply({"access_token": minted, "expires_in": 3600})

    def _inspect(self, request: HttpRequest) -> HttpReply:
        token = parse_qs(request.body.decode())["token"][0]
        active = token.startswith(f"{self.name}-opaque-") or self._is_own(token)
        said = {"active": active, "client_id": "orders", "aud": "api://default", "exp": self.clock.now() + 3600}
        return json_reply(said if active else {"active": False}, content_type="application/json")

    def _is_own(self, token: str) -> bool:
        head = self.mint.mint({}).split(".")[0]
        return token.startswith(head)


class Joint:
    """A pipeline with the three strategies, and their identity providers."""

    def __init__(
        self,
        clock: ManualClock,
        *,
        applications: Iterable[Application] = (),
        options: dict[str, dict[str, Any]] | None = None,
        called: dict[str, str] | None = None,
    ) -> None:
        self.clock = clock
        self.idps = {name: Idp(name, clock, called=(called or {}).get(name)) for name in NAMES}
        self.issuers: dict[str, Issuer] = {
            name: issuer_over(idp, clock, idp.place) for name, idp in self.idps.items()
        }
        self.options: dict[str, dict[str, Any]] = {name: {"methods": ALL_METHODS} for name in NAMES}
        for name, more in (options or {}).items():
            self.options[name].update(more)
        self.kitchen = Kitchen(clock, CannedHttp(), applications=applications)
        self.reload()

    def reload(self, **changed: dict[str, Any]) -> None:
        self.kitchen.reload(
            {
                name: {"idp": (self.issuers[name], self.idps[name]), **self.options[name], **changed.get(name, {})}
                for name in NAMES
            }
        )

    def down(self, name: str) -> None:
        """That one's identity provider answers nothing."""
        table = self.idps[name].table
        table.update(dict.fromkeys(table, down()))

    async def ready(self) -> Joint:
        for issuer in self.issuers.values():
            await issuer.tend()
        return self

    def cookie(self, strategy: str, *, client_id: str = "orders", seen_s: float = 0.0) -> bytes:
        """Of a session under a strategy, last seen so many seconds ago."""
        now = self.clock.now()
        session = Session(f"session-{strategy}", strategy, client_id, now - seen_s, now - seen_s, now + 3600, None)
        return RING.seal(session, strategy.encode().ljust(12)[:12])

    def shown(self, credential: bytes) -> list[str]:
        """The names of those that saw it."""
        return [name for name, idp in self.idps.items() if idp.was_shown(credential)]

    async def close(self) -> None:
        await self.kitchen.close()
        for issuer in self.issuers.values():
            await issuer.close()


WITHOUT = {method: ALL_METHODS - {method} for method in Method}
