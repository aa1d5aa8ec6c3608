"""The issuers that one strategy trusts, and which of them a token claims to come from.

Law of this file: a token's own word picks the issuer and nothing more; that issuer's keys, claims and version
then decide. While one of several issuers is unknown, nobody can say that a token is foreign.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from validator.core.claims import Expectations, wrong_issuer
from validator.core.discovery import is_called
from validator.core.entra import TokenVersion
from validator.core.upstream import Wanted
from validator.errors import Unavailable
from validator.issuers import Issuer


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What a strategy demands of every token, whichever of its issuers it comes from.

    Attributes:
        graph_instead: the scope to ask for in place of Microsoft Graph's; ``None``: this is not Entra.
        opaque_because: why a token may be opaque, for the operator.
        upstream_headers: what the upstream is told of the claims.
    """

    algorithms: frozenset[str]
    audiences: frozenset[str]
    token_types: frozenset[str]
    required_scopes: frozenset[str] = frozenset()
    scope_claims: tuple[str, ...] = ("scope", "scp")
    leeway_s: float = 0.0
    max_bytes: int = 16384
    people: bool = False
    user_scopes: bool = True
    graph_instead: str | None = None
    opaque_because: str = ""
    upstream_headers: Wanted = ()


@dataclass(frozen=True, slots=True)
class TrustedIssuer:
    """An issuer and what its tokens must say; see ``core.trust.TrustedPlace``.

    Attributes:
        introspected_claims: where its introspection answers may hold the client id, in order.
        introspected_required: what those answers must say; the rest of ``required_claims`` they may leave out.
    """

    issuer: Issuer
    client_claims: tuple[tuple[str, ...], ...]
    version: TokenVersion | None = None
    required_claims: Mapping[str, str] = field(default_factory=dict)
    introspected_claims: tuple[tuple[str, ...], ...] = (("client_id",),)
    introspected_required: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Expected:
    """One of the issuers whose name is known, with what follows from it."""

    index: int
    issuer: Issuer
    token: Expectations
    introspected: Expectations


class TrustedIssuers:
    """All issuers of one strategy.

    Args:
        trusted: the typed one first.
    """

    def __init__(self, trusted: Sequence[TrustedIssuer], rules: TokenRules) -> None:
        self._trusted = tuple(trusted)
        self._rules = rules
        self._expected: dict[int, Expected] = {}

    @property
    def first(self) -> Issuer:
        return self._trusted[0].issuer

    def all(self) -> tuple[Issuer, ...]:
        return tuple(trusted.issuer for trusted in self._trusted)

    def find(self, payload: Mapping[str, Any]) -> Expected | None:
        """The issuer that the claims name, or ``None`` where one has to be asked for its name first.

        Raises:
            Denied: ``issuer_mismatch``.
        """
        found = self._named(payload)
        if found is not None:
            return found
        if any(i.metadata is None and not i.absent for i in self.all()):
            return None
        raise wrong_issuer(payload, [i.metadata.issuer for i in self.all() if i.metadata is not None])

    async def ask(self, payload: Mapping[str, Any]) -> Expected:
        """The same after asking those that are unknown, all at once, for none is to wait for another.

        Raises:
            Denied: ``issuer_mismatch``.
            Unavailable: an issuer that could be the one cannot be reached.
        """
        if (found := self.find(payload)) is not None:
            return found
        asked = {
            asyncio.ensure_future(issuer.known())
            for issuer in self.all()
            if issuer.metadata is None and not issuer.absent
        }
        unknown: Unavailable | None = None
        try:
            for coming in asyncio.as_completed(asked):
                try:
                    await coming
                except Unavailable as error:
                    unknown = error
                if (found := self._named(payload)) is not None:
                    return found
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        if (found := self.find(payload)) is None:
            assert unknown is not None  # noqa: S101 - an issuer is still unknown, so asking it has failed
            raise unknown
        return found

    def _named(self, payload: Mapping[str, Any]) -> Expected | None:
        name = payload.get("iss")
        known = []
        for index, trusted in enumerate(self._trusted):
            metadata = trusted.issuer.metadata
            if metadata is not None and metadata.issuer == name:
                known.append(self._expectations(index, trusted, metadata.issuer))
        if len(known) > 1:  # one name for two versions: the version tells
            known.sort(key=lambda expected: expected.token.version != payload.get("ver"))
        return known[0] if known else None

    def names(self, issuer: object) -> bool | None:
        """Whether one of the issuers is called so, by its own word or by the configuration's; ``None`` where none
        is and one has not told its name yet."""
        if not isinstance(issuer, str):
            return False
        present = [i for i in self.all() if not i.absent]
        if any(i.metadata is not None and i.metadata.issuer == issuer for i in present):
            return True
        if any(is_called(i.place.issuer, issuer) for i in present):
            return True
        return None if any(i.metadata is None for i in present) else False

    def holds(self, key_id: str) -> bool:
        """Whether the issuer of a key, named as ``key_id`` does, still publishes it."""
        index, thumbprint, name = key_id.split(" ", 2)
        issuer = self._trusted[int(index)].issuer
        return issuer.metadata is not None and issuer.metadata.issuer == name and issuer.holds(thumbprint)

    @staticmethod
    def key_id(expected: Expected, thumbprint: str) -> str:
        """Names a key and the issuer that vouches by it, which may be called otherwise tomorrow."""
        return f"{expected.index} {thumbprint} {expected.token.issuer}"

    def expectations(self, issuer: Issuer) -> Expected:
        """What follows from one of the issuers, whose metadata is known."""
        index = self.all().index(issuer)
        assert issuer.metadata is not None  # noqa: S101 - as said
        return self._expectations(index, self._trusted[index], issuer.metadata.issuer)

    def _expectations(self, index: int, trusted: TrustedIssuer, name: str) -> Expected:
        known = self._expected.get(index)
        if known is None or known.token.issuer != name:
            known = self._expected[index] = Expected(
                index,
                trusted.issuer,
                self._expect(trusted, name, trusted.client_claims, trusted.required_claims),
                self._expect(trusted, name, trusted.introspected_claims, trusted.introspected_required),
            )
        return known

    def _expect(
        self,
        trusted: TrustedIssuer,
        name: str,
        claims: tuple[tuple[str, ...], ...],
        required: Mapping[str, str],
    ) -> Expectations:
        rules = self._rules
        return Expectations(
            issuer=name,
            audiences=rules.audiences,
            client_claims=claims,
            token_types=rules.token_types,
            required_scopes=rules.required_scopes,
            scope_claims=rules.scope_claims,
            leeway_s=rules.leeway_s,
            required_claims=required,
            usual_claims=trusted.required_claims,
            version=trusted.version,
            people=rules.people,
            user_scopes=rules.user_scopes,
            upstream_headers=rules.upstream_headers,
        )
