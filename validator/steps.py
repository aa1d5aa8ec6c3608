"""The steps that a judgement told of, in sentences.

Law of this file: what was told is retold in its order; the check that failed is the first that was not passed. No
token, secret or cookie is shown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from validator.authn.basic import Asked, Basis
from validator.authn.trusted import Expected
from validator.core import jws, kinds
from validator.core.durations import duration
from validator.core.jws import Jws
from validator.core.oauth import MintedToken
from validator.core.telling import Step
from validator.core.trust import TrustedPlace
from validator.errors import AuthError, Denied, Unavailable
from validator.model import Reason
from validator.settings import Strategy
from validator.words import clean, facts, listed, whose

Told = tuple[Step, Any]

MAX_TOKEN_BYTES = 1024 * 1024

# The order of ``authn.access_token`` and ``core.claims``.
_CHECKS: Mapping[Step, str] = {
    Step.PARSED: "it is a signed token of three readable parts",
    Step.NOT_FOR_GRAPH: "it is no token for Microsoft Graph",
    Step.ALGORITHM: "it is signed by an algorithm that the strategy accepts (`alg`)",
    Step.ISSUER: "it comes from an issuer that the strategy trusts (`iss`)",
    Step.SCREENED: "it has an end, and that is not over (`exp`)",
    Step.KEY: "that issuer publishes the key that it names (`kid`)",
    Step.SIGNATURE: "the signature is that key's: nothing in it was altered",
    Step.TYPE: "it is marked as an access token (`typ`)",
    Step.BEGUN: "it is valid already (`nbf`, `iat`)",
    Step.AUDIENCE: "it is for this API (`aud`)",
    Step.REQUIRED_CLAIMS: "it says of itself what the strategy requires",
    Step.CLIENT_ID: "it names an application",
    Step.NOT_ID_TOKEN: "it is no ID token",
    Step.SCOPES: "it has the required scopes",
}
_BEARER = "whoever bears it may use it, without a key beside it (`cnf`)"
_COUNTS: Mapping[Basis, str] = {
    Basis.VERIFIED: "the token just minted was verified, and it names this client",
    Basis.INTROSPECTED: "the identity provider, asked about the token just minted, names this client",
    Basis.GRAPH: "the token just minted is for Microsoft Graph, which alone can verify it; the token endpoint "
    "handed it out over TLS to whoever knew the secret, and that is the proof (trust_token_response)",
    Basis.OPAQUE: "the token just minted is opaque; the token endpoint handed it out over TLS to whoever knew the "
    "secret, and that is the proof",
}
# Where no check of a token was begun: what the last step led to.
_ENDINGS: Mapping[Step, str] = {
    Step.GRANT: "it hands out a token for them",
    Step.MINTED: "the token can be used",
    Step.INTROSPECTING: "it calls the token active",
    Step.INTROSPECTED: "the answer is what the strategy requires",
}


@dataclass(frozen=True, slots=True)
class Teller:
    """Retells under one strategy.

    Attributes:
        places: the strategy's issuers.
        now: seconds since the epoch.
    """

    strategy: Strategy
    places: Sequence[TrustedPlace]
    now: float

    def paths(self, version: str | None = None) -> tuple[tuple[str, ...], ...]:
        """Where the application may stand, in tokens of this version or in all."""
        claims = [claim for p in self.places if version in (None, p.version) for claim in p.claims]
        named = dict.fromkeys(claims or [claim for p in self.places for claim in p.claims])
        return tuple((claim,) if "://" in claim else tuple(claim.split(".")) for claim in named)

    def token(self, token: Jws, *, ours: bool) -> list[str]:
        """What a token says of itself. ``ours``: its issuer is one of the strategy's."""
        version = token.payload.get("ver")
        paths = self.paths(version if isinstance(version, str) else None)
        rows = self._facts(token.payload, paths, self.strategy.provider.scope_claims)
        key = f", key {clean(token.kid)}" if token.kid is not None else ", no key named"
        rows.append(("signed with", f"{clean(token.alg)}{key}"))
        return [f"{whose(token, self.strategy.idp if ours else None)}; it says of itself:", *_table(rows)]

    def _facts(
        self, payload: Mapping[str, Any], paths: Sequence[tuple[str, ...]], scope_claims: Sequence[str]
    ) -> list[tuple[str, str]]:
        return facts(payload, paths, self.now, scope_claims, people=self._names_user(payload, scope_claims))

    def _names_user(self, payload: Mapping[str, Any], scope_claims: Sequence[str]) -> bool:
        provider, subject = self.strategy.provider, payload.get("sub")
        aud = payload.get("aud", [])
        audiences = aud if isinstance(aud, list) else [aud]
        if not isinstance(subject, str) or not all(isinstance(item, str) for item in audiences):
            return False  # of a shape that is refused further on
        scopes = next((payload[name] for name in scope_claims if isinstance(payload.get(name), str | list)), "")
        try:
            kinds.check_subject(
                payload,
                subject,
                scopes.split() if isinstance(scopes, str) else scopes,
                audiences=frozenset(self.strategy.audience),
                people=provider.people,
                user_scopes=provider.user_scopes,
            )
        except Denied:
            return True
        return False

    def way(self, told: Sequence[Told], error: AuthError | None) -> list[str]:
        """Every step that was told, and the one that failed."""
        lines: list[str] = []
        asked = False
        for step, found in told:
            asked = asked or step is Step.INTROSPECTING
            if (
                step is Step.PARSED and asked
            ):  # about an opaque token; the identity provider answered with this one
                first, *rows = self.token(found, ours=True)
                lines += [f"the answer is the token that it stands for: {first}", *rows]
            if step in _CHECKS:
                lines += self._passed(step, found)
            else:
                lines += self._event(step, found)
        if error is not None:
            mark = "NO  " if isinstance(error, Denied) else "??  "
            failed = self._failed([step for step, _ in told])
            if failed == [_CHECKS[Step.SCOPES]]:  # of the two things that are one step; the key is looked at first
                unscoped = error.reason is Reason.SCOPE_MISSING
                held = _BEARER if unscoped else "" if self.strategy.required_scopes else self._scopes()
                lines += [f"ok   {held}"] if held else []
                failed = [self._scopes() if unscoped else _BEARER]
            lines += [f"{mark} {text}" for text in failed]
        return lines

    def _failed(self, told: Sequence[Step]) -> list[str]:
        """What it was that did not hold; nothing where no check was begun."""
        passed = [step for step in told if step in _CHECKS]
        if passed:
            entra = self.strategy.idp.startswith("azure")
            asked = [step for step in _CHECKS if entra or step is not Step.NOT_FOR_GRAPH]
            return [self._check(step, None) for step in asked if step not in passed][:1]
        last = told[-1] if told else None
        return [] if last is None else [_ENDINGS[last]] if last in _ENDINGS else []

    def _passed(self, step: Step, found: Any) -> list[str]:
        if step is Step.REQUIRED_CLAIMS and not self.strategy.required_claims:
            return []
        if step is Step.SCOPES:
            return [f"ok   {_BEARER}", f"ok   {self._scopes()}"]
        return [f"ok   {self._check(step, found)}"]

    def _check(self, step: Step, found: Any) -> str:
        text = _CHECKS[step]
        strategy = self.strategy
        if isinstance(found, Expected):
            version = f", its v{found.token.version} tokens" if found.token.version else ""
            return f"{text}: {clean(found.token.issuer)}{version}"
        if step is Step.SCREENED and strategy.idp.startswith("azure"):
            return "its version and tenant are that issuer's (`ver`, `tid`), and its end is not over (`exp`)"
        if step is Step.AUDIENCE:
            return f"{text}: {listed(list(strategy.audience))}" if strategy.audience else "any API will do (`aud`)"
        if step is Step.REQUIRED_CLAIMS:
            return f"{text}: " + ", ".join(f"{name}={value}" for name, value in strategy.required_claims.items())
        if step is Step.CLIENT_ID:
            return f"{text}: {clean(found)}" if found is not None else text
        return text

    def _scopes(self) -> str:
        required = " ".join(self.strategy.required_scopes)
        return f"it has the required scopes ({required})" if required else "no scopes are required"

    def _event(self, step: Step, found: Any) -> list[str]:
        if isinstance(found, Asked):
            options = found.options
            sent = {"grant_type": "client_credentials", **options.parameters}
            if options.scopes:
                sent["scope"] = " ".join(options.scopes)
            shown = " ".join(f"{name}={clean(value)}" for name, value in sent.items())
            return [
                f"asks the token endpoint {clean(found.endpoint)}",
                f"  with {shown}, the client id and the secret (by {options.auth_method}; not shown)",
            ]
        if isinstance(found, MintedToken):
            return self._minted(found)
        if isinstance(found, Basis):
            return [f"ok   {_COUNTS[found]}"]
        if step is Step.INTROSPECTING:
            return [f"asks the identity provider about it (introspection): {clean(found)}"]
        if step is Step.INTROSPECTED:
            rows = self._facts(found, (("client_id",), *self.paths()), ("scope", "scp"))
            return ["the answer: active; it says of the token:", *_table(rows)]
        return []

    def _minted(self, minted: MintedToken) -> list[str]:
        lasts = f", for {duration(minted.lifetime_s)}" if minted.lifetime_s else ""
        lines = [f"it hands out a token{lasts}: the client id and the secret are right"]
        try:
            token = jws.parse(minted.access_token.encode("utf-8", "replace"), max_bytes=MAX_TOKEN_BYTES)
        except Denied:
            return [*lines, "the token is opaque"]
        first, *rows = self.token(token, ours=True)
        return [*lines, f"the token: {first}", *rows]


def outcome(error: AuthError) -> list[str]:
    """The decision and what it rests on."""
    waits = " and is not cached" if isinstance(error, Unavailable) else ""
    lines = [f"decision: {error.reason.status} {error.reason.value}{waits}"]
    return [*lines, f"because: {clean(error.detail, most=400)}"] if error.detail else lines


def _table(rows: Sequence[tuple[str, str]]) -> list[str]:
    width = max(len(label) for label, _ in rows)
    return [f"  {label:<{width}}  {value}" for label, value in rows]
