"""What requests are judged by: strategies, and what all requests for one service under one have in common."""

from collections.abc import Mapping
from dataclasses import dataclass

from validator.caching import Caches
from validator.core.sessions import KeyRing, SessionRules
from validator.model import BearerToken, ClientCredentials, Credential, Method, SessionCookie
from validator.ports import Authenticator


@dataclass(frozen=True, slots=True)
class Strategy:
    """An application auth strategy, ready to judge by.

    ``fingerprint`` changes with anything that a proof under this strategy depends on, so that a reload with
    other rules cannot meet proofs of the old ones.
    """

    name: str
    fingerprint: bytes
    methods: frozenset[Method]
    authenticators: Mapping[Method, Authenticator]
    ring: KeyRing
    session_rules: SessionRules
    cookie_name: str
    max_token_bytes: int = 16384


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long answers may be reused, in seconds."""

    decision_ttl_s: float = 30.0
    negative_ttl_s: float = 5.0


class Route:
    """What every request for one service under one strategy has in common.

    Attributes:
        authorization_seed: ``caches.digest`` of it and the ``Authorization`` value is the key of an answer.
        session_seed: the same with the value of the session cookie.
    """

    __slots__ = ("_proof_seeds", "authorization_seed", "no_credential_key", "service", "session_seed", "strategy")

    def __init__(self, strategy: Strategy, service: str, caches: Caches) -> None:
        self.strategy = strategy
        self.service = service
        under = [strategy.fingerprint, strategy.name.encode()]
        parts = [b"reply", *under, service.encode()]
        self.authorization_seed = caches.seed([*parts, b"authorization"])
        self.session_seed = caches.seed([*parts, b"session"])
        self.no_credential_key = caches.seed([*parts, b"none"]).digest()
        kinds = (BearerToken, ClientCredentials, SessionCookie)
        self._proof_seeds = {kind: caches.seed([b"proof", *under, kind.__name__.encode()]) for kind in kinds}

    def proof_key(self, credential: Credential) -> bytes:
        """Under which the proof of a credential is kept, whichever service it calls."""
        digest = self._proof_seeds[type(credential)].copy()
        match credential:
            case BearerToken(value) | SessionCookie(value):
                digest.update(value)
            case ClientCredentials(client_id, client_secret):
                name = client_id.encode()
                digest.update(len(name).to_bytes(8, "big") + name + client_secret.encode())
        return digest.digest()
