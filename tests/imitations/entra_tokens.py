"""Microsoft Entra ID: keys and access tokens.

Law of this file: the claims are those of Microsoft's reference for v1.0 and v2.0 access tokens, and which key
signs what. Everything is derived from the ids, so that two runs give the same.
"""

import hashlib
import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal
from uuid import NAMESPACE_URL, uuid5

from validator.ports import Clock
from validator.testing import ABSENT, FakeClient, SigningKey, TokenMint
from validator.testing.mint import b64url

GRAPH = "https://graph.microsoft.com"
GRAPH_APP_ID = "00000003-0000-0000-c000-000000000000"
GRAPH_NONCE = "the nonce that was signed"  # the token shows its SHA-256 in its place
OTHER_TENANT = "9188040d-6c67-4c5b-b112-36a304b66dad"  # that of personal accounts
_BACKDATED_S = 300  # iat and nbf lie that far back
_STRANGERS: frozenset[str] = frozenset({GRAPH, GRAPH_APP_ID})


@dataclass(frozen=True, slots=True)
class EntraResource:
    """An API that is registered in the tenant.

    Attributes:
        version: ``requestedAccessTokenVersion`` of its manifest: 1 is what null means.
        audience: its client id, a GUID: the ``aud`` of its v2 tokens; derived from its name where empty. A v1
            token's ``aud`` is the resource as it was asked for.
        roles: the application permissions granted, by client id; a client without any gets a token all the same.
        own_key: signs with a key that only ``?appid=`` shows, as with custom signing keys or SAML sign-on.
    """

    version: Literal[1, 2] = 1
    audience: str = ""
    roles: Mapping[str, tuple[str, ...]] | None = None
    own_key: bool = False


class EntraKeys:
    """The two key sets of a tenant, and the keys beside them.

    Attributes:
        v1, v2: the mints; their ``issuer`` is the tenant's.
        other_tenant: a key of the v2 set that is bound to the issuer of another tenant.
    """

    def __init__(self, tenant: str, v1_host: str, v2_host: str, clock: Clock, keyring: str) -> None:
        self._v2_host = v2_host
        self._clock = clock
        self._keyring = keyring
        self._own: dict[str, SigningKey] = {}
        self.v1 = _EntraMint(f"{v1_host}/{tenant}/", clock, keyring=f"{keyring} v1")
        self.v2 = _EntraMint(f"{v2_host}/{tenant}/v2.0", clock, keyring=f"{keyring} v2")
        mint = _EntraMint(f"{v2_host}/{OTHER_TENANT}/v2.0", clock, keyring=f"{keyring} other")
        self.other_tenant = mint.current
        self.graph = _EntraMint(self.v1.issuer, clock, keyring=f"{keyring} v1")

    def v2_jwks(self) -> dict[str, Any]:
        """Each key with its ``issuer``: a template for all tenants, or the one issuer that may use it."""
        template = f"{self._v2_host}/{{tenantid}}/v2.0"
        keys = [{**key.public_jwk, "issuer": template} for key in self.v2.keys]
        other = {**self.other_tenant.public_jwk, "issuer": f"{self._v2_host}/{OTHER_TENANT}/v2.0"}
        return {"keys": [*keys, other]}

    def own(self, app_id: str) -> SigningKey:
        """The key of one API that signs with its own."""
        app_id = app_id.lower()
        if app_id not in self._own:
            ring = f"{self._keyring} own {app_id}"
            self._own[app_id] = _EntraMint("", self._clock, keyring=ring).current
        return self._own[app_id]

    def own_jwk(self, app_id: str, *, v2: bool) -> dict[str, Any]:
        jwk = dict(self.own(app_id).public_jwk)
        return {**jwk, "issuer": f"{self._v2_host}/{{tenantid}}/v2.0"} if v2 else jwk


class _EntraMint(TokenMint):
    """Keys as Entra publishes them: ``x5t`` equal to ``kid``, and no ``alg``."""

    def add_key(self, alg: str = "RS256", *, kid: str | None = None) -> SigningKey:
        plain = super().add_key(alg, kid=kid)
        kid = kid or b64url(hashlib.sha1(plain.public_pem, usedforsecurity=False).digest())
        jwk = {name: value for name, value in plain.public_jwk.items() if name != "alg"}
        self.keys[-1] = replace(plain, kid=kid, public_jwk={**jwk, "kid": kid, "x5t": kid})
        return self.keys[-1]


