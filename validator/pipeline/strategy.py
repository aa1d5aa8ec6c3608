"""What requests are judged by: strategies, and what all requests for one service under one, or under one of
several, have in common.

Law of this file: a credential is judged under one strategy alone, and under a route that joins several it is the
credential that says which.
"""

import asyncio
from base64 import b64encode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from validator.caching import Caches
from validator.core.jws import claims_unverified
from validator.core.sessions import KeyRing, SessionRules
from validator.errors import Unavailable
from validator.model import BearerToken, ClientCredentials, Credential, Method, Reason, SessionCookie
from validator.ports import Authenticator

DIGEST_BYTES = 32
MAX_JOINED = 8  # strategies of one route; each may have to look at a credential that is new
_NAME_BYTES = 8  # no two of any number of services share one


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
        name: sets this route's answers apart from those to the same credential on another.
        authorization_seed: digested on with the value of ``Authorization``, and ``name`` behind it: the key of an
            answer.
        session_seed: the same for the value of the session cookie.
        no_credential_key: of the answer to a request without any.
    """

    __slots__ = ("authorization_seed", "name", "no_credential_key", "service", "session_seed", "strategy")

    def __init__(self, strategy: Strategy, service: str, caches: Caches) -> None:
        self.strategy = strategy
        self.service = service
        under = [strategy.fingerprint, strategy.name.encode()]
        self.authorization_seed = caches.seed([*under, b"authorization"])
        self.session_seed = caches.seed([*under, b"session"])
        self.name = caches.seed([*under, b"route", service.encode()]).digest()[:_NAME_BYTES]
        self.no_credential_key = caches.seed([*under, b"none"]).digest() + self.name

    def key(self, authorization: bytes | None, session: bytes | None) -> bytes:
        """Of the answer to a request with these values; the session counts only without the other."""
        if authorization is not None:
            digest = self.authorization_seed.copy()
            digest.update(authorization)
        elif session:
            digest = self.session_seed.copy()
            digest.update(session)
        else:
            return self.no_credential_key
        return digest.digest() + self.name

    def proof_key(self, key: bytes, authorization: bytes | None, credential: Credential) -> bytes:
        """Under which the proof of a credential is kept: whichever service it calls, however it is spelled.

        Args:
            key: of the answer.
            authorization: the header's value, as ``key`` was made from it.
        """
        match credential:
            case BearerToken(token):
                usual = b"Bearer " + token
            case ClientCredentials(client_id, client_secret):
                usual = b"Basic " + b64encode(f"{client_id}:{client_secret}".encode())
            case SessionCookie():
                return key[:DIGEST_BYTES]
        if usual == authorization:
            return key[:DIGEST_BYTES]
        digest = self.authorization_seed.copy()
        digest.update(usual)
        return digest.digest()


class JointRoute(Route):
    """A route under several strategies, of which one judges a credential: the first, as they are written, whose
    own it says to be. Answers are kept under keys of this route's own; proofs under the strategy's, so that
    what was proved on another of its routes is proved here too.

    Its ``strategy`` speaks for all of them before one is picked: with the methods of all, in the first one's name.

    Args:
        routes: one for each strategy, all for the same service.
    """

    __slots__ = ("_routes",)

    def __init__(self, routes: Sequence[Route], caches: Caches) -> None:
        strategies = [route.strategy for route in routes]
        first = routes[0]
        marks = (caches.seed([b"joint", one.fingerprint, one.name.encode()]).digest() for one in strategies)
        joint = replace(
            first.strategy,
            fingerprint=b"".join(marks),
            methods=frozenset(method for one in strategies for method in one.methods),
        )
        super().__init__(joint, first.service, caches)
        self._routes = tuple(routes)

    def pick(self, method: Method, credential: Credential) -> tuple[Route, bool | None] | None:
        """The route to judge a credential by, and whether it says to be that strategy's own; where it is nobody's,
        the first with the method, which is to refuse it. ``None`` in place of whether: see ``find_out``; and of
        both: the method is off under all of them.

        Raises:
            Unavailable: (``store_unavailable``) it could not be looked up.
        """
        able = self._able(method)
        claims = _says(credential)
        unsure: Route | None = None
        for route in able:
            whose = route.strategy.authenticators[method].recognises(credential, claims)
            if whose:
                return route, True
            if whose is None and unsure is None:
                unsure = route
        if unsure is not None:
            return unsure, None
        return (able[0], False) if able else None

    def still_picks(self, route: Route, method: Method, credential: Credential) -> bool:
        """Whether a credential that was ``route``'s own is so now."""
        try:
            return self.pick(method, credential) == (route, True)
        except Exception:  # noqa: BLE001 - judging it anew meets that again, and says what it is
            return False

    async def find_out(self, method: Method, credential: Credential) -> tuple[Route, Unavailable] | None:
        """Asks the identity providers that have not said yet what they are called, all at once, until one of them
        is the credential's or all have said it: then ``pick`` knows. The credential itself is shown to nobody.

        Returns:
            The first that could be the one and does not say, and why; ``None``: ``pick`` knows.
        """
        claims = _says(credential)
        unsure = {
            route: route.strategy.authenticators[method]
            for route in self._able(method)
            if route.strategy.authenticators[method].recognises(credential, claims) is None
        }
        asked = [asyncio.ensure_future(one.find_out(credential, claims)) for one in unsure.values()]
        try:
            for coming in asyncio.as_completed(asked):
                with suppress(Unavailable):
                    if await coming:
                        return None
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        picked = self.pick(method, credential)
        if picked is None or picked[1] is not None:
            return None
        silent = picked[0]
        error = dict(zip(unsure, asked, strict=True))[silent].exception() if silent in unsure else None
        if not isinstance(error, Unavailable):
            error = Unavailable(Reason.IDP_UNAVAILABLE, "its issuer has not said what it is called")
        return silent, error

    def _able(self, method: Method) -> list[Route]:
        return [route for route in self._routes if method in route.strategy.methods]


def _says(credential: Credential) -> Mapping[str, Any] | None:
    """What a bearer token says of itself."""
    return claims_unverified(credential.token) if isinstance(credential, BearerToken) else None