class EntraTokens:
    """What the tenant mints.

    Args:
        resources: looked up at each token, so they may change.
        clients: for the changes to claims that a ``FakeClient`` may have.
    """

    def __init__(
        self,
        keys: EntraKeys,
        tenant: str,
        resources: Mapping[str, EntraResource],
        clients: Mapping[str, FakeClient],
        clock: Clock,
        lifetime_s: int,
    ) -> None:
        self._keys = keys
        self._tenant = tenant
        self._resources = resources
        self._clients = clients
        self._clock = clock
        self._lifetime_s = lifetime_s

    def knows(self, resource: str) -> bool:
        return _bare(resource) in _STRANGERS or self._found(resource) is not None

    def signs_itself(self, app_id: str) -> bool:
        """Whether that API has a key of its own."""
        found = self._found(app_id)
        return found is not None and found[1].own_key

    def app_id(self, resource: str) -> str:
        """The API's own client id, a GUID."""
        name, entry = self._found(resource) or (_bare(resource), EntraResource())
        return entry.audience or _guid("app", name)

    def application(
        self,
        client_id: str,
        resource: str,
        *,
        header: Mapping[str, Any] | None = None,
        key: SigningKey | None = None,
        claims: Mapping[str, Any] | None = None,
    ) -> str:
        """An app-only token: ``sub`` is the ``oid`` of the application's service principal."""
        principal = _guid(self._tenant, client_id)
        own: dict[str, Any] = {"oid": principal, "sub": principal, "roles": self._roles(client_id, resource)}
        client = self._clients.get(client_id)
        own |= (client.claims if client else {}) | dict(claims or {})
        return self._mint(client_id, resource, own, header, key)

    def user(self, client_id: str, resource: str, scp: str, claims: Mapping[str, Any]) -> str:
        person = {
            "oid": _guid(self._tenant, "ada"),
            "sub": b64url(hashlib.sha256(f"ada {client_id}".encode()).digest()),  # pairwise
            "scp": scp,
            "name": "Ada Example",
            "acct": 0,
            **claims,
        }
        return self._mint(client_id, resource, person, None, None)

    def _found(self, resource: str) -> tuple[str, EntraResource] | None:
        """By App ID URI or by client id."""
        wanted = _bare(resource)
        for name, entry in self._resources.items():
            if wanted == name or wanted.lower() == (entry.audience or _guid("app", name)).lower():
                return name, entry
        return None

    def _roles(self, client_id: str, resource: str) -> object:
        found = self._found(resource)
        roles = (found[1].roles or {}).get(client_id, ()) if found is not None else ()
        return list(roles) or ABSENT

    def _mint(
        self,
        client_id: str,
        resource: str,
        own: Mapping[str, Any],
        header: Mapping[str, Any] | None,
        key: SigningKey | None,
    ) -> str:
        _, entry = self._found(resource) or ("", EntraResource())
        if entry.own_key:
            key = key or self._keys.own(self.app_id(resource))
        if entry.version == 2:
            mint = self._keys.v2
            versioned = {"azp": client_id, "azpacr": "1", "ver": "2.0", "aud": self.app_id(resource)}
        else:
            mint = self._keys.v1
            versioned = {"appid": client_id, "appidacr": "1", "ver": "1.0", "aud": resource, "idp": mint.issuer}
        claims = {**self._common(client_id, resource), **versioned, **own}
        key = key or mint.current
        # v2 headers have no x5t by the reference; the tokens of both versions name their key by kid.
        base = {"typ": "JWT"} if entry.version == 2 else {"typ": "JWT", "x5t": key.kid}
        if _bare(resource) in _STRANGERS:
            return self._for_graph(claims, {**base, **(header or {})})
        return mint.mint(claims, header={**base, **(header or {})}, key=key)

    def _common(self, client_id: str, resource: str) -> dict[str, Any]:
        now = int(self._clock.now())
        unique = f"{client_id} {resource} {now}".encode()
        return {
            "iat": now - _BACKDATED_S,
            "nbf": now - _BACKDATED_S,
            "exp": now + self._lifetime_s,
            "aio": b64url(hashlib.sha256(b"aio" + unique).digest()),
            "rh": "1." + b64url(hashlib.sha256(b"rh" + unique).digest()),
            "tid": self._tenant,
            "uti": b64url(hashlib.md5(unique, usedforsecurity=False).digest()),
            "jti": ABSENT,  # Entra has uti in its place
        }

    def _for_graph(self, claims: Mapping[str, Any], header: Mapping[str, Any]) -> str:
        """Signed over another header than the one it shows: only Graph knows how to undo the nonce."""
        signed = self._keys.graph.mint(claims, header={"nonce": GRAPH_NONCE, **header})
        first, payload, signature = signed.split(".")
        shown = json.loads(urlsafe_b64decode(first + "=" * (-len(first) % 4)))
        shown["nonce"] = b64url(hashlib.sha256(GRAPH_NONCE.encode()).digest())
        return f"{b64url(json.dumps(shown, separators=(',', ':')).encode())}.{payload}.{signature}"


def _bare(resource: str) -> str:
    """Some write the slash at the end of an App ID URI, and get it back in ``aud``."""
    return resource.rstrip("/")


def _guid(*names: str) -> str:
    return str(uuid5(NAMESPACE_URL, " ".join(names)))
